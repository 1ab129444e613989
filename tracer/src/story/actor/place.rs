//! Whose doing a command is, and where it was run: by its parents, their logins, sessions and units.

use std::fmt;

use super::programs::{AT, CHANGES_USER, changes_user, is_roots};
use crate::evidence::{CgroupOwner, Grade, Manager, Process, ProcessId, Session};
use crate::story::case::Case;
use crate::story::{sessions, words};

/// Where a command was run.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum Place {
    /// cron had it run at its time.
    CronJob,
    /// at had it run at its time.
    AtJob,
    /// A container, in words.
    Container(String),
    /// A login session, in words: `ssh session 7 from 203.0.113.9`.
    Session(String),
    /// An ssh login of which no session is known, by the other end.
    SshLogin(String),
    /// A unit that no login led to.
    Unit(String),
}

impl Place {
    /// Whether a scheduler ran it.
    pub const fn is_job(&self) -> bool {
        matches!(self, Self::CronJob | Self::AtJob)
    }
}

impl fmt::Display for Place {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Self::CronJob => f.write_str("a cron job"),
            Self::AtJob => f.write_str("an at job"),
            Self::Container(words) | Self::Session(words) => f.write_str(words),
            Self::SshLogin(peer) => write!(f, "an ssh login from {peer}"),
            Self::Unit(unit) => write!(f, "unit {unit}"),
        }
    }
}

/// A service that acts by itself.
#[derive(Clone, Debug, PartialEq)]
pub struct Service {
    /// The unit, and whose it is where it is one of a user's manager: `alice's tidy.service`.
    pub unit: String,
    /// The program of it that ran the command: `monit[868]`.
    pub program: Option<String>,
    /// Whom it runs as, where that is not root, nor the user whose it is.
    pub user: Option<String>,
    /// How well it is proven to be part of it: a user can put what is theirs into any unit of theirs.
    pub grade: Grade,
}

/// The user behind a command: of it and its parents, nearest first.
pub fn login_user(case: &Case<'_>, ids: &[ProcessId], command: &Process) -> Option<String> {
    let people = &case.world.people;
    let login = ids.iter().find_map(|id| people.get(*id)?.login_uid);
    if let Some(user) = login.and_then(|uid| case.world.user(uid)) {
        return Some(user.name.clone());
    }
    // Without an audit login uid: whoever stood behind the outermost change of user, by the word of root's process.
    let mut changed = ids.iter().filter_map(|id| {
        let known = people.get(*id).filter(|known| known.uid == Some(0))?;
        let comm = known.comm.as_deref()?;
        CHANGES_USER.contains(&comm).then(|| known.environment.get("SUDO_USER").cloned()).flatten()
    });
    if let Some(user) = changed.next_back() {
        return Some(user);
    }
    let session = ids.iter().filter_map(|id| session_come_from(case, *id)?.user).next();
    // Who has no login: whoever ran the outermost change of user.
    let mut changes = ids.windows(2).filter(|pair| changes_user(&case.process(pair[0])));
    let caller = || changes.next_back().and_then(|pair| case.process(pair[1]).user);
    let roots = || is_roots(command).then(|| "root".to_owned());
    session.or_else(caller).or_else(|| command.user.clone()).or_else(roots)
}

/// The login session that a process came from: not the one that su(1) opened for whom it runs something as, and whose
/// leader it then is.
fn session_come_from(case: &Case<'_>, id: ProcessId) -> Option<Session> {
    let process = case.process(id);
    let session = process.session.clone()?;
    let leader = case.world.session(&session.id).and_then(|state| state.leader);
    let parents = case.world.people.parents(id);
    let led_by = parents.iter().find(|parent| Some(parent.pid) == leader);
    if led_by.is_some_and(|leader| changes_user(&case.process(*leader))) {
        return None;
    }
    let opened = changes_user(&process)
        && match leader {
            Some(leader) => leader == id.pid,
            // Not told: sudo(8) stays in the session that it was started in.
            None => process.comm.as_deref() != Some("sudo") && process.user != session.user,
        };
    (!opened).then_some(session)
}

/// Where a command was run: of it and its parents, nearest first.
pub fn place(case: &Case<'_>, ids: &[ProcessId], cron: Option<&str>) -> Option<Place> {
    if let Some(cron) = cron {
        return Some(if cron == AT { Place::AtJob } else { Place::CronJob });
    }
    let process = case.process(*ids.first()?);
    if let Some(container) = &process.container {
        return Some(Place::Container(words::container(container)));
    }
    if let Some(session) = ids.iter().find_map(|id| session_come_from(case, *id)) {
        let remote = session.remote_host.clone().or_else(|| ssh_peer(case, ids));
        let kind = if session.service.as_deref() == Some("sshd") || remote.is_some() {
            "ssh session"
        } else {
            "session"
        };
        let from = remote.map(|host| format!(" from {host}"));
        let on = session.tty.filter(|_| from.is_none()).map(|tty| format!(" on {tty}"));
        let opened = sessions::opened(case, ids, &session.id).map(|opened| opened.clause());
        return Some(Place::Session(format!(
            "{kind} {}{}{}",
            session.id,
            from.or(on).unwrap_or_default(),
            opened.unwrap_or_default()
        )));
    }
    if let Some(peer) = ssh_peer(case, ids) {
        return Some(Place::SshLogin(peer));
    }
    // Of a process that opened a session: where it came from is not known any more.
    let unit = process.user_unit.or(process.unit).filter(|_| process.session.is_none());
    unit.filter(|unit| unit != "init.scope").map(|unit| match unit.strip_suffix(".service") {
        Some("cron" | "crond" | "cronie" | "anacron") => Place::CronJob,
        Some("atd") => Place::AtJob,
        _ => Place::Unit(unit),
    })
}

/// The service that a command is part of, of it and its parents, nearest first: none of the system's where there is a login
/// behind it, or another place than that unit.
pub fn service(case: &Case<'_>, ids: &[ProcessId], command: &Process) -> Option<Service> {
    let people = &case.world.people;
    let logged_in = |id: &ProcessId| people.get(*id).is_some_and(|known| known.login_uid.is_some());
    let owner = CgroupOwner::of(command.cgroup.as_deref()?);
    // What a user's manager runs has the login that the manager was started for, and nobody typed it there.
    let uid = owner.owner_uid.filter(|_| owner.user_unit.is_some());
    let is_of_user = uid.is_some();
    let unit = owner.user_unit.or(owner.unit).filter(|unit| unit.ends_with(".service"))?;
    let is_elsewhere = if is_of_user {
        command.container.is_some()
    } else {
        place(case, ids, None)? != Place::Unit(unit.clone()) || ids.iter().any(logged_in)
    };
    if is_elsewhere {
        return None;
    }
    let above = ids
        .get(1)
        .map(|id| case.process(*id))
        .filter(|above| above.pid > 1 && above.comm.as_deref() != Some("systemd"));
    let program = above.as_ref().map(words::name_pid);
    let user = command.user.clone().filter(|_| !is_of_user && !is_roots(command));
    let whose = uid.and_then(|uid| case.world.user(uid));
    let unit = whose.map_or_else(|| unit.clone(), |user| format!("{}'s {unit}", user.name));
    let grade = uid.map_or(Manager::System, Manager::User).grade();
    Some(Service { unit, program, user, grade })
}

/// The other end of an ssh login, by the variable that sshd sets: what has it can give it any value.
fn ssh_peer(case: &Case<'_>, ids: &[ProcessId]) -> Option<String> {
    ids.iter().find_map(|id| {
        let connection = case.world.people.get(*id)?.environment.get("SSH_CONNECTION")?;
        let address: std::net::IpAddr = connection.split(' ').next()?.parse().ok()?;
        Some(format!("{address} (by SSH_CONNECTION in its environment)"))
    })
}
