//! Without cgroup2, or beside PID 1's cgroups and files, as in a container.

use super::*;

#[test]
fn no_cgroup2() {
    let script = CGROUP_V1;
    Machine::mounts(script).traces(&["cgroup2"]);
    // A cgroup there is a target as well.
    let name = format!("killtrace-v1-{}", std::process::id());
    let folder = format!("/sys/fs/cgroup/systemd/{name}");
    let script = format!(
        "{script}\nreport=$(mktemp)\nmkdir {folder}\ntrap 'rmdir {folder}; rm $report' EXIT\n\
         (echo 0 > {folder}/cgroup.procs; exec sleep 1000) & victim=$!\n\
         until grep -q . {folder}/cgroup.procs; do sleep 0.01; done\n\
         \"$@\" --once --duration 60s --target cgroup:/{name} > $report & tracer=$!\n\
         until grep -q '\"header\"' $report; do sleep 0.01; done\n\
         kill -TERM $victim; wait $tracer; cat $report; exit 0"
    );
    let output = Machine::mounts(&script).run(&["--format", "json"]);
    let death = only_death(&output.stdout);
    let said = String::from_utf8_lossy(&output.stderr);
    assert_eq!(death.victim.cgroup, Some(format!("/{name}")), "{said}\n{death:#?}");
    assert_eq!(death.cause.id, CauseId::UserCommand, "{death:#?}");
}

/// Somebody mounted cgroup2 where the units are in cgroup v1: nobody is anywhere but at its top.
#[test]
fn a_cgroup2_that_nothing_is_in() {
    let slice = format!("killtrace{}.slice", std::process::id());
    let folder = format!("/sys/fs/cgroup/systemd/{slice}/napper.service");
    let script = format!(
        "{CGROUP_V1}\nmkdir /sys/fs/cgroup/unified\nmount -t cgroup2 none /sys/fs/cgroup/unified\n\
         report=$(mktemp)\nmkdir -p {folder}\ntrap 'rmdir {folder} ${{folder%/*}}; rm $report' EXIT\nfolder={folder}\n\
         (echo 0 > {folder}/cgroup.procs; exec sleep 1000) & victim=$!\n\
         until grep -q . {folder}/cgroup.procs; do sleep 0.01; done\n\
         \"$@\" --once --duration 60s -p $victim > $report & tracer=$!\n\
         until grep -q '\"header\"' $report; do sleep 0.01; done\n\
         kill -TERM $victim; wait $tracer; cat $report; exit 0"
    );
    let output = Machine::mounts(&script).run(&["--format", "json"]);
    let death = only_death(&output.stdout);
    assert_eq!(death.victim.unit.as_deref(), Some("napper.service"), "{death:#?}");
    assert_eq!(death.victim.slice.as_deref(), Some(slice.as_str()), "{death:#?}");
    assert_eq!(death.cause.id, CauseId::UserCommand, "{death:#?}");
}

#[test]
fn no_cgroups_at_all() {
    let machine = Machine::mounts("umount -lR /sys/fs/cgroup");
    machine.traces(&["cgroup2"]);
    let waits = machine.run(&["--duration", "100ms", "--target", "cgroup:/no-such-cgroup"]);
    let said = String::from_utf8_lossy(&waits.stderr);
    assert!(said.contains("cgroup2 is not to be seen"), "{said}");
}

/// It is in the list of mounts all the same. What hides it may be mounted above it, and is found.
#[test]
fn a_hidden_cgroup2() {
    let point = "$(findmnt -n -t cgroup2 -o TARGET | head -n 1)";
    for hide in
        [format!("mount -t tmpfs none \"{point}\""), "mount -t tmpfs none /sys/fs".to_owned()]
    {
        let hidden = Machine::mounts(&hide);
        hidden.traces(&["cgroup2"]);
        let remedy = remedy_of(&hidden.doctor().0, "cgroup2");
        let healed = Machine::mounts(&format!("{hide}\n{remedy}")).doctor().0;
        assert!(
            healed.iter().any(|row| row["name"] == "cgroup2" && row["state"] == "works"),
            "{remedy}"
        );
    }
}

/// As docker and podman give one to a container: a cgroup2 of its own, in which PID 1's cgroups are not. `name`: of the
/// cgroup that is the top there; `and`: what else is done inside.
fn cgroup_namespace(name: &str, and: &str) -> Machine {
    let script = format!(
        "point=$(findmnt -n -t cgroup2 -o TARGET | head -n 1)\nown=$point/{name}-{}\nmkdir $own\n\
         trap 'rmdir $own' EXIT\nexport point\n\
         (echo 0 > $own/cgroup.procs; exec unshare -mC sh -ec 'umount -l $point; mount -t cgroup2 none $point; {and}\n\
         exec \"$@\"' sh \"$@\") || exit $?\nexit 0",
        std::process::id()
    );
    Machine::of(&["sh", "-ec", &script, "sh"])
}

#[test]
fn a_cgroup_namespace_of_its_own() {
    let machine = cgroup_namespace("killtrace-own", ":").beside_init();
    let said = machine.traces(&["cgroup2"]);
    assert!(said.contains("cgroup2: this is a private cgroup namespace"), "{said}");
    let remedy = remedy_of(&machine.doctor().0, "cgroup2");
    assert!(remedy.contains("nsenter -t 1 -m -C "), "{remedy}");
    let heal = "exec nsenter -t 1 -m -C \"$@\"";
    let healed = cgroup_namespace("killtrace-healed", heal).beside_init().doctor().0;
    let works = |row: &Value| row["name"] == "cgroup2" && row["state"] == "works";
    assert!(healed.iter().any(works), "{healed:#?}");
    let waits = machine.run(&["--duration", "100ms", "--target", "cgroup:/no-such-cgroup"]);
    let said = String::from_utf8_lossy(&waits.stderr);
    assert!(said.contains("cgroup2 is not to be seen"), "{said}");
}

/// Who was in a unit before is told so; of who comes later no unit is told, rather than one that is not true.
#[test]
fn units_outside_of_a_cgroup_namespace() {
    let slice = format!("killtrace{}.slice", std::process::id());
    let inside = cgroup_namespace("killtrace-beside", ":");
    let script = format!(
        "point=$(findmnt -n -t cgroup2 -o TARGET | head -n 1)\nunit=$point/{slice}/napper.service\n\
         report=$(mktemp)\nmkdir -p $unit\ntrap 'rmdir $unit ${{unit%/*}}; rm $report' EXIT\n\
         (echo 0 > $unit/cgroup.procs; exec sleep 1000) & before=$!\n\
         (echo 0 > $point/cgroup.procs; exec sleep 1001) & later=$!\n\
         until grep -q . $unit/cgroup.procs && grep -q 1001 /proc/$later/cmdline; do sleep 0.01; done\n\
         \"$@\" --duration 60s -p $before,$later > $report & tracer=$!\n\
         until grep -q '\"header\"' $report; do sleep 0.01; done\n\
         echo $later > $unit/cgroup.procs\nkill -TERM $before $later; wait $tracer; cat $report; exit 0"
    );
    let inside: Vec<&str> = inside.wrapper.iter().map(String::as_str).collect();
    let machine = Machine::of(&["sh", "-ec", &script, "sh"]).and(&inside);
    let output = machine.run(&["--format", "json"]);
    let said = String::from_utf8_lossy(&output.stderr);
    let deaths = deaths(&output.stdout);
    let of = |argument: &str| {
        let is_it = |death: &&Death| {
            let words = death.victim.cmdline.as_deref().unwrap_or_default();
            words.iter().any(|word| word == argument)
        };
        deaths.iter().find(is_it).unwrap_or_else(|| panic!("no {argument}: {deaths:#?} {said}"))
    };
    let before = &of("1000").victim;
    assert_eq!(before.unit.as_deref(), Some("napper.service"), "{before:#?}");
    assert_eq!(before.cgroup, Some(format!("/{slice}/napper.service")));
    let later = of("1001");
    assert_eq!((&later.victim.cgroup, &later.victim.unit), (&None, &None), "{later:#?}");
    let tells = |gap: &String| gap.contains("private cgroup namespace");
    assert!(later.gaps.iter().any(tells), "{:?}", later.gaps);
}

/// A container with the machine's pids and files of its own: whose names and settings are told is said.
#[test]
fn files_of_its_own() {
    let hide = "names=$(mktemp); while IFS= read -r line; do \
                case $line in nobody:*) line=mallory${line#nobody};; esac; echo \"$line\"; \
                done < /etc/passwd > \"$names\"; mount --bind \"$names\" /etc/passwd; rm \"$names\"";
    let machine = Machine::mounts(hide).beside_init();
    let said = machine.traces(&["files"]);
    assert!(said.contains("files: PID 1 has other files"), "{said}");
    let mut words = vec!["--format", "json", "--"];
    words.extend(NOBODY);
    words.extend(["sh", "-c", "kill -KILL $$; :"]);
    let death = only_death(&machine.run(&words).stdout);
    assert_eq!(death.victim.user.as_deref(), Some("nobody"), "{death:#?}");
    assert!(
        death.gaps.iter().any(|gap| gap.contains("as this container has them")),
        "{:?}",
        death.gaps
    );
    let remedy = remedy_of(&machine.doctor().0, "files");
    assert!(remedy.contains("nsenter -t 1 -m -C "), "{remedy}");
    let healed = machine.and(&["nsenter", "-t", "1", "-m", "-C"]).doctor().0;
    assert!(!healed.iter().any(|row| row["name"] == "files"), "{healed:#?}");
}
