//! Paths as they stand on real machines, and what they must say.

use super::*;

const ID: &str = "4c01db0b339c7d8c8b4a2d1a2f3e0d9c8b7a69584736251403f2e1d0c9b8a796";

/// Path, unit, user unit, slice, session, owner.
type Row = (&'static str, &'static str, &'static str, &'static str, &'static str, Option<u32>);

#[rustfmt::skip]
const UNITS: &[Row] = &[
    ("/init.scope", "init.scope", "", "-.slice", "", None),
    ("/system.slice/ssh.service", "ssh.service", "", "system.slice", "", None),
    ("/system.slice/ssh.service/subgroup/deeper", "ssh.service", "", "system.slice", "", None),
    ("/system.slice/system-ssh.slice/ssh@0-10.0.0.1:22-10.0.0.2:5.service", "ssh@0-10.0.0.1:22-10.0.0.2:5.service", "", "system-ssh.slice", "", None),
    ("/user.slice/user-1000.slice/session-3.scope", "session-3.scope", "", "user-1000.slice", "3", Some(1000)),
    ("/user.slice/user-0.slice/session-c2.scope", "session-c2.scope", "", "user-0.slice", "c2", Some(0)),
    ("/user.slice/user-1000.slice/session-3-4.scope", "session-3-4.scope", "", "user-1000.slice", "", Some(1000)),
    ("/user.slice/user-1000.slice/user@1000.service/init.scope", "user@1000.service", "init.scope", "user-1000.slice", "", Some(1000)),
    ("/user.slice/user-1000.slice/user@1000.service/app.slice/app-foo.service", "user@1000.service", "app-foo.service", "user-1000.slice", "", Some(1000)),
    ("/user.slice/user-1000.slice/user@1000.service/app.slice/app-a.slice/x.scope/sub", "user@1000.service", "x.scope", "user-1000.slice", "", Some(1000)),
    ("/user.slice/user-1000.slice/user@1000.service/tmux-spawn-0b2c.scope (deleted)", "user@1000.service", "tmux-spawn-0b2c.scope", "user-1000.slice", "", Some(1000)),
    ("/user.slice/user-1000.slice", "", "", "user-1000.slice", "", Some(1000)),
    ("/system.slice/_cpu.service", "cpu.service", "", "system.slice", "", None),
    ("/../../system.slice/cron.service", "cron.service", "", "system.slice", "", None),
    ("/../cron.service", "cron.service", "", "", "", None),
    ("/-bad.slice/x.service", "", "", "", "", None),
    ("/system.slice/not a unit.service", "", "", "system.slice", "", None),
    ("/", "", "", "", "", None),
    ("", "", "", "", "", None),
];

#[test]
fn units_are_found_as_systemd_finds_them() {
    for (path, unit, user_unit, slice, session, uid) in UNITS {
        let owner = CgroupOwner::of(path);
        let text = |value: &Option<String>| value.clone().unwrap_or_default();
        assert_eq!(text(&owner.unit), *unit, "unit of {path}");
        assert_eq!(text(&owner.user_unit), *user_unit, "user unit of {path}");
        assert_eq!(text(&owner.slice), *slice, "slice of {path}");
        assert_eq!(text(&owner.session), *session, "session of {path}");
        assert_eq!(owner.owner_uid, *uid, "owner of {path}");
    }
}

#[test]
fn containers_are_recognised() {
    let pod = "8f0c1f6a-3c6f-4f0e-9d7e-0a1b2c3d4e5f";
    let pod_slice = pod.replace('-', "_");
    let rows = [
        (format!("/system.slice/docker-{ID}.scope"), "docker", None),
        (format!("/docker/{ID}"), "docker", None),
        (
            format!("/user.slice/user-1000.slice/user@1000.service/app.slice/docker-{ID}.scope"),
            "docker",
            None,
        ),
        (format!("/machine.slice/libpod-{ID}.scope/container"), "podman", None),
        (
            format!(
                "/user.slice/user-1000.slice/user@1000.service/user.slice/libpod-{ID}.scope/container"
            ),
            "podman",
            None,
        ),
        (format!("/libpod_parent/libpod-{ID}"), "podman", None),
        (format!("/system.slice/web.service/libpod-payload-{ID}"), "podman", None),
        (
            format!(
                "/kubepods.slice/kubepods-burstable.slice/kubepods-burstable-pod{pod_slice}.slice/cri-containerd-{ID}.scope"
            ),
            "containerd",
            Some(pod),
        ),
        (
            format!("/kubepods.slice/kubepods-pod{pod_slice}.slice/crio-{ID}.scope"),
            "cri-o",
            Some(pod),
        ),
        (format!("/kubepods/burstable/pod{pod}/{ID}"), "kubernetes", Some(pod)),
        (
            format!(
                "/kubelet.slice/kubelet-kubepods.slice/kubelet-kubepods-besteffort.slice/\
                 kubelet-kubepods-besteffort-pod{pod_slice}.slice/cri-containerd-{ID}.scope"
            ),
            "containerd",
            Some(pod),
        ),
        (format!("/system.slice:cri-containerd:{ID}"), "containerd", None),
        (format!("/system.slice/nerdctl-{ID}.scope"), "nerdctl", None),
        (format!("/ecs/5f1c/{ID}"), "oci", None),
    ];
    for (path, runtime, pod) in rows {
        let found =
            CgroupOwner::of(&path).container.unwrap_or_else(|| panic!("no container in {path}"));
        assert_eq!((found.runtime.as_str(), found.id.as_str()), (runtime, ID), "{path}");
        assert_eq!(found.pod.as_deref(), pod, "{path}");
    }
}

#[test]
fn monitors_of_containers_are_not_in_them() {
    for path in [
        format!("/machine.slice/libpod-conmon-{ID}.scope"),
        format!("/kubepods.slice/crio-conmon-{ID}.scope"),
        "/system.slice/docker.service".to_owned(),
        "/lxc.monitor.web".to_owned(),
        "/system.slice/docker-notanid.scope".to_owned(),
    ] {
        assert_eq!(CgroupOwner::of(&path).container, None, "{path}");
    }
}

#[test]
fn named_containers_and_what_runs_inside() {
    let owner = CgroupOwner::of("/lxc.payload.web/system.slice/nginx.service");
    assert_eq!(owner.container.as_ref().and_then(|it| it.name.as_deref()), Some("web"));
    assert_eq!(owner.unit, None);
    assert_eq!(owner.inside.and_then(|inside| inside.unit).as_deref(), Some("nginx.service"));

    let owner = CgroupOwner::of(
        r"/machine.slice/machine-deb\x2d12.scope/payload/system.slice/cron.service",
    );
    assert_eq!(owner.machine.as_deref(), Some("deb-12"));
    assert_eq!(owner.container.as_ref().map(|it| it.runtime.as_str()), Some("nspawn"));

    let owner = CgroupOwner::of("/machine.slice/box.scope/payload");
    assert_eq!(owner.machine.as_deref(), Some("box"));
    assert_eq!(owner.container.as_ref().map(|it| it.runtime.as_str()), Some("nspawn"));
    assert_eq!(CgroupOwner::of("/machine.slice/box.scope").container, None);
    assert_eq!(CgroupOwner::of("/app.slice/box.scope/payload").container, None);

    let owner = CgroupOwner::of(r"/machine.slice/machine-qemu\x2d1\x2dvm.scope/libvirt/vcpu0");
    assert_eq!(owner.container.as_ref().map(|it| it.runtime.as_str()), Some("qemu"));
    assert_eq!(owner.machine.as_deref(), Some("qemu-1-vm"));
}

#[test]
fn of_nested_containers_the_innermost_is_told() {
    let inner = ID.replace('4', "5");
    let owner = CgroupOwner::of(&format!(
        "/system.slice/docker-{ID}.scope/kubelet.slice/cri-containerd-{inner}.scope"
    ));
    assert_eq!(owner.container.as_ref().map(|it| it.id.as_str()), Some(ID));
    assert_eq!(owner.innermost_container().map(|it| it.id.as_str()), Some(inner.as_str()));
}

/// Below a unit a user may have made it: PID 1's own, and those of no unit, are root's.
#[test]
fn names_that_a_user_may_have_given() {
    let told = |path: &str| {
        let owner = CgroupOwner::of(&path.replace("ID", ID));
        (owner.clone().told_container().map(|it| it.named_by), owner.machine, owner.job.is_some())
    };
    let roots = (Some(None), None, false);
    for path in ["/system.slice/docker-ID.scope/a", "/docker/ID", "/lxc.payload.x/docker-ID.scope"]
    {
        assert_eq!(told(path), roots, "{path}");
    }
    let user = "/user.slice/user-1000.slice/user@1000.service";
    assert_eq!(
        told(&format!("{user}/user.slice/libpod-ID.scope")),
        (Some(Some(1000)), None, false)
    );
    for path in [
        "/system.slice/alice.service/docker-ID.scope",
        "/system.slice/alice.service/kubepods-pod0.slice/cri-containerd-ID.scope",
        "/system.slice/alice.service/machine.slice/db.scope/payload",
        "/system.slice/alice.service/machine-db.scope",
        "/system.slice/alice.service/lxc.payload.db",
        "/system.slice/alice.service/slurmstepd.scope/job_1",
        "/user.slice/user-1000.slice/session-3.scope/docker/ID",
    ] {
        assert_eq!(told(path), (None, None, false), "{path}");
    }
    let slurm = format!("{user}/app.slice/slurmstepd.scope/job_1");
    assert_eq!(told(&slurm), (None, None, false));
}

#[test]
fn which_cgroup_was_made_for_a_container() {
    let own =
        |path: &str| cgroup_of_container(&path.replace("ID", ID)).map(|own| own.replace(ID, "ID"));
    assert_eq!(
        own("/system.slice/docker-ID.scope/init").as_deref(),
        Some("/system.slice/docker-ID.scope")
    );
    assert_eq!(own("/docker-ID.scope").as_deref(), Some("/docker-ID.scope"));
    let nested = "/lxc.payload.x/a.slice/docker-ID.scope";
    assert_eq!(own(&format!("{nested}/b")).as_deref(), Some(nested));
    assert_eq!(own("/system.slice/a.service"), None);
}

#[test]
fn batch_jobs_and_sandboxes() {
    let job = |path| CgroupOwner::of(path).job.map(|job| (job.manager, job.id));
    let slurm = Some(("slurm".to_owned(), "4711".to_owned()));
    assert_eq!(job("/system.slice/slurmstepd.scope/job_4711/step_0/user/task_0"), slurm);
    assert_eq!(job("/system.slice/node7_slurmstepd.scope/job_4711/step_extern/user"), slurm);
    assert_eq!(job("/slurm/uid_1000/job_4711/step_batch"), slurm);
    assert_eq!(job("/system.slice/slurmd.service"), None);

    let user = "/user.slice/user-1000.slice/user@1000.service/app.slice";
    let sandbox = |unit: &str| {
        CgroupOwner::of(&format!("{user}/{unit}")).sandbox.map(|it| (it.kind, it.name))
    };
    assert_eq!(
        sandbox(r"app-flatpak-org.mozilla.firefox-4242.scope"),
        Some(("flatpak", "org.mozilla.firefox".to_owned()))
    );
    let snap = Some(("snap", "firefox.firefox".to_owned()));
    assert_eq!(sandbox("snap.firefox.firefox-0f6e4b8a-1c2d-4e5f-8a9b-0c1d2e3f4a5b.scope"), snap);
    assert_eq!(sandbox("snap.firefox.firefox.0f6e4b8a-1c2d-4e5f-8a9b-0c1d2e3f4a5b.scope"), snap);
    assert_eq!(sandbox("app-gnome-foo-12.scope"), None);
}

#[test]
fn bus_labels_lead_back() {
    assert_eq!(bus_label_escape("session-3.scope"), "session_2d3_2escope");
    assert_eq!(bus_label_escape("3"), "_33");
    for name in ["", "3", "c2", "a_b", r"dev-disk-by\x2duuid.device", "user@1000.service"] {
        assert_eq!(bus_label_unescape(&bus_label_escape(name)), name);
    }
}

proptest::proptest! {
    #[test]
    fn any_text_is_survived(text in ".*") {
        let _ = CgroupOwner::of(&text);
        proptest::prop_assert_eq!(bus_label_unescape(&bus_label_escape(&text)), text);
    }
}

#[test]
fn unit_names_come_back_from_object_paths() {
    assert_eq!(bus_label_unescape("session_2d3_2escope"), "session-3.scope");
    assert_eq!(bus_label_unescape("tmux_2eservice"), "tmux.service");
    assert_eq!(bus_label_unescape("odd_"), "odd_");
}

#[test]
fn a_cgroup_is_of_the_unit_that_it_was_made_for_alone() {
    const USER: &str = "/user.slice/user-1000.slice/user@1000.service";
    let of = |path: &str| unit_of_cgroup(path);
    let system = |unit: &str| Some((Manager::System, unit.to_owned()));
    let user = |unit: &str| Some((Manager::User(1000), unit.to_owned()));
    assert_eq!(of("/system.slice"), system("system.slice"));
    assert_eq!(of("/system.slice/a.service"), system("a.service"));
    assert_eq!(of("/system.slice/a.service/box"), None);
    assert_eq!(of(USER), system("user@1000.service"));
    assert_eq!(of(&format!("{USER}/app.slice")), user("app.slice"));
    assert_eq!(of(&format!("{USER}/app.slice/b.service")), user("b.service"));
    assert_eq!(of(&format!("{USER}/app.slice/b.service/c.service")), None);
    assert_eq!(of("/"), None);
    assert_eq!(of("/box"), None);
}
