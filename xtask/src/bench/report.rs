//! The document.

use std::fmt::Write as _;
use std::fs;

use super::columns::{EMPTY, Results, UNTRACED};
use super::machine::Facts;
use super::{Arguments, DOCUMENT, goals};
use crate::cargo::workspace;

/// What stands behind this line is written by hand, and kept.
const NOTES: &str = "## What the numbers mean";

/// The tracers, in the order of the tables.
const TOOLS: [&str; 5] = ["killtrace", "sigsnoop", "bpftrace", "perf trace", "strace"];

/// The whole text.
pub fn document(results: &Results, machine: &Facts, arguments: &Arguments) -> String {
    let mut text = String::from(HEAD);
    for (name, value) in &machine.lines {
        line(&mut text, &format!("| {name} | {value} |"));
    }
    let rounds = arguments.rounds;
    line(
        &mut text,
        &format!("\n{rounds} rounds; median ± half of the distance between the quartiles."),
    );
    text.push_str("\n## Goals\n\n| goal | measured | |\n|---|---|---|\n");
    for goal in goals::check(results) {
        let met = if goal.met { "met" } else { "**missed**" };
        line(&mut text, &format!("| {} | {} | {met} |", goal.text, goal.measured));
    }
    start(&mut text, results);
    costs(&mut text, results);
    floods(&mut text, results, arguments);
    reader(&mut text, results);
    kernel(&mut text, results);
    soak(&mut text, results);
    text.push('\n');
    text.push_str(&notes());
    text
}

const HEAD: &str = "\
# Benchmarks

Written by `cargo xtask bench` (root; `--rounds`, `--flood`, `--crowd`, `--soak` say how much). It builds
killtrace as it is released, starts one sender and one target, and measures every tracer on the path on
those two, in turn, round by round. Peers that are missing are left out: Debian has them as `strace`,
`libbpf-tools` (sigsnoop), `bpftrace` and `linux-perf`.

| | |
|---|---|
";

fn line(text: &mut String, what: &str) {
    text.push_str(what);
    text.push('\n');
}

fn present(results: &Results) -> Vec<&'static str> {
    let here = |tool: &&str| results.of("first-event", tool).median().is_some();
    TOOLS.into_iter().filter(here).collect()
}

fn start(text: &mut String, results: &Results) {
    text.push_str(
        "\n## Start\n\nMilliseconds from exec: until it says that it traces (killtrace's header, with every \
         hook attached), and until its first event is written.\n\n\
         | | ready | first event |\n|---|---|---|\n",
    );
    for tool in present(results) {
        let ready =
            if tool == TOOLS[0] { results.of("ready", tool).show(0) } else { "–".to_owned() };
        line(text, &format!("| {tool} | {ready} | {} |", results.of("first-event", tool).show(0)));
    }
}

fn costs(text: &mut String, results: &Results) {
    text.push_str(
        "\n## Cost to those who are watched\n\nNanoseconds that a signal takes longer for its sender: \
         signals that the target ignores, all alike (*same*), none like the one before (*changing*), \
         signals that wake the target up (*caught*), and signals that the tracer has to filter out. The \
         target's own system calls, and fork, exec and exit of bystanders, as times of the untraced. The empty \
         program is on killtrace's tracepoint and does nothing: the floor.\n\n\
         | | same | changing | caught | filtered out | system call | fork+exec |\n\
         |---|---|---|---|---|---|---|\n",
    );
    let mut row = format!("| {UNTRACED} |");
    for quantity in ["matching", "changing", "caught", "filtered", "calls", "storm"] {
        let _ = write!(row, " {} |", results.of(quantity, UNTRACED).show(0));
    }
    line(text, &row);
    for tool in present(results).into_iter().chain([EMPTY]) {
        let mut row = format!("| {tool} |");
        for quantity in ["matching", "changing", "caught", "filtered"] {
            let cell = added(results, quantity, tool)
                .map_or("–".to_owned(), |(ns, spread)| format!("{ns:+.0} ± {spread:.0}"));
            let _ = write!(row, " {cell} |");
        }
        for quantity in ["calls", "storm"] {
            let cell =
                ratio(results, quantity, tool).map_or("–".to_owned(), |it| format!("×{it:.2}"));
            let _ = write!(row, " {cell} |");
        }
        line(text, &row);
    }
}

/// What a tracer adds to a load, and its spread, in nanoseconds.
pub fn added(results: &Results, quantity: &'static str, tool: &str) -> Option<(f64, f64)> {
    let (with, without) = (results.of(quantity, tool), results.of(quantity, UNTRACED));
    Some((with.median()? - without.median()?, with.spread()?))
}

/// How many times as long a load takes.
pub fn ratio(results: &Results, quantity: &'static str, tool: &str) -> Option<f64> {
    Some(results.of(quantity, tool).median()? / results.of(quantity, UNTRACED).median()?)
}

fn floods(text: &mut String, results: &Results, arguments: &Arguments) {
    let (flood, crowd) = (arguments.flood, arguments.crowd);
    let _ = write!(
        text,
        "\n## Floods\n\nOf {flood} caught signals sent as fast as possible, the share that is not told \
         (strace: of {}). killtrace tells how many it lost; *untold* are those that it does not.\n\n\
         | | one sender | two senders | peak memory, MiB |\n|---|---|---|---|\n",
        flood / 100
    );
    for tool in present(results) {
        let cell = |quantity| results.of(quantity, tool).show(1);
        let peak = results.of("peak", tool).largest().unwrap_or(0.0);
        let (one, two) = (cell("flood-one"), cell("flood-two"));
        line(text, &format!("| {tool} | {one} % | {two} % | {peak:.0} |"));
    }
    let ours = |quantity| results.of(quantity, TOOLS[0]);
    let most = |quantity| ours(quantity).largest().unwrap_or(0.0);
    let untold = |flood: &str| results.of("untold", flood).largest().unwrap_or(0.0);
    let _ = write!(
        text,
        "\n- untold: {:.0} with one sender, {:.0} with two\n\
         - {crowd} processes killed by one `cgroup.kill`: {} right verdicts, {:.0} records lost, peak memory \
         {:.0} MiB\n\
         - a target killed after 2000 times fork+exec beside it, at {} a second: its verdict is right in {:.0} % of \
         the rounds, {:.0} records lost\n",
        untold("flood-one"),
        untold("flood-two"),
        ours("crowd-right").show(0),
        most("crowd-lost"),
        most("crowd-peak"),
        ours("storm-rate").show(0),
        100.0 * ours("storm-right").median().unwrap_or(0.0),
        most("storm-lost"),
    );
}

fn reader(text: &mut String, results: &Results) {
    text.push_str(
        "\n## The tracer itself\n\nCPU time of the tracer for each signal, in nanoseconds: all alike \
         (killtrace folds them), none like the one before (each is shown, killtrace's as JSON), and in the \
         flood. Memory, and CPU while nothing happens, from the third second on.\n\n\
         | | same | changing | flood | memory, MiB | idle CPU, % |\n|---|---|---|---|---|---|\n",
    );
    for tool in present(results) {
        let mut row = format!("| {tool} |");
        for quantity in ["cpu-folded", "cpu-shown", "cpu-flood"] {
            let _ = write!(row, " {} |", results.of(quantity, tool).show(0));
        }
        let _ = write!(row, " {} |", results.of("memory", tool).show(1));
        let _ = write!(row, " {} |", results.of("idle", tool).show(2));
        line(text, &row);
    }
    let for_people = results.of("cpu-text", TOOLS[0]);
    if for_people.median().is_some() {
        let _ = write!(
            text,
            "\nOf killtrace's lines for people, none like the one before, each takes {} ns.\n",
            for_people.show(0)
        );
    }
}

fn kernel(text: &mut String, results: &Results) {
    text.push_str(
        "\n## killtrace's programs in the kernel\n\nNanoseconds a run, as the kernel counts them \
         (`kernel.bpf_stats_enabled`; the counting itself costs some tens).\n\n| | |\n|---|---|\n",
    );
    for (hook, samples) in &results.hooks {
        line(text, &format!("| {hook} | {} |", samples.show(0)));
    }
}

fn soak(text: &mut String, results: &Results) {
    text.push_str(
        "\n## Memory and losses over time\n\nUnder fork+exec, changing and repeated signals without a pause.\n\n\
         | minute | MiB |\n|---|---|\n",
    );
    for (minute, kib) in &results.soak {
        line(text, &format!("| {minute:.1} | {} |", kib / 1024));
    }
    let soaked = &results.soaked;
    let _ = write!(text, "\n- signals: {} sent meanwhile, {} told; lost", soaked.sent, soaked.seen);
    for (what, count) in &soaked.lost {
        let _ = write!(text, ", {what}: {count}");
    }
    line(text, if soaked.lost.is_empty() { ": nothing" } else { "" });
}

/// What is written by hand, as it stands in the document now.
fn notes() -> String {
    let before = fs::read_to_string(workspace().join(DOCUMENT)).unwrap_or_default();
    before.find(NOTES).map_or_else(|| format!("{NOTES}\n"), |at| before[at..].to_owned())
}
