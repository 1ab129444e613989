//! The causes: each looks at the case and says whether it is the story, or why it cannot be.
//!
//! To add one: a function in a file of its family, a line in [`ALL`], a recorded case. All are asked;
//! the best proven one is the verdict, and those that are refuted are shown as ruled out.

mod batch;
mod before_tracing;
mod commands;
pub mod containers;
mod crashes;
mod daemons;
mod dependencies;
mod homed;
mod isolation;
mod kernel;
mod limits;
pub mod logind;
mod memory;
mod nothing;
mod own_doing;
mod shutdown;
mod sshd;
mod supervisors;
mod terminal;
mod time_limits;
mod told;
mod unit_commands;
mod unit_failures;
mod unit_helpers;
mod unit_main_process;
mod unit_oom;
mod unit_remedies;
mod unit_signalled;
mod unit_timeouts;
mod units;

pub use commands::KILLERS;
pub use crashes::described as fault_words;
pub use memory::awaits_word;
pub use sshd::tell_login_without_session;

use super::case::Case;
use super::verdict::{CauseId, DecidingSetting, Fix, Link};
use crate::evidence::Grade;

/// What a cause says of a case.
#[derive(Debug)]
pub enum Opinion {
    /// This is the story.
    Is(Box<Finding>),
    /// It cannot be the story.
    IsNot {
        /// Which cause.
        id: CauseId,
        /// What speaks against it.
        because: String,
    },
}

/// How specific a story is. Of two that both fit, the more specific one tells more.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord)]
pub enum Fit {
    /// Nothing better is known.
    Fallback,
    /// What the signal's sender and mechanism say by themselves.
    Mechanism,
    /// A known program or habit behind the sender.
    Program,
    /// Circumstances around the unit say why.
    Circumstance,
    /// An event was seen that is this very story.
    Exact,
}

/// A story that fits.
#[derive(Debug)]
pub struct Finding {
    /// Which.
    pub id: CauseId,
    /// How specific it is.
    pub fit: Fit,
    /// How well it is proven.
    pub grade: Grade,
    /// It in one or two sentences.
    pub explanation: String,
    /// The settings that decided.
    pub settings: Vec<DecidingSetting>,
    /// What led to the signal; the signals and the death itself are added to every chain.
    pub links: Vec<Link>,
    /// What to do, best first.
    pub fixes: Vec<Fix>,
    /// What could not be known.
    pub gaps: Vec<String>,
}

impl Finding {
    fn new(id: CauseId, fit: Fit, grade: Grade, explanation: impl Into<String>) -> Self {
        Self {
            id,
            fit,
            grade,
            explanation: explanation.into(),
            settings: Vec::new(),
            links: Vec::new(),
            fixes: Vec::new(),
            gaps: Vec::new(),
        }
    }

    fn settings(mut self, settings: impl IntoIterator<Item = Option<DecidingSetting>>) -> Self {
        self.settings.extend(settings.into_iter().flatten());
        self
    }

    fn links(mut self, links: impl IntoIterator<Item = Link>) -> Self {
        self.links.extend(links);
        self
    }

    /// More of the story: a sentence after a space, and its links.
    fn and_told(self, told: Option<(String, Vec<Link>)>) -> Self {
        let Some((sentence, links)) = told else { return self };
        let explanation = self.explanation.clone() + &sentence;
        Self { explanation, ..self }.links(links)
    }

    fn fixes(mut self, fixes: impl IntoIterator<Item = Fix>) -> Self {
        self.fixes.extend(fixes);
        self
    }

    fn gap(mut self, gap: impl Into<String>) -> Self {
        self.gaps.push(gap.into());
        self
    }

    // Always `Some`: it ends the chain of calls in a cause's function.
    #[expect(clippy::unnecessary_wraps, reason = "the type of a cause's answer")]
    fn answer(self) -> Option<Opinion> {
        Some(Opinion::Is(Box::new(self)))
    }
}

// Always `Some`: the type of a cause's answer.
#[expect(clippy::unnecessary_wraps, reason = "the type of a cause's answer")]
fn is_not(id: CauseId, because: impl Into<String>) -> Option<Opinion> {
    Some(Opinion::IsNot { id, because: because.into() })
}

/// One cause: looks at the case, answers or has nothing to say.
pub type Ask = fn(&Case<'_>) -> Option<Opinion>;

/// Every cause. The order decides only between equals.
pub const ALL: &[Ask] = &[
    logind::terminated,
    logind::idle,
    logind::kill_user_processes,
    logind::user_stopped,
    logind::ended_by_elogind,
    sshd::per_connection_unit,
    shutdown::system,
    shutdown::user_manager,
    unit_signalled::killed_by_client,
    unit_timeouts::stop_timeout,
    unit_timeouts::time_ran_out,
    unit_oom::oom_policy,
    units::stop_requested,
    units::reloaded,
    // A signal that was seen tells more than a job.
    told::by_parent,
    told::by_reload,
    told::by_server,
    units::exited_meanwhile,
    unit_commands::by_command,
    unit_main_process::exited_after_main,
    dependencies::dependency,
    unit_failures::failed,
    unit_main_process::main_process_exited,
    memory::kernel_oom,
    memory::oomd,
    memory::userspace_oom,
    daemons::udev,
    homed::home_image_gone,
    terminal::closed,
    terminal::leader_exited,
    terminal::interrupt,
    terminal::orphaned,
    // What a machine's init takes along is the machine's own end, where that was asked for.
    containers::machine,
    containers::unit_stopped,
    kernel::parent_died,
    kernel::pid_namespace,
    kernel::tracer_exited,
    limits::limits,
    kernel::others,
    crashes::crash,
    own_doing::abort,
    own_doing::seccomp,
    own_doing::pipe,
    own_doing::timer,
    own_doing::idle_shell,
    containers::stopped,
    containers::passed_on,
    batch::ended,
    supervisors::asked,
    supervisors::unasked,
    unit_helpers::of_start,
    time_limits::timeout,
    commands::user_command,
    commands::relayed_command,
    commands::process_signal,
    commands::injected,
    before_tracing::asked_before,
    before_tracing::waited_before,
    nothing::by_itself,
    nothing::unknown,
];
