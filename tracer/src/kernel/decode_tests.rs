//! Tests of the decoder, on records that are made here and on garbage.

use killtrace_ebpf::{
    COMM_LEN, COMPONENT_LEN, ConnectRecord, ExecRecord, ExitRecord, Header, MappingRecord,
    OF_SYSTEM, Place, SignalRecord, TcpRecord, disposition, kind, listener,
};
use proptest::prelude::*;

use super::*;

fn decoder() -> Decoder {
    Decoder::new(Clock::new(), Cgroups::default(), Symbols::default())
}

/// A record of zeros but for its kind, as bytes that a test can change.
fn zeros<T>(kind: u32) -> Vec<u8> {
    let mut bytes = vec![0; size_of::<T>()];
    bytes[..4].copy_from_slice(&kind.to_le_bytes());
    bytes
}

fn put(bytes: &mut [u8], at: usize, value: &[u8]) {
    bytes[at..at + value.len()].copy_from_slice(value);
}

fn word(bytes: &mut [u8], at: usize, value: u32) {
    put(bytes, at, &value.to_le_bytes());
}

fn signal_record() -> Vec<u8> {
    let mut bytes = zeros::<SignalRecord>(kind::SIGNAL);
    let at = |offset: usize| offset;
    word(&mut bytes, at(std::mem::offset_of!(SignalRecord, signal)), 15);
    word(&mut bytes, at(std::mem::offset_of!(SignalRecord, syscall)), u32::MAX);
    bytes
}

fn signal(bytes: &[u8]) -> SignalSent {
    match decoder().decode(bytes) {
        Ok(Some(Evidence { fact: Fact::Signal(sent), .. })) => Arc::unwrap_or_clone(sent),
        other => panic!("no signal: {other:?}"),
    }
}

/// Registers and limits are told where they belong to the signal, and nowhere else.
#[test]
fn registers_and_limits_are_told_of_what_they_explain() {
    let at = |offset: usize| offset;
    let mut bytes = signal_record();
    word(&mut bytes, at(std::mem::offset_of!(SignalRecord, signal)), 11);
    word(&mut bytes, at(std::mem::offset_of!(SignalRecord, info)), info::REAL);
    word(&mut bytes, at(std::mem::offset_of!(SignalRecord, si_code)), 1);
    put(&mut bytes, std::mem::offset_of!(SignalRecord, user_ip), &7_u64.to_le_bytes());
    put(&mut bytes, std::mem::offset_of!(SignalRecord, user_sp), &8_u64.to_le_bytes());
    put(&mut bytes, std::mem::offset_of!(SignalRecord, limits), &[0xff; 16]);
    let sent = signal(&bytes);
    assert_eq!(sent.place, Some(CodePlace { instruction: 7, stack: 8 }));
    assert_eq!(sent.limits, None);
    // Of another's signal they are not.
    let target = std::mem::offset_of!(SignalRecord, target);
    word(&mut bytes, target, 43);
    assert_eq!(signal(&bytes).place, None);
    word(&mut bytes, target, 0);
    word(&mut bytes, std::mem::offset_of!(SignalRecord, signal), 24);
    put(&mut bytes, std::mem::offset_of!(SignalRecord, limits), &60_u64.to_le_bytes());
    assert_eq!(signal(&bytes).limits, Some(Limits { first: Some(60), real_time: None }));
    // kill(2) tells of no limit.
    word(&mut bytes, std::mem::offset_of!(SignalRecord, signal), 9);
    assert_eq!(signal(&bytes).limits, None);
}

#[test]
fn a_signal_is_decoded() {
    let mut bytes = signal_record();
    let sender = std::mem::offset_of!(SignalRecord, sender);
    let comm = std::mem::offset_of!(killtrace_ebpf::Task, comm);
    word(&mut bytes, sender, 42);
    put(&mut bytes, sender + comm, b"0123456789abcdef");
    word(&mut bytes, std::mem::offset_of!(SignalRecord, disposition), disposition::HANDLER);
    word(&mut bytes, std::mem::offset_of!(SignalRecord, flags), flag::TARGET | flag::GROUP);
    put(&mut bytes, std::mem::offset_of!(SignalRecord, tty), b"pts0\0junk");
    let sent = signal(&bytes);
    assert_eq!(sent.number, 15);
    assert_eq!(sent.sender.id.pid, 42);
    assert_eq!(sent.sender.comm.len(), COMM_LEN, "a name that fills its field has no end");
    assert_eq!(sent.disposition, Some(Disposition::Handler));
    assert_eq!(sent.tty.as_deref(), Some("pts0"));
    assert!(sent.is_target && sent.to_process && !sent.fatal);
    assert_eq!((sent.syscall, sent.result), (None, SignalResult::Delivered));
}

#[test]
fn a_blocked_signal_waits_unless_the_kernel_has_already_decided() {
    let mut bytes = signal_record();
    let flags = std::mem::offset_of!(SignalRecord, flags);
    word(&mut bytes, flags, flag::BLOCKED);
    assert_eq!(signal(&bytes).result, SignalResult::Blocked);
    word(&mut bytes, flags, flag::BLOCKED | flag::FATAL);
    assert_eq!(signal(&bytes).result, SignalResult::Delivered);
}

#[test]
fn values_that_no_kernel_gives_are_refused() {
    for (field, value) in [
        (std::mem::offset_of!(SignalRecord, signal), 0),
        (std::mem::offset_of!(SignalRecord, signal), 65),
        (std::mem::offset_of!(SignalRecord, result), 5),
        (std::mem::offset_of!(SignalRecord, info), 3),
        (std::mem::offset_of!(SignalRecord, stack_len), 25),
    ] {
        let mut bytes = signal_record();
        word(&mut bytes, field, value);
        assert_eq!(decoder().decode(&bytes), Err(Malformed));
    }
}

#[test]
fn the_second_record_of_one_end_is_dropped() {
    let mut decoder = decoder();
    let mut bytes = zeros::<ExitRecord>(kind::EXIT);
    word(&mut bytes, std::mem::offset_of!(ExitRecord, status), 0x8b);
    assert!(matches!(
        decoder.decode(&bytes),
        Ok(Some(Evidence { fact: Fact::Exit(Exit { status: 0x8b, .. }), .. }))
    ));
    assert_eq!(decoder.decode(&bytes), Ok(None));
    // Another process with the same pid.
    let start = std::mem::offset_of!(ExitRecord, task)
        + std::mem::offset_of!(killtrace_ebpf::Task, start_ns);
    word(&mut bytes, start, 7);
    assert!(matches!(decoder.decode(&bytes), Ok(Some(_))));
}

#[test]
fn arguments_keep_their_empty_members() {
    let mut bytes = zeros::<ExecRecord>(kind::EXEC);
    let args = b"sh\0\0-c\0cut of";
    word(&mut bytes, std::mem::offset_of!(ExecRecord, args_len), args.len() as u32);
    put(&mut bytes, std::mem::offset_of!(ExecRecord, args), args);
    let Ok(Some(Evidence { fact: Fact::Exec(exec), .. })) = decoder().decode(&bytes) else {
        panic!("no exec");
    };
    assert_eq!(exec.args, ["sh", "", "-c", "cut of"]);
    // A length that is no length takes what is there.
    word(&mut bytes, std::mem::offset_of!(ExecRecord, args_len), u32::MAX);
    assert!(matches!(decoder().decode(&bytes), Ok(Some(_))));
}

#[test]
fn an_ipv4_peer_of_an_ipv6_socket_shows_as_ipv4() {
    let mut bytes = zeros::<TcpRecord>(kind::TCP);
    word(&mut bytes, std::mem::offset_of!(TcpRecord, family), 10);
    word(&mut bytes, std::mem::offset_of!(TcpRecord, old_state), 1);
    word(&mut bytes, std::mem::offset_of!(TcpRecord, new_state), 8);
    word(&mut bytes, std::mem::offset_of!(TcpRecord, remote_port), 51276);
    let mapped = Ipv4Addr::new(203, 0, 113, 5).to_ipv6_mapped().octets();
    put(&mut bytes, std::mem::offset_of!(TcpRecord, remote), &mapped);
    let Ok(Some(Evidence { fact: Fact::Tcp(tcp), .. })) = decoder().decode(&bytes) else {
        panic!("no connection");
    };
    assert_eq!(tcp.remote.to_string(), "203.0.113.5:51276");
    assert_eq!((tcp.from, tcp.to), (TcpState::Established, TcpState::CloseWait));
    word(&mut bytes, std::mem::offset_of!(TcpRecord, remote_port), 70_000);
    assert_eq!(decoder().decode(&bytes), Err(Malformed));
}

#[test]
fn every_kind_is_refused_when_it_is_cut_off() {
    for kind in kind::SIGNAL..=kind::RENAME {
        let mut bytes = vec![0; size_of::<Header>()];
        bytes[..4].copy_from_slice(&kind.to_le_bytes());
        assert_eq!(decoder().decode(&bytes), Err(Malformed), "kind {kind}");
    }
}

/// The smallest record of each kind.
fn samples() -> Vec<Vec<u8>> {
    use killtrace_ebpf::{CgroupRecord, ForkRecord, OomRecord, RenameRecord};
    vec![
        signal_record(),
        zeros::<ExitRecord>(kind::EXIT),
        zeros::<ExecRecord>(kind::EXEC),
        zeros::<ForkRecord>(kind::FORK),
        zeros::<OomRecord>(kind::OOM),
        zeros::<TcpRecord>(kind::TCP),
        zeros::<CgroupRecord>(kind::CGROUP),
        zeros::<RenameRecord>(kind::RENAME),
    ]
}

proptest! {
    /// Nearly right is harder than garbage: most fields are looked at.
    #[test]
    fn a_damaged_record_never_breaks_the_decoder(
        sample in any::<prop::sample::Index>(),
        changes in prop::collection::vec((any::<prop::sample::Index>(), any::<u8>()), 1..24),
        cut in prop::option::of(any::<prop::sample::Index>()),
        tail in prop::collection::vec(any::<u8>(), 0..64),
    ) {
        let samples = samples();
        let mut bytes = sample.get(&samples).clone();
        for (at, byte) in changes {
            let at = at.index(bytes.len());
            bytes[at] = byte;
        }
        if let Some(cut) = cut {
            bytes.truncate(cut.index(bytes.len()));
        }
        bytes.extend(tail);
        let _ = decoder().decode(&bytes);
    }
}

proptest! {
    #[test]
    fn garbage_never_breaks_the_decoder(
        kind in 0_u32..11,
        bytes in prop::collection::vec(any::<u8>(), 0..2048),
    ) {
        let mut bytes = bytes;
        if bytes.len() >= 4 {
            bytes[..4].copy_from_slice(&kind.to_le_bytes());
        }
        let _ = decoder().decode(&bytes);
    }
}

#[test]
fn a_connection_tells_what_it_is_to_and_whose_that_is() {
    let mut bytes = zeros::<ConnectRecord>(kind::CONNECT);
    let task = std::mem::offset_of!(ConnectRecord, task);
    word(&mut bytes, task, 80);
    put(&mut bytes, task + std::mem::offset_of!(killtrace_ebpf::Task, comm), b"systemctl\0");
    word(&mut bytes, std::mem::offset_of!(ConnectRecord, ancestors), 79);
    let owner = std::mem::offset_of!(ConnectRecord, owner);
    for (value, meant) in
        [(OF_SYSTEM, Manager::System), (0, Manager::User(0)), (1000, Manager::User(1000))]
    {
        word(&mut bytes, owner, value);
        let seen = match decoder().decode(&bytes) {
            Ok(Some(Evidence { fact: Fact::ManagerConnection(seen), .. })) => seen,
            other => panic!("no connection: {other:?}"),
        };
        assert_eq!((seen.manager, seen.task.id.pid), (meant, 80));
        assert_eq!((seen.task.comm.as_str(), seen.ancestors.len()), ("systemctl", 1));
    }
    assert_eq!(decoder().decode(&bytes[..bytes.len() - 1]), Err(Malformed));

    let listens = std::mem::offset_of!(ConnectRecord, listener);
    let engines = [
        (listener::DOCKER, OF_SYSTEM, Engine::Docker, None),
        (listener::PODMAN, 1000, Engine::Podman, Some(1000)),
        (listener::CONTAINERD, OF_SYSTEM, Engine::Containerd, None),
    ];
    for (value, whose, engine, owned_by) in engines {
        word(&mut bytes, listens, value);
        word(&mut bytes, owner, whose);
        let seen = match decoder().decode(&bytes) {
            Ok(Some(Evidence { fact: Fact::EngineConnection(seen), .. })) => seen,
            other => panic!("no connection: {other:?}"),
        };
        assert_eq!((seen.engine, seen.owner, seen.task.id.pid), (engine, owned_by, 80));
    }
    word(&mut bytes, listens, listener::CONTAINERD + 1);
    assert_eq!(decoder().decode(&bytes), Err(Malformed));
}

#[test]
fn a_mapping_is_put_together_from_its_parts() {
    let area = |bytes: &[u8]| match decoder().decode(bytes) {
        Ok(Some(Evidence { fact: Fact::Mappings(mut mappings), .. })) => mappings.found.pop(),
        other => panic!("no mappings: {other:?}"),
    };
    let mut bytes = zeros::<MappingRecord>(kind::MAPPING);
    assert_eq!(area(&bytes), None);
    let data = std::mem::offset_of!(MappingRecord, places) + size_of::<Place>();
    let path = data + std::mem::offset_of!(Place, path);
    for (field, value) in [
        (data + std::mem::offset_of!(Place, address), 0x7000_1234_u64),
        (data + std::mem::offset_of!(Place, start), 0x7000_0000),
        (data + std::mem::offset_of!(Place, end), 0x7000_4000),
        (data + std::mem::offset_of!(Place, flags), 0x5),
        (data + std::mem::offset_of!(Place, page_offset), 2),
        (data + std::mem::offset_of!(Place, file_size), 90_000),
        (std::mem::offset_of!(MappingRecord, stack_start), 0x7000_0001),
    ] {
        put(&mut bytes, field, &value.to_le_bytes());
    }
    let found = area(&bytes).expect("something is mapped");
    assert_eq!(found.address, 0x7000_1234);
    let found = found.area;
    assert_eq!((found.permissions.as_str(), found.stack, found.heap), ("r-xp", true, false));
    word(&mut bytes, data + std::mem::offset_of!(Place, is_file), 1);
    put(&mut bytes, path, b"libfoo.so.1\0junk");
    // A mount was crossed here.
    put(&mut bytes, path + COMPONENT_LEN, b"/\0");
    put(&mut bytes, path + 2 * COMPONENT_LEN, b"lib\0");
    let found = area(&bytes).expect("something is mapped").area;
    let file = found.file.expect("a file is mapped");
    assert_eq!((file.path.as_str(), file.deleted, found.stack), ("…/lib/libfoo.so.1", true, false));
    let pages = file.offset - 0x1234;
    assert!(pages >= 2 * 4096 && pages.is_multiple_of(4096), "{pages}");
    word(&mut bytes, data + std::mem::offset_of!(Place, is_whole), 1);
    word(&mut bytes, data + std::mem::offset_of!(Place, links), 1);
    let file = area(&bytes).and_then(|found| found.area.file).expect("a file is mapped");
    assert_eq!((file.path.as_str(), file.deleted), ("/lib/libfoo.so.1", false));
    // What was found does not contain the address: the map has changed meanwhile.
    put(&mut bytes, data + std::mem::offset_of!(Place, end), &0x7000_1234_u64.to_le_bytes());
    assert_eq!(area(&bytes), None);
}
