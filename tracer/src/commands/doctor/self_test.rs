//! `killtrace doctor --self-test`: harmless children die in several ways, and each verdict is compared.
//!
//! Each is traced by this very program, as `killtrace --format json -- sh -c SCRIPT`.

use std::fs::OpenOptions;
use std::io::{self, Read};
use std::os::unix::process::CommandExt as _;
use std::path::Path;
use std::process::{Command, Stdio};
use std::time::{Duration, Instant};

use crate::evidence::Mechanism;
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
    /// A program that the script needs and that is not everywhere.
    needs: Option<&'static str>,
    /// Only root may do it.
    needs_root: bool,
    script: &'static str,
    /// How the victim ends, by which it is found among the deaths: `SIGKILL`, or an exit status.
    ends: Ends,
    victim: &'static str,
    killer: KillerKind,
    killer_name: Option<&'static str>,
    mechanism: Option<Mechanism>,
    causes: &'static [CauseId],
}

/// Why there are no verdicts to compare.
#[derive(Debug)]
enum Trouble {
    /// It could not begin.
    Start(String),
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
        needs: None,
        needs_root: false,
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
        needs: None,
        needs_root: false,
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
        needs: None,
        needs_root: false,
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
        needs: None,
        needs_root: false,
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
        needs: Some("timeout"),
        needs_root: false,
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
        needs: Some("yes"),
        needs_root: false,
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
        needs: None,
        needs_root: false,
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
        needs: Some("mktemp"),
        needs_root: false,
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
        needs: Some("setpriv"),
        needs_root: false,
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
        needs: Some("unshare"),
        needs_root: true,
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
        needs: Some("script"),
        needs_root: false,
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
        let not_tried = |why| self.check(State::Missing, format!("not tried: {why}"));
        if let Some(lack) = self.lack() {
            return not_tried(lack);
        }
        let deaths = match self.deaths(btf) {
            Ok(deaths) => deaths,
            Err(Trouble::Start(why)) => return not_tried(why),
            Err(Trouble::Wrong(why)) => return self.check(State::Fails, why),
        };
        match self.judge(&deaths) {
            Ok(said) => self.check(State::Works, said),
            Err(why) => self.check(State::Fails, why),
        }
    }

    /// What this machine lacks for it: that says nothing about verdicts.
    fn lack(&self) -> Option<String> {
        let is_called = |program: &&str| {
            let words = self.script.split(|c: char| !c.is_ascii_alphanumeric());
            words.into_iter().any(|word| word == *program)
        };
        // `is` of the prelude takes both.
        let commands = ["sleep", "cat", "head"].into_iter();
        let commands = commands.filter(|it| is_called(it) || is_called(&"is"));
        let mut programs = std::iter::once("sh").chain(self.needs).chain(commands);
        if let Some(program) = programs.find(|program| !is_there(program)) {
            return Some(format!("there is no program {program}"));
        }
        if self.needs_root && !presence::is_root() {
            return Some("it takes root".to_owned());
        }
        if let Err(error) = OpenOptions::new().read(true).write(true).open("/dev/null") {
            return Some(format!("/dev/null cannot be opened ({error})"));
        }
        if is_called(&"mktemp")
            && let Err(error) = temporary_file()
        {
            let folder = std::env::temp_dir();
            return Some(format!("no file can be made in {} ({error})", folder.display()));
        }
        None
    }

    fn check(&self, state: State, detail: String) -> Check {
        Check { name: self.name.to_owned(), state, detail, cost: None, remedy: None }
    }

    /// The verdicts of a trace of the script.
    fn deaths(&self, btf: Option<&Path>) -> Result<Vec<Death>, Trouble> {
        let cannot = |what: &str, error| Trouble::Start(format!("cannot {what} myself: {error}"));
        let program = std::env::current_exe().map_err(|error| cannot("find", error))?;
        let mut command = Command::new(program);
        if let Some(btf) = btf {
            command.arg("--btf").arg(btf);
        }
        // SAFETY: the function calls nothing but signal(2), which may be called between fork and exec.
        unsafe { command.pre_exec(default_signals) };
        let mut child = command
            .args(["--format", "json", "--", "sh", "-c", &format!("{PRELUDE}{}", self.script)])
            .stdin(Stdio::null())
            .stdout(Stdio::piped())
            .stderr(Stdio::null())
            // Whoever asked for the checkup may have come by sudo; the script is killtrace's own.
            .env_remove("SUDO_UID")
            .spawn()
            .map_err(|error| cannot("start", error))?;
        let stdout = child.stdout.take();
        let reader = std::thread::spawn(move || {
            let mut text = Vec::new();
            stdout.map(|mut stdout| stdout.read_to_end(&mut text)).transpose().map(|_| text)
        });
        let begin = Instant::now();
        let wrong = |error: io::Error| Trouble::Wrong(error.to_string());
        while child.try_wait().map_err(wrong)?.is_none() {
            if begin.elapsed() > LIMIT {
                let stopped = child.kill().and_then(|()| child.wait());
                let why = format!("no end after {} s ({stopped:?})", LIMIT.as_secs());
                return Err(Trouble::Wrong(why));
            }
            std::thread::sleep(Duration::from_millis(10));
        }
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
            let said = mechanism.map_or("unknown", Mechanism::words);
            return Err(format!("the signal's way was said to be {said}"));
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

/// What nohup(1) and others ignore would be ignored by the children as well.
fn default_signals() -> io::Result<()> {
    for signal in 1..=31 {
        // SAFETY: `SIG_DFL` is a valid disposition; SIGKILL and SIGSTOP are refused, and stay what they are.
        unsafe { libc::signal(signal, libc::SIG_DFL) };
    }
    Ok(())
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::report::samples;

    fn scenario() -> Scenario {
        Scenario {
            name: "a sample",
            needs: None,
            needs_root: false,
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
        let check = Scenario { needs: Some("no-such-program-here"), ..scenario() }.run(None);
        assert_eq!(check.state, State::Missing);
    }
}
