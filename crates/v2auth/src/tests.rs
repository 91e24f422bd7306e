//! Users and roles as a client changes them, over a restart, and with damage.

mod model;

use std::path::Path;

use store::Options;
use types::v2auth::{ROOT, Rights};

use super::*;

fn rights(read: &[&str], write: &[&str]) -> Rights {
    let list = |list: &[&str]| Some(list.iter().map(|&text| text.to_owned()).collect());
    Rights { read: list(read), write: list(write) }
}

fn put_user(name: &str) -> Change {
    Change::PutUser { name: name.to_owned(), hash: Some(format!("hash of {name}")), listed: false }
}

fn grant(name: &str, role: &str) -> Change {
    let grant = vec![role.to_owned()];
    Change::UpdateUser { name: name.to_owned(), hash: None, grant, revoke: Vec::new() }
}

fn create_role(name: &str, rights: Rights) -> Change {
    Change::CreateRole(Role { name: name.to_owned(), rights })
}

fn key(path: &str, write: bool, recursive: bool) -> Access {
    Access::Key { path: path.to_owned(), write, recursive }
}

/// Applies one change as one batch.
fn apply(auth: &V2Auth, store: &Store, change: &Change) -> Verdict {
    let mut batch = store.batch();
    let verdict = auth.apply(change, &mut batch);
    store.write(batch).expect("write");
    verdict
}

#[test]
fn users_and_roles_come_back_as_they_were() {
    let (path, options) = (Path::new("/users"), Options::in_memory());
    let store = Store::open(path, &options).expect("open");
    let auth = V2Auth::open(&store).expect("open");
    let indexes = |change: &Change| apply(&auth, &store, change).indexes;
    assert_eq!(indexes(&Change::Enable), 0, "there is no root");
    assert_eq!(indexes(&put_user(ROOT)), 5, "and the place for users");
    assert_eq!(indexes(&put_user("ann")), 1);
    assert_eq!(indexes(&Change::CreateRole(Role { name: "bare".to_owned(), ..Role::default() })), 1);
    assert_eq!(indexes(&create_role("r", rights(&["/a*"], &[]))), 1);
    assert_eq!(indexes(&grant("ann", "r")), 1);
    assert_eq!(indexes(&Change::Enable), 2, "and the role of guests");
    let (users, roles) = (auth.users(), auth.roles());
    assert_eq!(
        roles.iter().map(|role| role.name.as_str()).collect::<Vec<_>>(),
        ["bare", "guest", "r", "root"]
    );
    store.flush().expect("flush");
    store.close();
    let store = Store::open(path, &options).expect("open");
    let auth = V2Auth::open(&store).expect("open");
    assert!(auth.is_enabled());
    assert_eq!((auth.users(), auth.roles()), (users, roles));
    assert_eq!(auth.hash("ann").as_deref(), Some("hash of ann"));
    assert_eq!(apply(&auth, &store, &Change::DeleteUser(ROOT.to_owned())).result, Err(Refusal::RootStays));
    assert_eq!(apply(&auth, &store, &Change::Disable).indexes, 1);
    assert_eq!(apply(&auth, &store, &Change::DeleteUser(ROOT.to_owned())).result, Ok(Changed::Done));
}

#[test]
fn patterns_cover_what_begins_so_and_nothing_else() {
    let store = Store::open(Path::new("/patterns"), &Options::in_memory()).expect("open");
    let auth = V2Auth::open(&store).expect("open");
    apply(&auth, &store, &put_user("ann"));
    apply(&auth, &store, &create_role("r", rights(&["/a", "/d/*", ""], &["/d/x"])));
    apply(&auth, &store, &grant("ann", "r"));
    let check = |path, write, recursive, expect| {
        let permits = auth.permits_user("ann", "hash of ann", &key(path, write, recursive));
        assert_eq!(permits, expect, "{path} write {write} recursive {recursive}");
    };
    check("/a", false, false, true);
    check("/a", false, true, false);
    check("/a/", false, false, false);
    check("/ab", false, false, false);
    check("", false, false, false);
    check("/d", false, false, false);
    check("/d/", false, true, true);
    check("/d/x/y", false, true, true);
    check("/d/x", true, false, true);
    check("/d/x", true, true, false);
    check("/d/y", true, false, false);
    assert!(!auth.permits_user("ann", "another hash", &key("/a", false, false)));
    assert!(!auth.permits_user("ann", "hash of ann", &Access::Root));
    assert!(!auth.permits_guest(&key("/a", false, false)), "there is no role of guests");
    apply(&auth, &store, &grant("ann", ROOT));
    assert!(auth.permits_user("ann", "hash of ann", &Access::Root));
    assert!(auth.permits_user("ann", "hash of ann", &key("/anything", true, true)));
}

#[test]
fn a_damaged_row_stops_the_start_and_is_named() {
    let store = Store::open(Path::new("/damaged"), &Options::in_memory()).expect("open");
    let auth = V2Auth::open(&store).expect("open");
    apply(&auth, &store, &put_user("ann"));
    let key = b"v2auth/user/ann";
    let good = store.get(store::Family::Meta, key).expect("read").expect("it is there").to_vec();
    for bit in 0..good.len() * 8 {
        let mut bad = good.clone();
        bad[bit / 8] ^= 1 << (bit % 8);
        let mut batch = store.batch();
        batch.put(store::Family::Meta, key, &bad);
        store.write(batch).expect("write");
        let error = V2Auth::open(&store).err().expect("damage is refused");
        assert_eq!(error.to_string(), "the row v2auth/user/ann of the users of v2 is damaged", "bit {bit}");
    }
}
