//! A password on its way to where it is hashed or compared.
//!
//! INVARIANT: it is never shown, neither by `Debug` nor by anything else, and its memory is overwritten when it goes.

use zeroize::Zeroizing;

/// A password as its owner typed it.
#[derive(Clone, Default)]
pub struct Secret(Zeroizing<Vec<u8>>);

impl Secret {
    /// Takes a password over; nothing else should keep it.
    pub fn new(password: impl Into<Vec<u8>>) -> Self {
        Self(Zeroizing::new(password.into()))
    }

    /// The password itself, for hashing and comparing only.
    pub fn expose(&self) -> &[u8] {
        &self.0
    }

    /// Whether it has no bytes at all.
    pub fn is_empty(&self) -> bool {
        self.0.is_empty()
    }
}

impl std::fmt::Debug for Secret {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.write_str("Secret")
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_secret_does_not_show() {
        let secret = Secret::new("open sesame");
        assert_eq!(secret.expose(), b"open sesame");
        assert_eq!(format!("{secret:?} {:#?}", Some(&secret)), "Secret Some(\n    Secret,\n)");
    }
}
