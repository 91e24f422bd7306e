//! Random users, roles and questions, against the rules said once more as simply as they can be: who may do what is
//! found by trying every pattern letter by letter, and nothing is stored but what was said.

use std::collections::{BTreeMap, BTreeSet};

use proptest::collection::vec;
use proptest::prelude::*;
use proptest::sample::select;

use super::*;

const USERS: [&str; 4] = ["root", "ann", "bob", "cid"];
// In order, as lists are after each change: so what is no change is none here too.
const ROLES: [&str; 4] = ["guest", "r", "root", "s"];
const PATTERNS: [&str; 9] = ["", "*", "/", "/*", "/a", "/a*", "/a/", "/a/*", "/a/b"];
const KEYS: [&str; 8] = ["", "/", "/a", "/a/", "/a/b", "/ab", "/b", "/a/b/c"];

#[derive(Clone, Debug)]
enum Step {
    Change(Change),
    Ask { user: Option<&'static str>, access: Access },
}

/// What was said of roles and users.
#[derive(Debug, Default)]
struct Model {
    users: BTreeMap<String, BTreeSet<String>>,
    roles: BTreeMap<String, [BTreeSet<String>; 2]>,
    enabled: bool,
    /// The role root was taken from the user root, who shows it again behind roles that sort after it. As in etcd
    /// (seen in 3.4.23), whatever puts the list in order is then a change, even one that asks for nothing.
    root_trails: bool,
}

impl Model {
    /// Makes the change if it is allowed; whether it was.
    fn change(&mut self, change: &Change) -> bool {
        let done = self.changed(change);
        done.is_some()
    }

    fn changed(&mut self, change: &Change) -> Option<()> {
        match change {
            Change::PutUser { name, hash, .. } if self.users.contains_key(name) => {
                self.root_trails &= name != "root";
                hash.as_ref().map(drop)
            }
            Change::PutUser { name, .. } => self.make_user(name, &[]),
            Change::CreateUser { name, roles, .. } => self.make_user(name, roles),
            Change::UpdateUser { name, grant, revoke, .. } => {
                let old = self.users.get(name)?;
                let mut new = old.clone();
                (grant.iter().all(|role| new.insert(role.clone()))
                    && revoke.iter().all(|role| new.remove(role)))
                .then_some(())?;
                let is_root = name == "root";
                (new != *old || (is_root && self.root_trails)).then_some(())?;
                if is_root {
                    self.root_trails = !new.contains("root") && new.iter().any(|role| role.as_str() > "root");
                }
                self.users.insert(name.clone(), with_root(name, new));
                Some(())
            }
            Change::DeleteUser(name) => {
                (!(self.enabled && name == "root")).then_some(())?;
                self.root_trails &= name != "root";
                self.users.remove(name).map(drop)
            }
            Change::CreateRole(role) => {
                (role.name != "root" && !self.roles.contains_key(&role.name)).then_some(())?;
                self.roles.insert(role.name.clone(), sets(&role.rights));
                Some(())
            }
            Change::UpdateRole { name, grant, .. } => {
                let role = self.roles.get_mut(name).filter(|_| name != "root")?;
                let more = sets(grant.as_ref()?);
                let is_new = |at: usize| more[at].is_disjoint(&role[at]);
                (is_new(0) && is_new(1) && more.iter().any(|set| !set.is_empty())).then_some(())?;
                for (role, more) in role.iter_mut().zip(more) {
                    role.extend(more);
                }
                Some(())
            }
            Change::DeleteRole(name) => self.roles.remove(name).filter(|_| name != "root").map(drop),
            Change::Enable => {
                (!self.enabled && self.users.contains_key("root")).then_some(())?;
                let all = || BTreeSet::from(["/*".to_owned()]);
                self.roles.entry("guest".to_owned()).or_insert_with(|| [all(), all()]);
                self.enabled = true;
                Some(())
            }
            Change::Disable => std::mem::take(&mut self.enabled).then_some(()),
        }
    }

    fn make_user(&mut self, name: &str, roles: &[String]) -> Option<()> {
        (!self.users.contains_key(name)).then_some(())?;
        self.users.insert(name.to_owned(), with_root(name, roles.iter().cloned().collect()));
        Some(())
    }

    fn may(&self, user: Option<&str>, access: &Access) -> bool {
        let guest = BTreeSet::from(["guest".to_owned()]);
        let roles = match user {
            None => &guest,
            Some(name) => match self.users.get(name) {
                None => return false,
                Some(roles) if roles.contains("root") => return true,
                Some(roles) => roles,
            },
        };
        let Access::Key { path, write, recursive } = access else { return false };
        let needs_star = *recursive && user.is_some();
        roles.iter().filter_map(|role| self.roles.get(role)).flat_map(|sets| &sets[usize::from(*write)]).any(
            |pattern| {
                let covers = matches(pattern.as_bytes(), path.as_bytes());
                covers && (!needs_star || pattern.ends_with('*')) && !pattern.is_empty()
            },
        )
    }
}

fn matches(pattern: &[u8], path: &[u8]) -> bool {
    match (pattern, path) {
        ([b'*'], _) | ([], []) => true,
        ([first, pattern @ ..], [letter, path @ ..]) => first == letter && matches(pattern, path),
        _ => false,
    }
}

fn with_root(name: &str, mut roles: BTreeSet<String>) -> BTreeSet<String> {
    if name == "root" {
        roles.insert("root".to_owned());
    }
    roles
}

fn sets(rights: &Rights) -> [BTreeSet<String>; 2] {
    let set = |list: &Option<Vec<String>>| list.iter().flatten().cloned().collect();
    [set(&rights.read), set(&rights.write)]
}

fn name(of: &'static [&'static str]) -> impl Strategy<Value = String> {
    select(of).prop_map(str::to_owned)
}

/// Different texts in any order.
fn texts(of: &'static [&'static str]) -> impl Strategy<Value = Vec<String>> {
    proptest::sample::subsequence(of, 0..3).prop_map(|texts| texts.into_iter().map(str::to_owned).collect())
}

fn some_rights() -> impl Strategy<Value = Rights> {
    (texts(&PATTERNS), texts(&PATTERNS))
        .prop_map(|(read, write)| Rights { read: Some(read), write: Some(write) })
}

fn some_change() -> impl Strategy<Value = Change> {
    let hash = || Some("h".to_owned());
    prop_oneof![
        3 => name(&USERS).prop_map(move |name| Change::PutUser { name, hash: hash(), listed: true }),
        1 => (name(&["ann", "bob", "cid"]), texts(&ROLES))
            .prop_map(move |(name, roles)| Change::CreateUser { name, hash: Some("h".to_owned()), roles }),
        4 => (name(&USERS), texts(&ROLES), texts(&ROLES))
            .prop_map(|(name, grant, revoke)| Change::UpdateUser { name, hash: None, grant, revoke }),
        1 => name(&USERS).prop_map(Change::DeleteUser),
        4 => (name(&ROLES), some_rights()).prop_map(|(name, rights)| Change::CreateRole(Role { name, rights })),
        2 => (name(&ROLES), some_rights())
            .prop_map(|(name, rights)| Change::UpdateRole { name, grant: Some(rights), revoke: None }),
        1 => name(&ROLES).prop_map(Change::DeleteRole),
        1 => Just(Change::Enable),
        1 => Just(Change::Disable),
    ]
}

fn some_step() -> impl Strategy<Value = Step> {
    let user = || proptest::option::of(select(&USERS[..]));
    let access = prop_oneof![
        1 => Just(Access::Root),
        9 => (name(&KEYS), any::<bool>(), any::<bool>())
            .prop_map(|(path, write, recursive)| Access::Key { path, write, recursive }),
    ];
    prop_oneof![
        1 => some_change().prop_map(Step::Change),
        2 => (user(), access).prop_map(|(user, access)| Step::Ask { user, access }),
    ]
}

proptest! {
    #![proptest_config(ProptestConfig::with_cases(400))]

    #[test]
    fn nobody_may_more_or_less_than_was_said(steps in vec(some_step(), 1..300)) {
        let store = Store::open(Path::new("/model"), &Options::in_memory()).expect("open");
        let auth = V2Auth::open(&store).expect("open");
        let mut model = Model::default();
        for step in steps {
            match step {
                Step::Change(change) => {
                    // A password that is put again has another hash, always.
                    let change = match change {
                        Change::PutUser { name, listed, .. } => {
                            let hash = auth.hash(&name).map_or_else(|| "h".to_owned(), |hash| format!("{hash}'"));
                            Change::PutUser { name, hash: Some(hash), listed }
                        }
                        change => change,
                    };
                    let expect = model.change(&change);
                    let verdict = auth.apply(&change, &mut store.batch());
                    prop_assert_eq!(verdict.result.is_ok(), expect, "{:?}: {:?}", change, verdict);
                    prop_assert_eq!(auth.is_enabled(), model.enabled);
                }
                Step::Ask { user, access } => {
                    let may = match user {
                        None => auth.permits_guest(&access),
                        Some(name) => auth.permits_known(name, &access),
                    };
                    prop_assert_eq!(may, model.may(user, &access), "{:?} {:?}", user, access);
                }
            }
        }
    }
}
