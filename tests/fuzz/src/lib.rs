//! What a stranger can have decoded here, as functions of bytes: [`TARGETS`]. Two programs call them: `fuzz`, in which
//! libFuzzer looks for inputs (`make fuzz`), and the test `replay`, which runs what was found and kept in `corpus/`.
//!
//! A target panics where something is wrong: the decoder panicked, what was decoded and encoded again is not the same,
//! a request got no answer in time, or an input took more memory than twice what the decoder's limit allows for it.
//!
//! INVARIANT: a target does the same with the same bytes, whatever ran before.

mod door;
mod files;
mod member;
mod peers;
mod target;
mod tokens;

pub use target::{TARGETS, Target};
