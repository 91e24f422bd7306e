//! Changes of users and roles as records, and back.

use types::{Access, AuthChange, Permission};

use crate::DecodeError;
use crate::record::AuthRecord;

pub(crate) fn record(change: &AuthChange) -> AuthRecord {
    let of = |kind, name: &str| AuthRecord { kind, name: name.to_owned(), ..AuthRecord::default() };
    let with = |kind, name: &str, text: &str| AuthRecord { text: Some(text.to_owned()), ..of(kind, name) };
    match change {
        AuthChange::Enable => of(1, ""),
        AuthChange::Disable => of(2, ""),
        AuthChange::AddUser { name, hash } => AuthRecord { text: hash.clone(), ..of(3, name) },
        AuthChange::DeleteUser { name } => of(4, name),
        AuthChange::SetPassword { name, hash } => with(5, name, hash),
        AuthChange::GrantRole { user, role } => with(6, user, role),
        AuthChange::RevokeRole { user, role } => with(7, user, role),
        AuthChange::AddRole { name } => of(8, name),
        AuthChange::DeleteRole { name } => of(9, name),
        AuthChange::GrantPermission { role, permission } => AuthRecord {
            access: access(permission.access),
            key: permission.key.clone(),
            range_end: permission.range_end.clone(),
            ..of(10, role)
        },
        AuthChange::RevokePermission { role, key, range_end } => {
            AuthRecord { key: key.clone(), range_end: range_end.clone(), ..of(11, role) }
        }
        AuthChange::Authenticate { user, token, revision } => {
            AuthRecord { revision: *revision, ..with(12, user, token) }
        }
    }
}

pub(crate) fn change(record: AuthRecord) -> Result<AuthChange, DecodeError> {
    let AuthRecord { kind, name, text, access, key, range_end, revision } = record;
    let some = text.clone().ok_or(DecodeError::Unknown("change of users without its text"));
    Ok(match kind {
        1 => AuthChange::Enable,
        2 => AuthChange::Disable,
        3 => AuthChange::AddUser { name, hash: text },
        4 => AuthChange::DeleteUser { name },
        5 => AuthChange::SetPassword { name, hash: some? },
        6 => AuthChange::GrantRole { user: name, role: some? },
        7 => AuthChange::RevokeRole { user: name, role: some? },
        8 => AuthChange::AddRole { name },
        9 => AuthChange::DeleteRole { name },
        10 => {
            let permission = Permission { access: accessed(access)?, key, range_end };
            AuthChange::GrantPermission { role: name, permission }
        }
        11 => AuthChange::RevokePermission { role: name, key, range_end },
        12 => AuthChange::Authenticate { user: name, token: some?, revision },
        _ => return Err(DecodeError::Unknown("change of users")),
    })
}

fn access(access: Access) -> u32 {
    match access {
        Access::Read => 0,
        Access::Write => 1,
        Access::ReadWrite => 2,
    }
}

fn accessed(number: u32) -> Result<Access, DecodeError> {
    match number {
        0 => Ok(Access::Read),
        1 => Ok(Access::Write),
        2 => Ok(Access::ReadWrite),
        _ => Err(DecodeError::Unknown("access")),
    }
}
