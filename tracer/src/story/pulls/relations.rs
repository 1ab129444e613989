//! The dependencies that do something to a unit when something happens to another: a table.

use crate::story::requests::Wish;

/// A dependency that does something to a unit when something happens to the other end.
#[derive(Debug)]
pub struct Relation {
    /// Property of the unit that lists the others.
    pub property: &'static str,
    /// What has to happen to the other.
    pub when: Wish,
    /// What it does to the unit.
    pub then: Wish,
    /// In words, between the unit and the other.
    pub words: &'static str,
    /// The setting of the unit behind it.
    pub own: Option<&'static str>,
    /// The setting of the other unit behind it.
    pub others: Option<&'static str>,
}

/// By systemd's `UNIT_ATOM_PROPAGATE_STOP`, `UNIT_ATOM_PULL_IN_STOP`, `UNIT_ATOM_PULL_IN_START` and their kind
/// (`src/core/unit-dependency-atom.c`). The more telling one comes first.
pub const RELATIONS: [Relation; 12] = [
    Relation {
        property: "BindsTo",
        when: Wish::Stop,
        then: Wish::Stop,
        words: "is bound to",
        own: Some("BindsTo"),
        others: None,
    },
    Relation {
        property: "PartOf",
        when: Wish::Stop,
        then: Wish::Stop,
        words: "is part of",
        own: Some("PartOf"),
        others: None,
    },
    Relation {
        property: "Requires",
        when: Wish::Stop,
        then: Wish::Stop,
        words: "requires",
        own: Some("Requires"),
        others: None,
    },
    Relation {
        property: "Requisite",
        when: Wish::Stop,
        then: Wish::Stop,
        words: "requires",
        own: Some("Requisite"),
        others: None,
    },
    Relation {
        property: "StopPropagatedFrom",
        when: Wish::Stop,
        then: Wish::Stop,
        words: "is stopped along with",
        own: Some("StopPropagatedFrom"),
        others: Some("PropagatesStopTo"),
    },
    Relation {
        property: "Conflicts",
        when: Wish::Start,
        then: Wish::Stop,
        words: "conflicts with",
        own: Some("Conflicts"),
        others: None,
    },
    Relation {
        property: "ConflictedBy",
        when: Wish::Start,
        then: Wish::Stop,
        words: "conflicts with",
        own: None,
        others: Some("Conflicts"),
    },
    Relation {
        property: "Slice",
        when: Wish::Stop,
        then: Wish::Stop,
        words: "lives in",
        own: Some("Slice"),
        others: None,
    },
    Relation {
        property: "BoundBy",
        when: Wish::Start,
        then: Wish::Start,
        words: "is needed by",
        own: None,
        others: Some("BindsTo"),
    },
    Relation {
        property: "RequiredBy",
        when: Wish::Start,
        then: Wish::Start,
        words: "is required by",
        own: None,
        others: Some("Requires"),
    },
    Relation {
        property: "UpheldBy",
        when: Wish::Start,
        then: Wish::Start,
        words: "is upheld by",
        own: None,
        others: Some("Upholds"),
    },
    Relation {
        property: "WantedBy",
        when: Wish::Start,
        then: Wish::Start,
        words: "is wanted by",
        own: None,
        others: Some("Wants"),
    },
];
