//! The computer that alice sits at: a network of its own, joined to the lab by one cable that can be cut.

use std::process::{Child, Command, Stdio};

use anyhow::{Context, Result};

use super::wait::{PATIENCE, must_succeed, wait_for};

/// Address of the lab on the cable (from a block kept for documentation, RFC 5737).
pub const LAB_ADDRESS: &str = "203.0.113.1";
/// Address of alice's computer.
pub const CLIENT_ADDRESS: &str = "203.0.113.5";

/// A network namespace, kept alive by a process that waits for the end of its standard input: it ends
/// with this program, however this program ends.
#[derive(Debug)]
pub(super) struct ClientComputer {
    keeper: Child,
}

impl ClientComputer {
    /// Sets the computer up and plugs the cable into the lab whose init has `lab_init` as its pid.
    pub(super) fn connect(lab_init: u32) -> Result<Self> {
        let keeper = Command::new("unshare")
            .args(["--net", "cat"])
            .stdin(Stdio::piped())
            .stdout(Stdio::null())
            .spawn()
            .context("cannot start unshare (package util-linux)")?;
        let computer = Self { keeper };
        let pid = computer.keeper.id();
        // The namespace is there once it is another one than ours.
        let ours = std::fs::read_link("/proc/self/ns/net").context("cannot read /proc/self/ns")?;
        wait_for("a network namespace for the ssh client", PATIENCE, || {
            let theirs = std::fs::read_link(format!("/proc/{pid}/ns/net"));
            Ok(theirs.is_ok_and(|theirs| theirs != ours).then_some(()))
        })?;
        let (lab, client) = (lab_init.to_string(), pid.to_string());
        must_succeed(
            Command::new("ip")
                .args(["link", "add", "cable0", "netns", &lab])
                .args(["type", "veth", "peer", "name", "cable0", "netns", &client]),
            b"",
        )?;
        set_up(lab_init, LAB_ADDRESS)?;
        set_up(pid, CLIENT_ADDRESS)?;
        Ok(computer)
    }

    /// A command that will run on alice's computer.
    pub(super) fn command(&self, program: &str) -> Command {
        in_network_of(self.keeper.id(), program)
    }

    /// Cuts the cable: from now on every packet is lost, and neither side is told.
    pub(super) fn cut_cable(&self) -> Result<()> {
        let mut command = in_network_of(self.keeper.id(), "ip");
        must_succeed(command.args(["link", "set", "cable0", "down"]), b"").map(drop)
    }
}

impl Drop for ClientComputer {
    fn drop(&mut self) {
        let _ = self.keeper.kill();
        let _ = self.keeper.wait();
    }
}

fn set_up(pid: u32, address: &str) -> Result<()> {
    let script = format!(
        "ip link set lo up && ip address add {address}/24 dev cable0 && ip link set cable0 up"
    );
    must_succeed(in_network_of(pid, "sh").args(["-c", &script]), b"").map(drop)
}

fn in_network_of(pid: u32, program: &str) -> Command {
    let mut command = Command::new("nsenter");
    command.args(["--target", &pid.to_string(), "--net", "--", program]);
    command
}
