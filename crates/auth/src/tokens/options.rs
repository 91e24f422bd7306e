//! What `--auth-token` says.

use std::path::PathBuf;
use std::time::Duration;

/// How tokens are made.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum Options {
    /// Simple ones.
    Simple,
    /// Signed ones.
    Signed(SignedOptions),
}

/// How signed tokens are made and verified.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct SignedOptions {
    /// The one way of signing that is accepted.
    pub method: Method,
    /// The file with the key that verifies.
    pub public_key: Option<PathBuf>,
    /// The file with the key that signs, or with the one secret of HMAC.
    pub private_key: Option<PathBuf>,
    /// How long a token counts.
    pub ttl: Duration,
    /// Options that nobody knows.
    pub unknown: Vec<String>,
}

/// A way of signing, by its name in a token.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
#[expect(missing_docs, reason = "the names of RFC 7518 and RFC 8037")]
pub enum Method {
    Rs256,
    Rs384,
    Rs512,
    Ps256,
    Ps384,
    Ps512,
    Es256,
    Es384,
    Es512,
    Hs256,
    Hs384,
    Hs512,
    EdDsa,
}

/// Why options are none.
#[derive(Clone, Debug, PartialEq, Eq, thiserror::Error)]
pub enum OptionsError {
    /// Neither simple nor jwt.
    #[error("auth: invalid auth options: there is no token type {0:?}; simple and jwt are")]
    Type(String),
    /// No `name=value`.
    #[error("auth: invalid auth options: {0:?} is not of the form name=value")]
    Form(String),
    /// The same twice.
    #[error("auth: invalid auth options: {0} is given twice")]
    Twice(String),
    /// Not a way of signing.
    #[error(
        "auth: invalid auth options: sign-method {0:?} is none of RS256, RS384, RS512, PS256, PS384, PS512, ES256, \
         ES384, ES512, HS256, HS384, HS512, EdDSA"
    )]
    Method(String),
    /// Not a time.
    #[error("auth: invalid auth options: ttl {0:?} is no duration, like 10m")]
    Ttl(String),
}

/// etcd's time for signed tokens.
const TTL: Duration = Duration::from_mins(5);

impl Method {
    const ALL: [(&'static str, Self); 13] = [
        ("RS256", Self::Rs256),
        ("RS384", Self::Rs384),
        ("RS512", Self::Rs512),
        ("PS256", Self::Ps256),
        ("PS384", Self::Ps384),
        ("PS512", Self::Ps512),
        ("ES256", Self::Es256),
        ("ES384", Self::Es384),
        ("ES512", Self::Es512),
        ("HS256", Self::Hs256),
        ("HS384", Self::Hs384),
        ("HS512", Self::Hs512),
        ("EdDSA", Self::EdDsa),
    ];

    /// By its name.
    pub fn named(name: &str) -> Option<Self> {
        Self::ALL.iter().find(|(known, _)| *known == name).map(|(_, method)| *method)
    }
}

impl Options {
    /// Reads `simple` or `jwt,name=value,…`; `duration` reads a time as Go writes it.
    pub fn parse(text: &str, duration: impl Fn(&str) -> Option<Duration>) -> Result<Self, OptionsError> {
        let mut parts = text.split(',');
        let kind = parts.next().unwrap_or_default();
        let mut pairs: Vec<(&str, &str)> = Vec::new();
        for part in parts {
            let form = || OptionsError::Form(part.to_owned());
            let (name, value) = part.split_once('=').ok_or_else(form)?;
            if value.contains('=') {
                return Err(form());
            }
            if pairs.iter().any(|(known, _)| *known == name) {
                return Err(OptionsError::Twice(name.to_owned()));
            }
            pairs.push((name, value));
        }
        match kind {
            "simple" => Ok(Self::Simple),
            "jwt" => Ok(Self::Signed(SignedOptions::of(&pairs, duration)?)),
            other => Err(OptionsError::Type(other.to_owned())),
        }
    }
}

impl SignedOptions {
    fn of(pairs: &[(&str, &str)], duration: impl Fn(&str) -> Option<Duration>) -> Result<Self, OptionsError> {
        const KNOWN: [&str; 4] = ["sign-method", "pub-key", "priv-key", "ttl"];
        let of = |name: &str| pairs.iter().find(|(known, _)| *known == name).map_or("", |(_, value)| *value);
        let file = |name: &str| Some(of(name)).filter(|path| !path.is_empty()).map(PathBuf::from);
        let ttl = match of("ttl") {
            "" => TTL,
            text => duration(text).ok_or_else(|| OptionsError::Ttl(text.to_owned()))?,
        };
        let method = of("sign-method");
        let unknown = pairs.iter().map(|(name, _)| *name).filter(|name| !KNOWN.contains(name));
        Ok(Self {
            method: Method::named(method).ok_or_else(|| OptionsError::Method(method.to_owned()))?,
            public_key: file("pub-key"),
            private_key: file("priv-key"),
            ttl,
            unknown: unknown.map(str::to_owned).collect(),
        })
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn options_are_read_in_any_order_and_mistakes_are_named() {
        let seconds = |text: &str| text.strip_suffix('s')?.parse().ok().map(Duration::from_secs);
        let parse = |text: &str| Options::parse(text, seconds);
        assert_eq!(parse("simple"), Ok(Options::Simple));
        let expect = SignedOptions {
            method: Method::Ps384,
            public_key: Some("a.pub".into()),
            private_key: None,
            ttl: Duration::from_secs(90),
            unknown: vec!["x".into()],
        };
        let signed = Ok(Options::Signed(expect));
        assert_eq!(parse("jwt,ttl=90s,x=y,pub-key=a.pub,sign-method=PS384"), signed);
        for bad in
            ["", "none", "jwt", "jwt,sign-method=none", "jwt,sign-method=HS256,ttl=1y", "jwt,a", "jwt,a=b=c"]
        {
            let error = parse(bad).expect_err(bad).to_string();
            assert!(error.starts_with("auth: invalid auth options"), "{error}");
        }
        assert_eq!(parse("jwt,a=1,a=2"), Err(OptionsError::Twice("a".into())));
    }
}
