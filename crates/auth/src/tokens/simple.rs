//! Tokens that mean nothing by themselves: each member remembers whose they are, for as long as they are used.
//!
//! INVARIANT: there are at most [`TOKENS_MAX`]; those that would end first go when there are more.

use std::collections::HashMap;
use std::time::{Duration, Instant};

use parking_lot::Mutex;

/// Letters of a token before the index of the entry that gave it, as in etcd.
pub const PREFIX_CHARS: usize = 16;

/// Tokens that a member remembers. A client whose token was forgotten asks for another.
pub const TOKENS_MAX: usize = 262_144;

/// See the module.
pub struct Simple {
    ttl: Duration,
    known: Mutex<HashMap<Box<str>, Token>>,
}

struct Token {
    user: Box<str>,
    ends: Instant,
}

impl Simple {
    /// Tokens that live for `ttl` after each use.
    pub fn new(ttl: Duration) -> Self {
        Self { ttl, known: Mutex::default() }
    }

    /// A token was given to a user.
    pub fn learn(&self, token: String, user: String, now: Instant) {
        let mut known = self.known.lock();
        if known.len() >= TOKENS_MAX {
            make_room(&mut known, now);
        }
        known.insert(token.into(), Token { user: user.into(), ends: now + self.ttl });
    }

    /// Whose token it is. It lives on for its whole time.
    pub fn user_of(&self, token: &str, now: Instant) -> Option<String> {
        let mut known = self.known.lock();
        let found = known.get_mut(token)?;
        if found.ends <= now {
            known.remove(token);
            return None;
        }
        found.ends = now + self.ttl;
        Some(String::from(&*found.user))
    }

    /// No token of this user counts any more.
    pub fn forget(&self, user: &str) {
        self.known.lock().retain(|_, token| *token.user != *user);
    }

    /// No token counts any more.
    pub fn forget_all(&self) {
        *self.known.lock() = HashMap::new();
    }
}

fn make_room(known: &mut HashMap<Box<str>, Token>, now: Instant) {
    known.retain(|_, token| token.ends > now);
    if known.len() < TOKENS_MAX {
        return;
    }
    let mut ends: Vec<Instant> = known.values().map(|token| token.ends).collect();
    let half = ends.len() / 2;
    let (_, median, _) = ends.select_nth_unstable(half);
    let median = *median;
    known.retain(|_, token| token.ends > median);
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_token_lives_on_for_as_long_as_it_is_used() {
        let (tokens, began) = (Simple::new(Duration::from_secs(10)), Instant::now());
        let after = |seconds| began + Duration::from_secs(seconds);
        tokens.learn("a.1".into(), "alice".into(), began);
        tokens.learn("b.2".into(), "bob".into(), began);
        assert_eq!(tokens.user_of("a.1", after(9)).as_deref(), Some("alice"));
        assert_eq!(tokens.user_of("a.1", after(18)).as_deref(), Some("alice"));
        assert_eq!(tokens.user_of("b.2", after(10)), None, "not used for its whole time");
        assert_eq!(tokens.user_of("b.2", after(1)), None, "and gone");
        assert_eq!(tokens.user_of("A.1", after(18)), None);
        tokens.learn("a.3".into(), "alice".into(), after(18));
        tokens.learn("b.4".into(), "bob".into(), after(18));
        tokens.forget("alice");
        assert_eq!(tokens.user_of("a.1", after(19)), None);
        assert_eq!(tokens.user_of("a.3", after(19)), None);
        assert_eq!(tokens.user_of("b.4", after(19)).as_deref(), Some("bob"));
        tokens.forget_all();
        assert_eq!(tokens.user_of("b.4", after(19)), None);
    }

    #[test]
    fn those_that_would_end_first_go_when_there_are_too_many() {
        let (tokens, began) = (Simple::new(Duration::from_secs(1_000_000)), Instant::now());
        for number in 0..=TOKENS_MAX {
            tokens.learn(format!("t.{number}"), "u".into(), began + Duration::from_micros(number as u64));
        }
        assert!(tokens.known.lock().len() <= TOKENS_MAX / 2 + 1);
        assert_eq!(tokens.user_of("t.0", began), None);
        assert!(tokens.user_of(&format!("t.{TOKENS_MAX}"), began).is_some());
    }
}
