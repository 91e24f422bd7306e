//! `tls init`: a CA and certificates for a cluster, and the flags that make use of them.

use std::fmt::Write as _;
use std::net::IpAddr;
use std::path::PathBuf;
use std::time::Duration;

use clap::{Args, Subcommand};
use tls::{Made, Order, Stock, workshop};

use crate::failure::{Done, Failure};
use crate::output::print;
use crate::session::Session;

const DAY: Duration = Duration::from_hours(24);

#[derive(Debug, Subcommand)]
pub(crate) enum Tls {
    /// Makes a CA, and certificates for servers, between members and for clients.
    Init(Init),
}

#[derive(Debug, Args)]
#[command(
    after_help = "Nothing is written over: what is in the folder is kept, and what is missing is made with the CA that \
                  is there.\n\nExample:\n  kvorumctl tls init --hosts 10.0.0.1,10.0.0.2,10.0.0.3,node1,node2,node3 --dir certs"
)]
pub(crate) struct Init {
    /// Every address and name by which members are called.
    #[arg(long, required = true, value_delimiter = ',', value_name = "HOSTS")]
    hosts: Vec<String>,
    /// Where to.
    #[arg(long, default_value = "certs", value_name = "FOLDER")]
    dir: PathBuf,
    /// The name in the client's certificate, which is a user's name where users are known by certificates.
    #[arg(long, default_value = "client", value_name = "NAME")]
    client: String,
    /// For how many days certificates are good.
    #[arg(long, default_value_t = 1825, value_parser = clap::value_parser!(u32).range(1..=36_500), value_name = "DAYS")]
    days: u32,
    /// For how many days the CA is good.
    #[arg(long, default_value_t = 3650, value_parser = clap::value_parser!(u32).range(1..=36_500), value_name = "DAYS")]
    ca_days: u32,
}

impl Tls {
    pub(crate) fn run(self, session: &Session) -> Done {
        match self {
            Self::Init(verb) => verb.run(session),
        }
    }
}

impl Init {
    fn run(self, session: &Session) -> Done {
        let hosts: Vec<String> = self.hosts.iter().map(|host| host.trim().to_owned()).collect();
        for host in &hosts {
            if host.is_empty() || host.contains(['/', ' ']) || (host.contains(':') && !is_address(host)) {
                let text = format!(
                    "{host:?} is no name and no address of a host: --hosts takes no ports and no URLs"
                );
                return Err(Failure::arguments(text));
            }
        }
        // Flags are printed that work from every folder.
        let folder = std::path::absolute(&self.dir).map_err(|error| Failure::io(error.to_string()))?;
        let order = Order {
            folder,
            hosts,
            client: self.client,
            validity: DAY * self.days,
            authority_validity: DAY * self.ca_days,
        };
        let stock = workshop(&order).map_err(|error| Failure::io(error.to_string()))?;
        print(told(session.name, &order, &stock).as_bytes())
    }
}

fn is_address(host: &str) -> bool {
    host.parse::<IpAddr>().is_ok()
}

/// What was made, and what to do with it.
fn told(program: &str, order: &Order, stock: &Stock) -> String {
    let Stock { authority, server, peer, client } = stock;
    let mut text = String::new();
    for Made { pair, is_old } in [authority, server, peer, client] {
        let done = if *is_old { "kept" } else { "made" };
        let _ = writeln!(text, "{done} {} {}", pair.cert.display(), pair.key.display());
    }
    let ca = word(&authority.pair.cert);
    let _ = write!(
        text,
        "\nKeep {} where no member is: whoever has it can sign certificates.\n\nMembers, beside --name, --data-dir and \
         --initial-cluster:\n  kvorum --cert-file={} --key-file={} --trusted-ca-file={ca} --client-cert-auth \
         --peer-cert-file={} --peer-key-file={} --peer-trusted-ca-file={ca} --peer-client-cert-auth",
        authority.pair.key.display(),
        word(&server.pair.cert),
        word(&server.pair.key),
        word(&peer.pair.cert),
        word(&peer.pair.key),
    );
    let first = order.hosts.first().map_or("localhost", String::as_str);
    let listened = if is_address(first) { bracketed(first) } else { "0.0.0.0".to_owned() };
    let called = bracketed(first);
    let _ = write!(
        text,
        " --listen-client-urls=https://{listened}:2379 --advertise-client-urls=https://{called}:2379 \
         --listen-peer-urls=https://{listened}:2380 --initial-advertise-peer-urls=https://{called}:2380\n\nClients:\n"
    );
    let (cert, key) = (word(&client.pair.cert), word(&client.pair.key));
    for tool in if program == "etcdctl" { vec!["etcdctl"] } else { vec!["kvorumctl", "etcdctl"] } {
        let _ = writeln!(
            text,
            "  {tool} --cacert={ca} --cert={cert} --key={key} --endpoints=https://{called}:2379 endpoint health"
        );
    }
    let _ = writeln!(text, "  curl --cacert {ca} --cert {cert} --key {key} https://{called}:2379/health");
    text
}

/// A path as a shell takes it for one word.
fn word(path: &std::path::Path) -> String {
    let text = path.display().to_string();
    let is_plain = text.chars().all(|char| char.is_alphanumeric() || "/._-+=:@%".contains(char));
    if is_plain { text } else { format!("'{}'", text.replace('\'', r"'\''")) }
}

fn bracketed(host: &str) -> String {
    if host.contains(':') { format!("[{host}]") } else { host.to_owned() }
}
