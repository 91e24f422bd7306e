//! What the service manager is told, as systemd's `Type=notify` wants it: that the member serves, what it waits for, that it
//! stops, and again and again that it lives.
//!
//! INVARIANT: whatever becomes of the messages, the member goes on.

use std::io;
use std::os::linux::net::SocketAddrExt;
use std::os::unix::net::{SocketAddr, UnixDatagram};
use std::time::Duration;

use tracing::error;

/// The service manager, if there is one.
#[derive(Clone, Debug, Default)]
pub struct Manager {
    socket: Option<String>,
    /// It wants to hear something at least this often.
    watchdog: Option<Duration>,
}

impl Manager {
    /// The one that the environment names: `$NOTIFY_SOCKET`, where an `@` in front stands for a name outside of the file
    /// system, and `$WATCHDOG_USEC`, if that is meant for this process.
    pub fn named(environment: &[(String, String)]) -> Self {
        let value = |name: &str| {
            let found = environment.iter().find(|(known, _)| known == name).map(|(_, value)| value.clone());
            found.filter(|value| !value.is_empty())
        };
        let socket = value("NOTIFY_SOCKET");
        let is_for_us = value("WATCHDOG_PID").is_none_or(|pid| pid == std::process::id().to_string());
        let micros = value("WATCHDOG_USEC").and_then(|micros| micros.parse().ok());
        let watchdog = micros.filter(|micros| is_for_us && *micros > 0).map(Duration::from_micros);
        Self { watchdog: watchdog.filter(|_| socket.is_some()), socket }
    }

    /// How often it is to be told that the process lives; twice as often as it wants to hear.
    pub fn pulse(&self) -> Option<Duration> {
        self.watchdog.map(|watchdog| watchdog / 2)
    }

    /// What the member does or waits for, for `systemctl status`.
    pub fn status(&self, text: &str) {
        self.tell(&format!("STATUS={text}"));
    }

    /// The member serves.
    pub fn ready(&self, text: &str) {
        self.tell(&format!("READY=1\nSTATUS={text}"));
    }

    /// The member stops.
    pub fn stopping(&self, text: &str) {
        self.tell(&format!("STOPPING=1\nSTATUS={text}"));
    }

    /// The process lives.
    pub fn alive(&self) {
        self.tell("WATCHDOG=1");
    }

    fn tell(&self, message: &str) {
        if let Some(path) = &self.socket
            && let Err(error) = send(path, message)
        {
            error!(%error, path, "the service manager was not told {message:?}");
        }
    }
}

fn send(path: &str, message: &str) -> io::Result<()> {
    let address = match path.strip_prefix('@') {
        Some(name) => SocketAddr::from_abstract_name(name)?,
        None => SocketAddr::from_pathname(path)?,
    };
    let socket = UnixDatagram::unbound()?;
    // A manager that does not read holds nobody up.
    socket.set_nonblocking(true)?;
    socket.send_to_addr(message.as_bytes(), &address).map(drop)
}

#[cfg(test)]
mod tests {
    use super::*;

    fn named(pairs: &[(&str, &str)]) -> Manager {
        let pairs: Vec<_> = pairs.iter().map(|(name, value)| ((*name).into(), (*value).into())).collect();
        Manager::named(&pairs)
    }

    #[test]
    fn both_kinds_of_socket_hear_it() {
        let folder = tempfile::tempdir().expect("a folder for the test");
        let path = folder.path().join("notify").display().to_string();
        let abstract_path = format!("@kvorum-test-{}", std::process::id());
        let name = SocketAddr::from_abstract_name(&abstract_path[1..]).expect("a short name");
        let sockets = [
            (path.clone(), UnixDatagram::bind(&path).expect("bound")),
            (abstract_path.clone(), UnixDatagram::bind_addr(&name).expect("bound")),
        ];
        for (path, socket) in sockets {
            let manager = named(&[("NOTIFY_SOCKET", &path)]);
            for (act, expect) in [
                (Manager::ready as fn(&Manager, &str), "READY=1\nSTATUS=x"),
                (Manager::status, "STATUS=x"),
                (Manager::stopping, "STOPPING=1\nSTATUS=x"),
                (|manager, _| manager.alive(), "WATCHDOG=1"),
            ] {
                act(&manager, "x");
                let mut heard = [0; 64];
                let length = socket.recv(&mut heard).expect("something came");
                assert_eq!(&heard[..length], expect.as_bytes());
            }
        }
        assert!(send("/nowhere/notify", "x").is_err());
        named(&[("NOTIFY_SOCKET", "/nowhere/notify")]).alive();
        named(&[]).alive();
    }

    #[test]
    fn the_watchdog_is_for_the_process_that_it_names() {
        let own = std::process::id().to_string();
        let socket = ("NOTIFY_SOCKET", "/x");
        for (pairs, expect_ms) in [
            (vec![socket, ("WATCHDOG_USEC", "30000000"), ("WATCHDOG_PID", own.as_str())], Some(15_000)),
            (vec![socket, ("WATCHDOG_USEC", "30000000")], Some(15_000)),
            (vec![socket, ("WATCHDOG_USEC", "30000000"), ("WATCHDOG_PID", "1")], None),
            (vec![socket, ("WATCHDOG_USEC", "0")], None),
            (vec![("WATCHDOG_USEC", "30000000")], None),
            (vec![socket], None),
        ] {
            assert_eq!(named(&pairs).pulse().map(|pulse| pulse.as_millis()), expect_ms, "{pairs:?}");
        }
    }
}
