//! `/v2/auth`: whether requests are judged, users and roles, in the words of etcd's own errors.

use api::{Fault, V2Auth};
use http::header::{CONTENT_TYPE, HeaderName, HeaderValue};
use http::{Method, Request, Response, StatusCode};
use types::Secret;
use types::v2auth::{Access, Change, Changed, Refusal, Role, User};

use crate::body::{Body, Upload};
use crate::gateway::{Connection, Shared};
use crate::mux;

use super::answer::string;
use super::guard;
use super::people::{RoleWish, UserWish, role_text, user_text, view_text};

const JSON: HeaderValue = HeaderValue::from_static("application/json");

/// What is refused, and in which words.
struct Refused {
    status: StatusCode,
    message: String,
}

/// What is asked about.
enum Subject {
    Enabled,
    Users,
    User(String),
    Roles,
    Role(String),
    /// A path below one of them that is too long.
    Nothing,
}

/// Answers a request for what is below `/v2/auth/`.
pub(crate) async fn answer(
    shared: &Shared,
    rest: &str,
    request: Request<()>,
    upload: &mut Upload,
    connection: &Connection,
) -> Response<Body> {
    let (Some(subject), Some(auth)) = (subject(rest), shared.member.v2_auth()) else {
        return mux::not_found();
    };
    if !shared.member.v2_enabled() {
        return mux::not_found();
    }
    let method = request.method();
    let allowed = match subject {
        Subject::Nothing => return refuse(bad("Invalid path")),
        Subject::Users | Subject::Roles => "GET",
        Subject::Enabled | Subject::User(_) | Subject::Role(_) => "GET,PUT,DELETE",
    };
    if !allowed.split(',').any(|allowed| method == allowed) {
        return mux::method_not_allowed(allowed);
    }
    // Everybody may ask whether requests are judged.
    let is_open = matches!(subject, Subject::Enabled) && method == Method::GET;
    if !is_open {
        match guard::permits(shared, request.headers(), connection, || Access::Root).await {
            Ok(true) => {}
            Ok(false) => return insufficient(),
            Err(fault) => return refuse(internal(&fault)),
        }
    }
    let done = match *method {
        Method::GET => show(auth, &subject),
        Method::PUT => put(shared, auth, subject, upload).await,
        _ => remove(auth, subject).await,
    };
    let mut response = done.unwrap_or_else(refuse);
    let id = HeaderValue::from_str(&shared.member.header().cluster.to_string())
        .expect("hexadecimal digits are visible ASCII");
    response.headers_mut().insert(HeaderName::from_static("x-etcd-cluster-id"), id);
    response.headers_mut().insert(CONTENT_TYPE, JSON);
    response
}

/// Who asks may not do this, or has not shown who it is.
pub(crate) fn insufficient() -> Response<Body> {
    refuse(Refused { status: StatusCode::UNAUTHORIZED, message: "Insufficient credentials".to_owned() })
}

fn subject(rest: &str) -> Option<Subject> {
    if rest == "enable" {
        return Some(Subject::Enabled);
    }
    let mut pieces = rest.split('/');
    let (kind, name, more) = (pieces.next()?, pieces.next().unwrap_or_default(), pieces.next());
    // A slash at the end says nothing.
    let is_deeper = more.is_some_and(|more| !more.is_empty()) || pieces.next().is_some();
    Some(match (kind, name) {
        ("users" | "roles", _) if is_deeper => Subject::Nothing,
        ("users", "") => Subject::Users,
        ("users", name) => Subject::User(name.to_owned()),
        ("roles", "") => Subject::Roles,
        ("roles", name) => Subject::Role(name.to_owned()),
        _ => return None,
    })
}

fn show(auth: &dyn V2Auth, subject: &Subject) -> Result<Response<Body>, Refused> {
    let missing = |what: &str, name: &str| Refused {
        status: StatusCode::NOT_FOUND,
        message: format!("auth: {what} {name} does not exist."),
    };
    let mut text = String::new();
    match subject {
        Subject::Enabled => text = format!("{{\"enabled\":{}}}", auth.is_enabled()),
        Subject::Users => {
            text.push_str("{\"users\":");
            list(&mut text, &auth.users(), |out, user| view(out, auth, user));
            text.push('}');
        }
        Subject::User(name) => {
            let user = auth.user(name).ok_or_else(|| missing("User", name))?;
            // Of one user all roles must be there, of all users those that are.
            let gone = user.roles.iter().flatten().find(|role| auth.role(role).is_none());
            if let Some(role) = gone {
                return Err(missing("Role", role));
            }
            view(&mut text, auth, &user);
        }
        Subject::Roles => {
            text.push_str("{\"roles\":");
            list(&mut text, &auth.roles(), role_text);
            text.push('}');
        }
        Subject::Role(name) => {
            role_text(&mut text, &auth.role(name).ok_or_else(|| missing("Role", name))?);
        }
        Subject::Nothing => {}
    }
    Ok(ok(StatusCode::OK, text + "\n"))
}

async fn put(
    shared: &Shared,
    auth: &dyn V2Auth,
    subject: Subject,
    upload: &mut Upload,
) -> Result<Response<Body>, Refused> {
    let mut read = async || {
        let body = upload.collect(shared.limits.body_bytes_max, shared).await;
        body.map_err(|_| bad("Invalid JSON in request body."))
    };
    let (change, password, status) = match subject {
        Subject::User(name) => {
            let wish = UserWish::parse(&read().await?).ok_or_else(|| bad("Invalid JSON in request body."))?;
            let (change, password) = user_change(&name, wish)?;
            (change, password, StatusCode::OK)
        }
        Subject::Role(name) => {
            let wish = RoleWish::parse(&read().await?).ok_or_else(|| bad("Invalid JSON in request body."))?;
            let change = role_change(&name, wish)?;
            let creates = matches!(change, Change::CreateRole(_));
            (change, None, if creates { StatusCode::CREATED } else { StatusCode::OK })
        }
        _ => (Change::Enable, None, StatusCode::OK),
    };
    let changed = change_by(auth, change, password).await?;
    let mut text = String::new();
    Ok(match changed {
        Changed::User { user, created } => {
            user_text(&mut text, &user);
            ok(if created { StatusCode::CREATED } else { status }, text + "\n")
        }
        Changed::Role(role) => {
            role_text(&mut text, &role);
            ok(status, text + "\n")
        }
        Changed::Done => ok(status, text),
    })
}

fn user_change(name: &str, wish: UserWish) -> Result<(Change, Option<Secret>), Refused> {
    let UserWish { user, password, roles, grant, revoke } = wish;
    if user != name {
        return Err(bad("User JSON name does not match the name in the URL"));
    }
    let (name, hash) = (user, None);
    let listed = roles.is_some();
    let roles = roles.unwrap_or_default();
    let change = match (roles.is_empty(), grant.is_empty() && revoke.is_empty()) {
        (true, true) => Change::PutUser { name, hash, listed },
        (false, true) => Change::CreateUser { name, hash, roles },
        (true, false) => Change::UpdateUser { name, hash, grant, revoke },
        (false, false) => return Err(bad("User JSON contains both roles and grant/revoke")),
    };
    Ok((change, password))
}

fn role_change(name: &str, wish: RoleWish) -> Result<Change, Refused> {
    let RoleWish { role, permissions, grant, revoke } = wish;
    if role != name {
        return Err(bad("Role JSON name does not match the name in the URL"));
    }
    let changes =
        |rights: &Option<_>| rights.as_ref().is_some_and(|rights| !types::v2auth::Rights::is_empty(rights));
    if !changes(&grant) && !changes(&revoke) {
        return Ok(Change::CreateRole(Role { name: role, rights: permissions }));
    }
    if !permissions.is_empty() {
        return Err(bad("Role JSON contains both permissions and grant/revoke"));
    }
    Ok(Change::UpdateRole { name: role, grant, revoke })
}

async fn remove(auth: &dyn V2Auth, subject: Subject) -> Result<Response<Body>, Refused> {
    let change = match subject {
        Subject::User(name) => Change::DeleteUser(name),
        Subject::Role(name) => Change::DeleteRole(name),
        _ => Change::Disable,
    };
    change_by(auth, change, None).await?;
    Ok(ok(StatusCode::OK, String::new()))
}

async fn change_by(auth: &dyn V2Auth, change: Change, password: Option<Secret>) -> Result<Changed, Refused> {
    let done = auth.change(change, password).await.map_err(|fault| internal(&fault))?;
    done.map_err(|refusal| Refused { status: status(&refusal), message: refusal.to_string() })
}

fn status(refusal: &Refusal) -> StatusCode {
    match refusal {
        Refusal::NoUserToUpdate(_)
        | Refusal::NoUserToDelete(_)
        | Refusal::NoRoleToUpdate(_)
        | Refusal::NoRoleToDelete(_) => StatusCode::NOT_FOUND,
        Refusal::NoPassword(_) | Refusal::SameUser | Refusal::SameRole => StatusCode::BAD_REQUEST,
        Refusal::RootStays | Refusal::RootRole | Refusal::TooMany => StatusCode::FORBIDDEN,
        _ => StatusCode::CONFLICT,
    }
}

/// A user with what the roles allow, as far as they are there.
fn view(out: &mut String, auth: &dyn V2Auth, user: &User) {
    let roles: Vec<Role> = user.roles.iter().flatten().filter_map(|role| auth.role(role)).collect();
    view_text(out, &user.name, &roles);
}

/// Go has no list where there is nothing in it.
fn list<T>(out: &mut String, items: &[T], write: impl Fn(&mut String, &T)) {
    if items.is_empty() {
        return out.push_str("null");
    }
    for (at, item) in items.iter().enumerate() {
        out.push(if at == 0 { '[' } else { ',' });
        write(out, item);
    }
    out.push(']');
}

fn bad(message: &str) -> Refused {
    Refused { status: StatusCode::BAD_REQUEST, message: message.to_owned() }
}

/// What went wrong inside is not told here, but that there was too much to do.
fn internal(fault: &Fault) -> Refused {
    tracing::debug!(%fault, "a request for /v2/auth failed");
    let message = match fault {
        Fault::TooManyRequests => fault.text().to_owned(),
        _ => "Internal Server Error".to_owned(),
    };
    Refused { status: StatusCode::INTERNAL_SERVER_ERROR, message }
}

#[allow(clippy::needless_pass_by_value, reason = "it ends here, and is handed over by `unwrap_or_else`")]
fn refuse(refused: Refused) -> Response<Body> {
    let mut text = String::from("{\"message\":");
    string(&mut text, refused.message.as_bytes());
    ok(refused.status, text + "}")
}

fn ok(status: StatusCode, text: String) -> Response<Body> {
    let mut response = Response::new(Body::of(text));
    *response.status_mut() = status;
    response.headers_mut().insert(CONTENT_TYPE, JSON);
    response
}
