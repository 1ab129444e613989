//! How a unit is stopped: by the commands it has for it, the signals its settings choose, and for how long it is
//! waited for.

use killtrace_tests::lab::{Killtrace, Lab, Options};

use crate::death::Death;
use crate::lab;
use crate::units::{line_of, main_pid, start, unit, verdict};

const VICTIM: &str = "/etc/systemd/system/victim.service";
/// Does not care about the signals that ask it to end.
const STUBBORN: &str = "ExecStartPre=/usr/bin/mkfifo /run/never\n\
     ExecStart=/bin/sh -c 'trap \"\" TERM INT; while :; do read x < /run/never; done'\n";

fn with(text: &str) -> Lab {
    lab(&unit(Options::default(), "victim.service", &format!("[Service]\n{text}")))
}

#[test]
fn a_command_of_its_own_stops_it() {
    let lab = with("ExecStart=/bin/sleep 1000\nExecStop=/bin/kill -INT $MAINPID\n");
    let pid = start(&lab, &["victim.service"]);
    let death = verdict(&lab, pid, || {
        lab.exec(&["systemctl", "restart", "victim.service"]).expect("restarted");
    });
    assert_eq!(death.cause(), "unit-stop-requested", "{death}");
    assert_eq!(death.0["killer"]["process"]["comm"], "kill", "{death}");
    death.assert_setting("ExecStop", "/bin/kill -INT $MAINPID", VICTIM, 3);
    death.assert_chain(&[
        ("command", "systemctl restart victim.service"),
        ("job", "victim.service"),
        ("command", "for ExecStop= of victim.service"),
        ("signal", "SIGINT"),
    ]);
}

/// No signal at all: the command tells it over a pipe, as others do over a socket.
#[test]
fn a_command_of_its_own_tells_it_to_end() {
    let lab = with(
        "ExecStartPre=/usr/bin/mkfifo /run/end\nExecStart=/bin/sh -c 'read end < /run/end; exit 0'\n\
         ExecStop=/bin/sh -c 'echo now > /run/end; while kill -0 $MAINPID; do sleep 0.1; done'\n",
    );
    let pid = start(&lab, &["victim.service"]);
    let death = verdict(&lab, pid, || {
        lab.exec(&["systemctl", "stop", "victim.service"]).expect("stopped");
    });
    assert_eq!(death.cause(), "unit-stop-requested", "{death}");
    assert_eq!(death.0["killer"]["kind"], "none", "{death}");
    assert_eq!(death.0["cause"]["evidence"], "inferred", "{death}");
    assert!(death.0["signal"].is_null(), "{death}");
    let explanation = death.0["cause"]["explanation"].to_string();
    assert!(explanation.contains("systemctl stop victim.service"), "{death}");
    death.assert_chain(&[
        ("command", "systemctl stop victim.service"),
        ("job", "stop victim.service"),
    ]);
    death.assert_no_link("signal");
}

/// A reload that the program does not survive: it has no handler for the signal.
#[test]
fn a_command_that_reloads_it_ends_it() {
    let lab = with("ExecStart=/usr/bin/tail -f /dev/null\nExecReload=/bin/kill -HUP $MAINPID\n");
    let pid = start(&lab, &["victim.service"]);
    let death = verdict(&lab, pid, || {
        let _ended = lab.exec(&["systemctl", "reload", "victim.service"]);
    });
    assert_eq!(death.cause(), "unit-reload", "{death}");
    assert_eq!(death.0["killer"]["process"]["comm"], "kill", "{death}");
    death.assert_setting("ExecReload", "/bin/kill -HUP $MAINPID", VICTIM, 3);
    death.assert_chain(&[
        ("command", "systemctl reload victim.service"),
        ("job", "reload victim.service"),
        ("command", "for ExecReload= of victim.service"),
        ("signal", "SIGHUP"),
    ]);
    death.fix_with("ExecReload=");
}

#[test]
fn a_command_that_stops_it_takes_too_long() {
    let lab = with(
        "TimeoutStopSec=2\nExecStart=/usr/bin/tail -f /dev/null\n\
                    ExecStop=/bin/sleep 1000\n",
    );
    start(&lab, &["victim.service"]);
    let mut killtrace =
        Killtrace::start(&lab, &["--target", "unit:victim.service"]).expect("killtrace");
    lab.exec(&["systemctl", "stop", "--no-block", "victim.service"]).expect("stopping");
    let pid = lab.pid_of("sleep").expect("its pid");
    let death = Death(killtrace.death_of(pid).expect("a verdict"));
    killtrace.stop().expect("killtrace ends");
    assert_eq!(death.cause(), "unit-stop-timeout", "{death}");
    death.assert_killer(1, "systemd");
    death.assert_setting("TimeoutStopSec", "2", VICTIM, 2);
    death.assert_setting("ExecStop", "/bin/sleep 1000", VICTIM, 4);
    let asked = "systemctl stop --no-block victim.service";
    death.assert_says(&["TimeoutStopSec=2", "The stop was asked for: root ran", asked]);
    death.assert_chain(&[
        ("command", asked),
        ("job", "stop victim.service"),
        ("command", "for ExecStop= of victim.service"),
        ("timeout", "Stopping timed out"),
        ("signal", "SIGTERM"),
    ]);
    death.fix_with("TimeoutStopSec=");
}

#[test]
fn the_signals_are_those_of_the_unit() {
    let lab =
        with(&format!("KillSignal=SIGINT\nFinalKillSignal=SIGQUIT\nTimeoutStopSec=1\n{STUBBORN}"));
    start(&lab, &["victim.service"]);
    let pid = main_pid(&lab, "victim.service");
    let death = verdict(&lab, pid, || {
        lab.exec(&["systemctl", "stop", "victim.service"]).expect("stopped");
    });
    assert_eq!(death.cause(), "unit-stop-requested", "{death}");
    assert_eq!(death.0["outcome"]["signal"], "SIGQUIT", "{death}");
    death.assert_setting("KillSignal", "SIGINT", VICTIM, 2);
    death.assert_setting("FinalKillSignal", "SIGQUIT", VICTIM, 3);
    death.assert_setting("TimeoutStopSec", "1", VICTIM, 4);
    death.assert_chain(&[("signal", "SIGINT"), ("timeout", "timed out"), ("signal", "SIGQUIT")]);
    death.fix_with("TimeoutStopSec=");
}

#[test]
fn the_time_limit_is_the_managers() {
    const CONF: &str = "/etc/systemd/system.conf.d/60-lab.conf";
    let text = format!("[Service]\n{STUBBORN}");
    let options = unit(Options::default(), "victim.service", &text)
        .file(CONF, "[Manager]\nDefaultTimeoutStopSec=1500ms\n");
    let lab = lab(&options);
    start(&lab, &["victim.service"]);
    let pid = main_pid(&lab, "victim.service");
    let death = verdict(&lab, pid, || {
        lab.exec(&["systemctl", "stop", "victim.service"]).expect("stopped");
    });
    assert_eq!(death.cause(), "unit-stop-requested", "{death}");
    assert_eq!(death.0["outcome"]["signal"], "SIGKILL", "{death}");
    death.assert_setting("DefaultTimeoutStopSec", "1500ms", CONF, 2);
    death.assert_chain(&[
        ("command", "systemctl stop victim.service"),
        ("job", "stop victim.service"),
        ("signal", "which ignores it"),
        ("timeout", "State 'stop-sigterm' timed out"),
        ("signal", "SIGKILL"),
    ]);
    death.fix_with("TimeoutStopSec=5min");
}

/// A unit that was made at run time, and has a limit of its own.
#[test]
fn the_time_limit_is_a_scopes() {
    let lab = lab(&Options::default());
    let script = "systemd-run --scope --unit=job -p TimeoutStopSec=1 \
                  sh -c 'trap \"\" TERM; exec sleep 1000' >/dev/null 2>&1 &";
    lab.exec(&["sh", "-c", script]).expect("started");
    let pid = lab.pid_of("sleep").expect("its pid");
    let file = "/run/systemd/transient/job.scope";
    let line = line_of(&lab, file, "TimeoutStopSec=");
    let death = verdict(&lab, pid, || {
        lab.exec(&["systemctl", "stop", "job.scope"]).expect("stopped");
    });
    assert_eq!(death.cause(), "unit-stop-requested", "{death}");
    assert_eq!(death.0["outcome"]["signal"], "SIGKILL", "{death}");
    death.assert_setting("TimeoutStopSec", "1s", file, line);
    death.assert_chain(&[
        ("command", "systemctl stop job.scope"),
        ("job", "stop job.scope"),
        ("signal", "which ignores it"),
        ("timeout", "Stopping timed out"),
        ("signal", "SIGKILL"),
    ]);
    death.fix_with("systemd-run --scope -p TimeoutStopSec=5min");
}

/// What does not end in time is to leave a core dump.
#[test]
fn it_is_aborted_when_the_time_is_up() {
    let lab = with(&format!("TimeoutStopSec=1\nTimeoutStopFailureMode=abort\n{STUBBORN}"));
    let pid = start(&lab, &["victim.service"]);
    let death = verdict(&lab, pid, || {
        lab.exec(&["systemctl", "stop", "victim.service"]).expect("stopped");
    });
    assert_eq!(death.cause(), "unit-stop-requested", "{death}");
    assert_eq!(death.0["outcome"]["signal"], "SIGABRT", "{death}");
    death.assert_setting("TimeoutStopSec", "1", VICTIM, 2);
    death.assert_setting("TimeoutStopFailureMode", "abort", VICTIM, 3);
    death.assert_chain(&[
        ("command", "systemctl stop victim.service"),
        ("job", "stop victim.service"),
        ("signal", "which ignores it"),
        ("timeout", "State 'stop-sigterm' timed out. Aborting."),
        ("signal", "SIGABRT"),
    ]);
    death.fix_with("TimeoutStopSec=5min");
}

/// One signal for a stop, another for a restart.
#[test]
fn the_signal_is_that_for_a_restart() {
    let lab = with("KillSignal=SIGINT\nRestartKillSignal=SIGQUIT\nExecStart=/bin/sleep 1000\n");
    let pid = start(&lab, &["victim.service"]);
    let death = verdict(&lab, pid, || {
        lab.exec(&["systemctl", "restart", "victim.service"]).expect("restarted");
    });
    assert_eq!(death.cause(), "unit-stop-requested", "{death}");
    assert_eq!(death.0["outcome"]["signal"], "SIGQUIT", "{death}");
    death.assert_killer(1, "systemd");
    death.assert_setting("RestartKillSignal", "SIGQUIT", VICTIM, 3);
    death.assert_chain(&[
        ("command", "root ran \"systemctl restart victim.service\""),
        ("job", "restart victim.service"),
        ("signal", "SIGQUIT"),
    ]);
    death.fix_with("RefuseManualStop=yes");
}

/// Of a mixed service only the main process is asked to end; the others are killed along with it.
#[test]
fn the_others_of_a_mixed_service_wait_for_its_main_process() {
    let lab = with(
        "KillMode=mixed\nTimeoutStopSec=1\nExecStartPre=/usr/bin/mkfifo /run/never\n\
         ExecStart=/bin/sh -c 'trap \"\" TERM; setsid sleep 1000 & while :; do read x < /run/never; done'\n",
    );
    start(&lab, &["victim.service"]);
    let pid = lab.pid_of("sleep").expect("its pid");
    let death = verdict(&lab, pid, || {
        lab.exec(&["systemctl", "stop", "victim.service"]).expect("stopped");
    });
    assert_eq!(death.cause(), "unit-stop-requested", "{death}");
    assert_eq!(death.0["outcome"]["signal"], "SIGKILL", "{death}");
    death.assert_setting("TimeoutStopSec", "1", VICTIM, 3);
    death.assert_chain(&[
        ("command", "systemctl stop victim.service"),
        ("job", "stop victim.service"),
        // The main process.
        ("signal", "SIGTERM to sh["),
        ("timeout", "timed out"),
        ("signal", "SIGKILL"),
    ]);
    death.fix_with("TimeoutStopSec=5min");
}

#[test]
fn a_reload_takes_too_long() {
    let lab = with(
        "TimeoutStartSec=3\nExecStart=/usr/bin/tail -f /dev/null\n\
                    ExecReload=/bin/sleep 1000\n",
    );
    start(&lab, &["victim.service"]);
    let death = {
        lab.exec(&["systemctl", "reload", "--no-block", "victim.service"]).expect("reloading");
        let pid = lab.pid_of("sleep").expect("its pid");
        verdict(&lab, pid, || ())
    };
    assert_eq!(death.cause(), "unit-start-timeout", "{death}");
    death.assert_setting("TimeoutStartSec", "3", VICTIM, 2);
    death.assert_chain(&[("timeout", "Reload operation timed out"), ("signal", "SIGKILL")]);
    assert!(death.0["cause"]["explanation"].to_string().contains("reload"), "{death}");
    death.assert_setting("ExecReload", "/bin/sleep 1000", VICTIM, 4);
    death.fix_with("give it more time to reload");
    death.fix_with("TimeoutStartSec=5min");
}

/// A server that tells its workers over pipes to end when it is to read its settings again: no signal reaches them.
const SERVER: &str = r#"#!/usr/bin/perl
sub worker {
    pipe(my $ours, my $theirs) or die;
    my $pid = fork() // die;
    if ($pid == 0) {
        close $theirs;
        sysread $ours, my $nothing, 1;
        exit 0;
    }
    close $ours;
    return $theirs;
}
$SIG{CHLD} = 'IGNORE';
my $worker = worker();
$SIG{HUP} = sub { close $worker; $worker = worker() };
sleep 1000 while 1;
"#;

#[test]
fn a_worker_ends_when_its_server_is_reloaded() {
    const UNIT: &str = "[Service]\nExecStart=/usr/bin/perl /usr/local/bin/server.pl\nExecReload=/bin/kill -HUP $MAINPID\n";
    let options = Options::default().file("/usr/local/bin/server.pl", SERVER);
    let lab = lab(&unit(options, "victim.service", UNIT));
    let main = start(&lab, &["victim.service"]);
    let children = format!("until pgrep -P {main}; do sleep 0.1; done");
    let worker = lab.exec(&["sh", "-c", &children]).expect("it has a worker");
    let worker = worker.trim().parse().expect("one worker");
    let death = verdict(&lab, worker, || {
        lab.exec(&["systemctl", "reload", "victim.service"]).expect("reloaded");
    });
    assert_eq!(death.cause(), "unit-reload", "{death}");
    assert_eq!(death.0["killer"]["kind"], "none", "{death}");
    assert_eq!(death.0["cause"]["evidence"], "inferred", "{death}");
    let explanation = death.0["cause"]["explanation"].to_string();
    assert!(explanation.contains("had got SIGHUP from kill"), "{death}");
    assert!(explanation.contains("systemctl reload victim.service"), "{death}");
    death.assert_setting("ExecReload", "/bin/kill -HUP $MAINPID", VICTIM, 3);
    death.assert_chain(&[
        ("command", "systemctl reload victim.service"),
        ("job", "reload victim.service"),
        ("command", "for ExecReload= of victim.service"),
        ("signal", "SIGHUP"),
    ]);
}
