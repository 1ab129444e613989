//! Nothing leaks, and the story can still be told.

use std::collections::BTreeMap;

use super::*;
use crate::evidence::*;
use crate::report::samples;

/// What must not be in any output.
const SECRETS: [&str; 9] =
    ["alice", "bob", "web1", "acme", "203.0.113.5", "10.1.2.3", "fd00::17", "s3cret", "laptop"];

fn clean(redactor: &mut Redactor, fact: Fact) -> String {
    let evidence = redactor.evidence(fact.at(samples::at(0), Source::Kernel));
    let text = serde_json::to_string(&evidence.fact).expect("JSON");
    for secret in SECRETS {
        assert!(!text.contains(secret), "{secret} in {text}");
    }
    text
}

fn knowing() -> Redactor {
    let mut redactor = Redactor::new();
    redactor.learn_user("alice", Some(1000), Some("/home/alice"));
    redactor.learn_user("daemon", Some(1), Some("/usr/sbin"));
    redactor.learn_header(&Header { hostname: "web1.acme.example".into(), ..samples::header() });
    redactor
}

#[test]
fn texts_lose_names_addresses_and_homes() {
    let mut redactor = knowing();
    let mut shown = |text: &str| redactor.text(text);
    insta::assert_snapshot!(
        [
            "alice's malice and alice_2 stay apart: alice",
            "from 203.0.113.5 port 51276, again 203.0.113.5:22, not 10.1.2.3.",
            "fd00::17 and [fd00::17]:22 and fd00::17:22 and ::1 and 127.0.0.1 and 0.0.0.0",
            "::ffff:203.0.113.5",
            "sshd@0-10.1.2.3:22-203.0.113.5:51276.service",
            "/home/alice/acme/plan.txt: no such file; /home/alice; /home/bob/.ssh/id \"/root/s3cret\"",
            "/homework/x and /root and version 6.12.38-1.2.3 at 07:01:58",
            "host web1.acme.example, short web1; web10",
            "user@1000.service session-3.scope root daemon",
        ]
        .map(&mut shown)
        .join("\n")
    );
}

#[test]
fn names_go_from_what_systemd_escapes_too() {
    let mut redactor = knowing();
    redactor.learn_user("al-ice", Some(1001), None);
    redactor.learn_user("j\u{fc}rgen", Some(1002), None);
    let unit = |name: &str| redactor.text(name);
    let [one, two, three, four] = [
        r"x\x2dalice.service",
        r"home-al\x2dice.mount",
        r"app-j\xc3\xbcrgen\x2djob@1.service",
        r"malice\x2dx.service and \x2 and \xalice",
    ]
    .map(unit);
    assert_eq!(one, r"x\x2duser-1.service");
    assert_eq!(two, r"home-user\x2d2.mount");
    assert_eq!(three, r"app-user\x2d3\x2djob@1.service");
    assert_eq!(four, r"malice\x2dx.service and \x2 and \xalice");
}

#[test]
fn the_path_of_an_object_fits_the_redacted_name() {
    use crate::evidence::cgroup_path::bus_label_escape;
    let mut redactor = knowing();
    redactor.learn_user("al-ice", Some(1001), None);
    for unit in ["sync@alice.service", r"x\x2dalice\x2d.service", r"home-al\x2dice.mount", "a.b"] {
        let label = bus_label_escape(unit);
        let path = redactor.text(&format!("/org/freedesktop/systemd1/unit/{label}, and on"));
        let shown = redactor.text(unit);
        let expected = bus_label_escape(&shown);
        assert_eq!(path, format!("/org/freedesktop/systemd1/unit/{expected}, and on"));
        assert!(!path.contains("alice") && !shown.contains("alice"), "{path} {shown}");
    }
    for path in [
        "/org/freedesktop/login1",
        "/org/freedesktop/login1/session/_33",
        "/org/freedesktop/_2forg//_",
    ] {
        assert_eq!(redactor.text(path), path);
    }
}

#[test]
fn command_lines_keep_what_they_did() {
    let mut redactor = knowing();
    let mut shown = |line: &[&str]| {
        let line = line.iter().map(|word| (*word).to_owned()).collect();
        redactor.command_line(line).join(" ")
    };
    insta::assert_snapshot!(
        [
            &["tmux", "new", "-s", "acme"][..],
            &["pkill", "-TERM", "-f", "acme.*s3cret"],
            &["sudo", "-u", "bob", "kill", "-9", "--", "-4242", "4243"],
            &["/usr/bin/timeout", "--signal=KILL", "--s3cret=acme", "30s", "curl", "http://acme"],
            &["systemctl", "--user", "stop", "acme-web.service", "alice"],
            &["systemctl", "stop", "nginx", "TOKEN=s3cret"],
            &["loginctl", "terminate-user", "bob"],
            &["docker", "stop", "-t", "5", "web-1"],
            &["bash", "-lc", "s3cret"],
            &["-bash"],
            &["curl", "-k", "--insecure", "--user=bob"],
            &["vim", "kill", "-9"],
            &["mysql", "-ps3cret"],
            &["kill", "-s3cret"],
            &["sshd-session: alice@pts/0"],
            &["sshd: bob [priv]"],
            &["sshd: /usr/sbin/sshd -D [listener] 0 of 10-100 startups"],
            &["nginx: worker process"],
            &["postgres: bob acme 203.0.113.5(4242) idle"],
            &["/home/alice/bin/server", ""],
            &[],
        ]
        .map(&mut shown)
        .join("\n")
    );
}

#[test]
fn a_relative_path_tells_no_directory() {
    let mut redactor = knowing();
    let mut shown = |path: &str| redactor.program(path);
    for (path, expected) in [
        ("./s3cret/run.sh", "path-1/run.sh"),
        ("s3cret/run.sh", "path-1/run.sh"),
        ("../../s3cret/x/run.sh", "path-2/run.sh"),
        ("./run.sh", "./run.sh"),
        ("../alice", "../user-1"),
        ("run.sh", "run.sh"),
        ("/opt/tool/run.sh", "/opt/tool/run.sh"),
        ("/home/alice/s3cret/run.sh", "/home/user-1/run.sh"),
    ] {
        assert_eq!(shown(path), expected, "{path}");
    }
    clean(
        &mut redactor,
        Fact::Process(Box::new(ProcessSnapshot {
            comm: "run.sh".into(),
            exe: Some("./s3cret/run.sh".into()),
            cmdline: vec!["./s3cret/run.sh".into(), "--password".into(), "s3cret".into()],
            ..ProcessSnapshot::default()
        })),
    );
}

#[test]
fn a_file_of_settings_keeps_its_name_where_a_host_is_called_so() {
    let mut redactor = knowing();
    redactor.learn_header(&Header { hostname: "lab".into(), ..samples::header() });
    let file = "/etc/systemd/logind.conf.d/60-lab.conf";
    let setting = Setting {
        manager: None,
        scope: "logind.conf".into(),
        name: "KillUserProcesses".into(),
        value: "yes".into(),
        file: Some(file.into()),
        line: Some(4),
        unread: None,
    };
    let text = clean(&mut redactor, Fact::Setting(setting));
    assert!(text.contains(file), "{text}");
    assert_eq!(redactor.settings_file("/home/alice/lab/x.conf"), "/home/user-1/path-1");
    assert_eq!(redactor.text("on lab: labour"), "on host-3: labour");
}

#[test]
fn what_sshd_says_at_the_end_stays_though_it_runs_as_the_user_by_then() {
    let mut redactor = knowing();
    let mut shown = |comm: &str, message: &str| {
        let line = JournalLine { uid: Some(1000), ..journal_line(comm, message) };
        let Fact::Journal(line) = redactor.fact(Fact::Journal(line)) else { panic!("a line") };
        line.message
    };
    let insisted = "Received disconnect from 203.0.113.5 port 53148:11: disconnected by user";
    assert_eq!(shown("sshd", insisted), insisted.replace("203.0.113.5", "192.0.2.1"));
    assert_eq!(
        shown("sshd-session", "Disconnected from user alice 203.0.113.5 port 53148"),
        "Disconnected from user user-1 192.0.2.1 port 53148"
    );
    assert_eq!(
        shown("sshd", "Received disconnect from 10.1.2.3 port 1:11: s3cret of acme"),
        "Received disconnect from 192.0.2.2 port 1:11: text-1"
    );
    for (comm, message) in [
        ("sshd", "Received disconnect from s3cret port 1:11: disconnected by user"),
        ("sshd", "Disconnected from user s3cret acme"),
        ("sshd", "Connection closed by 10.1.2.3 port s3cret"),
        ("sshd", "s3cret"),
        ("sh", insisted),
    ] {
        assert!(shown(comm, message).starts_with("text-"), "{message}");
    }
}

#[test]
fn behind_a_title_no_argument_is_shown() {
    let mut redactor = knowing();
    let mut shown = |line: &[&str], program: &str| {
        let line = line.iter().map(|word| (*word).to_owned()).collect();
        redactor.command_line_of(line, program)
    };
    for (line, program) in [
        (&["my tool", "s3cret", "--password", "s3cret acme"][..], "my tool"),
        (&["/opt/server", "s3cret", "new s3cret"], "tmux: server"),
        (&["tmux: server", "s3cret", ""], "tmux: server"),
        (&["s3cret: of acme", "s3cret"], "sleep"),
    ] {
        let told = shown(line, program);
        assert_eq!(told.len(), line.len());
        assert!(!told.iter().any(|word| word.contains("s3cret")), "{told:?}");
    }
    assert_eq!(shown(&["tmux: server", "", ""], "tmux: server"), ["tmux: server", "", ""]);
}

fn journal(comm: &str, message: &str) -> Fact {
    Fact::Journal(journal_line(comm, message))
}

fn journal_line(comm: &str, message: &str) -> JournalLine {
    JournalLine {
        message: message.into(),
        comm: Some(comm.into()),
        identifier: Some(comm.into()),
        uid: Some(0),
        fields: BTreeMap::from([
            ("COMMAND".into(), "acme s3cret".into()),
            ("LEADER".into(), "2027".into()),
        ]),
        ..JournalLine::default()
    }
}

#[test]
fn lines_about_a_unit_lose_its_description_unless_it_is_logind_s() {
    let told = |unit: &str, message: &str| {
        let line =
            JournalLine { about_unit: Some(unit.into()), ..journal_line("systemd", message) };
        clean(&mut Redactor::new(), Fact::Journal(line))
    };
    let text = told("web.service", "Stopped web.service - The s3cret of acme.");
    assert!(text.contains("Stopped web.service - text-1."), "{text}");
    let text = told("session-3.scope", "Stopping session-3.scope - Session 3 of User alice...");
    assert!(text.contains("session-3.scope - Session 3 of User user-1..."), "{text}");
}

#[test]
fn journal_lines_lose_users_even_those_seen_first_there() {
    let mut redactor = Redactor::new();
    let mut shown = |comm: &str, message: &str| {
        let text = clean(&mut redactor, journal(comm, message));
        let line: Fact = serde_json::from_str(&text).expect("a fact");
        let Fact::Journal(line) = line else { panic!("{line:?}") };
        line.message
    };
    insta::assert_snapshot!(
        [
            (
                "sshd-session",
                "Accepted publickey for alice from 203.0.113.5 port 51276 ssh2: ED25519"
            ),
            (
                "sshd-session",
                "pam_unix(sshd:session): session opened for user alice(uid=1000) by alice(uid=0)"
            ),
            ("sshd-session", "Disconnected from user alice 203.0.113.5 port 51276"),
            ("sshd-session", "Timeout, client not responding from user bob fd00::17 port 4"),
            ("sshd", "Invalid user bob from 10.1.2.3 port 22"),
            ("sshd", "User alice from 10.1.2.3 not allowed because not listed in AllowUsers"),
            ("sshd-session", "Connection closed by 203.0.113.5 port 51276"),
            ("systemd-logind", "New session 3 of user alice."),
            ("systemd-logind", "New session '3' of user 'bob' with class 'user' and type 'tty'."),
            ("systemd-logind", "Session 3 logged out. Waiting for processes to exit."),
            ("systemd", "Stopping session-3.scope - Session 3 of User alice..."),
            ("systemd", "Stopping user@1000.service - User Manager for UID 1000..."),
            ("systemd-oomd", "Killed /user.slice/user-1000.slice due to memory pressure"),
            ("backup-tool", "s3cret of alice"),
        ]
        .map(|(comm, message)| shown(comm, message))
        .join("\n")
    );
    // The kernel cuts names.
    let message = "Sending SIGKILL to remaining processes...";
    let identifier = Some("systemd-shutdown".into());
    let line = JournalLine { identifier, ..journal_line("systemd-shutdow", message) };
    assert!(clean(&mut redactor, Fact::Journal(line)).contains(message));
    let forged = JournalLine {
        message: "s3cret".into(),
        comm: Some("sh".into()),
        identifier: Some("systemd".into()),
        ..JournalLine::default()
    };
    clean(&mut redactor, Fact::Journal(forged));
}

#[test]
fn no_word_is_replaced_since_a_user_wrote_it() {
    let mut redactor = Redactor::new();
    let line = |uid, message: &str| {
        Fact::Journal(JournalLine { uid, ..journal_line("sshd", message) })
            .at(samples::at(0), Source::Journal)
    };
    redactor.learn(&line(Some(1000), "Accepted password for decided from 1.2.3.4 port 1 ssh2"));
    redactor.learn(&line(None, "Accepted password for decided from 1.2.3.4 port 1 ssh2"));
    redactor.learn(&line(Some(0), "Invalid user decided from 1.2.3.4 port 22"));
    redactor.learn(&line(Some(0), &"for alice ".repeat(4000)));
    let many: Vec<_> = (0..100).map(|number| format!("for x{number}x ")).collect();
    redactor.learn(&line(Some(0), &many.join("")));
    assert_eq!(redactor.text("alice decided x0x x99x"), "user-1 decided user-2 x99x");
    let mut message = |uid, text: &str| {
        let Fact::Journal(line) = redactor.evidence(line(uid, text)).fact else { panic!("a line") };
        line.message
    };
    assert_eq!(message(Some(1000), "Accepted password for carol"), "text-1");
    assert_eq!(message(Some(0), "Invalid user decided from"), "Invalid user user-10 from");
    assert!(!message(Some(0), &many.join("")).contains("x99x"));
}

#[test]
fn the_longest_of_many_names_is_found() {
    let mut redactor = Redactor::new();
    for name in ["ann", "ann-b", "ann-bert", "anna", "\u{e4}b", "\u{e4}c"] {
        redactor.learn_user(name, Some(1000), None);
    }
    let text = "ann ann-b ann-be ann-bert ann-berta anna annab \u{e4}b \u{e4} \u{e5} an zoe";
    assert_eq!(
        redactor.text(text),
        "user-1 user-2 user-1-be user-3 user-1-berta user-4 annab user-5 \u{e4} \u{e5} an zoe"
    );
    // As many as there may be, each of which begins as the text does.
    for number in 0..5000 {
        redactor.learn_user(&format!("y-{number}y"), Some(1000), None);
        redactor.learn_user(&format!("{}y", "y-".repeat(number % 200)), Some(1000), None);
    }
    let begun = std::time::Instant::now();
    redactor.text(&"y-".repeat(16 << 10));
    assert!(begun.elapsed() < std::time::Duration::from_secs(5), "{:?}", begun.elapsed());
}

#[test]
fn every_other_kind_is_clean() {
    let mut redactor = knowing();
    let values = |words: &[&str]| words.iter().map(|word| (*word).into()).collect::<Vec<_>>();
    let call = |interface: &str, member: &str, args| {
        Fact::BusCall(BusCall {
            bus: Manager::System,
            sender: BusPeer { comm: Some("alice".into()), ..BusPeer::default() },
            destination: BusPeer::default(),
            path: "/org/freedesktop/login1".into(),
            interface: Some(interface.into()),
            member: member.into(),
            args,
            ..BusCall::default()
        })
    };
    let environment = [
        ("SSH_CONNECTION", "203.0.113.5 51276 10.1.2.3 22"),
        ("SUDO_USER", "bob"),
        ("SUDO_COMMAND", "/usr/bin/kill -9 4242 s3cret"),
        ("STY", "1234.acme"),
        ("TMUX", "/tmp/tmux-1000/default,2041,0"),
        ("TMOUT", "300"),
        ("OTHER", "s3cret"),
    ];
    let properties = [
        ("Description", "s3cret of acme".into()),
        (
            "ExecStart",
            serde_json::json!([["/usr/bin/x", ["/usr/bin/x", "--token", "s3cret"], false, 1]]),
        ),
        ("Environment", serde_json::json!(["TOKEN=s3cret"])),
        ("StatusText", "s3cret".into()),
        ("User", "bob".into()),
        ("KillMode", "control-group".into()),
        ("WorkingDirectory", "/home/alice/acme".into()),
    ];
    let setting = |name: &str, value: &str| {
        Fact::Setting(Setting {
            manager: None,
            scope: "logind.conf".into(),
            name: name.into(),
            value: value.into(),
            file: Some("/home/alice/acme.conf".into()),
            line: Some(3),
            unread: Some(Written {
                value: value.into(),
                file: Some("/home/alice/acme.conf".into()),
                line: Some(4),
            }),
        })
    };
    let facts = [
        Fact::User(User {
            uid: 1000,
            name: "alice".into(),
            home: Some("/home/alice".into()),
            linger: Some(false),
        }),
        Fact::User(User {
            uid: 1,
            name: "daemon".into(),
            home: Some("/usr/sbin".into()),
            linger: None,
        }),
        Fact::Session(SessionState {
            id: "3".into(),
            uid: Some(1000),
            user: Some("alice".into()),
            remote_host: Some("laptop.acme.example".into()),
            ..SessionState::default()
        }),
        Fact::Process(Box::new(ProcessSnapshot {
            comm: "tmux: server".into(),
            exe: Some("/home/alice/acme/tmux".into()),
            cmdline: vec!["tmux".into(), "s3cret".into()],
            environment: environment.map(|(name, value)| (name.into(), value.into())).into(),
            ..ProcessSnapshot::default()
        })),
        call("org.freedesktop.login1.Manager", "ReleaseSession", values(&["3"])),
        call("org.freedesktop.systemd1.Manager", "StopUnit", values(&["session-3.scope", "fail"])),
        call("com.acme.Thing".trim_start_matches("com.acme."), "Do", values(&["s3cret", ""])),
        Fact::Unit(UnitProperties {
            manager: Manager::System,
            unit: "x@alice.service".into(),
            properties: properties.map(|(name, value)| (name.into(), value)).into(),
        }),
        setting("KillExcludeUsers", "root bob"),
        setting("ExecStop", "/bin/s3cret"),
        setting("KillUserProcesses", "yes"),
        Fact::Unavailable(Unavailable {
            what: "user alice".into(),
            why: "/home/alice/s3cret is gone".into(),
        }),
        Fact::KernelLog(KernelLogLine { message: "IN=eth0 SRC=203.0.113.5 DST=10.1.2.3".into() }),
    ];
    let shown: Vec<_> = facts.into_iter().map(|fact| clean(&mut redactor, fact)).collect();
    insta::assert_snapshot!(shown.join("\n"));
}

#[test]
fn a_create_session_call_tells_who_came_from_where() {
    let mut redactor = Redactor::new();
    let mut args = vec![serde_json::Value::from(""); 13];
    args[11] = "alice".into();
    args[12] = "laptop".into();
    let call = BusCall {
        bus: Manager::System,
        sender: BusPeer::default(),
        destination: BusPeer::default(),
        path: "/".into(),
        interface: Some("org.freedesktop.login1.Manager".into()),
        member: "CreateSession".into(),
        args,
        ..BusCall::default()
    };
    clean(&mut redactor, Fact::BusCall(call));
    assert_eq!(redactor.text("laptop of alice"), "host-1 of user-1");
}

#[test]
fn a_header_loses_the_machine() {
    let mut redactor = Redactor::new();
    let header = Header {
        hostname: "web1.acme.example".into(),
        targets: vec!["tmux".into(), "user:alice".into(), "-- make s3cret".into()],
        ..samples::header()
    };
    let text = serde_json::to_string(&redactor.header(header)).expect("JSON");
    assert!(SECRETS.iter().all(|secret| !text.contains(secret)), "{text}");
    assert!(text.contains(r#""targets":["tmux","user:user-1","-- make arg-1"]"#), "{text}");
}

#[test]
fn stand_ins_are_stable_and_are_not_replaced_again() {
    let mut redactor = Redactor::new();
    for name in ["user", "alice", "arg", "host"] {
        redactor.learn_user(name, Some(1000), None);
    }
    assert_eq!(redactor.text("alice alice user-3"), "user-2 user-2 user-3");
    let first = redactor.names.argument("x");
    assert_eq!(redactor.names.argument("x"), first);
    assert_ne!(redactor.names.argument("y"), first);
}

#[test]
fn addresses_stay_apart_whatever_their_number() {
    let mut redactor = Redactor::new();
    let mut seen = std::collections::HashSet::new();
    for number in 0..5000u32 {
        let real = std::net::Ipv4Addr::from_bits(0x0a00_0000 + number);
        let shown = redactor.text(&real.to_string());
        assert!(!shown.starts_with("10."), "{shown}");
        assert!(seen.insert(shown.clone()), "{shown} stands for two");
    }
}
