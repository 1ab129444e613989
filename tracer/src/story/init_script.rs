//! Scripts that start and stop services where systemd does not: OpenRC's, and those of System V.

use super::actor::is_shell;
use super::case::Case;
use super::fixes;
use super::verdict::Fix;
use crate::evidence::{Process, ProcessId, base_name};

/// Where they are.
const DIRECTORY: &str = "/etc/init.d/";
/// What OpenRC runs them with, as a program and as that one's script (`openrc-run(8)`).
const OPENRC: [&str; 2] = ["openrc-run", "openrc-run.sh"];

/// A process of root's that runs such a script with the word `stop`, by its arguments.
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
        // The script itself, or what a shell or OpenRC was given to run; no word of another program.
        let mut words = process.cmdline.as_deref()?;
        if is_shell(base_name(words.first()?)) {
            let options = words.iter().skip(1).take_while(|word| word.starts_with('-'));
            if options.clone().any(|option| option.contains('c')) {
                return None;
            }
            words = words.get(1 + options.count()..)?;
        }
        let is_openrcs = OPENRC.contains(&base_name(words.first()?));
        words = words.get(usize::from(is_openrcs)..)?;
        let service = words.first()?.strip_prefix(DIRECTORY).filter(|name| is_name(name))?;
        let is_stopped = words.get(1).is_some_and(|word| word == "stop");
        is_stopped.then(|| Self { service: service.to_owned(), is_openrcs })
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
