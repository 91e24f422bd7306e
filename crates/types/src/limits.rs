//! Limits of the interface that an operator can set.

/// What one request may cost.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Limits {
    /// A request, encoded for the log, may not be larger than this many bytes.
    pub request_bytes_max: usize,
    /// Compares, and operations of one branch, of a transaction.
    pub txn_ops_max: usize,
}

impl Default for Limits {
    fn default() -> Self {
        Self { request_bytes_max: 1_572_864, txn_ops_max: 128 }
    }
}
