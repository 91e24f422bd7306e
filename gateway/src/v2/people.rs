//! Users and roles of v2 in JSON, read and written as Go does: names of fields in any case, `null` is nothing,
//! what follows the first value is not looked at.

use serde_json::Value;
use types::Secret;
use types::v2auth::{Rights, Role, User};

use super::answer::string;

/// A user as a request gives it.
#[derive(Debug, Default)]
pub(crate) struct UserWish {
    pub(crate) user: String,
    pub(crate) password: Option<Secret>,
    pub(crate) roles: Option<Vec<String>>,
    pub(crate) grant: Vec<String>,
    pub(crate) revoke: Vec<String>,
}

/// A role as a request gives it.
#[derive(Debug, Default)]
pub(crate) struct RoleWish {
    pub(crate) role: String,
    pub(crate) permissions: Rights,
    pub(crate) grant: Option<Rights>,
    pub(crate) revoke: Option<Rights>,
}

impl UserWish {
    /// `None` where Go could not make a user of it.
    pub(crate) fn parse(body: &[u8]) -> Option<Self> {
        let mut wish = Self::default();
        for (name, value) in fields(first(body)?)? {
            match name.as_str() {
                "user" => wish.user = text(value)?.unwrap_or(wish.user),
                "password" => wish.password = text(value)?.map(Secret::new).or(wish.password),
                "roles" => wish.roles = texts(value)?,
                "grant" => wish.grant = texts(value)?.unwrap_or_default(),
                "revoke" => wish.revoke = texts(value)?.unwrap_or_default(),
                _ => {}
            }
        }
        Some(wish)
    }
}

impl RoleWish {
    /// `None` where Go could not make a role of it.
    pub(crate) fn parse(body: &[u8]) -> Option<Self> {
        let mut wish = Self::default();
        for (name, value) in fields(first(body)?)? {
            match name.as_str() {
                "role" => wish.role = text(value)?.unwrap_or(wish.role),
                "permissions" => wish.permissions = rights(value)?.unwrap_or(wish.permissions),
                "grant" => wish.grant = rights(value)?,
                "revoke" => wish.revoke = rights(value)?,
                _ => {}
            }
        }
        Some(wish)
    }
}

/// A user as it is after a change.
pub(crate) fn user_text(out: &mut String, user: &User) {
    out.push_str("{\"user\":");
    string(out, user.name.as_bytes());
    out.push_str(",\"roles\":");
    list_text(out, user.roles.as_deref());
    out.push('}');
}

/// A user with all that its roles allow.
pub(crate) fn view_text(out: &mut String, name: &str, roles: &[Role]) {
    out.push_str("{\"user\":");
    string(out, name.as_bytes());
    for (at, role) in roles.iter().enumerate() {
        out.push_str(if at == 0 { ",\"roles\":[" } else { "," });
        role_text(out, role);
    }
    out.push_str(if roles.is_empty() { "}" } else { "]}" });
}

/// A role.
pub(crate) fn role_text(out: &mut String, role: &Role) {
    out.push_str("{\"role\":");
    string(out, role.name.as_bytes());
    out.push_str(",\"permissions\":{\"kv\":{\"read\":");
    list_text(out, role.rights.read.as_deref());
    out.push_str(",\"write\":");
    list_text(out, role.rights.write.as_deref());
    out.push_str("}}}");
}

fn list_text(out: &mut String, list: Option<&[String]>) {
    let Some(list) = list else { return out.push_str("null") };
    out.push('[');
    for (at, text) in list.iter().enumerate() {
        if at > 0 {
            out.push(',');
        }
        string(out, text.as_bytes());
    }
    out.push(']');
}

/// The first value in a body.
fn first(body: &[u8]) -> Option<Value> {
    serde_json::Deserializer::from_slice(body).into_iter().next()?.ok()
}

/// The fields of an object, their names in small letters. `null` is an object without any.
fn fields(value: Value) -> Option<Vec<(String, Value)>> {
    match value {
        Value::Object(fields) => {
            Some(fields.into_iter().map(|(name, value)| (name.to_ascii_lowercase(), value)).collect())
        }
        Value::Null => Some(Vec::new()),
        _ => None,
    }
}

/// A text, or nothing where there is `null`.
#[expect(clippy::option_option, reason = "whether it can be read, and whether it is there")]
fn text(value: Value) -> Option<Option<String>> {
    match value {
        Value::String(text) => Some(Some(text)),
        Value::Null => Some(None),
        _ => None,
    }
}

#[expect(clippy::option_option, reason = "whether it can be read, and whether it is there")]
fn texts(value: Value) -> Option<Option<Vec<String>>> {
    match value {
        Value::Array(items) => {
            let texts = items.into_iter().map(|item| text(item).map(Option::unwrap_or_default));
            texts.collect::<Option<_>>().map(Some)
        }
        Value::Null => Some(None),
        _ => None,
    }
}

/// Rights, or nothing where there is `null`.
#[expect(clippy::option_option, reason = "whether it can be read, and whether it is there")]
fn rights(value: Value) -> Option<Option<Rights>> {
    if value.is_null() {
        return Some(None);
    }
    let mut rights = Rights::default();
    for (_, value) in fields(value)?.into_iter().filter(|(name, _)| name == "kv") {
        for (name, value) in fields(value)? {
            match name.as_str() {
                "read" => rights.read = texts(value)?,
                "write" => rights.write = texts(value)?,
                _ => {}
            }
        }
    }
    Some(Some(rights))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn users_are_read_as_go_reads_them() {
        let wish = |body: &str| UserWish::parse(body.as_bytes());
        let ann =
            wish(r#"{"USER":"ann","password":"pw","Roles":["a",null],"other":1} rest"#).expect("a user");
        assert_eq!((ann.user.as_str(), ann.roles), ("ann", Some(vec!["a".to_owned(), String::new()])));
        assert_eq!(ann.password.expect("a password").expose(), b"pw");
        assert!(wish("null").expect("an empty user").user.is_empty());
        for bad in ["", "{", "[]", "1", r#"{"user":1}"#, r#"{"roles":"a"}"#, r#"{"grant":[1]}"#] {
            assert!(wish(bad).is_none(), "{bad}");
        }
    }

    #[test]
    fn roles_are_read_and_written_as_go_does() {
        let wish = |body: &str| RoleWish::parse(body.as_bytes());
        let role = wish(r#"{"role":"<r>","permissions":{"kv":{"read":["/a"],"write":null}},"grant":{}}"#);
        let role = role.expect("a role");
        assert_eq!(role.grant, Some(Rights::default()));
        let mut text = String::new();
        role_text(&mut text, &Role { name: role.role, rights: role.permissions });
        assert_eq!(text, r#"{"role":"\u003cr\u003e","permissions":{"kv":{"read":["/a"],"write":null}}}"#);
        for bad in [r#"{"permissions":1}"#, r#"{"grant":{"kv":[]}}"#, r#"{"revoke":{"kv":{"read":"/a"}}}"#] {
            assert!(wish(bad).is_none(), "{bad}");
        }
    }
}
