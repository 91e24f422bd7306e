//! Telling the service manager that the member serves: `READY=1` to `$NOTIFY_SOCKET`, as systemd's
//! `Type=notify` wants it.

use std::io;
use std::os::linux::net::SocketAddrExt;
use std::os::unix::net::{SocketAddr, UnixDatagram};

/// Says `READY=1`. `path` is what `$NOTIFY_SOCKET` holds; an `@` in front stands for a name outside of the
/// file system.
pub fn ready(path: &str) -> io::Result<()> {
    let address = match path.strip_prefix('@') {
        Some(name) => SocketAddr::from_abstract_name(name)?,
        None => SocketAddr::from_pathname(path)?,
    };
    UnixDatagram::unbound()?.send_to_addr(b"READY=1", &address).map(drop)
}

#[cfg(test)]
mod tests {
    use super::*;

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
            ready(&path).expect("somebody listens");
            let mut heard = [0; 16];
            let length = socket.recv(&mut heard).expect("something came");
            assert_eq!(&heard[..length], b"READY=1");
        }
        assert!(ready("/nowhere/notify").is_err());
    }
}
