//! A request that names no unit: `systemctl reload-or-restart --marked` has whatever is marked for it restarted. The
//! packages of Fedora, openSUSE and RHEL do so when they have been upgraded (`src/rpm/systemd-update-helper.in`, which
//! newer versions have as a program, `src/update-helper`), and a hook of Arch's.

use super::{Request, command};
use crate::evidence::{Manager, S};
use crate::story::case::Case;
use crate::story::manager::calls::{calls_before, likeliest_call};
use crate::story::unit_names::Names;
use crate::story::wishes::is_for_marked;

/// How long before that a unit may have been marked: all of a transaction's packages are, and that may take its time.
const MARKED: u64 = 3600 * S;

impl<'a> Request<'a> {
    /// The request to restart what is marked for that, which came before `at_ns`.
    pub fn for_marked(case: &Case<'a>, manager: Manager, at_ns: u64) -> Option<Self> {
        let calls = calls_before(case.world, manager, at_ns)
            .filter(|call| call.value.member == "EnqueueMarkedJobs");
        let by_call =
            likeliest_call(calls, None, at_ns).map(|seen| Self::of_call(case, seen, None));
        by_call.filter(|request| request.process.is_some()).or_else(|| {
            let (process, _) =
                command(case, manager, at_ns, |_, args| is_for_marked(args, manager))?;
            Some(Self::by_command(case, process, manager, at_ns))
        })
    }
}

/// Whether somebody was seen to mark this unit before `at_ns`: `systemctl set-property UNIT Markers=+needs-restart`, or
/// `systemd-update-helper mark-restart-system-units UNIT`.
pub fn was_marked(case: &Case<'_>, manager: Manager, unit: &str, at_ns: u64) -> bool {
    let names = Names::of(case.world, manager, unit);
    case.world.people.iter().any(|(_, known)| {
        let args = known.cmdline.as_deref().unwrap_or_default();
        let in_time = known.exec_ns.is_some_and(|at| at <= at_ns && at + MARKED >= at_ns);
        let marker = |arg: &String| arg.starts_with("Markers=") && arg.contains("needs-restart");
        let marks = match known.comm.as_deref() {
            Some("systemctl") => {
                args.iter().any(|arg| arg == "set-property") && args.iter().any(marker)
            }
            // Cut by the kernel.
            Some("systemd-update-") => args.iter().any(|arg| arg.starts_with("mark-restart-")),
            _ => false,
        };
        in_time && marks && args.iter().skip(1).any(|arg| names.are_meant_by(arg))
    })
}
