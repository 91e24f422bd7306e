//! What a user does first, done to real etcd and to us: the same commands, the same output, ids and indexes
//! apart. And the starts that are refused: an exit code and one clear sentence.

mod commands;
mod refusals;
