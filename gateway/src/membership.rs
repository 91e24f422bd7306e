//! The v3 calls about who is in the cluster, who leads it and what is wrong with it.

use std::sync::Arc;

use api::{AlarmAction, Code, Fault, Header, Member};
use proto::etcdserverpb as pb;
use types::{Alarm, AlarmKind, MemberId, MemberRecord, MemberUrl, parse_urls};

use crate::calls::{consistency, voting};
use crate::convert;
use crate::refusal::Refusal;

pub(crate) async fn member_list(
    member: &Arc<dyn Member>,
    request: pb::MemberListRequest,
) -> Result<pb::MemberListResponse, Refusal> {
    voting(member)?;
    let reply = member.members(consistency(!request.linearizable)).await?;
    Ok(pb::MemberListResponse { header: header(reply.header), members: wire(reply.body) })
}

pub(crate) async fn member_add(
    member: &Arc<dyn Member>,
    request: pb::MemberAddRequest,
) -> Result<pb::MemberAddResponse, Refusal> {
    voting(member)?;
    let urls = parse_urls(request.peer_ur_ls.iter().map(String::as_str));
    let reply = member.member_add(urls.map_err(|_| Fault::BadMemberUrls)?, request.is_learner).await?;
    Ok(pb::MemberAddResponse {
        header: header(reply.header),
        member: Some(convert::member(reply.body.member)),
        members: wire(reply.body.members),
    })
}

pub(crate) async fn member_remove(
    member: &Arc<dyn Member>,
    request: pb::MemberRemoveRequest,
) -> Result<pb::MemberRemoveResponse, Refusal> {
    voting(member)?;
    let reply = member.member_remove(MemberId(request.id)).await?;
    Ok(pb::MemberRemoveResponse { header: header(reply.header), members: wire(reply.body) })
}

pub(crate) async fn member_update(
    member: &Arc<dyn Member>,
    request: pb::MemberUpdateRequest,
) -> Result<pb::MemberUpdateResponse, Refusal> {
    voting(member)?;
    // They are kept in the order in which they were given, unlike those of a new member.
    let urls = request.peer_ur_ls.iter().map(|text| MemberUrl::parse(text));
    let urls: Vec<MemberUrl> = urls.collect::<Result<_, _>>().map_err(|_| Fault::BadMemberUrls)?;
    if urls.is_empty() {
        return Err(Fault::BadMemberUrls.into());
    }
    let reply = member.member_update(MemberId(request.id), urls).await?;
    Ok(pb::MemberUpdateResponse { header: header(reply.header), members: wire(reply.body) })
}

pub(crate) async fn member_promote(
    member: &Arc<dyn Member>,
    request: pb::MemberPromoteRequest,
) -> Result<pb::MemberPromoteResponse, Refusal> {
    voting(member)?;
    let reply = member.member_promote(MemberId(request.id)).await?;
    Ok(pb::MemberPromoteResponse { header: header(reply.header), members: wire(reply.body) })
}

pub(crate) async fn move_leader(
    member: &Arc<dyn Member>,
    request: pb::MoveLeaderRequest,
) -> Result<pb::MoveLeaderResponse, Refusal> {
    voting(member)?;
    member.move_leader(MemberId(request.target_id)).await?;
    // It is the one answer that has no header in any version.
    Ok(pb::MoveLeaderResponse::default())
}

pub(crate) async fn alarm(
    member: &Arc<dyn Member>,
    request: pb::AlarmRequest,
) -> Result<pb::AlarmResponse, Refusal> {
    use pb::alarm_request::AlarmAction as Wire;
    voting(member)?;
    let kind = kind(request.alarm)?;
    let one = |kind| Alarm { member: MemberId(request.member_id), kind };
    let action = match (Wire::try_from(request.action), kind) {
        (Ok(Wire::Get), kind) => AlarmAction::Get(kind),
        (Ok(Wire::Activate), Some(kind)) => AlarmAction::Raise(one(kind)),
        (Ok(Wire::Deactivate), Some(kind)) => AlarmAction::Lower(one(kind)),
        (Ok(Wire::Activate), None) | (Err(_), _) => return Err(no_such("alarm")),
        (Ok(Wire::Deactivate), None) => {
            // No alarm is of no kind, so there is nothing to lower.
            let header = convert::header(member.header());
            return Ok(pb::AlarmResponse { header: Some(header), alarms: Vec::new() });
        }
    };
    let reply = member.alarm(action).await?;
    let alarms = reply.body.into_iter().map(alarm_member).collect();
    Ok(pb::AlarmResponse { header: Some(convert::header(reply.header)), alarms })
}

fn kind(number: i32) -> Result<Option<AlarmKind>, Refusal> {
    match pb::AlarmType::try_from(number) {
        Ok(pb::AlarmType::None) => Ok(None),
        Ok(pb::AlarmType::Nospace) => Ok(Some(AlarmKind::NoSpace)),
        Ok(pb::AlarmType::Corrupt) => Ok(Some(AlarmKind::Corrupt)),
        Err(_) => Err(no_such("alarm")),
    }
}

fn alarm_member(alarm: Alarm) -> pb::AlarmMember {
    let kind = match alarm.kind {
        AlarmKind::NoSpace => pb::AlarmType::Nospace,
        AlarmKind::Corrupt => pb::AlarmType::Corrupt,
    };
    pb::AlarmMember { member_id: alarm.member.0, alarm: kind.into() }
}

fn no_such(what: &str) -> Refusal {
    Refusal::new(Code::InvalidArgument, format!("kvorum: there is no such {what}"))
}

/// Headers of the Cluster service carry no revision.
#[allow(clippy::unnecessary_wraps, reason = "messages have their header in an Option")]
fn header(header: Header) -> Option<pb::ResponseHeader> {
    Some(convert::header(Header { revision: types::Revision::default(), ..header }))
}

fn wire(members: Vec<MemberRecord>) -> Vec<pb::Member> {
    members.into_iter().map(convert::member).collect()
}
