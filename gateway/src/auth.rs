//! The v3 calls about users, roles and tokens. What they hold of passwords goes into a [`Secret`] at once.

use std::sync::Arc;

use api::{AuthReply, AuthRequest, Member, Secret};
use proto::{authpb, etcdserverpb as pb};
use types::{Access, Permission};

use crate::calls::voting;
use crate::convert;
use crate::refusal::Refusal;

pub(crate) async fn enable(
    member: &Arc<dyn Member>,
    _request: pb::AuthEnableRequest,
) -> Result<pb::AuthEnableResponse, Refusal> {
    let (header, _) = ask(member, AuthRequest::Enable).await?;
    Ok(pb::AuthEnableResponse { header })
}

pub(crate) async fn disable(
    member: &Arc<dyn Member>,
    _request: pb::AuthDisableRequest,
) -> Result<pb::AuthDisableResponse, Refusal> {
    let (header, _) = ask(member, AuthRequest::Disable).await?;
    Ok(pb::AuthDisableResponse { header })
}

pub(crate) async fn user_delete(
    member: &Arc<dyn Member>,
    request: pb::AuthUserDeleteRequest,
) -> Result<pb::AuthUserDeleteResponse, Refusal> {
    let (header, _) = ask(member, AuthRequest::UserDelete { name: request.name }).await?;
    Ok(pb::AuthUserDeleteResponse { header })
}

pub(crate) async fn user_change_password(
    member: &Arc<dyn Member>,
    request: pb::AuthUserChangePasswordRequest,
) -> Result<pb::AuthUserChangePasswordResponse, Refusal> {
    let (header, _) = ask(
        member,
        AuthRequest::UserChangePassword { name: request.name, password: Secret::new(request.password) },
    )
    .await?;
    Ok(pb::AuthUserChangePasswordResponse { header })
}

pub(crate) async fn user_grant_role(
    member: &Arc<dyn Member>,
    request: pb::AuthUserGrantRoleRequest,
) -> Result<pb::AuthUserGrantRoleResponse, Refusal> {
    let (header, _) =
        ask(member, AuthRequest::UserGrantRole { user: request.user, role: request.role }).await?;
    Ok(pb::AuthUserGrantRoleResponse { header })
}

pub(crate) async fn user_revoke_role(
    member: &Arc<dyn Member>,
    request: pb::AuthUserRevokeRoleRequest,
) -> Result<pb::AuthUserRevokeRoleResponse, Refusal> {
    let (header, _) =
        ask(member, AuthRequest::UserRevokeRole { user: request.name, role: request.role }).await?;
    Ok(pb::AuthUserRevokeRoleResponse { header })
}

pub(crate) async fn role_add(
    member: &Arc<dyn Member>,
    request: pb::AuthRoleAddRequest,
) -> Result<pb::AuthRoleAddResponse, Refusal> {
    let (header, _) = ask(member, AuthRequest::RoleAdd { name: request.name }).await?;
    Ok(pb::AuthRoleAddResponse { header })
}

pub(crate) async fn role_delete(
    member: &Arc<dyn Member>,
    request: pb::AuthRoleDeleteRequest,
) -> Result<pb::AuthRoleDeleteResponse, Refusal> {
    let (header, _) = ask(member, AuthRequest::RoleDelete { role: request.role }).await?;
    Ok(pb::AuthRoleDeleteResponse { header })
}

pub(crate) async fn role_revoke_permission(
    member: &Arc<dyn Member>,
    request: pb::AuthRoleRevokePermissionRequest,
) -> Result<pb::AuthRoleRevokePermissionResponse, Refusal> {
    let (header, _) = ask(
        member,
        AuthRequest::RoleRevokePermission {
            role: request.role,
            key: request.key,
            range_end: request.range_end,
        },
    )
    .await?;
    Ok(pb::AuthRoleRevokePermissionResponse { header })
}

pub(crate) async fn status(
    member: &Arc<dyn Member>,
    _request: pb::AuthStatusRequest,
) -> Result<pb::AuthStatusResponse, Refusal> {
    let (header, reply) = ask(member, AuthRequest::Status).await?;
    let AuthReply::Status { enabled, revision } = reply else { return Err(odd()) };
    Ok(pb::AuthStatusResponse { header, enabled, auth_revision: revision })
}

pub(crate) async fn authenticate(
    member: &Arc<dyn Member>,
    request: pb::AuthenticateRequest,
) -> Result<pb::AuthenticateResponse, Refusal> {
    let password = Secret::new(request.password);
    let (header, reply) = ask(member, AuthRequest::Authenticate { name: request.name, password }).await?;
    let AuthReply::Token(token) = reply else { return Err(odd()) };
    Ok(pb::AuthenticateResponse { header, token })
}

pub(crate) async fn user_add(
    member: &Arc<dyn Member>,
    request: pb::AuthUserAddRequest,
) -> Result<pb::AuthUserAddResponse, Refusal> {
    let has_password = !request.options.unwrap_or_default().no_password;
    let password = Secret::new(request.password);
    let add = AuthRequest::UserAdd { name: request.name, password: has_password.then_some(password) };
    let (header, _) = ask(member, add).await?;
    Ok(pb::AuthUserAddResponse { header })
}

pub(crate) async fn user_get(
    member: &Arc<dyn Member>,
    request: pb::AuthUserGetRequest,
) -> Result<pb::AuthUserGetResponse, Refusal> {
    let (header, reply) = ask(member, AuthRequest::UserGet { name: request.name }).await?;
    Ok(pb::AuthUserGetResponse { header, roles: names(reply)? })
}

pub(crate) async fn user_list(
    member: &Arc<dyn Member>,
    _request: pb::AuthUserListRequest,
) -> Result<pb::AuthUserListResponse, Refusal> {
    let (header, reply) = ask(member, AuthRequest::UserList).await?;
    Ok(pb::AuthUserListResponse { header, users: names(reply)? })
}

pub(crate) async fn role_list(
    member: &Arc<dyn Member>,
    _request: pb::AuthRoleListRequest,
) -> Result<pb::AuthRoleListResponse, Refusal> {
    let (header, reply) = ask(member, AuthRequest::RoleList).await?;
    Ok(pb::AuthRoleListResponse { header, roles: names(reply)? })
}

pub(crate) async fn role_get(
    member: &Arc<dyn Member>,
    request: pb::AuthRoleGetRequest,
) -> Result<pb::AuthRoleGetResponse, Refusal> {
    let (header, reply) = ask(member, AuthRequest::RoleGet { role: request.role }).await?;
    let AuthReply::Permissions(permissions) = reply else { return Err(odd()) };
    Ok(pb::AuthRoleGetResponse { header, perm: permissions.into_iter().map(wire).collect() })
}

pub(crate) async fn role_grant_permission(
    member: &Arc<dyn Member>,
    request: pb::AuthRoleGrantPermissionRequest,
) -> Result<pb::AuthRoleGrantPermissionResponse, Refusal> {
    let permission = request.perm.map(permission).transpose()?;
    let grant = AuthRequest::RoleGrantPermission { role: request.name, permission };
    let (header, _) = ask(member, grant).await?;
    Ok(pb::AuthRoleGrantPermissionResponse { header })
}

async fn ask(
    member: &Arc<dyn Member>,
    request: AuthRequest,
) -> Result<(Option<pb::ResponseHeader>, AuthReply), Refusal> {
    voting(member)?;
    let reply = member.auth(request).await?;
    Ok((Some(convert::header(reply.header)), reply.body))
}

fn names(reply: AuthReply) -> Result<Vec<String>, Refusal> {
    match reply {
        AuthReply::Names(names) => Ok(names),
        _ => Err(odd()),
    }
}

/// A kind that does not exist is refused: etcd takes it, and it allows nothing.
fn permission(wire: authpb::Permission) -> Result<Permission, Refusal> {
    use authpb::permission::Type;
    let access = match Type::try_from(wire.perm_type) {
        Ok(Type::Read) => Access::Read,
        Ok(Type::Write) => Access::Write,
        Ok(Type::Readwrite) => Access::ReadWrite,
        Err(_) => return Err(api::Fault::InvalidAuthManagement.into()),
    };
    Ok(Permission { access, key: wire.key, range_end: wire.range_end })
}

fn wire(permission: Permission) -> authpb::Permission {
    use authpb::permission::Type;
    let kind = match permission.access {
        Access::Read => Type::Read,
        Access::Write => Type::Write,
        Access::ReadWrite => Type::Readwrite,
    };
    authpb::Permission { perm_type: kind.into(), key: permission.key, range_end: permission.range_end }
}

fn odd() -> Refusal {
    Refusal::new(api::Code::Internal, "kvorum: the answer is of another kind")
}
