//! Faults, and what they hit.

use super::scene::{Scene, caught, signal, systemd, task, task_in};
use crate::evidence::{
    Area, CodePlace, Fact, Grade, MappedFile, Mapping, Mappings, SignalInfo, SignalSent, Source,
    Syscall, TargetReason, Task, sig,
};
use crate::story::verdict::CauseId;

const CODE: u64 = 0x5555_0000_1000;
const STACK: u64 = 0x7ffc_3b2e_2000;

/// What is said of a fault of that signal and code, at that address, by that instruction.
fn told(number: u8, code: i32, address: u64, instruction: u64, areas: &[(u64, Area)]) -> String {
    let victim = task(42, "program");
    let fault = SignalSent {
        info: SignalInfo::Real { code, errno: 0, fields: [address, 0] },
        syscall: None,
        place: Some(CodePlace { instruction, stack: STACK }),
        ..signal(number, victim.clone(), victim.clone())
    };
    let found =
        areas.iter().map(|(address, area)| Mapping { address: *address, area: area.clone() });
    let mappings = Mappings { id: victim.id, found: found.collect() };
    let scene = Scene::default().target(&victim, TargetReason::Pid).signal(5, fault).add(
        5,
        Source::Kernel,
        Fact::Mappings(mappings),
    );
    let death = scene.exit(6, victim, u32::from(number), true).death();
    assert_eq!(death.cause.id, CauseId::Crash);
    death.cause.explanation
}

fn memory(permissions: &str) -> Area {
    Area { permissions: permissions.to_owned(), heap: false, stack: false, file: None }
}

fn file(permissions: &str, path: &str, offset: u64, size: u64) -> Area {
    let file = MappedFile { path: path.to_owned(), deleted: false, offset, size };
    Area { file: Some(file), ..memory(permissions) }
}

/// What is said of a fault follows from its address and from where the code was.
#[test]
fn faults_are_told_by_address_and_registers() {
    let told = |code, address, instruction| told(sig::SIGSEGV, code, address, instruction, &[]);
    assert!(
        told(1, 0x10, CODE).contains("it used a null pointer (SIGSEGV, SEGV_MAPERR, address 0x10)")
    );
    assert!(told(1, 0, 0).contains("it called a null pointer"));
    assert!(told(1, STACK - 8, CODE).contains("it ran out of stack"));
    assert!(told(2, STACK + 200, CODE).contains("it ran out of stack"));
    assert!(told(1, STACK - (1 << 20), CODE).contains("an address where nothing is mapped"));
    assert!(told(1, 0x7f00_0000_0000, CODE).contains("an address where nothing is mapped"));
    // Code on the stack is no overflow of it.
    assert!(told(2, STACK + 64, STACK + 64).contains("it jumped into memory that is no code"));
}

#[test]
fn a_fault_tells_of_the_file_whose_code_it_was() {
    let library = file("r-xp", "/usr/lib/libfoo.so.1", 0x11d6, 90_000);
    let words = told(sig::SIGSEGV, 1, 8, CODE, &[(CODE, library.clone())]);
    assert!(words.ends_with("The code was in /usr/lib/libfoo.so.1, 0x11d6 bytes into the file."));
    let mut gone = library;
    gone.file.as_mut().expect("it has a file").deleted = true;
    let words = told(sig::SIGSEGV, 1, 8, CODE, &[(CODE, gone)]);
    assert!(words.contains("in /usr/lib/libfoo.so.1 (deleted), 0x11d6"), "{words}");
    let words = told(sig::SIGILL, 2, CODE, CODE, &[(CODE, memory("rwxp"))]);
    assert!(words.contains("memory that no file is behind"), "{words}");
    // MAP_SHARED | MAP_ANONYMOUS
    let mut shared = file("rwxs", "/dev/zero", 0xd, 4096);
    shared.file.as_mut().expect("it has a file").deleted = true;
    let words = told(sig::SIGILL, 2, CODE, CODE, &[(CODE, shared)]);
    assert!(words.contains("memory that no file is behind"), "{words}");
}

#[test]
fn a_forbidden_access_tells_of_what_it_hit() {
    let hit = |area| told(sig::SIGSEGV, 2, 0x7000, CODE, &[(0x7000, area)]);
    let data = file("r--p", "/opt/data", 5, 10);
    assert!(hit(data).contains("forbids: /opt/data, which it may only read (SIGSEGV"));
    assert!(hit(memory("---p")).contains("memory of its own, which it may not touch at all"));
    assert!(hit(memory("r--s")).contains("shared memory, which it may only read"));
    let heap = Area { heap: true, ..memory("rw-p") };
    let words = told(sig::SIGSEGV, 2, 0x7000, 0x7000, &[(0x7000, heap)]);
    assert!(words.contains("no code: its heap, which it may not execute"), "{words}");
    assert!(!words.contains("The code was in"), "{words}");
}

/// A page of a mapped file is missing: since the file ends before it, or since it could not be had.
#[test]
fn a_bus_error_tells_of_the_file() {
    let hit = |area| told(sig::SIGBUS, 2, 0x7000, CODE, &[(0x7000, area)]);
    let words = hit(file("rw-s", "/var/lib/db", 5000, 100));
    assert!(words.contains("it touched /var/lib/db at byte 5000, but the file has 100 bytes"));
    let words = hit(file("rw-s", "/var/lib/db", 5000, 9000));
    assert!(words.contains("the kernel could not get that page (SIGBUS"), "{words}");
    assert!(words.contains("The file system may be full and the file have holes"), "{words}");
    let mut huge = file("rw-p", "/anon_hugepage", 0, 2 << 20);
    huge.file.as_mut().expect("it has a file").deleted = true;
    let words = hit(huge);
    assert!(
        words.contains("it touched memory in huge pages (/anon_hugepage) at byte 0"),
        "{words}"
    );
    assert!(words.contains("No huge page was free, it seems (vm.nr_hugepages)"), "{words}");
    assert!(!words.contains("disk"), "{words}");
    assert!(hit(memory("rw-p")).contains("or memory that could not be had"));
}

/// What stops at a breakpoint of its own does so on purpose.
#[test]
fn a_breakpoint_tells_of_what_stops_by_one() {
    let words = told(sig::SIGTRAP, 0x80, 0, CODE, &[]);
    assert!(words.contains("breakpoint that no debugger handled (SIGTRAP"), "{words}");
    assert!(words.contains("on purpose, where a check of theirs fails"), "{words}");
}

/// A handler of SIGTERM that faults is why the stop became a crash.
#[test]
fn a_crash_during_a_stop_tells_of_the_stop() {
    let victim = task_in(42, "program", "/system.slice/program.service");
    let systemctl = Task { uid: 0, euid: 0, ..task(3000, "systemctl") };
    let fault = SignalSent {
        info: SignalInfo::Real { code: 1, errno: 0, fields: [8, 0] },
        syscall: None,
        ..signal(sig::SIGSEGV, victim.clone(), victim.clone())
    };
    let begun = |crash_ms| {
        Scene::default()
            .user(0, "root")
            .target(&victim, TargetReason::Pid)
            .exec(90, systemctl.clone(), &["systemctl", "stop", "program"], &[])
            .job(100, 700, "stop", "program.service")
            .signal(crash_ms, fault.clone())
            .signal(101, caught(sig::SIGTERM, systemd(), victim.clone()))
            .exit(110, victim.clone(), u32::from(sig::SIGSEGV), true)
            .death()
    };
    let death = begun(105);
    assert_eq!((death.cause.id, death.cause.evidence), (CauseId::Crash, Grade::Observed));
    let told = &death.cause.explanation;
    let words = "4 ms before, systemd[1] had sent it SIGTERM to stop program.service (root ran \"systemctl stop program\"";
    assert!(told.contains(words), "{told}");
    let texts: Vec<_> = death.chain.iter().map(|link| link.text.as_str()).collect();
    assert!(texts.contains(&"systemd[1] job 700 stop program.service"), "{texts:?}");
    assert!(texts.contains(&"systemd[1] sent SIGTERM to program[42]"), "{texts:?}");
    // What came after the crash has nothing to do with it.
    let told = begun(95).cause.explanation;
    assert!(!told.contains("SIGTERM"), "{told}");
}

/// SIGSEGV that the kernel sends with no address.
fn of_kernel(call: Option<&str>, stack: &[&str]) -> SignalSent {
    let victim = task(42, "ls");
    SignalSent {
        info: SignalInfo::Real { code: 0x80, errno: 0, fields: [0, 0] },
        syscall: call.map(|name| Syscall { name: name.to_owned(), args: [0; 3] }),
        stack: stack.iter().map(|&frame| frame.to_owned()).collect(),
        ..signal(sig::SIGSEGV, victim.clone(), victim)
    }
}

fn explanation(sent: SignalSent) -> String {
    let victim = sent.target.clone();
    let scene = Scene::default().target(&victim, TargetReason::Pid).signal(5, sent);
    let death = scene.exit(6, victim, u32::from(sig::SIGSEGV), true).death();
    assert_eq!(death.cause.id, CauseId::Crash);
    death.cause.explanation
}

#[test]
fn a_program_that_could_not_be_started_did_not_crash_by_itself() {
    let stack = ["force_sig_info_to_task", "force_fatal_sig", "bprm_execve"];
    for sent in [of_kernel(Some("execve"), &stack), of_kernel(Some("execveat"), &[])] {
        let words = explanation(sent);
        assert!(
            words.starts_with("The kernel could not start ls[42]: execve(2) failed"),
            "{words}"
        );
        assert!(words.contains("RLIMIT_AS") && !words.contains("general protection"), "{words}");
    }
    assert!(explanation(of_kernel(None, &[])).contains("a general protection fault"));
}

#[test]
fn a_call_that_user_dispatch_caught() {
    let words = told(sig::SIGSYS, 2, 0x7f00_0000_0000, CODE, &[]);
    assert!(words.contains("a system call that it had asked to get as SIGSYS"), "{words}");
}

#[test]
fn what_keeps_a_stack_from_growing() {
    assert!(told(sig::SIGSEGV, 1, STACK - 8, CODE, &[]).contains("RLIMIT_AS"));
    // A thread's stack has its size from the start.
    assert!(!told(sig::SIGSEGV, 2, STACK - 8, CODE, &[]).contains("RLIMIT_AS"));
}

/// It may have changed what the process was to do.
#[test]
fn a_debugger_that_had_hold_of_it_is_named() {
    let victim = task(42, "program");
    let stop = SignalSent {
        info: SignalInfo::Privileged,
        syscall: Some(Syscall { name: "ptrace".to_owned(), args: [16, 42, 0] }),
        stack: vec!["ptrace_attach".to_owned()],
        fatal: false,
        ..signal(sig::SIGSTOP, task(90, "gdb"), victim.clone())
    };
    let fault = SignalSent {
        info: SignalInfo::Real { code: 1, errno: 0, fields: [0, 0] },
        syscall: None,
        ..signal(sig::SIGSEGV, victim.clone(), victim.clone())
    };
    let scene = Scene::default().target(&victim, TargetReason::Pid);
    let death = scene.signal(5, stop).signal(405, fault).exit(406, victim, 11, true).death();
    let words = death.cause.explanation;
    assert!(words.contains("gdb[90] had taken hold of it with ptrace(2) 400 ms before"), "{words}");
    assert!(
        death
            .chain
            .iter()
            .any(|link| link.text == "gdb[90] sent SIGSTOP to program[42] (ptrace(2))")
    );
}

/// Compilers put an invalid instruction where a program is to stop.
#[test]
fn an_invalid_instruction_may_be_there_on_purpose() {
    let words = told(sig::SIGILL, 2, CODE, CODE, &[]);
    assert!(words.contains("to stop on purpose (__builtin_trap of gcc and clang"), "{words}");
}

/// cp(1) writes into the file that is there, and what has it mapped finds it too short meanwhile.
#[test]
fn who_overwrote_a_library_is_named_with_the_remedy() {
    let told = |command: &[&str]| {
        let victim = task(42, "program");
        let fault = SignalSent {
            info: SignalInfo::Real { code: 2, errno: 0, fields: [CODE, 0] },
            syscall: None,
            place: Some(CodePlace { instruction: CODE, stack: STACK }),
            ..signal(sig::SIGBUS, victim.clone(), victim.clone())
        };
        let area = file("r-xp", "/usr/lib/libfoo.so", 4345, 5);
        let mappings = Mappings { id: victim.id, found: [Mapping { address: CODE, area }].into() };
        Scene::watching(&victim)
            .exec(100, task(60, command[0]), command, &[])
            .signal(200, fault)
            .add(200, Source::Kernel, Fact::Mappings(mappings))
            .exit(201, victim, u32::from(sig::SIGBUS), true)
            .death()
    };
    let death = told(&["cp", "small", "/usr/lib/libfoo.so"]);
    let words = "100 ms before, alice ran \"cp small /usr/lib/libfoo.so\", which seems to be why.";
    assert!(death.cause.explanation.contains(words), "{death:#?}");
    assert_eq!(death.chain[0].evidence, Grade::Inferred, "{death:#?}");
    let writers: [&[&str]; 5] = [
        &["cp", "build/libfoo.so", "/usr/lib/"],
        &["cp", "--target-directory=/usr/lib", "build/libfoo.so"],
        &["scp", "host:libfoo.so", "."],
        &["dd", "if=x", "of=../lib/libfoo.so"],
        &["truncate", "-s", "0", "libfoo.so"],
    ];
    for writer in writers {
        let death = told(writer);
        assert!(death.cause.explanation.contains("seems to be why"), "{death:#?}");
    }
    let remedy = "# cp NEW /usr/lib/libfoo.so.new && mv /usr/lib/libfoo.so.new /usr/lib/libfoo.so";
    assert_eq!(death.fixes[0].commands, [remedy]);
    let others: [&[&str]; 8] = [
        &["cp", "small", "/usr/lib/libbar.so"],
        &["ls", "-l", "/usr/lib/libfoo.so"],
        // It is read alone, or another one of that name.
        &["cp", "/usr/lib/libfoo.so", "/backup/"],
        &["cp", "-t", "/backup", "libfoo.so"],
        &["dd", "if=/usr/lib/libfoo.so", "of=/tmp/x"],
        &["scp", "/usr/lib/libfoo.so", "host:"],
        &["cp", "small", "/home/bob/libfoo.so"],
        &["truncate", "-r", "/usr/lib/libfoo.so", "x"],
    ];
    for other in others {
        let death = told(other);
        assert!(!death.cause.explanation.contains("seems to be why"), "{death:#?}");
        assert_eq!(death.fixes[0].commands, [remedy], "code is to be replaced as a whole");
    }
}

/// A stack that cannot grow has a limit, and a unit's file may say which.
#[test]
fn the_limit_of_the_unit_that_a_stack_ran_into_is_told() {
    let victim = task_in(42, "program", "/system.slice/v.service");
    let fault = SignalSent {
        info: SignalInfo::Real { code: 1, errno: 0, fields: [STACK - 8, 0] },
        syscall: None,
        place: Some(CodePlace { instruction: CODE, stack: STACK }),
        ..signal(sig::SIGSEGV, victim.clone(), victim.clone())
    };
    let told = |value: &str| {
        Scene::watching(&victim)
            .setting("v.service", "LimitSTACK", value, Some(("/etc/v.service", 4)))
            .signal(5000, fault.clone())
            .exit(5001, victim.clone(), u32::from(sig::SIGSEGV), true)
            .death()
    };
    let death = told("512K");
    let words = "Its unit has LimitSTACK=512K, set in /etc/v.service:4.";
    assert!(death.cause.explanation.contains(words), "{}", death.cause.explanation);
    assert_eq!(death.cause.settings[0].line, Some(4), "{death:#?}");
    assert!(death.fixes.iter().any(|fix| fix.title == "raise LimitSTACK= of v.service"));
    assert!(!told("infinity").cause.explanation.contains("LimitSTACK"));
}
