//! `endpoint`: how each member does, asked one by one.

use std::time::{Duration, Instant};

use clap::{Args, Subcommand};
use client::{Call, Client, Endpoint, Fault};
use proto::etcdserverpb::{
    AlarmRequest, AlarmType, HashKvRequest, HashKvResponse, MemberListRequest, RangeRequest, StatusRequest,
    StatusResponse,
};
use serde_json::{Map, Value};

use crate::command_line::number;
use crate::failure::{Done, Failure, exit};
use crate::go;
use crate::output::{Fields, Output, Shown, Table, message, say};
use crate::session::Session;

#[derive(Debug, Args)]
pub(crate) struct EndpointArgs {
    /// Asks every member of the cluster, not only those of --endpoints.
    #[arg(long, global = true)]
    cluster: bool,
    #[command(subcommand)]
    verb: EndpointVerb,
}

#[derive(Debug, Subcommand)]
enum EndpointVerb {
    /// Says whether each one can have something decided.
    Health,
    /// Shows version, size, leader and raft's state of each one.
    Status,
    /// Shows the hash of each one's history of keys.
    Hashkv {
        /// Up to this revision; 0 is the present one.
        #[arg(long, default_value = "0", value_parser = number, value_name = "REVISION")]
        rev: i64,
    },
}

struct Health {
    endpoint: String,
    is_healthy: bool,
    took: Duration,
    error: String,
}

struct Healths(Vec<Health>);

struct Statuses(Vec<(String, StatusResponse)>);

struct Hashes(Vec<(String, HashKvResponse)>);

impl EndpointArgs {
    pub(crate) async fn run(self, session: &Session) -> Done {
        let endpoints = endpoints(session, self.cluster).await?;
        match self.verb {
            EndpointVerb::Health => healths(session, &endpoints).await,
            EndpointVerb::Status => {
                let (answers, failed) = ask(session, &endpoints, StatusRequest {}, "status").await;
                session.show(&Statuses(answers))?;
                failed.map_or(Ok(()), |_| Err(Failure::silent(exit::ERROR)))
            }
            EndpointVerb::Hashkv { rev } => {
                let (answers, failed) =
                    ask(session, &endpoints, HashKvRequest { revision: rev }, "hash").await;
                session.show(&Hashes(answers))?;
                failed.map_or(Ok(()), |fault| Err(Failure::error(fault.to_string())))
            }
        }
    }
}

/// Those that were given, or with `--cluster` those of all members.
pub(crate) async fn endpoints(session: &Session, cluster: bool) -> Result<Vec<Endpoint>, Failure> {
    if !cluster {
        return Ok(session.client.endpoints().cloned().collect());
    }
    let members = session
        .call(MemberListRequest { linearizable: true })
        .await
        .map_err(|failure| failure.within("failed to fetch endpoints from etcd cluster member list: {}"))?;
    let urls = members.members.iter().flat_map(|member| &member.client_ur_ls);
    urls.map(|url| Endpoint::parse(url).map_err(|error| Failure::error(error.to_string()))).collect()
}

/// Asks all at the same time; answers in their order. Who failed is told on stderr.
async fn ask<C: Call>(
    session: &Session,
    endpoints: &[Endpoint],
    question: C,
    about: &str,
) -> (Vec<(String, C::Reply)>, Option<Fault>)
where
    C::Reply: Send,
{
    let asked: Vec<_> = endpoints
        .iter()
        .map(|endpoint| {
            let (client, question, patience) =
                (session.client.only(endpoint), question.clone(), session.patience());
            tokio::spawn(async move { client.call(question, patience).await })
        })
        .collect();
    let (mut answers, mut failed) = (Vec::new(), None);
    for (endpoint, asked) in endpoints.iter().zip(asked) {
        match asked.await.expect("a question does not panic") {
            Ok(answer) => answers.push((endpoint.to_string(), answer)),
            Err(fault) => {
                say(&format!("Failed to get the {about} of endpoint {endpoint} ({fault})"));
                explain(&fault);
                failed = Some(fault);
            }
        }
    }
    (answers, failed)
}

/// Says why, where the fault itself only says that time was over.
fn explain(fault: &Fault) {
    for failure in fault.failures() {
        say(&format!("endpoint {}: {}", failure.place, failure.reason));
    }
}

async fn healths(session: &Session, endpoints: &[Endpoint]) -> Done {
    let asked: Vec<_> = endpoints
        .iter()
        .map(|endpoint| {
            let (client, patience) = (session.client.only(endpoint), session.patience());
            tokio::spawn(health(client, endpoint.to_string(), patience))
        })
        .collect();
    let mut healths = Vec::new();
    for asked in asked {
        healths.push(asked.await.expect("a question does not panic"));
    }
    let all = healths.iter().all(|health| health.is_healthy);
    session.show(&Healths(healths))?;
    if all { Ok(()) } else { Err(Failure::error("unhealthy cluster")) }
}

/// A read that needs a quorum, and no alarm. A read that is not allowed was decided, too.
async fn health(client: Client, endpoint: String, patience: Option<Duration>) -> Health {
    let begun = Instant::now();
    let read = client.call(RangeRequest { key: "health".into(), ..Default::default() }, patience).await;
    let error = match read {
        Err(fault) if fault.code() != Some(client::Code::PermissionDenied) => fault.to_string(),
        _ => alarms(&client, patience).await,
    };
    Health { endpoint, is_healthy: error.is_empty(), took: begun.elapsed(), error }
}

async fn alarms(client: &Client, patience: Option<Duration>) -> String {
    match client.call(AlarmRequest::default(), patience).await {
        Err(fault) if fault.code() == Some(client::Code::PermissionDenied) => String::new(),
        Err(_) => "Unable to fetch the alarm list".to_owned(),
        Ok(answer) if answer.alarms.is_empty() => String::new(),
        Ok(answer) => {
            let name = |alarm: i32| AlarmType::try_from(alarm).map_or("UNKNOWN", |alarm| alarm.as_str_name());
            let names = answer.alarms.iter().map(|alarm| name(alarm.alarm).to_owned() + " ");
            format!("Active Alarm(s): {}", names.collect::<String>())
        }
    }
}

impl Shown for Healths {
    fn simple(&self, _output: Output) -> Vec<u8> {
        let mut text = String::new();
        for health in &self.0 {
            let Health { endpoint, took, error, .. } = health;
            if health.is_healthy {
                let took = go::duration(*took);
                text.extend([endpoint, " is healthy: successfully committed proposal: took = ", &took, "\n"]);
            } else {
                say(&format!("{endpoint} is unhealthy: failed to commit proposal: {error}"));
            }
        }
        text.into_bytes()
    }

    fn json(&self, output: Output) -> Value {
        self.lines(output).into()
    }

    fn fields(&self, _output: Output) -> Fields {
        let mut fields = Fields::default();
        for health in &self.0 {
            fields.quoted("Endpoint", health.endpoint.as_bytes());
            fields.value("Health", health.is_healthy);
            fields.value("Took", go::duration(health.took));
            fields.value("Error", &health.error);
            fields.gap();
        }
        fields
    }

    fn table(&self, _output: Output) -> Option<Table> {
        let mut table = Table::new(&["Endpoint", "Health", "Took", "Error"]);
        for Health { endpoint, is_healthy, took, error } in &self.0 {
            table.row(vec![endpoint.clone(), is_healthy.to_string(), go::duration(*took), error.clone()]);
        }
        Some(table)
    }

    fn lines(&self, _output: Output) -> Vec<Value> {
        let one = |health: &Health| {
            let mut object = Map::new();
            object.insert("endpoint".to_owned(), health.endpoint.clone().into());
            object.insert("health".to_owned(), health.is_healthy.into());
            object.insert("took".to_owned(), go::duration(health.took).into());
            if !health.error.is_empty() {
                object.insert("error".to_owned(), health.error.clone().into());
            }
            Value::Object(object)
        };
        self.0.iter().map(one).collect()
    }
}

/// An answer with where it came from.
fn placed(endpoint: &str, name: &str, value: Value) -> Value {
    let endpoint = ("Endpoint".to_owned(), Value::from(endpoint));
    Value::Object(Map::from_iter([endpoint, (name.to_owned(), value)]))
}

impl Statuses {
    fn cells(&self) -> impl Iterator<Item = Vec<String>> {
        self.0.iter().map(|(endpoint, status)| {
            let header = status.header.unwrap_or_default();
            vec![
                endpoint.clone(),
                format!("{:x}", header.member_id),
                status.version.clone(),
                go::size(status.db_size.unsigned_abs()),
                (status.leader == header.member_id).to_string(),
                status.is_learner.to_string(),
                status.raft_term.to_string(),
                status.raft_index.to_string(),
                status.raft_applied_index.to_string(),
                status.errors.join(", "),
            ]
        })
    }
}

impl Shown for Statuses {
    fn simple(&self, _output: Output) -> Vec<u8> {
        self.cells().map(|cells| cells.join(", ") + "\n").collect::<String>().into_bytes()
    }

    fn json(&self, output: Output) -> Value {
        self.lines(output).into()
    }

    fn fields(&self, _output: Output) -> Fields {
        let mut fields = Fields::default();
        for (endpoint, status) in &self.0 {
            fields.header(status.header.as_ref());
            fields.quoted("Version", status.version.as_bytes());
            fields.value("DBSize", status.db_size);
            fields.value("Leader", status.leader);
            fields.value("IsLearner", status.is_learner);
            fields.value("RaftIndex", status.raft_index);
            fields.value("RaftTerm", status.raft_term);
            fields.value("RaftAppliedIndex", status.raft_applied_index);
            let errors: Vec<String> =
                status.errors.iter().map(|error| go::quoted(error.as_bytes())).collect();
            fields.value("Errors", format!("[{}]", errors.join(" ")));
            fields.quoted("Endpoint", endpoint.as_bytes());
            fields.gap();
        }
        fields
    }

    fn table(&self, _output: Output) -> Option<Table> {
        let mut table = Table::new(&[
            "Endpoint",
            "ID",
            "Version",
            "DB Size",
            "Is Leader",
            "Is Learner",
            "Raft Term",
            "Raft Index",
            "Raft Applied Index",
            "Errors",
        ]);
        self.cells().for_each(|cells| table.row(cells));
        Some(table)
    }

    fn lines(&self, _output: Output) -> Vec<Value> {
        let status = |status| message("etcdserverpb.StatusResponse", status);
        self.0.iter().map(|(endpoint, answer)| placed(endpoint, "Status", status(answer))).collect()
    }
}

impl Shown for Hashes {
    fn simple(&self, _output: Output) -> Vec<u8> {
        let line = |(endpoint, answer): &(String, HashKvResponse)| format!("{endpoint}, {}\n", answer.hash);
        self.0.iter().map(line).collect::<String>().into_bytes()
    }

    fn json(&self, output: Output) -> Value {
        self.lines(output).into()
    }

    fn fields(&self, _output: Output) -> Fields {
        let mut fields = Fields::default();
        for (endpoint, answer) in &self.0 {
            fields.header(answer.header.as_ref());
            fields.quoted("Endpoint", endpoint.as_bytes());
            fields.value("Hash", answer.hash);
            fields.gap();
        }
        fields
    }

    fn table(&self, _output: Output) -> Option<Table> {
        let mut table = Table::new(&["Endpoint", "Hash"]);
        self.0
            .iter()
            .for_each(|(endpoint, answer)| table.row(vec![endpoint.clone(), answer.hash.to_string()]));
        Some(table)
    }

    fn lines(&self, _output: Output) -> Vec<Value> {
        let hash = |answer| message("etcdserverpb.HashKVResponse", answer);
        self.0.iter().map(|(endpoint, answer)| placed(endpoint, "HashKV", hash(answer))).collect()
    }
}
