//! Starts that are refused, in etcd's words where it has some, and with the name of the file.

use std::fs;

use anyhow::ensure;
use tests::Program;

use crate::serving::stocked;

#[test]
fn what_is_wrong_with_files_is_told_at_the_start() -> anyhow::Result<()> {
    let shop = stocked()?;
    fs::write(shop.path("empty.pem"), "nothing\n")?;
    let file = |name: &str| shop.word(name);
    let (cert, key, ca) = (file("server.pem"), file("server-key.pem"), file("ca.pem"));
    let (other_key, empty, none) = (file("client-key.pem"), file("empty.pem"), file("none.pem"));
    let pair = ["--cert-file", &cert, "--key-file", &key];
    let table: Vec<(Vec<&str>, &str)> = vec![
        (
            vec![],
            "TLS key/cert (--cert-file, --key-file) must be provided for client url https://127.0.0.1:1 with HTTPS scheme",
        ),
        (vec!["--cert-file", &cert], "KeyFile and CertFile must both be present[key: , cert: "),
        (vec!["--cert-file", &none, "--key-file", &key], "none.pem: No such file or directory"),
        (vec!["--cert-file", &cert, "--key-file", &none], "none.pem: No such file or directory"),
        (
            vec!["--cert-file", &cert, "--key-file", &other_key],
            "tls: private key does not match public key: ",
        ),
        (vec!["--cert-file", &empty, "--key-file", &key], "empty.pem holds no certificate in PEM"),
        (vec!["--cert-file", &cert, "--key-file", &cert], "server.pem holds no private key in PEM"),
        ([&pair[..], &["--trusted-ca-file", &none]].concat(), "none.pem: No such file or directory"),
        ([&pair[..], &["--trusted-ca-file", &empty]].concat(), "empty.pem holds no certificate in PEM"),
        (
            [&pair[..], &["--trusted-ca-file", &ca, "--client-crl-file", &cert]].concat(),
            "server.pem is no list of revoked certificates (CRL) in DER or PEM: ",
        ),
        (
            [&pair[..], &["--cipher-suites", "XX"]].concat(),
            "unexpected TLS cipher suite \\\"XX\\\"; known are TLS_ECDHE_ECDSA_WITH_AES_128_GCM_SHA256",
        ),
        (
            [&pair[..], &["--listen-peer-urls", "https://127.0.0.1:3"]].concat(),
            "cannot listen on TLS for https://127.0.0.1:3: KeyFile and CertFile are not presented",
        ),
    ];
    let program = Program::kvorum()?;
    let folder = tempfile::tempdir()?;
    let data = folder.path().join("data").display().to_string();
    for (flags, expect) in table {
        let url = "https://127.0.0.1:1";
        let usual = [
            "--data-dir",
            &data,
            "--listen-client-urls",
            url,
            "--advertise-client-urls",
            url,
            "--listen-peer-urls",
            "http://127.0.0.1:2",
        ];
        let usual: Vec<&str> = usual.into_iter().chain(flags.iter().copied()).collect();
        let output = program.run(&usual)?;
        let said = String::from_utf8_lossy(&output.stderr).into_owned();
        ensure!(
            output.status.code() == Some(1) && said.contains(expect),
            "{flags:?}: {} {said}",
            output.status
        );
    }
    Ok(())
}
