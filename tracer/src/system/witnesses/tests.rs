use super::*;
use crate::evidence::{Target, TargetReason};

/// A user's manager that never answers is waited for by those alone whom its units signalled.
#[tokio::test]
async fn what_one_target_waits_for_holds_up_no_other() {
    let (sender, _receiver) = tokio::sync::mpsc::unbounded_channel();
    let options = Options { bus: false, journal: false, kernel_log: false };
    let mut witnesses = Witnesses::start(sender, options).expect("a thread");
    let [one, other] = [7, 8].map(|pid| ProcessId { pid, start_ns: 1 });
    let asked = Arc::clone(witnesses.asked_for.entry(one).or_default());
    witnesses.ask(&asked, std::future::pending());
    drop(asked);
    assert!(witnesses.are_asked(one) && !witnesses.are_asked(other));
    witnesses.settled(one);
    assert!(!witnesses.are_asked(one));
    let asked = Arc::clone(&witnesses.asked);
    witnesses.ask(&asked, std::future::pending());
    drop(asked);
    assert!(witnesses.are_asked(one) && witnesses.are_asked(other), "a user's name, say");
}

/// Who makes containers all the time takes no place from others, and that some have no name is told where it matters.
#[tokio::test]
async fn one_users_new_containers_take_no_place_from_others() {
    let (sender, mut receiver) = tokio::sync::mpsc::unbounded_channel();
    let options = Options { bus: false, journal: false, kernel_log: false };
    let mut witnesses = Witnesses::start(sender, options).expect("a thread");
    let mut places = Vec::new();
    let mut fill = |witnesses: &mut Witnesses, owner| {
        while let Some(place) = witnesses.place_for_container(owner) {
            places.push(place);
            assert!(places.len() < 1000, "there is an end");
        }
        places.len()
    };
    assert_eq!(fill(&mut witnesses, Some(4001)), NewContainers::MOST_OF_USER);
    assert!(receiver.try_recv().is_err(), "no target can be one of them");
    witnesses.names_containers(true);
    assert_eq!(fill(&mut witnesses, Some(4002)), 2 * NewContainers::MOST_OF_USER);
    assert_eq!(fill(&mut witnesses, None), 2 * NewContainers::MOST_OF_USER + NewContainers::MOST);
    let Ok(Fact::Unavailable(told)) = receiver.try_recv().map(|it| it.fact) else {
        panic!("that is told")
    };
    assert_eq!(told.what, "names of the containers of user 4002");
    assert!(receiver.try_recv().is_err(), "of users' alone, once");
    places.clear();
    assert!(witnesses.place_for_container(Some(4001)).is_some(), "there is room again");
}

#[tokio::test]
async fn a_target_is_looked_at_before_anything_else_happens() {
    let (sender, mut receiver) = tokio::sync::mpsc::unbounded_channel();
    let options = Options { bus: false, journal: false, kernel_log: false };
    let mut witnesses = Witnesses::start(sender, options).expect("a thread");
    let pid = std::process::id();
    let found = witnesses.find(&Matcher::Pid(pid)).expect("this process");
    let id = found.processes[0].id();
    let fact = Fact::Target(Target { id, reason: TargetReason::Pid });
    witnesses.consider(&fact.at(clock::now(), Source::Tracer));
    let first = receiver.try_recv().expect("a snapshot, at once");
    let Fact::Process(process) = first.fact else { panic!("{first:?}") };
    assert_eq!(process.id(), id);
    witnesses.ready(Duration::from_secs(5)).await;
    let mut sources = witnesses.sources();
    sources.remove("processes");
    assert!(sources.values().all(|state| state == "not asked for"), "{sources:?}");
    let user = async {
        while let Some(evidence) = receiver.recv().await {
            if let Fact::User(user) = evidence.fact {
                return user;
            }
        }
        panic!("the witnesses stopped")
    };
    let user = tokio::time::timeout(Duration::from_secs(5), user).await.expect("a user");
    assert_eq!(user.uid, process.uid);
}

#[test]
fn a_process_that_is_gone_is_said_to_be_so_once() {
    let (sender, mut receiver) = tokio::sync::mpsc::unbounded_channel();
    let options = Options { bus: false, journal: false, kernel_log: false };
    let mut witnesses = Witnesses::start(sender, options).expect("a thread");
    let id = ProcessId { pid: u32::MAX, start_ns: 1 };
    for _ in 0..2 {
        let fact = Fact::Target(Target { id, reason: TargetReason::Matched });
        witnesses.consider(&fact.at(clock::now(), Source::Tracer));
    }
    drop(witnesses);
    let mut said = 0;
    while let Ok(evidence) = receiver.try_recv() {
        assert!(matches!(evidence.fact, Fact::Unavailable(_)), "{evidence:?}");
        said += 1;
    }
    assert_eq!(said, 1);
}
