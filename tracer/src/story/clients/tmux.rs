//! tmux: a server for each socket, and sessions in it. tmux(1).

use super::{Asked, base, is_key, option};
use crate::evidence::{ProcessId, S, TICK_NS};

/// How long after the command that makes it a session's first process starts at most.
const MADE: u64 = S;

/// Options before the command that have a value.
const WITH_VALUE: [char; 5] = ['c', 'f', 'L', 'S', 'T'];

/// The words after `tmux`.
#[derive(Default)]
struct Words<'a> {
    /// `-L`: the socket's name in the user's directory.
    name: Option<&'a str>,
    /// `-S`: the socket's path.
    path: Option<&'a str>,
    /// The commands, each with its arguments.
    commands: Vec<&'a [&'a str]>,
}

impl<'a> Words<'a> {
    fn of(args: &'a [&'a str]) -> Self {
        let mut found = Self::default();
        let mut rest = args;
        while let [word, after @ ..] = rest
            && let Some(letters) = word.strip_prefix('-')
        {
            rest = after;
            let Some(at) = letters.find(WITH_VALUE) else { continue };
            // `-L x` has it in the next word, `-Lx` in its own.
            let attached = &letters[at + 1..];
            let value = if attached.is_empty() { after.first().copied() } else { Some(attached) };
            if attached.is_empty() {
                rest = after.get(1..).unwrap_or_default();
            }
            match &letters[at..=at] {
                "L" => found.name = value,
                "S" => found.path = value,
                _ => {}
            }
        }
        found.commands = rest.split(|word| *word == ";").filter(|it| !it.is_empty()).collect();
        found
    }

    /// The socket: a path, or `tmux-UID/NAME` where it is in the directory of a user.
    fn socket(&self, uid: u32) -> String {
        let Some(path) = self.path else {
            return format!("tmux-{uid}/{}", self.name.unwrap_or("default"));
        };
        let mut parts = path.rsplitn(3, '/');
        match (parts.next(), parts.next()) {
            (Some(name), Some(user)) if user.starts_with("tmux-") => format!("{user}/{name}"),
            _ => path.to_owned(),
        }
    }
}

fn is_end(command: &[&str]) -> bool {
    command[0].starts_with("kill") || command[0].starts_with("respawn")
}

/// Whether a command kills a pane, or all that a server has.
pub(super) fn ends(args: &[&str]) -> bool {
    Words::of(args).commands.into_iter().any(is_end)
}

/// Whether it can have meant this server, and the victim's pane in it.
pub(super) fn can_mean(asked: &Asked<'_>) -> bool {
    let words = Words::of(asked.args);
    is_of(asked, &words) && words.commands.iter().any(|it| is_end(it) && can_hit(asked, it))
}

/// Whether a command types keys into a pane.
pub(super) fn types(args: &[&str]) -> bool {
    Words::of(args).commands.into_iter().any(is_typing)
}

/// `send-keys`, or short.
fn is_typing(command: &[&str]) -> bool {
    command[0] == "send" || command[0].starts_with("send-k")
}

/// Whether it can have typed that key in this server, in the victim's pane.
pub(super) fn can_type(asked: &Asked<'_>) -> bool {
    let words = Words::of(asked.args);
    let typed = |command: &[&str]| command[1..].iter().any(|word| is_key(word, asked.key()));
    let hits = |it: &&[&str]| is_typing(it) && typed(it) && can_hit(asked, it);
    is_of(asked, &words) && words.commands.iter().any(hits)
}

/// Whether a client with these words can have asked that server.
fn is_of(asked: &Asked<'_>, words: &Words<'_>) -> bool {
    if words.name.is_none() && words.path.is_none() {
        let parents = asked.case.world.people.parents(asked.client);
        match around(asked, &parents) {
            Some(server) => return server == asked.server.id,
            None if parents.is_empty() => return true,
            None => {}
        }
    }
    let (Some(uid), Some(args)) = (asked.known.uid, asked.server_args()) else { return true };
    let (wanted, own) = (words.socket(uid), Words::of(&args).socket(asked.server.uid));
    let is_relative = |path: &str| !path.starts_with('/') && !path.starts_with("tmux-");
    let either = is_relative(&wanted) || is_relative(&own);
    wanted == own || either && base(&wanted) == base(&own)
}

/// The server in one of whose panes a client was run: that one is meant where its words name none. To another user
/// sudo and its kind do not hand that on.
fn around(asked: &Asked<'_>, parents: &[ProcessId]) -> Option<ProcessId> {
    let people = &asked.case.world.people;
    let is_server = |id: &ProcessId| {
        let comm = people.get(*id).and_then(|known| known.comm.as_deref());
        *id == asked.server.id || comm.is_some_and(|comm| comm.starts_with("tmux: server"))
    };
    let server = parents.iter().copied().find(is_server)?;
    let uid = people.get(server).and_then(|known| known.uid);
    (uid == asked.known.uid).then_some(server)
}

/// Whether a command that kills can have hit the victim's pane.
fn can_hit(asked: &Asked<'_>, command: &[&str]) -> bool {
    let (verb, args) = (command[0], &command[1..]);
    // All but the one that is named.
    if verb.starts_with("kill-ser") || args.contains(&"-a") {
        return true;
    }
    let Some(target) = option(args, "-t") else { return true };
    if target.starts_with('%') {
        return asked.variable("TMUX_PANE").is_none_or(|pane| pane == target);
    }
    // Of a window or a pane it may name that alone.
    let named = match target.split_once(':') {
        Some((session, _)) => session,
        None if verb.starts_with("kill-ses") => target,
        None => return true,
    };
    let (exact, named) = named.strip_prefix('=').map_or((false, named), |name| (true, name));
    if named.is_empty() || named.contains(['$', '@', '*', '?', '[', '{']) {
        return true;
    }
    session(asked).is_none_or(|own| if exact { own == named } else { own.starts_with(named) })
}

/// The session that the victim was in, where the command that made it was seen and gave it a name.
fn session(asked: &Asked<'_>) -> Option<String> {
    let people = &asked.case.world.people;
    if !people.parents(asked.case.victim).contains(&asked.server.id) {
        return None;
    }
    let pane = *asked.below_server().last()?;
    let latest = pane.start_ns + TICK_NS;
    let fits = |ran_ns: u64| ran_ns <= latest && ran_ns + MADE >= latest;
    let clients = people.iter().filter_map(|(_, known)| {
        let words = known.cmdline.as_ref()?;
        let is_client = words.first().is_some_and(|word| base(word) == "tmux");
        Some((known.exec_ns.filter(|ran| is_client && fits(*ran))?, words))
    });
    let newest = clients.max_by_key(|(ran_ns, _)| *ran_ns).map(|(_, words)| words);
    // The server was the client that made its first session.
    let first = || {
        let words = people.get(asked.server.id)?.cmdline.as_ref()?;
        fits(asked.server.id.start_ns).then_some(words)
    };
    let words: Vec<&str> = newest.or_else(first)?.iter().skip(1).map(String::as_str).collect();
    let made = Words::of(&words).commands;
    let [command] = made.as_slice() else { return None };
    let makes = command[0] == "new" || command[0].starts_with("new-s");
    option(&command[1..], "-s").filter(|_| makes).map(str::to_owned)
}
