//! The lines in which a service manager says how far a unit is: `Started NAME - DESCRIPTION.`, where the description is
//! the administrator's own words. By `StatusUnitFormat=` the name or the description stands there alone (systemd-system.conf(5)).

/// What such lines begin with (`src/core/job.c`, and `.status_message_formats` of each type of unit). What begins as a
/// shorter one does stands before it.
const BEGINNINGS: &[&str] = &[
    "Activated swap ",
    "Activating swap ",
    "Closed ",
    "Condition check resulted in ",
    "Created slice ",
    "Deactivated swap ",
    "Deactivating swap ",
    "Dependency failed for ",
    "Expecting device ",
    "Failed to activate swap ",
    "Failed to listen on ",
    "Failed to mount ",
    "Failed to start ",
    "Failed unmounting ",
    "Finished ",
    "Found device ",
    "Listening on ",
    "Mounted ",
    "Mounting ",
    "Reached target ",
    "Reloaded ",
    "Reloading ",
    "Removed slice ",
    "Set up automount ",
    "Started ",
    "Starting ",
    "Stopped (with error) ",
    "Stopped target ",
    "Stopped ",
    "Stopping ",
    "Timed out starting ",
    "Timed out stopping ",
    "Timed out waiting for device ",
    "Unmounted ",
    "Unmounting ",
    "Unset automount ",
];
/// The line that begins with the unit itself.
const SKIPPED: &str = " was skipped because ";
/// What they end with.
const ENDS: &[&str] = &[" being skipped.", SKIPPED, "...", "."];

/// Where the description of that unit stands in a line, if it is one of these and has one.
pub fn description(message: &str, unit: &str) -> Option<std::ops::Range<usize>> {
    let begin =
        BEGINNINGS.iter().find(|begin| message.starts_with(**begin)).map(|begin| begin.len());
    let begin = begin.or_else(|| message.contains(SKIPPED).then_some(0))?;
    let length = |end: &&str| {
        let at = message.rfind(end)?;
        (at >= begin && (end.contains(' ') || at + end.len() == message.len())).then_some(at)
    };
    let end = ENDS.iter().find_map(length).unwrap_or(message.len());
    let named = message[begin..end].strip_prefix(unit);
    let begin = match named.map(|rest| (rest, rest.strip_prefix(" - "))) {
        Some(("", _)) => return None,
        Some((_, Some(description))) => end - description.len(),
        _ => begin,
    };
    (begin < end).then_some(begin..end)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn descriptions_in_lines() {
        let found =
            |message: &'static str| description(message, "web.service").map(|at| &message[at]);
        assert_eq!(found("Started web.service - Acme's secret."), Some("Acme's secret"));
        assert_eq!(found("Stopping web.service - Of a - b..."), Some("Of a - b"));
        assert_eq!(found("Stopped Acme's secret."), Some("Acme's secret"));
        assert_eq!(found("Stopped target Acme."), Some("Acme"));
        assert_eq!(
            found("Condition check resulted in web.service - Acme being skipped."),
            Some("Acme")
        );
        assert_eq!(found("web.service: Main process exited, code=killed, status=9/KILL"), None);
        let skipped = "web.service - Acme was skipped because of an unmet condition check.";
        assert_eq!(found(skipped), Some("Acme"));
        assert_eq!(found("Started web.service."), None);
        assert_eq!(found("Started "), None);
        assert_eq!(found("Started web.service - ."), None);
    }
}
