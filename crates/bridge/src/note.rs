//! What a change of a v3 key says of the v2 request that made it, in the note that lies in the history beside it.
//!
//! docs/FORMATS.md lists the numbers, which are for ever.

use mvcc::Note;
use types::v2::Action;

/// What v2 tells of a change.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum Telling {
    /// A v3 client made it, or nobody knows who.
    Plain,
    /// v2 made it and tells nobody: a refresh, the marker of a directory that stays behind empty.
    Silent,
    /// v2 did this to the node of the key.
    Node(Action),
    /// v2 did this to the directory that the first parts of the path lead to.
    Directory(Action, usize),
}

const SILENT: u16 = 15;
/// Above the action: how many parts of the path lead to the directory. A path has no more than 256.
const DEPTH_SHIFT: u32 = 4;
const ACTIONS: [(u16, Action); 7] = [
    (1, Action::Set),
    (2, Action::Create),
    (3, Action::Update),
    (4, Action::Delete),
    (5, Action::Expire),
    (6, Action::CompareAndSwap),
    (7, Action::CompareAndDelete),
];

impl Telling {
    pub(crate) fn note(self) -> Note {
        let number = |action| {
            let known = ACTIONS.iter().find(|(_, known)| *known == action);
            known.map_or(SILENT, |(number, _)| *number)
        };
        Note(match self {
            Self::Plain => 0,
            Self::Silent => SILENT,
            Self::Node(action) => number(action),
            Self::Directory(action, depth) => {
                number(action) | u16::try_from(depth).unwrap_or(0) << DEPTH_SHIFT
            }
        })
    }

    /// A note that nobody of today has written tells nothing.
    pub(crate) fn of(note: Note) -> Self {
        let (number, depth) = (note.0 & SILENT, usize::from(note.0 >> DEPTH_SHIFT));
        let action = ACTIONS.iter().find(|(known, _)| *known == number).map(|(_, action)| *action);
        match action {
            _ if note.0 == 0 => Self::Plain,
            None => Self::Silent,
            Some(action) if depth == 0 => Self::Node(action),
            Some(action) => Self::Directory(action, depth),
        }
    }
}

#[cfg(test)]
mod tests {
    use types::v2::PATH_DEPTH_MAX;

    use super::*;

    #[test]
    fn notes_say_what_they_were_told() {
        for (_, action) in ACTIONS {
            for telling in [
                Telling::Plain,
                Telling::Silent,
                Telling::Node(action),
                Telling::Directory(action, 1),
                Telling::Directory(action, PATH_DEPTH_MAX),
            ] {
                assert_eq!(Telling::of(telling.note()), telling);
            }
        }
        assert_eq!((Telling::Directory(Action::Delete, 2).note().0, Telling::Silent.note().0), (36, 15));
    }
}
