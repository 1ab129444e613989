//! Users whose files are not what they seem: nothing of theirs holds killtrace up, and it reads for nobody what they
//! could not read themselves.

use killtrace_tests::lab::{Killtrace, Lab, Options, RECORDING};

use crate::death::Death;
use crate::lab;

const ID: &str = "4fa6e0f0c6786287e131c3852c58a2e01cc697a68231826813597e4994f1d6e2";
const DROP_INS: &str = "/home/alice/.config/systemd/user/x.service.d";

/// Runs this as alice, who has a service manager.
fn as_alice(lab: &Lab, script: &str) -> String {
    let argv = [
        "setpriv",
        "--reuid=1000",
        "--regid=1000",
        "--init-groups",
        "env",
        "HOME=/home/alice",
        "XDG_RUNTIME_DIR=/run/user/1000",
        "sh",
        "-ec",
        script,
    ];
    lab.exec(&argv).expect("done as alice").trim().to_owned()
}

/// Starts a unit of alice's that sleeps, and then does this as alice; returns the unit's main process.
fn unit_of_alice(lab: &Lab, then: &str) -> u32 {
    let linger = "loginctl enable-linger alice && systemctl start user@1000.service";
    lab.exec(&["sh", "-c", linger]).expect("alice's manager");
    as_alice(lab, "systemd-run --user --quiet --unit=x sleep 1000");
    let pid = as_alice(lab, "systemctl --user show -p MainPID --value x.service");
    as_alice(lab, then);
    pid.parse().expect("its pid")
}

#[test]
fn a_pipe_for_a_file_holds_nothing_up() {
    let lab = lab(&Options::default());
    let pipes =
        format!("mkdir -p {DROP_INS}; mkfifo ~/.config/systemd/user.conf {DROP_INS}/a.conf");
    let pid = unit_of_alice(&lab, &pipes);
    let args = ["-p", &pid.to_string(), "--duration", "8s"];
    let mut killtrace = Killtrace::start(&lab, &args).expect("killtrace");
    killtrace.learns(&["settings of x.service", "it is no regular file"]).expect("what is missing");
    lab.exec(&["kill", &pid.to_string()]).expect("killed");
    let death = Death(killtrace.death_of(pid).expect("a verdict"));
    assert_eq!(death.0["victim"]["user"], "alice", "{death}");
    assert!(killtrace.wait().expect("it ends by itself").status.success());
}

#[test]
fn a_link_to_a_secret_tells_nothing() {
    let lab = lab(&Options::default());
    let secret = "mkdir -m 700 /etc/secret; \
                  printf '[Service]\nExecStop=/bin/backup --key=TOPSECRET\n' > /etc/secret/s.conf";
    lab.exec(&["sh", "-ec", secret]).expect("a secret");
    let link = format!("mkdir -p {DROP_INS}; ln -s /etc/secret/s.conf {DROP_INS}/a.conf");
    let pid = unit_of_alice(&lab, &link);
    let killtrace = Killtrace::start(&lab, &["-p", &pid.to_string()]).expect("killtrace");
    killtrace.learns(&["settings of x.service", "Permission denied"]).expect("what is missing");
    killtrace.stop().expect("killtrace ends");
    assert!(!lab.read(RECORDING).expect("the recording").contains("TOPSECRET"));
}

/// alice names a cgroup of hers after a container of root's, and kills from there.
#[test]
fn a_container_that_a_user_makes_up_has_no_name() {
    let lab = lab(&Options::default());
    let state = format!(
        "mkdir -p -m 700 /var/lib/docker && mkdir -p /var/lib/docker/containers/{ID} && \
         echo '{{\"Name\":\"/prod-db\"}}' > /var/lib/docker/containers/{ID}/config.v2.json"
    );
    lab.exec(&["sh", "-c", &state]).expect("a container of root's");
    let liar = format!(
        "victim=$(systemctl --user show -p MainPID --value x.service)
         systemd-run --user --quiet --unit=z -p Delegate=yes sh -c \
             \"until [ -e ~/go ]; do sleep 0.1; done; kill $victim; sleep 2; :\"
         cd /sys/fs/cgroup/user.slice/user-1000.slice/user@1000.service/app.slice/z.service
         mkdir docker-{ID}.scope
         systemctl --user show -p MainPID --value z.service > docker-{ID}.scope/cgroup.procs"
    );
    let pid = unit_of_alice(&lab, &liar);
    let mut killtrace = Killtrace::start(&lab, &["-p", &pid.to_string()]).expect("killtrace");
    as_alice(&lab, "touch ~/go");
    let death = Death(killtrace.death_of(pid).expect("a verdict"));
    assert!(death.0["killer"].to_string().contains(ID), "{death}");
    assert!(!death.0.to_string().contains("prod-db"), "{death}");
    assert!(killtrace.wait().expect("killtrace ends").status.success());
}

/// A system service of alice's, delegated to her, moves to a cgroup that is called as a container of root's.
#[test]
fn a_service_that_a_user_makes_look_like_a_container() {
    let lab = lab(&Options::default());
    let state = format!(
        "mkdir -p -m 700 /var/lib/docker && mkdir -p /var/lib/docker/containers/{ID} && \
         echo '{{\"Name\":\"/prod-db\"}}' > /var/lib/docker/containers/{ID}/config.v2.json"
    );
    lab.exec(&["sh", "-c", &state]).expect("a container of root's");
    let place = format!("/sys/fs/cgroup/system.slice/liar.service/docker-{ID}.scope");
    let liar = format!("mkdir {place}; echo 0 > {place}/cgroup.procs; sleep 1000; :");
    let run = ["systemd-run", "-q", "--unit=liar", "-p", "User=alice", "-p", "Delegate=yes"];
    lab.exec(&[&run[..], &["sh", "-c", &liar]].concat()).expect("the service");
    let there = format!(
        "for i in $(seq 50); do grep -q . {place}/cgroup.procs && break; sleep 0.1; done; \
         head -n1 {place}/cgroup.procs"
    );
    let pid = lab.exec(&["sh", "-c", &there]).expect("it moves");
    let pid: u32 = pid.trim().parse().expect("a pid");
    let mut killtrace = Killtrace::start(&lab, &["-p", &pid.to_string()]).expect("killtrace");
    killtrace.learns(&["\"container\"", ID]).expect("what it looks like");
    lab.exec(&["kill", "-KILL", &pid.to_string()]).expect("killed");
    let death = Death(killtrace.death_of(pid).expect("a verdict"));
    assert_eq!(death.0["victim"]["unit"], "liar.service", "{death}");
    assert_eq!(death.0["victim"]["container"]["named_by"], 1000, "{death}");
    assert!(!death.0.to_string().contains("prod-db"), "{death}");
    assert!(killtrace.wait().expect("killtrace ends").status.success());
}
