//! Many things of one kind, each at a place with a number: as a slab, but in boards of a fixed size.
//!
//! A slab of one piece is copied when it grows, and leaves as much behind as it holds; boards stay where they are. There
//! may be a million watches, and what one costs counts.

use std::ops::{Index, IndexMut};

/// Places of a board.
const PLACES: usize = 1024;

/// No place.
const NONE: u32 = u32::MAX;

enum Place<T> {
    /// And the empty place that was left before it.
    Empty(u32),
    Taken(T),
}

/// See the module.
pub(crate) struct Shelf<T> {
    // All but the last are full.
    boards: Vec<Vec<Place<T>>>,
    empty: u32,
    len: usize,
}

impl<T> Default for Shelf<T> {
    fn default() -> Self {
        Self { boards: Vec::new(), empty: NONE, len: 0 }
    }
}

impl<T> Shelf<T> {
    /// How many there are.
    pub(crate) fn len(&self) -> usize {
        self.len
    }

    /// Puts one in; its place.
    pub(crate) fn insert(&mut self, thing: T) -> usize {
        self.len += 1;
        if self.empty != NONE {
            let at = self.empty as usize;
            let place = &mut self.boards[at / PLACES][at % PLACES];
            let Place::Empty(next) = std::mem::replace(place, Place::Taken(thing)) else {
                unreachable!("places in the list are empty")
            };
            self.empty = next;
            return at;
        }
        if self.boards.last().is_none_or(|board| board.len() == PLACES) {
            self.boards.push(Vec::with_capacity(PLACES));
        }
        let full = (self.boards.len() - 1) * PLACES;
        let board = self.boards.last_mut().expect("one was put up");
        board.push(Place::Taken(thing));
        full + board.len() - 1
    }

    /// Takes out what is at a place, which must be taken.
    pub(crate) fn remove(&mut self, at: usize) -> T {
        let place = &mut self.boards[at / PLACES][at % PLACES];
        let Place::Taken(thing) = std::mem::replace(place, Place::Empty(self.empty)) else {
            panic!("place {at} is empty")
        };
        self.empty = at as u32;
        self.len -= 1;
        if self.len == 0 {
            // Nobody knows a place any more: the memory goes back, but for what the next few need.
            self.boards.truncate(1);
            self.boards.iter_mut().for_each(Vec::clear);
            self.empty = NONE;
        }
        thing
    }

    /// What is at a place, if it is taken.
    pub(crate) fn get(&self, at: usize) -> Option<&T> {
        match self.boards.get(at / PLACES)?.get(at % PLACES)? {
            Place::Taken(thing) => Some(thing),
            Place::Empty(_) => None,
        }
    }

    /// All that there are, by their places.
    pub(crate) fn iter(&self) -> impl Iterator<Item = (usize, &T)> {
        self.boards.iter().flatten().enumerate().filter_map(|(at, place)| match place {
            Place::Taken(thing) => Some((at, thing)),
            Place::Empty(_) => None,
        })
    }
}

impl<T> Index<usize> for Shelf<T> {
    type Output = T;

    fn index(&self, at: usize) -> &T {
        match &self.boards[at / PLACES][at % PLACES] {
            Place::Taken(thing) => thing,
            Place::Empty(_) => panic!("place {at} is empty"),
        }
    }
}

impl<T> IndexMut<usize> for Shelf<T> {
    fn index_mut(&mut self, at: usize) -> &mut T {
        match &mut self.boards[at / PLACES][at % PLACES] {
            Place::Taken(thing) => thing,
            Place::Empty(_) => panic!("place {at} is empty"),
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn places_are_used_again_and_others_stay() {
        let mut shelf = Shelf::default();
        let places: Vec<usize> = (0..3 * PLACES).map(|number| shelf.insert(number)).collect();
        assert_eq!(places, (0..3 * PLACES).collect::<Vec<_>>());
        for at in [5, PLACES, 2 * PLACES - 1] {
            assert_eq!(shelf.remove(at), at);
            assert_eq!(shelf.get(at), None);
        }
        let mut again: Vec<usize> = (0..4).map(|_| shelf.insert(7)).collect();
        again.sort_unstable();
        assert_eq!(again, [5, PLACES, 2 * PLACES - 1, 3 * PLACES]);
        assert_eq!(
            (shelf.len(), shelf[6], shelf[5], shelf.iter().count()),
            (3 * PLACES + 1, 6, 7, 3 * PLACES + 1)
        );
    }

    #[test]
    fn an_empty_shelf_keeps_one_board() {
        let mut shelf = Shelf::default();
        let places: Vec<usize> = (0..=PLACES).map(|number| shelf.insert(number)).collect();
        for at in places {
            shelf.remove(at);
        }
        assert_eq!((shelf.boards.len(), shelf.get(0)), (1, None));
        assert_eq!((shelf.insert(1), shelf.insert(1)), (0, 1));
    }

    #[test]
    fn a_place_costs_no_more_than_what_is_there() {
        assert_eq!(size_of::<Place<crate::watcher::Watcher>>(), 40);
    }
}
