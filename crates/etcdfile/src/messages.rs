//! Messages that etcd writes to its disk and speaks to nobody.

/// A lease, in its bucket.
#[derive(Clone, PartialEq, prost::Message)]
pub(crate) struct Lease {
    #[prost(int64, tag = "1")]
    pub(crate) id: i64,
    /// Seconds.
    #[prost(int64, tag = "2")]
    pub(crate) ttl: i64,
    /// Seconds that the last checkpoint left; 0 if there was none.
    #[prost(int64, tag = "3")]
    pub(crate) remaining: i64,
}
