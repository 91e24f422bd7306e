//! The hand tool: etcdctl's verbs, flags, outputs and exit codes, so that a script changes one word.
//!
//! A verb is a file under `verbs/`: its flags, what it does, and how its answer looks. Data goes to stdout, words to
//! stderr. Only `program` sees the arguments and the environment.

mod command_line;
mod environment;
mod failure;
mod go;
mod output;
pub mod program;
mod session;
mod v2;
mod verbs;
