//! Who is said to have run what: a command and the user that is named belong together.

use super::scene::{Scene, signal, systemd, task_in};
use crate::evidence::{BusPeer, Fact, SessionState, Source, TargetReason, Task, sig};

const OPENED: &str = "/user.slice/user-1000.slice/session-c8.scope";

fn root(task: Task) -> Task {
    Task { uid: 0, euid: 0, ..task }
}

/// root's script becomes alice by su(1), which opens a session for her; `asks` is what has nginx stopped.
fn stopped_by(asks: &Task, args: &[&str], parents: &[&Task]) -> String {
    let victim = task_in(500, "nginx", "/system.slice/nginx.service");
    let session = SessionState {
        id: "c8".to_owned(),
        uid: Some(1000),
        user: Some("alice".to_owned()),
        leader: Some(60),
        service: Some("su".to_owned()),
        ..SessionState::default()
    };
    let client = BusPeer { process: Some(asks.id), uid: Some(asks.uid), ..BusPeer::default() };
    Scene::default()
        .user(0, "root")
        .user(1000, "alice")
        .add(0, Source::BusProperty, Fact::Session(session))
        .target(&victim, TargetReason::Running)
        .exec(10, script(), &["bash", "/root/s.sh"], &[])
        .exec(20, su(), &["su", "-l", "alice", "-c", "sh x"], &[&script()])
        .exec(30, asks.clone(), args, parents)
        .call(40, client, "StopUnit", &["nginx.service", "replace"])
        .job(41, 700, "stop", "nginx.service")
        .signal(42, signal(sig::SIGTERM, systemd(), victim.clone()))
        .exit(43, victim, u32::from(sig::SIGTERM), true)
        .death()
        .cause
        .explanation
}

fn script() -> Task {
    root(task_in(50, "bash", "/"))
}

fn su() -> Task {
    root(task_in(60, "su", OPENED))
}

#[test]
fn a_script_that_runs_su_is_not_of_the_user_that_it_becomes() {
    let systemctl = task_in(70, "systemctl", OPENED);
    let told = stopped_by(&systemctl, &["systemctl", "stop", "nginx"], &[&su(), &script()]);
    let words = "root ran \"bash /root/s.sh\" (which ran \"systemctl stop nginx\" as alice)";
    assert!(told.contains(words), "{told}");
    assert!(!told.contains("session"), "{told}");
}

#[test]
fn what_is_below_su_is_the_users() {
    let (shell, systemctl) = (task_in(65, "bash", OPENED), task_in(70, "systemctl", OPENED));
    let parents = [&shell, &su(), &script()];
    let told = stopped_by(&systemctl, &["systemctl", "stop", "nginx"], &parents);
    assert!(told.contains("alice ran \"systemctl stop nginx\" in session c8"), "{told}");
}

#[test]
fn su_itself_is_of_who_runs_it() {
    let again = Task { id: su().id, ..su() };
    let told = stopped_by(&again, &["su", "alice", "-c", "true"], &[&script()]);
    let words = "root ran \"bash /root/s.sh\" (which ran \"su alice -c true\")";
    assert!(told.contains(words) && !told.contains("session"), "{told}");
}
