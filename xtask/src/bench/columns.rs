//! What is measured, one quantity after the other.

use std::collections::BTreeMap;
use std::path::PathBuf;
use std::process::Command;
use std::thread::sleep;
use std::time::{Duration, Instant};

use anyhow::Result;

use super::load::Load;
use super::numbers::Samples;
use super::process::{self, Runs, Statistics};
use super::run::{Running, number};
use super::tools::{self, Heed, Tool};
use super::{Arguments, say};

/// Nothing is attached.
pub const UNTRACED: &str = "untraced";
/// A program that does nothing is attached.
pub const EMPTY: &str = "an empty program";

/// Quantities by name and tracer.
#[derive(Debug, Default)]
pub struct Results {
    samples: BTreeMap<(&'static str, String), Samples>,
    /// Cost of killtrace's programs in the kernel, by hook.
    pub hooks: BTreeMap<String, Samples>,
    /// Memory of killtrace while it was soaked: minutes, KiB.
    pub soak: Vec<(f64, u64)>,
    /// What became of the signals of the soak.
    pub soaked: Soaked,
}

/// Signals of the soak: sent, told, and what was lost of them and of the rest by the loss records' words.
#[derive(Debug, Default)]
pub struct Soaked {
    /// Sent.
    pub sent: u64,
    /// In killtrace's own count.
    pub seen: u64,
    /// Losses that it told.
    pub lost: BTreeMap<String, u64>,
}

impl Results {
    /// Adds a sample.
    pub fn push(&mut self, quantity: &'static str, tool: &str, sample: f64) {
        self.samples.entry((quantity, tool.to_owned())).or_default().push(sample);
    }

    /// The samples of a quantity.
    pub fn of(&self, quantity: &'static str, tool: &str) -> Samples {
        self.samples.get(&(quantity, tool.to_owned())).cloned().unwrap_or_default()
    }
}

/// The run.
pub struct Bench<'a> {
    /// What is measured, killtrace first.
    pub tools: Vec<Tool>,
    /// The load.
    pub load: Load,
    /// Where outputs go.
    pub directory: PathBuf,
    /// How much to measure.
    pub arguments: &'a Arguments,
    /// What came out.
    pub results: Results,
}

/// Signals of which each is recorded: no more than killtrace's ring has room for, or the cost of those that it only
/// counts as lost would be taken for theirs.
const CHANGING: u64 = 2000;

/// A load whose cost is taken with and without each tracer: its name, how often, what the tracer heeds.
const COSTS: [(&str, &str, u64, Heed); 6] = [
    ("matching", "ignored", 10_000, Heed::Signals),
    ("changing", "changing", CHANGING, Heed::Signals),
    ("caught", "handled", 4000, Heed::Signals),
    ("filtered", "other", 10_000, Heed::Others),
    ("calls", "calls", 200_000, Heed::Signals),
    ("storm", "storm", 100, Heed::Signals),
];

impl Bench<'_> {
    /// Takes everything.
    ///
    /// # Errors
    /// Where the load or a tracer does not do what it is asked for.
    pub fn measure(&mut self) -> Result<()> {
        for round in 1..=self.arguments.rounds {
            say(&format!("round {round} of {}", self.arguments.rounds))?;
            self.untraced()?;
            for tool in self.tools.clone() {
                self.begin(&tool)?;
                self.costs(&tool, Heed::Signals)?;
                self.costs(&tool, Heed::Others)?;
            }
            self.shown_to_people()?;
            self.hooks()?;
        }
        for _ in 0..self.arguments.rounds.min(3) {
            for tool in self.tools.clone() {
                say(&format!("floods at {}", tool.name))?;
                self.flood(&tool, "flood-one", "handled")?;
                self.flood(&tool, "flood-two", "two-senders")?;
            }
            self.crowd()?;
            self.storm()?;
        }
        self.soak()
    }

    fn untraced(&mut self) -> Result<()> {
        for (quantity, load, count, _) in COSTS {
            let time = self.load.time(load, count)?;
            self.results.push(quantity, UNTRACED, time);
        }
        let time = self.load.time("floor", 10_000)?;
        self.results.push("filtered", EMPTY, time);
        Ok(())
    }

    /// How long until it says that it traces, and until its first event is out.
    fn begin(&mut self, tool: &Tool) -> Result<()> {
        let command = line_buffered(tool, tool.command(self.load.aim, Heed::Signals));
        let mut running = Running::start(tool, command, &self.directory)?;
        let begun = running.begins(&mut self.load, 1)?;
        running.end()?;
        self.results.push("ready", tool.name, begun.ready);
        self.results.push("first-event", tool.name, begun.first_event);
        Ok(())
    }

    fn costs(&mut self, tool: &Tool, heed: Heed) -> Result<()> {
        if heed == Heed::Others && tool.at_delivery {
            return Ok(());
        }
        let running = Running::attached(tool, &mut self.load, heed, &self.directory)?;
        let pid = running.pid();
        if heed == Heed::Signals {
            sleep(Duration::from_millis(300));
            self.results.push("memory", tool.name, mib(process::status_kib(pid, "VmRSS")));
            // What is looked up behind the start is no idling.
            sleep(Duration::from_secs(2));
            let (start, before) = (Instant::now(), process::cpu_ns(pid));
            sleep(Duration::from_secs(2));
            let used = per(process::cpu_ns(pid) - before, 1) / start.elapsed().as_secs_f64();
            self.results.push("idle", tool.name, used / 1e7);
        }
        for (quantity, load, count, wants) in COSTS {
            if wants != heed || tool.at_delivery && ["matching", "changing"].contains(&quantity) {
                continue;
            }
            let count = if tool.at_delivery { count / 10 } else { count };
            let before = process::cpu_ns(pid);
            let time = self.load.time(load, count)?;
            self.results.push(quantity, tool.name, time);
            // What is still on its way is read in its next round.
            sleep(Duration::from_millis(150));
            let used = per(process::cpu_ns(pid).saturating_sub(before), count);
            match quantity {
                "matching" => self.results.push("cpu-folded", tool.name, used),
                "changing" => self.results.push("cpu-shown", tool.name, used),
                "caught" => self.results.push("cpu-caught", tool.name, used),
                _ => {}
            }
        }
        running.end().map(drop)
    }

    /// What a signal that is shown costs where a person reads it, as the peers' lines are read.
    fn shown_to_people(&mut self) -> Result<()> {
        let tool = tools::killtrace_for_people(&self.tools[0].program);
        let running = Running::attached(&tool, &mut self.load, Heed::Signals, &self.directory)?;
        let (pid, count) = (running.pid(), CHANGING);
        let before = process::cpu_ns(pid);
        self.load.time("changing", count)?;
        sleep(Duration::from_millis(150));
        let used = per(process::cpu_ns(pid).saturating_sub(before), count);
        self.results.push("cpu-text", tool.name, used);
        running.end().map(drop)
    }

    /// What the kernel itself counts for each of killtrace's programs.
    fn hooks(&mut self) -> Result<()> {
        let tool = self.tools[0].clone();
        let running = Running::attached(&tool, &mut self.load, Heed::Signals, &self.directory)?;
        let statistics = Statistics::on()?;
        let loads = [
            ("matching signal", "changing", CHANGING, "signal_generate"),
            ("filtered signal", "other", 20_000, "signal_generate"),
            ("fork", "storm", 100, "sched_process_fork"),
            ("exec", "storm", 100, "sched_process_exec"),
            ("exit", "storm", 100, "sched_process_exit"),
        ];
        for (name, load, count, hook) in loads {
            let before = process::programs(running.pid());
            self.load.time(load, count)?;
            let after = process::programs(running.pid());
            let of = |all: &BTreeMap<String, Runs>| all.get(hook).copied().unwrap_or_default();
            let (before, after) = (of(&before), of(&after));
            let runs = after.count.saturating_sub(before.count);
            if runs > 0 {
                let ns = per(after.ns.saturating_sub(before.ns), runs);
                self.results.hooks.entry(format!("{hook}: {name}")).or_default().push(ns);
            }
        }
        drop(statistics);
        running.end().map(drop)
    }

    /// As many signals as can be sent; how many of them are not told.
    fn flood(&mut self, tool: &Tool, quantity: &'static str, load: &str) -> Result<()> {
        // A hundredth is enough for what takes a hundred times as long.
        let count =
            if tool.at_delivery { self.arguments.flood / 100 } else { self.arguments.flood };
        let mut command = tool.command(self.load.aim, Heed::Signals);
        if quantity == "flood-two" && tool.name == "sigsnoop" {
            // Of every sender.
            command = Command::new(&tool.program);
        }
        let mut running = Running::start(tool, command, &self.directory)?;
        running.begins(&mut self.load, 20)?;
        sleep(Duration::from_millis(200));
        let before = if tool.is_ours() { 0 } else { Running::events(&running.text(), tool) };
        let cpu = process::cpu_ns(running.pid());
        self.load.ask(load, count)?;
        sleep(Duration::from_millis(700));
        let used = per(process::cpu_ns(running.pid()).saturating_sub(cpu), count);
        let peak = mib(process::status_kib(running.pid(), "VmHWM"));
        let text = running.end()?;
        let seen = Running::events(&text, tool).saturating_sub(before);
        let lost = 100.0 * (1.0 - per(seen, count)).max(0.0);
        self.results.push(quantity, tool.name, lost);
        if quantity == "flood-one" {
            self.results.push("cpu-flood", tool.name, used);
        }
        self.results.push("peak", tool.name, peak);
        if tool.is_ours() {
            // What is lost has to be told.
            let told = number(&text, "\"losses\":").unwrap_or(0);
            let untold = count.saturating_sub(seen).saturating_sub(told);
            self.results.push("untold", quantity, per(untold, 1));
        }
        Ok(())
    }

    /// Thousands of processes, killed by one write: is there a verdict for each?
    fn crowd(&mut self) -> Result<()> {
        let tool = self.tools[0].clone();
        let count = self.arguments.crowd;
        let path = self.load.ask("crowd", count)?;
        let mut command = Command::new(&tool.program);
        command.args(["--target", &format!("cgroup:{path}"), "--format", "json"]);
        let mut running = Running::start(&tool, command, &self.directory)?;
        running.says("\"type\":\"header\"")?;
        sleep(Duration::from_millis(300));
        self.load.ask("kill-crowd", count)?;
        sleep(Duration::from_secs(2));
        let peak = mib(process::status_kib(running.pid(), "VmHWM"));
        let text = running.end()?;
        let right = text.lines().filter(|line| {
            line.starts_with("{\"type\":\"death\"")
                && line.contains("\"mechanism\":\"cgroup-kill\"")
                && line.contains("kt-sender")
        });
        self.results.push("crowd-right", tool.name, per(right.count() as u64, 1));
        self.results.push(
            "crowd-lost",
            tool.name,
            per(number(&text, "\"losses\":").unwrap_or(0), 1),
        );
        self.results.push("crowd-peak", tool.name, peak);
        Ok(())
    }

    /// A storm of processes beside a target that is then killed: is the verdict right?
    fn storm(&mut self) -> Result<()> {
        let tool = self.tools[0].clone();
        let running = Running::attached(&tool, &mut self.load, Heed::Signals, &self.directory)?;
        let start = Instant::now();
        self.load.ask("storm", 2000)?;
        let rate = 2000.0 / start.elapsed().as_secs_f64();
        self.load.die()?;
        sleep(Duration::from_millis(600));
        let text = running.text();
        let right = text.lines().any(|line| {
            line.starts_with("{\"type\":\"death\"")
                && line.contains("\"signal\":\"SIGTERM\"")
                && line.contains("kt-sender")
        });
        self.results.push("storm-rate", tool.name, rate);
        self.results.push("storm-right", tool.name, f64::from(u8::from(right)));
        self.results.push(
            "storm-lost",
            tool.name,
            per(number(&text, "\"losses\":").unwrap_or(0), 1),
        );
        Ok(())
    }

    /// All kinds of load for some minutes: does memory grow?
    fn soak(&mut self) -> Result<()> {
        let tool = self.tools[0].clone();
        say(&format!("{} minutes of load", self.arguments.soak))?;
        let running = Running::attached(&tool, &mut self.load, Heed::Signals, &self.directory)?;
        let (start, length) = (Instant::now(), Duration::from_secs(60 * self.arguments.soak));
        let mut next = Duration::ZERO;
        while start.elapsed() < length {
            for (load, count) in [("storm", 200), ("changing", 2000), ("handled", 20_000)] {
                self.load.ask(load, count)?;
            }
            self.results.soaked.sent += 22_000;
            if start.elapsed() >= next {
                let memory = process::status_kib(running.pid(), "VmRSS");
                self.results.soak.push((start.elapsed().as_secs_f64() / 60.0, memory));
                next += length / 12;
            }
        }
        // Losses are looked at every second.
        sleep(Duration::from_millis(1500));
        let text = running.end()?;
        let soaked = &mut self.results.soaked;
        soaked.seen = Running::events(&text, &tool);
        for (what, dropped) in text.lines().filter_map(loss) {
            *soaked.lost.entry(what).or_default() += dropped;
        }
        Ok(())
    }
}

/// What a loss record tells: in words, and how many.
fn loss(line: &str) -> Option<(String, u64)> {
    if !line.starts_with("{\"type\":\"loss\"") {
        return None;
    }
    let record: serde_json::Value = serde_json::from_str(line).ok()?;
    let words = record["detail"].as_str().or_else(|| record["where"].as_str())?;
    Some((words.to_owned(), record["dropped"].as_u64()?))
}

/// With its output line by line, where the C library would keep a page of it back.
fn line_buffered(tool: &Tool, command: Command) -> Command {
    if tool.is_ours() || tool.at_delivery {
        return command;
    }
    let mut wrapped = Command::new("stdbuf");
    wrapped.arg("-oL").arg(command.get_program()).args(command.get_args());
    wrapped
}

#[expect(clippy::cast_precision_loss, reason = "counts and nanoseconds far below 2^52")]
fn per(amount: u64, count: u64) -> f64 {
    amount as f64 / count as f64
}

fn mib(kib: u64) -> f64 {
    per(kib, 1024)
}
