//! What can be traced: the argument of `--target`, read into one typed value.

use std::fmt;
use std::str::FromStr;

use crate::evidence::cgroup_path::is_unit_name;
use crate::evidence::{complete_unit_name, is_unit_pattern};

/// Highest number that can be a pid (`pid_t` is signed). Linux hands out fewer; that nobody has a pid is
/// seen when it is looked for.
pub const MAX_PID: u32 = i32::MAX.cast_unsigned();

/// A target as the user names it.
#[derive(Clone, Debug, PartialEq, Eq, Hash)]
pub enum TargetSpec {
    /// Processes of this name.
    Name(String),
    /// One process.
    Pid(u32),
    /// Processes of a systemd unit, its name complete with suffix, or a pattern of names.
    Unit(String),
    /// Processes of a cgroup and of those below it; the path from the root of the mount, with a
    /// leading slash and without a trailing one.
    Cgroup(String),
    /// Processes of a user, by name or number.
    User(String),
    /// Processes of a container, by name or id.
    Container(String),
}

/// Why a text names no target.
#[derive(Clone, Debug, PartialEq, Eq, thiserror::Error)]
pub enum TargetError {
    /// Nothing was given.
    #[error(
        "it is empty: give a process name, a pid, unit:NAME, cgroup:PATH, user:NAME or container:NAME"
    )]
    Empty,
    /// A prefix without anything behind it.
    #[error("nothing follows '{0}:': write {0}:{1}")]
    NothingAfter(&'static str, &'static str),
    /// A number that is no pid.
    #[error("that is no pid: pids are numbers from 1 up")]
    Pid(String),
    /// A prefix that is not known.
    #[error(
        "'{0}:' is no kind of target (name, pid, unit, cgroup, user, container): for a process that is called so write name:{0}:{1}"
    )]
    Kind(String, String),
    /// A path where a name is wanted.
    #[error("a process name has no '/': write --target {0}")]
    Path(String),
    /// Not a path inside the cgroup file system.
    #[error(
        "a cgroup path has no '..': write it as in /proc/PID/cgroup, such as cgroup:/system.slice"
    )]
    Cgroup,
    /// Not a name that systemd would take.
    #[error(
        "no unit can be called {0}: see `systemctl list-units` (and `systemctl --user list-units`), and \
         systemd-escape(1) for a path"
    )]
    Unit(String),
    /// A character that no name has.
    #[error("it contains a zero byte, which no name has: leave it out")]
    Zero,
}

impl FromStr for TargetSpec {
    type Err = TargetError;

    fn from_str(text: &str) -> Result<Self, Self::Err> {
        if text.is_empty() {
            return Err(TargetError::Empty);
        }
        if text.contains('\0') {
            return Err(TargetError::Zero);
        }
        if text.bytes().all(|byte| byte.is_ascii_digit()) {
            return pid(text);
        }
        match text.split_once(':') {
            Some(("pid", rest)) => pid(filled("pid", "4242", rest)?),
            Some(("name", rest)) => name(filled("name", "tmux", rest)?),
            Some(("unit", rest)) => unit(filled("unit", "nginx.service", rest)?),
            Some(("cgroup", rest)) => cgroup(filled("cgroup", "/system.slice", rest)?),
            Some(("user", rest)) => Ok(Self::User(filled("user", "alice", rest)?.to_owned())),
            Some(("container", rest)) => {
                let named = container(filled("container", "web", rest)?);
                Ok(Self::Container(filled("container", "web", named)?.to_owned()))
            }
            // `tmux: server` is a title; `unti:nginx` is a slip that would be waited for in vain.
            Some((kind, rest))
                if !kind.is_empty()
                    && !rest.is_empty()
                    && !rest.starts_with(' ')
                    && kind.bytes().all(|byte| byte.is_ascii_lowercase()) =>
            {
                Err(TargetError::Kind(kind.to_owned(), rest.to_owned()))
            }
            _ => name(text),
        }
    }
}

impl fmt::Display for TargetSpec {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            // As it must be written to mean the same again.
            Self::Name(name) if name.parse::<Self>().as_ref() != Ok(self) => {
                write!(f, "name:{name}")
            }
            Self::Name(name) => f.write_str(name),
            Self::Pid(pid) => write!(f, "{pid}"),
            Self::Unit(unit) => write!(f, "unit:{unit}"),
            Self::Cgroup(path) => write!(f, "cgroup:{path}"),
            Self::User(user) => write!(f, "user:{user}"),
            Self::Container(container) => write!(f, "container:{container}"),
        }
    }
}

fn filled<'t>(
    kind: &'static str,
    example: &'static str,
    rest: &'t str,
) -> Result<&'t str, TargetError> {
    if rest.is_empty() { Err(TargetError::NothingAfter(kind, example)) } else { Ok(rest) }
}

fn pid(text: &str) -> Result<TargetSpec, TargetError> {
    match text.parse::<u32>() {
        Ok(pid) if (1..=MAX_PID).contains(&pid) => Ok(TargetSpec::Pid(pid)),
        _ => Err(TargetError::Pid(text.to_owned())),
    }
}

fn name(text: &str) -> Result<TargetSpec, TargetError> {
    // A kernel thread may be called `kworker/0:1`; only what looks like a path is taken for one.
    if text.starts_with(['/', '.']) && text.contains('/') {
        let base = text.rsplit('/').find(|part| !part.is_empty()).unwrap_or_default();
        return Err(TargetError::Path(base.to_owned()));
    }
    Ok(TargetSpec::Name(text.to_owned()))
}

fn unit(text: &str) -> Result<TargetSpec, TargetError> {
    let name = complete_unit_name(text);
    if is_unit_name(&name) || is_unit_pattern(&name) {
        Ok(TargetSpec::Unit(name))
    } else {
        Err(TargetError::Unit(name))
    }
}

/// Without what `docker inspect` and `kubectl describe` write before it: `/web`, `containerd://4f0c…`.
fn container(text: &str) -> &str {
    text.split_once("://").map_or(text, |(_, id)| id).trim_start_matches('/')
}

fn cgroup(text: &str) -> Result<TargetSpec, TargetError> {
    let inner = text
        .strip_prefix("/sys/fs/cgroup/unified")
        .or_else(|| text.strip_prefix("/sys/fs/cgroup"))
        .filter(|rest| rest.is_empty() || rest.starts_with('/'))
        .unwrap_or(text);
    let parts: Vec<&str> =
        inner.split('/').filter(|part| !part.is_empty() && *part != ".").collect();
    if parts.contains(&"..") {
        return Err(TargetError::Cgroup);
    }
    Ok(TargetSpec::Cgroup(format!("/{}", parts.join("/"))))
}

#[cfg(test)]
mod tests {
    use super::*;

    fn read(text: &str) -> Result<TargetSpec, TargetError> {
        text.parse()
    }

    #[test]
    fn every_kind_of_target_is_read() {
        assert_eq!(read("tmux"), Ok(TargetSpec::Name("tmux".into())));
        assert_eq!(read("tmux: server"), Ok(TargetSpec::Name("tmux: server".into())));
        assert_eq!(read("kworker/0:1"), Ok(TargetSpec::Name("kworker/0:1".into())));
        assert_eq!(read("name:123"), Ok(TargetSpec::Name("123".into())));
        assert_eq!(read("123"), Ok(TargetSpec::Pid(123)));
        assert_eq!(read("pid:123"), Ok(TargetSpec::Pid(123)));
        assert_eq!(read("unit:nginx"), Ok(TargetSpec::Unit("nginx.service".into())));
        assert_eq!(read("unit:session-3.scope"), Ok(TargetSpec::Unit("session-3.scope".into())));
        assert_eq!(read("unit:getty@"), Ok(TargetSpec::Unit("getty@*.service".into())));
        assert_eq!(
            read("unit:org.example.App"),
            Ok(TargetSpec::Unit("org.example.App.service".into()))
        );
        assert_eq!(read("cgroup:system.slice/"), Ok(TargetSpec::Cgroup("/system.slice".into())));
        assert_eq!(read("cgroup:/sys/fs/cgroup/a//b"), Ok(TargetSpec::Cgroup("/a/b".into())));
        assert_eq!(read("cgroup:/"), Ok(TargetSpec::Cgroup("/".into())));
        assert_eq!(read("user:alice"), Ok(TargetSpec::User("alice".into())));
        for text in ["container:web", "container:/web", "container:docker://web"] {
            assert_eq!(read(text), Ok(TargetSpec::Container("web".into())));
        }
        let nothing = Err(TargetError::NothingAfter("container", "web"));
        assert_eq!((read("container:"), read("container:docker://")), (nothing.clone(), nothing));
    }

    #[test]
    fn what_is_no_target_is_refused_with_a_remedy() {
        assert_eq!(read(""), Err(TargetError::Empty));
        assert_eq!(read("unit:"), Err(TargetError::NothingAfter("unit", "nginx.service")));
        assert_eq!(read("unit:a/b"), Err(TargetError::Unit("a/b.service".into())));
        assert_eq!(read("0"), Err(TargetError::Pid("0".into())));
        assert_eq!(read("4294967295"), Err(TargetError::Pid("4294967295".into())));
        assert_eq!(
            read("99999999999999999999"),
            Err(TargetError::Pid("99999999999999999999".into()))
        );
        assert_eq!(read("unti:nginx"), Err(TargetError::Kind("unti".into(), "nginx".into())));
        assert_eq!(read("/usr/bin/tmux"), Err(TargetError::Path("tmux".into())));
        assert_eq!(read("cgroup:/a/../b"), Err(TargetError::Cgroup));
        assert_eq!(read("a\0b"), Err(TargetError::Zero));
    }

    #[test]
    fn a_target_reads_back_as_itself() {
        for text in [
            "tmux",
            "tmux: server",
            "name:7",
            "name:unti:x",
            "7",
            "unit:a.scope",
            "unit:a@.service",
            "unit:a*",
            "cgroup:/a",
            "user:0",
            "container:c",
        ] {
            let target = read(text).expect("a target");
            assert_eq!(target.to_string().parse(), Ok(target), "{text}");
        }
    }

    proptest::proptest! {
        #[test]
        fn any_target_reads_back_as_itself(text in "((name|unit|cgroup|user|container|pid):)?.{0,40}") {
            if let Ok(target) = text.parse::<TargetSpec>() {
                proptest::prop_assert_eq!(target.to_string().parse(), Ok(target));
            }
        }
    }
}
