//! Which file and which line of it set a value: what killtrace says of units whose files are laid out in every
//! way that systemd knows, beside what systemd itself says of them.

use std::collections::BTreeMap;

use killtrace::evidence::Manager;
use killtrace::system::settings::Root;
use killtrace_tests::lab::{Killtrace, Lab, Options};
use serde_json::Value;

use crate::lab;
use crate::units::{self, main_pid, unit, verdict};

/// What `systemctl show` calls a setting that killtrace calls by the name in the file.
const PROPERTIES: [(&str, &str); 8] = [
    ("KillMode", "KillMode"),
    ("TimeoutStopSec", "TimeoutStopUSec"),
    ("TimeoutStartSec", "TimeoutStartUSec"),
    ("RuntimeMaxSec", "RuntimeMaxUSec"),
    ("SendSIGHUP", "SendSIGHUP"),
    ("OOMPolicy", "OOMPolicy"),
    ("MemoryHigh", "MemoryHigh"),
    ("ManagedOOMPreference", "ManagedOOMPreference"),
];
const SLEEP: &str = "[Service]\nExecStart=/bin/sleep 1000\n";
const ETC: &str = "/etc/systemd/system";
const RUN: &str = "/run/systemd/system";
const USR: &str = "/usr/lib/systemd/system";

/// A value and where it was set: file and line, or nowhere.
type Told = (String, Option<(String, u64)>);

fn set(value: &str, file: &str, line: u64) -> Option<Told> {
    Some((value.to_owned(), Some((file.to_owned(), line))))
}

fn built_in(value: &str) -> Option<Told> {
    Some((value.to_owned(), None))
}

/// One unit, what it is started as, and what killtrace has to say of a setting of it.
type Case = (&'static str, &'static str, Option<Told>);

fn show(lab: &Lab, unit: &str, property: &str) -> String {
    let value = lab.exec(&["systemctl", "show", "-p", property, "--value", unit]).expect("shown");
    value.trim().to_owned()
}

/// All settings of units that killtrace learns, by unit and name; of several the last.
fn told(lab: &Lab, units: &[&str]) -> BTreeMap<(String, String), Told> {
    let pids: Vec<String> = units.iter().map(|unit| main_pid(lab, unit).to_string()).collect();
    let args: Vec<&str> = pids.iter().flat_map(|pid| ["-p", pid.as_str()]).collect();
    let killtrace = Killtrace::start(lab, &args).expect("killtrace");
    for unit in units {
        let scope = format!("\"scope\":\"{}\"", unit.replace('\\', "\\\\"));
        killtrace.learns(&[&scope, "\"TimeoutStopSec\""]).expect("the unit's settings");
    }
    killtrace.stop().expect("killtrace ends");
    let recording = lab.read(killtrace_tests::lab::RECORDING).expect("the recording");
    let mut found = BTreeMap::new();
    for line in recording.lines() {
        let line: Value = serde_json::from_str(line).expect("JSON");
        let setting = &line["fact"];
        let text = |name: &str| setting[name].as_str().map(str::to_owned);
        if let (Some(scope), Some(name), Some(value)) = (text("scope"), text("name"), text("value"))
        {
            found.insert((scope, name), (value, text("file").zip(setting["line"].as_u64())));
        }
    }
    found
}

/// Compares with systemd whatever killtrace says of a unit's settings, and with `wanted` what is said of some.
fn agree(lab: &Lab, cases: &[Case]) {
    let mut units: Vec<&str> = cases.iter().map(|(unit, _, _)| *unit).collect();
    units.dedup();
    let told = told(lab, &units);
    for unit in &units {
        for (name, property) in PROPERTIES {
            if let Some((value, _)) = told.get(&((*unit).to_owned(), name.to_owned())) {
                let shown = show(lab, unit, property);
                assert_eq!(plain(value), plain(&shown), "{name} of {unit}");
            }
        }
    }
    for (unit, name, wanted) in cases {
        let found = told.get(&((*unit).to_owned(), (*name).to_owned()));
        assert_eq!(found, wanted.as_ref(), "{name} of {unit}");
    }
}

/// `systemctl show` says `1min 30s` and `infinity` where a file can say `90s`.
fn plain(value: &str) -> String {
    match value {
        "90" | "90s" => "1min 30s".to_owned(),
        "128K" => "131072".to_owned(),
        other => other.to_owned(),
    }
}

/// The files of a unit as killtrace finds them where it cannot ask are those that systemd names.
fn finds_files(lab: &Lab, unit: &str) {
    let found = Root::new(lab.root()).unit_files(Manager::System, None, unit);
    // On a system with one /usr the same directory has two names.
    let named = |path: &str| path.strip_prefix("/usr/lib/").map(|rest| format!("/lib/{rest}"));
    let named = |path: &str| named(path).unwrap_or_else(|| path.to_owned());
    let fragment = found.fragment.as_deref().map(named).unwrap_or_default();
    assert_eq!(fragment, named(&show(lab, unit, "FragmentPath")), "{unit}");
    let drop_ins: Vec<String> = found.drop_ins.iter().map(|path| named(path)).collect();
    let shown = show(lab, unit, "DropInPaths");
    let shown: Vec<String> = shown.split_whitespace().map(named).collect();
    assert_eq!(drop_ins, shown, "{unit}");
}

/// A lab with these files, those below `/run` written when it runs.
fn laid_out(options: &Options, files: &[(&str, &str, &str)]) -> Lab {
    let mut options = options.clone();
    for (directory, name, text) in files.iter().filter(|(directory, ..)| *directory != RUN) {
        options = options.file(&format!("{directory}/{name}"), text);
    }
    let lab = lab(&options);
    for (directory, name, text) in files.iter().filter(|(directory, ..)| *directory == RUN) {
        lab.write(&format!("{directory}/{name}"), text).expect("written");
    }
    lab.exec(&["systemctl", "daemon-reload"]).expect("reloaded");
    lab
}

fn start(lab: &Lab, cases: &[Case]) {
    for (unit, _, _) in cases {
        lab.exec(&["systemctl", "start", unit]).expect("started");
    }
}

/// Units and drop-ins of each kind: where, called what, with which text.
fn drop_in_files() -> Vec<(&'static str, &'static str, String)> {
    let service = |line: &str| format!("# lab\n[Service]\n{line}\n");
    vec![
        (USR, "order.service", format!("{SLEEP}TimeoutStopSec=11s\nKillMode=process\n")),
        // By file name over all directories.
        (USR, "order.service.d/10-a.conf", service("TimeoutStopSec=12s")),
        (RUN, "order.service.d/20-b.conf", service("TimeoutStopSec=13s")),
        (ETC, "order.service.d/15-c.conf", service("TimeoutStopSec=14s")),
        // Of the same name, the strongest directory.
        (USR, "order.service.d/30-same.conf", service("KillMode=mixed")),
        (RUN, "order.service.d/30-same.conf", service("KillMode=none")),
        (ETC, "order.service.d/30-same.conf", service("KillMode=control-group")),
        // For all services: weaker only where the name is the same.
        (ETC, "service.d/40-type.conf", service("RuntimeMaxSec=1h")),
        (ETC, "service.d/50-same.conf", service("TimeoutStartSec=47s")),
        (USR, "order.service.d/50-same.conf", service("TimeoutStartSec=33s")),
        (USR, "order.service.d/35-x.conf", service("RuntimeMaxSec=2h")),
        // The whole unit, stronger elsewhere.
        (USR, "whole.service", format!("{SLEEP}KillMode=none\n")),
        (ETC, "whole.service", format!("{SLEEP}KillMode=mixed\n")),
        // By prefix: the directory counts before the length of the prefix.
        (ETC, "lab-foo-bar.service", SLEEP.to_owned()),
        (ETC, "lab-.service.d/60-x.conf", service("KillMode=mixed")),
        (USR, "lab-foo-.service.d/60-x.conf", service("KillMode=process")),
        (USR, "lab-.service.d/61-y.conf", service("TimeoutStopSec=21s")),
        (USR, "lab-foo-.service.d/61-y.conf", service("TimeoutStopSec=22s")),
        // By template, instance, and the prefix of either.
        (ETC, "lab-tpl@.service", format!("{SLEEP}KillMode=none\n")),
        (ETC, "lab-tpl@.service.d/70-a.conf", service("TimeoutStopSec=31s")),
        (ETC, "lab-tpl@one.service.d/70-a.conf", service("TimeoutStopSec=32s")),
        (ETC, "lab-@.service.d/71-b.conf", service("RuntimeMaxSec=3h")),
        (ETC, "lab-@one.service.d/72-c.conf", service("TimeoutStartSec=34s")),
        // Not there.
        (ETC, "real.service", SLEEP.to_owned()),
        (ETC, "nick.service.d/80-a.conf", service("KillMode=mixed")),
        (USR, "real.service.d/90-masked.conf", service("TimeoutStopSec=41s")),
        (ETC, "real.service.d/85-kept.conf", service("TimeoutStopSec=42s")),
        (ETC, "real@.service", SLEEP.to_owned()),
        (ETC, "nick@.service.d/80-a.conf", service("KillMode=mixed")),
        ("/opt", "linked.service", format!("{SLEEP}KillMode=mixed\n")),
    ]
}

/// Which of them decides what.
fn drop_in_cases() -> Vec<Case> {
    let at = |directory: &str, name: &str| format!("{directory}/{name}");
    vec![
        ("order.service", "TimeoutStopSec", set("13s", &at(RUN, "order.service.d/20-b.conf"), 3)),
        (
            "order.service",
            "KillMode",
            set("control-group", &at(ETC, "order.service.d/30-same.conf"), 3),
        ),
        ("order.service", "RuntimeMaxSec", set("1h", &at(ETC, "service.d/40-type.conf"), 3)),
        (
            "order.service",
            "TimeoutStartSec",
            set("33s", &at(USR, "order.service.d/50-same.conf"), 3),
        ),
        ("order.service", "TimeoutSec", None),
        ("whole.service", "KillMode", set("mixed", &at(ETC, "whole.service"), 3)),
        ("whole.service", "TimeoutStartSec", set("47s", &at(ETC, "service.d/50-same.conf"), 3)),
        ("whole.service", "TimeoutStopSec", built_in("90s")),
        ("lab-foo-bar.service", "KillMode", set("mixed", &at(ETC, "lab-.service.d/60-x.conf"), 3)),
        (
            "lab-foo-bar.service",
            "TimeoutStopSec",
            set("22s", &at(USR, "lab-foo-.service.d/61-y.conf"), 3),
        ),
        ("lab-tpl@one.service", "KillMode", set("mixed", &at(ETC, "lab-.service.d/60-x.conf"), 3)),
        (
            "lab-tpl@one.service",
            "TimeoutStopSec",
            set("32s", &at(ETC, "lab-tpl@one.service.d/70-a.conf"), 3),
        ),
        (
            "lab-tpl@one.service",
            "RuntimeMaxSec",
            set("3h", &at(ETC, "lab-@.service.d/71-b.conf"), 3),
        ),
        (
            "lab-tpl@one.service",
            "TimeoutStartSec",
            set("34s", &at(ETC, "lab-@one.service.d/72-c.conf"), 3),
        ),
        ("real.service", "KillMode", set("mixed", &at(ETC, "nick.service.d/80-a.conf"), 3)),
        ("real.service", "TimeoutStopSec", set("42s", &at(ETC, "real.service.d/85-kept.conf"), 3)),
        ("real@x.service", "KillMode", set("mixed", &at(ETC, "nick@.service.d/80-a.conf"), 3)),
        ("linked.service", "KillMode", set("mixed", &at(ETC, "linked.service"), 3)),
    ]
}

#[test]
fn drop_ins_apply_in_the_order_in_which_systemd_reads_them() {
    let files = drop_in_files();
    let files: Vec<_> = files.iter().map(|(at, name, text)| (*at, *name, text.as_str())).collect();
    let options = Options::default()
        .link("/etc/systemd/system/nick.service", "/etc/systemd/system/real.service")
        .link("/etc/systemd/system/nick@.service", "real@.service")
        .link("/etc/systemd/system/real.service.d/90-masked.conf", "/dev/null")
        .link("/etc/systemd/system/linked.service", "/opt/linked.service");
    let lab = laid_out(&options, &files);
    let cases = drop_in_cases();
    start(&lab, &cases);
    for (unit, ..) in &cases {
        finds_files(&lab, unit);
    }
    agree(&lab, &cases);
}

/// What systemd ignores with a warning counts for nothing; an empty value resets some settings and not others.
#[test]
fn lines_that_systemd_ignores() {
    let files = [
        (
            ETC,
            "empty.service",
            format!("{SLEEP}KillMode=mixed\nTimeoutStopSec=9s\nSendSIGHUP=yes\nMemoryHigh=128K\n"),
        ),
        (
            ETC,
            "empty.service.d/50-a.conf",
            "[Service]\nKillMode=\nTimeoutStopSec=\nSendSIGHUP=\nMemoryHigh=\n".to_owned(),
        ),
        (
            ETC,
            "wrong.service",
            format!(
                "{SLEEP}KillMode=often\nTimeoutStopSec=soon\nSendSIGHUP=maybe\nOOMPolicy=panic\nRuntimeMaxSec=1h 2parsecs\n"
            ),
        ),
        (
            ETC,
            "astray.service",
            format!(
                "[Unit]\nKillMode=none\n{SLEEP}[Scope]\nKillMode=mixed\n[X-Mine]\nKillMode=mixed\n[Install]\nKillMode=mixed\n"
            ),
        ),
        (
            ETC,
            "slash.service",
            format!("[Unit]\nDescription=ends in a backslash \\\\\n{SLEEP}KillMode=mixed\n"),
        ),
        (
            ETC,
            "both.service",
            format!("{SLEEP}TimeoutStopSec=8s\nTimeoutSec=7s\nTimeoutStopSec=\n"),
        ),
    ];
    let files: Vec<_> = files.iter().map(|(at, name, text)| (*at, *name, text.as_str())).collect();
    let lab = laid_out(&Options::default(), &files);
    let at = |name: &str| format!("{ETC}/{name}");
    let cases = [
        ("empty.service", "KillMode", built_in("control-group")),
        ("empty.service", "TimeoutStopSec", set("9s", &at("empty.service"), 4)),
        ("empty.service", "SendSIGHUP", set("yes", &at("empty.service"), 5)),
        ("empty.service", "MemoryHigh", None),
        ("wrong.service", "KillMode", built_in("control-group")),
        ("wrong.service", "TimeoutStopSec", built_in("90s")),
        ("wrong.service", "SendSIGHUP", None),
        ("wrong.service", "RuntimeMaxSec", None),
        ("astray.service", "KillMode", built_in("control-group")),
        ("slash.service", "KillMode", set("mixed", &at("slash.service"), 5)),
        ("both.service", "TimeoutStopSec", set("7s", &at("both.service"), 4)),
    ];
    start(&lab, &cases);
    agree(&lab, &cases);
}

#[test]
fn properties_set_at_run_time_and_transient_units() {
    let lab = lab(&unit(Options::default(), "tuned.service", &format!("{SLEEP}MemoryHigh=1G\n")));
    lab.exec(&["systemctl", "start", "tuned.service"]).expect("started");
    let set_property = |flags: &[&str], unit: &str, assignment: &str| {
        let mut argv = vec!["systemctl", "set-property"];
        argv.extend(flags);
        argv.extend([unit, assignment]);
        lab.exec(&argv).expect("set");
    };
    set_property(&[], "tuned.service", "MemoryHigh=128M");
    set_property(&["--runtime"], "tuned.service", "ManagedOOMPreference=avoid");
    lab.exec(&[
        "systemd-run",
        "--unit=passing",
        "-p",
        "TimeoutStopSec=19s",
        "-p",
        "KillMode=mixed",
        "sleep",
        "1000",
    ])
    .expect("a transient unit");
    set_property(&["--runtime"], "passing.service", "MemoryHigh=64M");
    let control = "system.control";
    let cases = [
        (
            "tuned.service",
            "MemoryHigh",
            set(
                "134217728",
                &format!("/etc/systemd/{control}/tuned.service.d/50-MemoryHigh.conf"),
                4,
            ),
        ),
        (
            "tuned.service",
            "ManagedOOMPreference",
            set(
                "avoid",
                &format!("/run/systemd/{control}/tuned.service.d/50-ManagedOOMPreference.conf"),
                4,
            ),
        ),
        (
            "passing.service",
            "TimeoutStopSec",
            set("19s", "/run/systemd/transient/passing.service", 6),
        ),
        ("passing.service", "KillMode", set("mixed", "/run/systemd/transient/passing.service", 7)),
        (
            "passing.service",
            "MemoryHigh",
            set("67108864", "/run/systemd/transient/passing.service.d/50-MemoryHigh.conf", 4),
        ),
    ];
    // Without that, they are listed in the order in which they came.
    lab.exec(&["systemctl", "daemon-reload"]).expect("reloaded");
    for unit in ["tuned.service", "passing.service"] {
        finds_files(&lab, unit);
    }
    agree(&lab, &cases);
    // Both are kept; the persistent one is the stronger.
    set_property(&["--runtime"], "tuned.service", "MemoryHigh=32M");
    lab.exec(&["systemctl", "daemon-reload"]).expect("reloaded");
    finds_files(&lab, "tuned.service");
    agree(&lab, &cases[..1]);
}

const CHANGED: &str = "/etc/systemd/system/victim.service.d/50-mine.conf";

/// A service whose helper outlives its main process, which ends when told to.
fn with_helper() -> (Lab, u32) {
    let text = "[Service]\nExecStartPre=/usr/bin/mkfifo /run/end\n\
                ExecStart=/bin/sh -c 'setsid sleep 1000 & read end < /run/end'\n";
    let lab = lab(&unit(Options::default(), "victim.service", text));
    units::start(&lab, &["victim.service"]);
    let helper = lab.pid_of("sleep").expect("the helper's pid");
    (lab, helper)
}

fn end_main(lab: &Lab) {
    lab.exec(&["sh", "-c", "echo now > /run/end"]).expect("told to end");
}

/// Forgotten `systemctl daemon-reload`: what was written is not what happened, and that is the remedy.
#[test]
fn a_file_that_was_not_read_again() {
    let (lab, helper) = with_helper();
    lab.write(CHANGED, "[Service]\nKillMode=process\n").expect("written");
    let death = verdict(&lab, helper, || end_main(&lab));
    assert_eq!(death.cause(), "unit-main-process-exited", "{death}");
    let mode = death.setting("KillMode");
    assert_eq!((&mode["value"], &mode["file"]), (&"control-group".into(), &Value::Null), "{death}");
    let unread = serde_json::json!({"value": "process", "file": CHANGED, "line": 2});
    assert_eq!(mode["unread"], unread, "{death}");
    let said = format!("{CHANGED}:2 says process, but has not been read again yet");
    assert!(death.0["cause"]["explanation"].to_string().contains(&said), "{death}");
    assert_eq!(death.0["fixes"][0]["commands"][0], "sudo systemctl daemon-reload", "{death}");
}

/// The same of the signal that asks to end, set otherwise or no longer set by now.
#[test]
fn a_signal_that_was_not_read_again() {
    const LINE: &str = "/etc/systemd/system/plain.service.d/60-lab.conf";
    let text = "[Service]\nExecStart=/bin/sleep 1000\n";
    for (by_now, value, file) in [
        ("[Service]\nKillSignal=SIGQUIT\n", "SIGQUIT", Value::from(LINE)),
        ("[Service]\n", "SIGTERM", Value::Null),
    ] {
        let options = unit(Options::default(), "plain.service", text);
        let lab = lab(&units::drop_in(options, "plain.service", "[Service]\nKillSignal=SIGINT\n"));
        let pid = units::start(&lab, &["plain.service"]);
        lab.write(LINE, by_now).expect("written");
        let death = verdict(&lab, pid, || {
            lab.exec(&["systemctl", "stop", "plain.service"]).expect("stopped");
        });
        assert_eq!(death.0["signal"]["name"], "SIGINT", "{death}");
        let setting = death.setting("KillSignal");
        assert_eq!((&setting["value"], &setting["file"]), (&"SIGINT".into(), &Value::Null));
        let unread = &setting["unread"];
        assert_eq!((&unread["value"], &unread["file"]), (&value.into(), &file), "{death}");
        death.fix_with("systemctl daemon-reload");
    }
}

/// A watchdog's time is that of the start, also where the manager has read another one since.
#[test]
fn a_watchdog_that_was_set_otherwise_since() {
    const LINE: &str = "/etc/systemd/system/dog.service.d/60-lab.conf";
    let text = "[Service]\nType=notify\nNotifyAccess=all\nWatchdogSec=8\n\
                ExecStart=/bin/sh -c 'systemd-notify --ready; exec sleep 1000'\n";
    for (by_now, value, file) in [
        ("[Service]\nWatchdogSec=50\n", "50", Value::from(LINE)),
        ("[Service]\nWatchdogSec=0\n", "0", Value::from(LINE)),
    ] {
        let lab = lab(&unit(Options::default(), "dog.service", text));
        let pid = units::start(&lab, &["dog.service"]);
        lab.write(LINE, by_now).expect("written");
        lab.exec(&["systemctl", "daemon-reload"]).expect("reloaded");
        let death = verdict(&lab, pid, || ());
        assert_eq!(death.cause(), "unit-watchdog", "{death}");
        let setting = death.setting("WatchdogSec");
        assert_eq!((&setting["value"], &setting["file"]), (&"8s".into(), &Value::Null), "{death}");
        let unread = &setting["unread"];
        assert_eq!((&unread["value"], &unread["file"]), (&value.into(), &file), "{death}");
        let told = death.0["cause"]["explanation"].to_string();
        assert!(told.contains("counts only from the unit's next start on"), "{death}");
        death.fix_with(
            "it counts from the unit's next start on: sudo systemctl restart dog.service",
        );
    }
}

#[test]
fn a_file_that_was_read_again_during_the_trace() {
    let (lab, helper) = with_helper();
    let death = verdict(&lab, helper, || {
        lab.write(CHANGED, "[Service]\nKillMode=mixed\n").expect("written");
        lab.exec(&["systemctl", "daemon-reload"]).expect("reloaded");
        end_main(&lab);
    });
    assert_eq!(death.cause(), "unit-main-process-exited", "{death}");
    death.assert_setting("KillMode", "mixed", CHANGED, 2);
    assert_eq!(death.0["outcome"]["signal"], "SIGKILL", "{death}");
}

/// What logind and PID 1 themselves go by.
#[test]
fn settings_of_daemons_as_they_have_them() {
    let login = |lines: &str| format!("# lab\n[Login]\n{lines}\n");
    let manager = |lines: &str| format!("# lab\n[Manager]\n{lines}\n");
    let (etc, usr) = ("/etc/systemd", "/usr/lib/systemd");
    let files = [
        (
            etc,
            "logind.conf",
            login("KillUserProcesses=no\nStopIdleSessionSec=2h\nKillOnlyUsers=bob"),
        ),
        // By file name over all directories; of the same name, the strongest directory.
        (usr, "logind.conf.d/50-same.conf", login("KillUserProcesses=no\nUserStopDelaySec=1h")),
        (etc, "logind.conf.d/50-same.conf", login("KillUserProcesses=yes")),
        (usr, "logind.conf.d/60-vendor.conf", login("KillExcludeUsers=root")),
        (etc, "logind.conf.d/40-mine.conf", login("KillExcludeUsers=alice\nKillUserProcesses=no")),
        // What it does not understand, it ignores.
        (
            etc,
            "logind.conf.d/70-wrong.conf",
            login("KillUserProcesses=often\nStopIdleSessionSec=soon"),
        ),
        (etc, "logind.conf.d/80-reset.conf", login("KillOnlyUsers=")),
        (etc, "logind.conf.d/90-not-read", login("KillUserProcesses=no")),
        (etc, "system.conf", manager("DefaultTimeoutStopSec=33s")),
        (usr, "system.conf.d/10-vendor.conf", manager("DefaultTimeoutStopSec=44s")),
        (etc, "system.conf.d/05-mine.conf", manager("DefaultTimeoutStopSec=55s")),
        (etc, "system.conf.d/20-wrong.conf", "[Service]\nDefaultTimeoutStopSec=66s\n".to_owned()),
    ];
    let files: Vec<_> = files.iter().map(|(at, name, text)| (*at, *name, text.as_str())).collect();
    let lab = laid_out(&Options::default(), &files);
    let root = Root::new(lab.root());
    let told = |name: &str| {
        let found = root.logind().into_iter().find(|it| it.name == name).expect("a setting");
        (found.value, found.file.zip(found.line.map(u64::from)))
    };
    let at = |directory: &str, name: &str| format!("{directory}/{name}");
    assert_eq!(
        Some(told("KillUserProcesses")),
        set("yes", &at(etc, "logind.conf.d/50-same.conf"), 3)
    );
    assert_eq!(Some(told("StopIdleSessionSec")), set("2h", &at(etc, "logind.conf"), 4));
    assert_eq!(
        Some(told("KillExcludeUsers")),
        set("alice root", &at(usr, "logind.conf.d/60-vendor.conf"), 3)
    );
    assert_eq!(Some(told("KillOnlyUsers")), built_in(""));
    assert_eq!(Some(told("UserStopDelaySec")), built_in("10s"));
    let logind = |property: &str| {
        let argv = ["busctl", "get-property", "org.freedesktop.login1", "/org/freedesktop/login1"];
        let argv = [&argv[..], &["org.freedesktop.login1.Manager", property]].concat();
        lab.exec(&argv).expect("logind's property").trim().to_owned()
    };
    assert_eq!(logind("KillUserProcesses"), "b true");
    assert_eq!(logind("KillExcludeUsers"), "as 2 \"alice\" \"root\"");
    assert_eq!(logind("KillOnlyUsers"), "as 0");
    assert_eq!(logind("StopIdleSessionUSec"), "t 7200000000");
    assert_eq!(logind("UserStopDelayUSec"), "t 10000000");
    let stop = root.default_timeout_stop();
    let place = at(usr, "system.conf.d/10-vendor.conf");
    assert_eq!((stop.value.as_str(), stop.file, stop.line), ("44s", Some(place), Some(3)));
    let default = lab.exec(&["systemctl", "show", "-p", "DefaultTimeoutStopUSec", "--value"]);
    assert_eq!(default.expect("PID 1's property").trim(), "44s");
}
