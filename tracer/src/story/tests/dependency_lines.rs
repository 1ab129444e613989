//! Which line made one unit depend on another, and how it is taken away.

use serde_json::json;

use super::dependencies::{begin, client, says, stopped, victim};
use super::scene::Scene;
use crate::evidence::{Fact, Source, TargetReason};
use crate::story::verdict::Death;

/// What is done about a dependency, as its commands say.
fn remedy(death: &Death) -> String {
    let loosen = death.fixes.iter().find(|fix| fix.title.starts_with("loosen"));
    loosen.map(|fix| fix.commands.join("; ")).unwrap_or_default()
}

fn with_base(relation: &str) -> Scene {
    begin(relation).exec(4900, client(), &["systemctl", "stop", "base"], &[]).job(
        4999,
        699,
        "stop",
        "base.service",
    )
}

#[test]
fn the_line_of_the_other_unit_is_the_one_to_change() {
    let line = ("base.service", "PropagatesStopTo", "nginx.service");
    let death = stopped(with_base("StopPropagatedFrom").setting(
        line.0,
        line.1,
        line.2,
        Some(("/etc/systemd/system/base.service", 2)),
    ));
    says(&death, &["(PropagatesStopTo=nginx.service, set in /etc/systemd/system/base.service:2)"]);
    let remedy = remedy(&death);
    assert!(remedy.contains("edit --full base.service"), "{remedy}");
    assert!(remedy.contains("there, take out PropagatesStopTo=nginx.service"), "{remedy}");
    assert!(!remedy.contains("Wants"), "{remedy}");
}

#[test]
fn a_dependency_on_another_name_has_its_line() {
    let death = stopped(
        with_base("Requires")
            .unit(2, "base.service", &[("Names", json!(["base.service", "db.service"]))])
            .setting("nginx.service", "Requires", "db.service", Some(("/etc/n.service", 2))),
    );
    says(&death, &["(Requires=db.service, set in /etc/n.service:2)"]);
    assert!(remedy(&death).contains("write Wants=db.service instead of Requires=db.service"));
}

#[test]
fn a_dependency_by_a_link_is_taken_away_with_it() {
    let link = "/etc/systemd/system/nginx.service.requires/base.service";
    let death = stopped(with_base("Requires").add(
        0,
        Source::File,
        Fact::Setting(crate::evidence::Setting {
            manager: None,
            scope: "nginx.service".to_owned(),
            name: "Requires".to_owned(),
            value: "base.service".to_owned(),
            file: Some(link.to_owned()),
            line: None,
            unread: None,
        }),
    ));
    says(&death, &[&format!("(Requires=base.service, set in {link})")]);
    assert!(remedy(&death).starts_with(&format!("sudo rm {link}")), "{}", remedy(&death));
}

#[test]
fn a_mount_is_required_by_a_path() {
    let death = stopped(
        Scene::default()
            .user(0, "root")
            .target(&victim(), TargetReason::Running)
            .unit(1, "nginx.service", &[("Requires", json!(["m.mount"]))])
            .setting("nginx.service", "RequiresMountsFor", "/m/data", Some(("/etc/n.service", 2)))
            .exec(4900, client(), &["systemctl", "stop", "/m"], &[])
            .job(4999, 699, "stop", "m.mount"),
    );
    says(&death, &["(RequiresMountsFor=/m/data, set in /etc/n.service:2)", "systemctl stop /m"]);
    assert!(remedy(&death).contains("take out RequiresMountsFor=/m/data"));
}

/// Nothing is said of a line that was not found.
#[test]
fn without_a_line_there_is_none_to_change() {
    let death = stopped(with_base("Requires"));
    says(&death, &["(Requires=; the line that says so was not found)"]);
    assert_eq!(remedy(&death), "");
}
