//! The goals, and whether they are met.

use super::columns::Results;
use super::report::{added, ratio};

/// One goal.
pub struct Goal {
    /// What is wanted.
    pub text: &'static str,
    /// What came out.
    pub measured: String,
    /// Whether that is enough.
    pub met: bool,
}

const OURS: &str = "killtrace";
const PEER: &str = "sigsnoop";

/// Every goal for which there are numbers.
pub fn check(results: &Results) -> Vec<Goal> {
    let median = |quantity, tool| results.of(quantity, tool).median();
    let most = |quantity, tool| results.of(quantity, tool).largest();
    let share = |ours: Option<f64>, theirs: Option<f64>| Some(ours? / theirs?);
    let cost = |quantity, tool| added(results, quantity, tool).map(|(ns, _)| ns);
    let untold = most("untold", "flood-one").zip(most("untold", "flood-two"));
    let steady = results.soak.iter().skip(results.soak.len() / 3).map(|(_, kib)| *kib);
    let growth = steady.clone().max().zip(steady.min()).map(|(most, least)| most - least);
    #[expect(clippy::cast_precision_loss, reason = "KiB of memory")]
    let growth = growth.map(|kib| kib as f64 / 1024.0);
    [
        at_most(
            "ready within 2 times of sigsnoop's first event",
            share(median("ready", OURS), median("first-event", PEER)),
            2.0,
            "×",
        ),
        at_most(
            "filtered-out signals: at most 0.65 times what `sigsnoop -p` adds",
            share(cost("filtered", OURS), cost("filtered", PEER)),
            0.65,
            "×",
        ),
        at_most("fork+exec of bystanders: under 2 %", ratio(results, "storm", OURS), 1.02, "×"),
        at_most("the target's system calls: nothing", ratio(results, "calls", OURS), 1.03, "×"),
        at_most(
            "matching signals, all alike: at most a fifth of what sigsnoop adds",
            share(cost("matching", OURS), cost("matching", PEER)),
            0.2,
            "×",
        ),
        at_most(
            "matching signals, none like the other: at most a fifth",
            share(cost("changing", OURS), cost("changing", PEER)),
            0.2,
            "×",
        ),
        at_most(
            "CPU for an event that is folded: 1000 ns",
            median("cpu-folded", OURS),
            1000.0,
            "ns",
        ),
        at_most(
            "CPU for an event that is shown, as text: less than sigsnoop's",
            share(median("cpu-text", OURS), median("cpu-shown", PEER)),
            1.0,
            "×",
        ),
        at_most(
            "CPU for an event that is shown, as JSON with all facts: less than sigsnoop's",
            share(median("cpu-shown", OURS), median("cpu-shown", PEER)),
            1.0,
            "×",
        ),
        at_most("floods: no loss untold", untold.map(|(one, two)| one + two), 0.0, "signals"),
        at_most("memory steady: under 25 MiB", median("memory", OURS), 25.0, "MiB"),
        at_most("memory under load: grows by less than 1 MiB", growth, 1.0, "MiB"),
        at_most("idle CPU: under 0.1 %", median("idle", OURS), 0.1, "%"),
    ]
    .into_iter()
    .flatten()
    .collect()
}

fn at_most(text: &'static str, value: Option<f64>, limit: f64, unit: &str) -> Option<Goal> {
    let value = value?;
    Some(Goal { text, measured: format!("{value:.2} {unit}"), met: value <= limit })
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn goals_are_met_or_missed_and_left_out_without_numbers() {
        let mut results = Results::default();
        assert!(check(&results).is_empty());
        results.push("memory", OURS, 26.0);
        results.push("idle", OURS, 0.05);
        let met: Vec<bool> = check(&results).iter().map(|goal| goal.met).collect();
        assert_eq!(met, [false, true]);
    }
}
