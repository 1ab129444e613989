//! PM2: a daemon for each `PM2_HOME`, which names that in its title, and what it runs, by name, number and namespace.

use super::Asked;
use crate::evidence::Task;
use crate::story::world::World;

/// What ends all that a daemon has.
const ALL: [&str; 3] = ["kill", "update", "updatePM2"];

/// What ends, or signals, those that are named.
const NAMED: [&str; 12] = [
    "stop",
    "restart",
    "reload",
    "delete",
    "del",
    "scale",
    "sendSignal",
    "startOrRestart",
    "startOrReload",
    "startOrGracefulReload",
    "pull",
    // Of what runs it is a restart.
    "start",
];

/// How the name of the daemon begins, in small letters: `PM2 v7.0.4: God Daemon (/home/alice/.pm2)`.
pub(super) const DAEMON: &str = "pm2 v";

/// Whether a process calls itself as PM2's daemon does.
pub fn is_daemon(comm: &str) -> bool {
    comm.to_lowercase().starts_with(DAEMON)
}

/// The `PM2_HOME` of a daemon, as its title has it.
pub fn home<'a>(world: &'a World, daemon: &Task) -> Option<&'a str> {
    let title = world.people.get(daemon.id)?.cmdline.as_ref()?.first()?;
    let (_, home) = title.split_once("God Daemon (")?;
    home.strip_suffix(')').filter(|home| home.starts_with('/'))
}

/// What it is to do, and what follows that. Options of its own are words with a dash.
pub fn verb<'a>(args: &'a [&'a str]) -> Option<(&'a str, &'a [&'a str])> {
    let at = args.iter().position(|arg| !arg.starts_with('-'))?;
    let known = ALL.contains(&args[at]) || NAMED.contains(&args[at]);
    known.then(|| (args[at], &args[at + 1..]))
}

/// Whether a command ends, or signals, what a daemon runs.
pub(super) fn ends(args: &[&str]) -> bool {
    verb(args).is_some()
}

/// Whether it can have meant this daemon, which is the one of the same user's, and the victim.
pub(super) fn can_mean(asked: &Asked<'_>) -> bool {
    let Some((verb, words)) = verb(asked.args) else { return false };
    // root's pm2 asks root's own daemon.
    if asked.known.uid != Some(asked.server.uid) {
        return false;
    }
    if ALL.contains(&verb) {
        return has_usual_home(asked);
    }
    let words = match verb {
        "scale" => &words[..words.len().min(1)],
        "sendSignal" => words.get(1..).unwrap_or_default(),
        _ => words,
    };
    let own = |name: &str| asked.variable(name);
    let is_named = |word: &&str| [own("name"), own("namespace")].contains(&Some(*word));
    words.iter().any(is_named)
        || has_usual_home(asked) && has_anybodys(words, own("pm_id"), verb == "start")
}

/// Whether there is a word among them that each daemon knows: all, the number of what it runs, a file.
fn has_anybodys(words: &[&str], id: Option<&str>, starts: bool) -> bool {
    words.iter().enumerate().any(|(at, word)| {
        let is_value = at.checked_sub(1).is_some_and(|before| words[before].starts_with('-'));
        let is_one = *word == "all" || Some(*word) == id && !is_value;
        // What `start all` does to what runs already is not known.
        is_configuration(word) || is_one && !starts
    })
}

/// Whether a daemon is the one that pm2 asks where nothing says another: its user's own.
fn has_usual_home(asked: &Asked<'_>) -> bool {
    let world = asked.case.world;
    let user_home = world.user(asked.server.uid).and_then(|user| user.home.as_deref());
    let usual = user_home.map(|home| format!("{}/.pm2", home.trim_end_matches('/')));
    usual.is_some_and(|usual| home(world, asked.server) == Some(usual.as_str()))
}

/// Whether a word is the name of a file that lists programs: what is in it is not seen.
fn is_configuration(word: &str) -> bool {
    const NAMES: [&str; 6] = [".json", ".yml", ".yaml", ".config.js", ".config.cjs", ".config.mjs"];
    NAMES.iter().any(|name| word.ends_with(name))
}
