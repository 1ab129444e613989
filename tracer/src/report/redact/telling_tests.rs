//! What of a command line is shown. `_` stands for what is hidden.

use super::*;

fn shown(line: &str) -> String {
    let mut words = line.split(' ');
    let program = words.next().unwrap_or_default();
    let mut reading = Reading::of(program);
    let word = |word: &str| match reading.next(word) {
        Shown::Whole => word.to_owned(),
        Shown::User => "USER".to_owned(),
        Shown::Option => format!("{}=_", word.split('=').next().unwrap_or_default()),
        Shown::Hidden => "_".to_owned(),
    };
    std::iter::once(program.to_owned()).chain(words.map(word)).collect::<Vec<_>>().join(" ")
}

#[test]
fn what_ended_somebody_stays() {
    for line in [
        "kill -9 -- -4242 4243",
        "kill -s TERM 4242",
        "pkill --signal=USR1",
        "scancel --signal KILL 4242",
        "shutdown -h now",
        "shutdown -r +5",
        "init 6",
        "timeout -k 5s -s KILL 30s kill 1",
        "timeout --signal=KILL 30",
        "systemctl --user stop a.service b c.timer",
        "systemctl kill -s KILL --kill-after=5 nginx",
        "systemctl disable --now nginx",
        r"systemctl stop home-a\x2db.mount",
        "systemctl isolate rescue.target",
        "loginctl kill-session 3 --signal=9",
        "loginctl terminate-user 1000",
        "docker stop -t 5 web-1",
        "docker rm -f web-1",
        "docker compose exec -T db",
        "docker run --rm -it redis:7",
        "runc kill 4fa6e0f0c678 KILL",
        "service nginx restart",
        "busybox kill 1",
        "nice nohup setsid kill 1",
        "bash -lc",
        "sudo -n -- docker kill -s KILL web",
    ] {
        assert_eq!(shown(line), line);
    }
    assert_eq!(shown("loginctl terminate-user bob"), "loginctl terminate-user USER");
    assert_eq!(shown("sudo -nu bob kill -9 1"), "sudo _ _ kill -9 1");
    assert_eq!(shown("sudo --user bob A=b kill 1"), "sudo --user _ _ kill 1");
}

#[test]
fn what_is_somebodys_own_goes() {
    for (line, expected) in [
        ("docker exec db mysqladmin --password hunter2", "docker exec db _ --password _"),
        ("docker exec -it db sh -c kill", "docker exec -it db _ -c _"),
        (
            "docker run redis redis-server --requirepass S3cretPw",
            "docker run redis _ --requirepass _",
        ),
        ("docker run -d -e PW=s3cret redis stop s3cret", "docker run -d -e _ _ _ _"),
        ("docker run --name web redis 4711", "docker run --name _ _ _"),
        ("docker run -es3cret redis 4711", "docker run _ _ _"),
        ("docker login -u bob -p 4711", "docker _ -u _ -p _"),
        ("docker stop web s3cret 4711", "docker stop web _ _"),
        ("docker stop -ps3cret web", "docker stop _ web"),
        ("docker stop user:s3cret@host/x", "docker stop _"),
        ("podman -H ssh://bob:s3cret@host stop web", "podman -H _ stop web"),
        ("kubectl exec web -- env --token 4711", "kubectl exec _ -- _ --token _"),
        ("kubectl delete pod web --token=4711", "kubectl delete pod _ --token=_"),
        ("systemctl set-environment TOKEN 4711", "systemctl _ _ _"),
        (
            "systemctl stop nginx TOKEN=s3cret -Hbob@host -H bob@host",
            "systemctl stop nginx _ _ -H _",
        ),
        ("loginctl kill-user bob s3cret", "loginctl kill-user USER _"),
        ("service nginx s3cret 4711", "service nginx _ _"),
        ("sudo tool --pin 4711", "sudo _ --pin _"),
        ("sudo -p s3cret TOKEN=x tool kill 9", "sudo -p _ _ _ _ _"),
        ("sudo -ps3cret kill 1", "sudo _ kill 1"),
        ("env PGPASSWORD=s3cret psql -p 4711", "env _ _ -p _"),
        ("timeout 30s mysql -ps3cret --port 4711 --pin=4711", "timeout 30s _ _ --port _ _"),
        ("timeout s3cret kill 1", "timeout _ kill 1"),
        ("nohup curl https://bob:s3cret@host/ 4711", "nohup _ _ _"),
        ("setsid sshpass -p 4711 ssh", "setsid _ -p _ _"),
        ("sh -c kill 9", "sh -c _ _"),
        ("sh x.sh -abc", "sh _ _"),
        ("kill 1 czNjcmV0", "kill 1 _"),
        ("kill -s3cret", "kill _"),
        ("pkill -f s3cret --pin=4711", "pkill -f _ --pin=_"),
        ("shutdown -h now 4711 s3cret", "shutdown -h now _ _"),
        ("mysql -ps3cret --password=s3cret --password 4711 4711", "mysql _ _ --password _ _"),
    ] {
        assert_eq!(shown(line), expected, "{line}");
    }
}

proptest::proptest! {
    /// Behind a program of which nothing is known, nothing but bare names of options stays.
    #[test]
    fn any_line_is_survived(program in ".*", line in proptest::collection::vec(".*", 0..8)) {
        let mut reading = Reading::of(&program);
        let known = kind(&program) != Kind::Unknown;
        for word in &line {
            let shown = reading.next(word);
            proptest::prop_assert!(known || shown == Shown::Hidden || word.is_empty() || word.starts_with('-'));
        }
    }
}
