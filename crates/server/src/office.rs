//! What this member says at its peer port when it is asked.

use std::io;
use std::sync::Arc;

use bytes::Bytes;
use transport::{Inquired, Office};
use types::{Index, MemberId, MemberRecord};

use crate::courier::{self, Inquiries};
use crate::depot::Depot;
use crate::rooms::Wing;

/// See the module.
pub(crate) struct Clerk {
    wing: Arc<Wing>,
    depot: Arc<Depot>,
    inquiries: Inquiries,
}

impl Clerk {
    pub(crate) fn new(wing: Arc<Wing>, depot: Arc<Depot>, inquiries: Inquiries) -> Self {
        Self { wing, depot, inquiries }
    }

    /// A visitor who is a member as far as this one knows: only of these it is counted what they fetch.
    fn known(&self, visitor: MemberId) -> Option<MemberId> {
        self.wing.look().members.contains(visitor).then_some(visitor)
    }
}

impl Office for Clerk {
    fn version(&self) -> String {
        let (server, cluster, storage) = (api::level::SERVER, api::level::CLUSTER, api::level::STORAGE);
        format!("{{\"etcdserver\":\"{server}\",\"etcdcluster\":\"{cluster}\",\"storage\":\"{storage}\"}}")
    }

    fn members(&self) -> Vec<MemberRecord> {
        self.wing.look().members.list()
    }

    fn is_removed(&self, member: MemberId) -> bool {
        self.wing.look().members.is_removed(member)
    }

    fn fingerprint(&self, index: Index) -> Option<u64> {
        self.wing.look().fingerprints.at(index).map(|fingerprint| fingerprint.0)
    }

    fn inquire(&self, question: Bytes) -> Inquired {
        Box::pin(courier::inquire(self.inquiries.clone(), question))
    }

    fn snapshot(&self, visitor: MemberId, id: &str) -> io::Result<Option<Bytes>> {
        Ok(self.depot.manifest(self.known(visitor), id))
    }

    fn snapshot_piece(
        &self,
        visitor: MemberId,
        id: &str,
        file: &str,
        offset: u64,
        length_max: usize,
    ) -> io::Result<Option<Bytes>> {
        self.depot.piece(self.known(visitor), id, file, offset, length_max)
    }
}
