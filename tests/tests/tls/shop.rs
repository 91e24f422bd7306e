//! A shop for certificates: cfssl with the CA and the profiles of etcd's own walk-through.

use std::fs;
use std::path::PathBuf;
use std::process::{Command, Stdio};

use anyhow::{Context, ensure};
use tempfile::TempDir;

/// The profiles. With `short` a certificate has expired when it is made, since cfssl puts its beginning into the past.
const PROFILES: &str = r#"{"signing": {"default": {"expiry": "43800h"}, "profiles": {
  "server": {"expiry": "43800h", "usages": ["signing", "key encipherment", "server auth"]},
  "client": {"expiry": "43800h", "usages": ["signing", "key encipherment", "client auth"]},
  "peer": {"expiry": "43800h", "usages": ["signing", "key encipherment", "server auth", "client auth"]},
  "short": {"expiry": "1s", "usages": ["signing", "key encipherment", "client auth"]}}}}"#;

/// What certificates here have as their key.
#[derive(Clone, Copy, Debug)]
pub(crate) enum Key {
    /// 2048 bits; cfssl writes it as PKCS#1.
    Rsa,
    /// P-256; cfssl writes it as SEC1.
    Ecdsa,
}

/// A folder with CAs and certificates.
#[derive(Debug)]
pub(crate) struct Shop {
    folder: TempDir,
}

impl Shop {
    /// A shop with two CAs: `ca`, and `other`, whom nobody believes yet.
    pub(crate) fn open() -> anyhow::Result<Self> {
        let shop = Self { folder: tempfile::Builder::new().prefix("kvorum-tls-").tempdir()? };
        fs::write(shop.path("ca-config.json"), PROFILES)?;
        shop.authority("ca", "My own CA", Key::Rsa)?;
        shop.authority("other", "Another CA", Key::Ecdsa)?;
        Ok(shop)
    }

    /// A file.
    pub(crate) fn path(&self, name: &str) -> PathBuf {
        self.folder.path().join(name)
    }

    /// A file, as a word on a command line.
    pub(crate) fn word(&self, name: &str) -> String {
        self.path(name).display().to_string()
    }

    /// A certificate `name.pem` with `name-key.pem`, its common name `name`, signed by `authority`.
    pub(crate) fn sign(
        &self,
        authority: &str,
        name: &str,
        profile: &str,
        hosts: &[&str],
        key: Key,
    ) -> anyhow::Result<()> {
        let hosts: Vec<String> = hosts.iter().map(|host| format!("{host:?}")).collect();
        let request = format!(r#"{{"CN": "{name}", "hosts": [{}], "key": {}}}"#, hosts.join(", "), json(key));
        fs::write(self.path("request.json"), request)?;
        let (ca, ca_key) = (format!("{authority}.pem"), format!("{authority}-key.pem"));
        let arguments = ["-ca", &ca, "-ca-key", &ca_key, "-config", "ca-config.json", "-profile", profile];
        let made = self.cfssl(&[&["gencert"][..], &arguments, &["request.json"]].concat())?;
        self.bare(name, &made)
    }

    /// Revokes a certificate of `ca` in the list `crl.der`.
    pub(crate) fn revoke(&self, name: &str) -> anyhow::Result<()> {
        let serial = self.openssl(&["x509", "-noout", "-serial", "-in", &format!("{name}.pem")])?;
        let serial = serial.trim().trim_start_matches("serial=").to_owned();
        // cfssl wants it in decimal.
        let bytes: Vec<u32> = serial.chars().filter_map(|digit| digit.to_digit(16)).collect();
        fs::write(self.path("serials"), decimal(&bytes))?;
        let list = self.cfssl(&["gencrl", "serials", "ca.pem", "ca-key.pem"])?;
        fs::write(self.path("crl.base64"), list)?;
        self.openssl(&["base64", "-d", "-A", "-in", "crl.base64", "-out", "crl.new"])?;
        Ok(fs::rename(self.path("crl.new"), self.path("crl.der"))?)
    }

    /// Exchanges a file for another one as an operator does: a copy beside it, then a rename.
    pub(crate) fn put(&self, source: &str, target: &str) -> anyhow::Result<()> {
        fs::copy(self.path(source), self.path("draft"))?;
        Ok(fs::rename(self.path("draft"), self.path(target))?)
    }

    /// Runs openssl in the folder.
    pub(crate) fn openssl(&self, arguments: &[&str]) -> anyhow::Result<String> {
        run(Command::new("openssl").args(arguments).current_dir(self.folder.path()))
    }

    fn authority(&self, name: &str, common_name: &str, key: Key) -> anyhow::Result<()> {
        let request = format!(r#"{{"CN": "{common_name}", "key": {}}}"#, json(key));
        fs::write(self.path("request.json"), request)?;
        let made = self.cfssl(&["gencert", "-initca", "request.json"])?;
        self.bare(name, &made)
    }

    fn cfssl(&self, arguments: &[&str]) -> anyhow::Result<String> {
        run(Command::new("cfssl").args(arguments).current_dir(self.folder.path()))
            .context("`make test` installs golang-cfssl")
    }

    /// `cfssljson -bare`.
    fn bare(&self, name: &str, made: &str) -> anyhow::Result<()> {
        fs::write(self.path("made.json"), made)?;
        run(Command::new("cfssljson")
            .args(["-f", "made.json", "-bare", name])
            .current_dir(self.folder.path()))?;
        ensure!(self.path(&format!("{name}.pem")).is_file(), "no certificate for {name}");
        Ok(())
    }
}

fn json(key: Key) -> &'static str {
    match key {
        Key::Rsa => r#"{"algo": "rsa", "size": 2048}"#,
        Key::Ecdsa => r#"{"algo": "ecdsa", "size": 256}"#,
    }
}

fn run(command: &mut Command) -> anyhow::Result<String> {
    let output = command.stdin(Stdio::null()).output().with_context(|| format!("run {command:?}"))?;
    let complained = String::from_utf8_lossy(&output.stderr);
    ensure!(output.status.success(), "{command:?} fails: {complained}");
    Ok(String::from_utf8_lossy(&output.stdout).into_owned())
}

/// A number of any length, from hexadecimal digits.
fn decimal(digits: &[u32]) -> String {
    // The lowest digit first.
    let mut number = vec![0_u32];
    for digit in digits {
        let mut carry = *digit;
        for place in &mut number {
            carry += *place * 16;
            *place = carry % 10;
            carry /= 10;
        }
        while carry > 0 {
            number.push(carry % 10);
            carry /= 10;
        }
    }
    number.iter().rev().filter_map(|digit| char::from_digit(*digit, 10)).collect()
}
