//! Changes of v2's users and roles as records, and back.

use types::v2auth::{Change, Rights, Role};

use crate::DecodeError;
use crate::record::{RightsRow, TextsRow, V2AuthRecord};

pub(crate) fn record(change: &Change) -> V2AuthRecord {
    let of = |kind, name: &str| V2AuthRecord { kind, name: name.to_owned(), ..V2AuthRecord::default() };
    match change {
        Change::PutUser { name, hash, listed } => {
            V2AuthRecord { hash: hash.clone(), listed: *listed, ..of(1, name) }
        }
        Change::CreateUser { name, hash, roles } => {
            V2AuthRecord { hash: hash.clone(), grant_roles: roles.clone(), ..of(2, name) }
        }
        Change::UpdateUser { name, hash, grant, revoke } => V2AuthRecord {
            hash: hash.clone(),
            grant_roles: grant.clone(),
            revoke_roles: revoke.clone(),
            ..of(3, name)
        },
        Change::DeleteUser(name) => of(4, name),
        Change::CreateRole(role) => {
            V2AuthRecord { grant: Some(rights_row(&role.rights)), ..of(5, &role.name) }
        }
        Change::UpdateRole { name, grant, revoke } => V2AuthRecord {
            grant: grant.as_ref().map(rights_row),
            revoke: revoke.as_ref().map(rights_row),
            ..of(6, name)
        },
        Change::DeleteRole(name) => of(7, name),
        Change::Enable => of(8, ""),
        Change::Disable => of(9, ""),
    }
}

pub(crate) fn change(record: V2AuthRecord) -> Result<Change, DecodeError> {
    let V2AuthRecord { kind, name, hash, grant_roles, revoke_roles, grant, revoke, listed } = record;
    Ok(match kind {
        1 => Change::PutUser { name, hash, listed },
        2 => Change::CreateUser { name, hash, roles: grant_roles },
        3 => Change::UpdateUser { name, hash, grant: grant_roles, revoke: revoke_roles },
        4 => Change::DeleteUser(name),
        5 => Change::CreateRole(Role { name, rights: grant.map(rights).unwrap_or_default() }),
        6 => Change::UpdateRole { name, grant: grant.map(rights), revoke: revoke.map(rights) },
        7 => Change::DeleteRole(name),
        8 => Change::Enable,
        9 => Change::Disable,
        _ => return Err(DecodeError::Unknown("change of v2's users")),
    })
}

fn rights_row(rights: &Rights) -> RightsRow {
    let texts = |list: &Option<Vec<String>>| list.clone().map(|texts| TextsRow { texts });
    RightsRow { read: texts(&rights.read), write: texts(&rights.write) }
}

fn rights(row: RightsRow) -> Rights {
    Rights { read: row.read.map(|row| row.texts), write: row.write.map(|row| row.texts) }
}
