//! What a verb works with: the client, how long it may take, and where its answer goes.

use std::time::Duration;

use client::{Call, Client, Config, Credentials, Endpoint};

use crate::command_line::Globals;
use crate::failure::{Done, Failure, exit};
use crate::output::{Output, Shown};

/// One call of the program.
#[derive(Debug)]
pub(crate) struct Session {
    /// As whom it was called.
    pub(crate) name: &'static str,
    pub(crate) globals: Globals,
    pub(crate) client: Client,
    pub(crate) output: Output,
}

impl Session {
    pub(crate) async fn open(name: &'static str, globals: &Globals) -> Result<Self, Failure> {
        let output = Output::new(&globals.write_out, globals.hex)?;
        let config = config(globals, globals.endpoints.iter().map(String::as_str))?;
        Ok(Self { name, globals: globals.clone(), client: Client::new(config), output })
    }

    /// Asks whichever endpoint answers.
    pub(crate) async fn call<C: Call>(&self, request: C) -> Result<C::Reply, Failure> {
        Ok(self.client.call(request, self.patience()).await?)
    }

    /// How long a command may take; nothing when there is no limit.
    pub(crate) fn patience(&self) -> Option<Duration> {
        Some(self.globals.command_timeout).filter(|patience| !patience.is_zero())
    }

    /// Shows an answer in the form that was asked for.
    pub(crate) fn show(&self, shown: &dyn Shown) -> Done {
        self.output.show(shown)
    }
}

/// What the flags say of connections.
pub(crate) fn config<'a>(
    globals: &Globals,
    endpoints: impl Iterator<Item = &'a str>,
) -> Result<Config, Failure> {
    let endpoints: Vec<Endpoint> = endpoints
        .filter(|text| !text.is_empty())
        .map(Endpoint::parse)
        .collect::<Result<_, _>>()
        .map_err(|error| Failure::new(exit::BAD_ARGUMENTS, error.to_string()))?;
    if endpoints.is_empty() {
        return Err(Failure::new(exit::BAD_ARGUMENTS, "no endpoint is given"));
    }
    Ok(Config {
        endpoints,
        dial_timeout: globals.dial_timeout,
        keepalive_time: globals.keepalive_time,
        keepalive_timeout: globals.keepalive_timeout,
        credentials: credentials(globals)?,
        ..Config::default()
    })
}

/// Who speaks; a password that is missing is asked for.
fn credentials(globals: &Globals) -> Result<Option<Credentials>, Failure> {
    let Some(user) = globals.user.as_deref().filter(|user| !user.is_empty()) else { return Ok(None) };
    let (name, password) = match (&globals.password, user.split_once(':')) {
        (Some(password), _) => (user, password.clone()),
        (None, Some((name, password))) => (name, password.to_owned()),
        (None, None) => (user, crate::verbs::password::ask("Password: ")?),
    };
    Ok(Some(Credentials { name: name.to_owned(), password }))
}
