//! `member`: who is in the cluster.

use std::time::Duration;

use clap::{Args, Subcommand};
use client::Endpoint;
use prost::Message;
use proto::etcdserverpb::{
    Member, MemberAddRequest, MemberAddResponse, MemberListRequest, MemberListResponse, MemberPromoteRequest,
    MemberPromoteResponse, MemberRemoveRequest, MemberRemoveResponse, MemberUpdateRequest,
    MemberUpdateResponse, ResponseHeader, StatusRequest,
};
use serde_json::Value;

use crate::failure::{Done, Failure};
use crate::go;
use crate::output::{Fields, Form, Output, Shown, Table, message, print};
use crate::session::Session;

/// How often a new member is added that is refused for a reason that passes, and how long after the last time.
const ADDS_MAX: usize = 10;
const ADD_PAUSE: Duration = Duration::from_secs(1);

/// A member that takes longer to answer is taken for lost.
const ANSWER: Duration = Duration::from_secs(3);

#[derive(Debug, Subcommand)]
pub(crate) enum MemberVerb {
    /// Adds a member, which is then to be started.
    Add(AddMember),
    /// Removes a member for good.
    Remove(OneMember),
    /// Removes a member that is lost, and adds one in its place.
    Replace(ReplaceMember),
    /// Changes where others reach it.
    Update(UpdateMember),
    /// Makes a voter of a learner.
    Promote(OneMember),
    /// Lists all members.
    List(ListMembers),
}

#[derive(Debug, Args)]
pub(crate) struct AddMember {
    #[arg(value_name = "NAME")]
    args: Vec<String>,
    /// Where the others will reach it.
    #[arg(long, default_value = "", hide_default_value = true, value_name = "URLS")]
    peer_urls: String,
    /// It follows without a vote until it is promoted.
    #[arg(long)]
    learner: bool,
}

#[derive(Debug, Args)]
pub(crate) struct OneMember {
    #[arg(value_name = "ID")]
    args: Vec<String>,
}

#[derive(Debug, Args)]
#[command(
    after_help = "Remove what is left of its data folder, then start it with what this prints. Where more than half of the \
                  members are lost, see docs/OPERATIONS.md.\n\nExamples:\n  kvorumctl member replace node3\n  kvorumctl \
                  member replace 8211f1d0f64f3269 --peer-urls=http://10.0.0.9:2380"
)]
pub(crate) struct ReplaceMember {
    /// Its name or its id.
    #[arg(value_name = "NAME|ID")]
    member: String,
    /// Where the others will reach the new one; where they reached the old one, if nothing is said.
    #[arg(long, default_value = "", hide_default_value = true, value_name = "URLS")]
    peer_urls: String,
    /// Also if it still answers.
    #[arg(long)]
    force: bool,
}

#[derive(Debug, Args)]
pub(crate) struct UpdateMember {
    #[arg(value_name = "ID")]
    args: Vec<String>,
    /// Where the others will reach it.
    #[arg(long, default_value = "", hide_default_value = true, value_name = "URLS")]
    peer_urls: String,
}

#[derive(Debug, Args)]
pub(crate) struct ListMembers {
    #[arg(hide = true)]
    args: Vec<String>,
    /// Asks through the leader (l) or the member that answers (s).
    #[arg(long, default_value = "l", value_name = "l|s")]
    consistency: String,
}

/// A change of one member: what was done to whom, and the answer.
struct Changed<M> {
    member: u64,
    /// What stands between the two ids.
    done: &'static str,
    /// The message's name.
    name: &'static str,
    header: Option<ResponseHeader>,
    answer: M,
}

impl MemberVerb {
    pub(crate) async fn run(self, session: &Session) -> Done {
        match self {
            Self::Add(verb) => add(session, verb).await,
            Self::Remove(verb) => {
                let member = member_of(&verb.args)?;
                let answer: MemberRemoveResponse = session.call(MemberRemoveRequest { id: member }).await?;
                let name = "etcdserverpb.MemberRemoveResponse";
                session.show(&Changed { member, done: "removed from", name, header: answer.header, answer })
            }
            Self::Replace(verb) => verb.run(session).await,
            Self::Update(verb) => {
                let member = member_of(&verb.args)?;
                let peer_ur_ls = peer_urls(&verb.peer_urls)?;
                let answer: MemberUpdateResponse =
                    session.call(MemberUpdateRequest { id: member, peer_ur_ls }).await?;
                let name = "etcdserverpb.MemberUpdateResponse";
                session.show(&Changed { member, done: "updated in", name, header: answer.header, answer })
            }
            Self::Promote(verb) => {
                let member = member_of(&verb.args)?;
                let answer: MemberPromoteResponse = session.call(MemberPromoteRequest { id: member }).await?;
                let name = "etcdserverpb.MemberPromoteResponse";
                session.show(&Changed { member, done: "promoted in", name, header: answer.header, answer })
            }
            Self::List(verb) => {
                let linearizable = verb.consistency != "s";
                session.show(&session.call(MemberListRequest { linearizable }).await?)
            }
        }
    }
}

fn member_of(args: &[String]) -> Result<u64, Failure> {
    let [id] = args else { return Err(Failure::arguments("member ID is not provided")) };
    go::parse_hex_unsigned(id)
        .map_err(|reason| Failure::arguments(format!("bad member ID arg ({reason}), expecting ID in Hex")))
}

/// URLs that a member can be reached at, with the words of Go's client for those that are none.
fn peer_urls(text: &str) -> Result<Vec<String>, Failure> {
    if text.is_empty() {
        return Err(Failure::arguments("member peer urls not provided"));
    }
    let mut urls = Vec::new();
    for url in text.split(',') {
        let (scheme, rest) = url.split_once("://").unwrap_or(("", url));
        if !["http", "https", "unix", "unixs"].contains(&scheme) {
            return Err(Failure::error(format!("URL scheme must be http, https, unix, or unixs: {url}")));
        }
        let (host, path) = rest.split_once('/').map_or((rest, None), |(host, path)| (host, Some(path)));
        if scheme.starts_with("http") && !host.contains(':') {
            return Err(Failure::error(format!("URL address does not have the form \"host:port\": {url}")));
        }
        if scheme.starts_with("http") && path.is_some() {
            return Err(Failure::error(format!("URL must not contain a path: {url}")));
        }
        urls.push(url.to_owned());
    }
    Ok(urls)
}

impl ReplaceMember {
    async fn run(self, session: &Session) -> Done {
        let members = session.call(MemberListRequest { linearizable: true }).await?.members;
        let is_meant =
            |member: &&Member| member.name == self.member || format!("{:x}", member.id) == self.member;
        let meant: Vec<&Member> = members.iter().filter(is_meant).collect();
        let [old] = meant.as_slice() else {
            let text =
                format!("{} members are called {:?}: `member list` shows them", meant.len(), self.member);
            return Err(Failure::arguments(text));
        };
        if !self.force && answers(session, old).await {
            let details = vec!["hint: stop it first, or say --force".to_owned()];
            return Err(Failure { details, ..Failure::error(format!("member {:x} still answers", old.id)) });
        }
        let name = if old.name.is_empty() { self.member.clone() } else { old.name.clone() };
        let urls =
            if self.peer_urls.is_empty() { old.peer_ur_ls.clone() } else { peer_urls(&self.peer_urls)? };
        let removed: MemberRemoveResponse = session.call(MemberRemoveRequest { id: old.id }).await?;
        let kind = "etcdserverpb.MemberRemoveResponse";
        let header = removed.header;
        session.show(&Changed {
            member: old.id,
            done: "removed from",
            name: kind,
            header,
            answer: removed,
        })?;
        let peers = urls.join(",");
        let verb =
            || AddMember { args: vec![name.clone()], peer_urls: peers.clone(), learner: old.is_learner };
        let mut added = add(session, verb()).await;
        for _ in 1..ADDS_MAX {
            // Others are taken for healthy when they were seen for some seconds.
            let passes = |failure: &Failure| {
                failure.text.as_ref().is_some_and(|text| text.contains("unhealthy cluster"))
            };
            if !added.as_ref().is_err_and(passes) {
                break;
            }
            tokio::time::sleep(ADD_PAUSE).await;
            added = add(session, verb()).await;
        }
        added.map_err(|mut failure| {
            failure.details.push(format!(
                "the old one is removed, and none is added: `member add {name} --peer-urls={peers}`"
            ));
            failure
        })
    }
}

/// Whether a member can be reached where it says that it listens.
async fn answers(session: &Session, member: &Member) -> bool {
    for endpoint in member.client_ur_ls.iter().filter_map(|url| Endpoint::parse(url).ok()) {
        if session.client.only(&endpoint).call(StatusRequest {}, Some(ANSWER)).await.is_ok() {
            return true;
        }
    }
    false
}

async fn add(session: &Session, verb: AddMember) -> Done {
    let name = match verb.args.as_slice() {
        [] => return Err(Failure::arguments("member name not provided")),
        [name] => name.clone(),
        _ => return Err(Failure::arguments("too many arguments")),
    };
    let peer_ur_ls = peer_urls(&verb.peer_urls)?;
    let request = MemberAddRequest { peer_ur_ls, is_learner: verb.learner };
    let answer: MemberAddResponse = session.call(request).await?;
    let Some(new) = answer.member.clone() else {
        return Err(Failure::error("the answer does not say which member was added"));
    };
    let (members, header) = (answer.members.clone(), answer.header);
    session.show(&Changed {
        member: new.id,
        done: "added to",
        name: "etcdserverpb.MemberAddResponse",
        header,
        answer,
    })?;
    if session.output.form == Form::Simple {
        print(settings(&name, &new, &members).as_bytes())
    } else {
        Ok(())
    }
}

/// What the new member must be started with.
fn settings(name: &str, new: &Member, members: &[Member]) -> String {
    let named = |member: &Member| if member.id == new.id { name.to_owned() } else { member.name.clone() };
    let pairs = members.iter().flat_map(|member| {
        member.peer_ur_ls.iter().map(move |url| format!("{}={url}", named(member))).collect::<Vec<_>>()
    });
    let cluster = pairs.collect::<Vec<_>>().join(",");
    let quoted = |text: &str| go::quoted(text.as_bytes());
    format!(
        "\nETCD_NAME={}\nETCD_INITIAL_CLUSTER={}\nETCD_INITIAL_ADVERTISE_PEER_URLS={}\n\
         ETCD_INITIAL_CLUSTER_STATE=\"existing\"\n",
        quoted(name),
        quoted(&cluster),
        quoted(&new.peer_ur_ls.join(","))
    )
}

impl<M: Message> Shown for Changed<M> {
    fn simple(&self, _output: Output) -> Vec<u8> {
        let cluster = self.header.as_ref().map_or(0, |header| header.cluster_id);
        format!("Member {:16x} {} cluster {cluster:16x}\n", self.member, self.done).into_bytes()
    }

    fn json(&self, _output: Output) -> Value {
        message(self.name, &self.answer)
    }

    fn fields(&self, _output: Output) -> Fields {
        let mut fields = Fields::of(self.header.as_ref());
        fields.value("ID", self.member);
        fields
    }

    fn protobuf(&self) -> Option<Vec<u8>> {
        Some(self.answer.encode_to_vec())
    }
}

/// The columns of one member.
fn cells(member: &Member) -> Vec<String> {
    let status = if member.name.is_empty() { "unstarted" } else { "started" };
    vec![
        format!("{:x}", member.id),
        status.to_owned(),
        member.name.clone(),
        member.peer_ur_ls.join(","),
        member.client_ur_ls.join(","),
        member.is_learner.to_string(),
    ]
}

impl Shown for MemberListResponse {
    fn simple(&self, _output: Output) -> Vec<u8> {
        self.members.iter().map(|member| cells(member).join(", ") + "\n").collect::<String>().into_bytes()
    }

    fn json(&self, output: Output) -> Value {
        let mut json = message("etcdserverpb.MemberListResponse", self);
        if output.hex {
            hex_ids(&mut json);
        }
        json
    }

    fn fields(&self, output: Output) -> Fields {
        let mut fields = Fields::of(self.header.as_ref());
        for member in &self.members {
            if output.hex {
                fields.value("ID", format!("{:x}", member.id));
            } else {
                fields.value("ID", member.id);
            }
            fields.quoted("Name", member.name.as_bytes());
            member.peer_ur_ls.iter().for_each(|url| fields.quoted("PeerURL", url.as_bytes()));
            member.client_ur_ls.iter().for_each(|url| fields.quoted("ClientURL", url.as_bytes()));
            fields.value("IsLearner", member.is_learner);
            fields.gap();
        }
        fields
    }

    fn protobuf(&self) -> Option<Vec<u8>> {
        Some(self.encode_to_vec())
    }

    fn table(&self, _output: Output) -> Option<Table> {
        let mut table = Table::new(&["ID", "Status", "Name", "Peer Addrs", "Client Addrs", "Is Learner"]);
        self.members.iter().for_each(|member| table.row(cells(member)));
        Some(table)
    }

    fn lines(&self, _output: Output) -> Vec<Value> {
        self.members.iter().map(|member| message("etcdserverpb.Member", member)).collect()
    }
}

/// Ids as texts in hex.
fn hex_ids(json: &mut Value) {
    match json {
        Value::Object(object) => {
            for (name, value) in object.iter_mut() {
                match value.as_u64() {
                    Some(id) if ["cluster_id", "member_id", "ID"].contains(&name.as_str()) => {
                        *value = format!("{id:x}").into();
                    }
                    _ => hex_ids(value),
                }
            }
        }
        Value::Array(values) => values.iter_mut().for_each(hex_ids),
        _ => {}
    }
}
