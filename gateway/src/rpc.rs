//! The calls that this gateway serves, by their gRPC names and JSON paths. Every other method of etcd's
//! services is known from the descriptors and answered as unimplemented.

/// A call.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum Rpc {
    Range,
    Put,
    DeleteRange,
    Txn,
    Compact,
    Status,
    Hash,
    HashKv,
    MemberList,
    MemberAdd,
    MemberRemove,
    MemberUpdate,
    MemberPromote,
    MoveLeader,
    Alarm,
}

impl Rpc {
    /// All calls, each at the place of its number.
    pub(crate) const ALL: [Self; 15] = [
        Self::Range,
        Self::Put,
        Self::DeleteRange,
        Self::Txn,
        Self::Compact,
        Self::Status,
        Self::Hash,
        Self::HashKv,
        Self::MemberList,
        Self::MemberAdd,
        Self::MemberRemove,
        Self::MemberUpdate,
        Self::MemberPromote,
        Self::MoveLeader,
        Self::Alarm,
    ];

    /// The call at a gRPC path.
    pub(crate) fn at_path(path: &str) -> Option<Self> {
        Some(match path {
            "/etcdserverpb.KV/Put" => Self::Put,
            "/etcdserverpb.KV/Range" => Self::Range,
            "/etcdserverpb.KV/Txn" => Self::Txn,
            "/etcdserverpb.KV/DeleteRange" => Self::DeleteRange,
            "/etcdserverpb.KV/Compact" => Self::Compact,
            "/etcdserverpb.Maintenance/Status" => Self::Status,
            "/etcdserverpb.Maintenance/Hash" => Self::Hash,
            "/etcdserverpb.Maintenance/HashKV" => Self::HashKv,
            "/etcdserverpb.Cluster/MemberList" => Self::MemberList,
            "/etcdserverpb.Cluster/MemberAdd" => Self::MemberAdd,
            "/etcdserverpb.Cluster/MemberRemove" => Self::MemberRemove,
            "/etcdserverpb.Cluster/MemberUpdate" => Self::MemberUpdate,
            "/etcdserverpb.Cluster/MemberPromote" => Self::MemberPromote,
            "/etcdserverpb.Maintenance/MoveLeader" => Self::MoveLeader,
            "/etcdserverpb.Maintenance/Alarm" => Self::Alarm,
            _ => return None,
        })
    }

    /// Its service and method.
    pub(crate) fn names(self) -> (&'static str, &'static str) {
        const KV: &str = "etcdserverpb.KV";
        const CLUSTER: &str = "etcdserverpb.Cluster";
        const MAINTENANCE: &str = "etcdserverpb.Maintenance";
        match self {
            Self::Range => (KV, "Range"),
            Self::Put => (KV, "Put"),
            Self::DeleteRange => (KV, "DeleteRange"),
            Self::Txn => (KV, "Txn"),
            Self::Compact => (KV, "Compact"),
            Self::Status => (MAINTENANCE, "Status"),
            Self::Hash => (MAINTENANCE, "Hash"),
            Self::HashKv => (MAINTENANCE, "HashKV"),
            Self::MemberList => (CLUSTER, "MemberList"),
            Self::MemberAdd => (CLUSTER, "MemberAdd"),
            Self::MemberRemove => (CLUSTER, "MemberRemove"),
            Self::MemberUpdate => (CLUSTER, "MemberUpdate"),
            Self::MemberPromote => (CLUSTER, "MemberPromote"),
            Self::MoveLeader => (MAINTENANCE, "MoveLeader"),
            Self::Alarm => (MAINTENANCE, "Alarm"),
        }
    }
}

/// What a JSON path below `/v3/` names.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum JsonPath {
    /// A call that is served.
    Rpc(Rpc),
    /// A method that is not served yet, by its gRPC name.
    Unserved(&'static str),
}

impl JsonPath {
    /// What is at `path`, without the prefix of the version.
    pub(crate) fn find(path: &str) -> Option<Self> {
        let rpc = match path {
            "/kv/range" => Rpc::Range,
            "/kv/put" => Rpc::Put,
            "/kv/deleterange" => Rpc::DeleteRange,
            "/kv/txn" => Rpc::Txn,
            "/kv/compaction" => Rpc::Compact,
            "/maintenance/status" => Rpc::Status,
            "/maintenance/hash" => Rpc::Hash,
            "/maintenance/hashkv" => Rpc::HashKv,
            "/cluster/member/list" => Rpc::MemberList,
            "/cluster/member/add" => Rpc::MemberAdd,
            "/cluster/member/remove" => Rpc::MemberRemove,
            "/cluster/member/update" => Rpc::MemberUpdate,
            "/cluster/member/promote" => Rpc::MemberPromote,
            "/maintenance/transfer-leadership" => Rpc::MoveLeader,
            "/maintenance/alarm" => Rpc::Alarm,
            _ => return unserved(path).map(Self::Unserved),
        };
        Some(Self::Rpc(rpc))
    }
}

fn unserved(path: &str) -> Option<&'static str> {
    Some(match path {
        "/watch" => "Watch",
        "/lease/grant" => "LeaseGrant",
        "/lease/revoke" | "/kv/lease/revoke" => "LeaseRevoke",
        "/lease/keepalive" => "LeaseKeepAlive",
        "/lease/timetolive" | "/kv/lease/timetolive" => "LeaseTimeToLive",
        "/lease/leases" | "/kv/lease/leases" => "LeaseLeases",
        "/maintenance/defragment" => "Defragment",
        "/maintenance/snapshot" => "Snapshot",
        "/maintenance/downgrade" => "Downgrade",
        "/auth/enable" => "AuthEnable",
        "/auth/disable" => "AuthDisable",
        "/auth/status" => "AuthStatus",
        "/auth/authenticate" => "Authenticate",
        "/auth/user/add" => "UserAdd",
        "/auth/user/get" => "UserGet",
        "/auth/user/list" => "UserList",
        "/auth/user/delete" => "UserDelete",
        "/auth/user/changepw" => "UserChangePassword",
        "/auth/user/grant" => "UserGrantRole",
        "/auth/user/revoke" => "UserRevokeRole",
        "/auth/role/add" => "RoleAdd",
        "/auth/role/get" => "RoleGet",
        "/auth/role/list" => "RoleList",
        "/auth/role/delete" => "RoleDelete",
        "/auth/role/grant" => "RoleGrantPermission",
        "/auth/role/revoke" => "RoleRevokePermission",
        "/lock/lock" => "Lock",
        "/lock/unlock" => "Unlock",
        "/election/campaign" => "Campaign",
        "/election/proclaim" => "Proclaim",
        "/election/leader" => "Leader",
        "/election/observe" => "Observe",
        "/election/resign" => "Resign",
        _ => return None,
    })
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn every_call_is_found_by_its_names_and_stands_at_its_number() {
        for (number, rpc) in Rpc::ALL.into_iter().enumerate() {
            let (service, method) = rpc.names();
            assert_eq!(Rpc::at_path(&format!("/{service}/{method}")), Some(rpc));
            assert_eq!(rpc as usize, number);
        }
    }
}
