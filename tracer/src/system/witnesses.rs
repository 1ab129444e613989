//! Everything that userspace listens to, behind one handle.
//!
//! The witnesses have a thread and a runtime of their own: what they hear is stamped with the time at which
//! it came, however busy the rest of the tracer is, and nothing of theirs can hold up the trace.

mod bounds;
#[cfg(test)]
mod tests;

use std::collections::{BTreeMap, HashMap, HashSet};
use std::io;
use std::sync::Arc;
use std::thread::JoinHandle;
use std::time::{Duration, Instant};

use tokio::runtime::{Builder, Handle};
use tokio::sync::mpsc::UnboundedSender;
use tokio::sync::oneshot;

use self::bounds::{NewContainers, Renewing};
use super::cgroups::Cgroups;
use super::context::Context;
use super::outbox::Outbox;
use super::privileges::give_up;
use super::processes::Processes;
use super::sources::{NOT_WANTED, Sources};
use super::systemd::names;
use super::targets::{self, Found, Matcher, NoTarget};
use super::titles::Titles;
use super::unit_target::UnitAnswer;
use super::{bus, clock, dossier, journal, kernel_log, logind, presence, ssh, systemd};
use crate::evidence::cgroup_path::cgroup_of_container;
use crate::evidence::{
    ATTACHED, CgroupOwner, Evidence, Fact, Manager, OomVictim, ProcessId, ProcessSnapshot, S,
    SignalSent, Source, Task,
};

/// How many processes are remembered as seen; beyond that some are looked at again.
const MAX_SEEN: usize = 1 << 16;

/// Programs that ask a service manager, logind or the daemon of containers for something. Whose they are and what they are
/// part of is looked up at once, and not only when it has led to an end: it may be gone by then.
const ASKERS: [&str; 9] = [
    "systemctl",
    "loginctl",
    "busctl",
    "docker",
    "docker-compose",
    "podman",
    "nerdctl",
    "ctr",
    "crictl",
];

/// How long the thread that listens may take to stop.
const STOP_LIMIT: Duration = Duration::from_secs(2);

/// Niceness of the thread that listens.
const HURRIED: i32 = -10;

/// Which witnesses to listen to.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Options {
    /// The D-Bus buses, the service managers and logind.
    pub bus: bool,
    /// The journal.
    pub journal: bool,
    /// The kernel's log.
    pub kernel_log: bool,
}

impl Default for Options {
    fn default() -> Self {
        Self { bus: true, journal: true, kernel_log: true }
    }
}

/// The witnesses of userspace. They stop when this is dropped.
#[derive(Debug)]
pub struct Witnesses {
    context: Arc<Context>,
    runtime: Handle,
    stop: Option<oneshot::Sender<()>>,
    thread: Option<JoinHandle<()>>,
    seen: HashSet<ProcessId>,
    targets: HashSet<ProcessId>,
    users: HashSet<u32>,
    /// Held by each look-up under way that any verdict can wait for.
    asked: Arc<()>,
    renewing: Renewing,
    new_containers: NewContainers,
    /// Whether a target may be a user's container by its name.
    names_containers: bool,
    /// Held by those that the verdict on one target alone can wait for.
    asked_for: HashMap<ProcessId, Arc<()>>,
}

impl Witnesses {
    /// Starts to listen and returns at once. Connections are made in the background; what the journal and the
    /// kernel's log say from now on is not missed meanwhile.
    ///
    /// # Errors
    /// Where no thread can be started.
    pub fn start(sender: UnboundedSender<Evidence>, options: Options) -> io::Result<Self> {
        let sources = Sources::connecting(&["bus", "journal", "kernel-log", "systemd", "logind"]);
        sources.set("processes", presence::hidden_processes().unwrap_or(ATTACHED));
        if presence::has_private_pids() {
            sources.set("pid-namespace", presence::PRIVATE_PIDS);
        }
        let cgroups = Cgroups::detect();
        if cgroups.is_private() {
            sources.set("cgroup2", presence::PRIVATE_CGROUPS);
        }
        if presence::has_other_files() {
            sources.set("files", presence::OTHER_FILES);
        }
        let processes = Processes::new(cgroups);
        let context = Arc::new(Context::new(Outbox::new(sender), processes, sources));
        let runtime = Builder::new_current_thread().enable_all().build()?;
        let handle = runtime.handle().clone();
        {
            let _inside = handle.enter();
            start_all(&context, options);
        }
        let (stop, stopped) = oneshot::channel();
        let run = move || {
            hurry();
            give_up();
            // An error means that the handle was dropped, which is the sign to stop as well.
            let _ = runtime.block_on(stopped);
            runtime.shutdown_background();
        };
        let thread = std::thread::Builder::new().name("witnesses".to_owned()).spawn(run)?;
        Ok(Self {
            context,
            runtime: handle,
            stop: Some(stop),
            thread: Some(thread),
            seen: HashSet::new(),
            targets: HashSet::new(),
            users: HashSet::new(),
            asked: Arc::default(),
            renewing: Renewing::new(),
            new_containers: NewContainers::default(),
            names_containers: false,
            asked_for: HashMap::new(),
        })
    }

    /// Name of each source to `attached`, `connecting`, or why it is not attached.
    pub fn sources(&self) -> BTreeMap<String, String> {
        self.context.sources.all()
    }

    /// Waits until every source is attached or known to be missing, at most so long.
    pub async fn ready(&self, limit: Duration) {
        self.context.sources.settled(limit).await;
    }

    /// Listens to the managers and buses of these users, and waits until they are heard, at most so long.
    pub async fn hear_users(&self, uids: impl IntoIterator<Item = u32>, limit: Duration) {
        let uids: Vec<u32> = uids.into_iter().collect();
        let listen = |uid: &u32| dossier::listen_to_user(Arc::clone(&self.context), *uid);
        let begun: Vec<_> = uids.iter().map(|uid| self.runtime.spawn(listen(uid))).collect();
        let users = uids.iter().map(|uid| Manager::User(*uid));
        let names: HashSet<String> =
            users.flat_map(|user| [bus::source(user), systemd::source(user)]).collect();
        let heard = async {
            for begun in begun {
                let _ = begun.await;
            }
            self.context.sources.settled_of(limit, |name| names.contains(name)).await;
        };
        // Over time they are heard later.
        let _ = tokio::time::timeout(limit, heard).await;
    }

    /// Whether what was written to the journal since the beginning is still to come.
    pub fn opens_journal(&self) -> bool {
        self.context.sources.is_connecting("journal")
    }

    /// Whether a process has ended.
    pub fn is_gone(&self, id: ProcessId) -> bool {
        self.context.processes.is_gone(id)
    }

    /// The local ports of ssh connections, for the hook that watches TCP.
    pub fn ports(&self) -> Vec<u16> {
        ssh::ports(&self.context.root, &self.context.processes)
    }

    /// The processes that a target means.
    ///
    /// # Errors
    /// Where the target cannot exist.
    pub fn find(&self, matcher: &Matcher) -> Result<Found, NoTarget> {
        targets::find(&self.context.processes, matcher)
    }

    /// Has the service managers asked what they call these units, and which processes PID 1 runs for them: what they say is
    /// told, and comes back where it comes in this time.
    pub async fn ask_of_units(&self, units: Vec<String>, limit: Duration) -> Vec<UnitAnswer> {
        let look_up = |unit| names::look_up(Arc::clone(&self.context), unit);
        let asked: Vec<_> =
            units.into_iter().map(|unit| self.runtime.spawn(look_up(unit))).collect();
        let until = tokio::time::Instant::now() + limit;
        let mut answers = Vec::new();
        for asked in asked {
            // What comes later is taken as it comes.
            if let Ok(Ok(answered)) = tokio::time::timeout_at(until, asked).await {
                answers.extend(answered);
            }
        }
        answers
    }

    /// Has a unit told of, once its manager says that it has one of these names too.
    pub fn ask_for_names(&self, manager: Manager, unit: String, wanted: Vec<String>) {
        let asked = names::tell_if_called(Arc::clone(&self.context), manager, unit, wanted);
        self.runtime.spawn(asked);
    }

    /// What runs in a cgroup and below it, and the cgroups there.
    pub fn inside(&self, cgroup: &str) -> Found {
        targets::inside(&self.context.processes, cgroup)
    }

    /// Whether it matters from now on where a user's container has no name that can be known.
    pub const fn names_containers(&mut self, matters: bool) {
        self.names_containers = matters;
    }

    /// Tells that a user's files did not say in time what the user's containers are called.
    pub fn tell_unnamed(&self, uid: u32) {
        dossier::tell_unnamed(&self.context, uid, format!("what is user {uid}'s does not answer"));
    }

    /// A process as `/proc` has it, without its parents; `None` where it is gone.
    pub fn process(&self, pid: u32) -> Option<ProcessSnapshot> {
        self.context.processes.look(pid).ok()
    }

    /// The new processes that have come to have one of these titles.
    pub fn titled(&self, titles: &mut Titles) -> Vec<ProcessSnapshot> {
        titles.look(&self.context.processes)
    }

    /// A process and those that it has forked, its own tracer excepted: itself first.
    pub fn with_children(&self, pid: u32) -> Vec<ProcessSnapshot> {
        let all = self.context.processes.with_children(pid);
        let others = all.into_iter().filter(|pid| *pid != std::process::id());
        others.filter_map(|pid| self.process(pid)).collect()
    }

    /// Takes note of a piece of evidence from the kernel, in the order of the stream. A process that turns out to
    /// matter is looked at before this returns, since it may be gone a moment later; the rest follows in the
    /// background.
    pub fn consider(&mut self, evidence: &Evidence) {
        match &evidence.fact {
            Fact::Target(target) => self.target(target.id),
            Fact::Fork(fork) if fork.is_target => self.target(fork.child.id),
            Fact::Exec(exec) => {
                if exec.is_target {
                    self.names(&exec.task);
                }
                // Another program, another command line.
                let known = self.seen.remove(&exec.task.id);
                let asks = ASKERS.contains(&exec.task.comm.as_str());
                if exec.is_target {
                    self.target(exec.task.id);
                } else if known || asks {
                    self.witness(exec.task.id);
                }
                if asks {
                    self.names(&exec.task);
                    self.unit_of_asker(exec.task.cgroup.as_deref());
                }
            }
            Fact::Signal(signal) if signal.is_target || signal.fatal => {
                self.names(&signal.sender);
                self.names(&signal.target);
                if !signal.sender.kernel_thread {
                    self.witness(signal.sender.id);
                }
                if signal.is_target {
                    self.may_renew(signal);
                    self.target(signal.target.id);
                    self.unit_of_sender(signal.target.id, signal.sender.cgroup.as_deref());
                } else {
                    self.witness(signal.target.id);
                }
            }
            Fact::Exit(exit) => {
                if self.targets.remove(&exit.task.id) {
                    self.refresh_unit(exit.task.cgroup.as_deref());
                }
                self.seen.remove(&exit.task.id);
            }
            // Who asked for a stop, it may be. What it is can be looked up until it has its answer.
            Fact::ManagerConnection(connection) => {
                self.names(&connection.task);
                self.witness(connection.task.id);
                self.unit_of_asker(connection.task.cgroup.as_deref());
            }
            Fact::EngineConnection(connection) => {
                self.names(&connection.task);
                self.witness(connection.task.id);
            }
            Fact::OomVictim(victim) => self.oom(victim),
            Fact::Cgroup(change) if !change.removed => self.made(change.path.as_deref()),
            _ => {}
        }
    }

    /// Whether something is being looked up that the verdict on this target needs: a user's name, as long as the
    /// machine's name service is not known to be slow, or the unit of who sent it a signal, which takes as long as its manager does. That one
    /// user's manager does not answer holds up no verdict on what others have ended.
    pub fn are_asked(&self, target: ProcessId) -> bool {
        let is_held = |asked: &Arc<()>| Arc::strong_count(asked) > 1;
        is_held(&self.asked) || self.asked_for.get(&target).is_some_and(is_held)
    }

    /// The verdict on this target is due: nothing is waited for any more.
    pub fn settled(&mut self, target: ProcessId) {
        self.asked_for.remove(&target);
    }

    /// Looks up what a verdict needs, which holds this for as long.
    fn ask(&self, asked: &Arc<()>, what: impl Future<Output = ()> + Send + 'static) {
        let under_way = Arc::clone(asked);
        self.runtime.spawn(async move {
            what.await;
            drop(under_way);
        });
    }

    /// Tells whose a process is, and who had logged in where it comes from, also of those that are gone before anybody
    /// can look.
    fn names(&mut self, task: &Task) {
        for uid in std::iter::once(task.uid).chain(task.login_uid) {
            if self.users.insert(uid) {
                let context = Arc::clone(&self.context);
                self.ask(&self.asked, async move {
                    dossier::user_soon(&context, uid).await;
                });
            }
        }
    }

    fn target(&mut self, id: ProcessId) {
        let line = self.look(id);
        let new = self.targets.insert(id);
        if new {
            for relative in self.context.processes.relatives(id.pid) {
                if let Some(relative) = self.context.processes.identify(relative) {
                    self.look(relative);
                }
            }
        }
        if let Some(process) = line.into_iter().next() {
            self.runtime.spawn(dossier::target(Arc::clone(&self.context), process));
        } else if new && let Ok(process) = self.context.processes.look(id.pid) {
            // Seen before as a witness: it is known, but not what a target needs.
            self.runtime.spawn(dossier::target(Arc::clone(&self.context), process));
        }
    }

    /// A process has caught what servers take for a wish to read their settings anew.
    fn may_renew(&mut self, signal: &SignalSent) {
        if self.renewing.is_due(signal) {
            let turns = Arc::clone(&self.renewing.turns);
            let looked = dossier::workers(Arc::clone(&self.context), signal.target.id, turns);
            self.runtime.spawn(looked);
        }
    }

    /// A cgroup has been made: of a container it tells which that is, while that can be known.
    fn made(&mut self, path: Option<&str>) {
        let is_containers = |path: &&str| cgroup_of_container(path).as_deref() == Some(*path);
        let Some(path) = path.filter(is_containers) else { return };
        let owner = self.context.processes.cgroups().named_by(path);
        let owner = owner.unwrap_or_else(|_| CgroupOwner::of(path).rootless_uid());
        let Some(under_way) = self.place_for_container(owner) else { return };
        let is_name_wanted = self.names_containers;
        let made =
            dossier::container_made(Arc::clone(&self.context), path.to_owned(), is_name_wanted);
        self.ask(&under_way, made);
    }

    /// What a look-up of a new container has to hold. That there is no place is told where a target may be such a one.
    fn place_for_container(&mut self, owner: Option<u32>) -> Option<Arc<()>> {
        let place = self.new_containers.place(owner);
        if place.is_none()
            && let Some(uid) = owner.filter(|_| self.names_containers)
        {
            dossier::tell_unnamed(&self.context, uid, "there were too many at once");
        }
        place
    }

    fn witness(&mut self, id: ProcessId) {
        if let Some(process) = self.look(id).into_iter().next() {
            self.runtime.spawn(dossier::witness(Arc::clone(&self.context), process));
        }
    }

    /// Looks at a process and its parents and tells those not told yet. Empty where this one was.
    fn look(&mut self, id: ProcessId) -> Vec<ProcessSnapshot> {
        if self.seen.len() >= MAX_SEEN {
            self.seen.clear();
        }
        if id.pid == 0 || !self.seen.insert(id) {
            return Vec::new();
        }
        let line = match self.context.processes.look_up(id.pid) {
            Ok(line) if line[0].id() == id => line,
            _ => {
                let why = "it was gone before it could be looked at, or it is hidden";
                self.context.outbox.unavailable(format!("process {}", id.pid), why);
                return Vec::new();
            }
        };
        let at = clock::now();
        for (place, process) in line.iter().enumerate() {
            if place == 0 || self.seen.insert(process.id()) {
                let fact = Fact::Process(Box::new(process.clone()));
                self.context.outbox.say_at(at, Source::Proc, fact);
            }
        }
        let through_ssh =
            line.iter().any(|process| process.environment.contains_key("SSH_CONNECTION"));
        if through_ssh {
            let context = Arc::clone(&self.context);
            self.runtime.spawn(dossier::ssh_settings(context));
        }
        line
    }

    /// A signal to a target may come from what a unit runs to start, stop or reload, or from a process that is being
    /// stopped itself.
    fn unit_of_sender(&mut self, target: ProcessId, cgroup: Option<&str>) {
        let Some((manager, unit)) = unit_of(cgroup) else { return };
        if !unit.ends_with(".service") && !unit.ends_with(".scope") || unit == "init.scope" {
            return;
        }
        let _inside = self.runtime.enter();
        if self.context.watch(manager, &unit) {
            // Where a user's files are is the name service's word.
            let is_late =
                matches!(manager, Manager::User(uid) if self.context.user_names.is_late(uid));
            let tell = dossier::tell_unit(Arc::clone(&self.context), manager, unit);
            if is_late {
                self.runtime.spawn(tell);
                return;
            }
            if self.asked_for.len() >= MAX_SEEN {
                self.asked_for.clear();
            }
            let asked = Arc::clone(self.asked_for.entry(target).or_default());
            self.ask(&asked, tell);
        } else {
            // Since it was last looked at it may have been started anew, by something else.
            systemd::refresh(&self.context, manager, &unit);
        }
    }

    /// A service that asks a manager for something may have been started by somebody for that: what wants it is looked up.
    fn unit_of_asker(&self, cgroup: Option<&str>) {
        let unit = unit_of(cgroup).filter(|(_, unit)| unit.ends_with(".service"));
        let Some((manager, unit)) = unit else { return };
        let _inside = self.runtime.enter();
        let second = clock::now().boot_ns / S;
        if self.context.watch_asker(manager, &unit, second) {
            let asking = dossier::tell_neighbour(Arc::clone(&self.context), manager, unit);
            self.runtime.spawn(asking);
        } else {
            systemd::refresh(&self.context, manager, &unit);
        }
    }

    /// A target ended: what the manager makes of that decides the verdict.
    fn refresh_unit(&self, cgroup: Option<&str>) {
        let owner = CgroupOwner::of(cgroup.unwrap_or_default());
        let _inside = self.runtime.enter();
        for (manager, unit) in owner.units() {
            systemd::refresh(&self.context, manager, unit);
        }
    }

    /// Tells the memory limits that may have led to an OOM kill: those on the way from the victim to the root.
    fn oom(&self, victim: &OomVictim) {
        let processes = &self.context.processes;
        let cgroup = processes
            .memory_cgroup(victim.global_tid)
            .or_else(|| processes.memory_cgroup(victim.trigger.id.pid));
        let mut path = cgroup.unwrap_or_default();
        while !path.is_empty() && path != "/" {
            let limits = processes.cgroups().limits(&path);
            if let Some(limits) = limits
                .filter(|limits| limits.memory_max.is_some() || limits.oom_group == Some(true))
            {
                self.context.outbox.say(Source::CgroupFs, Fact::CgroupLimits(limits));
            }
            path.truncate(path.rfind('/').unwrap_or(0));
        }
    }
}

/// The unit of a cgroup, and whose it is.
fn unit_of(cgroup: Option<&str>) -> Option<(Manager, String)> {
    let owner = CgroupOwner::of(cgroup.unwrap_or_default());
    owner.innermost_unit().map(|(manager, unit)| (manager, unit.to_owned()))
}

impl Drop for Witnesses {
    fn drop(&mut self) {
        drop(self.stop.take());
        if let Some(thread) = self.thread.take() {
            // It only leaves its loop. Should it not, it ends with the process.
            let begun = Instant::now();
            while !thread.is_finished() && begun.elapsed() < STOP_LIMIT {
                std::thread::sleep(Duration::from_millis(1));
            }
        }
    }
}

/// The processes that a target means, without any witness listening.
///
/// # Errors
/// Where the target cannot exist.
pub fn running_processes(matcher: &Matcher) -> Result<Found, NoTarget> {
    targets::find(&Processes::new(Cgroups::detect()), matcher)
}

/// Gives this thread precedence, where that is allowed: the time of what is heard is the time at which
/// it is read, and what the kernel reports has to be read before its buffer is full.
pub fn hurry() {
    // SAFETY: setpriority takes integers only; 0 is the calling thread. Without the right to do it nothing changes.
    unsafe { libc::setpriority(libc::PRIO_PROCESS, 0, HURRIED) };
}

/// Starts every witness that is wanted; to be called inside of the runtime.
fn start_all(context: &Arc<Context>, options: Options) {
    if options.kernel_log {
        match kernel_log::open() {
            Ok(file) => {
                context.sources.set("kernel-log", ATTACHED);
                tokio::spawn(kernel_log::follow(Arc::clone(context), file));
            }
            Err(error) => {
                let why = format!("/dev/kmsg cannot be read: {error}");
                context.sources.set("kernel-log", why.clone());
                context.outbox.unavailable("kernel-log", why);
            }
        }
    } else {
        context.sources.set("kernel-log", NOT_WANTED);
    }
    if options.journal {
        tokio::spawn(journal::follow(Arc::clone(context), clock::now()));
    } else {
        context.sources.set("journal", NOT_WANTED);
    }
    if options.bus {
        systemd::link(context, Manager::System);
        tokio::spawn(bus::listen(Arc::clone(context), Manager::System));
        let sessions = Arc::clone(context);
        // Spawned by a task, the thread is started by the witnesses' own, and has no more privileges than that.
        tokio::spawn(async move {
            tokio::task::spawn_blocking(move || logind::tell_existing(&sessions)).await
        });
        let logind = Arc::clone(context);
        tokio::spawn(async move { logind::running_manager(&logind).await });
    } else {
        for name in ["bus", "systemd", "logind"] {
            context.sources.set(name, NOT_WANTED);
        }
        context.system_bus.down(NOT_WANTED);
        context.manager(Manager::System).0.down(NOT_WANTED);
    }
}
