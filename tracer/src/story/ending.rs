//! How a login ended: the network connection, sshd's own words, its processes, logind.

mod idle;
mod network;

use super::actor::{Actor, is_shell};
use super::case::Case;
use super::fixes;
use super::links::{call_link, call_link_by, exit_link};
use super::manager::manager_of;
use super::people::Known;
use super::units::{cited, command_links};
use super::upstream::End;
use super::verdict::{DecidingSetting, Fix, Link, LinkEvent};
use super::words;
use super::world::Seen;
use crate::evidence::{
    BusCall, CgroupOwner, Exit, JournalLine, MS, Moment, ProcessId, S, Task, TcpChange, sig,
};
use idle::{channel_timeout, session_timeout};
use network::{Ended, connection, of_peer, peer, peer_in, said, tcp_link};

/// How long before the stop the end of the connection is looked for. sshd ends within milliseconds
/// of it, except where logind first waits 20 s after PAM closed the session.
const WINDOW: u64 = 60 * S;

/// How far apart the end of a connection and what says so can be: each is seen in its own way.
const SAID_WITHIN: u64 = 100 * MS;

/// How long after the last program of a login ended the ssh client closes the connection, which it then does by
/// itself: an exchange with the server over a slow line.
const FOLLOWS: u64 = 5 * S;

/// The end of one ssh login, as far as it was seen.
#[derive(Debug, Default)]
pub struct Ending<'a> {
    /// The change of state that began it.
    pub tcp: Option<&'a Seen<TcpChange>>,
    /// sshd's own words.
    pub words: Vec<&'a Seen<JournalLine>>,
    /// Ends of its sshd processes, in order of time.
    pub sshd: Vec<&'a Seen<Exit>>,
    /// `ReleaseSession` by whoever opened the session.
    pub release: Option<&'a Seen<BusCall>>,
    /// The process that opened the session, where logind has told.
    leader: Option<ProcessId>,
    /// The end of that process, or of its sshd: what it was, and that somebody had brought it about.
    end: Option<(End<'a>, String)>,
    /// The end of the login's shell or command, where it came first, and it in words: what followed is its effect.
    shell: Option<(End<'a>, String)>,
    /// The address of the other end.
    pub peer: Option<String>,
    /// `ChannelTimeout=`: after it sshd closes what is idle, and a client that has nothing left goes.
    channel_timeout: Option<DecidingSetting>,
    /// Who had the kernel abort the connection.
    aborter: Option<Actor>,
    /// When it had begun, `CLOCK_BOOTTIME` nanoseconds, as far as that is known.
    login_ns: Option<u64>,
}

impl<'a> Ending<'a> {
    /// Collects it for the unit (session scope or per-connection service) that was stopped at `began_ns`.
    pub fn of(case: &Case<'a>, unit: &str, session: Option<&str>, began_ns: u64) -> Self {
        let mut sshd: Vec<_> = case
            .world
            .exits
            .iter()
            .filter(|exit| exit.ns() <= began_ns && exit.ns() + WINDOW >= began_ns)
            .filter(|exit| exit.value.task.comm.starts_with("sshd"))
            .filter(|exit| lived_in(case, &exit.value.task, unit) || is_leader(case, exit, session))
            .collect();
        sshd.sort_by_key(|exit| exit.ns());
        let login_ns = login_began(case, &mut sshd);
        let pids: Vec<u32> = sshd.iter().map(|exit| exit.value.task.id.pid).collect();
        let words = sshd_words(case, &pids, began_ns);
        let peer = peer_in(&words).or_else(|| peer(case, unit, session));
        let tcp = connection(case, peer.as_deref(), &sshd, began_ns);
        let first = retain_last(&mut sshd, tcp, &words);
        let release = session.and_then(|id| {
            case.world.calls.iter().rev().find(|call| {
                call.value.is_to_logind()
                    && call.value.member == "ReleaseSession"
                    && call.value.args.first().and_then(|arg| arg.as_str()) == Some(id)
                    // The bus is read later than the kernel's events.
                    && call.ns() <= case.exit.ns() + S
            })
        });
        let remote = tcp.map(|tcp| tcp.value.remote.to_string());
        let leader = leader_exit(case, session, began_ns).map(|exit| exit.value.task.id);
        let end = decisive_end(case, leader, &sshd);
        let shell = shell_end(case, leader, &sshd, first);
        let channel_timeout = channel_timeout(case);
        let peer = remote.or(peer);
        let aborter = aborter(case, tcp);
        Self {
            tcp,
            words,
            sshd,
            release,
            leader,
            end,
            shell,
            peer,
            channel_timeout,
            aborter,
            login_ns,
        }
    }

    /// Collects it for a terminal that a process of sshd held and hung up. Root's process holds it as well as its
    /// child that has the user's rights; the child talks with the client and says why it ends.
    pub fn of_terminal(case: &Case<'a>, sshd: ProcessId, hung_up_ns: u64) -> Self {
        let people = &case.world.people;
        let is_child = |exit: &Exit| {
            exit.task.comm.starts_with("sshd")
                && people.parents(exit.task.id).first() == Some(&sshd)
        };
        let exits = case.world.exits.iter().filter(|exit| exit.ns() <= hung_up_ns);
        let mut sshd_exits: Vec<_> =
            exits.filter(|exit| exit.value.task.id == sshd || is_child(&exit.value)).collect();
        let login_ns = login_began(case, &mut sshd_exits);
        let ended = sshd_exits.iter().map(|exit| exit.value.task.id.pid);
        let pids: Vec<u32> = ended.chain([sshd.pid]).collect();
        let words = sshd_words(case, &pids, hung_up_ns);
        let peer = peer_in(&words).or_else(|| peer(case, "", None));
        // That it was the only connection that ended then would prove nothing of this one.
        let tcp = peer.as_deref().and_then(|peer| of_peer(case, peer, hung_up_ns));
        retain_last(&mut sshd_exits, tcp, &words);
        let remote = tcp.map(|tcp| tcp.value.remote.to_string());
        let channel_timeout = channel_timeout(case);
        let peer = remote.or(peer);
        let aborter = aborter(case, tcp);
        // What had made the holder itself let go is told with the hangup.
        let end = killed(case, &sshd_exits).filter(|_| !was_struck(case, sshd, hung_up_ns));
        let end = end.map(|end| {
            let sentence = format!("its {}", end.sentence(case));
            (end, sentence)
        });
        Self {
            tcp,
            words,
            sshd: sshd_exits,
            peer,
            channel_timeout,
            aborter,
            end,
            login_ns,
            ..Self::default()
        }
    }

    /// What ended the login from outside, as a clause: `None` also where sshd itself did.
    pub fn outer_clause(&self) -> Option<String> {
        const SAID: [&str; 2] = ["Timeout, client", "Received disconnect from"];
        let by_peer = self.tcp.is_some_and(|tcp| said(&tcp.value) != Ended::Here);
        let said = |line: &&Seen<JournalLine>| {
            SAID.iter().any(|start| line.value.message.starts_with(start))
        };
        let killed = self.end.as_ref().is_some_and(|(end, _)| is_killed(end));
        self.clause().filter(|_| by_peer || killed || self.words.iter().any(said))
    }

    /// How long sshd lets the network be silent, where that and no person ended it, or how long a channel, where that may
    /// have; and somebody set it.
    pub fn network_settings(&self, case: &Case<'_>) -> Vec<DecidingSetting> {
        const SILENCE: [&str; 2] = ["ClientAliveInterval", "ClientAliveCountMax"];
        let names = SILENCE.into_iter().filter(|_| self.is_network_failure());
        let found = names.filter_map(|name| case.setting(&["sshd_config"], name));
        let found = found.chain(self.idle_limit().cloned());
        found.filter(|setting| setting.file.is_some()).collect()
    }

    /// What helps against a network that fails, where that and no person ended it, or against sshd's limit of silence.
    pub fn network_fix(&self) -> Option<Fix> {
        let failed = self.is_network_failure().then(fixes::keep_alive);
        failed.or_else(|| self.idle_limit().map(|_| fixes::idle_channels()))
    }

    /// `ChannelTimeout=`, where the client closed the connection, which it does when sshd has closed its channel.
    fn idle_limit(&self) -> Option<&DecidingSetting> {
        let by_peer = self.tcp.is_some_and(|tcp| said(&tcp.value) == Ended::Peer);
        let by_shell =
            self.shell.is_some() || self.end.as_ref().is_some_and(|(end, _)| is_killed(end));
        // In a login that lasted for less nothing can have been idle for so long.
        let lasted = self.login_ns.zip(self.tcp).map(|(began, tcp)| tcp.ns().saturating_sub(began));
        let is_over = |setting: &&DecidingSetting| {
            session_timeout(&setting.value)
                .zip(lasted)
                .is_none_or(|(limit, lasted)| limit <= lasted)
        };
        let found = self.channel_timeout.as_ref().filter(is_over);
        found.filter(|_| by_peer && !by_shell && !self.is_network_failure())
    }

    fn is_network_failure(&self) -> bool {
        let timed_out = self.tcp.is_some_and(|tcp| said(&tcp.value) == Ended::TimedOut);
        timed_out || self.words.iter().any(|line| line.value.message.starts_with("Timeout, client"))
    }

    /// What ended the login, as a clause.
    pub fn clause(&self) -> Option<String> {
        let killed = self.end.as_ref().filter(|(end, _)| is_killed(end));
        let by_network = self.outer_event();
        if let Some((_, sentence)) = &self.shell {
            let left = match self.tcp {
                Some(tcp) if said(&tcp.value) == Ended::Peer => {
                    format!("; then {} closed the ssh connection", tcp.value.remote)
                }
                _ if self.said_goodbye() => {
                    format!("; then {} ended the ssh connection", self.client())
                }
                _ => String::new(),
            };
            return Some(format!("{sentence}{left}"));
        }
        killed
            .or(self.end.as_ref().filter(|_| by_network.is_none() && self.sshd.is_empty()))
            .map(|(_, sentence)| sentence.clone())
            .or(by_network)
            .or_else(|| {
                (!self.sshd.is_empty()).then(|| "the ssh connection's sshd had ended".to_owned())
            })
    }

    /// What the network or sshd told of it, as a clause.
    fn outer_event(&self) -> Option<String> {
        let silent =
            self.words.iter().any(|line| line.value.message.starts_with("Timeout, client"));
        if silent {
            let from = self.peer.as_deref().map(|peer| format!(" from {peer}")).unwrap_or_default();
            return Some(format!("sshd had heard nothing more{from} (ClientAliveInterval)"));
        }
        let goodbye = self.said_goodbye();
        match self.tcp.map(|tcp| (&tcp.value, said(&tcp.value))) {
            Some((tcp, Ended::Peer)) => {
                let idle = self.idle_limit().map(|setting| {
                    format!(
                        ", by itself or since sshd had closed its idle channel ({})",
                        cited(setting)
                    )
                });
                let idle = idle.unwrap_or_default();
                return Some(format!("{} had closed the ssh connection{idle}", tcp.remote));
            }
            Some((tcp, Ended::Reset)) => {
                return Some(format!("{} had reset the ssh connection", tcp.remote));
            }
            Some((tcp, Ended::TimedOut)) => {
                return Some(format!("the ssh connection to {} had timed out", tcp.remote));
            }
            Some((tcp, Ended::Aborted)) => {
                let who = self.aborter.as_ref().map(|who| format!(": {}", who.sentence()));
                return Some(format!(
                    "the ssh connection to {} had been destroyed here{}",
                    tcp.remote,
                    who.unwrap_or_default()
                ));
            }
            // The client can have said goodbye all the same.
            Some((tcp, Ended::Here)) if !goodbye => {
                return Some(format!("sshd had closed the connection to {}", tcp.remote));
            }
            Some((_, Ended::Here)) | None => {}
        }
        if goodbye {
            return Some(format!("{} had ended the ssh connection", self.client()));
        }
        None
    }

    /// Whether the client had sshd disconnect, by sshd's own words.
    fn said_goodbye(&self) -> bool {
        let start = "Received disconnect from";
        self.words.iter().any(|line| line.value.message.starts_with(start))
    }

    /// The other end, by name.
    fn client(&self) -> &str {
        self.peer.as_deref().unwrap_or("the client")
    }

    /// When those of its sshd processes ended that a service manager killed.
    pub fn stopped(&self, case: &Case<'a>) -> impl Iterator<Item = Moment> {
        let is_stopped = |exit: &&&Seen<Exit>| {
            let end = End::of(case, exit.value.task.id);
            end.is_some_and(|end| end.killer().is_some_and(|killer| manager_of(killer).is_some()))
        };
        self.sshd.iter().filter(is_stopped).map(|exit| exit.at)
    }

    /// Its links of the chain; none is later than what it led to.
    pub fn links(&self, case: &Case<'a>, effect: Moment) -> Vec<Link> {
        let mut links = Vec::new();
        if let Some(tcp) = self.tcp {
            links.extend(self.aborter.iter().flat_map(|who| command_links(case, who)));
            links.push(tcp_link(case, tcp));
        }
        for line in &self.words {
            let writer = line.value.pid.and_then(|pid| case.world.people.at(pid, line.ns()));
            // Written before its writer ended, however late journald got to it.
            let ended = writer.and_then(|id| case.world.exit_of(id));
            let at = ended.map_or(line.at, |end| line.at.no_later_than(end.at));
            let actor = writer.map(|id| case.process(id));
            let text = match &actor {
                Some(actor) => {
                    format!(
                        "{} logged {}",
                        words::name_pid(actor),
                        words::quotation(&line.value.message)
                    )
                }
                None => format!("sshd logged {}", words::quotation(&line.value.message)),
            };
            links.push(case.link(at, LinkEvent::SshDisconnect, line.source, actor, text));
        }
        // Before the ends: at the same moment, the call was first.
        links.extend(self.release.map(|call| self.release_link(case, call)));
        let ends = self.shell.iter().chain(&self.end);
        links.extend(ends.flat_map(|(end, _)| end.links(case, effect)));
        let told = self.end.as_ref().map(|(end, _)| end.process());
        let others = self.sshd.iter().filter(|exit| Some(exit.value.task.id) != told);
        links.extend(others.map(|exit| exit_link(case, exit)));
        for link in &mut links {
            link.at = link.at.no_later_than(effect);
        }
        links
    }

    /// The call by which PAM closed the session. It was made before its caller ended, however late the bus
    /// was read; and where that was too late to ask the bus for the caller, the leader is who closes a session.
    fn release_link(&self, case: &Case<'a>, call: &Seen<BusCall>) -> Link {
        const CONCLUDED: &str =
            " (as the session's leader; the caller was gone before the bus could name it)";
        let sender = case.caller_named_by_bus(call);
        let mut link = match (sender, self.leader) {
            (None, Some(leader)) => call_link_by(case, call, Some(leader), CONCLUDED),
            _ => call_link(case, call),
        };
        let caller = sender.or(self.leader);
        if let Some(end) = caller.and_then(|id| case.world.exit_of(id)) {
            link.at = link.at.no_later_than(end.at);
        }
        link
    }
}

/// When the login began, as far as is known: when sshd ran what the victim is, or descends from. Leaves out what had ended by
/// then, done with its work: the one that let the user in.
fn login_began(case: &Case<'_>, sshd: &mut Vec<&Seen<Exit>>) -> Option<u64> {
    let people = &case.world.people;
    let is_sshd = |id: &ProcessId| {
        let comm = people.get(*id).and_then(|known| known.comm.as_deref());
        comm.is_some_and(|comm| comm.starts_with("sshd"))
    };
    let line: Vec<ProcessId> =
        std::iter::once(case.victim).chain(people.parents(case.victim)).collect();
    let first = line.iter().position(is_sshd).and_then(|above| line.get(above.checked_sub(1)?));
    let ran_ns = first.and_then(|id| Some(people.get(*id)?.start_ns));
    if let Some(ran_ns) = ran_ns {
        sshd.retain(|exit| exit.ns() >= ran_ns);
    }
    ran_ns.or_else(|| sshd.iter().map(|exit| exit.value.task.id.start_ns).min())
}

/// When the connection's end was first heard of. Leaves out what had ended before that, done with its work: the one that
/// let the user in.
fn retain_last(
    sshd: &mut Vec<&Seen<Exit>>,
    tcp: Option<&Seen<TcpChange>>,
    words: &[&Seen<JournalLine>],
) -> Option<u64> {
    let first = tcp.map(Seen::ns).into_iter().chain(words.iter().map(|line| line.ns())).min();
    if let Some(first) = first
        && sshd.iter().any(|exit| exit.ns() + SAID_WITHIN >= first)
    {
        sshd.retain(|exit| exit.ns() + SAID_WITHIN >= first);
    }
    first
}

/// Who had the kernel abort a connection. It does so in the system call of who asks (`tcp_diag_destroy`).
fn aborter(case: &Case<'_>, tcp: Option<&Seen<TcpChange>>) -> Option<Actor> {
    let tcp = tcp.filter(|tcp| said(&tcp.value) == Ended::Aborted)?;
    Some(Actor::behind_at(case, tcp.value.task.id, tcp.ns()))
}

/// Whether a process that ended lived in a unit.
pub fn lived_in(case: &Case<'_>, task: &Task, unit: &str) -> bool {
    let known = case.world.people.get(task.id).and_then(|known| known.cgroup.as_deref());
    task.cgroup.as_deref().into_iter().chain(known).any(|cgroup| {
        let owner = CgroupOwner::of(cgroup);
        owner.unit.as_deref() == Some(unit) || owner.user_unit.as_deref() == Some(unit)
    })
}

/// The end of the process that opened the session, before its scope was stopped.
fn leader_exit<'a>(
    case: &Case<'a>,
    session: Option<&str>,
    began_ns: u64,
) -> Option<&'a Seen<Exit>> {
    session?;
    case.world.exits.iter().rev().find(|exit| {
        exit.ns() <= began_ns && exit.ns() + WINDOW >= began_ns && is_leader(case, exit, session)
    })
}

/// The end that ended the login, and it in words: that of the session's leader, or of an sshd that somebody killed.
fn decisive_end<'a>(
    case: &Case<'a>,
    leader: Option<ProcessId>,
    sshd: &[&'a Seen<Exit>],
) -> Option<(End<'a>, String)> {
    let of_leader = leader.and_then(|id| End::of(case, id));
    let of_sshd = killed(case, sshd);
    let killed_leader = of_leader.filter(|end| is_killed(end) || sshd.is_empty());
    let (end, whose) = match (killed_leader, of_sshd) {
        (Some(end), _) => (end, "its leader "),
        (None, Some(end)) => (end, "its "),
        (None, None) => return None,
    };
    let sentence = format!("{whose}{}", end.sentence(case));
    Some((end, sentence))
}

/// The end of the last program that a login's sshd, or its leader, had started for the user, right before any other
/// sign of the login's end (at `outer_ns` the first from outside); and it in words. While another of them runs, the
/// client stays.
fn shell_end<'a>(
    case: &Case<'a>,
    leader: Option<ProcessId>,
    sshd: &[&'a Seen<Exit>],
    outer_ns: Option<u64>,
) -> Option<(End<'a>, String)> {
    let people = &case.world.people;
    let ended = sshd.iter().map(|exit| exit.value.task.id).chain(leader);
    let parents: Vec<ProcessId> = ended.collect();
    let ends = parents.iter().filter_map(|id| people.get(*id)?.ended_ns);
    let first = ends.chain(outer_ns).min()?;
    let is_of_login = |known: &Known| {
        let is_sshd = known.comm.as_ref().is_some_and(|comm| comm.starts_with("sshd"));
        !is_sshd && known.parents.first().is_some_and(|parent| parents.contains(parent))
    };
    let mut exits = case.world.exits.iter().rev().filter(|exit| exit.ns() <= first);
    let last = exits.find(|exit| people.get(exit.value.task.id).is_some_and(is_of_login))?;
    let outlived = |known: &Known| known.ended_ns.is_none_or(|ended| ended > first);
    let another = people.iter().any(|(_, known)| outlived(known) && is_of_login(known));
    if another || last.ns() + FOLLOWS < first {
        return None;
    }
    // Of a login at a terminal the leader (login, su) tells as much, where its shell ended by itself.
    let end = End::of(case, last.value.task.id).filter(|end| !sshd.is_empty() || is_killed(end))?;
    let what = if is_shell(&last.value.task.comm) { "shell" } else { "command" };
    let sentence = format!("its {what} {}", end.sentence(case));
    Some((end, sentence))
}

/// The first end of those processes that somebody brought about.
fn killed<'a>(case: &Case<'a>, sshd: &[&'a Seen<Exit>]) -> Option<End<'a>> {
    sshd.iter().filter_map(|exit| End::of(case, exit.value.task.id)).find(is_killed)
}

/// Whether a process had been told to end right before that time, by another one.
fn was_struck(case: &Case<'_>, id: ProcessId, at_ns: u64) -> bool {
    const ASKING: [u8; 4] = [sig::SIGTERM, sig::SIGINT, sig::SIGHUP, sig::SIGQUIT];
    case.world.signals_to(id).iter().any(|got| {
        ASKING.contains(&got.value.number)
            && got.value.sender.id != id
            && got.ns() <= at_ns
            && got.ns() + S >= at_ns
    })
}

/// Whether somebody else than sshd itself, which ends its children, and a service manager killed it.
fn is_killed(end: &End<'_>) -> bool {
    end.killer()
        .is_some_and(|killer| !killer.comm.starts_with("sshd") && manager_of(killer).is_none())
}

fn is_leader(case: &Case<'_>, exit: &Seen<Exit>, session: Option<&str>) -> bool {
    let leader = session.and_then(|id| case.world.session(id)).and_then(|state| state.leader);
    leader == Some(exit.value.task.id.pid)
}

/// What sshd logged about the end of the connection.
fn sshd_words<'a>(case: &Case<'a>, pids: &[u32], began_ns: u64) -> Vec<&'a Seen<JournalLine>> {
    const SAID: [&str; 8] = [
        "Received disconnect from",
        "Disconnected from",
        "Connection closed by",
        "Connection reset by",
        "Timeout, client not responding",
        "Read error from remote host",
        "Received signal",
        "Exiting on signal",
    ];
    case.world
        .journal
        .iter()
        .filter(|line| line.ns() <= began_ns + S && line.ns() + WINDOW >= began_ns)
        .filter(|line| line.value.pid.is_some_and(|pid| pids.contains(&pid)))
        .filter(|line| {
            let message = &line.value.message;
            SAID.iter().any(|start| message.starts_with(start)) || message.contains("Broken pipe")
        })
        .collect()
}
