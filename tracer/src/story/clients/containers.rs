//! Commands that ask the daemon behind a container to end it, and which container they mean.
//!
//! Whoever may use docker's socket can ask; that a command was run, and was still waiting for its answer, is all that
//! is seen.

use super::{Order, base};
use crate::evidence::{Container, ProcessId, S, Task, base_name, sig, signal_number};
use crate::story::case::Case;
use crate::story::people::{Known, People};

/// How long before the daemon acts the command can have been run: several containers are stopped one after the other, each
/// with a grace period of its own.
const ASKED: u64 = 600 * S;

/// Programs that ask a daemon, and what their `kill` sends where they are not told. All wait for the answer.
const CLIENTS: [(&str, u8); 8] = [
    ("docker", sig::SIGKILL),
    ("docker-compose", sig::SIGKILL),
    ("nerdctl", sig::SIGKILL),
    ("podman", sig::SIGKILL),
    ("podman-remote", sig::SIGKILL),
    ("podman-compose", sig::SIGKILL),
    ("ctr", sig::SIGTERM),
    ("crictl", sig::SIGKILL),
];

/// Verbs of clients that stay in the foreground of a container for as long as it runs, and pass on to it what signals they
/// get themselves.
const FOREGROUND: [&str; 3] = ["run", "start", "attach"];

/// What a daemon runs to run something in a container.
const RUNTIMES: [&str; 4] = ["runc", "crun", "runsc", "youki"];

/// What speaks HTTP with the daemon itself.
const HTTP_CLIENTS: [&str; 3] = ["curl", "wget", "http"];

/// What stands between a client's name and its verb.
const GROUPS: [&str; 8] = ["container", "containers", "c", "task", "tasks", "t", "compose", "pod"];

/// Options before the verb that take the next word.
const GLOBAL_VALUES: [&str; 27] = [
    "-H",
    "--host",
    "-c",
    "--context",
    "--config",
    "-l",
    "--log-level",
    "--tlscacert",
    "--tlscert",
    "--tlskey",
    "-n",
    "--namespace",
    "-a",
    "--address",
    "--url",
    "--connection",
    "--root",
    "--runroot",
    "-f",
    "--file",
    "-p",
    "--project-name",
    "--profile",
    "--env-file",
    "--project-directory",
    "-r",
    "--runtime-endpoint",
];

/// Options behind the verb that take the next word.
const VALUES: [&str; 6] = ["-t", "--time", "--timeout", "-s", "--signal", "--filter"];

/// Options that choose containers without naming them.
const CHOOSING: [&str; 6] = ["-a", "--all", "-l", "--latest", "--filter", "--cidfile"];

/// What a client was told to do, by its words.
struct Asked<'a> {
    /// Of several containers that belong together, by the names of services or of pods.
    of_many: bool,
    /// Of pods.
    is_of_pods: bool,
    /// The project of compose that is named.
    project: Option<&'a str>,
    /// Of another machine's daemon, or one that only the client's configuration knows.
    is_elsewhere: bool,
    verb: &'a str,
    options: Vec<&'a str>,
    operands: Vec<&'a str>,
    /// The value of each option that has one.
    values: Vec<(&'a str, &'a str)>,
}

impl<'a> Asked<'a> {
    /// By the words behind the client's name.
    fn of(client: &str, words: &[&'a str]) -> Option<Self> {
        let mut words = words.iter().copied();
        let mut of_many = client.ends_with("-compose");
        let (mut is_of_pods, mut project, mut is_elsewhere) = (false, None, false);
        let verb = loop {
            let word = words.next()?;
            let (option, value) = match word.split_once('=') {
                Some((option, value)) => (option, Some(value)),
                None if GLOBAL_VALUES.contains(&word) => (word, words.next()),
                None => (word, None),
            };
            match option {
                "-H" | "--host" | "--url" => {
                    is_elsewhere |= value.is_some_and(|it| !it.starts_with("unix:"));
                }
                "--context" | "--connection" => is_elsewhere = true,
                "-p" | "--project-name" => project = value,
                _ => {}
            }
            if option.starts_with('-') {
                continue;
            }
            if GROUPS.contains(&word) {
                of_many |= matches!(word, "compose" | "pod");
                is_of_pods |= word == "pod";
            } else {
                break word;
            }
        };
        let is_run = verb == "run";
        // `docker start -a` is about no time, nor `docker run -t`.
        let takes_value = |word: &str| match is_run {
            true => word.starts_with('-') && !is_switch_of_run(word),
            false => !FOREGROUND.contains(&verb) && VALUES.contains(&word),
        };
        let (options, operands, values) = (vec![], vec![], vec![]);
        let mut asked =
            Self { of_many, is_of_pods, project, is_elsewhere, verb, options, operands, values };
        while let Some(word) = words.next() {
            if let Some((name, value)) = word.split_once('=').filter(|_| word.starts_with('-')) {
                asked.options.push(name);
                asked.values.push((name, value));
            } else if takes_value(word) {
                asked.options.push(word);
                asked.values.extend(words.next().map(|value| (word, value)));
            } else if word.starts_with('-') && word.len() > 1 {
                asked.options.push(word);
            } else {
                asked.operands.push(word);
                // What follows the name of the image is somebody's own.
                if is_run {
                    break;
                }
            }
        }
        Some(asked)
    }

    fn value(&self, names: &[&str]) -> Option<&'a str> {
        self.values.iter().rev().find(|(name, _)| names.contains(name)).map(|(_, value)| *value)
    }

    /// Whether it asks for what ends a container by this signal first; `by_kill` is what a `kill` sends by itself.
    fn ends_by(&self, number: u8, by_kill: u8) -> bool {
        let is_forced = || {
            let has =
                |letter| self.options.iter().any(|it| !it.starts_with("--") && it.contains(letter));
            has('f') || self.options.contains(&"--force") || self.options.contains(&"--stop")
        };
        match self.verb {
            "stop" | "restart" | "stopp" => true,
            "down" => self.of_many,
            // In the foreground it stops what it has started when it is itself asked to end.
            "up" => self.of_many && number != sig::SIGKILL,
            // In the foreground it passes on what it gets itself.
            _ if FOREGROUND.contains(&self.verb) => !matches!(number, sig::SIGKILL | sig::SIGSTOP),
            "rm" | "remove" | "delete" | "rmp" => is_forced(),
            "kill" => match self.value(&["-s", "--signal"]) {
                Some(name) => signal_number(name) == Some(number),
                None => number == by_kill,
            },
            _ => false,
        }
    }

    /// Whether it can mean this container.
    fn means(&self, container: &Container) -> bool {
        if self.verb == "run" {
            return self.value(&["--name"]).is_some_and(|name| is_called(name, container));
        }
        let is_in_foreground = FOREGROUND.contains(&self.verb);
        if !is_in_foreground && self.options.iter().any(|option| CHOOSING.contains(option)) {
            return true;
        }
        // compose calls the container of a service PROJECT-SERVICE-1.
        let parts = || container.name.as_deref().unwrap_or_default().split(['-', '_']);
        if self.of_many && self.verb != "kill" && self.operands.is_empty() {
            let is_numbered = parts().next_back().is_some_and(|it| it.parse::<u32>().is_ok());
            let begins = |project: &str| {
                let rest = container.name.as_deref().and_then(|it| it.strip_prefix(project));
                rest.is_some_and(|rest| rest.starts_with(['-', '_']))
            };
            return self.is_of_pods || is_numbered && self.project.is_none_or(begins);
        }
        self.operands.iter().any(|word| {
            is_called(word, container) || self.of_many && parts().any(|part| part == *word)
        })
    }
}

/// Whether an option of `docker run` stands by itself; all others take a value.
fn is_switch_of_run(option: &str) -> bool {
    const LONG: [&str; 13] = [
        "--detach",
        "--disable-content-trust",
        "--help",
        "--init",
        "--interactive",
        "--no-healthcheck",
        "--oom-kill-disable",
        "--privileged",
        "--publish-all",
        "--quiet",
        "--read-only",
        "--rm",
        "--tty",
    ];
    let is_short =
        |rest: &str| !rest.starts_with('-') && rest.chars().all(|it| "ditPq".contains(it));
    LONG.contains(&option) || option.strip_prefix('-').is_some_and(is_short)
}

/// Whether a client speaks with the daemon that has this container. podman may be there by docker's name.
fn is_its_own(client: &str, container: &Container) -> bool {
    match client {
        "podman" | "podman-remote" | "podman-compose" => container.runtime == "podman",
        "docker" | "docker-compose" => matches!(container.runtime.as_str(), "docker" | "podman"),
        _ => container.runtime != "podman",
    }
}

/// Whether a word is the name of a container, or how its id begins.
fn is_called(word: &str, container: &Container) -> bool {
    let is_id = word.len() >= 2 && container.id.starts_with(word);
    is_id || container.name.as_deref() == Some(word)
}

/// Whether a request over HTTP asks for the end of this container: `POST /containers/web/stop`.
fn requests(words: &[&str], container: &Container) -> bool {
    words.iter().any(|word| {
        let Some((_, rest)) = word.split_once("/containers/") else { return false };
        let mut parts = rest.split(['/', '?']);
        let named = parts.next().is_some_and(|name| is_called(name, container));
        let verb = parts.next().unwrap_or_default();
        let deletes =
            words.iter().any(|word| word.eq_ignore_ascii_case("delete") || *word == "-XDELETE");
        named && (matches!(verb, "stop" | "kill" | "restart") || deletes)
    })
}

/// A command that can have had a daemon end a container, and what it says of that.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct ContainerOrder {
    /// The command.
    pub order: Order,
    /// The word for what it asked for: `stop`, `restart`, `rm`; `None` where that is not one of a client's words.
    pub verb: Option<String>,
    /// The grace period that it named, whole seconds.
    pub patience: Option<u64>,
    /// It does not stay for what it starts (`-d`).
    pub is_detached: bool,
}

impl ContainerOrder {
    /// Whether it asked for nothing itself, and can only have passed on what it had got.
    pub fn is_in_foreground(&self) -> bool {
        self.verb.as_deref().is_some_and(|verb| FOREGROUND.contains(&verb))
    }
}

/// The commands that can have had a daemon send a container this signal, its first, at that time. Oldest first.
pub fn orders(
    case: &Case<'_>,
    container: &Container,
    number: u8,
    acted_ns: u64,
) -> Vec<ContainerOrder> {
    let people = &case.world.people;
    let mut found: Vec<ContainerOrder> = people
        .iter()
        .filter_map(|(id, known)| order(container, number, acted_ns, id, known))
        .collect();
    found.sort_by_key(|found| (found.order.ran_ns, found.order.client.pid));
    // sudo, and docker of its compose plugin, has the same words before it.
    let clients: Vec<ProcessId> = found.iter().map(|found| found.order.client).collect();
    let starts = |id: ProcessId| clients.iter().any(|client| people.parents(*client).contains(&id));
    found.retain(|found| !starts(found.order.client));
    for found in &mut found {
        found.order = without_plugin(people, found.order.clone());
    }
    // Who asks for it is the reason, whoever else is there.
    if found.iter().any(|found| !found.is_in_foreground()) {
        found.retain(|found| !found.is_in_foreground());
    }
    found
}

/// The `lxc-stop -k` that had the monitor of a container of LXC's kill it; without `-k` it does so in the end.
pub fn lxc_orders(case: &Case<'_>, container: &Container, acted_ns: u64) -> Vec<ContainerOrder> {
    let found = case.world.people.iter().filter_map(|(id, known)| {
        let ran_ns = known.exec_ns.filter(|ran| *ran <= acted_ns && ran + ASKED >= acted_ns)?;
        let cmdline = known.cmdline.as_ref()?;
        let words: Vec<&str> = cmdline.iter().map(String::as_str).collect();
        let args = words.get(position(known, &words, "lxc-stop")? + 1..)?;
        let is_named = args.iter().any(|word| {
            let name = word.strip_prefix("--name=").or_else(|| word.strip_prefix("-n"));
            is_called(name.filter(|name| !name.is_empty()).unwrap_or(word), container)
        });
        let is_there = known.ended_ns.is_none_or(|ended| ended >= acted_ns);
        let order = Order { client: id, ran_ns, args: cmdline.clone() };
        let verb = Some("stop".to_owned());
        let order = ContainerOrder { order, verb, patience: None, is_detached: false };
        (is_named && is_there).then_some(order)
    });
    let mut found: Vec<ContainerOrder> = found.collect();
    found.sort_by_key(|found| (found.order.ran_ns, found.order.client.pid));
    found
}

/// The command that has docker run its plugin (`docker compose`), where it is that; it says the same in fewer words.
fn without_plugin(people: &People, order: Order) -> Order {
    let is_plugin = order.args.first().is_some_and(|word| word.contains("/cli-plugins/"));
    let above = people.parents(order.client).first().copied().filter(|_| is_plugin);
    let words = above.and_then(|id| people.get(id)?.cmdline.clone());
    let words = words.filter(|words| words.get(1..) == order.args.get(1..));
    match above.zip(words) {
        Some((client, args)) => Order { client, args, ..order },
        None => order,
    }
}

/// The command that a runtime was run by itself, where there is no daemon (`podman stop`), and what it asked for.
pub fn above(
    case: &Case<'_>,
    container: &Container,
    number: u8,
    acted_ns: u64,
    sender: ProcessId,
) -> Option<ContainerOrder> {
    let people = &case.world.people;
    let mut parents = people.parents(sender).into_iter();
    parents.find_map(|id| order(container, number, acted_ns, id, people.get(id)?))
}

/// The commands that had what a process descends from run in its container (`docker exec web sh`), by the words that it was
/// executed with, and were waiting for its end.
pub fn execs(case: &Case<'_>, server: &Task, acted_ns: u64) -> Vec<Order> {
    let people = &case.world.people;
    let Some(container) = case.task(server).container else { return Vec::new() };
    let line: Vec<ProcessId> =
        std::iter::once(server.id).chain(people.parents(server.id)).collect();
    let comm = |id: ProcessId| people.get(id).and_then(|known| known.comm.as_deref());
    let is_monitor = |id: ProcessId| {
        comm(id).is_some_and(|comm| comm.starts_with("containerd-shim") || comm == "conmon")
    };
    let Some(at) = line.iter().position(|id| is_monitor(*id)) else { return Vec::new() };
    // The runtime waits for it first; the container's own first process was not run like this.
    let is_runtime = |id: ProcessId| comm(id).is_some_and(|comm| RUNTIMES.contains(&comm));
    let executed = line[..at].iter().rev().find(|id| !is_runtime(**id)).copied();
    let executed = executed.filter(|id| people.get(*id).is_some_and(|it| it.ns_pid != Some(1)));
    let Some(executed) = executed.and_then(|id| people.executed_at(id, acted_ns)) else {
        return Vec::new();
    };
    let mut found: Vec<Order> = people
        .iter()
        .filter_map(|(id, known)| {
            let ran_ns = known.exec_ns.filter(|ran| *ran <= acted_ns)?;
            let cmdline = known.cmdline.as_ref()?;
            let words = cmdline.strip_suffix(executed)?;
            let is_client = words
                .iter()
                .take(2)
                .any(|word| CLIENTS.iter().any(|(name, _)| base(word) == *name));
            let is_its = words.iter().any(|word| word == "exec")
                && words.last().is_some_and(|word| is_called(word, &container));
            let is_there = known.ended_ns.is_none_or(|ended| ended >= acted_ns);
            let order = Order { client: id, ran_ns, args: cmdline.clone() };
            (is_client && is_its && is_there).then_some(order)
        })
        .collect();
    found.sort_by_key(|order| (order.ran_ns, order.client.pid));
    found
}

/// Whether this process was such a client, which was waiting for its answer at that time.
fn order(
    container: &Container,
    number: u8,
    acted_ns: u64,
    id: ProcessId,
    known: &Known,
) -> Option<ContainerOrder> {
    let ran_ns = known.exec_ns.filter(|ran| *ran <= acted_ns)?;
    // A user's own daemon listens to that user, and to root.
    let is_others =
        container.named_by.is_some_and(|owner| known.uid.is_some_and(|it| it != 0 && it != owner));
    if is_others || known.ended_ns.is_some_and(|ended| ended < acted_ns) {
        return None;
    }
    let cmdline = known.cmdline.as_ref()?;
    let words: Vec<&str> = cmdline.iter().map(String::as_str).collect();
    let at = |name: &str| position(known, &words, name);
    let order = Order { client: id, ran_ns, args: cmdline.clone() };
    if HTTP_CLIENTS.into_iter().any(|name| at(name).is_some()) {
        return requests(&words, container).then_some(ContainerOrder {
            order,
            verb: None,
            patience: None,
            is_detached: false,
        });
    }
    CLIENTS.into_iter().find_map(|(name, by_kill)| {
        let asked = Asked::of(name, &words[at(name)? + 1..])?;
        if asked.is_elsewhere || !is_its_own(name, container) {
            return None;
        }
        let patience = asked.value(&["-t", "--time", "--timeout"]).and_then(|it| it.parse().ok());
        let verb = Some(asked.verb.to_owned());
        let is_detached = asked.options.iter().any(|it| matches!(*it, "-d" | "--detach"));
        let found = ContainerOrder { order: order.clone(), verb, patience, is_detached };
        let is_recent = found.is_in_foreground() || ran_ns + ASKED >= acted_ns;
        (is_recent && asked.ends_by(number, by_kill) && asked.means(container)).then_some(found)
    })
}

/// Which of the words that a process was executed with is a program's name: what it was executed from, or, for a script,
/// what its interpreter was given.
fn position(known: &Known, words: &[&str], name: &str) -> Option<usize> {
    let executed = known.exe.as_deref().map(base_name);
    let at = words.iter().take(2).position(|word| base(word) == name)?;
    (at > 0 || executed.is_none_or(|exe| exe == name)).then_some(at)
}

/// Whether a process that is none of [`orders`] is a command whose words tell that it asked for something else than the end
/// of this container: that of another one, or for nothing that ends any. Words can leave open what they mean; so does
/// what stays in the foreground of a container, where it `may_pass_on` signals.
pub fn asks_for_other(known: &Known, container: &Container, may_pass_on: bool) -> bool {
    const READING: [&str; 26] = [
        "build", "buildx", "context", "cp", "create", "diff", "events", "exec", "export", "help",
        "history", "image", "images", "import", "info", "inspect", "load", "login", "logs", "port",
        "ps", "pull", "push", "stats", "top", "version",
    ];
    const NAMING: [&str; 9] =
        ["stop", "restart", "kill", "rm", "remove", "delete", "pause", "unpause", "wait"];
    let Some(cmdline) = &known.cmdline else { return false };
    let words: Vec<&str> = cmdline.iter().map(String::as_str).collect();
    let at = |name: &str| position(known, &words, name);
    if HTTP_CLIENTS.into_iter().any(|name| at(name).is_some()) {
        return !changes(&words);
    }
    let asked =
        CLIENTS.into_iter().find_map(|(name, _)| Asked::of(name, words.get(at(name)? + 1..)?));
    asked.is_some_and(|asked| {
        let is_foreground = FOREGROUND.contains(&asked.verb);
        // Whose name is not known may be any that is named.
        let names_other = NAMING.contains(&asked.verb) && container.name.is_some();
        READING.contains(&asked.verb) || is_foreground && !may_pass_on || names_other
    })
}

/// Whether a request over HTTP can change something.
fn changes(words: &[&str]) -> bool {
    words.iter().any(|word| {
        let is_method = ["post", "delete", "put"].iter().any(|method| {
            let word = word.trim_start_matches("-X").trim_start_matches("--request=");
            word.trim_start_matches("--method=").eq_ignore_ascii_case(method)
        });
        is_method
            || word.starts_with("-d")
            || word.starts_with("--data")
            || word.starts_with("--post")
    })
}

#[cfg(test)]
mod tests {
    use super::*;

    fn means(line: &str, number: u8) -> bool {
        let container = Container {
            runtime: "docker".to_owned(),
            id: "4fa6e0f0c678".to_owned(),
            name: Some("shop-web-1".to_owned()),
            ..Container::default()
        };
        let words: Vec<&str> = line.split(' ').collect();
        let (_, by_kill) =
            CLIENTS.into_iter().find(|(name, _)| *name == words[0]).expect("a client");
        Asked::of(words[0], &words[1..])
            .is_some_and(|asked| asked.ends_by(number, by_kill) && asked.means(&container))
    }

    #[test]
    fn what_commands_mean_this_container() {
        for line in [
            "docker stop shop-web-1",
            "docker stop -t 3 other shop-web-1",
            "docker -H unix:///run/docker.sock container stop --time=5 4fa6",
            "docker restart shop-web-1",
            "docker compose -f /srv/c.yml -p shop down",
            "docker compose stop web",
            "docker-compose up -d",
            "docker kill -s TERM 4fa6e0f0c678",
            "ctr -n moby task kill 4fa6e0f0c678",
            "docker run -dit -p 80:80 -e A=1 -v /a:/b --name shop-web-1 nginx",
            "docker run -t --name shop-web-1 --rm web",
            "docker run --name=shop-web-1 web",
            "docker start -a shop-web-1",
        ] {
            assert!(means(line, sig::SIGTERM), "{line}");
        }
        for line in ["docker kill shop-web-1", "docker rm -vf shop-web-1", "docker rm --force 4f"] {
            assert!(means(line, sig::SIGKILL), "{line}");
        }
        for line in [
            "docker stop other",
            // The time is no id.
            "docker stop -t 4f other",
            "docker rm shop-web-1",
            "docker kill shop-web-1",
            "docker kill -s INT shop-web-1",
            "docker logs -f shop-web-1",
            "docker exec shop-web-1 stop",
            "docker run web shop-web-1",
            "docker start -a other",
            "docker run --name stop shop-web-1",
            "docker compose stop db",
            "docker compose stop e",
            "docker compose -p other down",
            "docker run -i alpine report --name shop-web-1",
            "docker compose ps",
            "docker",
        ] {
            assert!(!means(line, sig::SIGTERM), "{line}");
        }
    }
}
