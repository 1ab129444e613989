//! Somebody or something ran a command that ended a process.

use killtrace_tests::lab::{CLIENT_ADDRESS, Killtrace, Lab, OPENRC, Options};
use serde_json::{Value, json};

use crate::death::{Death, text};
use crate::units::{assert_default, main_pid, verdict};
use crate::{kill_user_processes, lab, session_of};

const VICTIM: &str = "/etc/systemd/system/victim.service";

fn with_victim(options: Options) -> Options {
    options.file(VICTIM, "[Service]\nExecStart=/bin/sleep 1000\n")
}

fn start_victim(lab: &Lab) -> u32 {
    lab.exec(&["systemctl", "start", "victim.service"]).expect("the victim starts");
    let pid = lab.exec(&["systemctl", "show", "-p", "MainPID", "--value", "victim.service"]);
    pid.expect("asked").trim().parse().expect("its pid")
}

#[test]
fn a_kill_typed_over_ssh_names_the_login() {
    let lab = lab(&kill_user_processes("no"));
    let mut login = lab.login().expect("alice logs in");
    let pid: u32 = login
        .run("(setsid sleep 1000 >/dev/null 2>&1 & echo $!)")
        .expect("a victim")
        .parse()
        .expect("its pid");
    let shell: u32 = login.run("echo $$").expect("asked").parse().expect("a pid");
    let mut killtrace = Killtrace::start(&lab, &["-p", &pid.to_string()]).expect("killtrace");
    login.run(&format!("kill {pid}")).expect("killed");

    let death = Death(killtrace.death_of(pid).expect("a verdict"));
    assert_eq!(death.cause(), "user-command", "{death}");
    death.assert_killer(shell, "bash");
    assert_eq!(death.0["outcome"]["signal"], "SIGTERM", "{death}");
    let killer = &death.0["killer"]["process"];
    assert_eq!(killer["user"], "alice", "{death}");
    assert_eq!(killer["session"]["remote_host"], CLIENT_ADDRESS, "{death}");
    let ancestors = killer["ancestors"].as_array().expect("ancestors");
    assert!(ancestors.iter().any(|ancestor| ancestor["comm"] == "sshd"), "{death}");
    assert!(killtrace.wait().expect("killtrace ends").status.success());
}

#[test]
fn a_pkill_from_a_timer_names_its_unit() {
    let options = with_victim(Options::default())
        .file(
            "/etc/systemd/system/reaper.service",
            "[Service]\nType=oneshot\nExecStart=/usr/bin/pkill --exact sleep\n",
        )
        .file("/etc/systemd/system/reaper.timer", "[Timer]\nOnActiveSec=0\nAccuracySec=1ms\n");
    let lab = lab(&options);
    let pid = start_victim(&lab);
    let mut killtrace = Killtrace::start(&lab, &["-p", &pid.to_string()]).expect("killtrace");
    lab.exec(&["systemctl", "start", "reaper.timer"]).expect("the timer starts");
    lab.wait_until_gone(pid).expect("the victim ends");

    let death = Death(killtrace.death_of(pid).expect("a verdict"));
    assert_eq!(death.cause(), "user-command", "{death}");
    let killer = &death.0["killer"]["process"];
    assert_eq!(killer["comm"], "pkill", "{death}");
    assert_eq!(killer["unit"], "reaper.service", "{death}");
    assert_eq!(
        killer["cmdline"],
        serde_json::json!(["/usr/bin/pkill", "--exact", "sleep"]),
        "{death}"
    );
    assert!(killtrace.wait().expect("killtrace ends").status.success());
}

/// What pam_limits(8) gives to alice's logins, as one of her group.
#[test]
fn a_limit_of_logins_is_named() {
    const FILE: &str = "/etc/security/limits.d/90-size.conf";
    let limits = "@root hard fsize 10\n@alice hard fsize 10\n* hard fsize 20\n";
    let lab = lab(&kill_user_processes("no").file(FILE, limits));
    let mut login = lab.login().expect("alice logs in");
    let script = "read go < /tmp/go; exec dd if=/dev/zero of=/tmp/big bs=1k count=100";
    login.run("mkfifo /tmp/go").expect("made");
    let pid = login.run(&format!("(sh -c '{script}' >/dev/null 2>&1 & echo $!)"));
    let pid: u32 = pid.expect("a victim").parse().expect("its pid");
    let death = verdict(&lab, pid, || drop(login.run("echo now > /tmp/go").expect("told")));
    assert_eq!(death.cause(), "file-size-limit", "{death}");
    death.assert_setting("hard fsize", "10", FILE, 2);
    death.fix_with("limits.d");
}

#[test]
fn a_time_limit_of_sudo_is_named() {
    let limit = "Defaults command_timeout=2\nDefaults:root command_timeout=3\nDefaults:alice command_timeout=5\n";
    let lab = lab(&kill_user_processes("no").file("/etc/sudoers.d/zz", limit));
    let mut login = lab.login().expect("alice logs in");
    login.begin("sudo sleep 1000").expect("begun");
    let pid = lab.pid_of("sleep").expect("its pid");
    let death = verdict(&lab, pid, || ());
    assert_eq!(death.cause(), "timeout-command", "{death}");
    let told = death.0["cause"]["explanation"].to_string();
    assert!(told.contains("sudo["), "{death}");
    death.assert_setting("command_timeout", "5", "/etc/sudoers.d/zz", 3);
    death.fix_with("sudo visudo -f /etc/sudoers.d/zz");
}

/// What makes a login shell end itself that nobody types into.
#[test]
fn an_idle_shells_time_limit_is_named() {
    const FILE: &str = "/etc/profile.d/idle.sh";
    let lab = lab(&kill_user_processes("no").file(FILE, "# Seconds.\nTMOUT=8\n"));
    let mut login = lab.login().expect("alice logs in");
    let pid = login.run("echo $$").expect("her shell").parse().expect("its pid");
    let death = verdict(&lab, pid, || ());
    assert_eq!(death.cause(), "timer-expired", "{death}");
    death.assert_setting("TMOUT", "8", FILE, 2);
    death.assert_says(&["the only such line in the files that shells read at their start"]);
    death.fix_with("idle.sh:2");
}

/// systemctl, run by root, does not speak to systemd over the bus.
#[test]
fn a_systemctl_stop_by_root_is_named() {
    let lab = lab(&with_victim(Options::default()));
    let pid = start_victim(&lab);
    let mut killtrace = Killtrace::start(&lab, &["-p", &pid.to_string()]).expect("killtrace");
    lab.exec(&["systemctl", "stop", "victim.service"]).expect("stopped");
    lab.wait_for_journal("Stopped victim.service").expect("a job stopped it");

    let death = Death(killtrace.death_of(pid).expect("a verdict"));
    assert_eq!(death.cause(), "unit-stop-requested", "{death}");
    death.assert_killer(1, "systemd");
    assert_eq!(death.0["victim"]["unit"], "victim.service", "{death}");
    death.assert_chain(&[
        ("command", "root ran \"systemctl stop victim.service\""),
        ("job", "stop victim.service"),
        ("signal", "SIGTERM"),
    ]);
    death
        .assert_says(&["which stopped victim.service: root ran \"systemctl stop victim.service\""]);
    // Where the kernel does not tell who spoke to systemd's own socket, it is a conclusion and called one.
    if !death.chain().iter().any(|link| text(link).contains("private socket")) {
        death.assert_says(&["(inferred from its arguments and the timing)"]);
    }
    death.fix_with("sudo systemctl start victim.service");
    assert!(killtrace.wait().expect("killtrace ends").status.success());
}

/// A unit that is not there yet is waited for; it needs no file.
#[test]
fn a_unit_that_is_started_later() {
    let lab = lab(&Options::default());
    let target = ["--once", "--target", "unit:late"];
    let mut killtrace = Killtrace::start(&lab, &target).expect("killtrace");
    killtrace.hear("nothing matches unit:late.service yet").expect("it says that it waits");
    lab.exec(&["systemd-run", "--unit", "late.service", "sleep", "1000"]).expect("started");
    killtrace.hear("unit:late.service appeared").expect("it says that it is there");
    let pid = main_pid(&lab, "late.service");
    lab.exec(&["systemctl", "stop", "late.service"]).expect("stopped");

    let death = Death(killtrace.death_of(pid).expect("a verdict"));
    assert_eq!(death.cause(), "unit-stop-requested", "{death}");
    assert_eq!(death.0["victim"]["unit"], "late.service", "{death}");
    assert!(killtrace.wait().expect("killtrace ends").status.success());
}

#[test]
fn a_restart_by_sudo_names_who_is_behind_it() {
    let lab = lab(&with_victim(kill_user_processes("no")));
    let pid = start_victim(&lab);
    let mut login = lab.login().expect("alice logs in");
    let session = session_of(&mut login);
    let mut killtrace = Killtrace::start(&lab, &["-p", &pid.to_string()]).expect("killtrace");
    login.run("sudo systemctl restart victim.service").expect("restarted");

    let death = Death(killtrace.death_of(pid).expect("a verdict"));
    assert_eq!(death.cause(), "unit-stop-requested", "{death}");
    death.assert_killer(1, "systemd");
    death.assert_chain(&[("command", "systemctl restart victim.service"), ("signal", "SIGTERM")]);
    let person = format!(
        "alice ran \"sudo systemctl restart victim.service\" in ssh session {session} from {CLIENT_ADDRESS}"
    );
    death.assert_says(&[&format!("which restarted victim.service: {person}")]);
    death.assert_chain(&[("command", &person), ("job", "restart victim.service")]);
    death.fix_with("sudo -l -U alice");
    death.fix_with("RefuseManualStop=yes");
    assert!(killtrace.wait().expect("killtrace ends").status.success());
}

/// What a service leaves running when its main process has ended.
#[test]
fn a_service_cleans_up_after_its_main_process() {
    let options = Options::default().file(
        VICTIM,
        "[Service]\nExecStart=/bin/sh -c 'setsid sleep 1000 & read end < /run/end'\n\
         ExecStartPre=/usr/bin/mkfifo /run/end\n",
    );
    let lab = lab(&options);
    start_victim(&lab);
    let pid = lab.pid_of("sleep").expect("the helper's pid");
    let mut killtrace = Killtrace::start(&lab, &["-p", &pid.to_string()]).expect("killtrace");
    lab.exec(&["sh", "-c", "echo now > /run/end"]).expect("told to end");
    lab.wait_for_journal("victim.service: Deactivated successfully").expect("the service ended");

    let death = Death(killtrace.death_of(pid).expect("a verdict"));
    assert_eq!(death.cause(), "unit-main-process-exited", "{death}");
    death.assert_killer(1, "systemd");
    death.assert_chain(&[("process-exit", "exited with 0"), ("signal", "SIGTERM")]);
    death.assert_no_link("job");
    assert_default(&death, "KillMode", "control-group");
    death.assert_says(&["(KillMode=control-group, the default)"]);
    death.fix_with("sudo systemd-run --unit=my-job sleep 1000");
    death.fix_with("KillMode=process");
    assert!(killtrace.wait().expect("killtrace ends").status.success());
}

#[test]
fn without_a_bus_it_still_traces_and_says_what_it_misses() {
    let options = with_victim(Options::default())
        .mask("dbus.service")
        .mask("dbus.socket")
        .mask("systemd-logind.service");
    let lab = lab(&options);
    let pid = start_victim(&lab);
    let mut killtrace = Killtrace::start(&lab, &["-p", &pid.to_string()]).expect("killtrace");
    lab.exec(&["sh", "-c", "kill -KILL \"$1\"", "sh", &pid.to_string()]).expect("killed");

    let death = Death(killtrace.death_of(pid).expect("a verdict"));
    assert_eq!(death.cause(), "user-command", "{death}");
    assert_eq!(death.0["killer"]["process"]["comm"], "sh", "{death}");
    assert_eq!(death.0["outcome"]["signal"], "SIGKILL", "{death}");
    let report = killtrace.wait().expect("killtrace ends");
    assert!(report.status.success(), "{report:?}");
    let bus = report.of_type("header")[0]["sources"]["bus"].as_str().expect("said of the bus");
    assert_ne!(bus, "attached");
    assert!(!bus.is_empty());
}

/// GNU parallel gives each of its jobs a time.
#[test]
fn a_job_of_parallel_takes_too_long() {
    let lab = lab(&Options::default());
    let mut killtrace = Killtrace::start(&lab, &["--target", "sleep"]).expect("killtrace");
    let run = ["parallel", "--timeout", "1", "sleep", ":::", "1000"];
    assert!(!lab.output(&run).expect("it ran").status.success(), "its only job fails");
    // It also ends what it starts to see how much it can start at once, by SIGKILL and sooner.
    let is_job = |record: &Value| {
        record["type"] == "death"
            && record["victim"]["cmdline"] == json!(["sleep", "1000"])
            && record["signal"]["name"] == "SIGTERM"
    };
    let death = Death(killtrace.wait_for_record("its job's death", is_job).expect("a verdict"));
    assert_eq!(death.cause(), "timeout-command", "{death}");
    assert_eq!(death.0["killer"]["kind"], "process", "{death}");
    let words = death.0["killer"]["process"]["cmdline"].to_string();
    assert!(words.contains("parallel") && words.contains("--timeout"), "{death}");
    killtrace.stop().expect("killtrace ends");
}

/// OpenRC here runs beside systemd; its programs are the same where it is alone.
#[test]
fn a_service_that_openrc_stops_is_named() {
    const SCRIPT: &str = "#!/sbin/openrc-run\ncommand=/bin/sleep\ncommand_args=1000\n\
                          command_background=true\npidfile=/run/napper.pid\n";
    let lab = lab(&Options::default());
    lab.unpack(OPENRC).expect("OpenRC");
    lab.write("/etc/init.d/napper", SCRIPT).expect("written");
    let start = "chmod +x /etc/init.d/napper; mkdir -p /run/openrc; touch /run/openrc/softlevel; \
                 rc-status --all >/dev/null; rc-service napper start";
    lab.exec(&["sh", "-ec", start]).expect("OpenRC starts it");
    let pid: u32 = lab.read("/run/napper.pid").expect("its pid").trim().parse().expect("its pid");
    let mut killtrace = Killtrace::start(&lab, &["-p", &pid.to_string()]).expect("killtrace");
    lab.exec(&["rc-service", "napper", "stop"]).expect("OpenRC stops it");

    let death = Death(killtrace.death_of(pid).expect("a verdict"));
    assert_eq!(death.cause(), "user-command", "{death}");
    assert_eq!(death.0["killer"]["process"]["comm"], "start-stop-daem", "{death}");
    let explanation = death.0["cause"]["explanation"].as_str().expect("words");
    assert!(explanation.contains("So OpenRC stops its service napper."), "{death}");
    death.fix_with("sudo rc-service napper start");
    assert!(killtrace.wait().expect("killtrace ends").status.success());
}
