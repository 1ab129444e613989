//! What tells of the machine that recorded a case is replaced, or has the case refused.
//!
//! Cases are recorded in a lab, whose processes, users, hosts and addresses are made up. What shines
//! through from the machine below has no pid there: whoever was on the CPU when the kernel acted, and
//! connections of other network namespaces.

use std::path::Path;

use anyhow::{Context, Result, bail};
use killtrace::evidence::Header;
use killtrace::recording::RecordingLine;
use serde_json::Value;

/// As `--redact` has it.
const BOOT_ID: &str = "00000000-0000-0000-0000-000000000000";
/// The lab's name for itself.
const HOSTNAME: &str = "lab";
/// What `--redact` calls the machine.
const REDACTED: &str = "host-1";
/// The name of whoever is not of the lab.
const OUTSIDER: &str = "outside";

/// The same recording without what tells of this machine.
///
/// # Errors
/// Where it was not made in a lab, or holds something of this machine all the same.
pub fn tidy(recording: &str) -> Result<String> {
    let (first, rest) = recording.split_once('\n').context("it is empty")?;
    let Ok(RecordingLine::Header(mut header)) = serde_json::from_str(first) else {
        bail!("its first line is no header");
    };
    BOOT_ID.clone_into(&mut header.boot_id);
    of_lab(&header)?;
    let mut text = serde_json::to_string(&RecordingLine::Header(header))? + "\n";
    for line in rest.lines() {
        let mut line: Value = serde_json::from_str(line).context("it is damaged")?;
        if line["fact"]["kind"] == "tcp" && !is_spoken_of(&line["fact"], rest) {
            continue;
        }
        without_outsiders(&mut line);
        text += &line.to_string();
        text.push('\n');
    }
    for word in here() {
        if text.contains(&word) {
            bail!("it holds {word:?}, which belongs to this machine");
        }
    }
    Ok(text)
}

/// Whether a recording can be a case: it was made in a lab and tells no machine's boot, or it is redacted.
///
/// # Errors
/// Where it tells of somebody's machine.
pub fn of_lab(header: &Header) -> Result<()> {
    if ![HOSTNAME, REDACTED].contains(&header.hostname.as_str()) {
        bail!(
            "it was made on {:?}: cases are recorded in a lab (`cargo xtask lab`), or redacted (`killtrace replay FILE \
             --redact --record COPY`)",
            header.hostname
        );
    }
    if header.boot_id != BOOT_ID {
        bail!(
            "it has the id of a boot: it has to be {BOOT_ID}, as `cargo xtask cases` and --redact have it"
        );
    }
    Ok(())
}

/// Whether the port at the other end of a connection stands anywhere else, in the words of sshd or in
/// the environment of its children. Others belong to labs that happened to run at the same time.
fn is_spoken_of(connection: &Value, recording: &str) -> bool {
    let remote = connection["remote"].as_str().unwrap_or_default();
    let Some((_, port)) = remote.rsplit_once(':') else { return false };
    let lines = recording.lines().filter(|line| !line.contains("\"kind\":\"tcp\""));
    let mut words = lines.flat_map(|line| line.split(|c: char| !c.is_ascii_digit()));
    port != "0" && words.any(|word| word == port)
}

/// Takes names and arguments from tasks that have no pid in the lab, wherever they stand.
fn without_outsiders(value: &mut Value) {
    match value {
        Value::Object(fields) => {
            let is_outside = |task: Option<&Value>| {
                task.is_some_and(|task| task["pid"] == 0 && !task["comm"].is_null())
            };
            if is_outside(fields.get("sender")) {
                fields.insert("sender_args".to_owned(), Value::Array(Vec::new()));
            }
            if fields.get("pid").is_some_and(|pid| *pid == 0) && fields.contains_key("comm") {
                fields.insert("comm".to_owned(), OUTSIDER.into());
                if let Some(cgroup) = fields.get_mut("cgroup") {
                    *cgroup = Value::Null;
                }
            }
            fields.values_mut().for_each(without_outsiders);
        }
        Value::Array(values) => values.iter_mut().for_each(without_outsiders),
        _ => {}
    }
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

    #[test]
    fn a_recording_of_a_machine_of_somebodys_is_no_case() {
        let line = |hostname: &str| -> Header {
            match serde_json::from_str(&header(hostname)).expect("a header") {
                RecordingLine::Header(header) => *header,
                RecordingLine::Evidence(_) => panic!("no header"),
            }
        };
        let redacted = Header { boot_id: BOOT_ID.to_owned(), ..line("host-1") };
        assert!(of_lab(&redacted).is_ok());
        let told = |header: Header| of_lab(&header).expect_err("refused").to_string();
        assert!(told(line("lab")).contains("boot"));
        assert!(told(Header { hostname: "web1".to_owned(), ..redacted }).contains("--redact"));
    }

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
        let text = tidy(&(header("lab") + "{\"the\":\"rest\"}\n")).expect("tidied");
        assert!(text.contains(BOOT_ID) && !text.contains("e3b0c442"), "{text}");
        assert!(text.ends_with("\n{\"the\":\"rest\"}\n"), "{text}");
    }

    #[test]
    fn a_bystander_from_outside_has_no_name() {
        let signal = |pid: u32| {
            let task = serde_json::json!({"pid": pid, "comm": "secret", "cgroup": "/secret"});
            let line = serde_json::json!({"fact": {"sender": task, "sender_args": ["secret"]}});
            tidy(&format!("{}{line}\n", header("lab"))).expect("tidied")
        };
        assert!(!signal(0).contains("secret") && signal(0).contains(OUTSIDER));
        assert_eq!(signal(7).matches("secret").count(), 3);
    }

    #[test]
    fn connections_of_other_labs_are_left_out() {
        let tcp = |port: u16| {
            let remote = format!("203.0.113.5:{port}");
            let line = serde_json::json!({"fact": {"kind": "tcp", "remote": remote}});
            format!("{line}\n")
        };
        let said =
            "{\"message\":\"Accepted publickey for alice from 203.0.113.5 port 4321 ssh2\"}\n";
        let text =
            tidy(&(header("lab") + said + &tcp(4321) + &tcp(432) + &tcp(0))).expect("tidied");
        assert_eq!(text.matches("tcp").count(), 1, "{text}");
    }

    #[test]
    fn what_tells_of_the_machine_is_refused() {
        let refused = |text: &str| tidy(text).expect_err("refused").to_string();
        assert!(refused(&header("web1")).contains("in a lab"));
        assert!(refused("").contains("empty"));
        let path = env!("CARGO_MANIFEST_DIR");
        assert!(
            refused(&format!("{}{{\"path\":\"{path}/x\"}}\n", header("lab")))
                .contains("this machine")
        );
    }
}
