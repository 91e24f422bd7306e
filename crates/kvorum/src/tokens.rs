//! From what the flags say of tokens to what makes them: the files of the keys are read here.

use std::fs;
use std::os::unix::fs::PermissionsExt as _;
use std::path::{Path, PathBuf};

use auth::tokens::{Options, SetUpError, Signer, Simple, Tokens};

use crate::config::Config;

/// What bcrypt takes, as powers of two, and etcd's own choice.
const COSTS: std::ops::RangeInclusive<u64> = 4..=31;
const COST: u32 = 10;

/// Why there are no tokens.
#[derive(Debug, thiserror::Error)]
pub enum AuthError {
    /// A file.
    #[error("--auth-token: cannot read {path}: {source}")]
    File {
        /// Which.
        path: PathBuf,
        /// Why.
        source: std::io::Error,
    },
    /// What is in them.
    #[error("--auth-token: {0}")]
    Keys(#[from] SetUpError),
}

/// What makes tokens, and knows them again.
pub(crate) fn tokens(config: &Config) -> Result<Tokens, AuthError> {
    let options = match &config.auth_tokens {
        Options::Simple => {
            tracing::warn!("simple token is not cryptographically signed");
            return Ok(Tokens::Simple(Simple::new(config.auth_token_ttl)));
        }
        Options::Signed(options) => options,
    };
    if !options.unknown.is_empty() {
        tracing::warn!(keys = options.unknown.join(","), "unknown JWT options");
    }
    let public = options.public_key.as_deref().map(read).transpose()?;
    let private = options.private_key.as_deref().map(read).transpose()?;
    if let Some(path) = &options.private_key {
        look_who_may_read(path);
    }
    let signer = Signer::new(options.method, options.ttl, public.as_deref(), private.as_deref())?;
    Ok(Tokens::Signed(Box::new(signer)))
}

/// The work that a hash costs; etcd's where nothing sensible is asked for.
pub(crate) fn bcrypt_cost(config: &Config) -> u32 {
    if COSTS.contains(&config.bcrypt_cost) {
        return config.bcrypt_cost as u32;
    }
    tracing::warn!(
        { "min-cost" } = COSTS.start(),
        { "max-cost" } = COSTS.end(),
        { "default-cost" } = COST,
        { "given-cost" } = config.bcrypt_cost,
        "use default bcrypt cost instead of the invalid given cost"
    );
    COST
}

fn read(path: &Path) -> Result<Vec<u8>, AuthError> {
    fs::read(path).map_err(|source| AuthError::File { path: path.to_owned(), source })
}

fn look_who_may_read(path: &Path) {
    let others = fs::metadata(path).is_ok_and(|file| file.permissions().mode() & 0o077 != 0);
    if others {
        tracing::warn!(path = %path.display(), "the key that signs tokens can be read by others than its owner");
    }
}
