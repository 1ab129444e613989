//! The tables of stand-ins.

use std::collections::{BTreeMap, HashMap};
use std::net::{IpAddr, Ipv4Addr, Ipv6Addr};
use std::ops::Bound;

use crate::evidence::cgroup_path::unit_escape;

/// How many of one kind get stand-ins of their own; those after share one. Bounds the memory.
const MAX_NAMES: usize = 100_000;
/// How long all of one kind may be together, bytes.
const MAX_BYTES: usize = 32 << 20;
/// How many users and hosts are looked for in texts.
const MAX_SOUGHT: usize = 4096;
/// Longest name that is looked for, bytes; names of hosts have 253 (RFC 1035, section 2.3.4).
const MAX_LENGTH: usize = 255;

/// Words that are replaced only where nothing but a user or a host can stand: as parts of texts and
/// names they carry the story.
const COMMON: &[&str] = &[
    "app",
    "as",
    "at",
    "background",
    "by",
    "client",
    "closed",
    "closing",
    "code",
    "connection",
    "container",
    "cron",
    "daemon",
    "debian",
    "disconnected",
    "docker",
    "error",
    "exit",
    "exited",
    "failed",
    "for",
    "from",
    "host",
    "in",
    "init",
    "invalid",
    "job",
    "kernel",
    "kill",
    "killed",
    "killing",
    "linux",
    "localhost",
    "logind",
    "machine",
    "main",
    "manager",
    "master",
    "new",
    "of",
    "on",
    "oom",
    "opened",
    "out",
    "podman",
    "port",
    "process",
    "pts",
    "removed",
    "restart",
    "root",
    "run",
    "scope",
    "screen",
    "server",
    "service",
    "session",
    "sig",
    "signal",
    "slice",
    "slurm",
    "socket",
    "ssh",
    "sshd",
    "start",
    "started",
    "status",
    "stop",
    "stopped",
    "stopping",
    "system",
    "systemd",
    "target",
    "term",
    "the",
    "timeout",
    "tmux",
    "to",
    "tty",
    "unit",
    "unknown",
    "user",
    "waiting",
    "watchdog",
    "with",
];

/// Stand-ins of one kind.
#[derive(Debug)]
struct Table {
    prefix: &'static str,
    known: HashMap<String, String>,
    /// Length of all that is known, bytes.
    bytes: usize,
}

impl Table {
    fn new(prefix: &'static str) -> Self {
        Self { prefix, known: HashMap::new(), bytes: 0 }
    }

    fn get(&mut self, real: &str) -> String {
        if let Some(stand_in) = self.known.get(real) {
            return stand_in.clone();
        }
        if self.known.len() >= MAX_NAMES || self.bytes + real.len() > MAX_BYTES {
            return format!("{}other", self.prefix);
        }
        self.bytes += real.len();
        let stand_in = format!("{}{}", self.prefix, self.known.len() + 1);
        self.known.insert(real.to_owned(), stand_in.clone());
        stand_in
    }
}

/// All stand-ins.
#[derive(Debug)]
pub struct Names {
    users: Table,
    hosts: Table,
    arguments: Table,
    paths: Table,
    texts: Table,
    addresses: HashMap<IpAddr, IpAddr>,
    v4: u32,
    v6: u32,
    /// Home directories and what stands for them, longest first.
    homes: Vec<(String, String)>,
    /// Users and hosts to be looked for in texts, also as unit names have them.
    sought: BTreeMap<String, Sought>,
}

/// What stands for a name that is looked for in texts.
#[derive(Debug)]
struct Sought {
    stand_in: String,
    of: Kind,
}

/// Whose name it is.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
enum Kind {
    User,
    Host,
}

/// Which names are looked for in a text.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Within {
    /// Users and hosts.
    Any,
    /// Users: the path of a file of settings, whose name may hold a word that is a host's as well.
    SettingsFile,
}

impl Default for Names {
    fn default() -> Self {
        Self {
            users: Table::new("user-"),
            hosts: Table::new("host-"),
            arguments: Table::new("arg-"),
            paths: Table::new("path-"),
            texts: Table::new("text-"),
            addresses: HashMap::new(),
            v4: 0,
            v6: 0,
            homes: Vec::new(),
            sought: BTreeMap::new(),
        }
    }
}

impl Names {
    /// A user.
    pub fn user(&mut self, name: &str) -> String {
        let stand_in = self.users.get(name);
        self.seek(name, &stand_in, Kind::User);
        stand_in
    }

    /// A user whose name is replaced here and is not looked for elsewhere.
    pub fn user_here(&mut self, name: &str) -> String {
        self.users.get(name)
    }

    /// A host by name.
    pub fn host(&mut self, name: &str) -> String {
        if name.is_empty() || name == "localhost" {
            return name.to_owned();
        }
        let stand_in = self.hosts.get(name);
        self.seek(name, &stand_in, Kind::Host);
        stand_in
    }

    /// An argument.
    pub fn argument(&mut self, text: &str) -> String {
        self.arguments.get(text)
    }

    /// The rest of a path under a home directory.
    pub fn path(&mut self, text: &str) -> String {
        self.paths.get(text)
    }

    /// A text of which nothing is known.
    pub fn unknown_text(&mut self, text: &str) -> String {
        self.texts.get(text)
    }

    /// Makes a home directory known.
    pub fn home(&mut self, home: &str, user: &str) {
        let home = home.trim_end_matches('/');
        let is_own = home.len() > 1 && home.starts_with('/') && home != "/root" && home != "/home";
        if is_own
            && self.homes.len() < MAX_SOUGHT
            && !self.homes.iter().any(|(known, _)| known == home)
        {
            self.homes.push((home.to_owned(), format!("/home/{user}")));
            self.homes.sort_by_key(|(known, _)| std::cmp::Reverse(known.len()));
        }
    }

    /// The home directory that a text begins with: its length, and what stands for it.
    pub fn home_at(&mut self, text: &str) -> Option<(usize, String)> {
        let ends = |length: usize| {
            !text[length..].starts_with(|c: char| is_word(c) || c == '-' || c == '.')
        };
        if let Some((home, stand_in)) =
            self.homes.iter().find(|(home, _)| text.starts_with(home.as_str()) && ends(home.len()))
        {
            return Some((home.len(), stand_in.clone()));
        }
        if text.starts_with("/root/") {
            return Some(("/root".len(), "/root".to_owned()));
        }
        let base = ["/home/", "/var/home/"].into_iter().find(|base| text.starts_with(base))?;
        let name_length = text[base.len()..].find(|c: char| !(is_word(c) || "-.$".contains(c)));
        let end = name_length.map_or(text.len(), |length| base.len() + length);
        if end == base.len() {
            return None;
        }
        let user = self.user(&text[base.len()..end]);
        Some((end, format!("/home/{user}")))
    }

    /// The longest user or host that a text begins with: its length, and what stands for it.
    pub fn name_at(&self, text: &str, within: Within) -> Option<(usize, &str)> {
        let mut last = Bound::Included(text);
        // Of all names that sort before the text, one that it begins with is nearest to it, or else begins alike.
        loop {
            let (name, sought) =
                self.sought.range::<str, _>((Bound::Unbounded, last)).next_back()?;
            let alike = text.bytes().zip(name.bytes()).take_while(|(one, other)| one == other);
            let alike = alike.count();
            if alike < name.len() {
                last = Bound::Included(&text[..text.floor_char_boundary(alike)]);
            } else if text[alike..].starts_with(is_word)
                || within == Within::SettingsFile && sought.of == Kind::Host
            {
                last = Bound::Excluded(&text[..alike]);
            } else {
                return Some((alike, &sought.stand_in));
            }
        }
    }

    /// An address; those of the machine itself stay.
    pub fn address(&mut self, real: IpAddr) -> IpAddr {
        if real.is_loopback() || real.is_unspecified() {
            return real;
        }
        if let IpAddr::V6(v6) = real
            && let Some(v4) = v6.to_ipv4_mapped()
        {
            return match self.address(v4.into()) {
                IpAddr::V4(v4) => v4.to_ipv6_mapped().into(),
                v6 @ IpAddr::V6(_) => v6,
            };
        }
        if let Some(stand_in) = self.addresses.get(&real) {
            return *stand_in;
        }
        let full = self.addresses.len() >= MAX_NAMES;
        let stand_in = match real {
            IpAddr::V4(_) if full => documentation_v4(u32::MAX).into(),
            IpAddr::V6(_) if full => documentation_v6(u32::MAX).into(),
            IpAddr::V4(_) => {
                self.v4 += 1;
                documentation_v4(self.v4).into()
            }
            IpAddr::V6(_) => {
                self.v6 += 1;
                documentation_v6(self.v6).into()
            }
        };
        if !full {
            self.addresses.insert(real, stand_in);
        }
        stand_in
    }

    /// Whether an address was seen already.
    pub fn knows(&self, address: IpAddr) -> bool {
        self.addresses.contains_key(&address)
    }

    fn seek(&mut self, name: &str, stand_in: &str, of: Kind) {
        let common = COMMON.contains(&name.to_ascii_lowercase().as_str());
        let number = name.bytes().all(|byte| byte.is_ascii_digit());
        let full = self.sought.len() >= MAX_SOUGHT && !self.sought.contains_key(name);
        if common || number || full || name.len() > MAX_LENGTH {
            return;
        }
        let escaped = unit_escape(name);
        if escaped != name {
            self.sought.insert(escaped, Sought { stand_in: unit_escape(stand_in), of });
        }
        self.sought.insert(name.to_owned(), Sought { stand_in: stand_in.to_owned(), of });
    }
}

/// Whether a character belongs to a word, so that a name does not end before it.
pub fn is_word(c: char) -> bool {
    c.is_alphanumeric() || c == '_'
}

/// The addresses of RFC 5737, then those of RFC 2544, 198.18.0.0/15.
fn documentation_v4(number: u32) -> Ipv4Addr {
    let octet = (number.wrapping_sub(1) % 254 + 1) as u8;
    match number.wrapping_sub(1) / 254 {
        0 => Ipv4Addr::new(192, 0, 2, octet),
        1 => Ipv4Addr::new(198, 51, 100, octet),
        2 => Ipv4Addr::new(203, 0, 113, octet),
        _ => Ipv4Addr::from_bits(Ipv4Addr::new(198, 18, 0, 0).to_bits() | number & 0x1_ffff),
    }
}

/// The addresses of RFC 3849, 2001:db8::/32.
fn documentation_v6(number: u32) -> Ipv6Addr {
    Ipv6Addr::from_bits(0x2001_0db8 << 96 | u128::from(number))
}
