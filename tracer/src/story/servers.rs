//! What known servers with workers make of signals: the same signal means another thing to each program, so that of others
//! nothing is taken for granted.

use super::people::Known;
use crate::evidence::{base_name, sig};

/// Which signals have a server start new workers beside those that it has, which end when they have done what they are at.
const RENEW: &[(&[&str], &[u8])] = &[
    (&["nginx", "angie", "gunicorn"], &[sig::SIGHUP]),
    (&["apache2", "httpd"], &[sig::SIGUSR1]),
    (&["php-fpm", "puma"], &[sig::SIGUSR2]),
    (&["haproxy", "unicorn", "uwsgi"], &[sig::SIGHUP, sig::SIGUSR2]),
];

/// Which take SIGQUIT for an end as soon as their workers have done what they are at. Others have it end them at once (postgres),
/// dump their stacks (Java), or list their pools (haproxy).
const END_BY_QUIT: &[&str] = &["nginx", "angie", "php-fpm", "unicorn"];

/// Whether a server is known to renew its workers by this signal.
pub fn renews(server: &Known, number: u8) -> bool {
    RENEW.iter().any(|(names, numbers)| numbers.contains(&number) && is_called(server, names))
}

/// Whether a server is known to end by SIGQUIT when its workers have ended.
pub fn waits_after_quit(server: &Known) -> bool {
    is_called(server, END_BY_QUIT)
}

/// Whether a process goes by one of these names: by its own, by its executable's, by that of the script that its interpreter
/// runs, or by its title. A version may follow (`php-fpm8.2`).
fn is_called(known: &Known, names: &[&str]) -> bool {
    let words = known.cmdline.iter().flatten().take(2);
    let titles = words.filter_map(|word| word.split([' ', ':']).next()).map(base_name);
    let exe = known.exe.as_deref().map(base_name);
    let mut own = known.comm.as_deref().into_iter().chain(exe).chain(titles);
    own.any(|own| {
        names.iter().any(|name| {
            let rest = own.strip_prefix(name).and_then(|rest| rest.split([' ', ':']).next());
            rest.is_some_and(|rest| rest.chars().all(|it| it.is_ascii_digit() || it == '.'))
        })
    })
}
