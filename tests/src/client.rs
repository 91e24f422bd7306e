//! A client of one member over gRPC, for tests that wait for each answer.
//!
//! It never retries and never goes to another member: what a member answers is what the test sees.

use std::net::SocketAddr;
use std::sync::LazyLock;
use std::time::Duration;

use anyhow::Context;
use proto::etcdserverpb::cluster_client::ClusterClient;
use proto::etcdserverpb::kv_client::KvClient;
use proto::etcdserverpb::lease_client::LeaseClient;
use proto::etcdserverpb::maintenance_client::MaintenanceClient;
use proto::etcdserverpb::{
    DeleteRangeRequest, HashKvRequest, HashKvResponse, LeaseGrantRequest, MemberListRequest,
    MoveLeaderRequest, PutRequest, RangeRequest, RangeResponse, StatusRequest, StatusResponse,
};
use tokio::runtime::{Builder, Runtime};
use tokio::task::JoinHandle;
use tonic::transport::{Channel, Endpoint};

/// How long an answer may take before the client gives up on it.
const PATIENCE: Duration = Duration::from_secs(5);

static RUNTIME: LazyLock<Runtime> = LazyLock::new(|| {
    Builder::new_multi_thread().worker_threads(2).enable_all().build().expect("threads can be started")
});

/// The runtime of everything in a test that speaks gRPC.
pub fn runtime() -> &'static Runtime {
    &RUNTIME
}

/// A channel to `address` that connects when it is first used and gives up on an answer after `patience`.
pub fn channel(address: SocketAddr, patience: Duration) -> anyhow::Result<Channel> {
    let endpoint = Endpoint::from_shared(format!("http://{address}")).context("an address")?;
    let _inside = RUNTIME.enter();
    Ok(endpoint.timeout(patience).connect_timeout(patience).connect_lazy())
}

/// A client of one member.
#[derive(Clone, Debug)]
pub struct Client {
    channel: Channel,
}

impl Client {
    /// A client of the member at `address`.
    pub fn new(address: SocketAddr) -> anyhow::Result<Self> {
        Self::patient(address, PATIENCE)
    }

    /// The same with its own patience for one answer.
    pub fn patient(address: SocketAddr, patience: Duration) -> anyhow::Result<Self> {
        Ok(Self { channel: channel(address, patience)? })
    }

    /// Writes; answers the revision.
    pub fn put(&self, key: &str, value: &str) -> anyhow::Result<i64> {
        let request = PutRequest {
            key: key.to_owned().into(),
            value: value.to_owned().into(),
            ..PutRequest::default()
        };
        let reply = RUNTIME.block_on(KvClient::new(self.channel.clone()).put(request))?.into_inner();
        Ok(reply.header.context("an answer without a header")?.revision)
    }

    /// A lease of so many seconds; answers its id.
    pub fn lease(&self, seconds: i64) -> anyhow::Result<i64> {
        let request = LeaseGrantRequest { ttl: seconds, id: 0 };
        let call = async { LeaseClient::new(self.channel.clone()).lease_grant(request).await };
        Ok(RUNTIME.block_on(call)?.into_inner().id)
    }

    /// Writes a key that lives as long as the lease.
    pub fn put_leased(&self, key: &str, lease: i64) -> anyhow::Result<()> {
        let request = PutRequest { key: key.to_owned().into(), lease, ..PutRequest::default() };
        RUNTIME.block_on(KvClient::new(self.channel.clone()).put(request))?;
        Ok(())
    }

    /// Sends a linearizable read and does not wait for its answer.
    pub fn get_later(&self, key: &str) -> JoinHandle<anyhow::Result<Option<String>>> {
        let mut client = KvClient::new(self.channel.clone());
        let request = RangeRequest { key: key.to_owned().into(), ..RangeRequest::default() };
        RUNTIME.spawn(async move { Ok(first_value(&client.range(request).await?.into_inner())) })
    }

    /// Removes; answers the revision.
    pub fn delete(&self, key: &str) -> anyhow::Result<i64> {
        let request = DeleteRangeRequest { key: key.to_owned().into(), ..DeleteRangeRequest::default() };
        let reply = RUNTIME.block_on(KvClient::new(self.channel.clone()).delete_range(request))?.into_inner();
        Ok(reply.header.context("an answer without a header")?.revision)
    }

    /// The value, read through a majority.
    pub fn get(&self, key: &str) -> anyhow::Result<Option<String>> {
        self.read(key, false)
    }

    /// The value as this member has it, whoever leads.
    pub fn get_here(&self, key: &str) -> anyhow::Result<Option<String>> {
        self.read(key, true)
    }

    /// All keys that start with `prefix`, read through a majority.
    pub fn list(&self, prefix: &str) -> anyhow::Result<RangeResponse> {
        let mut end = prefix.as_bytes().to_vec();
        *end.last_mut().context("a prefix")? += 1;
        let request =
            RangeRequest { key: prefix.to_owned().into(), range_end: end.into(), ..RangeRequest::default() };
        Ok(RUNTIME.block_on(KvClient::new(self.channel.clone()).range(request))?.into_inner())
    }

    /// What the member says of itself.
    pub fn status(&self) -> anyhow::Result<StatusResponse> {
        let call = async { MaintenanceClient::new(self.channel.clone()).status(StatusRequest {}).await };
        Ok(RUNTIME.block_on(call)?.into_inner())
    }

    /// The id of the member.
    pub fn id(&self) -> anyhow::Result<u64> {
        Ok(self.status()?.header.context("an answer without a header")?.member_id)
    }

    /// The hash of this member's v3 keyspace at a revision; 0 stands for the newest.
    pub fn hash_kv(&self, revision: i64) -> anyhow::Result<HashKvResponse> {
        let call =
            async { MaintenanceClient::new(self.channel.clone()).hash_kv(HashKvRequest { revision }).await };
        Ok(RUNTIME.block_on(call)?.into_inner())
    }

    /// The members as this one knows them.
    pub fn members(&self) -> anyhow::Result<Vec<proto::etcdserverpb::Member>> {
        let call = async {
            ClusterClient::new(self.channel.clone()).member_list(MemberListRequest::default()).await
        };
        Ok(RUNTIME.block_on(call)?.into_inner().members)
    }

    /// Asks the leader to hand over to the member with this id.
    pub fn move_leader(&self, target_id: u64) -> anyhow::Result<()> {
        let call = async {
            MaintenanceClient::new(self.channel.clone()).move_leader(MoveLeaderRequest { target_id }).await
        };
        RUNTIME.block_on(call)?;
        Ok(())
    }

    fn read(&self, key: &str, serializable: bool) -> anyhow::Result<Option<String>> {
        let request = RangeRequest { key: key.to_owned().into(), serializable, ..RangeRequest::default() };
        let reply = RUNTIME.block_on(KvClient::new(self.channel.clone()).range(request))?.into_inner();
        Ok(first_value(&reply))
    }
}

fn first_value(reply: &RangeResponse) -> Option<String> {
    reply.kvs.first().map(|pair| String::from_utf8_lossy(&pair.value).into_owned())
}
