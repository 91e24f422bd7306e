//! `kvorum health`: asks a member whether it serves, for health checks of containers, which have no shell and no curl.
//!
//! Exit status 0 and a line on stdout, or 1 and the reason on stderr. It reads no environment and touches no data.

use std::io::Write;
use std::process::ExitCode;
use std::time::Duration;

use stdx::chain;

/// Asked when no other is given.
const ENDPOINT: &str = "http://127.0.0.1:2379";
/// A member that does not answer within this time does not serve.
const TIME_MAX: Duration = Duration::from_secs(5);

/// Runs it with the words behind `health`.
pub fn run(words: &[String]) -> ExitCode {
    let endpoint = match endpoint(words) {
        Ok(endpoint) => endpoint,
        Err(text) => {
            tell(&mut std::io::stderr(), &text);
            return ExitCode::from(2);
        }
    };
    match ask(endpoint) {
        Ok(()) => {
            tell(&mut std::io::stdout(), &format!("{endpoint} is healthy"));
            ExitCode::SUCCESS
        }
        Err(reason) => {
            tell(&mut std::io::stderr(), &format!("{endpoint} is unhealthy: {reason}"));
            ExitCode::FAILURE
        }
    }
}

fn endpoint(words: &[String]) -> Result<&str, String> {
    let words: Vec<&str> = words.iter().map(String::as_str).collect();
    match words.as_slice() {
        [] => Ok(ENDPOINT),
        ["--endpoint", endpoint] => Ok(endpoint),
        [word] if word.starts_with("--endpoint=") => Ok(&word["--endpoint=".len()..]),
        _ => Err(format!("usage: kvorum health [--endpoint {ENDPOINT}]")),
    }
}

fn ask(endpoint: &str) -> Result<(), String> {
    let runtime = tokio::runtime::Builder::new_current_thread().enable_all().build();
    let runtime = runtime.map_err(|error| error.to_string())?;
    let answer = runtime.block_on(transport::ask(endpoint, "/health", None, TIME_MAX));
    match answer {
        Ok(answer) if answer.status == 200 => Ok(()),
        Ok(answer) => Err(String::from_utf8_lossy(&answer.body).trim().to_owned()),
        Err(error) => Err(chain(&error)),
    }
}

fn tell(to: &mut impl Write, line: &str) {
    // A closed pipe has no reader who could be told.
    drop(writeln!(to, "{line}"));
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_words_are_few() {
        let check = |words: &[&str], expect: Result<&str, ()>| {
            let words: Vec<String> = words.iter().map(ToString::to_string).collect();
            assert_eq!(endpoint(&words).map_err(|_| ()), expect, "{words:?}");
        };
        check(&[], Ok("http://127.0.0.1:2379"));
        check(&["--endpoint", "http://a:1"], Ok("http://a:1"));
        check(&["--endpoint=http://a:1"], Ok("http://a:1"));
        check(&["http://a:1"], Err(()));
        check(&["--endpoint"], Err(()));
        check(&["--endpoint", "http://a:1", "more"], Err(()));
    }
}
