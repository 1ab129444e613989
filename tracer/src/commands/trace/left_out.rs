//! Cgroups of targets that there was no room for: they wait until there is.

use std::collections::{BTreeMap, HashMap};

/// How many wait at most: whoever owns a tree of cgroups can make any number in it.
const MOST: usize = 1 << 16;

/// Cgroups that wait, by their ids.
#[derive(Debug, Default)]
pub struct WaitingCgroups {
    /// In the order in which they were left out.
    order: BTreeMap<u64, u64>,
    /// The place of each in that order.
    places: HashMap<u64, u64>,
    /// How many were left out so far.
    count: u64,
}

impl WaitingCgroups {
    /// There was no room for this one.
    pub fn wait(&mut self, id: u64) {
        if self.places.len() < MOST && !self.places.contains_key(&id) {
            self.order.insert(self.count, id);
            self.places.insert(id, self.count);
            self.count += 1;
        }
    }

    /// A cgroup is gone, and with it perhaps what took the room of another: as many as there is room for are added. `add`
    /// says whether there was some.
    pub fn gone<E>(
        &mut self,
        id: u64,
        mut add: impl FnMut(u64) -> Result<bool, E>,
    ) -> Result<(), E> {
        self.forget(id);
        while let Some((_, &next)) = self.order.first_key_value() {
            if !add(next)? {
                break;
            }
            self.forget(next);
        }
        Ok(())
    }

    fn forget(&mut self, id: u64) {
        if let Some(place) = self.places.remove(&id) {
            self.order.remove(&place);
        }
    }
}

#[cfg(test)]
mod tests {
    use std::collections::HashSet;
    use std::convert::Infallible;

    use super::*;

    /// The kernel's map, with room for so many.
    struct Map(HashSet<u64>, usize);

    impl Map {
        fn add(&mut self, id: u64) -> bool {
            (self.0.len() < self.1) && self.0.insert(id)
        }

        fn remove(&mut self, waiting: &mut WaitingCgroups, id: u64) {
            self.0.remove(&id);
            let done = waiting.gone(id, |id| Ok::<_, Infallible>(self.add(id)));
            assert!(done.is_ok());
        }
    }

    #[test]
    fn what_was_left_out_is_added_when_there_is_room() {
        let (mut map, mut waiting) = (Map(HashSet::new(), 2), WaitingCgroups::default());
        for id in 1..=6 {
            if !map.add(id) {
                waiting.wait(id);
                waiting.wait(id);
            }
        }
        assert_eq!(map.0, [1, 2].into());
        // One that waits takes no room with it.
        map.remove(&mut waiting, 3);
        assert_eq!(map.0, [1, 2].into());
        map.remove(&mut waiting, 1);
        assert_eq!(map.0, [2, 4].into(), "the first that waits and is still there");
        map.1 = 9;
        map.remove(&mut waiting, 2);
        assert_eq!(map.0, [4, 5, 6].into());
        map.remove(&mut waiting, 4);
        assert_eq!(map.0, [5, 6].into(), "each once");
        assert!(waiting.order.is_empty() && waiting.places.is_empty());
    }

    #[test]
    fn no_more_wait_than_there_may_be() {
        let mut waiting = WaitingCgroups::default();
        for id in 0..(MOST as u64 + 10) {
            waiting.wait(id);
        }
        assert_eq!((waiting.order.len(), waiting.places.len()), (MOST, MOST));
        // Those that come and go leave nothing behind.
        for id in 0..(MOST as u64) {
            assert!(waiting.gone(id, |_| Ok::<_, Infallible>(false)).is_ok());
        }
        assert!(waiting.order.is_empty() && waiting.places.is_empty());
    }
}
