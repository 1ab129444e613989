//! `sshd_config`: the first value counts, `Include` is read in place, `Match` makes conditional.

use super::daemons::default_setting;
use super::{Root, is_plain};
use crate::evidence::{Setting, glob};

/// The main file, and where relative includes are looked for.
const MAIN: &str = "/etc/ssh/sshd_config";
const DIRECTORY: &str = "/etc/ssh";

/// Distributions may ship the main file here (openSUSE).
const VENDOR_MAIN: &str = "/usr/etc/ssh/sshd_config";

/// Deepest `Include`, as in `servconf.c`.
const MAX_DEPTH: usize = 16;

/// How many keywords and how many files are read at most, whatever the files include.
const MAX_KEYWORDS: usize = 10_000;
const MAX_FILES: usize = 1000;

/// What decides about the end of a connection, and the compiled-in values (sshd_config(5)).
const KEYWORDS: [(&str, &str); 7] = [
    ("LoginGraceTime", "120"),
    ("ChannelTimeout", "none"),
    ("ClientAliveInterval", "0"),
    ("ClientAliveCountMax", "3"),
    ("UsePAM", "no"),
    // For whoever reads a recording.
    ("TCPKeepAlive", "yes"),
    ("UnusedConnectionTimeout", "none"),
];

/// What has been read so far.
struct Found {
    keywords: Vec<Keyword>,
    files: usize,
}

/// One keyword of the configuration.
#[derive(Clone, Debug)]
struct Keyword {
    name: String,
    value: String,
    file: String,
    line: u32,
    /// The `Match` line that it depends on.
    condition: Option<String>,
}

impl Root {
    /// The settings of sshd; scope `sshd_config`, and `sshd_config Match …` for those that a `Match` block
    /// sets for some connections only. Empty where there is no sshd.
    pub fn sshd(&self) -> Vec<Setting> {
        let keywords = self.sshd_keywords();
        if keywords.is_empty() {
            return Vec::new();
        }
        let mut settings = Vec::new();
        for (name, default) in KEYWORDS {
            let all = || keywords.iter().filter(|it| it.name.eq_ignore_ascii_case(name));
            let global = all().find(|it| it.condition.is_none());
            settings.push(global.map_or_else(
                || default_setting("sshd_config", name, default),
                |it| setting("sshd_config".to_owned(), name, it),
            ));
            for it in all() {
                let condition =
                    it.condition.as_ref().map(|text| format!("sshd_config Match {text}"));
                settings.extend(condition.map(|scope| setting(scope, name, it)));
            }
        }
        settings
    }

    /// The ports that the configuration names; 22 where it names none.
    pub fn sshd_ports(&self) -> Vec<u16> {
        let keywords = self.sshd_keywords();
        let of = |name: &'static str| {
            keywords.iter().filter(move |it| it.name.eq_ignore_ascii_case(name))
        };
        let mut ports: Vec<u16> = of("Port").filter_map(|it| it.value.parse().ok()).collect();
        // ListenAddress host:port, [host]:port; an IPv6 address alone holds several colons.
        ports.extend(of("ListenAddress").filter_map(|it| {
            let (host, port) = it.value.split_whitespace().next()?.rsplit_once(':')?;
            if host.ends_with(']') || !host.contains(':') { port.parse::<u16>().ok() } else { None }
        }));
        if ports.is_empty() {
            ports.push(22);
        }
        ports
    }

    fn sshd_keywords(&self) -> Vec<Keyword> {
        let main = if self.exists(MAIN) { MAIN } else { VENDOR_MAIN };
        let mut found = Found { keywords: Vec::new(), files: 0 };
        self.read_sshd(main, None, 0, &mut found);
        found.keywords
    }

    fn read_sshd(&self, file: &str, condition: Option<&str>, depth: usize, found: &mut Found) {
        found.files += 1;
        if found.files > MAX_FILES {
            return;
        }
        let Ok(text) = self.read(file) else {
            return;
        };
        let mut condition = condition.map(str::to_owned);
        for (line, raw) in (1..).zip(text.lines()) {
            if found.keywords.len() >= MAX_KEYWORDS {
                return;
            }
            let Some((name, value)) = keyword(raw) else {
                continue;
            };
            if name.eq_ignore_ascii_case("Match") {
                condition = (!value.eq_ignore_ascii_case("all")).then_some(value);
            } else if name.eq_ignore_ascii_case("Include") && depth < MAX_DEPTH {
                for pattern in value.split_whitespace() {
                    for path in self.glob(pattern) {
                        self.read_sshd(&path, condition.as_deref(), depth + 1, found);
                    }
                }
            } else {
                let (name, file) = (name.to_owned(), file.to_owned());
                found.keywords.push(Keyword {
                    name,
                    value,
                    file,
                    line,
                    condition: condition.clone(),
                });
            }
        }
    }

    /// The files that a pattern names: wildcards in its last component, in byte order as glob(3).
    fn glob(&self, pattern: &str) -> Vec<String> {
        let absolute = if pattern.starts_with('/') {
            pattern.to_owned()
        } else {
            format!("{DIRECTORY}/{pattern}")
        };
        let Some((directory, name)) =
            absolute.rsplit_once('/').filter(|_| is_plain(absolute.as_ref()))
        else {
            return Vec::new();
        };
        let names = self
            .list(directory)
            .into_iter()
            .filter(|it| !it.starts_with('.') || name.starts_with('.'));
        let matching = names.filter(|it| glob(name.as_bytes(), it.as_bytes()));
        matching.map(|it| format!("{directory}/{it}")).collect()
    }
}

fn setting(scope: String, name: &str, it: &Keyword) -> Setting {
    let (value, file) = (it.value.clone(), Some(it.file.clone()));
    let (name, line) = (name.to_owned(), Some(it.line));
    Setting { manager: None, scope, name, value, file, line, unread: None }
}

/// `Keyword value`, `Keyword=value`, `Keyword "value"`; a `#` begins a comment.
fn keyword(line: &str) -> Option<(&str, String)> {
    let line = line.split(" #").next()?.trim();
    if line.is_empty() || line.starts_with('#') {
        return None;
    }
    let end = line.find(|c: char| c.is_whitespace() || c == '=')?;
    let value = line[end..].trim_start_matches(|c: char| c.is_whitespace() || c == '=');
    Some((&line[..end], value.replace('"', "").trim().to_owned()))
}

#[cfg(test)]
mod tests {
    use super::super::tests::root;

    #[test]
    fn the_first_value_counts_and_includes_are_read_in_place() {
        let (_tree, root) = root(&[
            (
                "etc/ssh/sshd_config",
                "Include /etc/ssh/sshd_config.d/*.conf\n#UsePAM no\nUsePAM yes # why\nclientaliveinterval=60\nPort 2222\n",
            ),
            (
                "etc/ssh/sshd_config.d/50.conf",
                "\nClientAliveInterval 15\nMatch User bob\nTCPKeepAlive no\n",
            ),
            ("etc/ssh/sshd_config.d/x.txt", "ClientAliveInterval 99\n"),
        ]);
        let settings = root.sshd();
        let find = |name: &str| settings.iter().find(|it| it.name == name).expect("a setting");
        assert_eq!(find("ClientAliveInterval").value, "15");
        assert_eq!(
            find("ClientAliveInterval").file.as_deref(),
            Some("/etc/ssh/sshd_config.d/50.conf")
        );
        assert_eq!((find("UsePAM").value.as_str(), find("UsePAM").line), ("yes", Some(3)));
        assert_eq!(
            (find("TCPKeepAlive").value.as_str(), find("TCPKeepAlive").file.as_ref()),
            ("yes", None)
        );
        let matched = settings
            .iter()
            .find(|it| it.scope == "sshd_config Match User bob")
            .expect("conditional");
        assert_eq!((matched.name.as_str(), matched.value.as_str()), ("TCPKeepAlive", "no"));
        assert_eq!(root.sshd_ports(), [2222]);
    }

    #[test]
    fn ports_of_listen_addresses() {
        let (_tree, root) = root(&[(
            "etc/ssh/sshd_config",
            "ListenAddress 0.0.0.0:2201\nListenAddress [::]:2202\nListenAddress fe80::1\nListenAddress 10.0.0.1\n",
        )]);
        assert_eq!(root.sshd_ports(), [2201, 2202]);
    }

    #[test]
    fn files_that_include_themselves_end() {
        let (_tree, root) = root(&[(
            "etc/ssh/sshd_config",
            "UsePAM yes\nInclude sshd_config\nInclude sshd_config\n",
        )]);
        assert!(root.sshd().iter().any(|it| it.name == "UsePAM" && it.value == "yes"));
        // Thirty to the power of sixteen.
        let all = format!("Include{}\n", " sshd_config".repeat(30));
        let (_tree, root) = self::root(&[("etc/ssh/sshd_config", &all)]);
        assert_eq!(root.sshd_ports(), [22]);
    }

    proptest::proptest! {
        #[test]
        fn any_configuration_is_survived(
            text in "((Port|Match|Include|ListenAddress|UsePAM)[ =]([0-9:*?./\\[\\]]{0,12}|.{0,20})\n|.{0,20}\n){0,12}"
        ) {
            let (_tree, root) = root(&[("etc/ssh/sshd_config", &text)]);
            let _ = root.sshd();
            proptest::prop_assert!(!root.sshd_ports().is_empty());
        }
    }
}
