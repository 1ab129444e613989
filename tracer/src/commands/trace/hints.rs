//! What may be wrong with a target that nothing matches, said while it is waited for.

use crate::system::{MIN_CONTAINER_ID, Matcher, cgroups_ending, users};

use super::one_line;

/// How many cgroups are named that somebody may have meant.
const MAX_NAMED: usize = 3;

/// What whoever named it may have overlooked.
pub fn of(matcher: &Matcher) -> Option<String> {
    match matcher {
        Matcher::Cgroup(path) => of_cgroup(path, cgroups_ending(path)?),
        Matcher::Container(container) => of_container(&container.named),
        Matcher::User(named) => named.parse().ok().and_then(of_user),
        _ => None,
    }
}

/// Of a user's number that has no name: a container's may have none, and a slip has none either.
fn of_user(uid: u32) -> Option<String> {
    let unknown = users::on_machine(uid).is_none();
    unknown.then(|| format!("no user has the number {uid} in this machine's user database"))
}

/// Of a cgroup that is not there, by those that end in the same names.
fn of_cgroup(path: &str, mut alike: Vec<String>) -> Option<String> {
    let more = if alike.len() > MAX_NAMED { " and others" } else { "" };
    alike.truncate(MAX_NAMED);
    let alike: Vec<String> =
        alike.iter().map(|path| format!("cgroup:{}", one_line(path))).collect();
    (!alike.is_empty()).then(|| {
        let path = one_line(path);
        format!(
            "there is no cgroup {path} now, but there is {}{more}: paths begin at the root",
            alike.join(", ")
        )
    })
}

fn of_container(named: &str) -> Option<String> {
    let is_id = named.bytes().all(|byte| byte.is_ascii_hexdigit());
    if is_id && named.len() < MIN_CONTAINER_ID {
        return Some(format!(
            "of an id at least {MIN_CONTAINER_ID} digits are needed: container:{named} is taken for a name"
        ));
    }
    (!is_id).then(|| {
        "a container of a user's own (rootless) is found by its name where root has none of that name, and that user's files \
         are where podman and docker have them by default; else by its id, which is in that user's `podman ps` or `docker ps`"
            .to_owned()
    })
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_path_that_does_not_begin_at_the_root_is_told() {
        let paths = |count: usize| (0..count).map(|at| format!("/{at}.slice/x.service")).collect();
        assert_eq!(of_cgroup("/x.service", Vec::new()), None);
        let one = of_cgroup("/x.service", paths(1)).expect("there is one");
        assert!(one.contains("there is cgroup:/0.slice/x.service: paths"), "{one}");
        let many = of_cgroup("/x.service", paths(5)).expect("there are some");
        assert!(many.contains("cgroup:/2.slice/x.service and others:"), "{many}");
    }

    #[test]
    fn a_number_without_a_name_is_told() {
        assert_eq!(of(&Matcher::User("0".to_owned())), None);
        let told = of(&Matcher::User("3999999999".to_owned())).expect("nobody has it");
        assert!(told.contains("3999999999"), "{told}");
    }

    #[test]
    fn what_does_not_find_a_container_is_told() {
        assert!(of_container("ab1").is_some_and(|it| it.contains("at least 4 digits")));
        assert!(of_container("web").is_some_and(|it| it.contains("rootless")));
        assert_eq!(of_container("ab12cd34ef56"), None);
    }
}
