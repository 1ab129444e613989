//! On what was measured.

use std::fs;
use std::process::Command;

use super::tools::Tool;

/// The machine and the tracers.
#[derive(Debug)]
pub struct Facts {
    /// Name and value of each.
    pub lines: Vec<(String, String)>,
}

impl Facts {
    /// Asks the system and the tools.
    pub fn of(tools: &[Tool], missing: &[&str]) -> Self {
        let cpus = fs::read_to_string("/proc/cpuinfo").unwrap_or_default();
        let models: Vec<&str> = cpus
            .lines()
            .filter_map(|line| line.strip_prefix("model name"))
            .map(|rest| rest.trim_start_matches([' ', '\t', ':']))
            .collect();
        let memory = fs::read_to_string("/proc/meminfo").unwrap_or_default();
        let memory = memory.lines().next().and_then(|line| line.split_whitespace().nth(1));
        let memory: u64 = memory.and_then(|kib| kib.parse().ok()).unwrap_or(0);
        let hypervisor = cpus.contains(" hypervisor");
        let mut lines = vec![
            ("kernel".to_owned(), said("uname", &["-sr"])),
            (
                "CPUs".to_owned(),
                format!(
                    "{} × {}{}",
                    models.len(),
                    models.first().unwrap_or(&"unknown"),
                    if hypervisor { ", in a virtual machine" } else { "" }
                ),
            ),
            ("memory".to_owned(), format!("{} GiB", memory / (1 << 20))),
            ("load before".to_owned(), load()),
        ];
        for tool in tools {
            let size = fs::metadata(&tool.program).map_or(0, |file| file.len());
            let version = said(&tool.program.to_string_lossy(), &["--version"]);
            lines.push((tool.name.to_owned(), format!("{version}, {} KiB", size / 1024)));
        }
        if !missing.is_empty() {
            lines.push(("not installed".to_owned(), missing.join(", ")));
        }
        Self { lines }
    }
}

fn load() -> String {
    let load = fs::read_to_string("/proc/loadavg").unwrap_or_default();
    load.split(' ').take(3).collect::<Vec<_>>().join(" ")
}

/// The first line that a command writes.
fn said(program: &str, arguments: &[&str]) -> String {
    let output = Command::new(program).args(arguments).output();
    let output = output.map(|output| output.stdout).unwrap_or_default();
    String::from_utf8_lossy(&output).lines().next().unwrap_or("unknown").to_owned()
}
