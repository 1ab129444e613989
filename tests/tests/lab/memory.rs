//! A daemon that kills when memory runs short.

use killtrace_tests::lab::{EARLYOOM, Killtrace, Options};

use crate::death::Death;
use crate::lab;
use crate::units::{start, unit};

/// earlyoom reads that memory is short; as alice it can kill nothing but what is hers.
#[test]
fn earlyoom_ends_what_a_user_runs() {
    const OWN: &str = "[Service]\nDynamicUser=no\nUser=alice\nAmbientCapabilities=\n\
                       BindReadOnlyPaths=/etc/meminfo:/proc/meminfo\n";
    let memory = |available: u32| {
        format!(
            "MemTotal: 1000000 kB\nMemAvailable: {available} kB\nAnonPages: 900000 kB\n\
             SwapTotal: 0 kB\nSwapFree: 0 kB\n"
        )
    };
    let text = "[Service]\nUser=alice\nExecStart=/bin/sleep 1000\n";
    let lab = lab(&unit(Options::default(), "victim.service", text));
    lab.unpack(EARLYOOM).expect("earlyoom");
    lab.write("/etc/default/earlyoom", "EARLYOOM_ARGS=--prefer ^sleep$\n").expect("its settings");
    lab.write("/etc/meminfo", &memory(800_000)).expect("what it reads");
    lab.write("/etc/systemd/system/earlyoom.service.d/own.conf", OWN).expect("its user");
    lab.exec(&["systemctl", "daemon-reload"]).expect("its unit is known");
    let pid = start(&lab, &["victim.service"]);
    lab.exec(&["systemctl", "start", "earlyoom.service"]).expect("started");
    let mut killtrace = Killtrace::start(&lab, &["-p", &pid.to_string()]).expect("killtrace");
    killtrace.learns(&["\"source\":\"journal\""]).expect("the journal is read");
    lab.write("/etc/meminfo", &memory(80_000)).expect("less of it");
    let death = Death(killtrace.death_of(pid).expect("a verdict"));
    assert!(killtrace.wait().expect("killtrace ends").status.success());
    assert_eq!(death.cause(), "userspace-oom", "{death}");
    let killer = &death.0["killer"]["process"];
    assert_eq!(
        (&killer["comm"], &killer["unit"]),
        (&"earlyoom".into(), &"earlyoom.service".into())
    );
    assert_eq!(death.0["outcome"]["signal"], "SIGTERM", "{death}");
    death.assert_says(&["ended by earlyoom[", "kills when memory runs short: \"low memory!"]);
    death.assert_chain(&[("oom", "low memory!"), ("signal", "SIGTERM")]);
    death.fix_with("--avoid '^(sleep)$'");
}
