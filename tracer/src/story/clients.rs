//! Servers that end others' processes on request, and the commands by which people ask them. They talk over
//! sockets and pipes of their own, which nobody hears; that the command was run is seen. Which of the servers it
//! meant, and which of what that one runs, its words tell.

mod address;
pub mod containers;
pub mod monit;
pub mod pm2;
mod shutdown;
mod tmux;

use self::address::Address;
pub use self::shutdown::Shutdown;
use super::case::Case;
use super::people::Known;
use super::world::SeenSignal;
use crate::evidence::{MS, Mechanism, ProcessId, S, SignalSent, Task, sig};

/// How long before the server acts the command is run.
const RUN_BEFORE: u64 = 3 * S;

/// How long after the end of a client that waits for the server's answer the act can still be seen.
const ACT_SEEN_LATE: u64 = 200 * MS;

/// A server and its command.
struct Service {
    /// How the server's name begins.
    server: &'static str,
    /// Name of the program that asks it.
    client: &'static str,
    /// Whether arguments ask for somebody's end.
    ends: fn(&[&str]) -> bool,
    /// Whether they can mean this server and this victim, as far as that can be seen.
    can_mean: fn(&Asked<'_>) -> bool,
    /// Who owns what it ends may ask for that, too, not its own user alone.
    owners: bool,
    /// It starts programs and keeps them running, and this is for who administers it.
    supervises: bool,
    /// The client ends only when the server has acted.
    waits: bool,
    /// But for what is asked by one of these words: that is answered first, and done when the server comes round to it.
    answered_first: &'static [&'static str],
}

impl Service {
    /// One that its own user commands.
    const fn new(
        server: &'static str,
        client: &'static str,
        ends: fn(&[&str]) -> bool,
        can_mean: fn(&Asked<'_>) -> bool,
    ) -> Self {
        let answered_first = &[];
        let (owners, supervises, waits) = (false, false, false);
        Self { server, client, ends, can_mean, owners, supervises, waits, answered_first }
    }

    /// The same of a supervisor.
    const fn supervising(self) -> Self {
        Self { supervises: true, ..self }
    }

    /// The same with a client that waits for the answer.
    const fn answering(self) -> Self {
        Self { waits: true, ..self }
    }

    /// The same but for these words.
    const fn answering_but(self, answered_first: &'static [&'static str]) -> Self {
        Self { waits: true, answered_first, ..self }
    }
}

const SERVICES: &[Service] = &[
    Service::new("tmux: server", "tmux", tmux::ends, tmux::can_mean).answering(),
    Service::new(
        "screen",
        "screen",
        |args| args.windows(2).any(|pair| pair[0] == "-X" && matches!(pair[1], "quit" | "kill")),
        means_screen,
    ),
    // runit
    Service::new("runsv", "sv", ends_by_sv, means_directory).answering().supervising(),
    Service::new("s6-supervise", "s6-svc", ends_by_letter, means_directory).supervising(),
    // daemontools
    Service::new("supervise", "svc", ends_by_letter, means_directory).supervising(),
    Service::new(
        "supervisord",
        "supervisorctl",
        |args| verb(args, SUPERVISOR).is_some(),
        means_program,
    )
    // `reload` restarts all of it.
    .answering_but(&["shutdown", "reload"])
    .supervising(),
    Service::new(pm2::DAEMON, "pm2", pm2::ends, pm2::can_mean).answering().supervising(),
    // It is answered at once, and says nothing of itself to what it runs.
    Service::new("circusd", "circusctl", |args| verb(args, CIRCUS).is_some(), |_| true)
        .supervising(),
    // Debian's name, and everybody else's.
    Service::new("apache2", "apache2", asks_apache, means_configuration),
    Service::new("httpd", "httpd", asks_apache, means_configuration),
    Service::new("monit", "monit", |args| asks_for(args, &["stop", "restart", "quit"]), |_| true),
    // Windows of terminal emulators, which the X server closes.
    Service::new("", "xkill", |_| true, closes_window).answering(),
    Service::new(
        "",
        "wmctrl",
        |args| args.iter().any(|arg| arg.starts_with('-') && arg.ends_with('c')),
        closes_window,
    ),
    Service::new(
        "",
        "xdotool",
        |args| asks_for(args, &["windowclose", "windowkill", "windowquit"]),
        closes_window,
    ),
    // Slurm
    Service { owners: true, ..Service::new("slurmstepd", "scancel", |_| true, means_job) },
];

/// How the names of programs begin that show a terminal in a window.
const EMULATORS: [&str; 18] = [
    "xterm",
    "urxvt",
    "rxvt",
    "kitty",
    "alacritty",
    "foot",
    "konsole",
    "gnome-terminal",
    "kgx",
    "ptyxis",
    "xfce4-terminal",
    "lxterminal",
    "qterminal",
    "mate-terminal",
    "tilix",
    "wezterm",
    "ghostty",
    "terminology",
];

/// Whether a name is that of a program that shows a terminal in a window.
pub fn is_emulator(comm: &str) -> bool {
    EMULATORS.iter().any(|name| comm.starts_with(name))
}

/// Whether a terminal in a window hung up: what its window is called is not seen.
fn closes_window(asked: &Asked<'_>) -> bool {
    let hung_up = asked.case.blow_by(Mechanism::TtyHangup).is_some();
    hung_up && is_emulator(&asked.server.comm)
}

/// Servers that write into the terminals whose other end they hold.
const TYPISTS: &[Service] = &[
    Service::new("tmux: server", "tmux", tmux::types, tmux::can_type).answering(),
    Service::new(
        "screen",
        "screen",
        |args| args.windows(2).any(|pair| pair == ["-X", "stuff"]),
        |asked| asked.args.iter().any(|word| is_key(word, asked.key())) && means_screen(asked),
    ),
];

/// What sv is to do: the first word that is none of its options (`-v`, `-w SECONDS`).
pub fn sv_verb<'a>(args: &[&'a str]) -> Option<&'a str> {
    let mut words = args.iter().copied();
    loop {
        match words.next()? {
            "-w" => words.next().map(drop)?,
            option if option.starts_with('-') => {}
            verb => return Some(verb),
        }
    }
}

/// `sv restart web`: what neither starts nor only looks. Of words that it does not know whole sv takes the first letter, `s` as
/// status (sv(8)).
fn ends_by_sv(args: &[&str]) -> bool {
    const WORDS: [&str; 8] = [
        "restart",
        "reload",
        "try-restart",
        "force-stop",
        "force-reload",
        "force-restart",
        "force-shutdown",
        "shutdown",
    ];
    let ends = |verb: &str| {
        let letter = verb.starts_with(|letter| "hiq12tkT".contains(letter));
        letter || WORDS.contains(&verb) || stops_by_sv(verb)
    };
    sv_verb(args).is_some_and(ends)
}

/// Whether a word has sv end a service for good.
pub fn stops_by_sv(verb: &str) -> bool {
    verb.starts_with(|letter| "dxeDXE".contains(letter))
        || ["stop", "shutdown", "force-stop", "force-shutdown"].contains(&verb)
}

/// `s6-svc -d`, `svc -t`: any of the letters that end what runs or signal it, and none that only lets it run.
fn ends_by_letter(args: &[&str]) -> bool {
    // `-wr`, `-T 1000`: what follows these letters is for what s6-svc itself waits, or which signal.
    let options = args.iter().filter_map(|arg| arg.strip_prefix('-'));
    let mut letters = options.flat_map(|it| it.chars().take_while(|it| !"wTs".contains(*it)));
    letters.any(|letter| "dxtkhiqr12abDXQ".contains(letter))
}

/// What ends a program of supervisord's.
pub const SUPERVISOR: &[&str] =
    &["stop", "restart", "shutdown", "reload", "update", "signal", "remove"];

/// What ends a program of circus's, or signals it.
pub const CIRCUS: &[&str] =
    &["stop", "restart", "reload", "quit", "rm", "decr", "kill", "signal", "reloadconfig"];

/// Whether a word stands for a key typed with Ctrl: `C-c`, `^C`, or the character itself.
fn is_key(word: &str, key: Option<char>) -> bool {
    let Some(key) = key else { return false };
    let upper = key.to_ascii_uppercase();
    // The control characters are the upper letters without the bit of 64 (ASCII).
    let character = char::from(u8::try_from(upper).unwrap_or_default() & 0x1f);
    let named = [format!("C-{key}"), format!("C-{upper}"), format!("^{key}")];
    named.iter().any(|name| name == word)
        || word.contains(character)
        || word.contains(&format!("^{upper}"))
}

fn asks_for(args: &[&str], verbs: &[&str]) -> bool {
    args.iter().any(|arg| verbs.contains(arg))
}

/// The first of these words, and what follows it.
fn verb<'a>(args: &'a [&'a str], verbs: &[&str]) -> Option<(&'a str, &'a [&'a str])> {
    let at = args.iter().position(|arg| verbs.contains(arg))?;
    Some((args[at], &args[at + 1..]))
}

/// A command, and the act that it may have led to.
struct Asked<'a> {
    case: &'a Case<'a>,
    server: &'a Task,
    client: ProcessId,
    /// What is known of the client.
    known: &'a Known,
    /// The client's arguments.
    args: &'a [&'a str],
}

impl<'a> Asked<'a> {
    /// The arguments that a server was started with, where they were seen.
    fn server_args(&self) -> Option<Vec<&'a str>> {
        let args = self.case.world.people.get(self.server.id)?.cmdline.as_ref()?;
        args.get(1..).map(|args| args.iter().map(String::as_str).collect())
    }

    /// The letter of the key whose signal struck the victim, as typed with Ctrl (`stty -a`).
    fn key(&self) -> Option<char> {
        match self.case.blow?.signal.value.number {
            sig::SIGINT => Some('c'),
            sig::SIGQUIT => Some('\\'),
            _ => None,
        }
    }

    /// The victim and its parents below the server, nearest first: what was made by the server is last.
    fn below_server(&self) -> Vec<ProcessId> {
        let people = &self.case.world.people;
        let line = std::iter::once(self.case.victim).chain(people.parents(self.case.victim));
        line.take_while(|id| *id != self.server.id).collect()
    }

    /// A variable that the server has given to the victim, where it was seen. The victim could have changed it.
    fn variable(&self, name: &str) -> Option<&'a str> {
        let people = &self.case.world.people;
        let values = self.below_server().into_iter();
        values.filter_map(|id| people.get(id)?.environment.get(name)).map(String::as_str).next()
    }
}

/// The value of an option, `-S x` or `-Sx`; of several the last.
fn option<'a>(args: &[&'a str], name: &str) -> Option<&'a str> {
    let at = args.iter().rposition(|arg| arg.starts_with(name))?;
    let attached = args[at].strip_prefix(name).filter(|value| !value.is_empty());
    attached.or_else(|| args.get(at + 1).copied())
}

/// The last part of a path.
fn base(path: &str) -> &str {
    path.trim_end_matches('/').rsplit('/').next().unwrap_or(path)
}

/// `screen -S [PID.]NAME -X quit`: the server was started as `SCREEN -S NAME`.
fn means_screen(asked: &Asked<'_>) -> bool {
    let Some(wanted) = option(asked.args, "-S") else { return true };
    let (pid, name) = match wanted.split_once('.') {
        Some((pid, name)) if pid.parse::<u32>().is_ok() => (Some(pid), name),
        _ if wanted.parse::<u32>().is_ok() => (Some(wanted), ""),
        _ => (None, wanted),
    };
    if let Some(pid) = pid {
        return pid.parse() == Ok(asked.server.ns_pid) || pid.parse() == Ok(asked.server.id.pid);
    }
    // Without a name of its own it is called after a terminal.
    let own = asked.server_args().and_then(|args| option(&args, "-S"));
    own.is_none_or(|own| own.starts_with(name))
}

/// `apache2 -k graceful-stop`, which sends the signals that apache2 takes for that (SIGWINCH, SIGUSR1), whereupon the server
/// ends its children and itself.
fn asks_apache(args: &[&str]) -> bool {
    let verbs = ["stop", "graceful-stop", "restart", "graceful"];
    args.windows(2).any(|pair| pair[0] == "-k" && verbs.contains(&pair[1]))
}

/// Whether the server was started with the same file of settings (`-f`), below the same directory (`-d`).
fn means_configuration(asked: &Asked<'_>) -> bool {
    let Some(own) = asked.server_args() else { return true };
    ["-f", "-d"].iter().all(|name| option(asked.args, name) == option(&own, name))
}

/// `sv stop /etc/service/web`: what supervises it was started with the directory, or its last part.
fn means_directory(asked: &Asked<'_>) -> bool {
    let Some(own) = asked.server_args().and_then(|args| args.last().copied()) else { return true };
    let named = |arg: &&str| base(arg) == base(own) || base(arg).starts_with('.');
    asked.args.iter().any(named) || own == "."
}

/// `supervisorctl stop web`: supervisord gives each program its name.
fn means_program(asked: &Asked<'_>) -> bool {
    let path =
        |args: &[&str]| option(args, "-c").filter(|path| path.starts_with('/')).map(str::to_owned);
    let (theirs, own) = (path(asked.args), asked.server_args().and_then(|args| path(&args)));
    if theirs.zip(own).is_some_and(|(theirs, own)| theirs != own) {
        return false;
    }
    // `-s http://HOST:9001`
    if Address::asked("supervisorctl", asked.args.iter().copied()).is_elsewhere() {
        return false;
    }
    let Some((verb, names)) = verb(asked.args, SUPERVISOR) else { return true };
    let Some(name) = asked.variable("SUPERVISOR_PROCESS_NAME") else { return true };
    let group = asked.variable("SUPERVISOR_GROUP_NAME").unwrap_or(name);
    let means = |arg: &&str| match arg.split_once(':') {
        Some((of, one)) => of == group && (one == name || one == "*" || one.is_empty()),
        None => *arg == name || *arg == group || *arg == "all",
    };
    matches!(verb, "shutdown" | "reload" | "update") || names.iter().any(means)
}

/// `scancel 17`: the job that the victim belonged to, where its number is known. `scancel -u alice` names none.
fn means_job(asked: &Asked<'_>) -> bool {
    const NOT_WHICH: [&str; 6] = ["-s", "--signal", "-b", "--batch", "-f", "--full"];
    let chooses =
        |arg: &&str| arg.starts_with('-') && !NOT_WHICH.iter().any(|it| arg.starts_with(it));
    let number = |word: &str| -> Option<u64> { word.split(['_', '.', '+']).next()?.parse().ok() };
    let own = asked.case.placement.job.as_ref().and_then(|job| number(&job.id));
    own.is_none_or(|own| asked.args.iter().any(|arg| chooses(arg) || number(arg) == Some(own)))
}

/// A command that asked a server.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Order {
    /// Who ran it.
    pub client: ProcessId,
    /// When: `CLOCK_BOOTTIME`, nanoseconds.
    pub ran_ns: u64,
    /// Its words.
    args: Vec<String>,
}

impl Order {
    /// The name of the client among the supervisors' and what it was told.
    pub fn said(&self) -> Option<(&'static str, Vec<&str>)> {
        let words: Vec<&str> = self.args.iter().map(String::as_str).collect();
        let clients = SERVICES.iter().filter(|service| service.supervises);
        clients.map(|service| service.client).find_map(|client| {
            let at = words.iter().take(2).position(|word| base(word) == client)?;
            Some((client, words[at + 1..].to_vec()))
        })
    }
}

/// The commands that can have made a server act at `acted_ns`, run by who may ask that, oldest first. Of those that
/// ask for the same the newest.
pub fn orders(case: &Case<'_>, server: &Task, acted_ns: u64) -> Vec<Order> {
    let mut found = of_services(SERVICES, case, server, acted_ns);
    found.extend(containers::execs(case, server, acted_ns));
    without_parents(case, &mut found);
    found
}

/// The signal by which a server had begun what it ended by SIGKILL: it had asked for the same by another one first. The newest,
/// and one that asks for an end: what it passed on before that somebody else had wanted, or it asked for no more than a reload.
pub fn first_of<'a>(case: &Case<'a>, acted: &'a SeenSignal) -> &'a SeenSignal {
    // supervisord waits 10 s, runit 7 s, where nothing else is set.
    const GRACE: u64 = 120 * S;
    let SignalSent { sender, target, number, .. } = &*acted.value;
    let earlier = case.world.signals_to(target.id).iter().rfind(|first| {
        first.value.sender.id == sender.id
            && matches!(first.value.number, sig::SIGTERM | sig::SIGINT | sig::SIGQUIT)
            && (acted.ns().saturating_sub(GRACE)..acted.ns()).contains(&first.ns())
    });
    earlier.filter(|_| *number == sig::SIGKILL).unwrap_or(acted)
}

/// The same where the server is a supervisor.
pub fn supervised(case: &Case<'_>, server: &Task, acted_ns: u64) -> Vec<Order> {
    of_services(SERVICES, case, server, acted_ns)
        .into_iter()
        .filter(|order| order.said().is_some())
        .collect()
}

/// The same for who holds the other end of a terminal and wrote the victim's interrupt key into it.
pub fn keys(case: &Case<'_>, server: &Task, acted_ns: u64) -> Vec<Order> {
    of_services(TYPISTS, case, server, acted_ns)
}

fn of_services(services: &[Service], case: &Case<'_>, server: &Task, acted_ns: u64) -> Vec<Order> {
    let mut found: Vec<Order> = case
        .world
        .people
        .iter()
        .filter_map(|(id, known)| order(services, case, server, acted_ns, id, known))
        .collect();
    found.sort_by_key(|order| order.ran_ns);
    without_parents(case, &mut found);
    let newer = found.clone();
    found.retain(|order| {
        !newer.iter().any(|other| other.args == order.args && other.ran_ns > order.ran_ns)
    });
    found
}

/// Leaves out what ran another of them: sudo has the same words before it.
fn without_parents(case: &Case<'_>, found: &mut Vec<Order>) {
    let clients: Vec<ProcessId> = found.iter().map(|order| order.client).collect();
    let starts = |id: ProcessId| {
        clients.iter().any(|client| case.world.people.parents(*client).contains(&id))
    };
    found.retain(|order| !starts(order.client));
}

/// Whether this process was a client whose command can have made the server act.
fn order(
    services: &[Service],
    case: &Case<'_>,
    server: &Task,
    acted_ns: u64,
    id: ProcessId,
    known: &Known,
) -> Option<Order> {
    let name = server.comm.to_lowercase();
    let owner = case.exit.value.task.uid;
    let ran_ns = known.exec_ns.filter(|ran| *ran <= acted_ns && ran + RUN_BEFORE >= acted_ns)?;
    if id == server.id {
        return None;
    }
    let cmdline = known.cmdline.as_ref()?;
    let words: Vec<&str> = cmdline.iter().map(String::as_str).collect();
    // What it was executed from, or, for a script, what its interpreter was given.
    let asks = |service: &&Service| {
        let may_ask = known
            .uid
            .is_some_and(|uid| uid == 0 || uid == server.uid || service.owners && uid == owner);
        let at = words.iter().take(2).position(|word| base(word) == service.client);
        let Some(at) = at.filter(|_| may_ask && name.starts_with(service.server)) else {
            return false;
        };
        let args = &words[at + 1..];
        let waits = service.waits && !asks_for(args, service.answered_first);
        let ended_before =
            waits && known.ended_ns.is_some_and(|ended| ended + ACT_SEEN_LATE < acted_ns);
        // One that was refused, or found no server, says so by its status.
        let failed = case
            .world
            .exit_of(id)
            .is_some_and(|exit| exit.value.status != 0 && exit.ns() <= acted_ns);
        let asked = Asked { case, server, client: id, known, args };
        !ended_before && !failed && (service.ends)(args) && (service.can_mean)(&asked)
    };
    let asked = services.iter().any(|service| asks(&service));
    asked.then(|| Order { client: id, ran_ns, args: cmdline.clone() })
}
