//! What the path of a cgroup says about the processes in it: unit, user unit, slice, session, owner,
//! machine, container, batch job, sandbox.
//!
//! Pure text: no file is read. The algorithm for units is that of systemd (`cg_path_get_unit`,
//! `cg_path_get_user_unit`, `cg_path_get_session` in `src/basic/cgroup-util.c`); the grammar of the
//! container runtimes is in `cgroup_container.rs`.

use super::cgroup_container::{batch_job, container, machine};
use super::{BatchJob, Container, Manager};

/// Suffixes of unit names (`unit_type_table` in `src/basic/unit-def.c`).
pub const UNIT_TYPES: [&str; 11] = [
    "service",
    "socket",
    "target",
    "device",
    "mount",
    "automount",
    "swap",
    "timer",
    "path",
    "slice",
    "scope",
];

/// Longest unit name that systemd accepts (`UNIT_NAME_MAX`), without the terminating NUL.
const UNIT_NAME_MAX: usize = 255;

/// How deep containers in containers are followed.
const MAX_NESTING: usize = 4;

/// Whom a cgroup belongs to, as far as its path tells.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct CgroupOwner {
    /// Unit of the system manager: `session-3.scope`, `user@1000.service`.
    pub unit: Option<String>,
    /// Unit of a user's manager: `app-foo.service`.
    pub user_unit: Option<String>,
    /// The slice that the system unit is in; `-.slice` is the root.
    pub slice: Option<String>,
    /// Login session of systemd-logind.
    pub session: Option<String>,
    /// The user whose slice it is.
    pub owner_uid: Option<u32>,
    /// Machine registered with systemd-machined.
    pub machine: Option<String>,
    /// Container; of nested ones the outermost, the next is in [`CgroupOwner::inside`].
    pub container: Option<Container>,
    /// Whether the container's cgroup is below a unit's, where others than root may have named it: a unit can be
    /// delegated to its user.
    pub below_unit: bool,
    /// Job of a batch system.
    pub job: Option<BatchJob>,
    /// Flatpak or snap.
    pub sandbox: Option<Sandbox>,
    /// What the rest of the path says to a service manager that runs in the container.
    pub inside: Option<Box<CgroupOwner>>,
}

/// A packaged desktop application with a cgroup of its own.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Sandbox {
    /// `flatpak` or `snap`.
    pub kind: &'static str,
    /// Its id: `org.mozilla.firefox`, `firefox.firefox`.
    pub name: String,
}

impl CgroupOwner {
    /// Reads the path as it stands in `/proc/PID/cgroup`, from the root of the hierarchy.
    pub fn of(path: &str) -> Self {
        let path = path.strip_suffix(" (deleted)").unwrap_or(path);
        // "/../" leads out of this cgroup namespace; what follows is still named by the same rules.
        let parts: Vec<&str> =
            path.split('/').filter(|part| !part.is_empty() && *part != "..").collect();
        let mut owner = Self::of_parts(&parts, 0);
        // Nor does it tell in which slices that is.
        owner.slice = owner.slice.filter(|slice| !leads_out(path) || slice != "-.slice");
        owner
    }

    fn of_parts(parts: &[&str], depth: usize) -> Self {
        let (slices, rest) = skip_slices(parts);
        let unit = rest.first().and_then(|part| unit_name(part));
        let slice = match (slices.last(), &unit) {
            (Some(slice), _) => Some(unescape(slice).to_owned()),
            (None, Some(_)) => Some("-.slice".to_owned()),
            (None, None) => None,
        };
        let mut owner = Self {
            session: unit.as_deref().and_then(session_of_unit),
            owner_uid: owner_uid(slices, unit.as_deref()),
            user_unit: user_unit(rest),
            machine: unit.as_deref().and_then(machine),
            // The scope is the system manager's, or there is none: below a unit anybody may have made it.
            job: batch_job(parts, slices.len()),
            unit,
            slice,
            ..Self::default()
        };
        owner.sandbox =
            [&owner.user_unit, &owner.unit].into_iter().flatten().find_map(|unit| sandbox(unit));
        if let Some((mut found, tail)) = container(parts) {
            found.named_by = owner.rootless_uid();
            owner.below_unit = owner.unit.is_some() && parts.len() - tail.len() - 1 > slices.len();
            if owner.machine.is_none() && found.runtime == "nspawn" && !owner.below_unit {
                owner.machine.clone_from(&found.name);
            }
            owner.container = Some(found);
            if depth < MAX_NESTING {
                let inside = Self::of_parts(tail, depth + 1);
                owner.inside = (inside != Self::default()).then(|| Box::new(inside));
            }
        }
        owner
    }

    /// The units that a process there is of, each with the manager it belongs to: the system's, then the user's within it.
    pub fn units(&self) -> impl DoubleEndedIterator<Item = (Manager, &str)> {
        let of_system = self.unit.as_deref().map(|unit| (Manager::System, unit));
        let of_user = self.user_unit.as_deref().zip(self.owner_uid);
        [of_system, of_user.map(|(unit, uid)| (Manager::User(uid), unit))].into_iter().flatten()
    }

    /// The innermost of them.
    pub fn innermost_unit(&self) -> Option<(Manager, &str)> {
        self.units().next_back()
    }

    /// The one that belongs to this manager.
    pub fn unit_of(&self, manager: Manager) -> Option<&str> {
        self.units().find(|(its, _)| *its == manager).map(|(_, unit)| unit)
    }

    /// The user whose service manager it is below, where that is not root's: the names there are this user's choice.
    pub fn rootless_uid(&self) -> Option<u32> {
        self.unit.as_deref().and_then(uid_of_manager_unit).filter(|uid| *uid != 0)
    }

    /// The container, where the path alone tells who named its cgroup: root, or the user whose service manager it is
    /// below.
    pub fn told_container(self) -> Option<Container> {
        let is_told = !self.below_unit || self.rootless_uid().is_some();
        self.container.filter(|_| is_told)
    }

    /// The container that the processes live in directly: the innermost.
    pub fn innermost_container(&self) -> Option<&Container> {
        self.inside
            .as_ref()
            .and_then(|inside| inside.innermost_container())
            .or(self.container.as_ref())
    }
}

/// Whether a path leads out of its reader's cgroup namespace: `/..`, `/../system.slice`.
pub fn leads_out(path: &str) -> bool {
    path.split('/').nth(1) == Some("..")
}

/// Whether a path is the top of what its reader's cgroup namespace shows, or one above it: `/`, `/..`, `/../..`.
pub fn is_top(path: &str) -> bool {
    path.split('/').all(|part| part.is_empty() || part == "..")
}

/// How many levels above the top of its reader's cgroup namespace a path goes: 2 for `/../..` and `/../../init.scope`.
pub fn levels_above(path: &str) -> usize {
    path.split('/').skip(1).take_while(|part| *part == "..").count()
}

/// The cgroup that was made for the innermost container.
pub fn cgroup_of_container(path: &str) -> Option<String> {
    let parts: Vec<&str> = path.split('/').filter(|part| !part.is_empty()).collect();
    let mut last = None;
    let mut rest = parts.as_slice();
    while let Some((_, tail)) = container(rest) {
        last = Some(parts.len() - tail.len());
        rest = tail;
    }
    last.map(|last| format!("/{}", parts[..last].join("/")))
}

/// The slices of the system manager in which a cgroup is, outermost first; all are in the root slice.
pub fn slices(path: &str) -> Vec<String> {
    let parts: Vec<&str> = path.split('/').filter(|part| !part.is_empty()).collect();
    let (slices, _) = skip_slices(&parts);
    let slices = slices.iter().map(|slice| unescape(slice).to_owned());
    std::iter::once("-.slice".to_owned()).chain(slices).collect()
}

/// The slices, services and scopes in which a cgroup is, its own too, outermost first, each with its manager; without the root
/// slice, in which all are.
pub fn units_around(path: &str) -> impl Iterator<Item = (Manager, String)> {
    let ends = path.match_indices('/').map(|(at, _)| at).skip(1).chain([path.len()]);
    ends.filter_map(|end| unit_of_cgroup(&path[..end]))
}

/// The slice, service or scope that this very cgroup was made for, and whose manager it is one of. `None` of what no
/// service manager made: what is below a unit that has others in its cgroup, say.
pub fn unit_of_cgroup(path: &str) -> Option<(Manager, String)> {
    let parts: Vec<&str> = path.split('/').filter(|part| !part.is_empty()).collect();
    let (slices, rest) = skip_slices(&parts);
    let slice = |slices: &[&str]| slices.last().map(|slice| unescape(slice).to_owned());
    let uid = rest.first().and_then(|unit| uid_of_manager_unit(unescape(unit)));
    match (rest, uid) {
        ([], _) => Some((Manager::System, slice(slices)?)),
        ([unit], _) => Some((Manager::System, unit_name(unit)?)),
        ([_, below @ ..], Some(uid)) => {
            let (slices, rest) = skip_slices(below);
            let unit = match rest {
                [] => slice(slices),
                [unit] => unit_name(unit),
                _ => None,
            };
            Some((Manager::User(uid), unit?))
        }
        _ => None,
    }
}

/// Splits off the leading components that are slices.
fn skip_slices<'a, 'p>(parts: &'a [&'p str]) -> (&'a [&'p str], &'a [&'p str]) {
    let count = parts.iter().take_while(|part| is_slice(unescape(part))).count();
    parts.split_at(count)
}

/// Undoes `cg_escape`: exactly one leading underscore goes.
pub fn unescape(part: &str) -> &str {
    part.strip_prefix('_').unwrap_or(part)
}

/// The component as a unit name, where it is one and no slice.
fn unit_name(part: &str) -> Option<String> {
    let name = unescape(part);
    (is_unit_name(name) && !name.ends_with(".slice")).then(|| name.to_owned())
}

/// Whether systemd would accept it as the name of a unit (`unit_name_is_valid`, not a template).
pub fn is_unit_name(name: &str) -> bool {
    let Some((stem, kind)) = name.rsplit_once('.') else {
        return false;
    };
    let valid = |c: char| c.is_ascii_alphanumeric() || ":-_.\\@".contains(c);
    name.len() <= UNIT_NAME_MAX
        && UNIT_TYPES.contains(&kind)
        && !stem.is_empty()
        && !stem.starts_with('@')
        && !stem.ends_with('@')
        && stem.chars().all(valid)
}

/// Whether it is the name of a slice (`slice_name_is_valid`): dashes nest, so none may be empty.
fn is_slice(name: &str) -> bool {
    match name.strip_suffix(".slice") {
        Some("-") => true,
        Some(stem) => {
            is_unit_name(name)
                && !stem.contains('@')
                && stem.split('-').all(|part| !part.is_empty())
        }
        None => false,
    }
}

/// The session whose scope the unit is.
fn session_of_unit(unit: &str) -> Option<String> {
    let id = unit.strip_prefix("session-")?.strip_suffix(".scope")?;
    (!id.is_empty() && id.chars().all(|c| c.is_ascii_alphanumeric())).then(|| id.to_owned())
}

/// The uid of a `user@UID.service`.
pub fn uid_of_manager_unit(unit: &str) -> Option<u32> {
    unit.strip_prefix("user@")?.strip_suffix(".service")?.parse().ok()
}

fn owner_uid(slices: &[&str], unit: Option<&str>) -> Option<u32> {
    let by_slice = slices.iter().find_map(|slice| {
        unescape(slice).strip_prefix("user-")?.strip_suffix(".slice")?.parse().ok()
    });
    by_slice.or_else(|| unit.and_then(uid_of_manager_unit))
}

/// The unit of the user manager, from what follows the system's slices.
fn user_unit(rest: &[&str]) -> Option<String> {
    let (first, below) = rest.split_first()?;
    let first = unescape(first);
    let is_prefix = uid_of_manager_unit(first).is_some()
        || session_of_unit(first).is_some()
        || (first.starts_with("capsule@") && first.ends_with(".service"));
    let (_, below) = skip_slices(below);
    if is_prefix { below.first().and_then(|part| unit_name(part)) } else { None }
}

fn sandbox(unit: &str) -> Option<Sandbox> {
    let (stem, _) = unit.rsplit_once('.')?;
    if let Some(rest) = stem.strip_prefix("app-flatpak-") {
        let (id, instance) = rest.rsplit_once('-')?;
        let named = instance.chars().all(|c| c.is_ascii_digit()) && !id.is_empty();
        return named.then(|| Sandbox { kind: "flatpak", name: unit_unescape(id) });
    }
    // snap.<snap>.<app>-<uuid>.scope, snap.<snap>.<app>.<uuid>.scope, snap.<snap>.<app>.service
    let rest = stem.strip_prefix("snap.")?;
    let uuid_at = rest
        .len()
        .checked_sub(37)
        .filter(|&at| rest.is_char_boundary(at) && is_uuid_tail(&rest[at..]));
    let name = uuid_at.map_or(rest, |at| &rest[..at]);
    (!name.is_empty()).then(|| Sandbox { kind: "snap", name: name.to_owned() })
}

/// A separator and a UUID.
fn is_uuid_tail(text: &str) -> bool {
    text.starts_with(['-', '.'])
        && text[1..].chars().enumerate().all(|(at, c)| match at {
            8 | 13 | 18 | 23 => c == '-',
            _ => c.is_ascii_hexdigit(),
        })
}

/// Undoes `unit_name_escape`: `-` stands for `/`, `\xNN` for a byte; bytes that are no UTF-8 are shown as U+FFFD.
pub fn unit_unescape(text: &str) -> String {
    let bytes = text.as_bytes();
    let mut out = Vec::with_capacity(bytes.len());
    let mut at = 0;
    while at < bytes.len() {
        let code = match bytes[at..] {
            [b'\\', b'x', high, low, ..] => {
                hex(high).zip(hex(low)).map(|(high, low)| high << 4 | low)
            }
            _ => None,
        };
        match (code, bytes[at]) {
            (Some(byte), _) => {
                out.push(byte);
                at += 4;
                continue;
            }
            (None, b'-') => out.push(b'/'),
            (None, byte) => out.push(byte),
        }
        at += 1;
    }
    String::from_utf8_lossy(&out).into_owned()
}

/// `unit_name_escape` of a text without slashes: all but ASCII letters, digits, `:`, `_` and `.` becomes `\xNN`.
pub fn unit_escape(text: &str) -> String {
    let mut out = String::with_capacity(text.len() + 8);
    for (at, byte) in text.bytes().enumerate() {
        if byte.is_ascii_alphanumeric() || b":_".contains(&byte) || (byte == b'.' && at > 0) {
            out.push(char::from(byte));
        } else {
            out.push_str(&format!("\\x{byte:02x}"));
        }
    }
    out
}

/// `bus_label_escape`: the last component of the D-Bus path of a unit or a session.
pub fn bus_label_escape(text: &str) -> String {
    if text.is_empty() {
        return "_".to_owned();
    }
    let mut out = String::with_capacity(text.len() + 8);
    for (at, byte) in text.bytes().enumerate() {
        if byte.is_ascii_alphabetic() || (at > 0 && byte.is_ascii_digit()) {
            out.push(char::from(byte));
        } else {
            out.push_str(&format!("_{byte:02x}"));
        }
    }
    out
}

/// Undoes [`bus_label_escape`].
pub fn bus_label_unescape(text: &str) -> String {
    if text == "_" {
        return String::new();
    }
    let bytes = text.as_bytes();
    let mut out = Vec::with_capacity(bytes.len());
    let mut at = 0;
    while at < bytes.len() {
        if let [b'_', high, low, ..] = bytes[at..]
            && let (Some(high), Some(low)) = (hex(high), hex(low))
        {
            out.push(high << 4 | low);
            at += 3;
        } else {
            out.push(bytes[at]);
            at += 1;
        }
    }
    String::from_utf8_lossy(&out).into_owned()
}

fn hex(digit: u8) -> Option<u8> {
    char::from(digit).to_digit(16).and_then(|digit| u8::try_from(digit).ok())
}

#[cfg(test)]
#[path = "cgroup_path_tests.rs"]
mod tests;
