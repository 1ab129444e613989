//! What the kernel says of a running process: CPU time, memory, and the cost of its programs.

use std::collections::BTreeMap;
use std::fs;

/// CPU time that all threads of a process have taken, in nanoseconds; 0 where it is gone.
pub fn cpu_ns(pid: u32) -> u64 {
    let Ok(threads) = fs::read_dir(format!("/proc/{pid}/task")) else { return 0 };
    let time = |path: std::path::PathBuf| -> Option<u64> {
        fs::read_to_string(path).ok()?.split(' ').next()?.parse().ok()
    };
    threads.flatten().filter_map(|thread| time(thread.path().join("schedstat"))).sum()
}

/// A line of `/proc/PID/status` that is a size, in KiB; 0 where it is not there.
pub fn status_kib(pid: u32, name: &str) -> u64 {
    let text = fs::read_to_string(format!("/proc/{pid}/status")).unwrap_or_default();
    let line = text.lines().find_map(|line| line.strip_prefix(name)?.strip_prefix(':'));
    line.and_then(|rest| rest.split_whitespace().next()?.parse().ok()).unwrap_or(0)
}

/// Runs of a program in the kernel.
#[derive(Clone, Copy, Debug, Default)]
pub struct Runs {
    /// How often it ran while statistics were switched on.
    pub count: u64,
    /// Nanoseconds that took.
    pub ns: u64,
}

/// The programs that a process has attached to raw tracepoints: tracepoint to runs so far.
pub fn programs(pid: u32) -> BTreeMap<String, Runs> {
    let directory = format!("/proc/{pid}/fdinfo");
    let texts: Vec<String> = fs::read_dir(directory)
        .into_iter()
        .flatten()
        .flatten()
        .filter_map(|entry| fs::read_to_string(entry.path()).ok())
        .collect();
    let value = |text: &str, name: &str| -> Option<String> {
        text.lines().find_map(|line| Some(line.strip_prefix(name)?.strip_prefix(":\t")?.to_owned()))
    };
    let number = |text: &str, name: &str| value(text, name).and_then(|it| it.parse().ok());
    let mut runs = BTreeMap::new();
    for program in texts.iter().filter(|text| text.contains("run_time_ns:")) {
        let Some(id) = value(program, "prog_id") else { continue };
        let hook = texts
            .iter()
            .filter(|text| value(text, "prog_id").as_ref() == Some(&id))
            .find_map(|link| value(link, "tp_name"));
        if let Some(hook) = hook {
            let count = number(program, "run_cnt").unwrap_or(0);
            runs.insert(hook, Runs { count, ns: number(program, "run_time_ns").unwrap_or(0) });
        }
    }
    runs
}

/// Counts the runs of programs, and the time that they take, as long as it lives.
pub struct Statistics {
    before: String,
}

/// The switch.
const STATISTICS: &str = "/proc/sys/kernel/bpf_stats_enabled";

impl Statistics {
    /// Switches them on.
    ///
    /// # Errors
    /// Where that is not allowed.
    pub fn on() -> std::io::Result<Self> {
        let before = fs::read_to_string(STATISTICS)?;
        fs::write(STATISTICS, "1")?;
        Ok(Self { before })
    }
}

impl Drop for Statistics {
    fn drop(&mut self) {
        // What cannot be switched back stays on until the next boot, which costs little.
        let _ = fs::write(STATISTICS, &self.before);
    }
}
