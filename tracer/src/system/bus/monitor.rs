//! Reads along on a bus: who called which method of systemd, logind, machined and oomd, and what those announced.

use std::collections::HashMap;
use std::sync::{Arc, Mutex};
use std::time::Duration;

use tokio::sync::oneshot;
use zbus::Message;
use zbus::message::{Flags, Header, Type};
use zbus::names::InterfaceName;

use super::super::clock;
use super::super::context::{Context, lock};
use super::super::{logind, systemd};
use super::peers::Peers;
use super::values;
use crate::evidence::{BusCall, BusPeer, BusReply, Fact, Manager, Moment, Source};

/// What the monitor asks to see. Replies tell which calls were refused, when the others were granted, and their jobs.
pub const RULES: [&str; 9] = [
    "path_namespace='/org/freedesktop/systemd1'",
    "path_namespace='/org/freedesktop/login1'",
    "path_namespace='/org/freedesktop/machine1'",
    "path_namespace='/org/freedesktop/oom1'",
    "type='signal',sender='org.freedesktop.DBus',member='NameOwnerChanged'",
    "type='method_return',sender='org.freedesktop.systemd1'",
    "type='method_return',sender='org.freedesktop.login1'",
    "type='method_return',sender='org.freedesktop.machine1'",
    "type='error'",
];

/// How long a call may stay unanswered before it is told all the same: some wait for a password.
const ANSWER_LIMIT: Duration = Duration::from_millis(150);

/// How long its answer is waited for then.
const LATE_LIMIT: Duration = Duration::from_mins(5);

/// Longest path of an object, bytes; that of a unit has at most some 800.
const MAX_PATH: usize = 1024;

/// How many calls wait for their answer at once; more are told without waiting.
const MAX_PENDING: usize = 4096;

/// Objects whose calls matter, and whose they are.
const OBJECTS: [(&str, &str); 3] = [
    ("/org/freedesktop/systemd1", "org.freedesktop.systemd1"),
    ("/org/freedesktop/login1", "org.freedesktop.login1"),
    ("/org/freedesktop/machine1", "org.freedesktop.machine1"),
];

/// Methods that only ask; everything else acts.
const QUESTIONS: [&str; 9] =
    ["Get", "List", "Lookup", "Load", "Subscribe", "Unsubscribe", "Can", "Dump", "Introspect"];

/// What one bus carries, turned into evidence.
#[derive(Debug)]
pub struct Monitor {
    context: Arc<Context>,
    bus: Manager,
    peers: Arc<Peers>,
    /// Unique name of our own connection for questions.
    own: String,
    /// Calls without an answer, by caller and serial: who is to answer, and whoever waits for it.
    pending: Mutex<HashMap<(String, u32), Pending>>,
}

/// A call without an answer.
#[derive(Debug)]
struct Pending {
    destination: Option<String>,
    tell: oneshot::Sender<Answer>,
}

/// What became of a call.
#[derive(Clone, Copy, Debug)]
struct Answer {
    at: Moment,
    granted: bool,
    /// The job that was made for it.
    job: Option<u32>,
}

impl Answer {
    fn of(at: Moment, message: &Message) -> Self {
        let granted = message.message_type() == Type::MethodReturn;
        let number = |value: &serde_json::Value| {
            value.as_str()?.strip_prefix("/org/freedesktop/systemd1/job/")?.parse().ok()
        };
        let job = granted.then(|| values::arguments(message).iter().find_map(number)).flatten();
        Self { at, granted, job }
    }
}

impl Monitor {
    /// Of one bus.
    pub fn new(context: Arc<Context>, bus: Manager, peers: Arc<Peers>, own: String) -> Self {
        Self { context, bus, peers, own, pending: Mutex::default() }
    }

    /// Takes one message, in the order of the bus.
    pub fn take(self: &Arc<Self>, message: &Message) {
        let at = clock::now();
        match message.message_type() {
            Type::MethodCall => self.call(at, message),
            Type::MethodReturn | Type::Error => self.answer(at, message),
            Type::Signal => self.signal(at, message),
        }
    }

    fn call(self: &Arc<Self>, at: Moment, message: &Message) {
        let header = message.header();
        let sender = header.sender().map(|sender| sender.as_str().to_owned()).unwrap_or_default();
        let destination = header.destination().map(|name| name.as_str().to_owned());
        let to_service =
            destination.as_deref().is_some_and(|name| self.is_service_of(&header, name));
        let call = read_call(self.bus, message).filter(|_| to_service && sender != self.own);
        let Some(mut call) = call else { return };
        let serial = call.serial;
        let answered = self.expect_answer(&sender, serial, destination.clone());
        let this = Arc::clone(self);
        tokio::spawn(async move {
            call.sender = this.peers.identify(&sender).await;
            call.destination = match destination {
                Some(name) => this.peers.identify(&name).await,
                None => BusPeer::default(),
            };
            let mut answered = answered;
            match within(ANSWER_LIMIT, &mut answered).await {
                Some(Answer { granted: false, .. }) => {
                    tracing::debug!(member = call.member, sender, "a call was refused");
                    return;
                }
                Some(answer) => {
                    (call.granted_ns, call.job) = (Some(answer.at.boot_ns), answer.job);
                }
                None => {}
            }
            this.tell_who(&call.sender);
            this.tell_who(&call.destination);
            let open = call.granted_ns.is_none();
            this.context.outbox.say_at(at, Source::Bus, Fact::BusCall(call));
            if open && let Some(answer) = within(LATE_LIMIT, &mut answered).await {
                let Answer { at, granted, job } = answer;
                let reply = BusReply { bus: this.bus, caller: sender, serial, granted, job };
                this.context.outbox.say_at(at, Source::Bus, Fact::BusReply(reply));
            }
        });
    }

    /// Who a peer is, with its parents: the story tells of them.
    fn tell_who(&self, peer: &BusPeer) {
        let Some(id) = peer.process else { return };
        let key = ("bus peer", id.pid, id.start_ticks());
        if !self.context.outbox.first_time(key) {
            return;
        }
        for process in self.context.processes.look_up(id.pid).unwrap_or_default() {
            self.context.outbox.say(Source::Proc, Fact::Process(Box::new(process)));
        }
    }

    fn expect_answer(
        &self,
        sender: &str,
        serial: u32,
        destination: Option<String>,
    ) -> Option<oneshot::Receiver<Answer>> {
        let mut pending = lock(&self.pending);
        if pending.len() >= MAX_PENDING {
            pending.retain(|_, waiting| !waiting.tell.is_closed());
        }
        (pending.len() < MAX_PENDING).then(|| {
            let (tell, answered) = oneshot::channel();
            pending.insert((sender.to_owned(), serial), Pending { destination, tell });
            answered
        })
    }

    /// Whether a message comes from whom a call was for, or from the bus itself: the bus shows a monitor also what
    /// anybody else sends, and then delivers it to nobody.
    fn is_from(&self, sender: Option<&str>, destination: Option<&str>) -> bool {
        let Some(sender) = sender else { return false };
        sender == "org.freedesktop.DBus"
            || destination.is_some_and(|name| sender == name || self.peers.is_owner(name, sender))
    }

    /// Whether the object that a call is for is one of this peer's: between themselves peers may call theirs so, too.
    fn is_service_of(&self, header: &Header<'_>, destination: &str) -> bool {
        let object = header.path().and_then(|path| object(self.bus, path.as_str()));
        object.is_some_and(|(_, service)| {
            destination == *service || self.peers.is_owner(service, destination)
        })
    }

    fn answer(&self, at: Moment, message: &Message) {
        let header = message.header();
        let (Some(serial), Some(caller)) = (header.reply_serial(), header.destination()) else {
            return;
        };
        let sender = header.sender().map(zbus::names::UniqueName::as_str);
        let key = (caller.as_str().to_owned(), serial.get());
        let mut pending = lock(&self.pending);
        let is_answer = |call: &Pending| self.is_from(sender, call.destination.as_deref());
        if pending.get(&key).is_some_and(is_answer)
            && let Some(call) = pending.remove(&key)
        {
            // After a long time nobody waits any more.
            let _ = call.tell.send(Answer::of(at, message));
        }
    }

    fn signal(self: &Arc<Self>, at: Moment, message: &Message) {
        let header = message.header();
        let (Some(sender), Some(path), Some(member)) =
            (header.sender(), header.path(), header.member())
        else {
            return;
        };
        let (sender, path, member) = (sender.as_str(), path.as_str(), member.as_str());
        if sender == "org.freedesktop.DBus" && member == "NameOwnerChanged" {
            self.name_changed(message);
        } else if path.starts_with("/org/freedesktop/systemd1") {
            // Where there is a direct connection to the manager, the same comes over that, unfailingly.
            let direct = self.context.sources.is_attached(&systemd::source(self.bus));
            if !direct && self.peers.is_owner("org.freedesktop.systemd1", sender) {
                systemd::signal(&self.context, self.bus, at, message);
            }
        } else if self.bus == Manager::System {
            // On their own bus, users can give themselves these names.
            let by = |object: &str, service: &str| {
                path.starts_with(object) && self.peers.is_owner(service, sender)
            };
            let login = by("/org/freedesktop/login1", "org.freedesktop.login1");
            if login {
                logind::signal(&self.context, at, message);
            }
            if login && member.starts_with("PrepareFor")
                || by("/org/freedesktop/oom1", "org.freedesktop.oom1")
            {
                self.announce(at, message);
            }
        }
    }

    fn name_changed(self: &Arc<Self>, message: &Message) {
        let body = message.body();
        let Ok((name, _, new)) = body.deserialize::<(&str, &str, &str)>() else {
            return;
        };
        if let Some(unique) = self.peers.changed(name, new) {
            // At once: a client that only wants to say one thing is gone a moment later.
            let peers = Arc::clone(&self.peers);
            tokio::spawn(async move { peers.identify(&unique).await });
        }
    }

    /// A signal that is told as it stands: logind's announcements, what systemd-oomd killed.
    fn announce(self: &Arc<Self>, at: Moment, message: &Message) {
        let header = message.header();
        let sender = header.sender().map(|sender| sender.as_str().to_owned()).unwrap_or_default();
        let mut call = call_of(self.bus, &header);
        call.args = values::plain_arguments(message);
        let this = Arc::clone(self);
        tokio::spawn(async move {
            call.sender = this.peers.identify(&sender).await;
            this.context.outbox.say_at(at, Source::Bus, Fact::BusCall(call));
        });
    }
}

/// The answer, where it comes in time.
async fn within(
    limit: Duration,
    answered: &mut Option<oneshot::Receiver<Answer>>,
) -> Option<Answer> {
    tokio::time::timeout(limit, answered.as_mut()?).await.ok()?.ok()
}

/// The call, without its peers, where it is one of the kind that acts.
pub fn read_call(bus: Manager, message: &Message) -> Option<BusCall> {
    let mut call = acting_call(bus, &message.header())?;
    call.args = values::plain_arguments(message);
    Some(call)
}

/// The call, without its peers and arguments, where it is one of the kind that acts.
fn acting_call(bus: Manager, header: &Header<'_>) -> Option<BusCall> {
    let path = header.path().filter(|path| path.as_str().len() <= MAX_PATH)?.as_str();
    let member = header.member()?.as_str();
    let interface = header.interface().map(InterfaceName::as_str);
    let ours = object(bus, path).is_some();
    let generic = interface.is_some_and(|name| name.starts_with("org.freedesktop.DBus"));
    let asks = QUESTIONS.iter().any(|question| member.starts_with(question));
    (ours && !generic && !asks).then(|| call_of(bus, header))
}

/// Which of [`OBJECTS`] a path leads to: on a user's bus, the user's manager alone.
fn object(bus: Manager, path: &str) -> Option<&'static (&'static str, &'static str)> {
    let here = if bus == Manager::System { &OBJECTS[..] } else { &OBJECTS[..1] };
    here.iter().find(|(prefix, _)| {
        path.strip_prefix(prefix).is_some_and(|rest| rest.is_empty() || rest.starts_with('/'))
    })
}

fn call_of(bus: Manager, header: &Header<'_>) -> BusCall {
    BusCall {
        bus,
        path: header.path().map(|path| path.as_str().to_owned()).unwrap_or_default(),
        interface: header.interface().map(|interface| interface.as_str().to_owned()),
        member: header.member().map(|member| member.as_str().to_owned()).unwrap_or_default(),
        serial: header.primary().serial_num().get(),
        no_reply: header.primary().flags().contains(Flags::NO_REPLY_EXPECTED),
        ..BusCall::default()
    }
}

#[cfg(test)]
mod tests {
    use tokio::net::UnixStream;
    use tokio::sync::mpsc::{UnboundedReceiver, unbounded_channel};
    use zbus::connection::Builder;
    use zbus::{Guid, OwnedObjectPath};

    use super::super::super::cgroups::Cgroups;
    use super::super::super::outbox::Outbox;
    use super::super::super::processes::Processes;
    use super::super::super::sources::Sources;
    use super::super::super::systemd::private_socket::PrivateSocket;
    use super::*;
    use crate::evidence::Evidence;

    const SYSTEMD: &str = "org.freedesktop.systemd1";
    const OWNER: &str = ":1.2";
    const CALLER: &str = ":1.9";
    const JOB: &str = "/org/freedesktop/systemd1/job/77";

    /// A monitor of a bus on which `:1.2` is systemd, whose other end nobody answers.
    async fn monitor() -> (Arc<Monitor>, UnboundedReceiver<Evidence>) {
        let (sender, receiver) = unbounded_channel();
        let (ours, _) = UnixStream::pair().expect("a pair of sockets");
        let builder = Builder::authenticated_socket(PrivateSocket(ours), Guid::generate());
        let connection = builder.p2p().build().await.expect("a connection");
        let processes = || Processes::at("/nowhere", Cgroups::of_mounts(""));
        let peers = Peers::new(connection, Manager::System, processes());
        peers.changed(SYSTEMD, OWNER);
        let context = Context::new(Outbox::new(sender), processes(), Sources::connecting(&[]));
        let (context, peers) = (Arc::new(context), Arc::new(peers));
        let own = ":1.8".to_owned();
        (Arc::new(Monitor::new(context, Manager::System, peers, own)), receiver)
    }

    fn stop() -> Message {
        let builder = Message::method_call("/org/freedesktop/systemd1", "StopUnit");
        let builder = builder.interface("org.freedesktop.systemd1.Manager");
        let builder = builder.destination(SYSTEMD).sender(CALLER);
        builder.build(&("a.service", "replace")).expect("a message")
    }

    fn refusal(call: &Message, sender: &'static str) -> Message {
        let name = "org.freedesktop.DBus.Error.AccessDenied";
        Message::error(&call.header(), name).sender(sender).build(&"no").expect("a message")
    }

    fn consent(call: &Message, sender: &'static str) -> Message {
        let job = OwnedObjectPath::try_from(JOB).expect("a path");
        Message::method_return(&call.header()).sender(sender).build(&job).expect("a message")
    }

    async fn told(facts: &mut UnboundedReceiver<Evidence>) -> Option<BusCall> {
        let wait = 4 * ANSWER_LIMIT;
        let next = tokio::time::timeout(wait, facts.recv()).await.ok()?;
        match next?.fact {
            Fact::BusCall(call) => Some(call),
            other => panic!("{other:?}"),
        }
    }

    #[tokio::test]
    async fn a_refused_call_is_not_told() {
        let (monitor, mut facts) = monitor().await;
        let call = stop();
        monitor.take(&call);
        monitor.take(&refusal(&call, OWNER));
        assert_eq!(told(&mut facts).await, None);
    }

    #[tokio::test]
    async fn nobody_else_can_refuse_it_or_consent_to_it() {
        let (monitor, mut facts) = monitor().await;
        let (refused, granted) = (stop(), stop());
        monitor.take(&refused);
        monitor.take(&refusal(&refused, ":1.66"));
        monitor.take(&consent(&refused, ":1.66"));
        let call = told(&mut facts).await.expect("a call that was not answered");
        assert_eq!((call.member.as_str(), call.granted_ns, call.job), ("StopUnit", None, None));
        monitor.take(&granted);
        monitor.take(&refusal(&granted, CALLER));
        monitor.take(&consent(&granted, OWNER));
        let call = told(&mut facts).await.expect("a call that was granted");
        assert_eq!(call.job, Some(77));
    }

    #[tokio::test]
    async fn the_bus_itself_may_refuse_a_call() {
        let (monitor, mut facts) = monitor().await;
        let call = stop();
        monitor.take(&call);
        monitor.take(&refusal(&call, "org.freedesktop.DBus"));
        assert_eq!(told(&mut facts).await, None);
    }

    fn call(path: &str, interface: &str, member: &str) -> bool {
        let message =
            Message::method_call(path, member).interface(interface).build(&()).expect("a message");
        acting_call(Manager::System, &message.header()).is_some()
    }

    #[test]
    fn only_calls_that_act_are_told() {
        let (systemd, login) =
            ("org.freedesktop.systemd1.Manager", "org.freedesktop.login1.Manager");
        assert!(call("/org/freedesktop/systemd1", systemd, "StopUnit"));
        assert!(call(
            "/org/freedesktop/systemd1/unit/a_2eservice",
            "org.freedesktop.systemd1.Unit",
            "Stop"
        ));
        assert!(call("/org/freedesktop/login1", login, "ReleaseSession"));
        assert!(!call("/org/freedesktop/systemd1", systemd, "GetUnit"));
        assert!(!call("/org/freedesktop/systemd1", "org.freedesktop.DBus.Properties", "Set"));
        assert!(!call("/org/freedesktop/systemd10", systemd, "StopUnit"));
        assert!(!call("/org/example", "org.example", "StopUnit"));
    }
}
