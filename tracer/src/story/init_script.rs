//! Scripts that start and stop services where systemd does not: OpenRC's, and those of System V.

use super::case::Case;
use super::fixes;
use super::verdict::Fix;
use crate::evidence::{Process, ProcessId};

/// Where they are.
const DIRECTORY: &str = "/etc/init.d/";
/// What OpenRC runs them with, as a program and as that one's script (`openrc-run(8)`).
const OPENRC: &str = "/openrc-run";

/// A script of root's that was asked to stop its service.
pub struct InitScript {
    service: String,
    /// Else it is a script of its own, as System V's.
    is_openrcs: bool,
}

impl InitScript {
    /// The nearest above a process that ended another, or that itself.
    pub fn above(case: &Case<'_>, sender: ProcessId) -> Option<Self> {
        let parents = case.world.people.parents(sender);
        let chain = std::iter::once(sender).chain(parents);
        chain.map(|id| case.process(id)).find_map(|process| Self::run_by(&process))
    }

    fn run_by(process: &Process) -> Option<Self> {
        // Anybody may call himself so; and a container's services are nothing that can be started from here.
        if process.uid != Some(0) || process.container.is_some() {
            return None;
        }
        let words = process.cmdline.as_deref()?;
        let service = words.windows(2).find_map(|pair| {
            let service = pair[0].strip_prefix(DIRECTORY)?;
            (pair[1] == "stop" && is_name(service)).then_some(service)
        })?;
        let is_openrcs = words.iter().any(|word| word.contains(OPENRC));
        Some(Self { service: service.to_owned(), is_openrcs })
    }

    /// What it is about, as a sentence with a space before it.
    pub fn sentence(&self) -> String {
        let service = &self.service;
        if self.is_openrcs {
            format!(" So OpenRC stops its service {service}.")
        } else {
            format!(" So the init script of {service} stops it.")
        }
    }

    /// How the service is started again.
    pub fn fix(&self) -> Fix {
        fixes::start_service_again(&self.service, self.is_openrcs)
    }
}

fn is_name(service: &str) -> bool {
    let plain = |c: char| c.is_ascii_alphanumeric() || "-_.@+".contains(c);
    service.starts_with(|c: char| c.is_ascii_alphanumeric()) && service.chars().all(plain)
}
