//! The program: flags, environment and defaults become one [`config::Config`], and that becomes a running
//! member with its listeners.
//!
//! Only this crate reads arguments and environment, and only [`program`] ends the process.

pub mod command_line;
pub mod config;
pub mod flags;
pub mod help;
pub mod urls;
