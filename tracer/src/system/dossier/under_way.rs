//! What had begun with a unit before it was first looked at: its job, who still waits for that, and what its manager has
//! logged of it since it began to end.

use std::sync::Arc;

use serde_json::Value;

use super::Properties;
use crate::evidence::{Fact, Manager, Source};
use crate::system::context::Context;
use crate::system::{journal, systemd};

/// What asks a manager for a job and waits for its end.
const CLIENTS: [&str; 7] =
    ["systemctl", "service", "invoke-rc.d", "deb-systemd-invo", "systemd-run", "telinit", "init"];

/// How many of them are looked at: anybody can start any number.
const MAX_CLIENTS: usize = 64;

/// Tells it, of a unit with these properties.
pub async fn tell(context: &Arc<Context>, manager: Manager, unit: &str, properties: &Properties) {
    if let Some((id, path)) = job(properties) {
        systemd::tell_job(context, manager, id, path, unit).await;
        let context = Arc::clone(context);
        // Whoever is there now had been before; that they are looked at twice does no harm.
        let looked = tokio::task::spawn_blocking(move || tell_clients(&context));
        if looked.await.is_err() {
            tracing::warn!("looking for the clients of service managers failed");
        }
    }
    let is_ending = properties.get("ActiveState").and_then(Value::as_str) == Some("deactivating");
    // When the present run began to end: what left the state `active` then, or never came to it.
    let stamp = |name: &str| properties.get(name).and_then(Value::as_u64).filter(|us| *us > 0);
    let since_us =
        ["ActiveExitTimestamp", "InactiveExitTimestamp"].map(stamp).into_iter().flatten();
    if let Some(since_us) = since_us.max().filter(|_| is_ending) {
        journal::look_back_on(context, manager, unit, since_us).await;
    }
}

/// The number and the object of the unit's job.
fn job(properties: &Properties) -> Option<(u32, &str)> {
    let job = properties.get("Job")?.as_array()?;
    let id = u32::try_from(job.first()?.as_u64()?).ok().filter(|id| *id != 0)?;
    Some((id, job.get(1)?.as_str()?))
}

fn tell_clients(context: &Context) {
    let is_one = |pid: &u32| {
        let comm = context.processes.comm(*pid);
        comm.is_some_and(|comm| CLIENTS.contains(&comm.as_str()))
    };
    for pid in context.processes.pids().into_iter().filter(is_one).take(MAX_CLIENTS) {
        for process in context.processes.look_up(pid).unwrap_or_default() {
            context.outbox.say(Source::Proc, Fact::Process(Box::new(process)));
        }
    }
}
