//! Writing at the destination: in transactions that are not too large, until each is surely written.

use std::sync::Arc;
use std::time::Duration;

use client::{Client, Fault};
use proto::etcdserverpb::request_op::Request;
use proto::etcdserverpb::{RequestOp, TxnRequest};
use tokio::time::sleep;

use super::position::{Position, Stage};
use super::progress::Progress;
use super::{Mirror, PAUSE, passes};
use crate::failure::{Done, Failure};

/// Keys and values of one transaction, in bytes; a member refuses requests above 1.5 MiB.
const PIECE_BYTES_MAX: usize = 1024 * 1024;

/// Who writes, under which position.
pub(super) struct Writer {
    pub(super) target: Client,
    pub(super) patience: Option<Duration>,
    pub(super) progress: Arc<Progress>,
    pub(super) position: Option<Position>,
}

/// Cuts what is to be written into transactions.
pub(super) fn pieces(requests: Vec<Request>, operations_max: usize) -> Vec<Vec<Request>> {
    let mut pieces: Vec<Vec<Request>> = Vec::new();
    let mut bytes = 0;
    for request in requests {
        let size = size(&request);
        match pieces.last_mut() {
            Some(piece) if piece.len() < operations_max && bytes + size <= PIECE_BYTES_MAX => {
                bytes += size;
                piece.push(request);
            }
            _ => {
                bytes = size;
                pieces.push(vec![request]);
            }
        }
    }
    pieces
}

fn size(request: &Request) -> usize {
    match request {
        Request::RequestPut(put) => put.key.len() + put.value.len(),
        Request::RequestDeleteRange(delete) => delete.key.len(),
        Request::RequestRange(_) | Request::RequestTxn(_) => 0,
    }
}

impl Mirror {
    /// How many keys one transaction may write; the position takes a place, too.
    pub(super) fn operations_max(&self) -> usize {
        match &self.position {
            Some(_) => self.flags.max_txn_ops.max(2) - 1,
            None => self.flags.max_txn_ops.max(1),
        }
    }

    /// Writes until it is surely written; with what is written last the position goes on to `stage`.
    pub(super) async fn write(&mut self, requests: Vec<Request>, stage: Option<Stage>) -> Done {
        let mut pieces = pieces(requests, self.operations_max());
        let last = pieces.pop().unwrap_or_default();
        let mut writer = Writer {
            target: self.target.clone(),
            patience: self.patience,
            progress: Arc::clone(&self.progress),
            position: self.position.take(),
        };
        let done = async {
            for piece in pieces {
                writer.write(piece, None).await?;
            }
            writer.write(last, stage).await
        }
        .await;
        self.position = writer.position;
        done
    }
}

impl Writer {
    /// Writes one transaction until it is surely written.
    pub(super) async fn write(&mut self, requests: Vec<Request>, stage: Option<Stage>) -> Done {
        let count = requests.len() as u64;
        let mut operations = requests;
        let mut compare = Vec::new();
        if let Some(position) = &self.position {
            compare.push(position.compare());
            operations.extend(stage.map(|stage| position.put(stage)));
        }
        if operations.is_empty() {
            return Ok(());
        }
        let success = operations.into_iter().map(|request| RequestOp { request: Some(request) }).collect();
        let request = TxnRequest { compare, success, ..Default::default() };
        loop {
            let fault = match self.target.call(request.clone(), self.patience).await {
                Ok(reply) if reply.succeeded => break,
                Ok(_) => None,
                Err(fault) => Some(fault),
            };
            match (fault, &mut self.position) {
                (Some(Fault::Broken { .. }), None) => self.wait().await,
                (Some(fault), Some(_)) if passes(&fault) => self.wait().await,
                (Some(fault), _) => return Err(fault.into()),
                // An earlier try, whose answer did not come, may have been this one.
                (None, Some(position)) => {
                    position.look_up(&self.target, self.patience).await?;
                    if stage.is_some_and(|stage| position.stands_at(stage)) {
                        break;
                    }
                    return Err(position.lost());
                }
                (None, None) => return Err(Failure::error("a transaction without conditions was refused")),
            }
        }
        if let (Some(position), Some(stage)) = (&mut self.position, stage) {
            position.went_on(stage);
        }
        self.progress.wrote(count);
        Ok(())
    }

    async fn wait(&self) {
        self.progress.repeats();
        sleep(PAUSE).await;
    }
}

#[cfg(test)]
mod tests {
    use proto::etcdserverpb::PutRequest;

    use super::*;

    #[test]
    fn transactions_are_neither_too_long_nor_too_large() {
        let put = |bytes: usize| {
            Request::RequestPut(PutRequest { value: vec![0; bytes].into(), ..Default::default() })
        };
        let sizes =
            |requests: Vec<Request>| -> Vec<usize> { pieces(requests, 3).iter().map(Vec::len).collect() };
        assert_eq!(sizes(vec![put(1); 7]), [3, 3, 1]);
        assert_eq!(sizes(vec![put(600 * 1024); 3]), [1, 1, 1]);
        assert_eq!(sizes(vec![put(2 * PIECE_BYTES_MAX), put(1)]), [1, 1]);
        assert!(pieces(Vec::new(), 3).is_empty());
    }
}
