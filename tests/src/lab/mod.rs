//! The lab: a Debian system in namespaces with systemd as its PID 1, logind, journald, D-Bus, sshd and
//! tmux, and a second computer from which alice logs in.
//!
//! Every lab is an overlay over one [seed](seed::ensure), boots in seconds, is independent of all
//! others, and leaves nothing behind.

pub(crate) mod apt;
pub mod demo;
mod instance;
mod killtrace;
mod network;
mod options;
pub mod seed;
mod ssh;
pub(crate) mod wait;

use std::path::{Path, PathBuf};
use std::process::{Child, Command, ExitStatus, Output, Stdio};

use anyhow::{Context, Result, bail};

use crate::vm::apt::tree_of;
use instance::Instance;
use network::ClientComputer;

pub use killtrace::{Killtrace, RECORDING, Report};
pub use network::{CLIENT_ADDRESS, LAB_ADDRESS};
pub use options::Options;
pub use seed::{EARLYOOM, NEEDRESTART, OPENRC, SUITE_VARIABLE};
pub use ssh::Login;
pub use wait::{PATIENCE, wait_for};

/// Where the lab sees the project's programs, read-only.
pub const PROGRAMS: &str = "/opt/killtrace";
/// cgroup of what is run in the lab from outside, below the lab's own.
const VISITORS: &str = "visitors";
const BOOT: &str = include_str!("boot.sh");
/// Environment variable: which program carries the bus of a lab, `broker` or, without it, Debian's own, dbus-daemon.
const BUS_VARIABLE: &str = "KILLTRACE_LAB_BUS";

/// A running lab. It is gone, with all its processes, when this value is dropped.
#[derive(Debug)]
pub struct Lab {
    // In the order in which they have to go.
    client: Option<ClientComputer>,
    unshare: Child,
    init: u32,
    instance: Instance,
}

impl Lab {
    /// Boots a lab and waits until every service is up.
    ///
    /// # Errors
    /// Without root, or where the machine lacks something: the message says what.
    pub fn start(options: &Options) -> Result<Self> {
        let seed = seed::ensure()?;
        let instance = Instance::create()?;
        let key = new_key(&instance.directory().join("key"))?;
        with_bus(options.clone())?
            .file("/etc/ssh/authorized_keys/alice", &key)
            .file("/etc/machine-id", &format!("{:032x}\n", std::process::id()))
            .file("/etc/hostname", "lab\n")
            .write_layer(&instance.directory().join("layer"), &seed)?;
        let unshare = boot(&instance, &seed)?;
        let mut lab = Self { client: None, unshare, init: 0, instance };
        lab.init = lab.wait_for_init()?;
        lab.wait_for_boot()?;
        lab.client = Some(ClientComputer::connect(lab.init)?);
        lab.wait_for_port(22)?;
        Ok(lab)
    }

    /// A command that will run in the lab as root, in all its namespaces and in a cgroup of its own.
    pub fn command(&self, argv: &[&str]) -> Command {
        let mut command = Command::new("sh");
        command
            .args(["-c", "echo 0 > \"$1/cgroup.procs\" && shift && exec nsenter \"$@\"", "sh"])
            .arg(self.instance.cgroup().join(VISITORS))
            .args(["--target", &self.init.to_string(), "--all", "--"])
            .args(argv)
            .env_clear()
            .env("PATH", "/usr/local/sbin:/usr/local/bin:/usr/sbin:/usr/bin:/sbin:/bin")
            .env("LANG", "C.UTF-8");
        command
    }

    /// Runs a program in the lab as root to its end.
    ///
    /// # Errors
    /// Where it cannot be started; a status other than 0 is no error.
    pub fn output(&self, argv: &[&str]) -> Result<Output> {
        wait::output_of(&mut self.command(argv), b"")
    }

    /// Runs a program in the lab as root that has to succeed, and returns its standard output.
    ///
    /// # Errors
    /// Where it fails; the message carries its standard error.
    pub fn exec(&self, argv: &[&str]) -> Result<String> {
        wait::must_succeed(&mut self.command(argv), b"")
    }

    /// Runs a program in the lab interactively, with this program's own terminal.
    ///
    /// # Errors
    /// Where it cannot be started.
    pub fn attach(&self, argv: &[&str]) -> Result<ExitStatus> {
        let mut command = self.command(argv);
        if let Some(term) = std::env::var_os("TERM") {
            command.env("TERM", term);
        }
        command.status().context("cannot start the program in the lab")
    }

    /// Writes a text file in the lab, with the directories above it.
    ///
    /// # Errors
    /// Where that cannot be done.
    pub fn write(&self, path: &str, text: &str) -> Result<()> {
        let script = r#"mkdir -p -- "$(dirname -- "$1")" && cat > "$1""#;
        let mut command = self.command(&["sh", "-c", script, "sh", path]);
        wait::must_succeed(&mut command, text.as_bytes()).map(drop)
    }

    /// Unpacks packages that the seed does not have: they conflict with what it has, or act by themselves. Nothing is set up. They are
    /// fetched where they are not there yet.
    ///
    /// # Errors
    /// Where they cannot be fetched or unpacked.
    pub fn unpack(&self, packages: &[&str]) -> Result<()> {
        let tree = tree_of(packages, &seed::suite()?, &seed::lab_directory())?;
        let mut pack = Command::new("tar");
        pack.args(["--create", "--file", "-", "--directory"]).arg(&tree).args(["etc", "usr"]);
        let content = wait::output_of(&mut pack, b"")?;
        let unpack = ["tar", "--extract", "--keep-directory-symlink", "--directory", "/"];
        wait::must_succeed(&mut self.command(&unpack), &content.stdout).map(drop)
    }

    /// Reads a text file of the lab.
    ///
    /// # Errors
    /// Where that cannot be done.
    pub fn read(&self, path: &str) -> Result<String> {
        self.exec(&["cat", "--", path])
    }

    /// The lab's root directory, seen from outside: there an absolute link of the lab leads elsewhere.
    pub fn root(&self) -> PathBuf {
        PathBuf::from(format!("/proc/{}/root", self.init))
    }

    /// Whether the process with this pid, as the lab counts, exists (also as a zombie).
    pub fn is_alive(&self, pid: u32) -> bool {
        self.root().join(format!("proc/{pid}")).exists()
    }

    /// Waits until a process is gone.
    ///
    /// # Errors
    /// Where it is not gone after [`PATIENCE`].
    pub fn wait_until_gone(&self, pid: u32) -> Result<()> {
        wait_for(&format!("process {pid} of the lab to be gone"), PATIENCE, || {
            Ok((!self.is_alive(pid)).then_some(()))
        })
    }

    /// The only process of the lab whose `comm` is exactly this, once there is one.
    ///
    /// # Errors
    /// Where there is none, or more than one, after [`PATIENCE`].
    pub fn pid_of(&self, comm: &str) -> Result<u32> {
        wait_for(&format!("one process {comm:?}"), PATIENCE, || Ok(self.pid_now(comm).ok()))
    }

    /// The only process of the lab whose `comm` is exactly this.
    ///
    /// # Errors
    /// Where there is none, or more than one.
    pub fn pid_now(&self, comm: &str) -> Result<u32> {
        let found = self.exec(&["pgrep", "--exact", "--", comm])?;
        match found.lines().collect::<Vec<_>>()[..] {
            [pid] => pid.parse().context("pgrep printed no pid"),
            _ => bail!("not exactly one process {comm:?}: {found:?}"),
        }
    }

    /// The messages of the journal so far, one a line: unit or program, and text.
    ///
    /// # Errors
    /// Where the journal cannot be read.
    pub fn journal(&self) -> Result<String> {
        self.exec(&["journalctl", "--sync"])?;
        self.exec(&["journalctl", "--no-pager", "--quiet", "--output=short-precise"])
    }

    /// Waits until a line of the journal contains `text`.
    ///
    /// # Errors
    /// Where none does after [`PATIENCE`].
    pub fn wait_for_journal(&self, text: &str) -> Result<String> {
        wait_for(&format!("{text:?} in the journal"), PATIENCE, || {
            let journal = self.journal()?;
            Ok(journal.lines().find(|line| line.contains(text)).map(str::to_owned))
        })
    }

    /// Lets the network fall silent: packets are lost from now on, and nobody is told.
    ///
    /// # Errors
    /// Where the link cannot be set down.
    pub fn silence_network(&self) -> Result<()> {
        self.client().cut_cable()
    }

    fn client(&self) -> &ClientComputer {
        self.client.as_ref().expect("a started lab has its client")
    }

    fn key(&self) -> PathBuf {
        self.instance.directory().join("key")
    }

    /// The lab's PID 1, as this machine counts: the child of unshare.
    fn wait_for_init(&mut self) -> Result<u32> {
        let parent = self.unshare.id();
        wait_for("the lab's init", PATIENCE, || {
            self.still_booting()?;
            let init = child_of(parent)?;
            // The private socket is the first thing systemd sets up for others to talk to.
            Ok(init.filter(|pid| {
                Path::new(&format!("/proc/{pid}/root/run/systemd/private")).exists()
                    && std::fs::read_to_string(format!("/proc/{pid}/comm"))
                        .is_ok_and(|comm| comm == "systemd\n")
            }))
        })
    }

    fn wait_for_boot(&mut self) -> Result<()> {
        std::fs::create_dir(self.instance.cgroup().join(VISITORS))
            .context("cannot create a cgroup in the lab")?;
        let state = wait_for("the lab to boot", PATIENCE, || {
            self.still_booting()?;
            let output = self.output(&["systemctl", "is-system-running"])?;
            let state = String::from_utf8_lossy(&output.stdout).trim().to_owned();
            let booting = ["", "initializing", "starting", "offline", "unknown"];
            Ok((!booting.contains(&state.as_str())).then_some(state))
        })?;
        if state != "running" {
            let failed = self.output(&["systemctl", "--failed", "--no-legend", "--plain"])?;
            bail!("the lab is {state}: {}", String::from_utf8_lossy(&failed.stdout).trim());
        }
        Ok(())
    }

    fn wait_for_port(&self, port: u16) -> Result<()> {
        wait_for(&format!("the lab to listen on port {port}"), PATIENCE, || {
            let filter = format!("sport = :{port}");
            let sockets = self.exec(&["ss", "-Hltn", &filter])?;
            Ok((!sockets.trim().is_empty()).then_some(()))
        })
    }

    fn still_booting(&mut self) -> Result<()> {
        if let Some(status) = self.unshare.try_wait().context("cannot wait for unshare")? {
            let log = std::fs::read_to_string(self.instance.directory().join("boot.log"));
            bail!("the lab did not boot ({status}): {}", log.unwrap_or_default().trim());
        }
        Ok(())
    }
}

impl Drop for Lab {
    fn drop(&mut self) {
        // With its init the kernel ends every process of a pid namespace; unshare, whose child it
        // is, ends after it. An init that was never seen goes with unshare.
        let killed = self.init != 0
            && Command::new("kill")
                .args(["-KILL", &self.init.to_string()])
                .status()
                .is_ok_and(|status| status.success());
        if !killed {
            let _ = self.unshare.kill();
        }
        let _ = self.unshare.wait();
    }
}

/// Chooses the bus as the environment asks.
fn with_bus(options: Options) -> Result<Options> {
    match std::env::var(BUS_VARIABLE).unwrap_or_default().as_str() {
        "" | "daemon" => Ok(options),
        "broker" => Ok(options.dbus_broker()),
        other => bail!("{BUS_VARIABLE} is {other:?}, neither broker nor daemon"),
    }
}

fn boot(instance: &Instance, seed: &Path) -> Result<Child> {
    let log = std::fs::File::create(instance.directory().join("boot.log"))
        .context("cannot create the lab's boot log")?;
    Command::new("sh")
        .args(["-c", "echo 0 > \"$1/cgroup.procs\" && shift && exec unshare \"$@\"", "sh"])
        .arg(instance.cgroup())
        .args(["--pid", "--fork", "--kill-child", "--mount", "--cgroup", "--net", "--uts", "--ipc"])
        .args(["--", "sh", "-c", BOOT, "lab"])
        .arg(instance.directory())
        .arg(seed)
        .arg(killtrace::programs()?)
        .stdin(Stdio::null())
        .stdout(log.try_clone().context("cannot share the lab's boot log")?)
        .stderr(log)
        .spawn()
        .context("cannot start unshare (package util-linux)")
}

/// alice's key pair at `path`; returns the public half.
///
/// # Errors
/// Where there is no `ssh-keygen`, or a file is in its way.
pub fn new_key(path: &Path) -> Result<String> {
    let mut keygen = Command::new("ssh-keygen");
    keygen.args(["-q", "-t", "ed25519", "-N", "", "-C", "alice", "-f"]).arg(path);
    wait::must_succeed(&mut keygen, b"").context("cannot make a key (package openssh-client)")?;
    std::fs::read_to_string(path.with_extension("pub")).context("cannot read the public key")
}

/// The first child of a process, by `/proc`.
fn child_of(parent: u32) -> Result<Option<u32>> {
    let line = format!("PPid:\t{parent}");
    for entry in std::fs::read_dir("/proc").context("cannot read /proc")?.flatten() {
        let Some(pid) = entry.file_name().to_str().and_then(|name| name.parse().ok()) else {
            continue;
        };
        // Processes come and go while /proc is being read.
        let status = std::fs::read_to_string(entry.path().join("status")).unwrap_or_default();
        if status.lines().any(|found| found == line) {
            return Ok(Some(pid));
        }
    }
    Ok(None)
}
