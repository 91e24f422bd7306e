//! Ranges and snapshots in parts.

use bytes::Bytes;
use proto::etcdserverpb as pb;

use crate::calls;
use crate::convert;
use crate::refusal::Refusal;
use crate::stream::Call;

/// Where the piece is in an answer.
const BLOB: u32 = 3;

/// A range's answer in parts, all of one revision.
pub(crate) async fn range_stream(mut call: Call) -> Result<(), Refusal> {
    call.admit().await?;
    let request: pb::RangeRequest = call.only_request().await?;
    let consistency = calls::consistency(request.serializable);
    let mut parts = call.member.range_stream(convert::range(request)?, consistency).await?;
    while let Some(part) = parts.next().await? {
        let range = convert::range_reply(convert::header(part.header), part.body);
        call.outlet.put(&pb::RangeStreamResponse { range_response: Some(range) })?;
        call.outlet.flush().await;
    }
    Ok(())
}

/// Everything that this member holds.
pub(crate) async fn snapshot(mut call: Call) -> Result<(), Refusal> {
    call.admit().await?;
    let _request: pb::SnapshotRequest = call.only_request().await?;
    let mut pieces = call.member.snapshot().await?;
    while let Some(piece) = pieces.next().await? {
        let answer = pb::SnapshotResponse {
            // etcd sends none with these.
            header: None,
            remaining_bytes: piece.body.remaining,
            blob: Bytes::new(),
            version: api::level::STORAGE.to_owned(),
        };
        call.outlet.put_with(answer, BLOB, piece.body.bytes, |answer, blob| answer.blob = blob)?;
        call.outlet.flush().await;
    }
    Ok(())
}
