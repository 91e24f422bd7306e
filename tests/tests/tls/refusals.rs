//! Who is not let in, what curl sees of that beside real etcd, and what our log says.

use std::fs;

use anyhow::ensure;
use tests::{Program, Release};

use crate::house::{Answer, Member, curl, etcdctl};
use crate::serving::{solo, stocked};
use crate::shop::{Key, Shop};

fn more_certificates(shop: &Shop) -> anyhow::Result<()> {
    shop.sign("other", "alien", "client", &[""], Key::Ecdsa)?;
    shop.sign("ca", "late", "short", &[""], Key::Ecdsa)?;
    shop.sign("ca", "revoked", "client", &[""], Key::Ecdsa)?;
    shop.revoke("revoked")
}

/// Each: whose certificate, and what the log of ours says; the beginnings are etcd's.
const REFUSED: [(Option<&str>, &[&str]); 5] = [
    (None, &["tls: client didn't provide a certificate"]),
    (
        Some("alien"),
        &[
            "x509: certificate signed by unknown authority; trusted are those of",
            "ca.pem",
            "My own CA",
            "CN=alien",
            "CN=Another CA",
        ],
    ),
    (
        Some("late"),
        &["x509: certificate has expired or is not yet valid: current time", "is after", "CN=late"],
    ),
    (Some("server"), &["x509: certificate specifies an incompatible key usage", "CN=server"]),
    (Some("revoked"), &["transport: certificate serial", "revoked by", "crl.der", "CN=revoked"]),
];

fn asked(shop: &Shop, member: &Member, who: Option<&str>) -> anyhow::Result<Answer> {
    curl(shop, who, &[&format!("{}/version", member.url())])
}

#[test]
fn whoever_does_not_belong_is_refused_with_a_reason() -> anyhow::Result<()> {
    let shop = stocked()?;
    more_certificates(&shop)?;
    let crl = ["--client-crl-file".to_owned(), shop.word("crl.der")];
    let ours = solo(&shop, &Program::kvorum()?, &crl)?;
    let theirs = solo(&shop, &Program::etcd()?, &crl)?;
    for (who, words) in REFUSED {
        let (here, there) = (asked(&shop, &ours, who)?, asked(&shop, &theirs, who)?);
        // curl may notice in the frames of HTTP/2 (16), in an answer that ends early (18), while it still writes (55),
        // or when it reads (56): a race.
        let is_cut_off = |answer: &Answer| matches!(answer.code, 16 | 18 | 55 | 56) && answer.body.is_empty();
        ensure!(is_cut_off(&here) && is_cut_off(&there), "{who:?}: {here:?} and etcd's {there:?}");
        let line = ours.line_with(&[&["rejected connection", "127.0.0.1:"][..], words].concat())?;
        ensure!(line.contains(r#""level":"warn""#), "{line}");
        theirs.line_with(&["rejected connection"])?;
    }
    // etcdctl chooses no certificate for a CA that it is not asked for.
    ensure!(etcdctl(&shop, Release::Debian, &ours.url(), &["get", "x"]).is_ok());

    // A client that does not believe us, one that speaks no TLS, and one that is too old.
    let url = format!("{}/version", ours.url());
    let other = shop.word("other.pem");
    let unbelieving = |member: &Member| {
        curl(&shop, Some("client"), &["--cacert", &other, &format!("{}/version", member.url())])
    };
    ensure!(unbelieving(&ours)?.code == 60 && unbelieving(&theirs)?.code == 60);
    ours.line_with(&["rejected connection", "remote error: tls: unknown certificate authority"])?;
    let plain = |member: &Member| curl(&shop, None, &[&member.url().replace("https", "http")]);
    ensure!((plain(&ours)?.code, plain(&theirs)?.code) == (52, 52));
    ours.line_with(&["rejected connection", "tls: first record does not look like a TLS handshake"])?;
    ensure!(curl(&shop, Some("client"), &["--tls-max", "1.1", &url])?.code == 35);
    // A name that the server's certificate does not have is curl's to find.
    let elsewhere = format!("https://node3:{}/version", ours.client_port);
    let resolve = format!("node3:{}:127.0.0.1", ours.client_port);
    ensure!(curl(&shop, Some("client"), &["--resolve", &resolve, &elsewhere])?.code == 60);
    Ok(())
}

#[test]
fn names_that_are_allowed_are_the_only_ones() -> anyhow::Result<()> {
    let shop = stocked()?;
    shop.sign("ca", "friend", "client", &["friend.example"], Key::Ecdsa)?;
    let rule = ["--client-cert-allowed-hostname".to_owned(), "friend.example".to_owned()];
    let mut member = Member::new(&Program::kvorum()?, "solo", |client, peer| {
        let mut flags = crate::house::client_flags(&shop, client);
        let peer = format!("http://127.0.0.1:{peer}");
        let words = [
            "--listen-peer-urls",
            &peer,
            "--initial-advertise-peer-urls",
            &peer,
            "--initial-cluster",
            &format!("solo={peer}"),
        ];
        flags.extend(words.map(str::to_owned));
        flags.extend(rule.clone());
        flags
    })?;
    member.spawn()?;
    let url = format!("{}/health", member.url());
    let healthy = || curl(&shop, Some("friend"), &[&url]).ok().filter(|answer| answer.body.contains("true"));
    ensure!(tests::until(crate::house::PATIENCE, healthy).is_some(), "{}", member.log());
    ensure!(asked(&shop, &member, Some("client"))?.code != 0);
    member.line_with(&[
        "client certificate authentication failed: it has to be valid for friend.example",
        "CN=client",
    ])?;
    Ok(())
}

#[test]
fn a_member_that_is_called_by_another_name_says_which_names_it_has() -> anyhow::Result<()> {
    let shop = stocked()?;
    // b's certificate is for another address than the one that a calls.
    shop.sign("ca", "elsewhere", "peer", &["10.0.0.1", "node1"], Key::Ecdsa)?;
    let program = Program::kvorum()?;
    let member = |name: &str, certificate: &str| {
        let (cert, key) =
            (shop.word(&format!("{certificate}.pem")), shop.word(&format!("{certificate}-key.pem")));
        Member::new(&program, name, |client, peer| {
            let mut flags = crate::house::client_flags(&shop, client);
            flags.extend(crate::house::peer_flags(&shop, peer));
            flags.extend([
                "--peer-cert-file".to_owned(),
                cert.clone(),
                "--peer-key-file".to_owned(),
                key.clone(),
            ]);
            flags
        })
    };
    let mut members = [member("a", "peer")?, member("b", "elsewhere")?];
    let pairs: Vec<String> = members
        .iter()
        .map(|member| format!("{}=https://127.0.0.1:{}", member.name, member.peer_port))
        .collect();
    for member in &mut members {
        member.flags.extend(["--initial-cluster".to_owned(), pairs.join(",")]);
        member.spawn()?;
    }
    let [a, b] = &members;
    a.line_with(&["x509: certificate is valid for 10.0.0.1, node1, not 127.0.0.1", "CN=elsewhere"])?;
    // And b, which calls from an address that its certificate does not have, is refused there.
    a.line_with(&[
        "rejected connection",
        r#"tls: \"127.0.0.1\" does not match any of DNSNames [\"node1\"]"#,
    ])?;
    b.line_with(&["remote error: tls: bad certificate"])?;
    Ok(())
}

#[test]
fn keys_that_others_can_read_are_told() -> anyhow::Result<()> {
    use std::os::unix::fs::PermissionsExt;
    let shop = stocked()?;
    fs::set_permissions(shop.path("server-key.pem"), fs::Permissions::from_mode(0o644))?;
    let member = solo(&shop, &Program::kvorum()?, &[])?;
    member.line_with(&["anybody on this machine may use this private key", "server-key.pem", "0644"])?;
    let mode = fs::metadata(member.data_dir())?.permissions().mode();
    ensure!(mode & 0o777 == 0o700, "the data folder has {mode:o}");
    Ok(())
}
