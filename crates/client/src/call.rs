//! What can be said to a member: for every request its method, its answer, and whether it may be said twice.

use proto::etcdserverpb as pb;
use proto::{v3electionpb, v3lockpb};

/// A request with one answer.
pub trait Call: prost::Message + Clone + 'static {
    /// What comes back.
    type Reply: prost::Message + Default + 'static;
    /// The path of the method.
    const PATH: &'static str;
    /// Whether saying it twice is as good as once.
    const REPEATABLE: bool;
}

macro_rules! calls {
    ($($package:ident . $service:literal { $($request:ident => $reply:ident, $method:literal, $repeatable:literal;)* })*) => {
        $($(impl Call for $package::$request {
            type Reply = $package::$reply;
            const PATH: &'static str = concat!("/", $service, "/", $method);
            const REPEATABLE: bool = $repeatable;
        })*)*
    };
}

calls! {
    pb."etcdserverpb.KV" {
        RangeRequest => RangeResponse, "Range", true;
        PutRequest => PutResponse, "Put", false;
        DeleteRangeRequest => DeleteRangeResponse, "DeleteRange", false;
        TxnRequest => TxnResponse, "Txn", false;
        CompactionRequest => CompactionResponse, "Compact", false;
    }
    pb."etcdserverpb.Lease" {
        LeaseGrantRequest => LeaseGrantResponse, "LeaseGrant", false;
        LeaseRevokeRequest => LeaseRevokeResponse, "LeaseRevoke", false;
        LeaseTimeToLiveRequest => LeaseTimeToLiveResponse, "LeaseTimeToLive", true;
        LeaseLeasesRequest => LeaseLeasesResponse, "LeaseLeases", true;
    }
    pb."etcdserverpb.Cluster" {
        MemberAddRequest => MemberAddResponse, "MemberAdd", false;
        MemberRemoveRequest => MemberRemoveResponse, "MemberRemove", false;
        MemberUpdateRequest => MemberUpdateResponse, "MemberUpdate", false;
        MemberListRequest => MemberListResponse, "MemberList", true;
        MemberPromoteRequest => MemberPromoteResponse, "MemberPromote", false;
    }
    pb."etcdserverpb.Maintenance" {
        AlarmRequest => AlarmResponse, "Alarm", true;
        StatusRequest => StatusResponse, "Status", true;
        DefragmentRequest => DefragmentResponse, "Defragment", false;
        HashKvRequest => HashKvResponse, "HashKV", true;
        MoveLeaderRequest => MoveLeaderResponse, "MoveLeader", false;
        DowngradeRequest => DowngradeResponse, "Downgrade", false;
    }
    pb."etcdserverpb.Auth" {
        AuthEnableRequest => AuthEnableResponse, "AuthEnable", false;
        AuthDisableRequest => AuthDisableResponse, "AuthDisable", false;
        AuthStatusRequest => AuthStatusResponse, "AuthStatus", true;
        AuthenticateRequest => AuthenticateResponse, "Authenticate", true;
        AuthUserAddRequest => AuthUserAddResponse, "UserAdd", false;
        AuthUserGetRequest => AuthUserGetResponse, "UserGet", true;
        AuthUserListRequest => AuthUserListResponse, "UserList", true;
        AuthUserDeleteRequest => AuthUserDeleteResponse, "UserDelete", false;
        AuthUserChangePasswordRequest => AuthUserChangePasswordResponse, "UserChangePassword", false;
        AuthUserGrantRoleRequest => AuthUserGrantRoleResponse, "UserGrantRole", false;
        AuthUserRevokeRoleRequest => AuthUserRevokeRoleResponse, "UserRevokeRole", false;
        AuthRoleAddRequest => AuthRoleAddResponse, "RoleAdd", false;
        AuthRoleGetRequest => AuthRoleGetResponse, "RoleGet", true;
        AuthRoleListRequest => AuthRoleListResponse, "RoleList", true;
        AuthRoleDeleteRequest => AuthRoleDeleteResponse, "RoleDelete", false;
        AuthRoleGrantPermissionRequest => AuthRoleGrantPermissionResponse, "RoleGrantPermission", false;
        AuthRoleRevokePermissionRequest => AuthRoleRevokePermissionResponse, "RoleRevokePermission", false;
    }
    // A lock is asked for with the lease that will hold it, so that asking again is asking for the same.
    v3lockpb."v3lockpb.Lock" {
        LockRequest => LockResponse, "Lock", true;
        UnlockRequest => UnlockResponse, "Unlock", true;
    }
    v3electionpb."v3electionpb.Election" {
        CampaignRequest => CampaignResponse, "Campaign", true;
        ProclaimRequest => ProclaimResponse, "Proclaim", false;
        ResignRequest => ResignResponse, "Resign", true;
    }
}
