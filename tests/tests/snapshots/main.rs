//! The disaster and the way out of it: `kvorumctl snapshot save`, `status` and `restore`, on members that are real
//! processes. What is there after a restore is compared with what was there when the snapshot was taken.

mod by_itself;
mod disaster;
mod refused;
mod state;
