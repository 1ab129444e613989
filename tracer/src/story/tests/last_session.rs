//! How a user's last session ended, after which logind had the user's manager stopped.

use super::scene::{Scene, at, logind, root, signal, systemd, task, task_in, with_connection};
use crate::evidence::{BusPeer, Fact, Grade, SessionState, SignalSent, Source, Task, sig};
use crate::story::verdict::{CauseId, Death, LinkEvent};

const UNIT: &str = "/user.slice/user-1000.slice/user@1000.service/app.slice/w.service";
const MANAGER: &str = "/user.slice/user-1000.slice/user@1000.service/init.scope";
const SCOPE: &str = "/user.slice/user-1000.slice/session-3.scope";

fn session(scene: Scene, ms: u64, session: SessionState) -> Scene {
    scene.add(ms, Source::Bus, Fact::Session(session))
}

fn of_alice(id: &str, service: &str) -> SessionState {
    let (id, service) = (id.to_owned(), Some(service.to_owned()));
    SessionState { id, uid: Some(1000), service, ..SessionState::default() }
}

fn removed(scene: Scene, ms: u64, id: &str) -> Scene {
    session(scene, ms, SessionState { id: id.to_owned(), removed: true, ..SessionState::default() })
}

/// alice is there by su(1), in session 3, and in a unit of her manager's, which has a session of its own.
fn there(victim: &Task) -> Scene {
    let scene = Scene::watching(victim).session("3", 2027);
    session(scene, 1, of_alice("4", "systemd-user"))
}

fn victim() -> Task {
    task_in(2041, "victim", UNIT)
}

/// Whoever it is asks for the stop of her manager, which then ends her units.
fn stopped_by(scene: Scene, who: BusPeer) -> Death {
    scene
        .call(5000, who, "StopUnit", &["user@1000.service", "fail"])
        .job(5001, 700, "stop", "user@1000.service")
        .signal(5010, signal(sig::SIGTERM, task_in(812, "systemd", MANAGER), victim()))
        .exit(5011, victim(), u32::from(sig::SIGTERM), true)
        .death()
}

fn su_ends(scene: Scene) -> Scene {
    scene.exit(4900, root(task_in(2027, "su", SCOPE)), 0, false)
}

fn texts(death: &Death) -> Vec<&str> {
    death.chain.iter().map(|link| link.text.as_str()).collect()
}

#[track_caller]
fn says(death: &Death, words: &str) {
    assert_eq!(death.cause.id, CauseId::LogindUserStopped, "{death:#?}");
    assert!(death.cause.explanation.contains(words), "{}", death.cause.explanation);
}

#[test]
fn the_chain_begins_with_the_end_of_the_login() {
    let death = stopped_by(removed(su_ends(there(&victim())), 4950, "3"), logind());
    says(
        &death,
        ": alice's last session 3 had ended (its leader su[2027] exited with 0), alice does not linger, and",
    );
    assert_eq!(death.cause.evidence, Grade::Observed);
    let texts = texts(&death);
    assert!(texts[0].starts_with("su[2027]"), "{texts:?}");
    assert_eq!(texts[1], "session 3 of alice ended");
    assert_eq!(death.chain[1].event, LinkEvent::SessionClosed);
    assert!(texts[2].contains("StopUnit"), "{texts:?}");
}

/// What the bus told late is shown no later than what it led to; where logind is not known to have asked for the stop,
/// what came late led to nothing.
#[test]
fn a_session_that_was_heard_to_end_late() {
    let scene = || removed(su_ends(there(&victim())), 5015, "3");
    let late = stopped_by(scene(), logind());
    says(&late, "alice's last session 3 had ended (its leader su[2027] exited with 0)");
    let link = late.chain.iter().find(|link| link.event == LinkEvent::SessionClosed);
    let link = link.expect("the link");
    assert_eq!((link.at, link.evidence), (at(5000), Grade::Observed));

    let unasked = su_ends(there(&victim()))
        .job(5001, 700, "stop", "user@1000.service")
        .signal(5010, signal(sig::SIGTERM, task_in(812, "systemd", MANAGER), victim()));
    let unasked = removed(unasked, 5015, "3").exit(5016, victim(), 15, true).death();
    says(&unasked, "alice's last session was over");
    assert!(!texts(&unasked).contains(&"session 3 of alice ended"), "{unasked:#?}");
}

#[test]
fn which_session_was_the_last() {
    let both = || session(there(&victim()), 2, of_alice("5", "login"));
    let death = stopped_by(removed(removed(both(), 4000, "5"), 4950, "3"), logind());
    says(&death, "alice's last session 3 had ended");
    let death = stopped_by(removed(removed(both(), 4000, "3"), 4950, "5"), logind());
    says(&death, "alice's last session 5 had ended");
    // Her manager's own is none; bob's is not hers.
    let manager = removed(removed(both(), 4000, "5"), 4950, "4");
    let bob = SessionState { uid: Some(1001), ..of_alice("6", "sshd") };
    let others = removed(session(manager, 2, bob), 4960, "6");
    says(&stopped_by(removed(others, 4940, "3"), logind()), "alice's last session 3 had ended");
    // One that seems to be there still, or whose user is not known, may be it.
    says(&stopped_by(removed(both(), 4950, "3"), logind()), "alice's last session was over");
    let unknown = removed(removed(there(&victim()), 4950, "3"), 4960, "9");
    says(&stopped_by(unknown, logind()), "alice's last session was over");
}

/// A cron job's session holds the user like any other; the manager's own does not, whatever PAM's service is called.
#[test]
fn a_session_in_the_background_is_told_as_one() {
    let of_class = |id: &str, service: &str, class: &str| SessionState {
        class: Some(class.to_owned()),
        ..of_alice(id, service)
    };
    let both = || session(there(&victim()), 2, of_class("5", "cron", "background"));
    let death = stopped_by(removed(removed(both(), 4000, "3"), 4950, "5"), logind());
    says(&death, "alice's last session 5, of cron in the background, had ended");
    let death = stopped_by(removed(removed(both(), 4000, "5"), 4950, "3"), logind());
    says(&death, "alice's last session 3 had ended");
    let managers = session(there(&victim()), 2, of_class("5", "systemd-own", "manager"));
    says(&stopped_by(removed(managers, 4950, "3"), logind()), "alice's last session 3 had ended");
    let logins = session(there(&victim()), 2, of_class("5", "systemd-user", "user"));
    says(&stopped_by(removed(logins, 4950, "3"), logind()), "alice's last session was over");
}

/// The unit was started in an earlier login than the last.
#[test]
fn the_victims_own_connection_is_not_the_last_sessions() {
    let victim = victim();
    let snapshot = with_connection(&victim, "203.0.113.5 51276 10.0.0.1 22");
    let scene = there(&victim).add(0, Source::Proc, Fact::Process(Box::new(snapshot)));
    let scene = scene.tcp_closed_by_peer(4800, task(99, "ksoftirqd/0"));
    let death = stopped_by(removed(su_ends(scene), 4950, "3"), logind());
    says(&death, "last session 3 had ended (its leader su[2027] exited with 0)");
    assert!(!death.chain.iter().any(|link| link.event == LinkEvent::TcpClosed), "{death:#?}");
}

#[test]
fn who_had_logind_end_the_last_session_is_named() {
    let loginctl = root(task_in(3000, "loginctl", "/"));
    let by = BusPeer { process: Some(loginctl.id), uid: Some(0), ..BusPeer::default() };
    let call = |args: &[&str]| {
        let scene = there(&victim()).exec(4880, loginctl.clone(), args, &[]);
        scene.call(4905, by.clone(), "TerminateSession", &args[2..]).job(
            4890,
            699,
            "stop",
            "session-3.scope",
        )
    };
    let scene = removed(su_ends(call(&["loginctl", "terminate-session", "3"])), 4950, "3");
    let death = stopped_by(scene, logind());
    says(&death, "last session 3 had ended (root ran \"loginctl terminate-session 3\"), alice");
    let texts = texts(&death);
    assert!(texts[0].contains("terminate-session") && texts[1].contains("TerminateSession"));
    // It was before its effect, however late it was read.
    assert_eq!(death.chain[1].at, at(4890));
    assert!(texts[2].starts_with("su[2027]"), "{texts:?}");
}

/// logind's word that a session is closing is part of the story where it came before the scope was stopped.
#[test]
fn a_session_that_was_closing() {
    let play = |closing_ms: Option<u64>| {
        let victim = task_in(2042, "victim", SCOPE);
        let scene = there(&victim).setting("logind.conf", "KillUserProcesses", "yes", None);
        let state = Some("closing".to_owned());
        let closing = SessionState { id: "3".to_owned(), state, ..SessionState::default() };
        let scene = su_ends(scene);
        let scene =
            closing_ms.into_iter().fold(scene, |scene, ms| session(scene, ms, closing.clone()));
        let scene = scene
            .call(5000, logind(), "StopUnit", &["session-3.scope", "fail"])
            .job(5001, 700, "stop", "session-3.scope")
            .signal(5002, signal(sig::SIGTERM, systemd(), victim.clone()))
            .exit(5003, victim, u32::from(sig::SIGTERM), true);
        removed(scene, 5004, "3").death()
    };
    let death = play(Some(4950));
    assert_eq!(death.cause.id, CauseId::LogindKillUserProcesses, "{death:#?}");
    assert!(texts(&death).contains(&"session 3 of alice was closing"), "{death:#?}");
    for ms in [None, Some(5003)] {
        let death = play(ms);
        assert!(
            !death.chain.iter().any(|link| link.event == LinkEvent::SessionClosed),
            "{death:#?}"
        );
    }
}

/// systemd ends the user's manager, and then what that leaves behind: the bus told of the job only between the two.
#[test]
fn one_fact_is_one_link() {
    let manager = task_in(812, "systemd", MANAGER);
    let left = Task { ppid: 812, ..task_in(813, "(sd-pam)", MANAGER) };
    let to_manager = signal(sig::SIGTERM, systemd(), manager.clone());
    let main = [("MainPID", 812.into()), ("KillMode", "mixed".into())];
    let scene = removed(su_ends(there(&left)), 4950, "3")
        .unit(2, "user@1000.service", &main)
        .signal(5002, SignalSent { is_target: false, blocked: true, fatal: false, ..to_manager })
        .call(5004, logind(), "StopUnit", &["user-runtime-dir@1000.service", "fail"])
        .job(5005, 699, "stop", "user-runtime-dir@1000.service")
        .job(5006, 700, "stop", "user@1000.service")
        .exit(5100, manager, 0, false)
        .signal(5101, signal(sig::SIGKILL, systemd(), left.clone()))
        .exit(5102, left, u32::from(sig::SIGKILL), true);
    let death = scene.death();
    says(&death, "alice's last session 3 had ended");
    let told = |words: &str| {
        let links = death.chain.iter().enumerate().filter(|(_, link)| link.text.contains(words));
        let links: Vec<_> = links.collect();
        assert_eq!(links.len(), 1, "{words}: {:?}", texts(&death));
        assert!(links[0].1.at.boot_ns <= at(5002).boot_ns, "{words}: {:?}", texts(&death));
        links[0].0
    };
    let order = ["called StopUnit", "job 699", "job 700", "SIGTERM to systemd[812]"].map(told);
    assert!(order.is_sorted(), "{:?}", texts(&death));
}
