//! Deaths through a terminal: hangups, the end of the session's leader, keys.

mod holders;

use self::holders::{OwnEnd, UnseenHangup};
use super::own_doing::login_above;
use super::{Finding, Fit, Opinion};
use crate::evidence::{
    CgroupOwner, Disposition, Exit, Grade, MS, Manager, Mechanism, ProcessId, S, SignalSent,
    Source, Task, sig, signal_name,
};
use crate::story::actor::{Actor, is_interactive, is_shell};
use crate::story::case::Case;
use crate::story::decide::Blow;
use crate::story::ending::Ending;
use crate::story::manager::manager_of;
use crate::story::relay::{Relay, runs_as_another};
use crate::story::requests::{Request, Wish};
use crate::story::stopping::is_true;
use crate::story::upstream::End;
use crate::story::verdict::{CauseId, Fix, Link, LinkEvent, Outcome};
use crate::story::world::{Seen, SeenSignal};
use crate::story::{clients, fixes, mechanism, units, words};

fn tty(case: &Case<'_>) -> String {
    let by_kernel = case.blow.and_then(|blow| blow.signal.value.tty.clone());
    let by_proc = case
        .world
        .people
        .get(case.victim)
        .and_then(|known| known.tty.as_deref())
        .map(|tty| tty.trim_start_matches("/dev/").to_owned());
    // The kernel says `pts0`, everybody else `pts/0`.
    let pretty = by_kernel.map(|name| {
        let number = name.strip_prefix("pts").filter(|rest| rest.parse::<u32>().is_ok());
        number.map_or(name.clone(), |number| format!("pts/{number}"))
    });
    pretty.or(by_proc).unwrap_or_else(|| "its terminal".to_owned())
}

fn has(case: &Case<'_>, function: &str) -> bool {
    case.blow.is_some_and(|blow| mechanism::on_stack(&blow.signal.value, function))
}

fn hangup_link(case: &Case<'_>, text: String, actor: Option<&Task>) -> Option<Link> {
    let blow = case.blow?;
    let actor = actor.map(|task| case.task(task));
    Some(case.link(blow.signal.at, LinkEvent::Terminal, Source::Kernel, actor, text))
}

/// Whether the signal came of vhangup(2), or of its like for any terminal (`TIOCVHANGUP`, ioctl_tty(2)): the other end
/// lives on.
fn is_vhangup(hangup: &SignalSent) -> bool {
    const TIOCVHANGUP: u64 = 0x5437;
    hangup.syscall.as_ref().is_some_and(|call| {
        call.name == "vhangup" || call.name == "ioctl" && call.args[1] == TIOCVHANGUP
    })
}

/// The unit of a child of PID 1's that has not executed its program yet: its name stands in brackets until then
/// (`exec_invoke` of systemd, which hangs the unit's terminal up for `TTYVHangup=`).
fn started_unit(task: &Task) -> Option<String> {
    let waits = task.comm.starts_with('(') && task.comm.ends_with(')');
    let of_manager = task.ppid == 1 && task.uid == 0;
    (waits && of_manager).then(|| CgroupOwner::of(task.cgroup.as_deref()?).unit).flatten()
}

/// The end of the ssh connection, where it was a process of sshd that hung the terminal up. A name anybody can take:
/// it, or its parent that let the user in, has to be root's.
fn login<'a>(case: &Case<'a>, hangup: &'a SignalSent, hung_up_ns: u64) -> Option<Ending<'a>> {
    let holder = &hangup.sender;
    let of_root = |uid: u32, comm: &str| uid == 0 && comm.starts_with("sshd");
    let monitor = hangup.ancestors.first();
    let is_sshd = holder.comm.starts_with("sshd")
        && (holder.uid == 0 || monitor.is_some_and(|it| of_root(it.uid, &it.comm)));
    is_sshd.then(|| Ending::of_terminal(case, holder.id, hung_up_ns))
}

/// The same of a terminal that hung up since an earlier one had, as that of a shell in sudo.
fn login_behind<'a>(case: &Case<'a>, blow: Blow<'a>) -> Option<Ending<'a>> {
    let hangups = Relay::hangups(case, blow);
    hangups.into_iter().find_map(|seen| login(case, &seen.value, seen.ns()))
}

/// The same of a terminal whose holder a shell had hung up with its jobs, as script(1) or the systemd-run of a unit at a
/// terminal. What a shell catches is not recorded of everybody; one that hangs up its jobs and ends by SIGHUP had got that.
fn login_of_shell<'a>(case: &Case<'a>, holder: ProcessId) -> Option<Ending<'a>> {
    let above = Case::new(case.world, case.world.exit_of(holder)?);
    let let_go = shell_let_go(&above, above.blow?.signal)?;
    let ended = let_go.ended?;
    (let_go.by_hangup || let_go.hung_up.is_some())
        .then(|| login_above(&above, ended.ns()))
        .flatten()
}

/// ` after 203.0.113.5:51276 had closed the ssh connection`; empty where that is not known.
fn after(login: Option<&Ending<'_>>) -> String {
    login.and_then(Ending::outer_clause).map(|end| format!(" after {end}")).unwrap_or_default()
}

/// The end of the X server or compositor that a terminal's window was shown by, at about the time of the hangup: the
/// terminal emulator ends when it loses that. It may be seen to end a moment later than what it served.
fn display_end<'a>(case: &Case<'a>, emulator: &Task, hung_up_ns: u64) -> Option<End<'a>> {
    const AROUND: u64 = 200 * MS;
    const DISPLAYS: [&str; 12] = [
        "X",
        "Xorg",
        "Xvfb",
        "Xephyr",
        "Xwayland",
        "Xvnc",
        "Xtigervnc",
        "gnome-shell",
        "kwin_wayland",
        "sway",
        "weston",
        "labwc",
    ];
    let exit = case.world.exits.iter().rev().find(|exit| {
        let task = &exit.value.task;
        exit.ns().abs_diff(hung_up_ns) <= AROUND
            && DISPLAYS.contains(&task.comm.as_str())
            && (task.uid == emulator.uid || task.uid == 0)
    })?;
    let id = exit.value.task.id;
    clients::is_emulator(&emulator.comm).then(|| End::of(case, id)).flatten()
}

/// The other end of the terminal was closed, or it hung up.
pub fn closed(case: &Case<'_>) -> Option<Opinion> {
    let blow = case.blow.filter(|blow| blow.mechanism == Mechanism::TtyHangup)?;
    if has(case, "disassociate_ctty") && !has(case, "tty_release") {
        return None;
    }
    let sender = &blow.signal.value.sender;
    let tty = tty(case);
    let vhangup = is_vhangup(&blow.signal.value);
    let unit = started_unit(sender).filter(|_| vhangup);
    let asked = unit
        .as_deref()
        .and_then(|unit| Request::find(case, Wish::Start, Manager::System, unit, blow.signal.ns()));
    let setting = unit.as_deref().and_then(|unit| {
        let setting = case.unit_setting(Manager::System, unit, "TTYVHangup")?;
        is_true(&setting.value).then_some(setting)
    });
    let end = End::of(case, sender.id).filter(|_| sender.exiting);
    let by_whom = end.as_ref().map(|end| end.by_whom(case)).unwrap_or_default();
    let login = login_behind(case, blow)
        .or_else(|| login_of_shell(case, sender.id).filter(|_| sender.exiting));
    let display = display_end(case, sender, blow.signal.ns()).filter(|_| !vhangup);
    let shown_by = display.as_ref().map(|end| {
        format!(" About then, what may have shown its window ended: {}.", end.sentence(case))
    });
    let display_links = display.iter().flat_map(|end| end.links(case, blow.signal.at));
    let display_links =
        display_links.map(|link| Link { evidence: Grade::Inferred, ..link }).collect::<Vec<_>>();
    let own_end = OwnEnd::after(case, sender.id, blow.signal.ns()).filter(|_| !sender.exiting);
    let expect = own_end.as_ref().filter(|_| !vhangup && sender.comm == "expect");
    let (how, actor) = if sender.kernel_thread {
        (format!("{tty} hung up (a device went away, or somebody hung it up)"), None)
    } else if vhangup {
        let name = words::name_pid(&case.task(sender));
        let whom = unit.map(|unit| format!(", which systemd[1] had started for {unit},"));
        let cited = setting.as_ref().map(|it| format!(" ({})", units::cited(it)));
        let how = format!(
            "{name}{} hung {tty} up with vhangup(2){}",
            whom.unwrap_or_default(),
            cited.unwrap_or_default()
        );
        (how, Some(sender))
    } else if sender.exiting {
        let name = words::name_pid(&case.task(sender));
        (format!("{name}{by_whom}, which held the other end of {tty}, had ended"), Some(sender))
    } else {
        let ended = own_end.as_ref().map(|end| end.clause(blow.signal.ns())).unwrap_or_default();
        let name = words::name_pid(&case.task(sender));
        (format!("{name} closed the other end of {tty}{ended}"), Some(sender))
    };
    Finding::new(
        CauseId::TerminalClosed,
        Fit::Exact,
        Grade::Observed,
        format!(
            "{} got SIGHUP since its terminal hung up: {how}{}{}.{}",
            words::name_pid(&case.victim_process()),
            after(login.as_ref()),
            asked
                .and_then(|asked| asked.sentence(case))
                .map(|asker| format!("; {asker}"))
                .unwrap_or_default(),
            shown_by.unwrap_or_default()
        ),
    )
    .settings([setting])
    .settings(login.iter().flat_map(|login| login.network_settings(case)).map(Some))
    .links(asked.iter().flat_map(|asked| asked.links(case, blow.signal.at)))
    .links(login.iter().flat_map(|login| login.links(case, blow.signal.at)))
    .links(end.iter().flat_map(|end| end.links(case, blow.signal.at)))
    .links(display_links)
    .links(hangup_link(case, how, actor))
    .fixes(expect.map(|_| fixes::expect_eof()))
    .fixes(detach(case))
    .fixes(login.iter().filter_map(Ending::network_fix))
    .answer()
}

/// What gives others terminals to run on, which are its own: at none that people sit at.
const GIVES_TERMINALS: [&str; 6] =
    ["tmux: server", "tmux: client", "screen", "mosh-server", "expect", "script"];

fn gives_terminals(task: &Task) -> bool {
    GIVES_TERMINALS.contains(&task.comm.as_str())
}

/// To do without the terminal; in tmux only where the terminal was one that somebody sat at. None for what gives others
/// theirs.
fn detach(case: &Case<'_>) -> Option<Fix> {
    // A shell on one may have passed the hangup on.
    let was_given = case.blow.is_some_and(|blow| {
        gives_terminals(&blow.signal.value.sender)
            || Relay::hangups(case, blow).iter().any(|seen| gives_terminals(&seen.value.sender))
    });
    detach_from(case, was_given)
}

/// The same of a terminal of which it is known whether a program had given it.
fn detach_from(case: &Case<'_>, was_given: bool) -> Option<Fix> {
    let task = &case.exit.value.task;
    let process = case.victim_process();
    let name = process.name().unwrap_or(&task.comm);
    (!gives_terminals(task)).then(|| fixes::detach(&case.program(), name, was_given))
}

/// How a process ended, and how long after that time (nanoseconds), in brackets; empty where that is not known.
fn ended_words(exit: &Seen<Exit>, ns: u64) -> String {
    let delay = words::span(exit.ns().saturating_sub(ns));
    match Outcome::of(&exit.value) {
        Outcome::Unknown => String::new(),
        seen => format!(" (it {}, {delay} later)", seen.clause()),
    }
}

/// The leader of the terminal session ended (or gave the terminal up), or a shell passed SIGHUP on.
pub fn leader_exited(case: &Case<'_>) -> Option<Opinion> {
    let blow = case.blow?;
    let sent = &blow.signal.value;
    if blow.mechanism == Mechanism::TtyHangup && has(case, "disassociate_ctty") {
        return left_by_leader(case, blow);
    }
    if runs_as_another(&sent.sender) {
        return hung_up_by_sudo(case, blow);
    }
    let victim = words::name_pid(&case.victim_process());
    let name = words::name_pid(&case.task(&sent.sender));
    let let_go = shell_let_go(case, blow.signal)?;
    let unseen = UnseenHangup::of(case, blow, &let_go);
    let LetGo { why, hung_up, ended, .. } = let_go;
    let signal = signal_name(sent.number);
    let direct = hung_up.and_then(|signal| login(case, &signal.value, signal.ns()));
    let login = direct.or_else(|| login_behind(case, blow).filter(|_| hung_up.is_some()));
    // Nothing hung up: the shell tells its jobs by itself.
    let by_itself = hung_up.is_none() && unseen.is_none() && sent.number == sig::SIGHUP;
    let exited = ended.filter(|_| by_itself).map(|exit| ended_words(exit, blow.signal.ns()));
    let remedy = if by_itself {
        Some(fixes::no_hangup_by_shell(&case.program(), &sent.sender.comm))
    } else if unseen.as_ref().and_then(UnseenHangup::holder).is_some_and(gives_terminals) {
        detach_from(case, true)
    } else {
        detach(case)
    };
    Finding::new(
        CauseId::SessionLeaderExited,
        Fit::Circumstance,
        Grade::Inferred,
        format!(
            "{victim} got {signal} from the shell {name}, which {why}{}{}.{}",
            exited.unwrap_or_default(),
            after(login.as_ref()),
            unseen.as_ref().map(|unseen| unseen.sentence(case, blow)).unwrap_or_default()
        ),
    )
    .settings(login.iter().flat_map(|login| login.network_settings(case)).map(Some))
    .links(login.iter().flat_map(|login| login.links(case, blow.signal.at)))
    .links(unseen.iter().flat_map(|unseen| unseen.links(case, blow.signal.at)))
    .links(ended.map(|exit| crate::story::links::exit_link(case, exit)))
    .fixes(remedy)
    .fixes(login.iter().filter_map(Ending::network_fix))
    .answer()
}

/// The leader of the session ended, or gave up the terminal, and the kernel itself told those in its foreground.
fn left_by_leader(case: &Case<'_>, blow: Blow<'_>) -> Option<Opinion> {
    let leader = &blow.signal.value.sender;
    let (name, tty) = (words::name_pid(&case.task(leader)), tty(case));
    let did = if leader.exiting { "ended" } else { "gave up its terminal" };
    let end = End::of(case, leader.id).filter(|_| leader.exiting);
    let by_whom = end.as_ref().map(|end| end.by_whom(case)).unwrap_or_default();
    let text = format!("{name}{by_whom}, the leader of the session on {tty}, {did}");
    let login = login_behind(case, blow).filter(|_| leader.exiting);
    Finding::new(
        CauseId::SessionLeaderExited,
        Fit::Exact,
        Grade::Observed,
        format!(
            "{} got SIGHUP: {text}{}, and the kernel told the processes in its foreground.",
            words::name_pid(&case.victim_process()),
            after(login.as_ref())
        ),
    )
    .settings(login.iter().flat_map(|login| login.network_settings(case)).map(Some))
    .links(login.iter().flat_map(|login| login.links(case, blow.signal.at)))
    .links(end.iter().flat_map(|end| end.links(case, blow.signal.at)))
    .links(hangup_link(case, text, Some(leader)))
    .fixes(detach(case))
    .fixes(login.iter().filter_map(Ending::network_fix))
    .answer()
}

/// The terminal that sudo or su ran on hung up, and so it hung up what it ran.
fn hung_up_by_sudo(case: &Case<'_>, blow: Blow<'_>) -> Option<Opinion> {
    let by_kill = blow.mechanism == Mechanism::Kill && blow.signal.value.number == sig::SIGHUP;
    if !by_kill || Relay::hangups(case, blow).is_empty() {
        return None;
    }
    let login = login_behind(case, blow);
    let name = words::name_pid(&case.task(&blow.signal.value.sender));
    Finding::new(
        CauseId::TerminalClosed,
        Fit::Circumstance,
        Grade::Inferred,
        format!(
            "{} got SIGHUP from {name}, which hung up what it ran{}.",
            words::name_pid(&case.victim_process()),
            after(login.as_ref())
        ),
    )
    .settings(login.iter().flat_map(|login| login.network_settings(case)).map(Some))
    .links(login.iter().flat_map(|login| login.links(case, blow.signal.at)))
    .fixes(detach(case))
    .fixes(login.iter().filter_map(Ending::network_fix))
    .answer()
}

/// How long after it sent a signal to its jobs a shell has ended, if that was why.
const ENDS: u64 = S;

/// How long after its terminal hung up a shell hangs up its jobs.
const HANGS_UP: u64 = 5 * S;

/// Why a shell signalled its jobs though nobody typed `kill`.
struct LetGo<'a> {
    /// In words.
    why: &'static str,
    /// The SIGHUP that it had got itself, where it had.
    hung_up: Option<&'a SeenSignal>,
    /// Its end right after, where it was seen.
    ended: Option<&'a Seen<Exit>>,
    /// It ended by SIGHUP: it had got that itself, whether it was seen to or not, and sent it to itself to end.
    by_hangup: bool,
}

/// What a shell tells its jobs at its end: that its terminal hung up or it is ending (SIGHUP), and, where they are
/// stopped, to end (SIGTERM, bash). `None` where somebody may have typed `kill`.
fn shell_let_go<'a>(case: &Case<'a>, sent: &SeenSignal) -> Option<LetGo<'a>> {
    let shell = &sent.value.sender;
    let by_kill = mechanism::of(&sent.value) == Mechanism::Kill;
    if !by_kill
        || !is_shell(&shell.comm)
        || !is_interactive(&case.task(shell))
        || !is_job(case, &sent.value)
    {
        return None;
    }
    let hung_up = case.world.signals_to(shell.id).iter().rev().find(|signal| {
        // It ends by sending it to itself, too.
        signal.value.number == sig::SIGHUP
            && signal.value.sender.id != shell.id
            && signal.value.disposition != Some(Disposition::Ignore)
            && signal.ns() <= sent.ns()
            && signal.ns() + HANGS_UP >= sent.ns()
    });
    let ended = case.world.exit_of(shell.id);
    let ended = ended.filter(|exit| exit.ns() >= sent.ns() && exit.ns() < sent.ns() + ENDS);
    let by_hangup = ended.is_some_and(|exit| exit.value.killed_by() == Some(sig::SIGHUP));
    let why = match sent.value.number {
        sig::SIGHUP if hung_up.is_some() || by_hangup => "hung up its jobs",
        sig::SIGHUP if ended.is_some() => "was ending and hung up its jobs",
        // The job may be gone before the shell is.
        sig::SIGTERM if (ended.is_some() || hung_up.is_some()) && is_stopped(case, sent) => {
            "was ending and ended its stopped jobs"
        }
        _ => return None,
    };
    Some(LetGo { why, hung_up, ended, by_hangup })
}

/// Whether the victim belonged to a job of the shell that signalled it: as its child, or in the process group that a
/// child of it leads.
fn is_job(case: &Case<'_>, sent: &SignalSent) -> bool {
    let people = &case.world.people;
    let parents = people.parents(case.victim);
    if parents.first() == Some(&sent.sender.id) {
        return true;
    }
    let Some(group) = sent.aim().filter(|aim| *aim < -1) else { return false };
    let leader = people.at(group.unsigned_abs(), case.struck_ns());
    let is_led = leader.is_some_and(|id| people.parents(id).first() == Some(&sent.sender.id));
    is_led || parents.contains(&sent.sender.id)
}

/// Whether the victim was stopped when a shell signalled it. Only a stopped job gets SIGCONT after that.
fn is_stopped(case: &Case<'_>, sent: &SeenSignal) -> bool {
    /// A shell has each stopped job go on right after it has told it to end (`terminate_stopped_jobs` of bash).
    const GOES_ON: u64 = 100 * MS;
    let signals = || case.world.signals_to(case.victim).iter();
    let before = signals().rfind(|signal| {
        let number = signal.value.number;
        signal.ns() <= sent.ns() && (sig::STOPS.contains(&number) || number == sig::SIGCONT)
    });
    let woken = signals().any(|signal| {
        signal.value.number == sig::SIGCONT
            && signal.value.sender.id == sent.value.sender.id
            && signal.ns() >= sent.ns()
            && signal.ns() < sent.ns() + GOES_ON
    });
    woken || before.is_some_and(|before| sig::STOPS.contains(&before.value.number))
}

/// Ctrl-C, Ctrl-\ and their kind.
pub fn interrupt(case: &Case<'_>) -> Option<Opinion> {
    let blow = case.blow.filter(|blow| blow.mechanism == Mechanism::TtySignal)?;
    let number = blow.signal.value.number;
    let key = match number {
        sig::SIGINT => "Ctrl-C (the interrupt key)",
        sig::SIGQUIT => "Ctrl-\\ (the quit key)",
        sig::SIGTSTP => "Ctrl-Z (the suspend key)",
        _ => "a signal key",
    };
    let tty = tty(case);
    let ioctl = has(case, "pty_unix98_ioctl") || has(case, "tty_ioctl");
    let terminal =
        blow.signal.value.tty.as_deref().and_then(|tty| case.world.terminal(tty, case.victim));
    let unsure = terminal.is_some_and(|terminal| terminal.unsure);
    // The victim may have inherited the other end as well; it is not who typed. Nor is one that was gone by then, whose
    // terminal's name another has now.
    let was_there = |id: ProcessId| {
        let ended_ns = case.world.people.get(id).and_then(|known| known.ended_ns);
        ended_ns.is_none_or(|ended| ended >= blow.signal.ns())
    };
    let holders: Vec<ProcessId> = terminal
        .into_iter()
        .flat_map(|terminal| &terminal.holders)
        .copied()
        .filter(|id| *id != blow.signal.value.target.id && was_there(*id))
        .collect();
    let written = holders.iter().find_map(|id| Written::of(case, *id, blow.signal.ns()));
    let names: Vec<_> = holders.iter().map(|id| words::name_pid(&case.process(*id))).collect();
    let (s, names) = (if names.len() == 1 { "s" } else { "" }, words::list(&names));
    // What sshd writes is what came from the client.
    let is_login =
        |id: &ProcessId| case.process(*id).comm.is_some_and(|comm| comm.starts_with("sshd"));
    let (text, told) = if ioctl {
        let name = words::name_pid(&case.task(&blow.signal.value.sender));
        let text = format!("{name} injected {key} into {tty}");
        (text.clone(), text)
    } else if holders.is_empty() {
        let text = format!("{key} came over {tty}");
        // Only what has no other end is typed on.
        let is_pty = blow.signal.value.tty.as_deref().is_none_or(|tty| tty.starts_with("pts"));
        let typed = if is_pty { "it there, or a program wrote it" } else { "it there" };
        let told = format!("{text}: somebody typed {typed}");
        (text, told)
    } else {
        let or =
            if unsure { " (or that of another terminal of that name, a container's)" } else { "" };
        let text = format!("{key} came from the other end of {tty}, which {names} hold{s}{or}");
        let told = match &written {
            Some(written) => format!("{text}; {}", written.told),
            None if holders.iter().all(is_login) && !unsure => {
                format!("somebody typed {key} in {tty}, whose other end {names} hold{s}")
            }
            None => format!("{text}: somebody typed it there, or a program wrote it"),
        };
        (text, told)
    };
    let signal = signal_name(number);
    let actor = ioctl.then_some(&blow.signal.value.sender);
    let may_be_others = unsure && !ioctl && !holders.is_empty();
    let grade = if written.is_some() || may_be_others { Grade::Inferred } else { Grade::Observed };
    let mut link = hangup_link(case, text, actor);
    if let Some(link) = link.as_mut().filter(|_| may_be_others) {
        link.evidence = Grade::Inferred;
    }
    Finding::new(
        CauseId::TerminalInterrupt,
        Fit::Exact,
        grade,
        format!("{} got {signal}: {told}.", words::name_pid(&case.victim_process())),
    )
    .links(link)
    .links(written.into_iter().flat_map(|written| written.links))
    .answer()
}

/// Commands that seem to have had who holds the other end of a terminal write the key into it.
struct Written {
    told: String,
    links: Vec<Link>,
}

impl Written {
    fn of(case: &Case<'_>, holder: ProcessId, written_ns: u64) -> Option<Self> {
        let server = case.world.last_seen(holder);
        let orders = clients::keys(case, &server, written_ns);
        let newest = orders.last()?;
        let lead = words::span(written_ns.saturating_sub(newest.ran_ns));
        let ran = Actor::behind(case, newest.client).told();
        let links = orders.iter().map(|order| {
            let at = case.exit.at.shifted(order.ran_ns);
            let client = Some(case.process(order.client));
            let ran = Actor::behind(case, order.client).told();
            let mut link = case.link(at, LinkEvent::Command, Source::Kernel, client, ran);
            link.evidence = Grade::Inferred;
            link
        });
        let links = links.collect();
        Some(Self { told: format!("{lead} before, {ran}, which seems to be why"), links })
    }
}

/// A stopped job lost its last link to its shell.
pub fn orphaned(case: &Case<'_>) -> Option<Opinion> {
    let blow = case.blow.filter(|blow| blow.mechanism == Mechanism::OrphanedPgrp)?;
    let sender = &blow.signal.value.sender;
    let parent = words::name_pid(&case.task(sender));
    let text =
        format!("{parent} ended and left a stopped process group without a parent in its session");
    let end = End::of(case, sender.id).filter(|_| sender.exiting);
    // Why a manager ended it is told as a story of its own.
    let by_other = |end: &&End<'_>| end.killer().is_some_and(|by| manager_of(by).is_none());
    let struck = end.as_ref().filter(by_other).map(|end| format!(" {}.", end.sentence(case)));
    Finding::new(
        CauseId::OrphanedProcessGroup,
        Fit::Exact,
        Grade::Observed,
        format!(
            "{} belonged to a stopped job; when {parent} ended, nobody was left who could continue \
             it, and the kernel sent SIGHUP and SIGCONT.{}",
            words::name_pid(&case.victim_process()),
            struck.unwrap_or_default()
        ),
    )
    .links(end.iter().flat_map(|end| end.links(case, blow.signal.at)))
    .links(hangup_link(case, text, Some(&blow.signal.value.sender)))
    .fixes(detach(case))
    .answer()
}
