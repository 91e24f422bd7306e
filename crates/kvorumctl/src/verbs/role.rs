//! `role`: what may be done with which keys.

use bytes::Bytes;
use clap::{Args, Subcommand};
use client::prefix_end;
use prost::Message as _;
use proto::authpb::Permission;
use proto::authpb::permission::Type;
use proto::etcdserverpb::{
    AuthRoleAddRequest, AuthRoleDeleteRequest, AuthRoleGetRequest, AuthRoleGetResponse,
    AuthRoleGrantPermissionRequest, AuthRoleListRequest, AuthRoleRevokePermissionRequest,
};
use serde_json::Value;

use super::shown::{Told, open_range};
use super::{names, one};
use crate::failure::{Done, Failure};
use crate::output::{Fields, Output, Shown, message};
use crate::session::Session;

/// The end of a range that has none.
const OPEN: &[u8] = b"\0";

#[derive(Debug, Subcommand)]
pub(crate) enum Role {
    /// Adds a role.
    Add(Words),
    /// Removes a role.
    Delete(Words),
    /// Shows what a role permits.
    Get(Words),
    /// Lists roles.
    List(Words),
    /// Permits read, write or readwrite of a key or a range.
    GrantPermission(Range),
    /// Takes a permission back.
    RevokePermission(Range),
}

#[derive(Debug, Args)]
pub(crate) struct Words {
    #[arg(value_name = "ROLE")]
    args: Vec<String>,
}

#[derive(Debug, Args)]
pub(crate) struct Range {
    #[arg(value_name = "ROLE [TYPE] KEY [RANGE_END]")]
    args: Vec<String>,
    /// Every key that begins so.
    #[arg(long)]
    prefix: bool,
    /// Every key from this one on.
    #[arg(long)]
    from_key: bool,
}

/// A role and what it permits.
pub(crate) struct RoleShown {
    pub(crate) role: String,
    pub(crate) answer: AuthRoleGetResponse,
}

impl Role {
    pub(crate) async fn run(self, session: &Session) -> Done {
        match self {
            Self::Add(Words { args }) => {
                let name = one(&args, "role add command requires role name as its argument")?;
                let answer = session.call(AuthRoleAddRequest { name: name.clone() }).await?;
                let kind = "etcdserverpb.AuthRoleAddResponse";
                session.show(&Told::new(format!("Role {name} created"), kind, answer.header, &answer))
            }
            Self::Delete(Words { args }) => {
                let role = one(&args, "role delete command requires role name as its argument")?;
                let answer = session.call(AuthRoleDeleteRequest { role: role.clone() }).await?;
                let kind = "etcdserverpb.AuthRoleDeleteResponse";
                session.show(&Told::new(format!("Role {role} deleted"), kind, answer.header, &answer))
            }
            Self::Get(Words { args }) => {
                let role = one(&args, "role get command requires role name as its argument")?;
                let answer = session.call(AuthRoleGetRequest { role: role.clone() }).await?;
                session.show(&RoleShown { role, answer })
            }
            Self::List(Words { args }) => {
                if !args.is_empty() {
                    return Err(Failure::arguments("role list command requires no arguments"));
                }
                let answer = session.call(AuthRoleListRequest {}).await?;
                let kind = "etcdserverpb.AuthRoleListResponse";
                let told = Told::new(answer.roles.join("\n"), kind, answer.header, &answer);
                session.show(&told.with("Role", names(&answer.roles)))
            }
            Self::GrantPermission(range) => grant(session, &range).await,
            Self::RevokePermission(range) => revoke(session, &range).await,
        }
    }
}

async fn grant(session: &Session, range: &Range) -> Done {
    let [role, kind, keys @ ..] = range.args.as_slice() else { return Err(few_words_to_grant()) };
    if keys.is_empty() {
        return Err(few_words_to_grant());
    }
    let kind = match kind.to_ascii_lowercase().as_str() {
        "read" => Type::Read,
        "write" => Type::Write,
        "readwrite" => Type::Readwrite,
        _ => return Err(Failure::arguments(format!("invalid permission type: {kind}"))),
    };
    let (key, range_end) = range.keys(keys)?;
    let perm = Some(Permission { perm_type: kind.into(), key, range_end });
    let answer = session.call(AuthRoleGrantPermissionRequest { name: role.clone(), perm }).await?;
    let kind = "etcdserverpb.AuthRoleGrantPermissionResponse";
    session.show(&Told::new(format!("Role {role} updated"), kind, answer.header, &answer))
}

fn few_words_to_grant() -> Failure {
    Failure::arguments(
        "role grant command requires role name, permission type, and key [endkey] as its argument",
    )
}

async fn revoke(session: &Session, range: &Range) -> Done {
    let (role, keys) = match range.args.split_first() {
        Some((role, keys)) if !keys.is_empty() => (role, keys),
        _ => {
            let text = "role revoke-permission command requires role name and key [endkey] as its argument";
            return Err(Failure::arguments(text));
        }
    };
    let (key, range_end) = range.keys(keys)?;
    let said = String::from_utf8_lossy(&key).into_owned();
    let what = match range_end.as_ref() {
        [] => format!("key {said}"),
        OPEN => format!("range [{said}, <open ended>"),
        end => format!("range [{said}, {})", String::from_utf8_lossy(end)),
    };
    let request = AuthRoleRevokePermissionRequest { role: role.clone(), key, range_end };
    let answer = session.call(request).await?;
    let kind = "etcdserverpb.AuthRoleRevokePermissionResponse";
    let sentence = format!("Permission of {what} is revoked from role {role}");
    session.show(&Told::new(sentence, kind, answer.header, &answer))
}

impl Range {
    fn keys(&self, keys: &[String]) -> Result<(Bytes, Bytes), Failure> {
        let bytes = |text: &String| Bytes::from(text.clone().into_bytes());
        if self.prefix && self.from_key {
            return Err(Failure::arguments("--from-key and --prefix flags are mutually exclusive"));
        }
        match keys {
            [key] => Ok(open_range(bytes(key), self.prefix, self.from_key)),
            [_, _] if self.prefix => Err(Failure::arguments("unexpected endkey argument with --prefix flag")),
            [_, _] if self.from_key => {
                Err(Failure::arguments("unexpected endkey argument with --from-key flag"))
            }
            [key, end, ..] => Ok((bytes(key), bytes(end))),
            [] => Err(Failure::arguments("no key is given")),
        }
    }
}

/// A line for a range.
fn line(permission: &Permission) -> String {
    let (key, end) = (&permission.key, &permission.range_end);
    let text = |bytes: &[u8]| String::from_utf8_lossy(bytes).into_owned();
    let range = match end.as_ref() {
        [] => return format!("\t{}\n", text(key)),
        OPEN => format!("\t[{}, <open ended>", text(key)),
        end => format!("\t[{}, {})", text(key), text(end)),
    };
    let is_prefix = prefix_end(key) == *end;
    range + &if is_prefix { format!(" (prefix {})\n", text(key)) } else { "\n".to_owned() }
}

impl Shown for RoleShown {
    fn simple(&self, _output: Output) -> Vec<u8> {
        let lines = |kind: Type| -> String {
            let permits =
                |permission: &&Permission| [kind, Type::Readwrite].contains(&permission.perm_type());
            self.answer.perm.iter().filter(permits).map(line).collect()
        };
        format!("Role {}\nKV Read:\n{}KV Write:\n{}", self.role, lines(Type::Read), lines(Type::Write))
            .into_bytes()
    }

    fn json(&self, _output: Output) -> Value {
        message("etcdserverpb.AuthRoleGetResponse", &self.answer)
    }

    fn fields(&self, _output: Output) -> Fields {
        let mut fields = Fields::of(self.answer.header.as_ref());
        for permission in &self.answer.perm {
            fields.value("PermType", format!(" {}", permission.perm_type().as_str_name()));
            fields.quoted("Key", &permission.key);
            fields.quoted("RangeEnd", &permission.range_end);
        }
        fields
    }

    fn protobuf(&self) -> Option<Vec<u8>> {
        Some(self.answer.encode_to_vec())
    }
}
