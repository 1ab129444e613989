//! Where a command looks for its server, and where a server is to be found, by the words that both were started with. What
//! they read from files of settings is not seen.

use super::base;

/// How a command fits a server.
#[derive(Debug, PartialEq, Eq)]
pub enum Fit {
    /// It named what the server has.
    Meant,
    /// It named nothing.
    Unsaid,
    /// It named what is not known of the server; why that leaves it open.
    Open(String),
    /// It named another.
    Other,
}

/// What a server can be told from others of its kind by.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
enum Place {
    Socket,
    Directory,
    Settings,
    Node,
}

impl Place {
    const fn words(self) -> &'static str {
        match self {
            Self::Socket => "socket",
            Self::Directory => "directory",
            Self::Settings => "file of settings",
            Self::Node => "name of a node",
        }
    }

    /// Whether this can be one; options of other programs have the same letters.
    fn can_be(self, value: &str) -> bool {
        match self {
            Self::Socket => value.starts_with('/'),
            Self::Directory => true,
            Self::Settings => value.contains(['/', '.']) && !value.contains('='),
            Self::Node => value.contains('@'),
        }
    }
}

#[derive(Clone, Copy, Debug, PartialEq, Eq)]
enum What {
    Host,
    Port,
    Place(Place),
}

/// Options whose value says where, as clients and servers have them alike.
const OPTIONS: [(&str, What); 22] = [
    ("h", What::Host),
    ("host", What::Host),
    ("hostname", What::Host),
    ("p", What::Port),
    ("P", What::Port),
    ("port", What::Port),
    ("s", What::Place(Place::Socket)),
    ("S", What::Place(Place::Socket)),
    ("socket", What::Place(Place::Socket)),
    ("unixsocket", What::Place(Place::Socket)),
    ("D", What::Place(Place::Directory)),
    ("pgdata", What::Place(Place::Directory)),
    ("datadir", What::Place(Place::Directory)),
    ("dbpath", What::Place(Place::Directory)),
    ("c", What::Place(Place::Settings)),
    ("f", What::Place(Place::Settings)),
    ("config", What::Place(Place::Settings)),
    ("defaults-file", What::Place(Place::Settings)),
    ("n", What::Place(Place::Node)),
    ("node", What::Place(Place::Node)),
    ("name", What::Place(Place::Node)),
    ("sname", What::Place(Place::Node)),
];

/// Short options whose value may follow without a space.
const ATTACHED: [&str; 5] = ["h", "p", "P", "S", "D"];

/// The port that a client asks at which names none, by how its name begins, and whether it looks nowhere else: of the others
/// a file, a variable or a socket may say where.
const USUAL: [(&str, u16, bool); 4] = [
    ("redis", 6379, true),
    ("valkey", 6379, true),
    ("mysql", 3306, false),
    ("mariadb", 3306, false),
];

/// Where, as far as words tell.
#[derive(Debug, Default)]
pub struct Address<'a> {
    host: Option<&'a str>,
    port: Option<u16>,
    places: Vec<(Place, &'a str)>,
}

impl<'a> Address<'a> {
    /// Where a client of this name asks, by its arguments.
    pub fn asked(client: &str, args: impl Iterator<Item = &'a str>) -> Self {
        Self::of(client, args)
    }

    /// Where a server is, by its name, and by the arguments and the title that it has: redis has `*:6379` in its title.
    pub fn own(server: &str, words: impl Iterator<Item = &'a str> + Clone) -> Self {
        let shown = words.clone().filter_map(listens).last();
        let own = Self::of(server, words);
        Self { port: shown.or(own.port), ..own }
    }

    fn of(program: &str, words: impl Iterator<Item = &'a str>) -> Self {
        let mut found = Self::default();
        let mut words = words.peekable();
        while let Some(word) = words.next() {
            if let Some((_, place)) = word.split_once("://") {
                found.take_uri(place);
                continue;
            }
            let Some((name, value)) = option_of(word) else { continue };
            let Some((_, what)) = OPTIONS.into_iter().find(|(known, _)| *known == name) else {
                continue;
            };
            // There it is a password.
            if name == "p" && is_mysql(program) {
                continue;
            }
            let next = words.peek().copied().filter(|next| !next.starts_with('-'));
            if let Some(value) = value.or(next).filter(|value| !value.is_empty()) {
                found.take(what, value);
            }
        }
        found
    }

    fn take(&mut self, what: What, value: &'a str) {
        match what {
            What::Host => self.host = Some(value),
            What::Port => self.port = value.parse().ok().or(self.port),
            // PostgreSQL takes any of its settings so.
            What::Place(Place::Settings) if value.starts_with("port=") => {
                self.port = value[5..].parse().ok().or(self.port);
            }
            What::Place(place) if place.can_be(value) => self.places.push((place, value)),
            What::Place(_) => {}
        }
    }

    /// `user:password@host:port/…`
    fn take_uri(&mut self, place: &'a str) {
        let authority = place.split(['/', '?', '#']).next().unwrap_or_default();
        let address = authority.rsplit('@').next().unwrap_or_default();
        match address.rsplit_once(':') {
            Some((host, port)) if port.parse::<u16>().is_ok() => {
                (self.host, self.port) = (Some(host), port.parse().ok());
            }
            _ if !address.is_empty() => self.host = Some(address),
            _ => {}
        }
    }

    /// Whether a host is named that may be another machine.
    pub fn is_elsewhere(&self) -> bool {
        self.host.is_some_and(|host| !is_this_machine(host))
    }

    /// How a client of this name that asks here fits a server that is there; `name` is the server's.
    pub fn fit(&self, client: &str, server: &Address<'_>, name: &str) -> Fit {
        let (mut is_meant, mut open) = (false, None);
        for (place, value) in &self.places {
            let own: Vec<&str> =
                server.places.iter().filter(|(own, _)| own == place).map(|(_, own)| *own).collect();
            if own.iter().any(|own| is_same(own, value)) {
                is_meant = true;
            } else if own.is_empty() {
                open = Some(format!("which {} {name} has was not seen", place.words()));
            } else {
                return Fit::Other;
            }
        }
        let usual = USUAL.into_iter().find(|(begin, ..)| client.starts_with(begin));
        let usual = usual.filter(|_| self.places.is_empty() && self.port.is_none());
        match (self.port, server.port, usual) {
            (Some(asked), Some(own), _) if asked == own => is_meant = true,
            (Some(_), Some(_), _) => return Fit::Other,
            (Some(_), None, _) => open = Some(format!("on which port {name} listens was not seen")),
            (None, Some(own), Some((_, asked, is_sure))) if asked != own => {
                if is_sure {
                    return Fit::Other;
                }
                open = Some(format!("it named no port, and {name} listens on {own}"));
            }
            _ => {}
        }
        if self.is_elsewhere() {
            open = Some("whether the host that it named is this machine is not known".to_owned());
        }
        match open {
            Some(why) => Fit::Open(why),
            None if is_meant => Fit::Meant,
            None => Fit::Unsaid,
        }
    }
}

/// The name of an option and the value that is in the same word.
fn option_of(word: &str) -> Option<(&str, Option<&str>)> {
    let name = word.strip_prefix("--").or_else(|| word.strip_prefix('-'))?;
    if let Some((name, value)) = name.split_once('=') {
        return Some((name, Some(value)));
    }
    let is_known = |name: &str| OPTIONS.iter().any(|(known, _)| *known == name);
    if is_known(name) || word.starts_with("--") || name == "help" {
        return Some((name, None));
    }
    let short = name.get(..1).filter(|short| ATTACHED.contains(short))?;
    Some((short, name.get(1..)))
}

fn is_mysql(program: &str) -> bool {
    program.starts_with("mysql") || program.starts_with("mariadb")
}

/// Whether a host that is named is the machine itself for sure.
fn is_this_machine(host: &str) -> bool {
    let host = host.trim_matches(['[', ']']);
    host == "localhost"
        || host.parse::<std::net::IpAddr>().is_ok_and(|it| it.is_loopback() || it.is_unspecified())
}

/// Whether two paths can be of the same file: one that is relative begins who knows where.
fn is_same(one: &str, other: &str) -> bool {
    if one.starts_with('/') && other.starts_with('/') {
        return one.trim_end_matches('/') == other.trim_end_matches('/');
    }
    base(one) == base(other)
}

/// The port in a word of a title such as `127.0.0.1:6379`.
fn listens(word: &str) -> Option<u16> {
    let (address, port) = word.rsplit_once(':')?;
    let is_address = !address.is_empty()
        && address.chars().all(|it| it.is_ascii_hexdigit() || ".:*[]".contains(it));
    port.parse().ok().filter(|_| is_address)
}

#[cfg(test)]
mod tests {
    use super::*;

    fn fit(client: &str, server: &str) -> Fit {
        let (asked, own) = (client.split(' '), server.split(' '));
        let (client, name) = (
            client.split(' ').next().unwrap_or_default(),
            server.split(' ').next().unwrap_or_default(),
        );
        let asked = Address::asked(base(client), asked.skip(1));
        asked.fit(base(client), &Address::own(base(name), own.skip(1)), "it[1]")
    }

    #[test]
    fn what_is_named_is_this_server() {
        for (client, server) in [
            ("redis-cli -p 7777 shutdown", "redis-server *:7777"),
            ("redis-cli -h 127.0.0.1 -p 7777 shutdown", "redis-server 127.0.0.1:7777 [cluster]"),
            ("redis-cli -u redis://:pw@localhost:7777/0 shutdown", "redis-server --port 7777"),
            ("redis-cli -s /run/r.sock shutdown", "redis-server --unixsocket /run/r.sock"),
            ("mysqladmin -P3307 shutdown", "mysqld --port=3307"),
            (
                "mysqladmin -uroot -p1234 -S/tmp/x.sock shutdown",
                "mysqld --port=3306 --socket=/tmp/x.sock",
            ),
            ("pg_ctl -D /srv/one/ stop", "postgres -D /srv/one"),
            ("pg_ctl -D one stop", "postgres -D /srv/one"),
            ("db-ctl -p 5433 stop", "db -D /srv/one -c port=5433"),
        ] {
            assert_eq!(fit(client, server), Fit::Meant, "{client} / {server}");
        }
    }

    #[test]
    fn what_is_named_is_another_server() {
        for (client, server) in [
            ("redis-cli -p 7777 shutdown", "redis-server *:6379"),
            ("redis-cli shutdown", "redis-server *:7777"),
            ("redis-cli -u redis://cache:7777 shutdown", "redis-server --port 6379"),
            ("redis-cli -h cache -p 7777 shutdown", "redis-server [::1]:6379"),
            ("mysqladmin --socket=/tmp/x.sock shutdown", "mysqld --socket=/run/mysqld.sock"),
            ("mysqladmin -P 3307 shutdown", "mysqld --port 3306"),
            ("pg_ctl -D /srv/two stop", "postgres -D /srv/one"),
            ("rabbitmqctl -n two@host stop", "beam.smp -sname one@host"),
            ("webd -c /etc/two.conf quit", "webd -c /etc/one.conf"),
        ] {
            assert_eq!(fit(client, server), Fit::Other, "{client} / {server}");
        }
    }

    #[test]
    fn what_is_left_open_is_not_decided() {
        for (client, server) in [
            ("redis-cli -p 7777 shutdown", "redis-server /etc/redis.conf"),
            ("redis-cli -h cache shutdown", "redis-server *:6379"),
            ("mysqladmin -h db2 shutdown", "mysqld"),
            ("mysqladmin shutdown", "mysqld --port=3307"),
            ("mysqladmin --socket /tmp/x.sock shutdown", "mysqld"),
        ] {
            assert!(matches!(fit(client, server), Fit::Open(_)), "{client} / {server}");
        }
        for (client, server) in [
            ("redis-cli -n 3 -a secret shutdown", "redis-server *:6379"),
            ("redis-cli -c shutdown", "redis-server"),
            ("mysqladmin -u root -psecret shutdown", "mysqld --port=3306"),
            ("mysqladmin -h localhost -p1234 shutdown", "mysqld"),
            ("cache-cli shutdown", "cache-server --port 7000"),
            ("cache-cli -help shutdown", "cache-server"),
        ] {
            assert_eq!(fit(client, server), Fit::Unsaid, "{client} / {server}");
        }
    }
}
