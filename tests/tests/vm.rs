//! Ends that take a machine of their own: `cargo xtask vm` runs these in virtual machines, with the
//! live tests. They are ignored elsewhere.

use std::fs;
use std::io::{BufRead as _, BufReader, Write as _};
use std::os::unix::net::{UnixListener, UnixStream};
use std::path::Path;
use std::process::{Child, ChildStdin, ChildStdout, Command, Stdio};

use killtrace::evidence::{Engine, Fact, Grade, Mechanism};
use killtrace::recording::Reader;
use killtrace::story::verdict::{CauseId, Death, KillerKind, Outcome};
use killtrace_tests::live::{By, Trace, play, run};

fn killed_outright(death: &Death) {
    let outcome = Outcome::Signaled { signal: "SIGKILL".to_owned(), core_dumped: false };
    assert_eq!(death.outcome, outcome);
}

/// The machine's memory is used up. Who asked for the last page is named, and not blamed.
#[test]
#[ignore = "uses up the machine's memory: cargo xtask vm runs it"]
fn memory_exhausted() {
    let played = play("memory-exhausted");
    let death = played.killed(Mechanism::OomKill, By::KernelAlone, CauseId::KernelOomGlobal);
    killed_outright(death);
    let trigger = format!("[{}]", played.pid("trigger"));
    assert!(death.cause.explanation.contains(&trigger), "{}", death.cause.explanation);
}

#[test]
#[ignore = "uses up the machine's memory: cargo xtask vm runs it"]
fn memory_exhausted_by_the_victim() {
    let played = play("memory-exhausted-itself");
    let death = played.killed(Mechanism::OomKill, By::KernelAlone, CauseId::KernelOomGlobal);
    killed_outright(death);
    assert!(death.cause.explanation.contains("its own request"), "{}", death.cause.explanation);
}

/// Every process of the group ends, and each verdict says why.
#[test]
#[ignore = "needs the memory controller of cgroup2: cargo xtask vm runs it"]
fn memory_oom_group() {
    let played = play("cgroup2-oom-group");
    for victim in ["victim", "victim-beside"] {
        let how = Some(Mechanism::OomKill);
        let death = played.verdict(victim, how, By::KernelAlone, CauseId::KernelOomCgroup);
        killed_outright(death);
        let text = &death.cause.explanation;
        assert!(text.contains("memory.oom.group") && text.contains("24"), "{victim}: {text}");
    }
}

/// The limit that was reached is not the victim's own cgroup's.
#[test]
#[ignore = "needs the memory controller of cgroup2: cargo xtask vm runs it"]
fn memory_limit_of_the_cgroup_above() {
    let played = play("cgroup2-oom-above");
    let death = played.killed(Mechanism::OomKill, By::KernelAlone, CauseId::KernelOomCgroup);
    killed_outright(death);
    let text = &death.cause.explanation;
    assert!(text.contains("/killtrace-outer-") && !text.contains("/inner-"), "{text}");
}

/// There was no shortage: somebody asked for it.
#[test]
#[ignore = "ends whoever has most memory: cargo xtask vm runs it"]
fn sysrq_oom() {
    let played = play("sysrq-oom");
    let death = played.killed(Mechanism::Sysrq, By::KernelAlone, CauseId::Sysrq);
    killed_outright(death);
}

/// A page of its memory has failed, which the kernel tells at the next touch.
#[test]
#[ignore = "costs the machine a page of memory: cargo xtask vm runs it"]
fn poisoned_page() {
    let played = play("poisoned-page");
    let death =
        played.killed(Mechanism::MemoryFailure, By::KernelAlone, CauseId::HardwareMemoryError);
    assert_eq!(death.signal.as_ref().map(|signal| signal.si_code.as_str()), Some("BUS_MCEERR_AR"));
    assert!(death.cause.explanation.contains(", at address 0x"), "{}", death.cause.explanation);
}

/// The kernel kills, but since somebody closed the descriptor: that is who is named.
#[test]
#[ignore = "needs Linux 7.1: cargo xtask vm runs it"]
fn pidfd_closed() {
    let played = play("pidfd-closed");
    let by = By::Process("holder");
    let death = played.killed(Mechanism::PidfdSendSignal, by, CauseId::ProcessSignal);
    killed_outright(death);
    let text = &death.cause.explanation;
    assert!(text.contains("closed its last pidfd"), "{text}");
}

/// A shell that runs a script and is spoken to, a line at a time. It does not outlive its test.
struct Shell {
    child: Child,
    said: BufReader<ChildStdout>,
    ears: ChildStdin,
}

impl Shell {
    fn run(wrapper: &[&str], script: &str) -> Self {
        let words = [wrapper, &["sh", "-c", script]].concat();
        let started = Command::new(words[0])
            .args(&words[1..])
            .stdin(Stdio::piped())
            .stdout(Stdio::piped())
            .spawn();
        let mut child = started.unwrap_or_else(|error| panic!("cannot start {words:?}: {error}"));
        let said = BufReader::new(child.stdout.take().expect("standard output is piped"));
        let ears = child.stdin.take().expect("standard input is piped");
        Self { child, said, ears }
    }

    fn pid(&self) -> String {
        self.child.id().to_string()
    }

    /// Waits until it says that word.
    fn says(&mut self, word: &str) {
        let mut line = String::new();
        self.said.read_line(&mut line).expect("it speaks");
        assert_eq!(line.trim_end(), word);
    }

    fn tell(&mut self) {
        self.ears.write_all(b"go\n").expect("it listens");
    }

    fn ends(&mut self) {
        self.child.wait().expect("it is a child");
    }
}

impl Drop for Shell {
    fn drop(&mut self) {
        // An error says that it is gone already.
        let _ = self.child.kill();
        let _ = self.child.wait();
    }
}

fn write(path: &str, text: &str) {
    fs::write(path, text).unwrap_or_else(|error| panic!("{path}: {error}"));
}

/// The wall clock, in seconds.
fn wall_clock() -> u64 {
    run(&["date", "+%s"]).parse().expect("a number")
}

/// Sends so many SIGUSR1 to the first argument, and says when a quarter of them is sent.
const FLOOD: &str = "i=0; while [ $i -lt 4000 ]; do kill -USR1 $victim; i=$((i+1)); \
                     if [ $i -eq 1000 ]; then echo quarter; fi; done";

/// What a CPU has counted by itself is told though it goes, and who comes while it is away sees what happens on it
/// when it is back.
#[test]
#[ignore = "takes a CPU offline: cargo xtask vm runs it"]
fn a_cpu_goes_and_comes_back() {
    const ONLINE: &str = "/sys/devices/system/cpu/cpu1/online";
    const ON_IT: [&str; 3] = ["taskset", "-c", "1"];
    let there = Path::new(ONLINE).exists();
    assert!(there, "this kernel has no CPU that can be taken offline (CONFIG_HOTPLUG_CPU)");
    let mut victim = Shell::run(&[], "trap '' USR1; echo ready; read -r _");
    victim.says("ready");
    let target = ["-p".to_owned(), victim.pid()];
    let trace = Trace::start("flood", &target);
    let flood = format!("victim={}; {FLOOD}", victim.pid());
    let mut sender = Shell::run(&ON_IT, &flood);
    sender.says("quarter");
    write(ONLINE, "0");
    sender.ends();
    let late = Trace::start("late", &target);
    write(ONLINE, "1");
    let mut sender = Shell::run(&ON_IT, &flood);
    sender.says("quarter");
    sender.ends();
    let kill = format!("kill -KILL {}; :", victim.pid());
    let mut killer = Shell::run(&ON_IT, &kill);
    let pid = killer.child.id();
    killer.ends();
    victim.ends();
    for (trace, signals) in [(trace, 8001), (late, 4001)] {
        let ended = trace.finish();
        assert_eq!(ended.losses().count(), 0, "nothing is lost\n{}", ended.complaint());
        assert_eq!(ended.summary().map(|summary| summary.signals), Some(signals));
        let death = ended.deaths().next().expect("a verdict");
        killed_outright(death);
        let by = death.killer.process.as_ref().map(|killer| killer.pid);
        assert_eq!(by, Some(pid), "{death:#?}");
    }
}

/// How long the machine sleeps, in seconds.
const ASLEEP: u64 = 6;

/// Suspends the machine to memory (S3) until its clock wakes it.
fn sleep_in_s3() {
    const ALARM: &str = "/sys/class/rtc/rtc0/wakealarm";
    const DEPTH: &str = "/sys/power/mem_sleep";
    let deep = fs::read_to_string(DEPTH).is_ok_and(|states| states.contains("deep"));
    let alarm = Path::new(ALARM).exists();
    assert!(deep && alarm, "this kernel has no S3 sleep here that a clock could end");
    write(DEPTH, "deep");
    // Some other event can wake it at once.
    for _ in 0..5 {
        let before = wall_clock();
        write(ALARM, "0");
        write(ALARM, &format!("+{ASLEEP}"));
        write("/sys/power/state", "mem");
        if wall_clock() - before >= ASLEEP - 1 {
            return;
        }
    }
    panic!(
        "this kernel has no S3 sleep here that lasts: something woke the machine at once, five times"
    );
}

/// While the machine sleeps somebody is about to end who has been asked to; another is killed when it is awake.
#[test]
#[ignore = "puts the machine to sleep: cargo xtask vm runs it"]
fn the_machine_sleeps() {
    let script =
        "trap 'echo caught; read -r _; exit 3' TERM; echo ready; while :; do sleep 0.1; done";
    let mut asked = Shell::run(&[], script);
    asked.says("ready");
    let mut killed = Shell::run(&[], "echo ready; read -r _");
    killed.says("ready");
    let targets = ["-p".to_owned(), asked.pid(), "-p".to_owned(), killed.pid()];
    let trace = Trace::start("asleep", &targets);
    let before = wall_clock();
    run(&["kill", "-TERM", &asked.pid()]);
    asked.says("caught");
    sleep_in_s3();
    let awake = wall_clock();
    asked.tell();
    asked.ends();
    run(&["kill", "-KILL", &killed.pid()]);
    killed.ends();
    let after = wall_clock();
    let ended = trace.finish();
    assert_eq!(ended.losses().count(), 0, "nothing is lost\n{}", ended.complaint());
    let deaths: Vec<&Death> = ended.deaths().collect();
    let [asked, killed] = deaths.as_slice() else { panic!("{deaths:#?}") };
    assert_eq!(asked.outcome, Outcome::Exited { status: 3 }, "{asked:#?}");
    assert_eq!(asked.cause.evidence, Grade::Inferred, "{asked:#?}");
    killed_outright(killed);
    for death in &deaths {
        assert_eq!(death.killer.kind, KillerKind::Process, "{death:#?}");
        assert_eq!(death.cause.id, CauseId::UserCommand, "{death:#?}");
    }
    let signals: Vec<_> = ended.signals().collect();
    let [term, kill] = signals.as_slice() else { panic!("{signals:#?}") };
    let moments = [term.at, asked.at, kill.at, killed.at];
    assert!(moments.is_sorted_by_key(|at| at.boot_ns), "{moments:#?}");
    let slept = (asked.at.boot_ns - term.at.boot_ns) / 1_000_000_000;
    assert!(slept >= ASLEEP - 1, "the sleep is part of the {slept} s in between");
    for (at, from, to) in [
        (term.at, before, awake),
        (asked.at, awake, after),
        (kill.at, awake, after),
        (killed.at, awake, after),
    ] {
        let shown = u64::try_from(at.time.unix_ns() / 1_000_000_000).expect("after 1970");
        assert!((from..=to).contains(&shown), "{from} {shown} {to}");
    }
    assert!(deaths.into_iter().cloned().eq(ended.replayed()), "{}", ended.complaint());
}

/// Binds a socket there, connects to it and removes it.
fn connect_to(path: &str) {
    let parent = Path::new(path).parent().expect("a folder");
    fs::create_dir_all(parent).unwrap_or_else(|error| panic!("{}: {error}", parent.display()));
    let listener = UnixListener::bind(path).unwrap_or_else(|error| panic!("{path}: {error}"));
    UnixStream::connect(path).unwrap_or_else(|error| panic!("{path}: {error}"));
    drop(listener);
    fs::remove_file(path).unwrap_or_else(|error| panic!("{path}: {error}"));
}

/// Who connects to a daemon that runs containers is recorded; who does to another's socket is not, nor to one at such a
/// path that does not belong to whom it should.
#[test]
#[ignore = "binds the sockets of container engines: cargo xtask vm runs it"]
fn connections_to_container_engines() {
    let mut victim = Shell::run(&[], "echo ready; read -r _");
    victim.says("ready");
    let trace = Trace::start("engines", &["-p".to_owned(), victim.pid()]);
    for path in [
        "/run/docker.sock",
        "/run/docker.sock.d",
        "/run/user/1000/docker.sock",
        "/var/run/docker.sock",
        "/run/podman/podman.sock",
        "/run/user/0/podman/podman.sock",
        "/run/containerd/containerd.sock",
        "/run/containerd/containerd.sock.ttrpc",
        "/run/user/0/docker.sock",
    ] {
        connect_to(path);
    }
    run(&["kill", "-KILL", &victim.pid()]);
    victim.ends();
    let ended = trace.finish();
    assert_eq!(ended.losses().count(), 0, "nothing is lost\n{}", ended.complaint());
    let (_, mut reader) = Reader::open(&ended.recording).expect("a recording");
    let mut seen = Vec::new();
    while let Some(evidence) = reader.next_evidence().expect("a line") {
        if let Fact::EngineConnection(to) = evidence.fact
            && to.task.id.pid == std::process::id()
        {
            seen.push((to.engine, to.owner));
        }
    }
    let expected = [
        (Engine::Docker, None),
        (Engine::Docker, None),
        (Engine::Podman, None),
        (Engine::Podman, Some(0)),
        (Engine::Containerd, None),
        (Engine::Docker, Some(0)),
    ];
    assert_eq!(seen, expected, "{}", ended.complaint());
}
