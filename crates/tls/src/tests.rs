//! Handshakes between a server and a client of ours, over the loopback, with certificates that the test makes.

use std::fs;
use std::path::PathBuf;
use std::time::Duration;

use rcgen::{BasicConstraints, CertificateParams, DnType, ExtendedKeyUsagePurpose, IsCa, Issuer, KeyPair};
use telemetry::Registry;
use tempfile::TempDir;
use time::OffsetDateTime;
use tokio::io::{AsyncReadExt, AsyncWriteExt};
use tokio::net::{TcpListener, TcpStream};

use crate::{
    Allowed, Client, ClientSettings, Pair, Protocol, Rules, Server, ServerSettings, Side, TlsError, Trust,
    self_signed,
};

/// A folder with a CA.
struct Desk {
    folder: TempDir,
    ca: Issuer<'static, KeyPair>,
}

impl Desk {
    fn new() -> Self {
        let folder = tempfile::tempdir().expect("a folder");
        let ca = authority(&folder, "ca", OffsetDateTime::now_utc() + time::Duration::days(9));
        Self { folder, ca }
    }

    fn path(&self, name: &str) -> PathBuf {
        self.folder.path().join(name)
    }

    fn pair(&self, name: &str) -> Pair {
        Pair { cert: self.path(&format!("{name}.pem")), key: self.path(&format!("{name}-key.pem")) }
    }

    fn sign(&self, name: &str, hosts: &[&str], usages: &[ExtendedKeyUsagePurpose]) -> Pair {
        self.sign_by(&self.ca, name, hosts, usages)
    }

    fn sign_by(
        &self,
        issuer: &Issuer<'static, KeyPair>,
        name: &str,
        hosts: &[&str],
        usages: &[ExtendedKeyUsagePurpose],
    ) -> Pair {
        let mut params = params(name, hosts);
        params.extended_key_usages = usages.to_vec();
        let key = KeyPair::generate().expect("a key");
        let signed = params.signed_by(&key, issuer).expect("signs");
        self.write(name, &signed.pem(), &key)
    }

    fn write(&self, name: &str, certificate: &str, key: &KeyPair) -> Pair {
        let pair = self.pair(name);
        fs::write(&pair.cert, certificate).expect("writes");
        fs::write(&pair.key, key.serialize_pem()).expect("writes");
        pair
    }

    fn server(&self, pair: Pair, trust: Option<&str>) -> ServerSettings {
        let rules = trust.map(|name| Rules {
            trust: Trust::File(self.path(name)),
            crl: None,
            allowed: Allowed::All,
            from_own_address: false,
            names_callers: true,
        });
        ServerSettings {
            side: Side::Client,
            pair,
            rules,
            protocol: Protocol::default(),
            inside: vec!["h2"],
            handshakes_max: 4,
            handshake_time_max: Duration::from_secs(20),
        }
    }

    fn client(&self, pair: Option<Pair>, trust: &str) -> ClientSettings {
        ClientSettings {
            side: Side::Peer,
            pair,
            trust: Trust::File(self.path(trust)),
            allowed: Allowed::All,
            server_name: None,
            protocol: Protocol::default(),
            inside: vec!["h2"],
        }
    }
}

fn params(name: &str, hosts: &[&str]) -> CertificateParams {
    let hosts: Vec<String> = hosts.iter().map(ToString::to_string).collect();
    let mut params = CertificateParams::new(hosts).expect("hosts");
    params.distinguished_name = rcgen::DistinguishedName::new();
    params.distinguished_name.push(DnType::CommonName, name);
    params
}

fn authority(folder: &TempDir, name: &str, until: OffsetDateTime) -> Issuer<'static, KeyPair> {
    let mut params = params(name, &[]);
    params.is_ca = IsCa::Ca(BasicConstraints::Unconstrained);
    params.not_after = until;
    let key = KeyPair::generate().expect("a key");
    let certificate = params.self_signed(&key).expect("signs");
    fs::write(folder.path().join(format!("{name}.pem")), certificate.pem()).expect("writes");
    Issuer::new(params, key)
}

/// What each end has of a connection to `host`: the name of the client, and what came through; or what is wrong.
async fn meet(
    server: ServerSettings,
    client: ClientSettings,
    host: &str,
) -> (Option<Option<String>>, Result<String, String>) {
    let server = Server::new(server, &Registry::new()).expect("a server");
    let client = Client::new(client, &Registry::new()).expect("a client");
    let listener = TcpListener::bind(("127.0.0.1", 0)).await.expect("a port");
    let address = listener.local_addr().expect("an address");
    let serve = async {
        let (socket, _) = listener.accept().await.expect("a socket");
        let mut session = server.accept(socket).await?;
        session.stream.write_all(b"hello").await.expect("writes");
        session.stream.shutdown().await.expect("ends");
        Some(session.peer_name.map(|name| name.to_string()))
    };
    let call = async {
        let socket = TcpStream::connect(address).await.map_err(|error| error.to_string())?;
        let mut stream = client.connect(host, socket).await.map_err(|error| error.to_string())?;
        let mut text = String::new();
        // A refusal of TLS 1.3 comes when the client believes to be through.
        stream.read_to_string(&mut text).await.map_err(|error| error.to_string())?;
        Ok(text)
    };
    tokio::join!(serve, call)
}

use ExtendedKeyUsagePurpose::{Any, ClientAuth, ServerAuth};

#[tokio::test]
async fn both_ends_know_each_other() {
    let desk = Desk::new();
    let server = desk.sign("server", &["127.0.0.1", "*.example"], &[ServerAuth]);
    let client = desk.sign("alice", &[], &[ClientAuth]);
    for host in ["127.0.0.1", "a.example"] {
        let settings = desk.client(Some(client.clone()), "ca.pem");
        let (name, text) = meet(desk.server(server.clone(), Some("ca.pem")), settings, host).await;
        assert_eq!((name, text.as_deref()), (Some(Some("alice".to_owned())), Ok("hello")));
    }
    let (name, text) = meet(desk.server(server, None), desk.client(None, "ca.pem"), "127.0.0.1").await;
    assert_eq!((name, text.as_deref()), (Some(None), Ok("hello")));
}

#[tokio::test]
async fn who_is_called_by_another_name_is_not_believed() {
    let desk = Desk::new();
    for (hosts, host, expect) in [
        (&["10.0.0.1", "node1"][..], "node3", "x509: certificate is valid for 10.0.0.1, node1, not node3 ("),
        (&["10.0.0.1"], "10.0.0.3", "x509: certificate is valid for 10.0.0.1, not 10.0.0.3 ("),
        (
            &["node1"],
            "10.0.0.3",
            "x509: cannot validate certificate for 10.0.0.3 because it doesn't contain any IP SANs (",
        ),
        (&[], "server", "x509: certificate relies on legacy Common Name field, use SANs instead ("),
    ] {
        let server = desk.sign("server", hosts, &[]);
        let (_, text) = meet(desk.server(server, None), desk.client(None, "ca.pem"), host).await;
        let text = text.expect_err("refused");
        assert!(text.starts_with(&format!("tls: failed to verify certificate: {expect}")), "{text}");
    }
}

/// Go believes these and rustls alone would not; and one the other way round.
#[tokio::test]
async fn chains_are_judged_as_in_go() {
    let desk = Desk::new();
    let client = |pair: Pair| desk.client(Some(pair), "ca.pem");
    let server = desk.sign("server", &["127.0.0.1"], &[Any]);
    let any = desk.sign("any", &[], &[Any]);
    let (name, text) = meet(desk.server(server.clone(), Some("ca.pem")), client(any), "127.0.0.1").await;
    assert_eq!((name.flatten().as_deref(), text.is_ok()), (Some("any"), true));

    // What `openssl req -x509` makes: a CA that is its own leaf, and trusted as such.
    let mut params = params("own", &["127.0.0.1"]);
    params.is_ca = IsCa::Ca(BasicConstraints::Unconstrained);
    let key = KeyPair::generate().expect("a key");
    let certificate = params.self_signed(&key).expect("signs").pem();
    let own = desk.write("own", &certificate, &key);
    let (name, text) =
        meet(desk.server(own.clone(), Some("own.pem")), desk.client(Some(own), "own.pem"), "127.0.0.1").await;
    assert_eq!((name.flatten().as_deref(), text.as_deref()), (Some("own"), Ok("hello")));

    // A CA that has expired signs nothing.
    let yesterday = OffsetDateTime::now_utc() - time::Duration::days(1);
    let old = authority(&desk.folder, "old", yesterday);
    let signed = desk.sign_by(&old, "late", &[], &[]);
    let (name, _) = meet(desk.server(server, Some("old.pem")), client(signed), "127.0.0.1").await;
    assert_eq!(name, None);
}

#[tokio::test]
async fn a_new_file_is_taken_up_at_the_next_handshake_and_half_of_one_is_not() {
    let desk = Desk::new();
    let pair = desk.sign("server", &["127.0.0.1"], &[]);
    let server = Server::new(desk.server(pair.clone(), None), &Registry::new()).expect("a server");
    let listener = TcpListener::bind(("127.0.0.1", 0)).await.expect("a port");
    let address = listener.local_addr().expect("an address");
    let other = authority(&desk.folder, "other", OffsetDateTime::now_utc() + time::Duration::days(9));
    let believed_by = async |trust: &str| {
        let client = Client::new(desk.client(None, trust), &Registry::new()).expect("a client");
        let serve = async {
            let (socket, _) = listener.accept().await.expect("a socket");
            server.accept(socket).await
        };
        let call =
            async { client.connect("127.0.0.1", TcpStream::connect(address).await.expect("a socket")).await };
        tokio::join!(serve, call).1.is_ok()
    };
    assert!(believed_by("ca.pem").await && !believed_by("other.pem").await);
    let next = desk.sign_by(&other, "next", &["127.0.0.1"], &[]);
    fs::rename(&next.cert, &pair.cert).expect("renames");
    assert!(believed_by("ca.pem").await, "the key does not fit yet");
    fs::rename(&next.key, &pair.key).expect("renames");
    assert!(believed_by("other.pem").await && !believed_by("ca.pem").await);
    fs::remove_file(&pair.cert).expect("removes");
    assert!(believed_by("other.pem").await);
}

#[test]
fn what_a_member_makes_for_itself_is_used_again() {
    let folder = tempfile::tempdir().expect("a folder");
    let folder = folder.path().join("fixtures/client");
    let hosts = ["127.0.0.1".to_owned(), "localhost".to_owned()];
    let make = || self_signed(&folder, &hosts, Duration::from_hours(24)).expect("made");
    let made = make();
    let before = fs::read(&made.cert).expect("there");
    assert_eq!((make(), fs::read(&made.cert).expect("there")), (made.clone(), before));
    let settings = ServerSettings {
        side: Side::Client,
        pair: made.clone(),
        rules: None,
        protocol: Protocol::default(),
        inside: Vec::new(),
        handshakes_max: 1,
        handshake_time_max: Duration::from_secs(1),
    };
    assert!(Server::new(settings.clone(), &Registry::new()).is_ok());
    let wrong = ServerSettings { pair: Pair { key: made.cert.clone(), cert: made.cert }, ..settings };
    assert!(matches!(Server::new(wrong, &Registry::new()), Err(TlsError::NoKey { .. })));
}
