//! One unit per ssh connection: its end takes along everything that the login had started.

use super::{Finding, Fit, Opinion, is_not};
use crate::evidence::{Grade, Manager};
use crate::story::case::Case;
use crate::story::ending::Ending;
use crate::story::links::exit_link;
use crate::story::manager::UnitStop;
use crate::story::verdict::CauseId;
use crate::story::{fixes, units, words};

/// Whether a unit is made for one ssh connection: an instance of `sshd@.service`, Debian's
/// `ssh@.service`, or those of systemd-ssh-generator.
fn is_per_connection(unit: &str) -> bool {
    let Some((template, instance)) = unit.split_once('@') else { return false };
    let ssh =
        matches!(template, "sshd" | "ssh" | "sshd-generated" | "sshd-vsock" | "sshd-unix-local");
    ssh && instance.ends_with(".service") && instance != ".service"
}

/// `sshd@….service` was cleaned up since its sshd had ended.
pub fn per_connection_unit(case: &Case<'_>) -> Option<Opinion> {
    const ID: CauseId = CauseId::SshdPerConnectionUnit;
    let stop = UnitStop::of(case)?;
    if !is_per_connection(&stop.unit) {
        let name = case.name();
        let around = case.placement.unit.as_deref().unwrap_or(&stop.unit);
        // Worth saying only where an ssh login is behind it at all.
        return case
            .placement
            .session
            .as_ref()
            .and_then(|_| is_not(ID, format!("{name} was in {around}, not in a unit of sshd's")));
    }
    if let Some(job) = stop.job {
        let kind = job.value.job_type.as_deref().unwrap_or("stop");
        return is_not(ID, format!("a {kind} job for {} was under way", stop.unit));
    }
    let ending = Ending::of(case, &stop.unit, None, stop.began_ns);
    let main = stop.main_exit;
    let Some(sshd) = main.or_else(|| ending.sshd.last().copied()) else {
        return is_not(ID, format!("no sshd of {} was seen to end", stop.unit));
    };
    let template = stop.unit.split_once('@').map(|(name, _)| format!("{name}@.service"))?;
    let kill_mode = units::unit_setting(case, &stop, "KillMode", "KillMode");
    let victim = words::name_pid(&case.victim_process());
    let user = case.victim_process().user.map(|user| format!(" ({user})")).unwrap_or_default();
    let mode = kill_mode
        .as_ref()
        .map_or_else(|| "KillMode=control-group, the default".to_owned(), units::cited);
    let ended = ending.clause().map(|clause| format!(" ({clause})")).unwrap_or_default();
    let name = template.trim_end_matches("@.service");
    // What systemd-ssh-generator makes has no service that could take its place.
    let socket = ["ssh", "sshd"].contains(&name).then(|| format!("{name}.socket"));
    let mut links = ending.links(case, stop.first.at);
    if !ending.sshd.iter().any(|exit| exit.value.task.id == sshd.value.task.id) {
        links.push(exit_link(case, sshd));
    }
    let grade = if stop.manager == Manager::System { Grade::Observed } else { Grade::Inferred };
    Finding::new(
        ID,
        Fit::Exact,
        grade,
        format!(
            "{victim}{user} was ended by {}: it lived in {}, the unit of a single ssh connection. \
             When that connection's sshd had ended{ended}, systemd cleaned up the unit's cgroup \
             ({mode}).",
            stop.manager_name(case),
            stop.unit
        ),
    )
    .settings([kill_mode])
    .links(links)
    .links([units::cleanup_link(case, &stop, sshd)])
    .links(units::stop_links(case, &stop))
    .fixes([fixes::pam_systemd(&stop.unit)])
    .fixes(socket.map(|socket| fixes::long_running_sshd(&socket)))
    .fixes([fixes::kill_mode_process(&stop.at())])
    .answer()
}

/// What ran in the cgroup of sshd itself, since no session is opened for logins without PAM, went along with it: which
/// settings have that so.
pub fn tell_login_without_session(case: &Case<'_>, finding: &mut Finding) {
    const DAEMONS: [&str; 2] = ["ssh.service", "sshd.service"];
    let stop = UnitStop::of(case).filter(|stop| DAEMONS.contains(&stop.unit.as_str()));
    let is_sshd = case.victim_process().comm.is_some_and(|comm| comm.starts_with("sshd"));
    let Some(stop) = stop.filter(|stop| !is_sshd && stop.manager == Manager::System) else {
        return;
    };
    let without_pam = case.setting(&["sshd_config"], "UsePAM").filter(|it| it.value == "no");
    let Some(without_pam) = without_pam else { return };
    let mode = units::unit_setting(case, &stop, "KillMode", "KillMode");
    let mode = mode.filter(|mode| mode.value != "process");
    let ends =
        mode.as_ref().map(|mode| format!(", all of which is ended ({})", units::cited(mode)));
    finding.explanation.push_str(&format!(
        " It lived in sshd's own {}{}: no session is opened for logins ({}).",
        stop.unit,
        ends.unwrap_or_default(),
        units::cited(&without_pam)
    ));
    finding.settings.push(without_pam);
    let by_mode = mode.as_ref().map(|_| fixes::kill_mode_process(&stop.at()));
    finding.settings.extend(mode);
    let remedies = std::iter::once(fixes::pam_systemd(&stop.unit)).chain(by_mode);
    finding.fixes.splice(..0, remedies);
}

#[cfg(test)]
mod tests {
    use super::is_per_connection;

    #[test]
    fn units_of_one_connection_are_told_from_the_daemon() {
        assert!(is_per_connection("sshd@0-10.0.0.1:22-203.0.113.5:51276.service"));
        assert!(is_per_connection("ssh@3-10.0.0.1:22-203.0.113.5:51276.service"));
        assert!(!is_per_connection("ssh.service"));
        assert!(!is_per_connection("sshd@.service"));
        assert!(!is_per_connection("getty@tty1.service"));
    }
}
