//! Limits for what users run, as `limits.conf` of pam_limits(8) gives them to logins.

use super::Root;
use crate::evidence::Setting;

const MAIN: &str = "/etc/security/limits.conf";
const DIRECTORY: &str = "/etc/security/limits.d";

/// The limits that end whoever reaches them.
const ITEMS: [&str; 2] = ["cpu", "fsize"];

/// Groups, as the first word of a line names them.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Group<'a> {
    /// `@staff`
    Named(&'a str),
    /// `@:50`
    Number(u32),
    /// `@100:200`: those whose own group is one of these.
    Own(u32, u32),
}

/// Whom a line is for: the first counts most, and of equal ones the last line (`process_limit` of pam_limits).
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord)]
enum Class {
    User,
    Group,
    Anybody,
    /// There was no line yet.
    Nobody,
}

/// The line that gives a limit until now; `None` where there is none, or where nobody knows which of several it is.
type Winner = (Class, Option<Setting>);

impl Root {
    /// The limits of CPU time and of the size of files of a user's logins, soft and hard, in the units of limits.conf(5), each
    /// from the one line that decides it; scope `limits.conf USER`, names as `hard fsize`. `is_in` tells whether the user is in
    /// a group, where that is known.
    pub fn login_limits(
        &self,
        user: &str,
        uid: u32,
        is_in: impl Fn(Group<'_>) -> Option<bool>,
    ) -> Vec<Setting> {
        let drop_ins = self.drop_ins(&[DIRECTORY.to_owned()]);
        let mut winners = ITEMS.map(|_| [(Class::Nobody, None), (Class::Nobody, None)]);
        for file in std::iter::once(MAIN.to_owned()).chain(drop_ins) {
            let Ok(text) = self.read(&file) else { continue };
            for (entry, line) in
                text.lines().zip(1..).filter_map(|(it, at)| Some((Entry::of(it)?, at)))
            {
                let Some((class, sure)) = class(entry.whose, user, uid, &is_in) else { continue };
                let Some((item, value)) = entry.limit else {
                    if class == Class::Anybody {
                        continue;
                    }
                    // Such a user gets no limits at all, or perhaps none.
                    return Vec::new();
                };
                let setting = Setting {
                    manager: None,
                    scope: Setting::login_limits_of(user),
                    name: format!("{} {}", entry.kind, ITEMS[item]),
                    value: value.to_owned(),
                    file: Some(file.clone()),
                    line: Some(line),
                    unread: None,
                };
                entry.set(&mut winners[item], class, sure.then_some(&setting));
            }
        }
        let mut found: Vec<Setting> = Vec::new();
        for setting in winners.into_iter().flatten().filter_map(|(_, setting)| setting) {
            if !found.contains(&setting) {
                found.push(setting);
            }
        }
        found
    }
}

/// Which class a line is of for a user, and whether it surely is for that user; `None` where it is not. Lines for groups and
/// for anybody are not for root, at least with Debian's pam_limits.
fn class(
    whose: &str,
    user: &str,
    uid: u32,
    is_in: impl Fn(Group<'_>) -> Option<bool>,
) -> Option<(Class, bool)> {
    if whose == user {
        return Some((Class::User, true));
    }
    let (of_group, rest) = match whose.strip_prefix('@') {
        Some(group) => (true, group),
        None => (false, whose),
    };
    let range = match rest.split_once(':') {
        None => None,
        Some(("", most)) => Some((None, most.parse().ok()?)),
        Some((least, "")) => Some((Some(least.parse().ok()?), u32::MAX)),
        Some((least, most)) => Some((Some(least.parse().ok()?), most.parse().ok()?)),
    };
    if !of_group {
        let is_for =
            |(least, most): (Option<u32>, u32)| (least.unwrap_or(most)..=most).contains(&uid);
        let anybody = || (whose == "*" && uid != 0).then_some((Class::Anybody, true));
        return match range {
            Some(range) => is_for(range).then_some((Class::User, true)),
            None => anybody(),
        };
    }
    let group = match range {
        None => Group::Named(rest),
        Some((None, number)) => Group::Number(number),
        Some((Some(least), most)) => Group::Own(least, most),
    };
    let is_in = if uid == 0 { Some(false) } else { is_in(group) };
    is_in.is_none_or(|is_in| is_in).then_some((Class::Group, is_in.is_some()))
}

/// A line: `alice hard fsize 10`, or `alice -`, for whom there is no limit.
#[derive(Debug, PartialEq, Eq)]
struct Entry<'a> {
    whose: &'a str,
    /// `soft`, `hard`, or `-` for both.
    kind: String,
    /// Which of [`ITEMS`], and its value.
    limit: Option<(usize, &'a str)>,
}

impl<'a> Entry<'a> {
    fn of(line: &'a str) -> Option<Self> {
        let mut words = line.split('#').next()?.split_whitespace();
        let (whose, kind) = (words.next()?, words.next()?.to_lowercase());
        let Some(item) = words.next() else {
            return kind.starts_with('-').then_some(Self { whose, kind, limit: None });
        };
        let item = ITEMS.iter().position(|known| item.eq_ignore_ascii_case(known))?;
        let value = words.next()?;
        let is_value = value.starts_with(|letter: char| letter.is_ascii_digit())
            || ["-1", "unlimited", "infinity"].iter().any(|it| value.eq_ignore_ascii_case(it));
        let is_limit = is_value && ["soft", "hard", "-"].contains(&kind.as_str());
        is_limit.then_some(Self { whose, kind, limit: Some((item, value)) })
    }

    /// Puts this line in the place of those that count no more than it, as pam_limits does: of one for both limits the hard one
    /// is left alone where the soft one is.
    fn set(&self, [soft, hard]: &mut [Winner; 2], class: Class, line: Option<&Setting>) {
        if self.kind != "hard" {
            if soft.0 < class {
                return;
            }
            *soft = (class, line.cloned());
        }
        if self.kind != "soft" && hard.0 >= class {
            *hard = (class, line.cloned());
        }
    }
}

#[cfg(test)]
mod tests {
    use super::super::tests::root;
    use super::*;

    const CONF: &str = "etc/security/limits.conf";

    /// What is told of alice, who is in the group 50, staff, and of whom it is not known whether she is in any other.
    fn told(files: &[(&str, &str)]) -> Vec<String> {
        let (_tree, root) = root(files);
        let is_in = |group: Group<'_>| match group {
            Group::Named("staff") | Group::Number(50) => Some(true),
            Group::Named("games") => Some(false),
            Group::Own(least, most) => Some((least..=most).contains(&50)),
            _ => None,
        };
        let told = root.login_limits("alice", 1000, is_in).into_iter();
        told.map(|it| {
            assert_eq!(it.scope, "limits.conf alice");
            let file = it.file.expect("a file").rsplit('/').next().map(str::to_owned);
            let (file, line) = (file.expect("a name"), it.line.expect("a line"));
            format!("{} {} {file}:{line}", it.name, it.value)
        })
        .collect()
    }

    #[test]
    fn the_line_that_decides_is_told_and_where_it_stands() {
        let files = [
            (
                CONF,
                "# alice hard fsize 1\n*\t-  cpu 5 # minutes\nalice Hard FSIZE 7\nbob - cpu 1\n",
            ),
            ("etc/security/limits.d/90-size.conf", "alice hard nofile 9\nalice hard fsize 10\n"),
            ("etc/security/limits.d/note.txt", "alice hard fsize 20\n"),
        ];
        assert_eq!(told(&files), ["- cpu 5 limits.conf:2", "hard fsize 10 90-size.conf:2"]);
    }

    #[test]
    fn who_is_meant_more_closely_counts_more() {
        let one = |text: &str| told(&[(CONF, text)]).join(", ");
        assert_eq!(one("* hard cpu 1\n@staff hard cpu 2"), "hard cpu 2 limits.conf:2");
        assert_eq!(one("@staff hard cpu 2\n* hard cpu 1"), "hard cpu 2 limits.conf:1");
        assert_eq!(one("@games hard cpu 2\n* hard cpu 1"), "hard cpu 1 limits.conf:2");
        assert_eq!(one("1000: hard cpu 3\n@:50 hard cpu 2"), "hard cpu 3 limits.conf:1");
        assert_eq!(one("alice hard cpu 1\n:1000 hard cpu 3"), "hard cpu 3 limits.conf:2");
        assert_eq!(
            one("1001: hard cpu 3\n500:999 hard cpu 4\n@40:60 hard cpu 2"),
            "hard cpu 2 limits.conf:3"
        );
        assert_eq!(one("x: hard cpu 3\n: hard cpu 4\n%staff hard cpu 2\n% hard cpu 2"), "");
        // Soft and hard apart; where the soft one counts more, one for both is left out as a whole.
        assert_eq!(
            one("alice soft cpu 1\n* - cpu 9\n* hard cpu 8"),
            "soft cpu 1 limits.conf:1, hard cpu 8 limits.conf:3"
        );
        assert_eq!(
            one("alice hard cpu unlimited\n@staff - cpu 2"),
            "- cpu 2 limits.conf:2, hard cpu unlimited limits.conf:1"
        );
    }

    #[test]
    fn what_nobody_knows_is_not_told() {
        let one = |text: &str| told(&[(CONF, text)]).join(", ");
        assert_eq!(
            one("* hard cpu 1\n@remote hard cpu 2\n* hard cpu 3\n* hard fsize 7"),
            "hard fsize 7 limits.conf:4"
        );
        assert_eq!(one("@remote hard cpu 2\nalice hard cpu 3"), "hard cpu 3 limits.conf:2");
        assert_eq!(one("alice hard cpu 3\n@remote hard cpu 2"), "hard cpu 3 limits.conf:1");
        // No limits for such a user.
        assert_eq!(one("alice hard cpu 3\n@staff -"), "");
        assert_eq!(one("alice hard cpu 3\n@remote -"), "");
        assert_eq!(one("alice hard cpu 3\n@games -\n* -"), "hard cpu 3 limits.conf:1");
    }

    #[test]
    fn root_is_meant_by_name_alone() {
        let (_tree, root) = root(&[(CONF, "* hard cpu 1\n@root hard cpu 2\n")]);
        assert_eq!(root.login_limits("root", 0, |_| Some(true)), []);
    }

    proptest::proptest! {
        #[test]
        fn any_line_is_survived(line in ".*") {
            if let Some(entry) = Entry::of(&line) {
                let _ = class(entry.whose, "alice", 1000, |_| None);
            }
        }
    }
}
