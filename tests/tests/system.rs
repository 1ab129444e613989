//! Ends that take a whole system with memory control: `cargo xtask vm` runs these in a virtual machine whose
//! PID 1 is systemd. They are ignored elsewhere.

use std::fs;
use std::path::Path;
use std::process::Command;

use killtrace::evidence::{Mechanism, Source};
use killtrace::story::verdict::{CauseId, Death, KillerKind, LinkEvent};
use killtrace_tests::death;
use killtrace_tests::lab::{Login, PATIENCE, new_key, wait_for};
use killtrace_tests::live::{Trace, run};

/// The wall clock, in seconds.
fn wall_clock() -> i64 {
    run(&["date", "+%s"]).parse().expect("a number")
}

/// A service that does not care about SIGTERM and is killed two seconds later; only the journal says why.
fn stubborn_service(name: &str) {
    let unit = "[Service]\nTimeoutStopSec=2s\n\
                ExecStart=/bin/sh -c 'trap \"\" TERM; while :; do sleep 0.2; done'\n";
    fs::write(format!("/etc/systemd/system/{name}.service"), unit).expect("a unit");
    run(&["systemctl", "daemon-reload"]);
    run(&["systemctl", "start", name]);
}

/// Somebody sets the clock, forward and then back behind the time at which the trace began: what happens keeps
/// its order, the journal is read on, and the times shown are those that the clock showed.
#[test]
#[ignore = "sets the clock: cargo xtask vm runs it"]
fn the_clock_is_set() {
    const HOUR: i64 = 3600;
    let names = ["kt-clock-as-it-was", "kt-clock-ahead", "kt-clock-behind"];
    names.iter().for_each(|name| stubborn_service(name));
    let target = |name: &&str| ["--target".to_owned(), format!("unit:{name}.service")];
    let arguments: Vec<String> = names.iter().flat_map(target).collect();
    let mut trace = Trace::start("clock", &arguments);
    let mut last_ns = 0;
    for (name, ahead) in names.iter().zip([0, HOUR, -3 * HOUR]) {
        if ahead != 0 {
            run(&["date", "--set", &format!("@{}", wall_clock() + ahead)]);
        }
        let before = wall_clock();
        run(&["systemctl", "stop", name]);
        let after = wall_clock();
        let death = loop {
            let death = trace.next_death();
            let of_it = death.victim.unit.as_deref() == Some(&format!("{name}.service"));
            if of_it && death.victim.comm.as_deref() == Some("sh") {
                break death;
            }
        };
        assert_eq!(death.cause.id, CauseId::UnitStopRequested, "{death:#?}");
        assert!(death.at.boot_ns > last_ns, "{death:#?}");
        last_ns = death.at.boot_ns;
        let times: Vec<u64> = death.chain.iter().map(|link| link.at.boot_ns).collect();
        assert!(times.is_sorted(), "{death:#?}");
        let timeout = death.chain.iter().find(|link| link.event == LinkEvent::Timeout);
        let timeout = timeout.unwrap_or_else(|| panic!("the journal is not read: {death:#?}"));
        assert!(timeout.source == Source::Journal, "{death:#?}");
        for at in [death.at, timeout.at] {
            let shown = i64::try_from(at.time.unix_ns() / 1_000_000_000).expect("this century");
            assert!((before..=after + 1).contains(&shown), "{before} {shown} {after}: {death:#?}");
        }
    }
    run(&["date", "--set", &format!("@{}", wall_clock() + 2 * HOUR)]);
    trace.stop();
}

/// A service of the system's or of a user's manager that only sleeps is stopped by `systemctl`; its verdict.
fn stopped_over_the_private_socket(
    directory: &str,
    name: &str,
    systemctl: &[&str],
) -> death::Death {
    let ask = |verb: &str| run(&[systemctl, &[verb, name]].concat());
    let unit = "[Service]\nType=exec\nExecStart=/bin/sleep 1000\n";
    write(&format!("{directory}/{name}.service"), unit);
    run(&[systemctl, &["daemon-reload"]].concat());
    ask("start");
    let pid = run(&[systemctl, &["show", "--value", "--property=MainPID", name]].concat());
    let mut trace = Trace::start(name, &["-p", &pid].map(str::to_owned));
    ask("stop");
    let death = trace.death_of(pid.parse().expect("a pid"));
    let ended = trace.finish();
    let header = ended.header.expect("the first record");
    let hook = header.hooks.get("security_unix_stream_connect").map(String::as_str);
    assert_eq!(hook, Some("attached"), "{:?}", header.hooks);
    let death = death::Death(serde_json::to_value(death).expect("a record"));
    assert_eq!(death.cause(), "unit-stop-requested", "{death}");
    assert_eq!(death.0["cause"]["evidence"], "observed", "{death}");
    let explanation = death.0["cause"]["explanation"].to_string();
    assert!(explanation.contains("over systemd's private socket"), "{death}");
    death
}

/// Units and their processes are known by cgroup2, be it alone or, where the kernel's command line asks for that, beside
/// cgroup v1.
#[test]
#[ignore = "depends on the kernel's command line: cargo xtask vm runs it"]
fn units_by_cgroup() {
    let line = fs::read_to_string("/proc/cmdline").expect("readable");
    let hybrid = line.contains("systemd.unified_cgroup_hierarchy=0");
    let place = if hybrid { "/sys/fs/cgroup/unified" } else { "/sys/fs/cgroup" };
    assert!(Path::new(place).join("cgroup.subtree_control").exists(), "no cgroup2 at {place}");
    let unit = "[Service]\nExecStart=/bin/sh -c 'sleep 1000 & wait'\n";
    write("/etc/systemd/system/kt-cgroups.service", unit);
    run(&["systemctl", "daemon-reload"]);
    // It starts while it is waited for.
    let target = ["--target", "unit:kt-cgroups.service"].map(str::to_owned);
    let mut trace = Trace::start("cgroups", &target);
    run(&["systemctl", "start", "kt-cgroups"]);
    let processes = Path::new(place).join("system.slice/kt-cgroups.service/cgroup.procs");
    wait_for("the shell and its child", PATIENCE, || {
        Ok((fs::read_to_string(&processes)?.lines().count() == 2).then_some(()))
    })
    .unwrap_or_else(|error| panic!("{error:#}"));
    run(&["systemctl", "stop", "kt-cgroups"]);
    for death in [trace.next_death(), trace.next_death()] {
        assert_eq!(death.cause.id, CauseId::UnitStopRequested, "{death:#?}");
        let victim = &death.victim;
        assert_eq!(victim.unit.as_deref(), Some("kt-cgroups.service"), "{death:#?}");
        assert_eq!(
            victim.cgroup.as_deref(),
            Some("/system.slice/kt-cgroups.service"),
            "{death:#?}"
        );
    }
    trace.stop();
}

/// root's systemctl speaks to PID 1 where no bus hears it.
#[test]
#[ignore = "needs a kernel that lets programs watch its functions: cargo xtask vm runs it"]
fn who_asks_over_the_private_socket() {
    let death =
        stopped_over_the_private_socket("/etc/systemd/system", "kt-private", &["systemctl"]);
    death.assert_chain(&[
        ("command", "systemctl stop kt-private"),
        ("manager-connection", "connected to systemd[1]'s private socket"),
        ("signal", "SIGTERM"),
    ]);
}

/// alice's service manager, which runs for as long as this is kept.
struct OwnManager {
    uid: String,
    runtime: String,
}

impl OwnManager {
    /// Where the units of every user's manager are: the first such directory, by whose name the manager knows them. Debian
    /// links it to `/etc/systemd/user`.
    const UNITS: &str = "/etc/xdg/systemd/user";

    fn start() -> Self {
        let uid = run(&["id", "-u", "alice"]);
        run(&["loginctl", "enable-linger", "alice"]);
        run(&["systemctl", "start", &format!("user@{uid}.service")]);
        Self { runtime: format!("XDG_RUNTIME_DIR=/run/user/{uid}"), uid }
    }

    /// What alice asks it with.
    fn systemctl(&self) -> [&str; 8] {
        ["runuser", "-u", "alice", "--", "env", &self.runtime, "systemctl", "--user"]
    }

    fn pid(&self) -> u32 {
        let unit = format!("user@{}.service", self.uid);
        let pid = run(&["systemctl", "show", "--value", "--property=MainPID", &unit]);
        pid.parse().expect("a pid")
    }
}

impl Drop for OwnManager {
    fn drop(&mut self) {
        run(&["loginctl", "disable-linger", "alice"]);
    }
}

/// So does everybody's to his own manager.
#[test]
#[ignore = "needs a kernel that lets programs watch its functions: cargo xtask vm runs it"]
fn who_asks_over_the_private_socket_of_a_user() {
    let own = OwnManager::start();
    let death =
        stopped_over_the_private_socket(OwnManager::UNITS, "kt-own-private", &own.systemctl());
    death.assert_chain(&[
        ("command", "systemctl --user stop kt-own-private"),
        ("manager-connection", "private socket"),
        ("signal", "SIGTERM"),
    ]);
}

/// The next end by a signal, and of the trace.
fn next_by_signal(mut trace: Trace) -> death::Death {
    let death = loop {
        let death = trace.next_death();
        if death.signal.is_some() {
            break death;
        }
    };
    trace.stop();
    death::Death(serde_json::to_value(death).expect("a record"))
}

/// udev kills what its rules have left running, and says nothing of it.
#[test]
#[ignore = "has udev run a program: cargo xtask vm runs it"]
fn what_a_rule_of_udev_left_running() {
    let rule = "ACTION==\"change\", KERNEL==\"null\", RUN+=\"/bin/sh -c 'sleep 1000 &'\"\n";
    write("/run/udev/rules.d/99-kt.rules", rule);
    run(&["udevadm", "control", "--reload"]);
    let trace = Trace::start("udev", &["--target", "sleep"].map(str::to_owned));
    run(&["udevadm", "trigger", "--action=change", "--sysname-match=null"]);
    // Others sleep on this machine, and end when they have.
    let death = next_by_signal(trace);
    assert_eq!(death.cause(), "udev-cleanup", "{death}");
    assert_eq!(death.0["killer"]["process"]["comm"], "systemd-udevd", "{death}");
    assert_eq!(death.0["outcome"]["signal"], "SIGKILL", "{death}");
    death.assert_says(&["a rule for a device must have started it"]);
    death.assert_chain(&[("signal", "SIGKILL")]);
    let fix = death.fix_with("SYSTEMD_WANTS");
    assert!(fix["commands"][0].to_string().contains("/run/udev/rules.d"), "{death}");
    // The remedy finds the rule.
    let rules = run(&["sh", "-c", death::commands(fix)[0]]);
    assert!(rules.contains("/run/udev/rules.d/99-kt.rules:1:"), "{rules}");
}

/// Starts a service in which one process uses up the unit's memory, once there is a file; another only sits there. Its fourth
/// line is this one.
fn hungry_service(name: &str, line: &str) -> String {
    hungry_service_of("/etc/systemd/system", &["systemctl"], name, line)
}

/// The same of the manager that has its units in this directory and is asked by this command.
fn hungry_service_of(directory: &str, systemctl: &[&str], name: &str, line: &str) -> String {
    let file = format!("{directory}/{name}.service");
    let unit = format!(
        "[Service]\nMemoryMax=48M\nMemorySwapMax=0\n{line}\n\
         ExecStart=/bin/bash -c 'sleep 1000 & until [ -e /run/{name} ]; do sleep 0.1; done; \
         tail /dev/zero & wait %%1'\n"
    );
    write(&file, &unit);
    // Nothing of an earlier attempt is left.
    let _ = fs::remove_file(format!("/run/{name}"));
    run(&[systemctl, &["daemon-reload"]].concat());
    run(&[systemctl, &["start", name]].concat());
    file
}

/// The three processes of the service end; their verdicts, by name.
fn hunger(name: &str) -> Vec<Death> {
    hunger_of(&format!("{name}.service"), name)
}

/// The same of any unit.
fn hunger_of(unit: &str, name: &str) -> Vec<Death> {
    let mut trace = Trace::start(name, &["--target".to_owned(), format!("unit:{unit}")]);
    fs::write(format!("/run/{name}"), "").expect("a file in /run");
    let mut deaths = Vec::new();
    while !["bash", "tail", "sleep"].iter().all(|comm| find(&deaths, comm).is_some()) {
        let death = trace.next_death();
        // The sleeps that waited for the file are none of this.
        if death.signal.is_some() {
            deaths.push(death);
        }
    }
    trace.stop();
    deaths
}

fn find<'d>(deaths: &'d [Death], comm: &str) -> Option<&'d Death> {
    deaths.iter().find(|death| death.victim.comm.as_deref() == Some(comm))
}

/// One story: the kernel kills the hungry one for memory, therefore systemd stops the unit.
#[test]
#[ignore = "needs systemd with the memory controller of cgroup2: cargo xtask vm runs it"]
fn oom_policy_stop() {
    let file = hungry_service("kt-stop", "OOMPolicy=stop");
    let deaths = hunger("kt-stop");
    let hungry = find(&deaths, "tail").expect("waited for");
    assert_eq!(hungry.cause.id, CauseId::KernelOomCgroup, "{hungry:#?}");
    assert_eq!(hungry.killer.kind, KillerKind::Kernel, "{hungry:#?}");
    let limit = hungry.cause.settings.iter().find(|setting| setting.name == "MemoryMax");
    let limit = limit.unwrap_or_else(|| panic!("no MemoryMax: {hungry:#?}"));
    assert_eq!((limit.value.as_str(), limit.file.as_deref()), ("48M", Some(file.as_str())));
    assert!(limit.line == Some(2), "{hungry:#?}");
    let fixed = |command: &String| {
        command.contains("kt-stop.service.d") && command.contains("MemoryMax=96M")
    };
    assert!(hungry.fixes.iter().any(|fix| fix.commands.iter().any(fixed)), "{hungry:#?}");
    for comm in ["sleep", "bash"] {
        let other = find(&deaths, comm).expect("waited for");
        assert_oom_policy(other, &deaths, 1, ("OOMPolicy", "stop", &file, 4));
    }
    let other = find(&deaths, "sleep").expect("waited for");
    goes_on_with("kt-stop", &death::Death(serde_json::to_value(other).expect("a record")));
}

/// What is told to do about it is done, word for word, and the next kill takes the hungry one alone.
fn goes_on_with(name: &str, death: &death::Death) {
    for command in death::commands(death.fix_with("OOMPolicy=continue")) {
        run(&["sh", "-c", command]);
    }
    let _ = fs::remove_file(format!("/run/{name}"));
    let kills = || {
        run(&["sh", "-c", &format!("journalctl -q -u {name} | grep -c 'by the OOM killer'; true")])
    };
    let before: u32 = kills().parse().expect("a number");
    run(&["systemctl", "restart", name]);
    fs::write(format!("/run/{name}"), "").expect("a file in /run");
    wait_for("systemd to hear of the kill", PATIENCE, || {
        Ok(kills().parse::<u32>().is_ok_and(|now| now > before).then_some(()))
    })
    .unwrap_or_else(|error| panic!("{error:#}"));
    assert_eq!(run(&["systemctl", "is-active", name]), "active");
    let processes = format!("/sys/fs/cgroup/system.slice/{name}.service/cgroup.procs");
    let left = fs::read_to_string(&processes).expect("its processes");
    assert_eq!(left.lines().count(), 2, "the shell and its sleep: {left}");
    run(&["systemctl", "stop", name]);
}

/// The kernel kills them all, since systemd has asked for it by `memory.oom.group`. It takes one after the other, and
/// systemd, which hears of the first and kills the unit as well, may come to the next before the kernel does: then that
/// is what is to be told.
#[test]
#[ignore = "needs systemd with the memory controller of cgroup2: cargo xtask vm runs it"]
fn oom_policy_kill() {
    let file = hungry_service("kt-kill", "OOMPolicy=kill");
    let deaths = hunger("kt-kill");
    for comm in ["tail", "sleep", "bash"] {
        let death = find(&deaths, comm).expect("waited for");
        let how = death.signal.as_ref().map(|signal| signal.mechanism);
        if how == Some(Mechanism::OomKill) || comm == "tail" {
            assert_eq!(how, Some(Mechanism::OomKill), "{death:#?}");
            assert_eq!(death.cause.id, CauseId::KernelOomCgroup, "{death:#?}");
            assert!(death.cause.explanation.contains("memory.oom.group"), "{death:#?}");
        } else {
            assert_oom_policy(death, &deaths, 1, ("OOMPolicy", "kill", &file, 4));
        }
    }
}

/// What a service says nothing of is as its manager has it for all.
#[test]
#[ignore = "needs systemd with the memory controller of cgroup2: cargo xtask vm runs it"]
fn oom_policy_of_the_manager() {
    const CONF: &str = "/etc/systemd/system.conf.d/60-oom.conf";
    write(CONF, "[Manager]\nDefaultOOMPolicy=stop\n");
    hungry_service("kt-default", "");
    let deaths = hunger("kt-default");
    for comm in ["sleep", "bash"] {
        let other = find(&deaths, comm).expect("waited for");
        assert_oom_policy(other, &deaths, 1, ("DefaultOOMPolicy", "stop", CONF, 2));
    }
    fs::remove_file(CONF).expect("it is there");
    run(&["systemctl", "daemon-reload"]);
}

/// A scope has had a policy since systemd 253, and none of its manager's for all.
#[test]
#[ignore = "needs systemd with the memory controller of cgroup2: cargo xtask vm runs it"]
fn oom_policy_of_a_scope() {
    let version = run(&["sh", "-c", "systemctl --version | head -n 1 | cut -d ' ' -f 2"]);
    if version.parse::<u32>().is_ok_and(|version| version < 253) {
        panic!("this kernel has no systemd that knows OOMPolicy= of scopes: {version}");
    }
    let name = "kt-scope";
    let _ = fs::remove_file(format!("/run/{name}"));
    let script = format!(
        "sleep 1000 & until [ -e /run/{name} ]; do sleep 0.1; done; tail /dev/zero & wait %1"
    );
    let unit = format!("--unit={name}");
    let limits = ["-p", "MemoryMax=48M", "-p", "MemorySwapMax=0", "-p", "OOMPolicy=stop"];
    let mut scope = Command::new("systemd-run");
    scope.args(["--scope", &unit]).args(limits).args(["bash", "-c", &script]);
    let mut scope = scope.spawn().expect("systemd-run");
    let active = || {
        Ok((run(&["sh", "-c", "systemctl is-active kt-scope.scope; true"]) == "active")
            .then_some(()))
    };
    wait_for("the scope", PATIENCE, active).unwrap_or_else(|error| panic!("{error:#}"));
    let deaths = hunger_of("kt-scope.scope", name);
    scope.wait().expect("it has ended");
    for comm in ["sleep", "bash"] {
        let other = find(&deaths, comm).expect("waited for");
        assert_eq!(other.cause.id, CauseId::UnitOomPolicy, "{other:#?}");
        let policy = other.cause.settings.iter().find(|setting| setting.name == "OOMPolicy");
        assert_eq!(policy.map(|setting| setting.value.as_str()), Some("stop"), "{other:#?}");
    }
}

/// So it is with a unit of a user's.
#[test]
#[ignore = "needs systemd with the memory controller of cgroup2: cargo xtask vm runs it"]
fn oom_policy_of_a_users_unit() {
    let own = OwnManager::start();
    let pid = own.pid();
    let systemctl = own.systemctl();
    let file = hungry_service_of(OwnManager::UNITS, &systemctl, "kt-own-stop", "OOMPolicy=stop");
    let deaths = hunger("kt-own-stop");
    let hungry = find(&deaths, "tail").expect("waited for");
    assert_eq!(hungry.cause.id, CauseId::KernelOomCgroup, "{hungry:#?}");
    for comm in ["sleep", "bash"] {
        let other = find(&deaths, comm).expect("waited for");
        assert_oom_policy(other, &deaths, pid, ("OOMPolicy", "stop", &file, 4));
        let fix = death::Death(serde_json::to_value(other).expect("a record"));
        let commands = fix.fix_with("OOMPolicy=continue")["commands"].to_string();
        assert!(commands.contains("/.config/systemd/user/kt-own-stop.service.d"), "{other:#?}");
    }
}

/// The service manager with this pid ended it, since the kernel had killed the hungry one and by a setting of this name, value,
/// file and line.
fn assert_oom_policy(
    death: &Death,
    deaths: &[Death],
    manager: u32,
    (name, policy, file, line): (&str, &str, &str, u32),
) {
    assert_eq!(death.cause.id, CauseId::UnitOomPolicy, "{death:#?}");
    let killer = death.killer.process.as_ref().map(|process| process.pid);
    assert_eq!(killer, Some(manager), "{death:#?}");
    let setting = death.cause.settings.iter().find(|setting| setting.name == name);
    let setting = setting.unwrap_or_else(|| panic!("no {name}: {death:#?}"));
    assert_eq!((setting.value.as_str(), setting.file.as_deref()), (policy, Some(file)));
    assert!(setting.line == Some(line), "{death:#?}");
    let hungry = find(deaths, "tail").expect("waited for");
    let named = format!("tail[{}]", hungry.victim.pid);
    assert!(death.cause.explanation.contains(&named), "{death:#?}");
    let death_told = death::Death(serde_json::to_value(death).expect("a record"));
    death_told.assert_chain(&[("oom", &format!("chose {named}")), ("signal", "SIG")]);
    let goes_on = |command: &String| command.contains("OOMPolicy=continue");
    assert!(death.fixes.iter().any(|fix| fix.commands.iter().any(goes_on)), "{death:#?}");
}

/// A file of the system, with the directories above it.
fn write(path: &str, text: &str) {
    let directory = Path::new(path).parent().expect("a file is in a directory");
    fs::create_dir_all(directory)
        .and_then(|()| fs::write(path, text))
        .unwrap_or_else(|error| panic!("{path}: {error}"));
}

/// The network fails alice, and logind ends what she has left behind, her tmux too.
#[test]
#[ignore = "needs a system with sshd and logind: cargo xtask vm runs it"]
fn tmux_at_the_end_of_an_ssh_session() {
    const LOGIND_CONF: &str = "/etc/systemd/logind.conf.d/60-vm.conf";
    write(LOGIND_CONF, "[Login]\nKillUserProcesses=yes\n");
    run(&["systemctl", "restart", "systemd-logind"]);
    let directory = tempfile::tempdir().expect("a temporary directory");
    let key = directory.path().join("key");
    write("/etc/ssh/authorized_keys/alice", &new_key(&key).expect("a key"));

    let mut trace = Trace::start("tmux", &["--target", "tmux"].map(str::to_owned));
    let mut login = Login::start(Command::new("sh"), &key, "127.0.0.1").unwrap_or_else(|error| {
        panic!("{error:#}\n{}", run(&["journalctl", "-u", "ssh", "-n", "50"]))
    });
    let session = login.run("echo $XDG_SESSION_ID").expect("alice's session");
    login.run("tmux new-session -d -s work").expect("tmux starts");
    let pid = login.run("tmux display-message -p '#{pid}'").expect("tmux answers");
    login.kill_client().expect("the client is killed");
    let death = trace.death_of(pid.parse().expect("a pid"));
    trace.stop();

    let death = death::Death(serde_json::to_value(death).expect("a record"));
    assert_eq!(death.cause(), "logind-kill-user-processes", "{death}");
    death.assert_killer(1, "systemd");
    death.assert_setting("KillUserProcesses", "yes", LOGIND_CONF, 2);
    let victim = &death.0["victim"];
    assert_eq!(victim["user"], "alice", "{death}");
    assert_eq!(victim["unit"], format!("session-{session}.scope"), "{death}");
    assert_eq!(victim["session"]["remote_host"], "127.0.0.1", "{death}");
    death.assert_chain(&[
        ("tcp-closed", "127.0.0.1"),
        ("bus-call", "ReleaseSession"),
        ("bus-call", "StopUnit"),
        // Of which type the job was, systemd may be asked too late on an emulated CPU: the lab looks at that.
        ("signal", "SIGTERM"),
    ]);
    death.assert_chain(&[("process-exit", "sshd"), ("bus-call", "StopUnit")]);
    death.assert_ruled_out("sshd-per-connection-unit");
    death.fix_with("enable-linger");
}

/// systemd-oomd, which runs for as long as this is kept.
struct Oomd;

impl Oomd {
    const CONF: &str = "/etc/systemd/oomd.conf.d/60-vm.conf";
    const SWAP: &str = "/dev/nvme0n1";

    fn start() -> Self {
        write(Self::CONF, "[OOM]\nDefaultMemoryPressureDurationSec=2s\n");
        // What its package does when it is installed.
        run(&["systemd-sysusers"]);
        run(&["systemctl", "daemon-reload"]);
        run(&["systemctl", "reload", "dbus"]);
        run(&["mkswap", Self::SWAP]);
        run(&["swapon", Self::SWAP]);
        run(&["systemctl", "restart", "systemd-oomd"]);
        Self
    }

    /// What this unit runs presses for memory, and is killed; its verdict.
    fn kills(name: &str) -> death::Death {
        let unit = format!("{name}.service");
        let trace = Trace::start("oomd", &["--target".to_owned(), format!("unit:{unit}")]);
        fs::write(format!("/run/{name}"), "").expect("a file in /run");
        let death = next_by_signal(trace);
        assert_eq!(death.cause(), "systemd-oomd", "{death}");
        assert_eq!(death.0["cause"]["evidence"], "observed", "{death}");
        let killer = &death.0["killer"]["process"];
        assert_eq!(killer["unit"], "systemd-oomd.service", "{death}");
        assert_eq!(death.0["victim"]["comm"], "tail", "{death}");
        death.assert_setting("DefaultMemoryPressureDurationSec", "2s", Self::CONF, 2);
        death
    }
}

impl Drop for Oomd {
    fn drop(&mut self) {
        run(&["systemctl", "stop", "systemd-oomd.service", "systemd-oomd.socket"]);
        run(&["swapoff", Self::SWAP]);
    }
}

/// A service that presses for memory once there is a file, with these lines at its begin.
fn pressing_service(directory: &str, name: &str, lines: &str) -> String {
    let file = format!("{directory}/{name}.service");
    let script = format!("until [ -e /run/{name} ]; do sleep 0.1; done; exec tail /dev/zero");
    write(&file, &format!("[Service]\n{lines}MemoryHigh=24M\nExecStart=/bin/bash -c '{script}'\n"));
    let _ = fs::remove_file(format!("/run/{name}"));
    file
}

/// systemd-oomd watches a slice, and kills what presses for memory in it.
#[test]
#[ignore = "needs systemd-oomd and a disk to swap to: cargo xtask vm runs it"]
fn systemd_oomd() {
    const SLICE: &str = "/etc/systemd/system/kt-oomd.slice";
    write(SLICE, "[Slice]\nManagedOOMMemoryPressure=kill\nManagedOOMMemoryPressureLimit=5%\n");
    pressing_service("/etc/systemd/system", "kt-pressing", "Slice=kt-oomd.slice\n");
    let _oomd = Oomd::start();
    run(&["systemctl", "start", "kt-pressing"]);
    let death = Oomd::kills("kt-pressing");
    assert_eq!(death.0["victim"]["unit"], "kt-pressing.service", "{death}");
    death.assert_setting("ManagedOOMMemoryPressure", "kill", SLICE, 2);
    death.assert_setting("ManagedOOMMemoryPressureLimit", "5%", SLICE, 3);
    death.assert_chain(&[
        ("signal", "SIGKILL"),
        ("oom", "due to memory pressure for /kt.slice/kt-oomd.slice"),
    ]);
    let commands = death.fix_with("ManagedOOMPreference=avoid")["commands"].to_string();
    assert!(commands.contains("kt-pressing.service.d"), "{death}");
    let commands = death.fix_with("ManagedOOMMemoryPressure=auto")["commands"].to_string();
    assert!(commands.contains("kt-oomd.slice.d"), "{death}");
}

/// A user has it watch a unit of the user's own.
#[test]
#[ignore = "needs systemd-oomd and a disk to swap to: cargo xtask vm runs it"]
fn systemd_oomd_for_a_user() {
    let watched = "ManagedOOMMemoryPressure=kill\nManagedOOMMemoryPressureLimit=5%\n";
    let file = pressing_service(OwnManager::UNITS, "kt-own-pressing", watched);
    let _oomd = Oomd::start();
    let own = OwnManager::start();
    run(&[&own.systemctl()[..], &["daemon-reload"]].concat());
    run(&[&own.systemctl()[..], &["start", "kt-own-pressing"]].concat());
    let death = Oomd::kills("kt-own-pressing");
    assert_eq!(death.0["victim"]["user_unit"], "kt-own-pressing.service", "{death}");
    death.assert_setting("ManagedOOMMemoryPressure", "kill", &file, 2);
    death.assert_setting("ManagedOOMMemoryPressureLimit", "5%", &file, 3);
    death.assert_chain(&[("signal", "SIGKILL"), ("oom", "due to memory pressure for ")]);
    let commands = death.fix_with("ManagedOOMMemoryPressure=auto")["commands"].to_string();
    assert!(commands.contains("/.config/systemd/user/kt-own-pressing.service.d"), "{death}");
}
