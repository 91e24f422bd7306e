//! The keyspace back from its rows, and nothing that a writer could not have left there.

use store::{Direction, Family, Span, Store, StoreError};
use types::v2::{PATH_DEPTH_MAX, Path};

use crate::INDEX_FIRST;
use crate::keyspace::Keyspace;
use crate::past;
use crate::record;
use crate::row::{self, Damage};

/// Why the keyspace cannot be opened.
#[derive(Debug, thiserror::Error)]
pub enum OpenError {
    /// The rows cannot be read.
    #[error("cannot read the v2 keyspace")]
    Store(#[from] StoreError),
    /// A row is not as it was written.
    #[error("the row {key:?} of the v2 keyspace is damaged")]
    Damaged {
        /// The key of the row, as text as far as it is any.
        key: String,
        /// In what way.
        #[source]
        damage: Damage,
    },
}

/// Reads everything.
pub(crate) fn keyspace(store: &Store) -> Result<Keyspace, OpenError> {
    let index = match store.get(Family::Meta, row::INDEX_KEY)? {
        None => INDEX_FIRST,
        Some(bytes) => row::decode_index(&bytes).map_err(|damage| damaged(row::INDEX_KEY, damage))?,
    };
    let mut keyspace = Keyspace::new(index);
    let nodes = Span { lower: Some(record::END.to_vec()), upper: None };
    let mut cursor = store.scan(Family::V2, &nodes, Direction::Forward);
    while let Some((key, bytes)) = cursor.row() {
        load(&mut keyspace, key, bytes).map_err(|damage| damaged(key, damage))?;
        cursor.step();
    }
    cursor.finish()?;
    let history = past::history(store, &keyspace)?;
    keyspace.restore_history(history);
    Ok(keyspace)
}

fn load(keyspace: &mut Keyspace, key: &[u8], bytes: &[u8]) -> Result<(), Damage> {
    let text = row::decode_key(key)?;
    let path = Path::clean(text);
    if path.as_str() != text || path.components().count() > PATH_DEPTH_MAX {
        return Err(Damage::Key);
    }
    let node = row::decode(key, bytes)?;
    if node.created_index > node.modified_index || node.modified_index > keyspace.index() {
        return Err(Damage::Index);
    }
    if keyspace.restore(&path, node) { Ok(()) } else { Err(Damage::Orphan) }
}

pub(crate) fn damaged(key: &[u8], damage: Damage) -> OpenError {
    OpenError::Damaged { key: String::from_utf8_lossy(key).into_owned(), damage }
}
