//! The virtual machine: QEMU, without hardware assistance, so that it runs anywhere.

use std::fs::{self, File};
use std::io::{BufRead as _, BufReader};
use std::os::unix::process::CommandExt as _;
use std::path::{Path, PathBuf};
use std::process::{Child, Command, Stdio};
use std::sync::mpsc::{self, Receiver, RecvTimeoutError};
use std::time::Duration;

use anyhow::{Context, Result, bail};

use super::apt::{Apt, codename};
use super::kernels::{Arch, Guest, Kernel};
use super::plan::Line;

/// Longer silence than this means that the machine hangs: one test may take four minutes.
const SILENCE: Duration = Duration::from_secs(300);

/// The emulator of an architecture.
struct Emulator {
    program: &'static str,
    /// The package that has it.
    package: &'static str,
    /// The first release that is good enough.
    oldest: u32,
    machine: &'static str,
    cpu: &'static str,
    /// What Linux calls its first serial line.
    console: &'static str,
}

impl Emulator {
    const fn of(arch: Arch) -> Self {
        match arch {
            Arch::Amd64 => Self {
                program: "qemu-system-x86_64",
                package: "qemu-system-x86",
                // 7.2 gets `cmpxchg16b` wrong, and Linux 6.12 does not boot.
                oldest: 8,
                machine: "q35",
                cpu: "max",
                console: "ttyS0",
            },
            Arch::Arm64 => Self {
                program: "qemu-system-aarch64",
                package: "qemu-system-arm",
                // The machine has a second serial line since 9.1.
                oldest: 10,
                machine: "virt",
                // To sign pointers as real processors do takes an emulated one half of its time.
                cpu: "max,pauth-impdef=on",
                console: "ttyAMA0",
            },
        }
    }
}

/// Makes sure that there is a QEMU that will do; installs it where this runs as root.
///
/// # Errors
/// Where there is none and it cannot be installed.
pub fn ensure(arch: Arch, directory: &Path) -> Result<()> {
    let Emulator { program, package, oldest, .. } = Emulator::of(arch);
    if arch == Arch::Amd64 && std::env::consts::ARCH != "x86_64" {
        bail!(
            "the virtual machine's programs are this machine's own, and its kernels are for x86-64"
        );
    }
    if version(program).is_some_and(|version| version >= oldest) {
        return Ok(());
    }
    let suite = codename()?;
    let backports = format!("{suite}-backports");
    let apt = Apt::of_this_machine(&directory.join("apt-qemu"), &[&suite, &backports])?;
    let installed = apt.update().and_then(|()| apt.install(package, &backports));
    installed.with_context(|| {
        format!(
            "{program} {oldest} or later is needed: install {package}, from {backports} where {suite} \
             has an older one"
        )
    })
}

/// Major version of the installed QEMU.
fn version(program: &str) -> Option<u32> {
    let output = Command::new(program).arg("--version").output().ok()?;
    major(&String::from_utf8_lossy(&output.stdout))
}

/// `QEMU emulator version 10.0.2 (Debian …)`
fn major(text: &str) -> Option<u32> {
    text.split_once("version ")?.1.split('.').next()?.parse().ok()
}

/// Where this program is killed, nobody else would end the machine.
fn end_with_parent() -> std::io::Result<()> {
    // SAFETY: takes integers.
    match unsafe { libc::prctl(libc::PR_SET_PDEATHSIG, libc::SIGKILL) } {
        0 => Ok(()),
        _ => Err(std::io::Error::last_os_error()),
    }
}

/// A file for the machine to swap to.
fn swap_space(path: &Path) -> Result<PathBuf> {
    let made = File::create(path).and_then(|file| file.set_len(256 << 20));
    made.with_context(|| format!("cannot make {}", path.display()))?;
    Ok(path.to_owned())
}

/// A machine that runs.
#[derive(Debug)]
pub struct Machine {
    child: Child,
    lines: Receiver<String>,
    console: PathBuf,
}

impl Machine {
    /// Boots the kernel with the initramfs; `console` is a file for what the kernel says.
    ///
    /// # Errors
    /// Where QEMU cannot be started.
    pub fn boot(kernel: &Kernel, initramfs: &Path, console: &Path) -> Result<Self> {
        // A whole system fills part of the memory, which is its disk.
        let memory = if kernel.wanted.guest == Guest::System { "2560" } else { "1024" };
        let emulator = Emulator::of(kernel.wanted.arch);
        let mut command = Command::new(emulator.program);
        command
            .args([
                "-machine",
                emulator.machine,
                "-cpu",
                emulator.cpu,
                "-accel",
                "tcg,thread=multi",
            ])
            .args(["-smp", "2", "-m", memory, "-nodefaults", "-no-reboot", "-display", "none"])
            .arg("-kernel")
            .arg(&kernel.image)
            .arg("-initrd")
            .arg(initramfs)
            // With a panic the machine ends as well: `-no-reboot` turns the reboot into an end.
            .arg("-append")
            .arg(format!(
                "console={} panic=-1 psi=1 {}",
                emulator.console, kernel.wanted.parameters
            ))
            .arg("-serial")
            .arg(format!("file:{}", console.display()))
            .args(["-serial", "stdio"])
            .stdin(Stdio::null())
            .stdout(Stdio::piped());
        if kernel.wanted.guest == Guest::System {
            // The one disk that cloud kernels need no module for.
            let disk = swap_space(&console.with_file_name("swap"))?;
            command.args(["-device", "nvme,serial=swap,drive=swap", "-drive"]);
            command.arg(format!("if=none,id=swap,format=raw,file={}", disk.display()));
        }
        // SAFETY: what runs between fork and exec only calls prctl(2).
        unsafe { command.pre_exec(end_with_parent) };
        let mut child =
            command.spawn().with_context(|| format!("cannot start {}", emulator.program))?;
        let output = child.stdout.take().context("QEMU has no output")?;
        let (sender, lines) = mpsc::channel();
        std::thread::spawn(move || {
            for line in BufReader::new(output).split(b'\n').map_while(Result::ok) {
                if sender.send(String::from_utf8_lossy(&line).into_owned()).is_err() {
                    break;
                }
            }
        });
        Ok(Self { child, lines, console: console.to_owned() })
    }

    /// The guest's next line; `None` when the machine has ended.
    ///
    /// # Errors
    /// Where the machine says nothing for too long, or something that is no line of the guest's.
    pub fn next(&mut self) -> Result<Option<Line>> {
        match self.lines.recv_timeout(SILENCE) {
            Ok(text) => match serde_json::from_str(&text) {
                Ok(line) => Ok(Some(line)),
                Err(error) => bail!("the guest said {text:?}, which is not understood: {error}"),
            },
            Err(RecvTimeoutError::Disconnected) => Ok(None),
            Err(RecvTimeoutError::Timeout) => {
                bail!(
                    "the machine has been silent for {} s; last on its console:\n{}",
                    SILENCE.as_secs(),
                    self.last_words()
                )
            }
        }
    }

    /// The last lines of the console.
    pub fn last_words(&self) -> String {
        let text = fs::read(&self.console).unwrap_or_default();
        let text = String::from_utf8_lossy(&text);
        let lines: Vec<&str> = text.lines().collect();
        lines[lines.len().saturating_sub(15)..].join("\n")
    }
}

impl Drop for Machine {
    fn drop(&mut self) {
        // An error says that it has ended already.
        let _ = self.child.kill();
        let _ = self.child.wait();
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn versions_are_read() {
        assert_eq!(major("QEMU emulator version 10.0.2 (Debian 1:10.0.2+ds-2)\n"), Some(10));
        assert_eq!(major("QEMU emulator version 7.2.17\n"), Some(7));
        assert_eq!(major("bash: command not found"), None);
    }
}
