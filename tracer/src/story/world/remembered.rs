//! Which of a manager's units are remembered, where there is no room for all of them.

use std::cmp::Reverse;
use std::collections::HashSet;

/// What is remembered of one unit.
#[derive(Clone, Copy, Debug)]
pub struct Remembered {
    /// Which of all the things that were heard of units was the last one of it.
    pub heard: u64,
    /// About how many bytes it takes.
    pub weight: usize,
    /// It is over, and nothing was heard of it for long.
    pub is_done: bool,
}

/// Chooses those that are kept, by what was last heard of them, and tells how many go that a verdict may yet ask for:
/// first go those that are done, and of equals those of which nothing was heard for longest.
pub fn kept(mut all: Vec<Remembered>, mut room: usize) -> (HashSet<u64>, usize) {
    all.sort_unstable_by_key(|one| (one.is_done, Reverse(one.heard)));
    let fits = |one: &&Remembered| match room.checked_sub(one.weight) {
        Some(left) => {
            room = left;
            true
        }
        None => false,
    };
    // One that takes more than there is room for takes none from the others.
    let kept: HashSet<u64> = all.iter().filter(fits).map(|one| one.heard).collect();
    let missed = all.iter().filter(|one| !one.is_done && !kept.contains(&one.heard)).count();
    (kept, missed)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn what_is_done_goes_first() {
        let unit = |heard, is_done| Remembered { heard, weight: 10, is_done };
        let all = || vec![unit(1, false), unit(2, true), unit(3, false), unit(4, true)];
        let choose = |room| {
            let (kept, missed) = kept(all(), room);
            let mut kept: Vec<u64> = kept.into_iter().collect();
            kept.sort_unstable();
            (kept, missed)
        };
        assert_eq!(choose(40), (vec![1, 2, 3, 4], 0));
        assert_eq!(choose(39), (vec![1, 3, 4], 0));
        assert_eq!(choose(20), (vec![1, 3], 0));
        assert_eq!(choose(15), (vec![3], 1));
        assert_eq!(choose(0), (vec![], 2));
        let heavy = Remembered { heard: 5, weight: 100, is_done: false };
        let (kept, missed) = kept(all().into_iter().chain([heavy]).collect(), 40);
        assert_eq!((kept.len(), missed), (4, 1));
    }
}
