//! `kvorum health`: asks a member whether it serves, for health checks of containers, which have no shell and no curl.
//!
//! Exit status 0 and a line on stdout, or 1 and the reason on stderr. It reads no environment and touches no data.

use std::io::Write;
use std::path::PathBuf;
use std::process::ExitCode;
use std::sync::Arc;
use std::time::Duration;

use stdx::chain;
use telemetry::Registry;
use tls::{Allowed, Client, ClientSettings, Pair, Protocol, Side, Trust};

/// Asked when no other is given.
const ENDPOINT: &str = "http://127.0.0.1:2379";
/// A member that does not answer within this time does not serve.
const TIME_MAX: Duration = Duration::from_secs(5);

/// What is asked, and how.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
struct Question {
    endpoint: Option<String>,
    /// The CAs that are believed; those of the system without it.
    cacert: Option<PathBuf>,
    cert: Option<PathBuf>,
    key: Option<PathBuf>,
}

/// Runs it with the words behind `health`.
pub fn run(words: &[String]) -> ExitCode {
    let question = match Question::read(words) {
        Ok(question) => question,
        Err(text) => {
            tell(&mut std::io::stderr(), &text);
            return ExitCode::from(2);
        }
    };
    let endpoint = question.endpoint.as_deref().unwrap_or(ENDPOINT);
    match question.ask(endpoint) {
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

impl Question {
    fn read(words: &[String]) -> Result<Self, String> {
        let usage = || {
            format!("usage: kvorum health [--endpoint {ENDPOINT}] [--cacert FILE] [--cert FILE --key FILE]")
        };
        let mut question = Self::default();
        let mut words = words.iter();
        while let Some(word) = words.next() {
            let (flag, value) = match word.split_once('=') {
                Some((flag, value)) => (flag, value.to_owned()),
                None => (word.as_str(), words.next().ok_or_else(usage)?.clone()),
            };
            match flag {
                "--endpoint" => question.endpoint = Some(value),
                "--cacert" => question.cacert = Some(value.into()),
                "--cert" => question.cert = Some(value.into()),
                "--key" => question.key = Some(value.into()),
                _ => return Err(usage()),
            }
        }
        if question.cert.is_some() != question.key.is_some() {
            return Err(usage());
        }
        Ok(question)
    }

    fn ask(&self, endpoint: &str) -> Result<(), String> {
        let runtime = tokio::runtime::Builder::new_current_thread().enable_all().build();
        let runtime = runtime.map_err(|error| error.to_string())?;
        let tls = if endpoint.starts_with("https://") { Some(self.tls()?) } else { None };
        let answer = runtime.block_on(transport::ask(endpoint, "/health", tls.as_deref(), TIME_MAX));
        match answer {
            Ok(answer) if answer.status == 200 => Ok(()),
            Ok(answer) => Err(String::from_utf8_lossy(&answer.body).trim().to_owned()),
            Err(error) => Err(chain(&error)),
        }
    }

    fn tls(&self) -> Result<Arc<Client>, String> {
        let pair = self.cert.clone().zip(self.key.clone()).map(|(cert, key)| Pair { cert, key });
        let settings = ClientSettings {
            side: Side::Client,
            pair,
            trust: self.cacert.clone().map_or(Trust::System, Trust::File),
            allowed: Allowed::All,
            server_name: None,
            protocol: Protocol::default(),
            inside: Vec::new(),
        };
        Client::new(settings, &Registry::new()).map_err(|error| chain(&error))
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
        let check = |words: &[&str], expect: Option<Question>| {
            let words: Vec<String> = words.iter().map(ToString::to_string).collect();
            assert_eq!(Question::read(&words).ok(), expect, "{words:?}");
        };
        let at = |endpoint: &str| Question { endpoint: Some(endpoint.to_owned()), ..Question::default() };
        check(&[], Some(Question::default()));
        check(&["--endpoint", "http://a:1"], Some(at("http://a:1")));
        check(&["--endpoint=http://a:1"], Some(at("http://a:1")));
        let (cacert, cert, key) = (Some("ca".into()), Some("c".into()), Some("k".into()));
        let all = Question { cacert, cert, key, ..at("https://a:1") };
        check(&["--endpoint=https://a:1", "--cacert", "ca", "--cert=c", "--key", "k"], Some(all));
        check(&["--cert", "c"], None);
        check(&["http://a:1"], None);
        check(&["--endpoint"], None);
        check(&["--endpoint", "http://a:1", "more"], None);
    }
}
