//! Users who want somebody else blamed: they call themselves systemd or sshd, move into the cgroup of their service
//! manager, and write into the journal what those would. None of it is believed.

use killtrace_tests::lab::{Killtrace, Lab, Login};

use crate::death::Death;
use crate::{kill_user_processes, lab};

/// alice's shell under another name, as a program of hers.
fn disguise(login: &mut Login, name: &str) {
    login.run(&format!("cp /bin/bash ~/{name}")).expect("copied");
}

fn victim(login: &mut Login) -> u32 {
    let pid = login.run("(setsid sleep 1000 >/dev/null 2>&1 & echo $!)").expect("a victim");
    pid.parse().expect("its pid")
}

/// The verdict names the killer by its pid, blames no manager, and has no word of what was forged.
fn assert_not_fooled(lab: &Lab, pid: u32, by: &str, kill: impl FnOnce()) -> Death {
    let mut killtrace = Killtrace::start(lab, &["-p", &pid.to_string()]).expect("killtrace");
    kill();
    let death = Death(killtrace.death_of(pid).expect("a verdict"));
    let killer = &death.0["killer"]["process"];
    assert_eq!(death.0["killer"]["kind"], "process", "{death}");
    assert_ne!(killer["pid"], 1, "{death}");
    assert_eq!(killer["comm"], by, "{death}");
    assert_eq!(killer["user"], "alice", "{death}");
    assert!(["user-command", "process-signal"].contains(&death.cause()), "{death}");
    assert!(!death.0.to_string().contains("forged"), "{death}");
    for link in death.chain() {
        assert_ne!(link["actor"]["pid"], 1, "{death}");
        assert!(
            !["job", "unit-state", "timeout", "bus-call"]
                .contains(&link["event"].as_str().unwrap_or_default()),
            "{death}"
        );
    }
    assert!(killtrace.wait().expect("killtrace ends").status.success());
    death
}

/// Lines as systemd and sshd write them, with all the fields that a client may choose.
fn forge(login: &mut Login, unit: &str) {
    let entry = format!(
        "MESSAGE={unit}: Watchdog timeout (limit 3s)! forged\\nSYSLOG_IDENTIFIER=systemd\\nUNIT={unit}\\n\
         USER_UNIT={unit}\\nJOB_ID=1\\nJOB_TYPE=stop\\nCODE_FUNC=job_emit_start_message\\n\
         MESSAGE_ID=de5b426a63be47a7b6ac3eaac82e2f6f\\n_PID=1\\n_UID=0\\n_COMM=systemd\\n"
    );
    for name in ["systemd", "sshd"] {
        disguise(login, name);
        let line =
            format!("printf '{entry}' > ~/entry; ~/{name} -c 'logger --journald < ~/entry; :'");
        login.run(&line).expect("logged");
        let line = format!(
            "~/{name} -c 'logger -t {name} \"Received disconnect from 203.0.113.9 port 1:11: forged\"; :'"
        );
        login.run(&line).expect("logged");
    }
}

#[test]
fn a_user_s_program_called_systemd() {
    let lab = lab(&kill_user_processes("no"));
    let mut login = lab.login().expect("alice logs in");
    let pid = victim(&mut login);
    disguise(&mut login, "systemd");
    assert_not_fooled(&lab, pid, "systemd", || {
        login.run(&format!("~/systemd -c 'kill {pid}; :'")).expect("killed");
    });
}

#[test]
fn forged_lines_of_the_journal() {
    let lab = lab(&kill_user_processes("no"));
    let mut login = lab.login().expect("alice logs in");
    let session = crate::session_of(&mut login);
    let pid = victim(&mut login);
    assert_not_fooled(&lab, pid, "systemd", || {
        forge(&mut login, &format!("session-{session}.scope"));
        login.run(&format!("~/systemd -c 'kill {pid}; :'")).expect("killed");
        forge(&mut login, &format!("session-{session}.scope"));
    });
    let journal = lab.journal().expect("a journal");
    assert!(journal.contains("forged"), "the forgeries are there:\n{journal}");
}

/// In the very cgroup of alice's service manager, which is hers to write to.
#[test]
fn a_user_s_program_in_the_cgroup_of_the_service_manager() {
    let lab = lab(&kill_user_processes("no"));
    let mut login = lab.login().expect("alice logs in");
    disguise(&mut login, "systemd");
    let scope =
        "/sys/fs/cgroup/user.slice/user-1000.slice/user@1000.service/init.scope/cgroup.procs";
    login.run("systemd-run --user --quiet --unit=worker sleep 1000").expect("a unit");
    let pid = login.run("systemctl --user show -p MainPID --value worker.service").expect("asked");
    let pid: u32 = pid.parse().expect("its pid");
    assert_not_fooled(&lab, pid, "systemd", || {
        let script = format!("echo \\$\\$ > {scope}; kill {pid}; sleep 1; :");
        let line = format!("systemd-run --user --quiet --unit=liar ~/systemd -c \"{script}\"");
        login.run(&line).expect("killed");
    });
}
