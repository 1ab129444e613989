//! How a user's last session ended.

use super::{idle_link, idle_said, terminate_call};
use crate::evidence::{Manager, Moment};
use crate::story::actor::Actor;
use crate::story::case::Case;
use crate::story::ending::Ending;
use crate::story::links::call_link;
use crate::story::requests::{by_arguments, loginctl, who_called};
use crate::story::unit_jobs::stop_job;
use crate::story::verdict::{DecidingSetting, Fix, Link};
use crate::story::windows::BUS_LAG;
use crate::story::{sessions, units};

/// The last session of a user, which logind said was gone.
pub struct LastSession<'a> {
    id: String,
    /// Who opened it, where nobody sat at it.
    background: String,
    /// When it was gone at the latest.
    pub ended: Moment,
    /// How long logind's word on that was waited for.
    until_ns: u64,
    ending: Ending<'a>,
    /// Why logind itself ended it, where it did: as a clause, and what shows it.
    by_logind: Option<(String, Vec<Link>)>,
}

impl<'a> LastSession<'a> {
    /// Of the user whose manager was stopped then. Where logind is known to have asked for that, the session was gone before,
    /// however late its word on that was read.
    pub fn of(case: &Case<'a>, uid: u32, stopped: Moment, asked_by_logind: bool) -> Option<Self> {
        let lag = if asked_by_logind { BUS_LAG } else { 0 };
        let until_ns = stopped.boot_ns.saturating_add(lag);
        let gone = sessions::last_of(case.world, uid, until_ns)?;
        let id = gone.value.id.clone();
        let ended = gone.at.no_later_than(stopped);
        let ended_ns = ended.boot_ns;
        let session = case.world.session(&id);
        let background = session.as_ref().map(sessions::background).unwrap_or_default();
        let scope = session.and_then(|session| session.scope);
        let scope = scope.unwrap_or_else(|| format!("session-{id}.scope"));
        let ending = Ending::of(case, &scope, Some(&id), ended_ns);
        let job = stop_job(case.world, Manager::System, &scope, ended_ns, u64::MAX);
        let stop = job.into_iter().map(|job| job.at).chain(ending.stopped(case));
        let by_logind = ended_by_logind(case, &id, stop.fold(ended, Moment::no_later_than));
        Some(Self { id, background, ended, until_ns, ending, by_logind })
    }

    /// That it had ended, and how, as a clause.
    pub fn clause(&self, user: &str) -> String {
        let how = self.by_logind.as_ref().map(|(how, _)| how.clone());
        let how = how.or_else(|| self.ending.clause());
        let how = how.map(|how| format!(" ({how})")).unwrap_or_default();
        format!("{user}'s last session {}{} had ended{how}", self.id, self.background)
    }

    /// What led to its end, and that.
    pub fn links(&self, case: &Case<'a>) -> Vec<Link> {
        let by_logind = self.by_logind.iter().flat_map(|(_, links)| links.iter().cloned());
        let ending = self.ending.links(case, self.ended);
        let gone = sessions::links(case, &self.id, self.until_ns, self.ended);
        by_logind.chain(ending).chain(gone).collect()
    }

    /// The settings by which the network's failure ended it.
    pub fn network_settings(&self, case: &Case<'_>) -> Vec<DecidingSetting> {
        self.ending.network_settings(case)
    }

    /// What helps against that.
    pub fn network_fix(&self) -> Option<Fix> {
        self.ending.network_fix()
    }
}

/// Why logind ended a session, whose scope was stopped then: somebody had it do so, or it had been idle.
fn ended_by_logind(case: &Case<'_>, id: &str, stopped: Moment) -> Option<(String, Vec<Link>)> {
    let told = |actor: &Actor, hint: &str| {
        let commands = units::command_links(case, actor).into_iter();
        (format!("{}{hint}", actor.aside()), commands.map(|link| link.before(stopped)).collect())
    };
    let call = terminate_call(case, Some(id), None, stopped.boot_ns);
    if let Some(call) = call.filter(|call| call.value.member.starts_with("Terminate")) {
        let (process, by_name) = who_called(case, call);
        let hint = if by_name { by_arguments(true) } else { "" };
        let actor = process.map(|process| Actor::behind_at(case, process, stopped.boot_ns));
        let (how, mut links) = actor.map_or_else(
            || ("somebody had logind end it".to_owned(), Vec::new()),
            |actor| told(&actor, hint),
        );
        links.push(call_link(case, call).before(stopped));
        return Some((how, links));
    }
    let by_words = loginctl(case, Some(id), None, stopped.boot_ns);
    if let Some((process, _)) = by_words.filter(|(_, verb)| verb.starts_with("terminate")) {
        let actor = Actor::behind_at(case, process, stopped.boot_ns);
        return Some(told(&actor, by_arguments(false)));
    }
    let idle = idle_said(case, id, stopped.boot_ns)?;
    let how = "logind had stopped it since it had been idle".to_owned();
    Some((how, vec![idle_link(case, idle).before(stopped)]))
}
