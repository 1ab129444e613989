//! What tells of the machine that recorded a case is replaced, or has the case refused.
//!
//! Cases are recorded in a lab, whose processes, users, hosts and addresses are made up. What shines
//! through from the machine below is its boot id, and nothing else may.

use std::path::Path;

use anyhow::{Context, Result, bail};
use killtrace::recording::RecordingLine;

/// As `--redact` has it.
const BOOT_ID: &str = "00000000-0000-0000-0000-000000000000";
/// The lab's name for itself.
const HOSTNAME: &str = "lab";

/// The same recording without what tells of this machine.
///
/// # Errors
/// Where it was not made in a lab, or holds something of this machine all the same.
pub fn tidy(recording: &str) -> Result<String> {
    let (first, rest) = recording.split_once('\n').context("it is empty")?;
    let Ok(RecordingLine::Header(mut header)) = serde_json::from_str(first) else {
        bail!("its first line is no header");
    };
    if header.hostname != HOSTNAME {
        bail!("it was made on {:?}: cases are recorded in a lab", header.hostname);
    }
    BOOT_ID.clone_into(&mut header.boot_id);
    let header = serde_json::to_string(&RecordingLine::Header(header))?;
    let text = format!("{header}\n{rest}");
    for word in here() {
        if text.contains(&word) {
            bail!("it holds {word:?}, which belongs to this machine");
        }
    }
    Ok(text)
}

/// What belongs to this machine: where this project is, and what the kernel calls the machine.
fn here() -> Vec<String> {
    let project = Path::new(env!("CARGO_MANIFEST_DIR")).parent();
    let mut words: Vec<String> =
        project.map(|path| path.display().to_string()).into_iter().collect();
    for file in ["/proc/sys/kernel/random/boot_id", "/etc/machine-id"] {
        let word = std::fs::read_to_string(file).unwrap_or_default();
        words.push(word.trim().to_owned());
    }
    words.retain(|word| !word.is_empty());
    words
}

#[cfg(test)]
mod tests {
    use super::*;

    fn header(hostname: &str) -> String {
        let header = serde_json::json!({
            "type": "header", "schema": 1, "version": "0", "time": "2026-10-01T05:01:58.818Z",
            "boot_ns": 1, "kernel": "6.1", "arch": "x86_64", "hostname": hostname,
            "boot_id": "e3b0c442-98fc-4c14-9afb-f4c8996fb924", "systemd": null, "targets": [],
            "hooks": {}, "sources": {}, "utc_offset": 0, "options": {
                "exits": false, "all": false, "hidden_signals": [], "once": false
            },
        });
        format!("{header}\n")
    }

    #[test]
    fn the_boot_is_not_to_be_recognised() {
        let text = tidy(&(header("lab") + "the rest\n")).expect("tidied");
        assert!(text.contains(BOOT_ID) && !text.contains("e3b0c442"), "{text}");
        assert!(text.ends_with("\nthe rest\n"), "{text}");
    }

    #[test]
    fn what_tells_of_the_machine_is_refused() {
        let refused = |text: &str| tidy(text).expect_err("refused").to_string();
        assert!(refused(&header("web1")).contains("in a lab"));
        assert!(refused("").contains("empty"));
        let path = env!("CARGO_MANIFEST_DIR");
        assert!(refused(&format!("{}{path}/cases\n", header("lab"))).contains("this machine"));
    }
}
