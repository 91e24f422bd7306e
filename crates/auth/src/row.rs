//! How users and roles lie in the database. docs/FORMATS.md draws it.

use bytes::{Buf, BufMut, Bytes};
use types::{Access, Permission};

use crate::book::{Role, User};

pub(crate) const STATE: &[u8] = b"auth/state";
pub(crate) const USERS: &[u8] = b"auth/user/";
/// The first key after all of those.
pub(crate) const USERS_END: &[u8] = b"auth/user0";
pub(crate) const ROLES: &[u8] = b"auth/role/";
/// The first key after all of those.
pub(crate) const ROLES_END: &[u8] = b"auth/role0";

pub(crate) fn key(prefix: &[u8], name: &str) -> Vec<u8> {
    [prefix, name.as_bytes()].concat()
}

/// The name in the key of a row.
pub(crate) fn name(prefix: &[u8], key: &[u8]) -> Option<String> {
    String::from_utf8(key.strip_prefix(prefix)?.to_vec()).ok()
}

pub(crate) fn encode_state(enabled: bool, revision: u64) -> Vec<u8> {
    let mut row = vec![u8::from(enabled)];
    row.put_u64(revision);
    seal(STATE, row)
}

pub(crate) fn decode_state(row: &[u8]) -> Option<(bool, u64)> {
    let mut body = open(STATE, row)?;
    let enabled = flag(&mut body)?;
    let revision = body.try_get_u64().ok()?;
    body.is_empty().then_some((enabled, revision))
}

pub(crate) fn encode_user(key: &[u8], user: &User) -> Vec<u8> {
    let mut row = vec![u8::from(user.hash.is_some())];
    put(&mut row, user.hash.as_deref().unwrap_or_default().as_bytes());
    row.put_u32(user.roles.len() as u32);
    for role in &user.roles {
        put(&mut row, role.as_bytes());
    }
    seal(key, row)
}

pub(crate) fn decode_user(key: &[u8], row: &[u8]) -> Option<User> {
    let mut body = open(key, row)?;
    let has_password = flag(&mut body)?;
    let hash = text(&mut body)?;
    let count = body.try_get_u32().ok()?;
    let roles = (0..count).map(|_| text(&mut body)).collect::<Option<_>>()?;
    body.is_empty().then_some(User { hash: has_password.then_some(hash), roles })
}

pub(crate) fn encode_role(key: &[u8], role: &Role) -> Vec<u8> {
    let mut row = Vec::new();
    row.put_u32(role.permissions.len() as u32);
    for Permission { access, key, range_end } in &role.permissions {
        row.put_u8(match access {
            Access::Read => 0,
            Access::Write => 1,
            Access::ReadWrite => 2,
        });
        put(&mut row, key);
        put(&mut row, range_end);
    }
    seal(key, row)
}

pub(crate) fn decode_role(key: &[u8], row: &[u8]) -> Option<Role> {
    let mut body = open(key, row)?;
    let count = body.try_get_u32().ok()?;
    let permission = |body: &mut &[u8]| {
        let access = match body.try_get_u8().ok()? {
            0 => Access::Read,
            1 => Access::Write,
            2 => Access::ReadWrite,
            _ => return None,
        };
        Some(Permission { access, key: bytes(body)?, range_end: bytes(body)? })
    };
    let permissions = (0..count).map(|_| permission(&mut body)).collect::<Option<_>>()?;
    body.is_empty().then_some(Role { permissions })
}

fn put(row: &mut Vec<u8>, bytes: &[u8]) {
    row.put_u32(bytes.len() as u32);
    row.put_slice(bytes);
}

fn bytes(body: &mut &[u8]) -> Option<Bytes> {
    let length = body.try_get_u32().ok()? as usize;
    let (bytes, rest) = body.split_at_checked(length)?;
    *body = rest;
    Some(Bytes::copy_from_slice(bytes))
}

fn text(body: &mut &[u8]) -> Option<String> {
    String::from_utf8(bytes(body)?.to_vec()).ok()
}

fn flag(body: &mut &[u8]) -> Option<bool> {
    match body.try_get_u8().ok()? {
        0 => Some(false),
        1 => Some(true),
        _ => None,
    }
}

fn seal(key: &[u8], mut row: Vec<u8>) -> Vec<u8> {
    row.put_u32(checksum(key, &row));
    row
}

fn open<'a>(key: &[u8], row: &'a [u8]) -> Option<&'a [u8]> {
    let (body, sum) = row.split_last_chunk::<4>()?;
    (u32::from_be_bytes(*sum) == checksum(key, body)).then_some(body)
}

fn checksum(key: &[u8], body: &[u8]) -> u32 {
    crc32c::crc32c_append(crc32c::crc32c(key), body)
}
