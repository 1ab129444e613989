//! alice's ssh login: a terminal into which commands are typed, and the ways in which it can end.

use std::io::{Read, Write};
use std::path::Path;
use std::process::{Child, ChildStdin, Command, ExitStatus, Stdio};
use std::sync::{Arc, Mutex, PoisonError};
use std::thread::JoinHandle;

use anyhow::{Context, Result, bail};

use super::Lab;
use super::network::LAB_ADDRESS;
use super::wait::{PATIENCE, wait_for};

const PROMPT: &str = "alice-is-ready> ";

/// An interactive login with a terminal.
#[derive(Debug)]
pub struct Login {
    client: Child,
    keyboard: Option<ChildStdin>,
    screen: Arc<Mutex<Vec<u8>>>,
    reader: Option<JoinHandle<()>>,
    commands: u32,
}

impl Lab {
    /// Logs alice in by key, with a terminal, and waits for her prompt.
    ///
    /// # Errors
    /// Where no prompt comes; the message carries what was on the screen.
    pub fn login(&self) -> Result<Login> {
        Login::start(self.client().command("sh"), &self.key(), LAB_ADDRESS)
    }
}

impl Login {
    /// Logs alice in at that address with that private key, from where `shell` runs, which is a `sh` without
    /// arguments yet; waits for her prompt.
    ///
    /// # Errors
    /// Where no prompt comes; the message carries what was on the screen.
    pub fn start(shell: Command, key: &Path, address: &str) -> Result<Self> {
        let mut ssh = shell;
        // What ssh itself has to say appears on the screen, too.
        ssh.args(["-c", "exec ssh \"$@\" 2>&1", "sh"]);
        ssh.args(["-F", "/dev/null", "-tt", "-i"]).arg(key);
        for option in [
            "BatchMode=yes",
            "ConnectTimeout=20",
            "IdentitiesOnly=yes",
            "LogLevel=ERROR",
            "StrictHostKeyChecking=no",
            "UserKnownHostsFile=/dev/null",
        ] {
            ssh.args(["-o", option]);
        }
        ssh.arg(format!("alice@{address}")).env("TERM", "xterm");
        let mut client = ssh
            .stdin(Stdio::piped())
            .stdout(Stdio::piped())
            .spawn()
            .context("cannot start ssh (package openssh-client)")?;
        let screen = Arc::new(Mutex::new(Vec::new()));
        let mut output = client.stdout.take().context("no pipe from ssh")?;
        let shown = Arc::clone(&screen);
        let reader = std::thread::spawn(move || {
            let mut buffer = [0; 4096];
            while let Ok(count @ 1..) = output.read(&mut buffer) {
                let mut shown = shown.lock().unwrap_or_else(PoisonError::into_inner);
                shown.extend_from_slice(&buffer[..count]);
            }
        });
        let keyboard = client.stdin.take();
        let mut login = Self { client, keyboard, screen, reader: Some(reader), commands: 0 };
        login.wait_for_shell()?;
        Ok(login)
    }

    /// Types a command, waits for the prompt after it, and returns what it printed.
    ///
    /// # Errors
    /// Where the command fails, or no prompt comes.
    pub fn run(&mut self, command: &str) -> Result<String> {
        self.commands += 1;
        let before = self.screen_length();
        // What is typed is echoed, so the marks are spelled differently there.
        let number = self.commands;
        self.type_text(&format!(
            "printf 'begin-%s\\n' {number}; {command}; printf 'end-%s-%s\\n' {number} $?\n"
        ))?;
        let (begin, end) = (format!("begin-{number}\r\n"), format!("end-{number}-"));
        let shown = self.wait_for_screen(&format!("the end of `{command}`"), |screen| {
            let shown = String::from_utf8_lossy(&screen[before..]).into_owned();
            let after = shown.split(&end).nth(1)?;
            after.ends_with(PROMPT).then_some(shown)
        })?;
        let text = shown.split(&begin).nth(1).unwrap_or(&shown);
        let (printed, after) = text.split_once(&end).context("the end mark went missing")?;
        let status = after.split(['\r', '\n']).next().unwrap_or_default();
        if status != "0" {
            bail!("alice's `{command}` failed with {status}: {}", printed.trim());
        }
        Ok(printed.replace('\r', "").trim().to_owned())
    }

    /// Types a command that no prompt will follow: it runs in the foreground until it is ended.
    ///
    /// # Errors
    /// Where the client is gone.
    pub fn begin(&mut self, command: &str) -> Result<()> {
        self.type_text(&format!("{command}\n"))
    }

    /// Types `sudo -i` and waits for the prompt of root's shell.
    ///
    /// # Errors
    /// Where no prompt comes.
    pub fn become_root(&mut self) -> Result<()> {
        let before = self.screen_length();
        self.type_text("sudo -i\n")?;
        self.wait_for_screen("root's shell", |screen| {
            screen[before..].contains(&b'#').then_some(())
        })?;
        self.set_prompt()
    }

    /// Types `exit` and waits for the connection to be closed in the orderly way.
    ///
    /// # Errors
    /// Where the client does not end.
    pub fn exit(mut self) -> Result<ExitStatus> {
        self.type_text("exit\n")?;
        self.wait()
    }

    /// Kills the client with SIGKILL: its kernel closes the connection, no word of goodbye is sent.
    ///
    /// # Errors
    /// Where the client does not end.
    pub fn kill_client(mut self) -> Result<ExitStatus> {
        self.client.kill().context("cannot kill the ssh client")?;
        self.wait()
    }

    fn wait(&mut self) -> Result<ExitStatus> {
        wait_for("the ssh client to end", PATIENCE, || Ok(self.client.try_wait()?))
    }

    /// The first prompt is the distribution's; ours is one that no program prints by chance. Programs
    /// are not to wait in a pager.
    fn wait_for_shell(&mut self) -> Result<()> {
        self.wait_for_screen("alice's shell", |screen| {
            String::from_utf8_lossy(screen).contains('$').then_some(())
        })?;
        self.set_prompt()
    }

    fn set_prompt(&mut self) -> Result<()> {
        let (half, other_half) = PROMPT.split_at(5);
        self.type_text(&format!("export PAGER=cat; PS1={half}'{other_half}'\n"))?;
        self.wait_for_screen("alice's prompt", |screen| {
            String::from_utf8_lossy(screen).ends_with(PROMPT).then_some(())
        })
    }

    fn type_text(&mut self, text: &str) -> Result<()> {
        let keyboard = self.keyboard.as_mut().context("the login is over")?;
        keyboard
            .write_all(text.as_bytes())
            .and_then(|()| keyboard.flush())
            .context("cannot type into the ssh session")
    }

    fn screen_length(&self) -> usize {
        self.screen.lock().unwrap_or_else(PoisonError::into_inner).len()
    }

    fn wait_for_screen<T>(
        &mut self,
        what: &str,
        mut look: impl FnMut(&[u8]) -> Option<T>,
    ) -> Result<T> {
        let found = wait_for(what, PATIENCE, || {
            if let Some(found) = look(&self.screen.lock().unwrap_or_else(PoisonError::into_inner)) {
                return Ok(Some(found));
            }
            if let Some(status) = self.client.try_wait()? {
                bail!("ssh ended too early ({status})");
            }
            Ok(None)
        });
        found.map_err(|error| {
            let screen = self.screen.lock().unwrap_or_else(PoisonError::into_inner);
            let screen = String::from_utf8_lossy(&screen);
            error.context(format!("the ssh session went wrong; on its screen was {screen:?}"))
        })
    }
}

impl Drop for Login {
    fn drop(&mut self) {
        let _ = self.client.kill();
        let _ = self.client.wait();
        self.keyboard.take();
        if let Some(reader) = self.reader.take() {
            let _ = reader.join();
        }
    }
}
