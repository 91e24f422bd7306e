//! The program: flags, environment and defaults become one [`config::Config`], and that becomes a running
//! member with its listeners.
//!
//! Only `main` reads arguments and environment; everything here is told what they say.

pub mod program;

pub mod config_command;
pub mod health;
mod reload;

pub mod command_line;
pub mod config;
pub mod config_file;
pub mod flags;
pub mod gates;
pub mod help;
pub mod security;
pub mod settings;
mod values;

pub mod lanes;
pub mod listen;
pub mod member;
pub mod notify;
pub mod peer;
pub mod tokens;
