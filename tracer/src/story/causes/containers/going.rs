//! Units that are stopped, and end a container with that: of its runtime's daemon, a user's own one too, of systemd-nspawn.

use super::{DOCKER, DOCKERD};
use crate::evidence::{CgroupOwner, Container, Job, Manager, Moment, S, sig};
use crate::story::case::Case;
use crate::story::manager::manager_of;
use crate::story::requests::{Request, Wish};
use crate::story::unit_jobs::{job_type, stop_job};
use crate::story::verdict::Link;
use crate::story::windows::BUS_LAG;
use crate::story::world::{Seen, SeenSignal};
use crate::story::{mechanism, units};

/// A unit that was being stopped when it, or what it controls, ended a container.
pub struct UnitGoing<'a> {
    manager: Manager,
    unit: String,
    job: &'a Seen<Job>,
    /// Who asked for it.
    pub request: Option<Request<'a>>,
    /// What its manager had sent to one of its processes by then.
    told: Option<&'a SeenSignal>,
}

impl<'a> UnitGoing<'a> {
    /// The unit of the daemon that runs the container, where it was being stopped when this first signal was sent: the
    /// containers of docker's end with it (`live-restore`). What docker has containerd do is done in a unit of that.
    pub fn of_daemon(
        case: &Case<'a>,
        container: Option<&Container>,
        first: &SeenSignal,
    ) -> Option<Self> {
        const DAEMONS: [&str; 5] = ["dockerd", "containerd", "containerd-shim", "crio", "podman"];
        let sender = first.value.sender.id;
        let line = std::iter::once(sender).chain(case.world.people.parents(sender));
        let mut line = line.map(|id| case.process(id));
        // Rootless docker: all of it is that user's, and a unit of that user's manager.
        let owner = container.and_then(|container| container.named_by).filter(|uid| *uid != 0);
        let daemon = line.find(|process| {
            (process.uid == Some(0) || process.uid.is_some() && process.uid == owner)
                && process.comm.as_deref().is_some_and(|comm| DAEMONS.contains(&comm))
        })?;
        let (manager, own) = match owner.filter(|_| daemon.uid == owner) {
            Some(uid) => (Manager::User(uid), daemon.user_unit),
            None => (Manager::System, daemon.unit),
        };
        let of_docker = container.filter(|container| container.runtime == DOCKER).map(|_| DOCKERD);
        let units = own.into_iter().chain(of_docker.map(str::to_owned));
        units
            .filter(|unit| unit.ends_with(".service"))
            .find_map(|unit| Self::of(case, manager, unit, first.ns()))
    }

    /// Whether a unit was being stopped at a time, or was as much as asked to.
    pub fn of(case: &Case<'a>, manager: Manager, unit: String, at_ns: u64) -> Option<Self> {
        const RECENT: u64 = 120 * S;
        let job = stop_job(case.world, manager, &unit, at_ns, case.victim.start_ns)?;
        let is_in = |cgroup: &str| {
            let owner = CgroupOwner::of(cgroup);
            match manager {
                Manager::System => owner.unit.as_deref() == Some(&unit),
                Manager::User(uid) => {
                    owner.owner_uid == Some(uid) && owner.user_unit.as_deref() == Some(&unit)
                }
            }
        };
        let people = case.world.people.iter();
        let own = people.filter(|(_, known)| known.cgroup.as_deref().is_some_and(is_in));
        let signals = own.flat_map(|(id, _)| case.world.signals_to(id));
        let told = signals.filter(|signal| {
            signal.ns() <= at_ns
                && signal.ns() + RECENT >= at_ns
                && signal.value.number != sig::SIGCONT
                && manager_of(&signal.value.sender) == Some(manager)
        });
        let told = told.min_by_key(|signal| signal.ns());
        let began_ns = job.ns().min(told.map_or(at_ns, Seen::ns));
        let request = Request::for_job(case, Wish::Stop, job, began_ns);
        // One that was heard of only after that is what machined makes of it, or was asked for before.
        let asked_before = || {
            request.is_some_and(|request| match request.call {
                Some(call) => call.ns() <= at_ns,
                None => request.process.is_some_and(|id| id.start_ns <= at_ns),
            })
        };
        if told.is_none() && job.ns() > at_ns && !(job.ns() <= at_ns + BUS_LAG && asked_before()) {
            return None;
        }
        Some(Self { manager, unit, job, request, told })
    }

    /// When the process began that asked for it; 0 where that is not known.
    pub fn asked_ns(&self) -> u64 {
        self.request.and_then(|request| request.process).map_or(0, |id| id.start_ns)
    }

    /// Its name.
    pub fn unit(&self) -> &str {
        &self.unit
    }

    /// Whether it is that of a daemon, which has containers that are none of its own.
    pub fn is_daemons(&self) -> bool {
        const DAEMONS: [&str; 5] =
            [DOCKERD, "containerd.service", "crio.service", "podman.service", "kubelet.service"];
        DAEMONS.contains(&self.unit.as_str())
    }

    /// Whether it is one of a user's manager.
    pub const fn is_users(&self) -> bool {
        matches!(self.manager, Manager::User(_))
    }

    /// Whether it is that of docker's daemon.
    pub fn is_dockerd(&self) -> bool {
        self.unit == DOCKERD
    }

    /// Whether it was to be started again then.
    pub fn is_restarted(&self, case: &Case<'_>) -> bool {
        matches!(job_type(case.world, self.job), Some("restart" | "try-restart" | "start"))
    }

    /// That it was stopped and who asked for that.
    pub fn clause(&self, case: &Case<'_>) -> String {
        let done = if self.is_restarted(case) { "restarted" } else { "stopped" };
        let who = self.request.and_then(|request| request.sentence(case));
        let who = who.map_or_else(
            || "; who asked for that was not seen".to_owned(),
            |who| format!(": {who}"),
        );
        let whose = match self.manager {
            Manager::User(uid) => case.world.user(uid).map(|user| format!("{}'s ", user.name)),
            Manager::System => None,
        };
        format!("{}{} was {done}{who}", whose.unwrap_or_default(), self.unit)
    }

    /// Who asked, the job, and what the manager sent.
    pub fn links(&self, case: &Case<'a>, effect: Moment) -> Vec<Link> {
        let effect = self.told.map_or(effect, |signal| signal.at).no_later_than(effect);
        // Only of a signal of its own is it known to have had the job first.
        let job = match self.told {
            Some(_) => units::job_link_before(case, self.job, effect),
            None => units::job_link(case, self.job).concluded_before(effect),
        };
        let asked = self.request.iter().flat_map(|request| request.links(case, job.at));
        let told = self.told.map(|signal| case.signal_link(signal, mechanism::of(&signal.value)));
        asked.chain([job.clone()]).chain(told).collect()
    }
}
