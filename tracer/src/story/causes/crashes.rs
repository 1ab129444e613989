//! Faults: what the processor or the memory did not allow, and where.

use super::own_doing::{core, core_fix};
use super::{Finding, Fit, Opinion};
use crate::evidence::{
    Area, CodePlace, Grade, MappedFile, Mapping, Mappings, Mechanism, S, SignalInfo, SignalSent,
    Source, base_name, sig, signal_name,
};
use crate::story::actor::Actor;
use crate::story::case::Case;
use crate::story::decide::{Blow, Way};
use crate::story::fixes::UnitAt;
use crate::story::stopping::AskedToEnd;
use crate::story::verdict::{CauseId, DecidingSetting, Fix, Link, LinkEvent};
use crate::story::world::Seen;
use crate::story::{fixes, mechanism, si_code, signals, units, words};

/// The lowest address that can be mapped (`vm.mmap_min_addr` on most machines): what is below comes of a null
/// pointer, with the place of a field added to it.
const LOWEST: u64 = 65_536;

/// How far below the stack pointer code may still write: a call, the red zone, the frame of a `push`.
const BELOW_STACK: u64 = 65_536;

/// How far above it a frame can reach that was made room for at once.
const LARGEST_FRAME: u64 = 16 << 20;

/// A fault: the address, and where the code was.
struct Fault {
    number: u8,
    code: i32,
    address: Option<u64>,
    place: Option<CodePlace>,
}

impl Fault {
    fn of(signal: &SignalSent) -> Self {
        let number = signal.number;
        let (code, address) = match signal.info {
            SignalInfo::Real { code, fields, .. } => (code, Some(fields[0])),
            SignalInfo::None | SignalInfo::Privileged => (si_code::SI_KERNEL, None),
        };
        // The address means nothing where the processor gave none.
        let address = address.filter(|_| code != si_code::SI_KERNEL && number != sig::SIGTRAP);
        Self { number, code, address, place: signal.place }
    }

    fn is_null(&self) -> bool {
        self.address.is_some_and(|address| address < LOWEST)
    }

    /// The address is that of the instruction itself.
    fn is_jump(&self) -> bool {
        self.place.is_some_and(|place| self.address == Some(place.instruction))
    }

    /// The address is where the stack pointer points: all of a stack can be used, but for what lies behind its
    /// end.
    fn is_stack_overflow(&self) -> bool {
        let (Some(address), Some(place)) = (self.address, self.place) else { return false };
        let near = address.wrapping_sub(place.stack.wrapping_sub(BELOW_STACK))
            <= BELOW_STACK + LARGEST_FRAME;
        near && self.number == sig::SIGSEGV && !self.is_jump() && !self.is_null()
    }
}

/// What a fault was, in words.
fn fault_words(fault: &Fault) -> &'static str {
    match (fault.number, fault.code) {
        (sig::SIGSEGV, 1 | 2) if fault.is_stack_overflow() => {
            "it ran out of stack, as by endless recursion or a huge local variable"
        }
        (sig::SIGSEGV, 1) if fault.is_null() && fault.is_jump() => "it called a null pointer",
        (sig::SIGSEGV, 1) if fault.is_null() => "it used a null pointer",
        (sig::SIGSEGV, 1) if fault.is_jump() => "it jumped to an address where nothing is mapped",
        (sig::SIGSEGV, 2) if fault.is_jump() => "it jumped into memory that is no code",
        (sig::SIGSEGV, 1) => "it used an address where nothing is mapped",
        (sig::SIGSEGV, 2) => "it used memory in a way its protection forbids",
        (sig::SIGSEGV, 3) => "a bounds check failed",
        (sig::SIGSEGV, 4) => "a protection key forbids the access",
        (sig::SIGSEGV, 8 | 9) => "a memory tag did not match",
        (sig::SIGSEGV, 10) => "a control-flow protection check failed (shadow stack or IBT)",
        (sig::SIGSEGV, si_code::SI_KERNEL) => {
            "a general protection fault (an address that no program can have, an instruction that only the \
             kernel may use), or a stack on which the kernel could not place a signal frame"
        }
        (sig::SIGBUS, 1) => "an address was not aligned as needed",
        (sig::SIGBUS, 2) => {
            "it touched a mapped file beyond its end, or memory that could not be had"
        }
        (sig::SIGBUS, _) => "a bus error",
        (sig::SIGILL, _) => {
            "it ran an instruction that this processor does not have or does not allow"
        }
        (sig::SIGFPE, 1) => {
            "it divided an integer by zero, or by what makes the result too large (the smallest number by -1)"
        }
        (sig::SIGFPE, _) => "an arithmetic error",
        (sig::SIGSYS, si_code::SYS_USER_DISPATCH) => {
            "it made a system call that it had asked to get as SIGSYS instead, by syscall user dispatch"
        }
        (sig::SIGTRAP, _) => "it ran into a breakpoint that no debugger handled",
        _ => "an exception of the processor",
    }
}

/// What is mapped at an address that a fault tells of.
fn area<'a>(case: &Case<'a>, address: u64) -> Option<&'a Area> {
    let of_victim = |mappings: &&Seen<Mappings>| mappings.value.id == case.victim;
    let mappings = case.world.mappings.iter().rev().find(of_victim)?;
    let there = |mapping: &&Mapping| mapping.address == address;
    mappings.value.found.iter().find(there).map(|mapping| &mapping.area)
}

/// The command that had just been run to write into a file, by its words: as a sentence, and its link. What writes by
/// another file and renames that leaves the old one as it is.
fn overwriter(case: &Case<'_>, file: &MappedFile, fault_ns: u64) -> Option<(String, Link)> {
    const RECENT: u64 = 60 * S;
    let container = case.victim_process().container;
    let people = &case.world.people;
    let commands = people.iter().filter_map(|(id, known)| {
        let ran_ns = known.exec_ns.filter(|ran| *ran <= fault_ns && ran + RECENT >= fault_ns)?;
        let args = people.executed_at(id, ran_ns)?;
        // Where that was refused it failed; in another container that is another file.
        let may_have = || {
            case.world.exit_of(id).is_none_or(|exit| exit.value.status == 0)
                && case.process(id).container == container
        };
        (writes_into(args, &file.path) && may_have()).then_some((id, ran_ns))
    });
    let (id, ran_ns) = commands.max_by_key(|(_, ran_ns)| *ran_ns)?;
    let told = Actor::behind_at(case, id, ran_ns).told();
    let lead = words::span(fault_ns.saturating_sub(ran_ns));
    let at = case.exit.at.shifted(ran_ns);
    let link =
        case.link(at, LinkEvent::Command, Source::Kernel, Some(case.process(id)), told.clone());
    let words = format!(" {lead} before, {told}, which seems to be why.");
    Some((words, Link { evidence: Grade::Inferred, ..link }))
}

/// Whether a command with these arguments writes into the file of this path, as far as they say: where it is run in is not
/// known.
fn writes_into(args: &[String], path: &str) -> bool {
    let is_file = |word: &str| match word.trim_start_matches("./") {
        whole if whole.starts_with('/') => whole == path,
        below if below.contains("../") => base_name(below) == base_name(path),
        below => path.ends_with(&format!("/{below}")),
    };
    // `host:FILE` has that name as well.
    let in_folder = |folder: &str, source: &str| {
        let name = source.rsplit(['/', ':']).next().unwrap_or_default();
        is_file(&format!("{}/{name}", folder.trim_end_matches('/')))
    };
    let Some((program, args)) = args.split_first() else { return false };
    let args: Vec<&str> = args.iter().map(String::as_str).collect();
    // What an option is given is no file that is written to.
    let after = |options: &[&str]| {
        args.windows(2).find(|pair| options.contains(&pair[0])).map(|pair| pair[1])
    };
    let operands: Vec<&str> = args.iter().copied().filter(|arg| !arg.starts_with('-')).collect();
    match base_name(program) {
        "cp" | "scp" => {
            let long = args.iter().find_map(|arg| arg.strip_prefix("--target-directory="));
            let Some((last, sources)) = operands.split_last() else { return false };
            match after(&["-t", "--target-directory"]).or(long) {
                Some(folder) => operands.iter().any(|source| in_folder(folder, source)),
                None => is_file(last) || sources.iter().any(|source| in_folder(last, source)),
            }
        }
        "dd" => args.iter().filter_map(|arg| arg.strip_prefix("of=")).any(is_file),
        "tee" => operands.into_iter().any(is_file),
        "truncate" => {
            let reference = after(&["-r", "--reference"]);
            operands.into_iter().any(|word| Some(word) != reference && is_file(word))
        }
        "curl" => after(&["-o", "--output"]).is_some_and(is_file),
        _ => false,
    }
}

/// What is mapped, and how.
fn area_words(area: &Area) -> String {
    let what = match &area.file {
        Some(file) => file_words(file),
        None if area.heap => "its heap".to_owned(),
        None if area.stack => "its stack".to_owned(),
        None if area.permissions.contains('s') => "shared memory".to_owned(),
        None => "memory of its own".to_owned(),
    };
    let can = |letter| area.permissions.contains(letter);
    let may = match (can('r'), can('w'), can('x')) {
        (false, false, false) => "which it may not touch at all",
        (_, false, false) => "which it may only read",
        (_, false, true) => "which it may only read and execute",
        (_, true, false) => "which it may not execute",
        (_, true, true) => "which it may read, write and execute",
    };
    format!("{what}, {may}")
}

/// What the kernel keeps shared memory in that nobody gave a name: `shmem_zero_setup`.
fn is_unnamed_memory(file: &MappedFile) -> bool {
    file.deleted && file.path == "/dev/zero"
}

fn file_words(file: &MappedFile) -> String {
    if is_unnamed_memory(file) {
        return "shared memory without a name".to_owned();
    }
    // A file that never was in a directory is not one that somebody removed.
    let deleted = file.deleted && !file.path.starts_with("/memfd:");
    format!("{}{}", file.path, if deleted { " (deleted)" } else { "" })
}

/// Why a page of a file could not be had. The last page of a file is there whole.
fn missing_page_words(file: &MappedFile) -> String {
    let (name, offset, size) = (file_words(file), file.offset, file.size);
    if offset >= size {
        format!(
            "it touched {name} at byte {offset}, but the file has {size} bytes: it was made shorter after it \
             was mapped, or was mapped beyond its end"
        )
    } else {
        let name =
            if is_huge_pages(file) { "memory in huge pages (/anon_hugepage)" } else { &name };
        format!(
            "it touched {name} at byte {offset} of {size}, and the kernel could not get that page"
        )
    }
}

/// What the kernel calls a mapping that no file is behind and that is made of huge pages (`hugetlb_file_setup`).
fn is_huge_pages(file: &MappedFile) -> bool {
    file.deleted && file.path == "/anon_hugepage"
}

/// What may be why a page that the file has could not be had, as a sentence; empty where the file ends before it.
fn missing_page_reason(file: &MappedFile) -> &'static str {
    let is_shared_memory = ["/memfd:", "/SYSV"].iter().any(|name| file.path.starts_with(name));
    if file.offset >= file.size {
        ""
    } else if is_huge_pages(file) {
        " No huge page was free, it seems (vm.nr_hugepages), or its cgroup may have no more of them (the limit of the \
         hugetlb controller)."
    } else if is_shared_memory && file.deleted {
        " Memory may have been short; or it is made of huge pages, and none was free (vm.nr_hugepages)."
    } else {
        " The file system may be full and the file have holes, or the disk may have failed."
    }
}

/// Where the code was that faulted.
fn code_words(area: &Area) -> String {
    match &area.file {
        // What was jumped to is no code.
        _ if !area.permissions.contains('x') => String::new(),
        Some(file) if !is_unnamed_memory(file) => {
            format!(" The code was in {}, {:#x} bytes into the file.", file_words(file), file.offset)
        }
        _ => {
            " The code was in memory that no file is behind, as what a compiler makes at run time (JIT)."
                .to_owned()
        }
    }
}

/// What a fault was, in words.
pub fn described(signal: &SignalSent) -> &'static str {
    fault_words(&Fault::of(signal))
}

/// The kernel was executing a program in place of the one before, which was gone already (the point of no return of
/// `begin_new_exec`), and could not go on: `bprm_execve` sends SIGSEGV.
fn is_of_exec(signal: &SignalSent) -> bool {
    let calls = |name: &str| signal.syscall.as_ref().is_some_and(|call| call.name == name);
    let no_address = Fault::of(signal).code == si_code::SI_KERNEL;
    signal.number == sig::SIGSEGV && no_address && (calls("execve") || calls("execveat"))
}

/// SIGSEGV and its kind.
pub fn crash(case: &Case<'_>) -> Option<Opinion> {
    let blow = case.blow_by(Mechanism::Fault)?;
    let sent = &blow.signal.value;
    if is_of_exec(sent) {
        return not_started(case, blow);
    }
    let fault = Fault::of(sent);
    let (number, code) = (fault.number, fault.code);
    let signal = signal_name(number);
    let overflow = fault.is_stack_overflow();
    let hit = fault.address.and_then(|address| area(case, address));
    let missing =
        hit.and_then(|hit| hit.file.as_ref()).filter(|_| (number, code) == (sig::SIGBUS, 2));
    let what = match (missing, hit) {
        (Some(file), _) => missing_page_words(file),
        (None, Some(hit)) if (number, code) == (sig::SIGSEGV, 2) && !overflow => {
            format!("{}: {}", fault_words(&fault), area_words(hit))
        }
        _ => fault_words(&fault).to_owned(),
    };
    let at = fault.address.map(|address| format!(", address {address:#x}")).unwrap_or_default();
    let name = si_code::name(number, code);
    let fault_told = format!("{what} ({signal}, {name}{at})");
    let text = format!("{} crashed: {fault_told}", case.victim_name());
    // One that was caught is not known to have been the end.
    let event = match blow.way {
        Way::Reraised | Way::CaughtThenExited => {
            format!("{} caught a fault of its own: {fault_told}", case.victim_name())
        }
        Way::Killed | Way::CutShort => text.clone(),
    };
    let link = case.link(blow.signal.at, LinkEvent::Signal, Source::Kernel, None, event);
    let place = fault.place.and_then(|place| area(case, place.instruction));
    let place = place.map(code_words).unwrap_or_default();
    let (end, tracer) = (end_words(case, blow), attached(case, blow));
    let meddled = tracer.as_ref().map(|(words, _)| words.as_str()).unwrap_or_default();
    // Where a guard page was hit, the thread has a stack of a size of its own.
    let grows = overflow && code == si_code::SEGV_MAPERR;
    let meaning = missing.map_or_else(|| meaning(number, grows), missing_page_reason);
    let set = if grows { unit_limits(case) } else { Vec::new() };
    let set_told = limits_told(&set);
    let stop = AskedToEnd::before(case);
    let stopped = stop.as_ref().map(|stop| stop.clause(case)).unwrap_or_default();
    let shortened = missing.filter(|file| file.offset >= file.size);
    let writer = shortened.and_then(|file| overwriter(case, file, blow.signal.ns()));
    let written = writer.as_ref().map(|(words, _)| words.as_str()).unwrap_or_default();
    let explanation =
        format!("{text}.{meaning}{set_told}{written}{place}{end}{meddled}{}{stopped}", core(case));
    // A program's own data is its own affair.
    let is_code = hit.is_some_and(|hit| hit.permissions.contains('x'));
    // Of a path that could not be taken whole the beginning is missing.
    let is_whole = |file: &&MappedFile| file.path.starts_with('/');
    let replaced = shortened.filter(|file| !file.deleted && (is_code || writer.is_some()));
    let replaced = replaced.filter(is_whole);
    let limit = match (overflow, grows) {
        (true, true) => fixes::stack_limits(),
        (true, false) => vec![fixes::thread_stack()],
        (false, _) => Vec::new(),
    };
    Finding::new(CauseId::Crash, Fit::Exact, Grade::Observed, explanation)
        .links(stop.iter().flat_map(|stop| stop.links(case)))
        .links([link])
        .links(tracer.map(|(_, link)| link))
        .links(writer.map(|(_, link)| link))
        .fixes(replaced.map(|file| fixes::replace_file(&file.path)))
        .fixes(missing.filter(|file| is_huge_pages(file)).map(|_| fixes::huge_pages()))
        .fixes([core_fix(case)])
        .fixes(set.iter().filter_map(|limit| raised(case, limit)))
        .fixes(limit)
        .settings(set.into_iter().map(Some))
        .answer()
}

/// What a fault can mean, after its own words; `grows`: of a stack that reached its end.
const fn meaning(number: u8, grows: bool) -> &'static str {
    if grows {
        return " What keeps a stack from growing is its own limit (RLIMIT_STACK), or that of the whole address space \
                (RLIMIT_AS).";
    }
    match number {
        sig::SIGTRAP => {
            " Programs stop at one of their own on purpose, where a check of theirs fails or memory runs out, as V8 (node) \
             and Chromium do; what it wrote to its standard error may say which."
        }
        sig::SIGILL => {
            " Compilers put one in where a program is to stop on purpose (__builtin_trap of gcc and clang, UBSan, aborts of \
             Rust and Swift); else it was built for another processor."
        }
        _ => "",
    }
}

/// Limits of the victim's unit as a sentence after a space; empty where there are none.
fn limits_told(limits: &[DecidingSetting]) -> String {
    let told: Vec<_> = limits.iter().map(units::cited).collect();
    if told.is_empty() {
        return String::new();
    }
    format!(" Its unit has {}.", words::list(&told))
}

/// The limits that keep a stack from growing and that a file gives to the victim's unit.
fn unit_limits(case: &Case<'_>) -> Vec<DecidingSetting> {
    let Some((manager, unit)) = case.unit() else { return Vec::new() };
    let set = ["LimitSTACK", "LimitAS"].map(|name| case.unit_setting(manager, unit, name));
    let is_limit = |limit: &DecidingSetting| limit.file.is_some() && limit.value != "infinity";
    set.into_iter().flatten().filter(is_limit).collect()
}

/// How to raise such a limit.
fn raised(case: &Case<'_>, limit: &DecidingSetting) -> Option<Fix> {
    let (manager, unit) = case.unit()?;
    Some(fixes::unit_limit(&UnitAt::of(case.world, manager, unit), &limit.name))
}

/// How a fault led to an end that came otherwise than by its own signal.
fn end_words(case: &Case<'_>, blow: Blow<'_>) -> String {
    let delay = |ns: u64| words::span(ns.saturating_sub(blow.signal.ns()));
    match (blow.way, blow.then) {
        (Way::Reraised, Some(then)) if then.value.number == sig::SIGABRT => format!(
            " It caught that, and its handler then aborted (it sent SIGABRT to itself, {} later).",
            delay(then.ns())
        ),
        (Way::Reraised, Some(then)) => format!(
            " It caught that, and its handler then sent {} to itself to end, {} later.",
            signal_name(then.value.number),
            delay(then.ns())
        ),
        (Way::CutShort, Some(then)) => format!(
            " It was ending of that; {} from {} only cut the dump of its core short, {} later.",
            signal_name(then.value.number),
            signals::from(case.world, &then.value),
            delay(then.ns())
        ),
        (Way::CaughtThenExited, _) => {
            format!(" It caught that, and exited {} later.", delay(case.exit.ns()))
        }
        _ => String::new(),
    }
}

/// The debugger that had stopped the process to get hold of it, not long before it crashed. What it changed there is not
/// seen.
fn attached(case: &Case<'_>, blow: Blow<'_>) -> Option<(String, Link)> {
    const RECENT_NS: u64 = 60 * S;
    let stop = case.world.signals_to(case.victim).iter().rev().find(|signal| {
        signal.ns() < blow.signal.ns()
            && signal.ns() + RECENT_NS > blow.signal.ns()
            && signal.value.number == sig::SIGSTOP
            && mechanism::of(&signal.value) == Mechanism::Ptrace
    })?;
    let debugger = words::name_pid(&case.task(&stop.value.sender));
    let ago = words::span(blow.signal.ns().saturating_sub(stop.ns()));
    let words = format!(
        " {debugger} had taken hold of it with ptrace(2) {ago} before, and may have made it do so."
    );
    Some((words, case.signal_link(stop, Mechanism::Ptrace)))
}

/// execve(2) that failed when there was no way back.
fn not_started(case: &Case<'_>, blow: Blow<'_>) -> Option<Opinion> {
    let victim = case.victim_name();
    let text = format!(
        "the kernel could not start {victim}: execve(2) failed past its point of no return"
    );
    let link = case.link(blow.signal.at, LinkEvent::Signal, Source::Kernel, None, text);
    let explanation = format!(
        "The kernel could not start {victim}: execve(2) failed when the program before it was gone already, and the \
         kernel ended the process with SIGSEGV. Not one instruction of the new program ran: the limit of its address \
         space (RLIMIT_AS) or of its stack (RLIMIT_STACK) is too low for it, or its file, or that of its \
         interpreter, is damaged or cut short.{}",
        core(case)
    );
    Finding::new(CauseId::Crash, Fit::Exact, Grade::Observed, explanation)
        .links([link])
        .fixes(fixes::stack_limits())
        .answer()
}
