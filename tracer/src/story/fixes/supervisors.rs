//! Remedies with supervisors beside systemd.

use super::super::verdict::Fix;
use super::{LOOKS, fix, operand, quoted, remark};

/// What PM2 ran and somebody stopped; `command` is pm2 as it asks that daemon.
pub fn pm2_again(command: &str, name: &str) -> Fix {
    fix(
        "start the program again",
        vec![format!("{command} start {}", quoted(name))],
        "PM2 runs it, and starts it again when it ends",
    )
    .but("whoever stopped it may have had a reason: ask first")
    .check(format!("{command} describe {}", quoted(name)))
    .see("https://pm2.keymetrics.io/docs/usage/process-management/")
}

/// What PM2 runs is to have more time to end.
pub fn pm2_patience(command: &str, name: &str) -> Fix {
    fix(
        "have it end by the first signal, or give it more time",
        vec![
            format!("{command} restart {} --kill-timeout 10000", quoted(name)),
            remark("for good, in its file of settings:  kill_timeout: 10000"),
        ],
        "SIGKILL follows later, or is not needed where it handles SIGINT",
    )
    .but("this restarts it now; a restart may take that long from then on")
    .check(format!("{command} describe {}", quoted(name)))
    .see("https://pm2.keymetrics.io/docs/usage/signals-clean-restart/")
}

/// Why PM2 ended something stands in its log; `command` shows the end of that.
pub fn pm2_log(command: &str) -> Fix {
    fix("see why PM2 ended it", vec![command.to_owned()], "what PM2 did, and why, stands there")
        .but(LOOKS)
        .check("what stands right before \"Stopping app:\" there names the reason")
        .see("https://pm2.keymetrics.io/docs/usage/log-management/")
}

/// What PM2 restarts where it uses too much memory is to have more.
pub fn pm2_memory(command: &str, name: &str) -> Fix {
    fix(
        "let it use more memory, where the log says that this was why",
        vec![
            format!("{command} restart {} --max-memory-restart 1G", quoted(name)),
            remark("for good, in its file of settings:  max_memory_restart: '1G'"),
        ],
        "PM2 restarts it only when it uses more than that",
    )
    .but("this restarts it now; what leaks memory takes more of it until then")
    .check(format!("{command} describe {}", quoted(name)))
    .see("https://pm2.keymetrics.io/docs/usage/memory-limit/")
}

/// A watcher of circus's that somebody stopped; `command` is circusctl as it asks that circusd.
pub fn circus_watcher_again(command: &str, name: &str) -> Fix {
    fix(
        "start the watcher again",
        vec![format!("{command} start {}", operand(name))],
        "circus runs its processes, and starts them again when they end",
    )
    .but("whoever stopped it may have had a reason: ask first")
    .check(format!("{command} status {}", operand(name)))
    .see("https://circus.readthedocs.io/en/latest/man/circusctl/")
}

/// Which rule of monit's it was, or who asked; of root's monit, with the file of settings that it was started with.
pub fn monit_log(service: Option<&str>, settings: Option<&str>) -> Fix {
    let file = settings.unwrap_or("/etc/monit/monitrc");
    let of = settings.map(|file| format!(" -c {}", quoted(file))).unwrap_or_default();
    let name = service.map(|name| format!(" {}", operand(name))).unwrap_or_default();
    let check = service.map_or_else(|| "check …".to_owned(), |name| format!("check … {name}"));
    fix(
        "see by which rule, or at whose request, monit did so",
        vec![
            "sudo tail -n 50 /var/log/monit.log".to_owned(),
            remark("where its settings say set log syslog:  journalctl -t monit -n 50"),
            remark(&format!("the rule (if … then restart) stands in {file}, below {check}")),
        ],
        "monit logs which rule matched, or that it was asked (\"on user request\")",
    )
    .but(LOOKS)
    .check(format!("sudo monit{of} status{name}"))
    .see("monit(1)")
}
