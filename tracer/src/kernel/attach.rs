//! From a selection to running hooks, and changes to the selection while they run.

use std::{collections::BTreeMap, io, os::fd::AsFd as _, path::Path};

use aya::maps::{Array, HashMap, MapData, MapError};
use killtrace_ebpf::{COMM_LEN, RING_BYTES, Switches, Watch, flag, mode};

use super::{
    AttachError, Selection,
    cgroups::Cgroups,
    clock::Clock,
    decode::Decoder,
    load::{Attached, Loaded},
    losses::{LeftOut, Losses},
    offsets::Missing,
    preflight,
    programs_log::ProgramsLog,
    ring::Ring,
    settings::{applies, settings},
    stream::Stream,
    symbols::Symbols,
};
use crate::evidence::ProcessId;

/// A value of the map of targets, as `aya` wants it.
#[derive(Clone, Copy)]
#[repr(transparent)]
struct Value(Watch);
// SAFETY: `Watch` is `repr(C)`, made of integers, and its size is asserted to be the sum of theirs.
unsafe impl aya::Pod for Value {}

/// The value of the programs' `.bss`, as `aya` wants it.
#[derive(Clone, Copy)]
#[repr(transparent)]
struct State(Switches);
// SAFETY: `repr(C)`, made of integers, and its size is asserted to be the sum of theirs.
unsafe impl aya::Pod for State {}

impl State {
    /// With these bits of [`mode`], and nobody woken.
    const fn of(modes: u32) -> Self {
        Self(Switches { modes, woken: 0 })
    }
}

/// The kernel side of a trace. Everything is detached when it is dropped.
pub struct Kernel {
    pub(super) stream: Stream,
    hooks: BTreeMap<String, String>,
    lacking: Vec<Missing>,
    watched: HashMap<MapData, u32, Value>,
    cgroups: HashMap<MapData, u64, u32>,
    ports: HashMap<MapData, u32, u32>,
    modes: Array<MapData, State>,
    mode: u32,
}

impl Kernel {
    /// Loads and attaches the hooks. `btf`: a file to read type information from, in place of the
    /// running kernel's own.
    ///
    /// # Errors
    /// Where the kernel, its configuration or a lack of privileges does not let it; the message says
    /// what to do.
    pub fn attach(selection: &Selection, btf: Option<&Path>) -> Result<Self, AttachError> {
        preflight::capabilities()?;
        preflight::processors()?;
        preflight::raise_memlock_limit();
        let settings = settings(selection, btf)?;
        let mut loaded =
            Loaded::new(&settings, |hook| applies(hook, selection, &settings.offsets))?;

        let mut watched = loaded.map("WATCHED")?;
        for id in &selection.pids {
            // What has no room is told where it is made a target once more, with what has come meanwhile.
            had_room(watch(&mut watched, *id, target_flags(selection.follow))).map_err(full)?;
        }
        let mut names = loaded.map::<HashMap<MapData, [u8; COMM_LEN], u32>>("NAMES")?;
        for name in &selection.names {
            names.insert(name_key(name), 1, 0).map_err(full)?;
        }
        let mut users = loaded.map::<HashMap<MapData, u32, u32>>("USERS")?;
        for uid in &selection.uids {
            users.insert(uid, 1, 0).map_err(full)?;
        }
        let records = Ring::new(loaded.take("RECORDS")?, RING_BYTES)
            .map_err(|error| AttachError::System { what: "map the ring buffer", error })?;
        let losses = loaded.map("LOSSES")?;
        let repeats = loaded.map("REPEATS")?;
        let mut kernel = Unattached {
            watched,
            cgroups: loaded.map("CGROUPS")?,
            ports: loaded.map("PORTS")?,
            modes: loaded.map(".bss")?,
        };
        let mode = kernel.select(selection)?;

        let Attached { hooks, programs, links } = loaded.attach()?;
        // The walk begins when the hook is in place: no cgroup is missed between the two.
        let decoder = Decoder::new(Clock::new(), Cgroups::walk(), Symbols::open());
        // Any program that logs leads to the map in which all of them do.
        let logging = programs.iter().find(|(hook, _)| *hook == "sched_process_exec");
        let log = logging.and_then(|(_, program)| ProgramsLog::of(program.as_fd()));
        let losses = Losses::new(losses, programs);
        Ok(Self {
            stream: Stream::new(records, repeats, decoder, losses, log, links),
            hooks,
            lacking: settings.lacking,
            watched: kernel.watched,
            cgroups: kernel.cgroups,
            ports: kernel.ports,
            modes: kernel.modes,
            mode,
        })
    }

    /// Hook to [`ATTACHED`](crate::evidence::ATTACHED), or why not.
    pub const fn hooks(&self) -> &BTreeMap<String, String> {
        &self.hooks
    }

    /// Fields that this kernel does not have, and what is lost without each.
    pub fn lacking(&self) -> &[Missing] {
        &self.lacking
    }

    /// Makes a process a target. A start time of 0 stands for any. Whether there was room for it.
    ///
    /// # Errors
    /// Where the kernel refuses it.
    pub fn add_target(&mut self, id: ProcessId, follow: bool) -> io::Result<bool> {
        had_room(watch(&mut self.watched, id, target_flags(follow))).map_err(io::Error::other)
    }

    /// Has every signal to a process reported that is no target, but whose fate can explain a target's.
    ///
    /// # Errors
    /// Where there are too many targets.
    pub fn add_witness(&mut self, id: ProcessId) -> io::Result<()> {
        // What is there for an earlier process of that pid is not it.
        if self.is_watched(id) {
            return Ok(());
        }
        watch(&mut self.watched, id, flag::WITNESS).map_err(io::Error::other)
    }

    /// Makes the processes in a cgroup targets, and those in what is made below it from now on. Whether there was room
    /// for it.
    ///
    /// # Errors
    /// Where the kernel refuses it.
    pub fn add_cgroup(&mut self, id: u64) -> io::Result<bool> {
        let has_room = had_room(self.cgroups.insert(id, 1, 0)).map_err(io::Error::other)?;
        self.add_mode(mode::CGROUPS)?;
        Ok(has_room)
    }

    /// Has it reported with the losses that there was no room for a target that the kernel side has not counted.
    pub const fn left_out(&mut self, what: LeftOut) {
        self.stream.left_out(what);
    }

    /// Has the ends of connections on a local TCP port reported.
    ///
    /// # Errors
    /// Where there are too many.
    pub fn add_port(&mut self, port: u16) -> io::Result<()> {
        self.ports.insert(u32::from(port), 1, 0).map_err(io::Error::other)?;
        self.add_mode(mode::PORTS)
    }

    /// Makes a process neither target nor witness any more.
    pub fn forget(&mut self, id: ProcessId) {
        // The kernel side has done so by itself where the process has ended; another may have its pid by now.
        if self.is_watched(id) {
            let _ = self.watched.remove(&id.pid);
        }
    }

    /// Whether what is kept for its pid is this process, or was added whoever has it.
    fn is_watched(&self, id: ProcessId) -> bool {
        let is_its = |ticks: u64| ticks == 0 || ticks == id.start_ticks();
        self.watched.get(&id.pid, 0).is_ok_and(|known| is_its(known.0.start_ticks))
    }

    /// Has the next record wake the reader, or not. Returns whether it was so already.
    pub(super) fn set_asleep(&mut self, asleep: bool) -> io::Result<bool> {
        let before = self.mode & mode::ASLEEP != 0;
        if before != asleep {
            self.mode ^= mode::ASLEEP;
            self.modes.set(0, State::of(self.mode), 0).map_err(io::Error::other)?;
        }
        Ok(before == asleep)
    }

    fn add_mode(&mut self, bit: u32) -> io::Result<()> {
        self.mode |= bit;
        self.modes.set(0, State::of(self.mode), 0).map_err(io::Error::other)
    }
}

/// The maps that a selection goes into.
struct Unattached {
    watched: HashMap<MapData, u32, Value>,
    cgroups: HashMap<MapData, u64, u32>,
    ports: HashMap<MapData, u32, u32>,
    modes: Array<MapData, State>,
}

impl Unattached {
    /// Fills in the rest, and says which modes that makes.
    fn select(&mut self, selection: &Selection) -> Result<u32, AttachError> {
        for id in &selection.cgroups {
            // As with processes.
            had_room(self.cgroups.insert(id, 1, 0)).map_err(full)?;
        }
        for port in &selection.tcp_ports {
            self.ports.insert(u32::from(*port), 1, 0).map_err(full)?;
        }
        let modes = [
            (selection.all, mode::ALL),
            (!selection.names.is_empty(), mode::NAMES),
            (!selection.cgroups.is_empty(), mode::CGROUPS),
            (!selection.uids.is_empty(), mode::USERS),
            (!selection.tcp_ports.is_empty(), mode::PORTS),
        ];
        let mode = modes.iter().filter(|(on, _)| *on).fold(0, |all, (_, bit)| all | bit);
        self.modes.set(0, State::of(mode), 0).map_err(full)?;
        Ok(mode)
    }
}

/// The first 15 bytes, padded with zeros: as the kernel keeps names.
fn name_key(name: &str) -> [u8; COMM_LEN] {
    let mut key = [0; COMM_LEN];
    for (to, from) in key.iter_mut().zip(name.bytes().take(COMM_LEN - 1)) {
        *to = from;
    }
    key
}

const fn target_flags(follow: bool) -> u32 {
    if follow { flag::TARGET | flag::FOLLOW } else { flag::TARGET }
}

fn watch(
    map: &mut HashMap<MapData, u32, Value>,
    id: ProcessId,
    flags: u32,
) -> Result<(), MapError> {
    let value = Watch { flags, reserved: 0, start_ticks: id.start_ticks() };
    map.insert(id.pid, Value(value), 0)
}

/// Whether an entry found room (`htab_map_update_elem`: `E2BIG`). How many there are, others can have a say in.
fn had_room(added: Result<(), MapError>) -> Result<bool, MapError> {
    match added {
        Err(MapError::SyscallError(error))
            if error.io_error.raw_os_error() == Some(libc::E2BIG) =>
        {
            Ok(false)
        }
        other => other.map(|()| true),
    }
}

/// What an error of a map means: they are large enough for every sensible use.
fn full(error: MapError) -> AttachError {
    let error = match error {
        MapError::SyscallError(error) => error.io_error,
        other => io::Error::other(other),
    };
    AttachError::System { what: "remember so many targets", error }
}

#[cfg(test)]
mod tests {
    use aya::sys::SyscallError;

    use super::*;

    #[test]
    fn a_full_map_is_no_error() {
        let added = |errno: i32| {
            let io_error = io::Error::from_raw_os_error(errno);
            had_room(Err(MapError::SyscallError(SyscallError { call: "bpf", io_error })))
        };
        assert!(had_room(Ok(())).is_ok_and(|has_room| has_room));
        assert!(added(libc::E2BIG).is_ok_and(|has_room| !has_room));
        assert!(added(libc::ENOMEM).is_err());
    }

    #[test]
    fn names_are_kept_as_the_kernel_keeps_them() {
        assert_eq!(&name_key("tmux"), b"tmux\0\0\0\0\0\0\0\0\0\0\0\0");
        assert_eq!(&name_key("a-very-long-name-indeed"), b"a-very-long-nam\0");
        assert_eq!(name_key(""), [0; COMM_LEN]);
    }
}
