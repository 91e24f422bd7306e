//! `user`: who there is, their passwords and their roles.

use clap::{Args, Subcommand};
use proto::authpb::UserAddOptions;
use proto::etcdserverpb::{
    AuthRoleGetRequest, AuthUserAddRequest, AuthUserChangePasswordRequest, AuthUserDeleteRequest,
    AuthUserGetRequest, AuthUserGrantRoleRequest, AuthUserListRequest, AuthUserRevokeRoleRequest,
};

use super::role::RoleShown;
use super::shown::Told;
use super::{names, one};
use crate::failure::{Done, Failure};
use crate::output::print_line;
use crate::session::Session;
use crate::verbs::password;

#[derive(Debug, Subcommand)]
pub(crate) enum User {
    /// Adds a user.
    Add(AddUser),
    /// Removes a user.
    Delete(Names),
    /// Shows a user's roles.
    Get(GetUser),
    /// Lists users.
    List(Names),
    /// Changes a password.
    Passwd(Passwd),
    /// Gives a user a role.
    GrantRole(Names),
    /// Takes a role from a user.
    RevokeRole(Names),
}

#[derive(Debug, Args)]
pub(crate) struct Names {
    #[arg(value_name = "NAME")]
    args: Vec<String>,
}

#[derive(Debug, Args)]
#[command(after_help = "Examples:\n  kvorumctl user add ana\n  kvorumctl user add batch --no-password")]
pub(crate) struct AddUser {
    #[arg(value_name = "NAME[:PASSWORD]")]
    args: Vec<String>,
    #[command(flatten)]
    typed: Typed,
    /// The password.
    #[arg(long, value_name = "PASSWORD")]
    new_user_password: Option<String>,
    /// Without a password: such a user is known by its certificate.
    #[arg(long)]
    no_password: bool,
}

#[derive(Debug, Args)]
pub(crate) struct GetUser {
    #[arg(value_name = "NAME")]
    args: Vec<String>,
    /// Shows what the roles permit.
    #[arg(long)]
    detail: bool,
}

#[derive(Debug, Args)]
pub(crate) struct Passwd {
    #[arg(value_name = "NAME")]
    args: Vec<String>,
    #[command(flatten)]
    typed: Typed,
}

#[derive(Debug, Args)]
struct Typed {
    /// Asks for the password twice; with =false it is one line of stdin.
    #[arg(long, default_value_t = true, action = clap::ArgAction::Set, num_args = 0..=1, require_equals = true,
          default_missing_value = "true")]
    interactive: bool,
}

impl User {
    pub(crate) async fn run(self, session: &Session) -> Done {
        match self {
            Self::Add(verb) => add(session, verb).await,
            Self::Delete(Names { args }) => {
                let name = one(&args, "user delete command requires user name as its argument")?;
                let answer = session.call(AuthUserDeleteRequest { name: name.clone() }).await?;
                let kind = "etcdserverpb.AuthUserDeleteResponse";
                session.show(&Told::new(format!("User {name} deleted"), kind, answer.header, &answer))
            }
            Self::Get(verb) => get(session, &verb).await,
            Self::List(Names { args }) => {
                if !args.is_empty() {
                    return Err(Failure::arguments("user list command requires no arguments"));
                }
                let answer = session.call(AuthUserListRequest {}).await?;
                let kind = "etcdserverpb.AuthUserListResponse";
                let told = Told::new(answer.users.join("\n"), kind, answer.header, &answer);
                session.show(&told.with("User", names(&answer.users)))
            }
            Self::Passwd(verb) => {
                let name = one(&verb.args, "user passwd command requires user name as its argument")?;
                let password = typed(&name, &verb.typed)?;
                let request = AuthUserChangePasswordRequest { name, password, ..Default::default() };
                let answer = session.call(request).await?;
                let kind = "etcdserverpb.AuthUserChangePasswordResponse";
                session.show(&Told::new("Password updated", kind, answer.header, &answer))
            }
            Self::GrantRole(Names { args }) => {
                let [user, role] = args.as_slice() else {
                    let text = "user grant command requires user name and role name as its argument";
                    return Err(Failure::arguments(text));
                };
                let request = AuthUserGrantRoleRequest { user: user.clone(), role: role.clone() };
                let answer = session.call(request).await?;
                let kind = "etcdserverpb.AuthUserGrantRoleResponse";
                let sentence = format!("Role {role} is granted to user {user}");
                session.show(&Told::new(sentence, kind, answer.header, &answer))
            }
            Self::RevokeRole(Names { args }) => {
                let [user, role] = args.as_slice() else {
                    let text = "user revoke-role requires user name and role name as its argument";
                    return Err(Failure::arguments(text));
                };
                let request = AuthUserRevokeRoleRequest { name: user.clone(), role: role.clone() };
                let answer = session.call(request).await?;
                let kind = "etcdserverpb.AuthUserRevokeRoleResponse";
                let sentence = format!("Role {role} is revoked from user {user}");
                session.show(&Told::new(sentence, kind, answer.header, &answer))
            }
        }
    }
}

async fn add(session: &Session, verb: AddUser) -> Done {
    let given = one(&verb.args, "user add command requires user name as its argument")?;
    let (name, password) = if verb.no_password {
        (given, String::new())
    } else if let Some(password) = verb.new_user_password.filter(|password| !password.is_empty()) {
        (given, password)
    } else if let Some((name, password)) = given.split_once(':') {
        if name.is_empty() {
            return Err(Failure::arguments("empty user name is not allowed"));
        }
        (name.to_owned(), password.to_owned())
    } else {
        let password = typed(&given, &verb.typed)?;
        (given, password)
    };
    let options = Some(UserAddOptions { no_password: verb.no_password });
    let request = AuthUserAddRequest { name: name.clone(), password, options, ..Default::default() };
    let answer = session.call(request).await?;
    let kind = "etcdserverpb.AuthUserAddResponse";
    session.show(&Told::new(format!("User {name} created"), kind, answer.header, &answer))
}

/// The password for a user, typed twice, or a line of stdin.
fn typed(name: &str, typed: &Typed) -> Result<String, Failure> {
    if !typed.interactive {
        return password::line().map_err(|error| Failure::io(format!("cannot read the password: {error}")));
    }
    let first = password::ask(&format!("Password of {name}: "))?;
    let second = password::ask(&format!("Type password of {name} again for confirmation: "))?;
    if first == second { Ok(first) } else { Err(Failure::arguments("given passwords are different.")) }
}

async fn get(session: &Session, verb: &GetUser) -> Done {
    let name = one(&verb.args, "user get command requires user name as its argument")?;
    let answer = session.call(AuthUserGetRequest { name: name.clone() }).await?;
    if verb.detail {
        print_line(&format!("User: {name}"))?;
        for role in &answer.roles {
            print_line("")?;
            let perms = session.call(AuthRoleGetRequest { role: role.clone() }).await?;
            session.show(&RoleShown { role: role.clone(), answer: perms })?;
        }
        return Ok(());
    }
    let roles: Vec<String> = answer.roles.iter().map(|role| format!(" {role}")).collect();
    let roles = roles.concat();
    let kind = "etcdserverpb.AuthUserGetResponse";
    let told = Told::new(format!("User: {name}\nRoles:{roles}"), kind, answer.header, &answer);
    session.show(&told.with("Role", names(&answer.roles)))
}
