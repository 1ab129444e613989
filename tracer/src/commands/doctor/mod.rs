//! `killtrace doctor`: what this machine offers, and what each missing thing costs.

mod self_test;

use std::collections::BTreeMap;
use std::time::Duration;

use anyhow::Context as _;
use tokio::sync::mpsc::unbounded_channel;

use crate::cli::ReportArgs;
use crate::kernel::{AttachError, HOOKS, Hook, Kernel, Selection};
use crate::report::ReportForm;
use crate::report::checkup::{Check, State, show, widest};
use crate::system::{ATTACHED, CONNECTING, Options, Witnesses, machine};

use super::Failure;
use super::output::{Output, Reader};

/// How long the sources of userspace may take to answer.
const SOURCES: Duration = Duration::from_secs(3);

/// What each source of userspace is for, and what is lost without it.
const SOURCES_ARE_FOR: &[(&str, &str, &str)] = &[
    (
        "bus",
        "who asked the service manager or logind for what",
        "who asked for a stop or ended a session is known only as far as the journal tells",
    ),
    (
        "journal",
        "what sshd, logind and the service manager say about an end",
        "timeouts, watchdogs, disconnects and the OOM policy are concluded rather than reported",
    ),
    (
        "kernel-log",
        "the kernel's own words about out-of-memory kills",
        "their limits and sizes stay unknown",
    ),
    ("systemd", "units, their jobs and their settings", "why a unit was stopped stays unknown"),
    (
        "logind",
        "login sessions, users and lingering",
        "whose session ended, and from where, stays unknown",
    ),
];

/// Looks at everything and tells; gives 0 where tracing works, and with `self_test` every verdict too.
///
/// # Errors
/// Where the report cannot be written.
pub fn run(self_test: bool, args: &ReportArgs) -> Result<u8, Failure> {
    let mut output = Output::open(args)?;
    let options = *output.options();
    let mut checks = kernel();
    checks.extend(system()?);
    let text = options.form == ReportForm::Text;
    if text && output.text(&format!("{}\n\n", heading()))? == Reader::Gone {
        return Ok(0);
    }
    let columns = widest(checks.iter().map(|check| check.name.as_str()));
    output.text(&show(&checks, columns, &options))?;
    let mut works = !checks.iter().any(|check| check.state == State::Fails);
    if self_test && works {
        if text {
            output.text("\n")?;
        }
        let columns = widest(self_test::SCENARIOS.iter().map(|test| test.name));
        for test in self_test::SCENARIOS {
            let check = test.run();
            works &= check.state != State::Fails;
            // One by one: each takes a while.
            if output.text(&show(&[check], columns, &options))? == Reader::Gone {
                return Ok(0);
            }
        }
    }
    if text {
        output.text(&format!("\n{}\n", conclusion(&checks, self_test, works)))?;
    }
    Ok(u8::from(!works))
}

fn heading() -> String {
    let machine = machine::Machine::here();
    let systemd = machine::systemd_version()
        .map_or_else(|| "without systemd".to_owned(), |version| format!("systemd {version}"));
    let version = env!("CARGO_PKG_VERSION");
    let text =
        format!("killtrace {version} on Linux {} ({}), {systemd}", machine.kernel, machine.arch);
    crate::report::escape::terminal(&text).into_owned()
}

fn conclusion(checks: &[Check], self_test: bool, works: bool) -> String {
    let missing = checks.iter().filter(|check| check.state == State::Missing).count();
    match (works, missing) {
        (false, _) if checks.iter().any(|check| check.state == State::Fails) => {
            "Tracing does not work here. `killtrace replay` does.".to_owned()
        }
        (false, _) => "Tracing works here, but not every verdict is right.".to_owned(),
        (true, 0) if self_test => "Tracing works here, and every verdict is right.".to_owned(),
        (true, 0) => "Tracing works here.".to_owned(),
        (true, many) => {
            let right = if self_test { ", and every verdict is right" } else { "" };
            let are = if many == 1 { "is" } else { "are" };
            format!(
                "Tracing works here{right}. {many} of {} {are} missing; verdicts tell what they lack.",
                checks.len()
            )
        }
    }
}

/// Attaches everything for a moment.
fn kernel() -> Vec<Check> {
    let nothing = Selection {
        all: true,
        follow: true,
        names: vec!["killtrace".to_owned()],
        ..Selection::default()
    };
    let works = |name: &str, detail: &str| check(name, State::Works, detail);
    match Kernel::attach(&nothing, None) {
        Ok(kernel) => {
            let mut checks = vec![
                works("capabilities", "enough to load kernel programs"),
                works("BTF", "where the running kernel keeps what"),
            ];
            checks.extend(hooks(kernel.hooks()));
            checks
        }
        Err(error) => {
            let name = match &error {
                AttachError::NotPermitted { .. } | AttachError::UserNamespace => "capabilities",
                AttachError::NoBtf { .. }
                | AttachError::BadBtf { .. }
                | AttachError::MissingFields { .. } => "BTF",
                _ => "kernel",
            };
            vec![check(name, State::Fails, &error.to_string())]
        }
    }
}

fn check(name: &str, state: State, detail: &str) -> Check {
    Check { name: name.to_owned(), state, detail: detail.to_owned(), cost: None, remedy: None }
}

/// The hooks, as they were attached.
fn hooks(states: &BTreeMap<String, String>) -> Vec<Check> {
    let check = |hook: &Hook| {
        let state = states.get(hook.tracepoint).map_or("not tried", String::as_str);
        let works = state == ATTACHED;
        Check {
            name: hook.tracepoint.to_owned(),
            state: match (works, hook.required) {
                (true, _) => State::Works,
                (false, true) => State::Fails,
                (false, false) => State::Missing,
            },
            detail: if works { hook.shows.to_owned() } else { state.to_owned() },
            cost: Some(hook.without.to_owned()),
            remedy: None,
        }
    };
    HOOKS.iter().map(check).collect()
}

/// Listens to everything for a moment.
fn system() -> Result<Vec<Check>, Failure> {
    let runtime = tokio::runtime::Builder::new_current_thread()
        .enable_all()
        .build()
        .context("the system refused an event loop")?;
    let states = runtime.block_on(async {
        // What is heard meanwhile is not asked for.
        let (sender, _heard) = unbounded_channel();
        let witnesses = Witnesses::start(sender, Options::default())?;
        witnesses.ready(SOURCES).await;
        Ok::<_, anyhow::Error>(witnesses.sources())
    })?;
    runtime.shutdown_background();
    Ok(states.iter().map(|(name, state)| source(name, state)).collect())
}

fn source(name: &str, state: &str) -> Check {
    let known = SOURCES_ARE_FOR.iter().find(|(known, ..)| *known == name);
    let works = state == ATTACHED;
    let detail = match (works, state) {
        (true, _) => known.map_or("listens", |(_, shows, _)| shows),
        (false, CONNECTING) => "it does not answer",
        (false, why) => why,
    };
    Check {
        name: name.to_owned(),
        state: if works { State::Works } else { State::Missing },
        detail: detail.to_owned(),
        cost: known.map(|(.., cost)| (*cost).to_owned()),
        remedy: None,
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_missing_source_tells_its_cost() {
        let check = source("journal", "journalctl is not installed");
        assert_eq!(
            (check.state, check.detail.as_str()),
            (State::Missing, "journalctl is not installed")
        );
        assert!(check.cost.is_some_and(|cost| cost.contains("timeouts")));
        assert_eq!(source("bus", ATTACHED).state, State::Works);
        assert_eq!(source("bus of user 1000", CONNECTING).detail, "it does not answer");
    }

    #[test]
    fn hooks_are_judged_by_the_table() {
        let mut states: BTreeMap<_, _> =
            HOOKS.iter().map(|hook| (hook.tracepoint.to_owned(), ATTACHED.to_owned())).collect();
        assert!(hooks(&states).iter().all(|check| check.state == State::Works));
        for (name, state) in [("mark_victim", State::Missing), ("signal_generate", State::Fails)] {
            states.insert(name.to_owned(), "not in this kernel".to_owned());
            let checks = hooks(&states);
            let check = checks.iter().find(|check| check.name == name).expect("the hook");
            assert_eq!((check.state, check.detail.as_str()), (state, "not in this kernel"));
        }
    }

    #[test]
    fn the_conclusion_fits_the_checks() {
        let missing = [source("bus", "no bus"), source("journal", ATTACHED)];
        assert!(conclusion(&missing, false, true).contains("1 of 2 is missing"));
        assert!(conclusion(&missing[1..], true, true).contains("every verdict is right"));
        assert!(conclusion(&missing, true, false).contains("not every verdict"));
    }
}
