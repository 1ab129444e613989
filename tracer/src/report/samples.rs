//! Records made by hand for the tests of the report.

use crate::evidence::*;
use crate::story::verdict::*;

/// 2026-10-01T05:01:58.818Z, seven o'clock in the sample's zone.
const START_NS: i128 = 1_790_830_918_818_000_000;

/// A moment, milliseconds after the first event of the samples.
pub fn at(ms: i64) -> Moment {
    let boot = 86_400_000_000_000i64 + ms * 1_000_000;
    Moment {
        time: Time::from_unix_ns(START_NS + i128::from(ms) * 1_000_000),
        boot_ns: u64::try_from(boot).expect("after boot"),
    }
}

/// A process with a name only.
pub fn process(comm: &str, pid: u32) -> Process {
    Process {
        pid,
        comm: Some(comm.to_owned()),
        start_ns: Some(u64::from(pid) * 1000),
        ..Process::default()
    }
}

/// alice's tmux server, with everything that can be known of it.
pub fn tmux() -> Process {
    Process {
        ns_pid: Some(2041),
        exe: Some("/usr/bin/tmux".into()),
        cmdline: Some(vec!["tmux".into(), "new".into(), "-s".into(), "night build".into()]),
        uid: Some(1000),
        user: Some("alice".into()),
        ppid: Some(1),
        cgroup: Some("/user.slice/user-1000.slice/session-3.scope".into()),
        unit: Some("session-3.scope".into()),
        slice: Some("user-1000.slice".into()),
        session: Some(Session {
            id: "3".into(),
            user: Some("alice".into()),
            remote_host: Some("203.0.113.5".into()),
            tty: Some("pts/0".into()),
            service: Some("sshd".into()),
        }),
        ancestors: vec![AncestorProcess { pid: 1, comm: "systemd".into(), cmdline: None }],
        ..process("tmux: server", 2041)
    }
}

/// PID 1.
pub fn systemd() -> Process {
    Process {
        exe: Some("/usr/lib/systemd/systemd".into()),
        cmdline: Some(vec!["/sbin/init".into()]),
        uid: Some(0),
        user: Some("root".into()),
        unit: Some("init.scope".into()),
        ..process("systemd", 1)
    }
}

/// SIGTERM by kill(2), caught.
pub fn sigterm() -> Signal {
    Signal {
        number: 15,
        name: "SIGTERM".into(),
        si_code: "SI_USER".into(),
        si_pid: Some(1),
        si_uid: Some(0),
        mechanism: Mechanism::Kill,
        result: SignalResult::Delivered,
        disposition: Some(Disposition::Handler),
        kernel_path: vec![],
    }
}

/// systemd's SIGTERM to tmux.
pub fn signal() -> SignalRecord {
    SignalRecord {
        at: at(10_094),
        sender: Some(systemd().into()),
        target: tmux().into(),
        target_tid: None,
        signal: sigterm(),
        repeated: 0,
    }
}

/// tmux's end.
pub fn exit() -> ExitRecord {
    ExitRecord {
        at: at(10_095),
        process: tmux(),
        outcome: Outcome::Exited { status: 0 },
        after: Some(AfterSignal {
            signal: "SIGTERM".into(),
            from: "systemd[1]".into(),
            delay_ns: 1_100_000,
        }),
    }
}

/// The machine of the samples, without the journal.
pub fn header() -> Header {
    let words =
        |pairs: &[(&str, &str)]| pairs.iter().map(|(k, v)| ((*k).into(), (*v).into())).collect();
    Header {
        schema: SCHEMA,
        version: "0.1.0".into(),
        at: at(-60_000),
        kernel: "6.12.38+deb13-amd64".into(),
        arch: "x86_64".into(),
        hostname: "web1".into(),
        boot_id: "6f1c1c1e-0000-4000-8000-000000000001".into(),
        systemd: Some("257.7".into()),
        targets: vec!["tmux".into()],
        hooks: words(&[
            ("signal_generate", "attached"),
            ("memory_failure_event", "not in this kernel"),
        ]),
        sources: words(&[("bus", "attached"), ("journal", "journalctl is not installed")]),
        options: TraceOptions {
            hidden_signals: vec![0, 17, 18, 23, 28],
            ..TraceOptions::default()
        },
        utc_offset: 7200,
    }
}

fn link(ms: i64, event: LinkEvent, actor: Option<Process>, text: &str, source: Source) -> Link {
    Link::new(at(ms), event, source, actor, text)
}

/// The case of the contract: a session ends, and KillUserProcesses=yes takes tmux with it.
pub fn death() -> Death {
    let logind = || process("systemd-logind", 640);
    Death {
        at: at(10_095),
        victim: tmux(),
        outcome: Outcome::Exited { status: 0 },
        killer: Killer { kind: KillerKind::Process, process: Some(systemd()) },
        signal: Some(sigterm()),
        cause: Cause {
            id: CauseId::LogindKillUserProcesses,
            title: CauseId::LogindKillUserProcesses.title().into(),
            explanation: "tmux: server[2041] (alice) was ended by systemd[1]: session 3's scope was \
                stopped because KillUserProcesses=yes (/etc/systemd/logind.conf:12) and alice's ssh \
                session had ended."
                .into(),
            evidence: Grade::Reported,
            settings: vec![DecidingSetting {
                name: "KillUserProcesses".into(),
                value: "yes".into(),
                file: Some("/etc/systemd/logind.conf".into()),
                line: Some(12),
                unread: None,
            }],
        },
        considered: vec![
            Considered {
                id: CauseId::SshdPerConnectionUnit,
                ruled_out: true,
                because: "tmux was in session-3.scope, not in sshd's unit".into(),
            },
            Considered {
                id: CauseId::LogindTerminate,
                ruled_out: false,
                because: "nobody was seen to call TerminateSession, but root's calls need not pass the bus".into(),
            },
        ],
        chain: vec![
            link(0, LinkEvent::TcpClosed, None, "203.0.113.5:51276 closed the connection (FIN)", Source::Kernel),
            link(4, LinkEvent::ProcessExit, Some(process("sshd-session", 2033)),
                "sshd-session[2033] \"sshd-session: alice@pts/0\" exited with 255", Source::Kernel),
            link(7, LinkEvent::BusCall, Some(process("sshd-session", 2027)),
                "sshd-session[2027] called ReleaseSession(\"3\") of systemd-logind[640]", Source::Bus),
            link(13, LinkEvent::BusCall, Some(logind()),
                "systemd-logind[640] called StopUnit(\"session-3.scope\") of systemd[1]", Source::Bus),
            link(15, LinkEvent::Job, Some(systemd()), "systemd[1] job 687 stop session-3.scope", Source::Journal),
            Link {
                evidence: Grade::Inferred,
                ..link(15, LinkEvent::Timeout, Some(systemd()),
                    "systemd[1] waited for session-3.scope's 10 s: no stop job of another unit was under way \
                     and the signals came right after that time", Source::Tracer)
            },
            link(10_094, LinkEvent::Signal, Some(systemd()), "systemd[1] sent SIGTERM to tmux: server[2041]", Source::Kernel),
            link(10_095, LinkEvent::Death, Some(tmux()), "tmux: server[2041] exited with 0", Source::Kernel),
        ],
        fixes: vec![
            Fix {
                title: "let alice's programs outlive her logins, and start tmux outside of the session".into(),
                commands: vec!["loginctl enable-linger alice".into(), "systemd-run --user --scope tmux new -s 'night build'".into()],
                effect: "alice's service manager runs from boot to shutdown, and tmux in a scope of it.".into(),
                side_effect: Some("everything else that alice starts that way goes on running, too".into()),
                verify: Some("loginctl show-user alice -p Linger".into()),
                reference: Some("systemd-run(1), loginctl(1)".into()),
            },
            Fix {
                title: "end no user's programs at logout on this machine".into(),
                commands: vec!["printf '[Login]\\nKillUserProcesses=no\\n' > /etc/systemd/logind.conf.d/90-keep.conf".into(), "systemctl kill -s HUP systemd-logind".into()],
                effect: "logind leaves what is running at logout alone.".into(),
                side_effect: None,
                verify: None,
                reference: Some("logind.conf(5)".into()),
            },
        ],
        gaps: vec!["journal not readable: journalctl is not installed".into()],
    }
}

/// A crash of its own.
pub fn crash() -> Death {
    let victim =
        Process { exe: Some("/opt/app/server".into()), uid: Some(33), ..process("server", 88) };
    Death {
        at: at(500),
        outcome: Outcome::Signaled { signal: "SIGSEGV".into(), core_dumped: true },
        killer: Killer { kind: KillerKind::Itself, process: Some(victim.clone()) },
        signal: Some(Signal {
            number: 11,
            name: "SIGSEGV".into(),
            si_code: "SEGV_MAPERR".into(),
            si_pid: None,
            si_uid: None,
            mechanism: Mechanism::Fault,
            result: SignalResult::Delivered,
            disposition: Some(Disposition::Default),
            kernel_path: ["force_sig_fault", "bad_area_nosemaphore", "exc_page_fault"].map(str::to_owned).to_vec(),
        }),
        cause: Cause {
            id: CauseId::Crash,
            title: CauseId::Crash.title().into(),
            explanation: "server[88] crashed: it read from address 0x10, where it has no memory (SIGSEGV, SEGV_MAPERR).".into(),
            evidence: Grade::Observed,
            settings: vec![],
        },
        considered: vec![],
        chain: vec![link(500, LinkEvent::Death, Some(victim.clone()), "server[88] was killed by SIGSEGV and dumped core", Source::Kernel)],
        fixes: vec![],
        gaps: vec![],
        victim,
    }
}

/// Nothing is known for certain.
pub fn unknown() -> Death {
    let victim = process("worker", 4242);
    Death {
        at: at(90_000),
        outcome: Outcome::Signaled { signal: "SIGKILL".into(), core_dumped: false },
        killer: Killer { kind: KillerKind::Kernel, process: None },
        signal: None,
        cause: Cause {
            id: CauseId::Unknown,
            title: CauseId::Unknown.title().into(),
            explanation: "worker[4242] was killed by SIGKILL; what sent it was not seen.".into(),
            evidence: Grade::Inferred,
            settings: vec![DecidingSetting {
                name: "OOMPolicy".into(),
                value: "stop".into(),
                file: None,
                line: None,
                unread: None,
            }],
        },
        considered: vec![],
        chain: vec![
            link(
                -86_000_000,
                LinkEvent::Oom,
                None,
                "the machine ran short of memory",
                Source::KernelLog,
            ),
            link(
                90_000,
                LinkEvent::Death,
                Some(victim.clone()),
                "worker[4242] was killed by SIGKILL",
                Source::Kernel,
            ),
        ],
        fixes: vec![],
        gaps: vec![
            "1,204 events were lost in the kernel's ring buffer before this death".into(),
            "bus not readable: there is no /run/dbus/system_bus_socket".into(),
        ],
        victim,
    }
}

/// Every name in it tries to break out of its place.
pub fn hostile() -> Death {
    let evil = "a\u{1b}[2J\n|`x`\u{202e}<b>";
    let victim = Process {
        user: Some("@root".into()),
        cmdline: Some(vec!["\u{9b}31m".into(), "--- \r\n# x".into(), "$(reboot)".into()]),
        exe: Some("/tmp/\u{7}``` end".into()),
        unit: Some("x\u{2028}.service".into()),
        ..process(evil, 666)
    };
    let sender = process("end;\nNote over p0: forged", 667);
    let text = format!(
        "{}[667] sent SIGKILL to {}[666] | `` | <script> @everyone #1 https://x",
        set_off(sender.comm.as_deref().unwrap_or_default()),
        set_off(evil)
    );
    Death {
        at: at(1),
        outcome: Outcome::Signaled { signal: "SIGKILL".into(), core_dumped: false },
        killer: Killer { kind: KillerKind::Process, process: Some(sender.clone()) },
        signal: Some(Signal {
            number: 9,
            name: "SIGKILL".into(),
            disposition: Some(Disposition::Default),
            ..sigterm()
        }),
        cause: Cause {
            id: CauseId::ProcessSignal,
            title: CauseId::ProcessSignal.title().into(),
            explanation: format!(
                "{evil}[666] was killed by {}.",
                sender.comm.clone().unwrap_or_default()
            ),
            evidence: Grade::Observed,
            settings: vec![DecidingSetting {
                name: "X`|\n".into(),
                value: evil.into(),
                file: Some("/a|\u{1b}b".into()),
                line: Some(1),
                unread: None,
            }],
        },
        considered: vec![Considered {
            id: CauseId::UserCommand,
            ruled_out: true,
            because: evil.into(),
        }],
        chain: vec![
            link(0, LinkEvent::Signal, Some(sender), &text, Source::Kernel),
            link(
                1,
                LinkEvent::Death,
                Some(victim.clone()),
                &format!("{evil}[666] was killed by SIGKILL"),
                Source::Kernel,
            ),
        ],
        fixes: vec![Fix {
            title: evil.into(),
            commands: vec![format!("kill ``` {evil}")],
            effect: "\u{2067}x".into(),
            side_effect: None,
            verify: None,
            reference: Some("http://[x](y)".into()),
        }],
        gaps: vec!["# not a heading\n- x".into()],
        victim,
    }
}
