//! From records to evidence: the only place where wire types are read.

use std::{
    collections::VecDeque,
    net::{IpAddr, Ipv4Addr, Ipv6Addr, SocketAddr},
    sync::Arc,
};

use killtrace_ebpf::{self as wire_types, flag, info, listener};

use super::{
    cgroups::Cgroups,
    clock::Clock,
    symbols::Symbols,
    syscalls,
    wire::{Record, is_text, text},
};
use crate::evidence::{
    Ancestor, Area, CgroupChange, CodePlace, Disposition, Engine, EngineConnection, Evidence, Exec,
    Exit, Fact, Fork, Limits, Manager, ManagerConnection, MappedFile, Mapping, Mappings, OomVictim,
    ProcessId, SignalInfo, SignalResult, SignalSent, Source, Syscall, Target, TargetReason, Task,
    TcpChange, TcpState, sig,
};

/// `task_struct.flags`: it is ending.
const PF_EXITING: u32 = 0x4;
/// `task_struct.flags`: a worker of io_uring.
const PF_IO_WORKER: u32 = 0x10;
/// `task_struct.flags`: a worker that the kernel made for a process (6.4 and later).
const PF_USER_WORKER: u32 = 0x4000;
/// `task_struct.flags`: a thread of the kernel.
const PF_KTHREAD: u32 = 0x20_0000;
/// `AF_INET` and `AF_INET6`, as records have them.
const INET: u32 = 2;
const INET6: u32 = 10;
/// How many ends are remembered, to drop the second record of one: as many as may come between the two where
/// whoever ends is preempted.
const ENDS: usize = 1024;

/// A record that makes no sense.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Malformed;

/// Turns records into evidence, with what it takes to name what they speak of.
#[derive(Debug)]
pub struct Decoder {
    /// The clocks.
    pub clock: Clock,
    /// Cgroups by id.
    pub cgroups: Cgroups,
    /// Kernel functions by address.
    pub symbols: Symbols,
    ends: VecDeque<(u32, u64)>,
    /// The ancestors in the last record of a signal: most often those in the next, too.
    ancestors: Arc<[Ancestor]>,
}

impl Decoder {
    /// A decoder.
    pub fn new(clock: Clock, cgroups: Cgroups, symbols: Symbols) -> Self {
        Self { clock, cgroups, symbols, ends: VecDeque::new(), ancestors: Arc::default() }
    }

    /// Decodes a record; `None` where it only repeats an earlier one.
    ///
    /// # Errors
    /// Where it is too short, of no known kind, or has a value that no kernel gives.
    pub fn decode(&mut self, bytes: &[u8]) -> Result<Option<Evidence>, Malformed> {
        let (boot_ns, fact) = match Record::read(bytes).ok_or(Malformed)? {
            Record::Signal(record) => (record.header.boot_ns, self.signal(&record)?),
            Record::Exit(record) => {
                let Some(exit) = self.exit(&record) else { return Ok(None) };
                (record.header.boot_ns, exit)
            }
            Record::Exec(record) => (record.header.boot_ns, self.exec(&record)),
            Record::Fork(record) => (record.header.boot_ns, self.fork(&record)),
            Record::Oom(record) => (record.header.boot_ns, self.oom(&record)),
            Record::Tcp(record) => (record.header.boot_ns, self.tcp(&record)?),
            Record::Cgroup(record) => (record.header.boot_ns, self.cgroup(&record)),
            Record::Rename(record) => (record.header.boot_ns, rename(&record)),
            Record::Mapping(record) => (record.header.boot_ns, mappings(&record)),
            Record::Connect(record) => (record.header.boot_ns, self.connect(&record)?),
        };
        Ok(Some(fact.at(self.clock.moment(boot_ns), Source::Kernel)))
    }

    /// Decodes the record of a signal that stands for `count` of them, sent last at `boot_ns`.
    ///
    /// # Errors
    /// As [`decode`](Self::decode).
    pub fn decode_repeats(
        &mut self,
        bytes: &[u8],
        boot_ns: u64,
        count: u64,
    ) -> Result<Option<Evidence>, Malformed> {
        let Some(mut evidence) = self.decode(bytes)? else { return Ok(None) };
        if let Fact::Signal(signal) = &mut evidence.fact {
            Arc::make_mut(signal).repeats = count.saturating_sub(1);
        }
        evidence.at = self.clock.moment(boot_ns);
        Ok(Some(evidence))
    }

    fn signal(&mut self, record: &wire_types::SignalRecord) -> Result<Fact, Malformed> {
        let has = |bit: u32| record.flags & bit != 0;
        let number = u8::try_from(record.signal).ok().filter(|number| (1..=64).contains(number));
        let frames = usize::try_from(record.stack_len).map_err(|_| Malformed)?;
        let stack = record.stack.get(..frames).ok_or(Malformed)?;
        let args = usize::try_from(record.args_len).ok().and_then(|len| record.args.get(..len));
        Ok(Fact::Signal(Arc::new(SignalSent {
            number: number.ok_or(Malformed)?,
            sender: self.task(&record.sender),
            ancestors: self.shared_ancestors(&record.ancestors),
            sender_args: arguments(args.ok_or(Malformed)?),
            target: self.task(&record.target),
            is_target: has(flag::TARGET),
            to_process: has(flag::GROUP),
            info: siginfo(record)?,
            result: result(record)?,
            disposition: match record.disposition {
                wire_types::disposition::DEFAULT => Some(Disposition::Default),
                wire_types::disposition::IGNORE => Some(Disposition::Ignore),
                wire_types::disposition::HANDLER => Some(Disposition::Handler),
                _ => None,
            },
            blocked: has(flag::BLOCKED),
            fatal: has(flag::FATAL),
            ptraced: has(flag::PTRACED),
            namespace_init: has(flag::UNKILLABLE),
            syscall: (record.syscall >= 0).then(|| Syscall {
                name: syscalls::name(record.syscall, has(flag::COMPAT)),
                args: record.syscall_args,
            }),
            written_cgroup: self.path(record.written_cgroup),
            parent_death_signal: u8::try_from(record.pdeath_signal).unwrap_or(0),
            tty: Some(text(&record.tty)).filter(|tty| !tty.is_empty()),
            stack: if stack.is_empty() { Vec::new() } else { self.symbols.resolve(stack) },
            place: code_place(record),
            limits: limits(record),
            repeats: 0,
        })))
    }

    /// `None` for a second record of the same end: before 6.16 two threads that end at once can both
    /// believe to be the last one, and the hook may be there twice.
    fn exit(&mut self, record: &wire_types::ExitRecord) -> Option<Fact> {
        let end = (record.task.global_pid, record.task.start_ns);
        if self.ends.contains(&end) {
            return None;
        }
        if self.ends.len() >= ENDS {
            self.ends.pop_front();
        }
        self.ends.push_back(end);
        Some(Fact::Exit(Exit {
            task: self.task(&record.task),
            ancestors: ancestors(&record.ancestors),
            is_target: record.flags & flag::TARGET != 0,
            status: record.status & 0xffff,
            ptracer: Some(record.ptracer).filter(|pid| *pid != 0),
            seccomp: match record.flags
                & (flag::SECCOMP_STRICT | flag::SECCOMP_FILTER | flag::SECCOMP_DEAD)
            {
                0 => 0,
                flag::SECCOMP_STRICT => 1,
                flag::SECCOMP_FILTER => 2,
                _ => 3,
            },
            pending: (1..=64).filter(|number| record.pending >> (number - 1) & 1 == 1).collect(),
            unseen: false,
        }))
    }

    fn exec(&mut self, record: &wire_types::ExecRecord) -> Fact {
        let len = usize::try_from(record.args_len).unwrap_or(usize::MAX).min(record.args.len());
        Fact::Exec(Exec {
            task: self.task(&record.task),
            ancestors: ancestors(&record.ancestors),
            filename: text(&record.filename),
            args: arguments(&record.args[..len]),
            truncated: record.flags & flag::TRUNCATED != 0,
            is_target: record.flags & flag::TARGET != 0,
            is_named: record.flags & flag::NAME_MATCHED != 0,
        })
    }

    fn fork(&mut self, record: &wire_types::ForkRecord) -> Fact {
        Fact::Fork(Fork {
            child: self.task(&record.child),
            parent: ProcessId { pid: record.parent.pid, start_ns: record.parent.start_ns },
            is_target: record.flags & flag::TARGET != 0,
        })
    }

    fn oom(&mut self, record: &wire_types::OomRecord) -> Fact {
        Fact::OomVictim(OomVictim {
            global_tid: record.victim_global_tid,
            trigger: self.task(&record.trigger),
        })
    }

    fn tcp(&mut self, record: &wire_types::TcpRecord) -> Result<Fact, Malformed> {
        Ok(Fact::Tcp(TcpChange {
            local: address(record.family, record.local, record.local_port)?,
            remote: address(record.family, record.remote, record.remote_port)?,
            from: tcp_state(record.old_state)?,
            to: tcp_state(record.new_state)?,
            error: i32::try_from(record.error).map_err(|_| Malformed)?,
            task: self.task(&record.task),
        }))
    }

    fn connect(&mut self, record: &wire_types::ConnectRecord) -> Result<Fact, Malformed> {
        let owner = Some(record.owner).filter(|owner| *owner != wire_types::OF_SYSTEM);
        let engine = match record.listener {
            listener::MANAGER => None,
            listener::DOCKER => Some(Engine::Docker),
            listener::PODMAN => Some(Engine::Podman),
            listener::CONTAINERD => Some(Engine::Containerd),
            _ => return Err(Malformed),
        };
        let task = self.task(&record.task);
        let ancestors = ancestors(&record.ancestors);
        Ok(match engine {
            Some(engine) => {
                Fact::EngineConnection(EngineConnection { engine, owner, task, ancestors })
            }
            None => {
                let manager = owner.map_or(Manager::System, Manager::User);
                Fact::ManagerConnection(ManagerConnection { manager, task, ancestors })
            }
        })
    }

    fn cgroup(&mut self, record: &wire_types::CgroupRecord) -> Fact {
        let removed = record.flags & flag::REMOVED != 0;
        let path = if removed {
            self.cgroups.removed(record.id)
        } else {
            self.cgroups.made(record.id, record.parent_id, &text(&record.name))
        };
        Fact::Cgroup(CgroupChange { id: record.id, path, removed })
    }

    fn task(&mut self, task: &wire_types::Task) -> Task {
        Task {
            id: ProcessId { pid: task.pid, start_ns: task.start_ns },
            tid: task.tid,
            ns_pid: task.ns_pid,
            ppid: task.ppid,
            comm: text(&task.comm),
            uid: task.uid,
            euid: task.euid,
            login_uid: Some(task.login_uid).filter(|uid| *uid != u32::MAX),
            audit_session: Some(task.audit_session).filter(|session| *session != u32::MAX),
            cgroup: self.path(task.cgroup_id),
            pid_ns: task.pid_ns,
            kernel_thread: task.flags & PF_KTHREAD != 0,
            exiting: task.flags & PF_EXITING != 0,
            io_worker: task.flags & (PF_IO_WORKER | PF_USER_WORKER) != 0,
        }
    }

    fn shared_ancestors(&mut self, records: &[wire_types::Ancestor]) -> Arc<[Ancestor]> {
        let known = self.ancestors.len();
        let same = records.get(known).is_none_or(|next| next.pid == 0)
            && records.iter().zip(&*self.ancestors).all(|(record, ancestor)| {
                let id = ProcessId { pid: record.pid, start_ns: record.start_ns };
                id == ancestor.id
                    && record.uid == ancestor.uid
                    && is_text(&record.comm, &ancestor.comm)
            });
        if !same {
            self.ancestors = ancestors(records).into();
        }
        Arc::clone(&self.ancestors)
    }

    /// The path of a cgroup; `None` for id 0, which stands for none.
    fn path(&mut self, id: u64) -> Option<String> {
        if id == 0 { None } else { self.cgroups.path(id) }
    }
}

fn rename(record: &wire_types::RenameRecord) -> Fact {
    Fact::Target(Target {
        id: ProcessId { pid: record.task.pid, start_ns: record.task.start_ns },
        reason: TargetReason::Matched,
    })
}

fn mappings(record: &wire_types::MappingRecord) -> Fact {
    let mapped = record.places.iter().filter(|at| (at.start..at.end).contains(&at.address));
    Fact::Mappings(Mappings {
        id: ProcessId { pid: record.pid, start_ns: record.start_ns },
        found: mapped.map(|at| Mapping { address: at.address, area: area(record, at) }).collect(),
    })
}

/// As `show_map_vma` of fs/proc/task_mmu.c has it. The bits are `VM_READ`, `VM_WRITE`, `VM_EXEC` and `VM_MAYSHARE`.
fn area(record: &wire_types::MappingRecord, at: &wire_types::Place) -> Area {
    let can = |bit: u64, yes, no| if at.flags & bit != 0 { yes } else { no };
    let permissions = [can(1, 'r', '-'), can(2, 'w', '-'), can(4, 'x', '-'), can(0x80, 's', 'p')];
    let file = (at.is_file == 1).then(|| {
        let into = at.address.wrapping_sub(at.start);
        MappedFile {
            path: mapped_path(at),
            deleted: at.links == 0,
            offset: into.wrapping_add(at.page_offset.wrapping_mul(page_size())),
            size: at.file_size,
        }
    });
    let memory = file.is_none();
    Area {
        permissions: permissions.into_iter().collect(),
        heap: memory && at.start < record.heap_end && at.end > record.heap_start,
        stack: memory && (at.start..at.end).contains(&record.stack_start),
        file,
    }
}

/// The path, whose components come from the file's own name upwards. Tops of mounts have no name, or are called `/`.
fn mapped_path(at: &wire_types::Place) -> String {
    let components = at.path.iter().rev().map(|component| text(component));
    let path: Vec<_> =
        components.filter(|component| !matches!(component.as_str(), "" | "/")).collect();
    let root = if at.is_whole == 1 { "/" } else { "…/" };
    format!("{root}{}", path.join("/"))
}

/// Bytes of a page.
fn page_size() -> u64 {
    // SAFETY: takes an integer.
    u64::try_from(unsafe { libc::sysconf(libc::_SC_PAGESIZE) }).unwrap_or(4096)
}

fn siginfo(record: &wire_types::SignalRecord) -> Result<SignalInfo, Malformed> {
    match record.info {
        info::NONE => Ok(SignalInfo::None),
        info::PRIVILEGED => Ok(SignalInfo::Privileged),
        info::REAL => Ok(SignalInfo::Real {
            code: record.si_code,
            errno: record.si_errno,
            fields: record.si_fields,
        }),
        _ => Err(Malformed),
    }
}

/// Where the target was in its code, where it is the target's own fault: another sender's place tells nothing.
fn code_place(record: &wire_types::SignalRecord) -> Option<CodePlace> {
    let own = record.sender.tid == record.target.tid && record.sender.pid == record.target.pid;
    let fault = own && record.info == info::REAL && record.si_code > 0 && record.syscall < 0;
    let place = CodePlace { instruction: record.user_ip, stack: record.user_sp };
    Some(place).filter(|place| fault && place.stack != 0)
}

/// SIGKILL tells of a limit only where the kernel sends it to whom it runs.
fn limits(record: &wire_types::SignalRecord) -> Option<Limits> {
    let own = record.sender.pid == record.target.pid && record.info != info::REAL;
    let tells = match u8::try_from(record.signal) {
        Ok(sig::SIGXCPU | sig::SIGXFSZ) => true,
        Ok(sig::SIGKILL) => own,
        _ => false,
    };
    let known = |limit: u64| Some(limit).filter(|limit| *limit != u64::MAX);
    let limits = Limits { first: known(record.limits[0]), real_time: known(record.limits[1]) };
    Some(limits).filter(|limits| tells && (limits.first.is_some() || limits.real_time.is_some()))
}

/// `TRACE_SIGNAL_*` in `include/trace/events/signal.h`. A signal without its siginfo is delivered all the same.
fn result(record: &wire_types::SignalRecord) -> Result<SignalResult, Malformed> {
    const DELIVERED: u32 = 0;
    const IGNORED: u32 = 1;
    const ALREADY_PENDING: u32 = 2;
    const OVERFLOW_FAIL: u32 = 3;
    const LOSE_INFO: u32 = 4;
    let waits = record.flags & (flag::BLOCKED | flag::FATAL) == flag::BLOCKED;
    match record.result {
        DELIVERED | LOSE_INFO if waits => Ok(SignalResult::Blocked),
        DELIVERED | LOSE_INFO => Ok(SignalResult::Delivered),
        IGNORED => Ok(SignalResult::Ignored),
        ALREADY_PENDING => Ok(SignalResult::AlreadyPending),
        OVERFLOW_FAIL => Ok(SignalResult::Lost),
        _ => Err(Malformed),
    }
}

fn ancestors(records: &[wire_types::Ancestor]) -> Vec<Ancestor> {
    records
        .iter()
        .take_while(|record| record.pid != 0)
        .map(|record| Ancestor {
            id: ProcessId { pid: record.pid, start_ns: record.start_ns },
            comm: text(&record.comm),
            uid: record.uid,
        })
        .collect()
}

/// Zero-terminated arguments; the last one may have been cut off.
fn arguments(bytes: &[u8]) -> Vec<String> {
    let bytes = bytes.strip_suffix(&[0]).unwrap_or(bytes);
    if bytes.is_empty() {
        return Vec::new();
    }
    bytes.split(|byte| *byte == 0).map(|arg| String::from_utf8_lossy(arg).into_owned()).collect()
}

fn address(family: u32, bytes: [u8; 16], port: u32) -> Result<SocketAddr, Malformed> {
    let ip = match family {
        INET => {
            let [a, b, c, d, ..] = bytes;
            IpAddr::V4(Ipv4Addr::new(a, b, c, d))
        }
        // A socket that listens on both families has IPv4 peers as `::ffff:192.0.2.1`.
        INET6 => IpAddr::V6(Ipv6Addr::from(bytes)).to_canonical(),
        _ => return Err(Malformed),
    };
    Ok(SocketAddr::new(ip, u16::try_from(port).map_err(|_| Malformed)?))
}

/// `include/net/tcp_states.h`
fn tcp_state(number: u32) -> Result<TcpState, Malformed> {
    Ok(match number {
        1 => TcpState::Established,
        2 => TcpState::SynSent,
        3 => TcpState::SynRecv,
        4 => TcpState::FinWait1,
        5 => TcpState::FinWait2,
        6 => TcpState::TimeWait,
        7 => TcpState::Close,
        8 => TcpState::CloseWait,
        9 => TcpState::LastAck,
        10 => TcpState::Listen,
        11 => TcpState::Closing,
        12 => TcpState::NewSynRecv,
        _ => return Err(Malformed),
    })
}

#[cfg(test)]
#[path = "decode_tests.rs"]
mod tests;
