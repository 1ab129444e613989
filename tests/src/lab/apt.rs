//! Where the machine gets its Debian packages from: its apt sources, in both formats.
//!
//! The lab is installed from the same place, so no mirror is named in this repository.

use std::path::{Path, PathBuf};

use anyhow::{Context, Result};

/// One archive that apt is told to use.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Archive {
    /// Base address, as written.
    pub uri: String,
    /// `bookworm`, `bookworm-updates`, …
    pub suite: String,
    /// Keyring that signs it, where the source names a file.
    pub keyring: Option<PathBuf>,
    /// Declared trusted without a signature.
    pub trusted: bool,
}

/// Finds the archive that holds `suite` in the apt configuration under `etc_apt` (`/etc/apt`).
///
/// # Errors
/// Where a sources file cannot be read, or none of them offers the suite by http, https or file.
pub fn archive_of(etc_apt: &Path, suite: &str) -> Result<Archive> {
    let mut archives = Vec::new();
    for file in source_files(etc_apt)? {
        let text = std::fs::read_to_string(&file)
            .with_context(|| format!("cannot read {}", file.display()))?;
        let deb822 = file.extension().is_some_and(|extension| extension == "sources");
        archives.extend(if deb822 { parse_deb822(&text) } else { parse_one_line(&text) });
    }
    archives.into_iter().find(|archive| archive.suite == suite).with_context(|| {
        format!(
            "no apt source under {} offers {suite:?} over http, https or file: add one, \
             `apt-get update`, and try again",
            etc_apt.display()
        )
    })
}

/// `sources.list` first, then what is in `sources.list.d`, in order of name, as apt reads them.
fn source_files(etc_apt: &Path) -> Result<Vec<PathBuf>> {
    let mut files = Vec::new();
    let main = etc_apt.join("sources.list");
    if main.exists() {
        files.push(main);
    }
    let directory = etc_apt.join("sources.list.d");
    if directory.is_dir() {
        let mut more = Vec::new();
        for entry in std::fs::read_dir(&directory)
            .with_context(|| format!("cannot read {}", directory.display()))?
        {
            let path = entry?.path();
            if path
                .extension()
                .is_some_and(|extension| extension == "list" || extension == "sources")
            {
                more.push(path);
            }
        }
        more.sort();
        files.extend(more);
    }
    Ok(files)
}

/// The `deb [options] uri suite component…` format of sources.list(5).
fn parse_one_line(text: &str) -> Vec<Archive> {
    text.lines().filter_map(parse_line).collect()
}

fn parse_line(line: &str) -> Option<Archive> {
    let line = line.split('#').next()?.trim();
    let mut rest = line.strip_prefix("deb")?;
    if !rest.starts_with(char::is_whitespace) {
        return None;
    }
    rest = rest.trim_start();
    let mut options = "";
    if let Some(inside) = rest.strip_prefix('[') {
        (options, rest) = inside.split_once(']')?;
    }
    let mut words = rest.split_whitespace();
    let (uri, suite) = (words.next()?, words.next()?);
    let option = |name: &str| {
        options.split_whitespace().find_map(|word| {
            let (key, value) = word.split_once('=')?;
            (key == name).then_some(value)
        })
    };
    usable(uri).then(|| Archive {
        uri: uri.to_owned(),
        suite: suite.to_owned(),
        keyring: option("signed-by").and_then(keyring),
        trusted: option("trusted") == Some("yes"),
    })
}

/// The deb822 format of sources.list(5): stanzas of fields, separated by empty lines.
fn parse_deb822(text: &str) -> Vec<Archive> {
    let mut archives = Vec::new();
    let mut fields: Vec<(String, String)> = Vec::new();
    for line in text.lines().chain(std::iter::once("")) {
        if line.starts_with('#') {
            continue;
        }
        if line.trim().is_empty() {
            archives.extend(stanza(&fields));
            fields.clear();
        } else if line.starts_with(char::is_whitespace) {
            if let Some((_, value)) = fields.last_mut() {
                value.push(' ');
                value.push_str(line.trim());
            }
        } else if let Some((name, value)) = line.split_once(':') {
            fields.push((name.trim().to_ascii_lowercase(), value.trim().to_owned()));
        }
    }
    archives
}

fn stanza(fields: &[(String, String)]) -> Vec<Archive> {
    let field = |name: &str| {
        fields.iter().find(|(key, _)| key == name).map_or("", |(_, value)| value.as_str())
    };
    let no = |value: &str| matches!(value.to_ascii_lowercase().as_str(), "no" | "false" | "0");
    if !field("types").split_whitespace().any(|kind| kind == "deb") || no(field("enabled")) {
        return Vec::new();
    }
    let mut archives = Vec::new();
    for uri in field("uris").split_whitespace().filter(|uri| usable(uri)) {
        for suite in field("suites").split_whitespace() {
            archives.push(Archive {
                uri: uri.to_owned(),
                suite: suite.to_owned(),
                keyring: keyring(field("signed-by")),
                trusted: field("trusted") == "yes",
            });
        }
    }
    archives
}

/// debootstrap can fetch from these.
fn usable(uri: &str) -> bool {
    ["http://", "https://", "file:/"].iter().any(|scheme| uri.starts_with(scheme))
}

/// `Signed-By` may also hold a fingerprint or a whole key: only a path is of use here.
fn keyring(value: &str) -> Option<PathBuf> {
    let first = value.split([' ', ',']).next()?;
    first.starts_with('/').then(|| PathBuf::from(first))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn reads_one_line_sources() {
        let text = "# deb http://commented.example/debian bookworm main\n\
             deb-src http://src.example/debian bookworm main\n\
             deb cdrom:[Debian 12]/ bookworm main\n\
             deb [arch=amd64 signed-by=/usr/share/keyrings/a.gpg] http://one.example/debian bookworm main # x\n\
             deb [trusted=yes] file:/srv/mirror trixie main\n\
             debian nonsense here\n\
             deb http://short.example/\n";
        let archives = parse_one_line(text);
        assert_eq!(archives.len(), 2, "{archives:?}");
        assert_eq!(archives[0].uri, "http://one.example/debian");
        assert_eq!(archives[0].suite, "bookworm");
        assert_eq!(archives[0].keyring.as_deref(), Some(Path::new("/usr/share/keyrings/a.gpg")));
        assert!(!archives[0].trusted);
        assert_eq!(archives[1].uri, "file:/srv/mirror");
        assert!(archives[1].trusted);
    }

    #[test]
    fn reads_deb822_sources() {
        let text = "Types: deb deb-src\n# a comment inside\nURIs: http://one.example/debian\n\
             Suites: bookworm\n bookworm-updates\nComponents: main\nSigned-By: /k/a.gpg\n\n\
             Enabled: no\nTypes: deb\nURIs: http://off.example/\nSuites: bookworm\n\n\
             Types: deb-src\nURIs: http://src.example/\nSuites: bookworm\n";
        let archives = parse_deb822(text);
        let suites: Vec<_> = archives.iter().map(|archive| archive.suite.as_str()).collect();
        assert_eq!(suites, ["bookworm", "bookworm-updates"]);
        assert!(archives.iter().all(|archive| archive.uri == "http://one.example/debian"));
        assert_eq!(archives[0].keyring.as_deref(), Some(Path::new("/k/a.gpg")));
    }

    #[test]
    fn a_key_inside_the_source_is_no_path() {
        let text =
            "Types: deb\nURIs: http://one.example/\nSuites: sid\nSigned-By:\n -----BEGIN PGP\n";
        assert_eq!(parse_deb822(text)[0].keyring, None);
    }

    #[test]
    fn the_suite_decides_and_its_absence_is_explained() {
        let directory = tempfile::tempdir().expect("a temporary directory");
        let etc = directory.path();
        std::fs::create_dir(etc.join("sources.list.d")).expect("a directory");
        std::fs::write(etc.join("sources.list"), "deb http://a.example/ bookworm-security main\n")
            .expect("a file");
        std::fs::write(
            etc.join("sources.list.d/z.sources"),
            "Types: deb\nURIs: http://b.example/\nSuites: bookworm\n",
        )
        .expect("a file");
        std::fs::write(etc.join("sources.list.d/z.save"), "deb http://c.example/ trixie main\n")
            .expect("a file");
        assert_eq!(archive_of(etc, "bookworm").expect("found").uri, "http://b.example/");
        let error = archive_of(etc, "trixie").expect_err("absent").to_string();
        assert!(error.contains("trixie") && error.contains("apt-get update"), "{error}");
    }
}
