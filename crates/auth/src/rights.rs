//! What one user may do, all roles together.

use std::sync::Arc;

use types::{AuthRefusal, KeyRange};

use crate::Ranges;

/// What the roles of a user allow together.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct Rights {
    /// He has the role root, and may do everything.
    pub is_root: bool,
    /// What he may read.
    pub read: Ranges,
    /// What he may write.
    pub write: Ranges,
}

/// What somebody may do with keys, as of now.
#[derive(Clone, Debug)]
pub enum Pass {
    /// Everything: he is root, a member itself, or nobody has to prove anything.
    All,
    /// What these allow.
    Some(Arc<Rights>),
}

impl Pass {
    /// Whether `range` may be read.
    pub fn read(&self, range: &KeyRange) -> Result<(), AuthRefusal> {
        self.may(range, |rights| &rights.read)
    }

    /// Whether `range` may be written.
    pub fn write(&self, range: &KeyRange) -> Result<(), AuthRefusal> {
        self.may(range, |rights| &rights.write)
    }

    /// Whether a key may be read.
    pub fn reads(&self, key: &[u8]) -> bool {
        matches!(self, Self::All) || matches!(self, Self::Some(rights) if rights.read.contains(key))
    }

    /// Whether a key may be written.
    pub fn writes(&self, key: &[u8]) -> bool {
        matches!(self, Self::All) || matches!(self, Self::Some(rights) if rights.write.contains(key))
    }

    fn may(&self, range: &KeyRange, which: impl Fn(&Rights) -> &Ranges) -> Result<(), AuthRefusal> {
        match self {
            Self::All => Ok(()),
            Self::Some(rights) if which(rights).cover(range) => Ok(()),
            Self::Some(_) => Err(AuthRefusal::Denied),
        }
    }
}
