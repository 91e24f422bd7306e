//! What proves that a password was shown before: a simple token, which members remember, or a signed one, which they
//! need not.

mod keys;
mod options;
mod signed;
mod simple;

pub use options::{Method, Options, OptionsError, SignedOptions};
pub use signed::{SetUpError, SignError, Signer};
pub use simple::{PREFIX_CHARS, Simple, TOKENS_MAX};

/// How this member makes tokens, and knows them again.
pub enum Tokens {
    /// Given through the log and remembered.
    Simple(Simple),
    /// Signed.
    Signed(Box<Signer>),
}
