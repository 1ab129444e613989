//! Limits, timers, pipes and other ends that a process brings on itself.

use killtrace::evidence::Mechanism;
use killtrace::story::verdict::CauseId;
use killtrace_tests::live::{By, play};

/// A limit is exceeded, and its value told.
fn limit(scene: &str, how: Mechanism, cause: CauseId, words: &str) {
    let played = play(scene);
    let told = &played.killed(how, By::Kernel, cause).cause.explanation;
    assert!(told.contains(words), "{told}");
}

#[test]
fn rlimit_cpu_soft() {
    limit(
        "rlimit-cpu-soft",
        Mechanism::RlimitCpu,
        CauseId::CpuLimit,
        "its soft limit of 1 s of CPU time",
    );
}

#[test]
fn rlimit_cpu_hard() {
    limit(
        "rlimit-cpu-hard",
        Mechanism::RlimitCpu,
        CauseId::CpuLimit,
        "its hard limit of 1 s of CPU time",
    );
}

#[test]
fn rlimit_rttime() {
    limit(
        "rlimit-rttime",
        Mechanism::RlimitCpu,
        CauseId::CpuLimit,
        "its soft limit of 50 ms without a pause",
    );
}

#[test]
fn rlimit_fsize() {
    limit("rlimit-fsize", Mechanism::RlimitFsize, CauseId::FileSizeLimit, "allowed, 4 KiB");
}

/// Who gave it the limit is found by the words of that command.
#[test]
fn rlimit_by_prlimit() {
    limit(
        "rlimit-by-prlimit",
        Mechanism::RlimitCpu,
        CauseId::CpuLimit,
        "--cpu=1:1\", which seems to have set that limit",
    );
}

/// Who ran while the timer expired is nobody's business.
fn timer(scene: &str) {
    play(scene).killed(Mechanism::Timer, By::Itself, CauseId::TimerExpired);
}

#[test]
fn alarm() {
    timer("alarm");
}

/// A timer of this kind outlives execve(2): who has set it cannot be told from the program that it ends.
#[test]
fn alarm_across_exec() {
    let played = play("alarm-across-exec");
    played.killed(Mechanism::Timer, By::Itself, CauseId::TimerExpired);
}

#[test]
fn itimer_virtual() {
    timer("itimer-virtual");
}

#[test]
fn itimer_prof() {
    timer("itimer-prof");
}

#[test]
fn timer_kill() {
    timer("timer-kill");
}

#[test]
fn timer_term() {
    timer("timer-term");
}

#[test]
fn sigio() {
    play("sigio").killed(Mechanism::AsyncIo, By::Kernel, CauseId::AsyncIo);
}

#[test]
fn sigio_setsig() {
    play("sigio-setsig").killed(Mechanism::AsyncIo, By::Kernel, CauseId::AsyncIo);
}

#[test]
fn sigpipe() {
    play("sigpipe").killed(Mechanism::Pipe, By::Itself, CauseId::BrokenPipe);
}

#[test]
fn sigpipe_socket() {
    play("sigpipe-socket").killed(Mechanism::Pipe, By::Itself, CauseId::BrokenPipe);
}

/// The program that the kernel ran is not the victim's doing, though the victim was on the CPU.
#[test]
fn bpf_send_signal() {
    play("bpf-send-signal").killed(Mechanism::BpfSendSignal, By::Kernel, CauseId::BpfProgram);
}
