//! A new member's data folder out of a snapshot that an operator kept, ours or etcd's, and what such a snapshot holds.
//!
//! The files come into the folder as those of a snapshot from another member do, and are the live database of a log that
//! goes on behind them. What is different is who is in the cluster: those of the plan, and nobody else ever was. It
//! speaks to nobody and knows no flags.
//!
//! INVARIANT: the whole archive is read and checked before anything is written.
//! INVARIANT: `member` appears in the folder by a rename, complete and durable, or not at all; what was there is not touched.

mod bolt_file;
mod digest;
mod founding;
mod plan;
mod replay;
mod source;

pub use digest::{Digest, DigestError, digest};
pub use founding::{Origin, RestoreError, Restored, restore, restore_folder};
pub use plan::{Plan, PlanError};
pub use replay::{Archive, ArchiveError, Goal, Replayed};
pub use source::{Sight, Source, SourceError};
