//! Passwords that are typed: unseen on a terminal, as a line where there is none.

use std::io::{self, BufRead as _, IsTerminal as _};

use crate::failure::Failure;
use crate::output::say_without_end;

/// Asks for a password with these words.
pub(crate) fn ask(words: &str) -> Result<String, Failure> {
    let failed = |error: io::Error| Failure::arguments(format!("failed to ask password: {error}"));
    if io::stdin().is_terminal() {
        return rpassword::prompt_password(words).map_err(failed);
    }
    say_without_end(words);
    line().map_err(failed)
}

/// One line of stdin without its end.
pub(crate) fn line() -> io::Result<String> {
    let mut line = String::new();
    io::stdin().lock().read_line(&mut line)?;
    Ok(line.trim_end_matches(['\r', '\n']).to_owned())
}
