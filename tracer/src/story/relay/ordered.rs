//! What somebody had a server do by a command, and the server did by a signal.

use crate::evidence::{Grade, Mechanism, Source, Task};
use crate::story::actor::Actor;
use crate::story::case::Case;
use crate::story::causes::Finding;
use crate::story::clients::Order;
use crate::story::verdict::LinkEvent;
use crate::story::world::SeenSignal;
use crate::story::{clients, decide, signals, words};

/// A server's act, and the commands that can have asked for it.
pub(super) struct Ordered<'a> {
    server: &'a Task,
    acted: &'a SeenSignal,
    /// Oldest first; never empty.
    orders: Vec<Order>,
}

impl<'a> Ordered<'a> {
    pub(super) fn of(case: &Case<'a>, acted: &'a SeenSignal, mechanism: Mechanism) -> Option<Self> {
        let server = signals::originator(&acted.value, mechanism).1?;
        // Whoever was being killed did nothing on request.
        let struck = case.world.exit_of(server.id).filter(|_| server.exiting);
        let struck = struck.and_then(|exit| decide::decide(case.world, exit));
        if struck.is_some_and(|struck| struck.signal.value.sender.id != server.id) {
            return None;
        }
        let orders = clients::orders(case, server, clients::first_of(case, acted).ns());
        (!orders.is_empty()).then_some(Self { server, acted, orders })
    }

    /// When the newest of the commands was run.
    pub(super) fn ran_ns(&self) -> u64 {
        self.orders.last().map_or(0, |order| order.ran_ns)
    }

    /// That one of the commands led to the act is concluded from its words and its time.
    pub(super) fn tell(&self, case: &Case<'_>, finding: &mut Finding) {
        let server = words::name_pid(&case.task(self.server));
        let told = |order: &Order| Actor::behind(case, order.client).told();
        let lead = |order: &Order| words::span(self.acted.ns().saturating_sub(order.ran_ns));
        let sentences: Vec<String> = self
            .orders
            .iter()
            .map(|order| format!("{} before that, {}", lead(order), told(order)))
            .collect();
        let which = if sentences.len() == 1 {
            format!(", which seems to be what made {server} do it")
        } else {
            format!("; one of these seems to be what made {server} do it")
        };
        finding.explanation.push_str(&format!(" {}{which}.", words::list(&sentences)));
        finding.links.extend(self.orders.iter().map(|order| {
            let at = case.exit.at.shifted(order.ran_ns);
            let client = Some(case.process(order.client));
            let mut link = case.link(at, LinkEvent::Command, Source::Kernel, client, told(order));
            link.evidence = Grade::Inferred;
            link
        }));
    }
}
