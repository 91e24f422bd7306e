//! SIGHUP: what can change while a member runs is read again, and what cannot is named.
//!
//! Certificates, keys and CRLs are not among it, since they are read again by themselves when their files change.

use telemetry::Log;
use tokio::signal::unix::{SignalKind, signal};
use tracing::{error, info, warn};

use crate::command_line::{Wish, parse};
use crate::config::Config;
use crate::flags::{Effect, Flag};
use crate::program::World;
use crate::settings::Settings;

/// What changes without a restart.
const AT_ONCE: [&str; 2] = ["log-level", "debug"];

/// Waits for SIGHUP for ever. `world` is what the process was started with, `known` what came of it.
pub(crate) async fn serve(world: World, mut known: Settings, log: Log) {
    let mut hangup = match signal(SignalKind::hangup()) {
        Ok(hangup) => hangup,
        Err(error) => return error!(%error, "nothing will be read again on SIGHUP"),
    };
    while hangup.recv().await.is_some() {
        info!("received SIGHUP; reading the configuration again");
        if let Err(error) = log.reopen() {
            error!(%error, "the files of the log could not be opened again");
        }
        match read(&world) {
            Ok((settings, config)) => {
                log.set_level(config.log.level);
                tell(&known, &settings);
                known = settings;
            }
            Err(reason) => {
                error!(error = reason, "the configuration is wrong, and everything stays as it was");
            }
        }
    }
}

fn read(world: &World) -> Result<(Settings, Config), String> {
    let wish = parse(world.arguments.iter().cloned(), world.environment.iter().cloned());
    let Wish::Run(mut settings) = wish.map_err(|error| error.to_string())? else {
        return Err("the command line is not that of a member".to_owned());
    };
    settings.read_file().map_err(|error| error.to_string())?;
    let config = Config::read(&settings).map_err(|error| error.to_string())?;
    Ok((settings, config))
}

/// Says what has changed, and whether it counts already.
fn tell(known: &Settings, now: &Settings) {
    let changed = |flag: &&Flag| {
        matches!(flag.effect, Effect::Honoured) && known.value(flag.name) != now.value(flag.name)
    };
    let mut any = false;
    for flag in Flag::all().filter(changed) {
        any = true;
        let (old, new) = (known.value(flag.name), now.value(flag.name));
        if AT_ONCE.contains(&flag.name) {
            info!({ "flag-name" } = flag.name, old, new, "a setting has changed");
        } else {
            warn!(
                { "flag-name" } = flag.name,
                old, new, "a setting has changed, which counts after a restart"
            );
        }
    }
    if !any {
        info!("no setting has changed");
    }
}
