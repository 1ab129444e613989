//! `killtrace doctor --self-test`: harmless children die in several ways, and each verdict is compared.
//!
//! Each is traced by this very program, as `killtrace --format json -- sh -c SCRIPT`.

use std::fs::OpenOptions;
use std::io::{self, Read};
use std::os::unix::process::CommandExt as _;
use std::path::Path;
use std::process::{Child, Command, ExitStatus, Stdio};
use std::time::{Duration, Instant};

use caps::Capability;

use super::kernel::names_remedy;
use crate::commands::limits::ENOUGH_THREADS;
use crate::evidence::Mechanism;
use crate::kernel::{function_names, privileged};
use crate::report::checkup::{Check, State};
use crate::report::words;
use crate::story::verdict::{CauseId, Death, KillerKind, Outcome, Record};
use crate::system::presence;

/// How long one may take.
const LIMIT: Duration = Duration::from_secs(20);

/// What every script begins with: `is PID NAME` waits until the process has that name, for a few seconds.
const PRELUDE: &str = "is() { n=0; \
     until [ \"$(cat /proc/$1/comm 2>/dev/null)\" = \"$2\" ] || [ $n -ge 100 ]; \
     do n=$((n + 1)); sleep 0.05; done; }\n";

/// A death, and what is to be said of it.
pub struct Scenario {
    /// What happens, in a few words.
    pub name: &'static str,
    /// What it takes that is not everywhere.
    needs: &'static [Need],
    script: &'static str,
    /// How the victim ends, by which it is found among the deaths: `SIGKILL`, or an exit status.
    ends: Ends,
    victim: &'static str,
    killer: KillerKind,
    killer_name: Option<&'static str>,
    mechanism: Option<Mechanism>,
    causes: &'static [CauseId],
}

/// What is not everywhere.
#[derive(Clone, Copy, Debug)]
enum Need {
    /// A program that the script calls.
    Program(&'static str),
    /// A command that has to succeed, and what to do where it does not; `None`: it makes a pid namespace.
    Rehearsal(&'static [&'static str], Option<&'static str>),
    /// Names of the kernel's functions, without which no verdict on it can be right.
    FunctionNames,
}

/// A container's root may not be allowed to make one.
const PID_NAMESPACE: Need = Need::Rehearsal(&["unshare", "-pf", "true"], None);
const TERMINAL: Need = Need::Rehearsal(
    &["script", "-qec", "true", "/dev/null"],
    Some("see that there is a /dev/ptmx, and devpts on /dev/pts: mount -t devpts devpts /dev/pts"),
);

/// Why something cannot be tried here, and what to do about it.
#[derive(Debug)]
struct Lack {
    why: String,
    remedy: String,
}

/// Why there are no verdicts to compare.
#[derive(Debug)]
enum Trouble {
    /// It could not begin.
    Start(Lack),
    /// It did not go on as it has to.
    Wrong(String),
}

/// How a process ends.
#[derive(Clone, Copy, Debug)]
enum Ends {
    By(&'static str),
    With(u8),
}

/// All of them.
pub const SCENARIOS: &[Scenario] = &[
    Scenario {
        name: "killed by a shell",
        needs: &[],
        script: "sleep 60 & is $! sleep; kill -KILL $!; wait",
        ends: Ends::By("SIGKILL"),
        victim: "sleep",
        killer: KillerKind::Process,
        killer_name: Some("sh"),
        mechanism: Some(Mechanism::Kill),
        causes: &[CauseId::UserCommand, CauseId::ProcessSignal],
    },
    Scenario {
        name: "asked to end, and ended by itself",
        needs: &[],
        script: "sh -c 'trap \"exit 7\" TERM; echo $$; while :; do sleep 0.05; done' | \
                 { read -r pid; kill -TERM $pid; }",
        ends: Ends::With(7),
        victim: "sh",
        killer: KillerKind::Process,
        killer_name: Some("sh"),
        mechanism: Some(Mechanism::Kill),
        causes: &[CauseId::UserCommand, CauseId::ProcessSignal],
    },
    Scenario {
        name: "ended, and nobody killed it",
        needs: &[],
        script: "exit 3",
        ends: Ends::With(3),
        victim: "sh",
        killer: KillerKind::None,
        killer_name: None,
        mechanism: None,
        causes: &[CauseId::ExitedByItself],
    },
    Scenario {
        name: "killed itself",
        needs: &[],
        script: "kill -ABRT $$",
        ends: Ends::By("SIGABRT"),
        victim: "sh",
        killer: KillerKind::Itself,
        killer_name: None,
        mechanism: Some(Mechanism::Kill),
        causes: &[],
    },
    Scenario {
        name: "ran out of its time limit",
        needs: &[Need::Program("timeout")],
        script: "timeout 1 sleep 60",
        ends: Ends::By("SIGTERM"),
        victim: "sleep",
        killer: KillerKind::Process,
        killer_name: Some("timeout"),
        mechanism: Some(Mechanism::Kill),
        causes: &[CauseId::TimeoutCommand],
    },
    Scenario {
        name: "wrote to a pipe nobody reads",
        needs: &[Need::Program("yes")],
        script: "yes | head -n 1 >/dev/null",
        ends: Ends::By("SIGPIPE"),
        victim: "yes",
        killer: KillerKind::Itself,
        killer_name: None,
        mechanism: Some(Mechanism::Pipe),
        causes: &[CauseId::BrokenPipe],
    },
    Scenario {
        name: "used up its CPU time",
        needs: &[],
        script: "ulimit -S -t 1; while :; do :; done",
        ends: Ends::By("SIGXCPU"),
        victim: "sh",
        killer: KillerKind::Kernel,
        killer_name: None,
        mechanism: Some(Mechanism::RlimitCpu),
        causes: &[CauseId::CpuLimit],
    },
    Scenario {
        name: "wrote past its file size limit",
        needs: &[Need::Program("mktemp")],
        script: "f=$(mktemp) && exec 3>\"$f\" && rm \"$f\" && ulimit -S -f 0 && echo x >&3",
        ends: Ends::By("SIGXFSZ"),
        victim: "sh",
        killer: KillerKind::Kernel,
        killer_name: None,
        mechanism: Some(Mechanism::RlimitFsize),
        causes: &[CauseId::FileSizeLimit],
    },
    Scenario {
        name: "died with its parent",
        needs: &[Need::Program("setpriv")],
        script: "(setpriv --pdeathsig KILL sleep 60 & is $! sleep); sleep 0.1",
        ends: Ends::By("SIGKILL"),
        victim: "sleep",
        killer: KillerKind::Kernel,
        killer_name: None,
        mechanism: Some(Mechanism::ParentDeathSignal),
        causes: &[CauseId::ParentDied],
    },
    Scenario {
        name: "died with the init of its pid namespace",
        needs: &[Need::Program("unshare"), Need::FunctionNames, PID_NAMESPACE],
        script: "unshare -pf sh -c 'sleep 60 & exec sleep 1'",
        ends: Ends::By("SIGKILL"),
        victim: "sleep",
        killer: KillerKind::Kernel,
        killer_name: None,
        mechanism: Some(Mechanism::PidNamespaceExit),
        causes: &[CauseId::PidNamespaceInitExited],
    },
    Scenario {
        name: "lost its terminal",
        needs: &[Need::Program("script"), Need::FunctionNames, TERMINAL],
        // What comes through a terminal ends in a carriage return.
        script: "sh -c 'echo $$; exec script -qec \"echo \\$\\$; exec sleep 60\" /dev/null </dev/null' | \
                 { read -r script; IFS=$(printf ' \\r') read -r pid; is $pid sleep; \
                 kill -KILL $script; is $pid ''; }",
        ends: Ends::By("SIGHUP"),
        victim: "sleep",
        killer: KillerKind::Kernel,
        killer_name: None,
        mechanism: Some(Mechanism::TtyHangup),
        causes: &[CauseId::TerminalClosed],
    },
];

impl Scenario {
    /// Lets it happen and compares the verdict.
    pub fn run(&self, btf: Option<&Path>) -> Check {
        let not_tried = |lack: Lack| Check {
            remedy: Some(lack.remedy),
            ..self.check(State::Missing, format!("not tried: {}", lack.why))
        };
        if let Some(lack) = self.lack() {
            return not_tried(lack);
        }
        let deaths = match self.deaths(btf) {
            Ok(deaths) => deaths,
            Err(Trouble::Start(lack)) => return not_tried(lack),
            Err(Trouble::Wrong(why)) => return self.check(State::Fails, why),
        };
        match self.judge(&deaths) {
            Ok(said) => self.check(State::Works, said),
            Err(why) => self.check(State::Fails, why),
        }
    }

    /// What this machine lacks for it: that says nothing about verdicts.
    fn lack(&self) -> Option<Lack> {
        let is_called = |program: &&str| {
            let words = self.script.split(|c: char| !c.is_ascii_alphanumeric());
            words.into_iter().any(|word| word == *program)
        };
        // `is` of the prelude takes both.
        let commands = ["sh", "sleep", "cat", "head"].into_iter();
        let commands = commands.filter(|it| *it == "sh" || is_called(it) || is_called(&"is"));
        let needs = commands.map(Need::Program).chain(self.needs.iter().copied());
        if let Some(lack) = needs.into_iter().find_map(Need::lack) {
            return Some(lack);
        }
        if let Err(error) = OpenOptions::new().read(true).write(true).open("/dev/null") {
            let why = format!("/dev/null cannot be opened ({error})");
            return Some(Lack { why, remedy: "mknod -m 666 /dev/null c 1 3".to_owned() });
        }
        if is_called(&"mktemp")
            && let Err(error) = temporary_file()
        {
            let folder = std::env::temp_dir();
            let why = format!("no file can be made in {} ({error})", folder.display());
            return Some(Lack { why, remedy: "give another folder with TMPDIR".to_owned() });
        }
        None
    }

    fn check(&self, state: State, detail: String) -> Check {
        Check { name: self.name.to_owned(), state, detail, cost: None, remedy: None }
    }

    /// The verdicts of a trace of the script.
    fn deaths(&self, btf: Option<&Path>) -> Result<Vec<Death>, Trouble> {
        let cannot = |what: &str, error| {
            let why = format!("cannot {what} myself: {error}");
            Trouble::Start(Lack { why, remedy: ENOUGH_THREADS.to_owned() })
        };
        let program = std::env::current_exe().map_err(|error| cannot("find", error))?;
        let mut command = Command::new(program);
        if let Some(btf) = btf {
            command.arg("--btf").arg(btf);
        }
        command
            .args(["--format", "json", "--", "sh", "-c", &format!("{PRELUDE}{}", self.script)])
            .stdin(Stdio::null())
            .stdout(Stdio::piped())
            .stderr(Stdio::null())
            // Whoever asked for the checkup may have come by sudo; the script is killtrace's own.
            .env_remove("SUDO_UID");
        let mut child = start(&mut command).map_err(|error| cannot("start", error))?;
        let stdout = child.stdout.take();
        let reader = std::thread::spawn(move || {
            let mut text = Vec::new();
            stdout.map(|mut stdout| stdout.read_to_end(&mut text)).transpose().map(|_| text)
        });
        let wrong = |error: io::Error| Trouble::Wrong(error.to_string());
        await_end(&mut child).map_err(wrong)?;
        let unread = |_| Trouble::Wrong("the report could not be read".to_owned());
        let text = reader.join().map_err(unread)?.map_err(wrong)?;
        let records = text.split(|byte| *byte == b'\n').filter(|line| !line.is_empty());
        let mut deaths = Vec::new();
        for line in records {
            // The script may write to the same stream.
            if let Ok(Record::Death(death)) = serde_json::from_slice(line) {
                deaths.push(*death);
            }
        }
        Ok(deaths)
    }

    /// What the verdict says, or what is wrong with it.
    fn judge(&self, deaths: &[Death]) -> Result<String, String> {
        let death = deaths
            .iter()
            .find(|death| self.is_it(death))
            .ok_or_else(|| format!("the death of {} was not seen", self.victim))?;
        let who = words::killer(&death.killer);
        let by = death.killer.process.as_ref().and_then(|by| by.comm.as_deref());
        if death.killer.kind != self.killer || self.killer_name.is_some_and(|name| by != Some(name))
        {
            return Err(format!("the killer was said to be {who}"));
        }
        let mechanism = death.signal.as_ref().map(|signal| signal.mechanism);
        if self.mechanism.is_some() && mechanism != self.mechanism {
            return Err(match mechanism {
                None | Some(Mechanism::UnknownKernel) => {
                    "how the signal came about was not told".to_owned()
                }
                Some(said) => format!("the signal's way was said to be {}", said.words()),
            });
        }
        let cause = death.cause.id;
        if !self.causes.is_empty() && !self.causes.contains(&cause) {
            return Err(format!("the cause was said to be {}", cause.as_str()));
        }
        Ok(format!("by {who}: {}", cause.as_str()))
    }

    fn is_it(&self, death: &Death) -> bool {
        let ended = match (&death.outcome, self.ends) {
            (Outcome::Signaled { signal, .. }, Ends::By(name)) => signal == name,
            (Outcome::Exited { status }, Ends::With(number)) => *status == number,
            _ => false,
        };
        ended && death.victim.comm.as_deref() == Some(self.victim)
    }
}

impl Need {
    /// What this machine lacks of it.
    fn lack(self) -> Option<Lack> {
        match self {
            Self::Program(program) => (!is_there(program)).then(|| Lack {
                why: format!("there is no program {program}"),
                remedy: "install it, or have its folder in PATH".to_owned(),
            }),
            Self::Rehearsal(words, remedy) => rehearse(words).err().map(|error| Lack {
                why: format!("`{}` fails: {error}", words.join(" ")),
                remedy: match remedy {
                    Some(remedy) => remedy.to_owned(),
                    None => namespace_remedy(),
                },
            }),
            Self::FunctionNames => function_names()
                .err()
                .map(|nameless| Lack { why: nameless.to_string(), remedy: names_remedy(nameless) }),
        }
    }
}

/// How somebody comes to make a pid namespace.
fn namespace_remedy() -> String {
    if !presence::is_root() {
        "run the self-test as root".to_owned()
    } else if presence::has(Capability::CAP_SYS_ADMIN) {
        "sysctl user.max_pid_namespaces says how many there may be; a seccomp filter can forbid them as well".to_owned()
    } else {
        privileged()
    }
}

/// Runs a command; where it fails, the error has its own words.
fn rehearse(words: &[&str]) -> io::Result<()> {
    let mut command = Command::new(words[0]);
    command.args(&words[1..]).stdin(Stdio::null()).stdout(Stdio::null()).stderr(Stdio::piped());
    let mut child = start(&mut command)?;
    let ended = await_end(&mut child)?;
    if ended.success() {
        return Ok(());
    }
    let mut said = Vec::new();
    child.stderr.take().map(|stderr| stderr.take(4096).read_to_end(&mut said)).transpose()?;
    let said = String::from_utf8_lossy(&said);
    let said = said.lines().map(str::trim).find(|line| !line.is_empty());
    Err(io::Error::other(said.map_or_else(|| ended.to_string(), str::to_owned)))
}

/// Starts a child that takes every signal as it comes.
fn start(command: &mut Command) -> io::Result<Child> {
    // SAFETY: the function calls nothing but signal(2) and sigprocmask(2), which may be called between fork and exec.
    unsafe { command.pre_exec(default_signals) };
    command.spawn()
}

/// Waits until a child has ended, but not for ever.
fn await_end(child: &mut Child) -> io::Result<ExitStatus> {
    let begin = Instant::now();
    loop {
        if let Some(ended) = child.try_wait()? {
            return Ok(ended);
        }
        if begin.elapsed() > LIMIT {
            child.kill()?;
            child.wait()?;
            return Err(io::Error::other(format!("it did not end within {} s", LIMIT.as_secs())));
        }
        std::thread::sleep(Duration::from_millis(10));
    }
}

/// Makes a file as mktemp(1) does, and removes it.
fn temporary_file() -> io::Result<()> {
    let path = std::env::temp_dir().join(format!("killtrace-self-test-{}", std::process::id()));
    OpenOptions::new().write(true).create_new(true).open(&path)?;
    std::fs::remove_file(path)
}

/// Whether a program can be found.
fn is_there(program: &str) -> bool {
    let path = std::env::var_os("PATH").unwrap_or_default();
    std::env::split_paths(&path).any(|folder| folder.join(program).is_file())
}

/// What nohup(1) and others ignore, or block, would be ignored or blocked by the children as well.
fn default_signals() -> io::Result<()> {
    for signal in 1..=31 {
        // SAFETY: `SIG_DFL` is a valid disposition; SIGKILL and SIGSTOP are refused, and stay what they are.
        unsafe { libc::signal(signal, libc::SIG_DFL) };
    }
    let mut none = std::mem::MaybeUninit::uninit();
    // SAFETY: the set is valid for writes.
    unsafe { libc::sigemptyset(none.as_mut_ptr()) };
    // SAFETY: the set has been initialised; the old one is not asked for.
    let set = unsafe { libc::sigprocmask(libc::SIG_SETMASK, none.as_ptr(), std::ptr::null_mut()) };
    if set == 0 { Ok(()) } else { Err(io::Error::last_os_error()) }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::report::samples;

    fn scenario() -> Scenario {
        Scenario {
            name: "a sample",
            needs: &[],
            script: "",
            ends: Ends::With(0),
            victim: "tmux: server",
            killer: KillerKind::Process,
            killer_name: Some("systemd"),
            mechanism: Some(Mechanism::Kill),
            causes: &[CauseId::LogindKillUserProcesses],
        }
    }

    #[test]
    fn a_right_verdict_passes_and_each_wrong_word_fails() {
        let judge = |test: &Scenario| test.judge(&[samples::crash(), samples::death()]);
        assert_eq!(judge(&scenario()).as_deref(), Ok("by systemd[1]: logind-kill-user-processes"));
        for (wrong, said) in [
            (Scenario { ends: Ends::With(1), ..scenario() }, "was not seen"),
            (Scenario { ends: Ends::By("SIGTERM"), ..scenario() }, "was not seen"),
            (Scenario { victim: "tmux", ..scenario() }, "was not seen"),
            (Scenario { killer: KillerKind::Kernel, ..scenario() }, "said to be systemd[1]"),
            (Scenario { killer_name: Some("sh"), ..scenario() }, "said to be systemd[1]"),
            (Scenario { mechanism: Some(Mechanism::Tkill), ..scenario() }, "said to be kill(2)"),
            (
                Scenario { causes: &[CauseId::Crash], ..scenario() },
                "said to be logind-kill-user-processes",
            ),
        ] {
            let why = judge(&wrong).expect_err("it must fail");
            assert!(why.contains(said), "{why}");
        }
    }

    #[test]
    fn what_cannot_be_tried_is_not_a_failure() {
        let check =
            Scenario { needs: &[Need::Program("no-such-program-here")], ..scenario() }.run(None);
        assert!(check.state == State::Missing && check.remedy.is_some(), "{check:?}");
        const REFUSED: Need =
            Need::Rehearsal(&["sh", "-c", "echo 'not here' >&2; exit 3"], Some("go there"));
        let check = Scenario { needs: &[REFUSED], ..scenario() }.run(None);
        assert_eq!(check.state, State::Missing);
        assert!(check.detail.ends_with("fails: not here"), "{}", check.detail);
        assert_eq!(check.remedy.as_deref(), Some("go there"));
        assert!(rehearse(&["true"]).is_ok());
        let silent = rehearse(&["false"]).expect_err("it fails").to_string();
        assert_eq!(silent, "exit status: 1");
    }
}
