//! `lease`: grants, renews, lists and takes back leases.

use clap::{Args, Subcommand};
use client::{Beat, KeepAlive, keep_once};
use prost::Message as _;
use proto::etcdserverpb::{
    LeaseGrantRequest, LeaseGrantResponse, LeaseKeepAliveResponse, LeaseLeasesRequest, LeaseLeasesResponse,
    LeaseRevokeRequest, LeaseRevokeResponse, LeaseTimeToLiveRequest, LeaseTimeToLiveResponse, ResponseHeader,
};
use serde_json::{Map, Value};

use crate::failure::{Done, Failure, exit};
use crate::go;
use crate::output::{Fields, Output, Shown, base64, message, print_line};
use crate::session::Session;

#[derive(Debug, Subcommand)]
pub(crate) enum Lease {
    /// Grants a lease of so many seconds.
    Grant(OneArgument),
    /// Takes it back, and its keys with it.
    Revoke(OneArgument),
    /// Says how long it lasts, and with --keys what hangs on it.
    Timetolive(TimeToLive),
    /// Lists all leases.
    List(OneArgument),
    /// Renews it, again and again or --once.
    KeepAlive(KeepAliveArgs),
}

#[derive(Debug, Args)]
pub(crate) struct OneArgument {
    #[arg(value_name = "TTL or ID", allow_negative_numbers = true)]
    args: Vec<String>,
}

#[derive(Debug, Args)]
pub(crate) struct TimeToLive {
    #[arg(value_name = "ID")]
    args: Vec<String>,
    /// Shows the keys too.
    #[arg(long)]
    keys: bool,
}

#[derive(Debug, Args)]
pub(crate) struct KeepAliveArgs {
    #[arg(value_name = "ID")]
    args: Vec<String>,
    /// Once, and not again and again.
    #[arg(long)]
    once: bool,
}

/// What was asked about, and the answer.
struct Revoked(i64, LeaseRevokeResponse);

/// The answer, and whether the keys were asked for.
struct Lasting(LeaseTimeToLiveResponse, bool);

impl Lease {
    pub(crate) async fn run(self, session: &Session) -> Done {
        match self {
            Self::Grant(verb) => grant(session, &verb.args).await,
            Self::Revoke(verb) => revoke(session, &verb.args).await,
            Self::Timetolive(verb) => {
                let words = "lease timetolive command needs lease ID as argument";
                let id = lease_of(&verb.args, words)?;
                let request = LeaseTimeToLiveRequest { id, keys: verb.keys };
                session.show(&Lasting(session.call(request).await?, verb.keys))
            }
            Self::List(_) => session.show(&session.call(LeaseLeasesRequest {}).await?),
            Self::KeepAlive(verb) => keep_alive(session, &verb).await,
        }
    }
}

fn lease_of(args: &[String], words: &str) -> Result<i64, Failure> {
    let [id] = args else { return Err(Failure::arguments(words)) };
    go::parse_hex(id)
        .map_err(|reason| Failure::arguments(format!("bad lease ID arg ({reason}), expecting ID in Hex")))
}

async fn grant(session: &Session, args: &[String]) -> Done {
    let [ttl] = args else { return Err(Failure::arguments("lease grant command needs TTL argument")) };
    let ttl = go::parse_int(ttl).map_err(|reason| Failure::arguments(format!("bad TTL ({reason})")))?;
    let granted = session.call(LeaseGrantRequest { ttl, id: 0 }).await;
    session.show(&granted.map_err(|failure| failure.within("failed to grant lease ({})"))?)
}

async fn revoke(session: &Session, args: &[String]) -> Done {
    let id = lease_of(args, "lease revoke command needs 1 argument")?;
    let revoked = session.call(LeaseRevokeRequest { id }).await;
    session.show(&Revoked(id, revoked.map_err(|failure| failure.within("failed to revoke lease ({})"))?))
}

async fn keep_alive(session: &Session, verb: &KeepAliveArgs) -> Done {
    let id = lease_of(&verb.args, "lease keep-alive command needs lease ID as argument")?;
    if verb.once {
        let answer = keep_once(&session.client, id, session.patience()).await.map_err(Failure::from)?;
        if answer.ttl <= 0 {
            return Err(Failure::new(exit::BAD_CONNECTION, "etcdserver: requested lease not found"));
        }
        return session.show(&answer);
    }
    let mut beats = KeepAlive::start(&session.client, id);
    while let Some(beat) = beats.next().await {
        match beat.map_err(|fault| Failure::from(fault).with_status(exit::BAD_CONNECTION))? {
            Beat::Kept(answer) => session.show(&answer)?,
            Beat::Ended => break,
        }
    }
    print_line(&format!("lease {id:016x} expired or revoked."))
}

/// Of an answer about leases only the header is shown as it came over the wire, as etcdctl does.
fn header_bytes(header: Option<&ResponseHeader>) -> Vec<u8> {
    header.map(prost::Message::encode_to_vec).unwrap_or_default()
}

fn header_json(header: Option<&ResponseHeader>) -> Map<String, Value> {
    match message("etcdserverpb.ResponseHeader", &header.copied().unwrap_or_default()) {
        Value::Object(object) => object,
        _ => Map::new(),
    }
}

impl Shown for LeaseGrantResponse {
    fn simple(&self, _output: Output) -> Vec<u8> {
        format!("lease {:016x} granted with TTL({}s)\n", self.id, self.ttl).into_bytes()
    }

    fn json(&self, _output: Output) -> Value {
        let mut object = header_json(self.header.as_ref());
        object.insert("ID".to_owned(), self.id.into());
        object.insert("TTL".to_owned(), self.ttl.into());
        object.insert("Error".to_owned(), self.error.clone().into());
        Value::Object(object)
    }

    fn fields(&self, _output: Output) -> Fields {
        let mut fields = Fields::of(self.header.as_ref());
        fields.value("ID", self.id);
        fields.value("TTL", self.ttl);
        fields
    }

    fn protobuf(&self) -> Option<Vec<u8>> {
        Some(header_bytes(self.header.as_ref()))
    }
}

impl Shown for Revoked {
    fn simple(&self, _output: Output) -> Vec<u8> {
        format!("lease {:016x} revoked\n", self.0).into_bytes()
    }

    fn json(&self, _output: Output) -> Value {
        message("etcdserverpb.LeaseRevokeResponse", &self.1)
    }

    fn fields(&self, _output: Output) -> Fields {
        Fields::of(self.1.header.as_ref())
    }

    fn protobuf(&self) -> Option<Vec<u8>> {
        Some(self.1.encode_to_vec())
    }
}

impl Shown for Lasting {
    fn simple(&self, _output: Output) -> Vec<u8> {
        if self.0.granted_ttl == 0 && self.0.ttl == -1 {
            return format!("lease {:016x} already expired\n", self.0.id).into_bytes();
        }
        let granted = format!(
            "lease {:016x} granted with TTL({}s), remaining({}s)",
            self.0.id, self.0.granted_ttl, self.0.ttl
        );
        let mut text = granted.into_bytes();
        if self.1 {
            text.extend(b", attached keys([");
            text.extend(self.0.keys.join(&b' '));
            text.extend(b"])");
        }
        text.push(b'\n');
        text
    }

    fn json(&self, _output: Output) -> Value {
        let mut object = header_json(self.0.header.as_ref());
        object.insert("id".to_owned(), self.0.id.into());
        object.insert("ttl".to_owned(), self.0.ttl.into());
        object.insert("granted-ttl".to_owned(), self.0.granted_ttl.into());
        let keys = self.0.keys.iter().map(|key| Value::from(base64(key))).collect::<Vec<_>>();
        object.insert("keys".to_owned(), if keys.is_empty() { Value::Null } else { keys.into() });
        Value::Object(object)
    }

    fn fields(&self, _output: Output) -> Fields {
        let mut fields = Fields::of(self.0.header.as_ref());
        fields.value("ID", self.0.id);
        fields.value("TTL", self.0.ttl);
        fields.value("GrantedTTL", self.0.granted_ttl);
        for key in &self.0.keys {
            fields.quoted("Key", key);
        }
        fields
    }

    fn protobuf(&self) -> Option<Vec<u8>> {
        Some(header_bytes(self.0.header.as_ref()))
    }
}

impl Shown for LeaseLeasesResponse {
    fn simple(&self, _output: Output) -> Vec<u8> {
        let ids: Vec<String> = self.leases.iter().map(|lease| format!("{:016x}\n", lease.id)).collect();
        format!("found {} leases\n{}", ids.len(), ids.concat()).into_bytes()
    }

    fn json(&self, _output: Output) -> Value {
        let mut object = header_json(self.header.as_ref());
        let one = |id: i64| Value::Object(Map::from_iter([("id".to_owned(), Value::from(id))]));
        object.insert("leases".to_owned(), self.leases.iter().map(|lease| one(lease.id)).collect());
        Value::Object(object)
    }

    fn fields(&self, _output: Output) -> Fields {
        let mut fields = Fields::of(self.header.as_ref());
        for lease in &self.leases {
            fields.value("ID", lease.id);
        }
        fields
    }

    fn protobuf(&self) -> Option<Vec<u8>> {
        Some(header_bytes(self.header.as_ref()))
    }
}

impl Shown for LeaseKeepAliveResponse {
    fn simple(&self, _output: Output) -> Vec<u8> {
        format!("lease {:016x} keepalived with TTL({})\n", self.id, self.ttl).into_bytes()
    }

    fn json(&self, _output: Output) -> Value {
        let mut object = header_json(self.header.as_ref());
        object.insert("ID".to_owned(), self.id.into());
        object.insert("TTL".to_owned(), self.ttl.into());
        Value::Object(object)
    }

    fn fields(&self, _output: Output) -> Fields {
        let mut fields = Fields::of(self.header.as_ref());
        fields.value("ID", self.id);
        fields.value("TTL", self.ttl);
        fields
    }

    fn protobuf(&self) -> Option<Vec<u8>> {
        Some(header_bytes(self.header.as_ref()))
    }
}
