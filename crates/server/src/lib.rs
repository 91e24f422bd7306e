//! The member: everything between the door and the disk, put together.
//!
//! A write is encoded, admitted, proposed, and awaited by its ticket. A linearizable read asks consensus for an
//! index and waits until it is applied. Neither holds a lock while it waits.
//!
//! INVARIANT: what waits is counted before it is let in and released when its ticket goes.
//! INVARIANT: a member that failed once answers nothing more.

mod alone;
mod begin;
mod config;
mod load;
mod start;

mod asking;
mod bridging;
mod changes;
mod defragment;
mod door;
mod doorkeeper;
mod downgrade;
mod export;
mod guest;
mod lately;
mod leases;
mod member;
mod parts;
mod requests;
mod rooms;
mod sending;
mod users;
mod v2auth;

mod admission;
pub mod passwords;
mod shared;
mod ticket;
mod waits;

mod watch_guard;
mod watching;
mod window;

mod applier;
mod depot;
mod errand;
mod fetch;
mod integrity;
mod site;

mod archivist;
mod courier;
mod housekeeper;
mod lessor;
mod office;
mod post;
mod saver;
mod timekeeper;

mod counting;
mod measures;
mod tally;
mod work;

pub use alone::AloneError;
pub use config::{Backups, Beginning, Config};
pub use member::Member;
pub use shared::End;
pub use start::StartError;

#[cfg(test)]
mod tests;
