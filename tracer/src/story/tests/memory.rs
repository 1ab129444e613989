//! Deaths for memory.

use super::scene::{Scene, signal, systemd, task_in};
use crate::evidence::{
    CgroupLimits, Fact, Grade, JournalLine, KernelLogLine, Manager, Mechanism, OomVictim, Setting,
    SignalInfo, SignalSent, Source, TargetReason, sig,
};
use crate::story::verdict::{CauseId, Death, KillerKind, LinkEvent};

const SUMMARY: &str = "oom-kill:constraint=CONSTRAINT_MEMCG,nodemask=(null),cpuset=/,\
    mems_allowed=0,oom_memcg=/box,task_memcg=/box,task=eater,pid=42,uid=0";

/// An OOM kill of a process of the cgroup `/box`, of which the kernel logs these lines.
fn oom(frames: &[&str], log: &[&str]) -> Death {
    let victim = task_in(42, "eater", "/box");
    let mut sent = signal(sig::SIGKILL, task_in(43, "asker", "/box"), victim.clone());
    sent.info = SignalInfo::Privileged;
    sent.syscall = None;
    sent.stack = frames.iter().map(|&frame| frame.to_owned()).collect();
    let mut scene = Scene::default().target(&victim, TargetReason::Pid).signal(5, sent);
    for line in log {
        let line = KernelLogLine { message: (*line).to_owned() };
        scene = scene.add(6, Source::KernelLog, Fact::KernelLog(line));
    }
    scene.exit(7, victim, 9, true).death()
}

/// The first victim of a group does not die of the group, but it is one of it.
#[test]
fn a_group_that_ends_as_a_whole_is_told_to_each() {
    let first = ["__oom_kill_process", "oom_kill_process", "mem_cgroup_out_of_memory"];
    let later = ["__oom_kill_process", "oom_kill_memcg_member", "mem_cgroup_out_of_memory"];
    let whole = "Tasks in /box are going to be killed due to memory.oom.group set";
    for death in [oom(&first, &[SUMMARY, whole]), oom(&later, &[SUMMARY])] {
        assert_eq!(death.cause.id, CauseId::KernelOomCgroup);
        assert!(death.cause.explanation.contains("memory.oom.group"), "{death:?}");
    }
    let other = "Tasks in /boxes are going to be killed due to memory.oom.group set";
    for death in [oom(&first, &[SUMMARY]), oom(&first, &[SUMMARY, other])] {
        assert!(!death.cause.explanation.contains("memory.oom.group"), "{death:?}");
    }
}

#[test]
fn an_oom_kill_that_somebody_asked_for_is_not_for_want_of_memory() {
    let death =
        oom(&["__oom_kill_process", "oom_kill_process", "out_of_memory", "moom_callback"], &[]);
    assert_eq!(death.cause.id, CauseId::Sysrq);
    assert_eq!(death.killer.kind, KillerKind::Kernel);
    assert_eq!(death.signal.map(|signal| signal.mechanism), Some(Mechanism::Sysrq));
}

/// systemd-oomd kills in a cgroup, and logs why.
fn oomd(cgroup: &str, message: &str, settings: &[(&str, &str, &str)]) -> Death {
    let victim = task_in(42, "eater", cgroup);
    let daemon = task_in(7, "systemd-oomd", "/system.slice/systemd-oomd.service");
    let mut scene = Scene::default().target(&victim, TargetReason::Pid);
    for (scope, name, value) in settings {
        scene = scene.setting(scope, name, value, Some(("/etc/x", 3)));
    }
    let line = JournalLine {
        comm: Some("systemd-oomd".to_owned()),
        from_unit: Some("systemd-oomd.service".to_owned()),
        pid: Some(7),
        uid: Some(998),
        message: message.to_owned(),
        ..JournalLine::default()
    };
    scene
        .signal(5, signal(sig::SIGKILL, daemon, victim.clone()))
        .exit(6, victim, 9, true)
        .add(8, Source::Journal, Fact::Journal(line))
        .death()
}

fn values(death: &Death) -> Vec<String> {
    let settings = death.cause.settings.iter();
    settings.map(|setting| format!("{}={}", setting.name, setting.value)).collect()
}

#[test]
fn systemd_oomd_is_told_with_what_it_watched_and_from_when_on_it_kills() {
    let death = oomd(
        "/user.slice/user-1000.slice/user@1000.service/app.slice/app-eater.scope",
        "Killed /user.slice/user-1000.slice/user@1000.service/app.slice/app-eater.scope due to memory pressure for \
         /user.slice/user-1000.slice/user@1000.service being 71.29% > 50.00% for > 20s with reclaim activity",
        &[
            ("user@1000.service", "ManagedOOMMemoryPressure", "kill"),
            ("user@1000.service", "ManagedOOMMemoryPressureLimit", "50%"),
            ("oomd.conf", "DefaultMemoryPressureLimit", "60%"),
            ("oomd.conf", "DefaultMemoryPressureDurationSec", "20s"),
            ("oomd.conf", "SwapUsedLimit", "90%"),
        ],
    );
    assert_eq!(death.cause.id, CauseId::SystemdOomd);
    assert_eq!(
        values(&death),
        [
            "ManagedOOMMemoryPressure=kill",
            "ManagedOOMMemoryPressureLimit=50%",
            "DefaultMemoryPressureDurationSec=20s"
        ]
    );
    let commands = format!("{:?}", death.fixes);
    assert!(commands.contains("user@.service.d"), "{commands}");
    assert!(commands.contains("ManagedOOMMemoryPressure=auto"), "{commands}");
    // It heeds what the same user says of a unit below, which is watched for memory pressure.
    assert!(
        commands
            .contains("~/.config/systemd/user/app-eater.scope.d/zz-killtrace-ManagedOOMPreference"),
        "{commands}"
    );
}

/// A user can have systemd-oomd watch a unit of the user's own manager.
#[test]
fn systemd_oomd_is_told_with_the_users_unit_that_it_watched() {
    const CGROUP: &str = "/user.slice/user-1000.slice/user@1000.service/app.slice/eater.service";
    let pressure = format!(
        "Killed {CGROUP} due to memory pressure for {CGROUP} being 71.29% > 50.00% for > 20s with reclaim activity"
    );
    let death = oomd(
        CGROUP,
        &pressure,
        &[
            ("user@1000.service", "ManagedOOMMemoryPressure", "auto"),
            ("eater.service", "ManagedOOMMemoryPressure", "kill"),
            ("oomd.conf", "DefaultMemoryPressureLimit", "50%"),
        ],
    );
    let told = ["ManagedOOMMemoryPressure=kill", "DefaultMemoryPressureLimit=50%"];
    assert_eq!(values(&death), told);
    let commands = format!("{:?}", death.fixes);
    let own = "~/.config/systemd/user/eater.service.d/zz-killtrace-ManagedOOMMemoryPressure";
    assert!(commands.contains(own), "{commands}");
    let swap = format!(
        "Killed {CGROUP} due to memory used (1) / total (1) and swap used (9) / total (9) being more than 90.00%"
    );
    let settings = [
        ("-.slice", "ManagedOOMSwap", "kill"),
        ("app.slice", "ManagedOOMSwap", "kill"),
        ("eater.service", "ManagedOOMSwap", "auto"),
    ];
    let death = oomd(CGROUP, &swap, &settings);
    assert_eq!(values(&death), ["ManagedOOMSwap=kill"]);
    let commands = format!("{:?}", death.fixes);
    let own = "~/.config/systemd/user/app.slice.d/zz-killtrace-ManagedOOMSwap";
    assert!(commands.contains(own), "{commands}");
}

#[test]
fn systemd_oomd_is_told_with_the_swap_that_was_used_up() {
    let settings = [
        ("-.slice", "ManagedOOMSwap", "kill"),
        ("system.slice", "ManagedOOMSwap", "auto"),
        ("oomd.conf", "SwapUsedLimit", "90%"),
    ];
    let message = "Killed /system.slice/web.service due to memory used (1) / total (1) and \
                   swap used (9) / total (9) being more than 90.00%";
    let death = oomd("/system.slice/web.service", message, &settings);
    assert_eq!(values(&death), ["ManagedOOMSwap=kill", "SwapUsedLimit=90%"]);
    assert!(
        format!("{:?}", death.fixes).contains("web.service.d/zz-killtrace-ManagedOOMPreference")
    );
    // What it says in another way is not guessed at.
    let death = oomd("/system.slice/web.service", "Killed /system.slice/web.service", &settings);
    assert_eq!(death.cause.id, CauseId::SystemdOomd);
    assert_eq!(values(&death), Vec::<String>::new());
    assert!(death.gaps.iter().any(|gap| gap.contains("systemd-oomd")), "{:?}", death.gaps);
}

/// systemd hears of the kill before whom it hit has ended.
#[test]
fn what_the_manager_stops_after_an_oom_kill_names_whom_the_kernel_took() {
    const UNIT: &str = "/system.slice/web.service";
    let (eater, rest) = (task_in(42, "eater", UNIT), task_in(41, "rest", UNIT));
    let mark = OomVictim { global_tid: 42, trigger: eater.clone() };
    let death = Scene::default()
        .target(&rest, TargetReason::Matched)
        .add(100, Source::Kernel, Fact::OomVictim(mark))
        .unit(101, "web.service", &[("Result", "oom-kill".into())])
        .signal(102, signal(sig::SIGTERM, systemd(), rest.clone()))
        .exit(103, eater, 9, false)
        .exit(104, rest, 15, true)
        .death();
    assert_eq!(death.cause.id, CauseId::UnitOomPolicy, "{death:#?}");
    assert!(death.cause.explanation.contains("had killed eater[42]"), "{death:#?}");
    let first = death.chain.first().expect("a chain");
    assert_eq!(
        (first.event, first.text.as_str(), first.evidence),
        (LinkEvent::Oom, "the kernel's OOM killer chose eater[42]", Grade::Observed)
    );
}

/// Whom the kernel took can end after those that the manager stopped for it.
#[test]
fn whom_the_kernel_took_is_known_before_its_end() {
    const UNIT: &str = "/system.slice/web.service";
    let (eater, rest) = (task_in(42, "eater", UNIT), task_in(41, "rest", UNIT));
    let kill = SignalSent {
        info: SignalInfo::Privileged,
        syscall: None,
        is_target: false,
        stack: vec!["__oom_kill_process".to_owned(), "mem_cgroup_out_of_memory".to_owned()],
        ..signal(sig::SIGKILL, eater.clone(), eater.clone())
    };
    let death = Scene::default()
        .target(&rest, TargetReason::Matched)
        .signal(100, kill)
        .unit(101, "web.service", &[("Result", "oom-kill".into())])
        .signal(102, signal(sig::SIGTERM, systemd(), rest.clone()))
        .exit(103, rest, 15, true)
        .exit(900, eater, 9, false)
        .death();
    assert_eq!(death.cause.id, CauseId::UnitOomPolicy, "{death:#?}");
    assert!(death.cause.explanation.contains("had killed eater[42]"), "{death:#?}");
    let first = death.chain.first().expect("a chain");
    assert_eq!((first.event, first.evidence), (LinkEvent::Oom, Grade::Observed));
}

/// An OOM kill of a process in a cgroup, for the limit of 24 MiB of that or of another around.
fn over_limit(cgroup: &str, limited: &str, settings: &[Setting]) -> Death {
    over_limit_with(cgroup, limited, settings, 20_480)
}

/// The same of a process with so many KiB of its own.
fn over_limit_with(cgroup: &str, limited: &str, settings: &[Setting], own_kib: u64) -> Death {
    let victim = task_in(42, "eater", cgroup);
    let mut sent = signal(sig::SIGKILL, victim.clone(), victim.clone());
    sent.info = SignalInfo::Privileged;
    sent.syscall = None;
    sent.stack = ["oom_kill_process", "mem_cgroup_out_of_memory"].map(str::to_owned).to_vec();
    let limits = CgroupLimits {
        cgroup: limited.to_owned(),
        memory_max: Some(24 << 20),
        memory_current: Some(24 << 20),
        oom_group: None,
        limit_file: Some(format!("/sys/fs/cgroup{limited}/memory.max")),
    };
    let killed = format!(
        "Memory cgroup out of memory: Killed process 42 (eater) total-vm:78008kB, anon-rss:{own_kib}kB, file-rss:6kB"
    );
    let summary = format!(
        "oom-kill:constraint=CONSTRAINT_MEMCG,nodemask=(null),cpuset=/,mems_allowed=0,oom_memcg={limited},\
         task_memcg={cgroup},task=eater,pid=42,uid=0"
    );
    let log = |message: &str| Fact::KernelLog(KernelLogLine { message: message.to_owned() });
    let mut scene = Scene::default().target(&victim, TargetReason::Pid);
    for setting in settings {
        scene = scene.add(1, Source::File, Fact::Setting(setting.clone()));
    }
    scene
        .signal(5, sent)
        .add(6, Source::KernelLog, log(&summary))
        .add(6, Source::CgroupFs, Fact::CgroupLimits(limits))
        .add(6, Source::KernelLog, log(&killed))
        .exit(7, victim, 9, true)
        .death()
}

/// Files in memory count as well: tmpfs.
#[test]
fn memory_that_is_not_the_victims_own_is_asked_for() {
    let of = |own_kib| over_limit_with("/box", "/box", &[], own_kib).cause.explanation;
    let rest =
        "The rest is that of others in the group, or of files in memory (tmpfs, as /dev/shm)";
    assert!(of(1024).contains(rest) && of(1024).contains("It used 1 MiB"), "{}", of(1024));
    assert!(!of(20_480).contains("tmpfs"), "{}", of(20_480));
}

/// `MemoryMax=` in line 2 of a file.
fn memory_max(manager: Manager, unit: &str) -> Setting {
    Setting {
        manager: Some(manager),
        scope: unit.to_owned(),
        name: "MemoryMax".to_owned(),
        value: "24M".to_owned(),
        file: Some(format!("/etc/{unit}")),
        line: Some(2),
        unread: None,
    }
}

/// A cgroup of somebody's own: there is no unit whose setting it is.
#[test]
fn the_limit_of_a_cgroup_is_raised_where_it_is_set() {
    for group in ["/box", "/system.slice/web.service/box"] {
        let death = over_limit(group, group, &[memory_max(Manager::System, "web.service")]);
        let words = &death.cause.explanation;
        assert!(words.contains("memory limit of 24 MiB when") && words.contains("It used 20 MiB"));
        let file = format!("/sys/fs/cgroup{group}/memory.max");
        assert_eq!(death.fixes[0].commands, [format!("echo 50331648 | sudo tee {file}")]);
        let [setting] = &death.cause.settings[..] else { panic!("{death:#?}") };
        assert_eq!((&*setting.name, &*setting.value), ("memory.max", "25165824"));
        assert_eq!(setting.file.as_deref(), Some(&*file));
    }
}

/// It is not always the victim's own unit that has the limit.
#[test]
fn the_limit_of_a_unit_or_slice_is_raised_there() {
    const USER: &str = "/user.slice/user-1000.slice/user@1000.service";
    let (system, user) = (Manager::System, Manager::User(1000));
    let user_unit = format!("{USER}/app.slice/hungry.service");
    let cases = [
        ("/system.slice/web.service", "/system.slice/web.service", system, "web.service"),
        ("/system.slice/web.service", "/system.slice", system, "system.slice"),
        (
            "/user.slice/user-1000.slice/session-3.scope",
            "/user.slice/user-1000.slice",
            system,
            "user-1000.slice",
        ),
        (&user_unit, USER, system, "user@1000.service"),
        (&user_unit, &format!("{USER}/app.slice"), user, "app.slice"),
        (&user_unit, &user_unit, user, "hungry.service"),
    ];
    for (cgroup, limited, manager, unit) in cases {
        // Others around have limits of their own, which were not reached.
        let others = [
            memory_max(system, "-.slice"),
            memory_max(system, "user.slice"),
            memory_max(manager, unit),
        ];
        let death = over_limit(cgroup, limited, &others);
        let [setting] = &death.cause.settings[..] else { panic!("{death:#?}") };
        assert_eq!((&*setting.name, &*setting.value), ("MemoryMax", "24M"));
        assert_eq!(setting.place(), Some(format!("/etc/{unit}:2")), "{death:#?}");
        let told = format!("memory limit of 24 MiB (MemoryMax=24M, set in /etc/{unit}:2) when");
        assert!(death.cause.explanation.contains(&told), "{death:#?}");
        let [fix] = &death.fixes[..] else { panic!("{death:#?}") };
        let commands = fix.commands.concat();
        assert!(commands.contains(&format!("/systemd/system/{unit}.d")) == (manager == system));
        assert!(
            commands.contains(&format!("~/.config/systemd/user/{unit}.d")) == (manager == user)
        );
        // Root's own manager has no such unit.
        assert_eq!(commands.contains("sudo -H -u '#1000'"), manager == user, "{death:#?}");
        assert!(commands.contains("MemoryMax=48M"), "{death:#?}");
    }
}

/// A container's limit is its runtime's to change: what is written to the cgroup, systemd takes back.
#[test]
fn the_limit_of_a_container_is_raised_by_its_runtime() {
    const ID: &str = "4fa6e0f0c6786287e131c3852c58a2e01cc697a68231826813597e4994f1d6e2";
    let update = |runtime: &str, group: &str| {
        let death = over_limit(group, group, &[]);
        let commands = &death.fixes[0].commands;
        assert!(commands[0].starts_with(&format!("{runtime} update --memory=48M")), "{death:#?}");
        assert!(commands[0].ends_with(ID), "{death:#?}");
        assert!(!commands.concat().contains("sudo tee"), "{death:#?}");
        assert_eq!(death.cause.settings[0].name, "memory.max");
    };
    update("docker", &format!("/system.slice/docker-{ID}.scope"));
    update("docker", &format!("/docker/{ID}"));
    update("podman", &format!("/machine.slice/libpod-{ID}.scope"));
}

/// The daemon reads the name as a regular expression.
#[test]
fn earlyoom_can_be_told_to_spare_a_program() {
    let victim = task_in(42, "eater+", "/user.slice/user-1000.slice/session-3.scope");
    let daemon = task_in(7, "earlyoom", "/system.slice/earlyoom.service");
    let death = Scene::default()
        .target(&victim, TargetReason::Pid)
        .signal(5, signal(sig::SIGTERM, daemon, victim.clone()))
        .exit(6, victim, 15, true)
        .death();
    assert_eq!(death.cause.id, CauseId::UserspaceOom, "{death:#?}");
    let commands = death.fixes[1].commands.join("; ");
    assert!(commands.contains("sudoedit /etc/default/earlyoom"), "{commands}");
    assert!(commands.contains(r"--avoid '^(eater\+)$'"), "{commands}");
}

/// Where memory is short its words may come late: they are waited for, and where they do not come, where they are is told.
#[test]
fn the_words_of_an_oom_daemon_are_waited_for() {
    let victim = task_in(42, "eater", "/user.slice/user-1000.slice/session-3.scope");
    let daemon = task_in(7, "earlyoom", "/system.slice/earlyoom.service");
    let killed = |sender: &crate::evidence::Task, journal: &str, words: Option<&str>| {
        let mut scene = Scene::default()
            .without("journal", journal)
            .target(&victim, TargetReason::Pid)
            .signal(5000, signal(sig::SIGTERM, sender.clone(), victim.clone()))
            .exit(5001, victim.clone(), 15, true);
        if let Some(words) = words {
            let (pid, message) = (Some(sender.id.pid), words.to_owned());
            let line = JournalLine { pid, message, ..JournalLine::default() };
            scene = scene.add(5002, Source::Journal, Fact::Journal(line));
        }
        scene
    };
    let short = "low memory! at or below SIGTERM limits: mem 10.00%";
    for (sender, journal, words, waits) in [
        (&daemon, "attached", None, true),
        (&daemon, "connecting", None, true),
        (&daemon, "attached", Some("mem avail: 80 of 1000 MiB"), false),
        (&daemon, "attached", Some(short), false),
        (&daemon, "no journalctl", None, false),
        (&task_in(7, "earlyoom", "/user.slice"), "attached", None, false),
    ] {
        let scene = killed(sender, journal, words);
        let (engine, _) = scene.played();
        let awaits: Vec<bool> = engine.pending().map(|pending| pending.awaits_word).collect();
        assert_eq!(awaits, [waits], "{} {journal} {words:?}", sender.comm);
        let death = scene.death();
        let looks = death.fixes.iter().any(|fix| fix.commands == ["journalctl -b _PID=7 -n 20"]);
        let is_daemons = sender.cgroup == daemon.cgroup;
        assert_eq!(looks, is_daemons && words.is_none(), "{death:#?}");
    }
}
