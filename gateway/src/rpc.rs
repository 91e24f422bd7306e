//! The calls that this gateway serves: their gRPC names and their JSON paths, in one table. Every other method of
//! etcd's services is known from the descriptors and answered as unimplemented.

macro_rules! calls {
    ($($name:ident = $service:literal $method:literal $($path:literal)*;)*) => {
        /// A call.
        #[derive(Clone, Copy, Debug, PartialEq, Eq)]
        pub(crate) enum Rpc {
            $($name,)*
        }

        impl Rpc {
            /// All calls, each at the place of its number.
            pub(crate) const ALL: &[Self] = &[$(Self::$name,)*];

            /// The call at a gRPC path.
            pub(crate) fn at_path(path: &str) -> Option<Self> {
                match path {
                    $(concat!("/", $service, "/", $method) => Some(Self::$name),)*
                    _ => None,
                }
            }

            /// Its service and method.
            pub(crate) fn names(self) -> (&'static str, &'static str) {
                match self {
                    $(Self::$name => ($service, $method),)*
                }
            }

            /// Its JSON paths, without the prefix of the version.
            pub(crate) fn json_paths(self) -> &'static [&'static str] {
                match self {
                    $(Self::$name => &[$($path,)*],)*
                }
            }

            /// The call at a JSON path, without the prefix of the version.
            pub(crate) fn at_json_path(path: &str) -> Option<Self> {
                match path {
                    $($($path => Some(Self::$name),)*)*
                    _ => None,
                }
            }
        }
    };
}

// What is called most comes first, since paths are compared in this order.
calls! {
    Put = "etcdserverpb.KV" "Put" "/kv/put";
    Range = "etcdserverpb.KV" "Range" "/kv/range";
    Txn = "etcdserverpb.KV" "Txn" "/kv/txn";
    DeleteRange = "etcdserverpb.KV" "DeleteRange" "/kv/deleterange";
    Compact = "etcdserverpb.KV" "Compact" "/kv/compaction";
    LeaseGrant = "etcdserverpb.Lease" "LeaseGrant" "/lease/grant";
    LeaseRevoke = "etcdserverpb.Lease" "LeaseRevoke" "/lease/revoke" "/kv/lease/revoke";
    LeaseTimeToLive = "etcdserverpb.Lease" "LeaseTimeToLive" "/lease/timetolive" "/kv/lease/timetolive";
    LeaseLeases = "etcdserverpb.Lease" "LeaseLeases" "/lease/leases" "/kv/lease/leases";
    Status = "etcdserverpb.Maintenance" "Status" "/maintenance/status";
    Hash = "etcdserverpb.Maintenance" "Hash" "/maintenance/hash";
    HashKv = "etcdserverpb.Maintenance" "HashKV" "/maintenance/hashkv";
    MoveLeader = "etcdserverpb.Maintenance" "MoveLeader" "/maintenance/transfer-leadership";
    Alarm = "etcdserverpb.Maintenance" "Alarm" "/maintenance/alarm";
    Defragment = "etcdserverpb.Maintenance" "Defragment" "/maintenance/defragment";
    Downgrade = "etcdserverpb.Maintenance" "Downgrade" "/maintenance/downgrade";
    MemberList = "etcdserverpb.Cluster" "MemberList" "/cluster/member/list";
    MemberAdd = "etcdserverpb.Cluster" "MemberAdd" "/cluster/member/add";
    MemberRemove = "etcdserverpb.Cluster" "MemberRemove" "/cluster/member/remove";
    MemberUpdate = "etcdserverpb.Cluster" "MemberUpdate" "/cluster/member/update";
    MemberPromote = "etcdserverpb.Cluster" "MemberPromote" "/cluster/member/promote";
    Authenticate = "etcdserverpb.Auth" "Authenticate" "/auth/authenticate";
    AuthEnable = "etcdserverpb.Auth" "AuthEnable" "/auth/enable";
    AuthDisable = "etcdserverpb.Auth" "AuthDisable" "/auth/disable";
    AuthStatus = "etcdserverpb.Auth" "AuthStatus" "/auth/status";
    UserAdd = "etcdserverpb.Auth" "UserAdd" "/auth/user/add";
    UserGet = "etcdserverpb.Auth" "UserGet" "/auth/user/get";
    UserList = "etcdserverpb.Auth" "UserList" "/auth/user/list";
    UserDelete = "etcdserverpb.Auth" "UserDelete" "/auth/user/delete";
    UserChangePassword = "etcdserverpb.Auth" "UserChangePassword" "/auth/user/changepw";
    UserGrantRole = "etcdserverpb.Auth" "UserGrantRole" "/auth/user/grant";
    UserRevokeRole = "etcdserverpb.Auth" "UserRevokeRole" "/auth/user/revoke";
    RoleAdd = "etcdserverpb.Auth" "RoleAdd" "/auth/role/add";
    RoleGet = "etcdserverpb.Auth" "RoleGet" "/auth/role/get";
    RoleList = "etcdserverpb.Auth" "RoleList" "/auth/role/list";
    RoleDelete = "etcdserverpb.Auth" "RoleDelete" "/auth/role/delete";
    RoleGrantPermission = "etcdserverpb.Auth" "RoleGrantPermission" "/auth/role/grant";
    RoleRevokePermission = "etcdserverpb.Auth" "RoleRevokePermission" "/auth/role/revoke";
    Lock = "v3lockpb.Lock" "Lock" "/lock/lock";
    Unlock = "v3lockpb.Lock" "Unlock" "/lock/unlock";
    Campaign = "v3electionpb.Election" "Campaign" "/election/campaign";
    Proclaim = "v3electionpb.Election" "Proclaim" "/election/proclaim";
    Leader = "v3electionpb.Election" "Leader" "/election/leader";
    Resign = "v3electionpb.Election" "Resign" "/election/resign";
    HealthCheck = "grpc.health.v1.Health" "Check";
    Watch = "etcdserverpb.Watch" "Watch" "/watch";
    LeaseKeepAlive = "etcdserverpb.Lease" "LeaseKeepAlive" "/lease/keepalive";
    RangeStream = "etcdserverpb.KV" "RangeStream";
    Snapshot = "etcdserverpb.Maintenance" "Snapshot" "/maintenance/snapshot";
    Observe = "v3electionpb.Election" "Observe" "/election/observe";
    HealthWatch = "grpc.health.v1.Health" "Watch";
    Reflection = "grpc.reflection.v1.ServerReflection" "ServerReflectionInfo";
    OldReflection = "grpc.reflection.v1alpha.ServerReflection" "ServerReflectionInfo";
}

impl Rpc {
    /// Whether answers come one after another.
    pub(crate) fn is_streaming(self) -> bool {
        matches!(self, Self::RangeStream | Self::Snapshot) || self.is_endless()
    }

    /// Whether it goes on for as long as client and member do.
    pub(crate) fn is_endless(self) -> bool {
        matches!(
            self,
            Self::Watch
                | Self::LeaseKeepAlive
                | Self::Observe
                | Self::HealthWatch
                | Self::Reflection
                | Self::OldReflection
        )
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn every_call_is_found_by_its_names_and_stands_at_its_number() {
        for (number, rpc) in Rpc::ALL.iter().copied().enumerate() {
            let (service, method) = rpc.names();
            assert_eq!(Rpc::at_path(&format!("/{service}/{method}")), Some(rpc));
            assert_eq!(rpc as usize, number);
            for path in rpc.json_paths() {
                assert_eq!(Rpc::at_json_path(path), Some(rpc));
            }
        }
    }
}
