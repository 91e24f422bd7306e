//! Signed tokens: JSON Web Tokens with etcd's claims `username`, `revision` and `exp`.
//!
//! INVARIANT: a token is verified by the one method and the one key that were set up, whatever it says of itself.

use std::time::Duration;

use aws_lc_rs::rand::SystemRandom;
use aws_lc_rs::signature::{ECDSA_P521_SHA512_FIXED, EcdsaKeyPair, UnparsedPublicKey};
use base64::Engine as _;
use base64::engine::general_purpose::URL_SAFE_NO_PAD;
use jsonwebtoken::{Algorithm, DecodingKey, EncodingKey, Header, Validation};
use serde::Serialize;
use serde_json::Value;
use types::Identity;

use super::Method;
use super::keys::{self, Private};

/// See the module.
pub struct Signer {
    method: Method,
    ttl: Duration,
    signing: Option<Signing>,
    verifying: Verifying,
}

enum Signing {
    Library(EncodingKey),
    // The library does not know this curve.
    P521(EcdsaKeyPair),
}

enum Verifying {
    Library(DecodingKey),
    P521(Vec<u8>),
}

/// Keys that make no signer.
#[derive(Clone, Copy, Debug, PartialEq, Eq, thiserror::Error)]
pub enum SetUpError {
    /// Neither key, or no secret.
    #[error("auth: missing key data")]
    MissingKey,
    /// What one signs the other does not verify.
    #[error("auth: public and private keys don't match")]
    Mismatch,
    /// Not what the method wants.
    #[error("auth: the file of priv-key holds no private key for this sign-method in PEM")]
    BadPrivateKey,
    /// Not what the method wants.
    #[error("auth: the file of pub-key holds no public key for this sign-method in PEM")]
    BadPublicKey,
}

/// Why there is no token.
#[derive(Clone, Copy, Debug, PartialEq, Eq, thiserror::Error)]
pub enum SignError {
    /// There is no key to sign with.
    #[error("auth: token signing attempted with verify-only key")]
    VerifyOnly,
    /// The library failed, as with a key that is too short.
    #[error("auth: the token could not be signed")]
    Failed,
}

#[derive(Serialize)]
struct Claims<'a> {
    username: &'a str,
    revision: u64,
    exp: i64,
}

impl Signer {
    /// A signer of keys as they lie in their files.
    pub fn new(
        method: Method,
        ttl: Duration,
        public: Option<&[u8]>,
        private: Option<&[u8]>,
    ) -> Result<Self, SetUpError> {
        if matches!(method, Method::Hs256 | Method::Hs384 | Method::Hs512) {
            let secret = private.filter(|secret| !secret.is_empty()).ok_or(SetUpError::MissingKey)?;
            let signing = Some(Signing::Library(EncodingKey::from_secret(secret)));
            let verifying = Verifying::Library(DecodingKey::from_secret(secret));
            return Ok(Self { method, ttl, signing, verifying });
        }
        let private = private.map(|text| {
            let key = keys::block(text).and_then(|block| keys::private(method, &block));
            key.ok_or(SetUpError::BadPrivateKey)
        });
        let public = public.map(|text| {
            let key = keys::block(text).and_then(|block| keys::public(&block));
            key.ok_or(SetUpError::BadPublicKey)
        });
        let (private, public) = (private.transpose()?, public.transpose()?);
        let known = match &private {
            Some(Private::Rsa { public_pkcs1, .. }) => Some(public_pkcs1.clone()),
            Some(Private::Ecdsa { point, .. } | Private::Ed25519 { point, .. }) => Some(point.clone()),
            None => None,
        };
        if let (Some(known), Some(public)) = (&known, &public)
            && known != public
        {
            return Err(SetUpError::Mismatch);
        }
        let public = known.or(public).ok_or(SetUpError::MissingKey)?;
        let signing = private.map(|private| signing(method, &private)).transpose()?;
        Ok(Self { method, ttl, signing, verifying: verifying(method, public) })
    }

    /// A token for a user, as of an auth revision, that counts from `now_s` on, in seconds since 1970.
    pub fn sign(&self, user: &str, revision: u64, now_s: i64) -> Result<String, SignError> {
        let ttl = i64::try_from(self.ttl.as_secs()).unwrap_or(i64::MAX);
        let claims = Claims { username: user, revision, exp: now_s.saturating_add(ttl) };
        match self.signing.as_ref().ok_or(SignError::VerifyOnly)? {
            Signing::Library(key) => {
                let algorithm = algorithm(self.method).ok_or(SignError::Failed)?;
                jsonwebtoken::encode(&Header::new(algorithm), &claims, key).map_err(|_| SignError::Failed)
            }
            Signing::P521(pair) => sign_p521(pair, &claims),
        }
    }

    /// Who a token stands for; `None` if it proves nothing at `now_s`.
    pub fn verify(&self, token: &str, now_s: i64) -> Option<Identity> {
        let claims = match &self.verifying {
            Verifying::Library(key) => {
                let mut validation = Validation::new(algorithm(self.method)?);
                // Times are compared below, with the clock that is given.
                validation.validate_exp = false;
                validation.validate_aud = false;
                validation.required_spec_claims.clear();
                jsonwebtoken::decode::<Value>(token, key, &validation).ok()?.claims
            }
            Verifying::P521(point) => verify_p521(point, token)?,
        };
        let time = |name: &str| match claims.get(name) {
            None => Some(None),
            Some(value) => value.as_f64().map(Some),
        };
        let now = now_s as f64;
        if time("exp")?.is_some_and(|ends| now >= ends) || time("nbf")?.is_some_and(|begins| now < begins) {
            return None;
        }
        let user = claims.get("username")?.as_str()?.to_owned();
        let revision = claims.get("revision")?;
        let revision = revision.as_u64().or_else(|| revision.as_f64().map(|revision| revision as u64))?;
        Some(Identity { user, revision })
    }
}

fn signing(method: Method, private: &Private) -> Result<Signing, SetUpError> {
    Ok(match private {
        Private::Rsa { pkcs1, .. } => Signing::Library(EncodingKey::from_rsa_der(pkcs1)),
        Private::Ed25519 { pkcs8, .. } => Signing::Library(EncodingKey::from_ed_der(pkcs8)),
        Private::Ecdsa { pkcs8, .. } if method == Method::Es512 => {
            let curve = keys::curve(method).ok_or(SetUpError::BadPrivateKey)?;
            let pair = EcdsaKeyPair::from_pkcs8(curve, pkcs8).map_err(|_| SetUpError::BadPrivateKey)?;
            Signing::P521(pair)
        }
        Private::Ecdsa { pkcs8, .. } => Signing::Library(EncodingKey::from_ec_der(pkcs8)),
    })
}

fn verifying(method: Method, public: Vec<u8>) -> Verifying {
    match method {
        Method::Es512 => Verifying::P521(public),
        Method::Es256 | Method::Es384 => Verifying::Library(DecodingKey::from_ec_der(&public)),
        Method::EdDsa => Verifying::Library(DecodingKey::from_ed_der(&public)),
        _ => Verifying::Library(DecodingKey::from_rsa_der(&public)),
    }
}

/// `None` for what the library does not know.
fn algorithm(method: Method) -> Option<Algorithm> {
    Some(match method {
        Method::Rs256 => Algorithm::RS256,
        Method::Rs384 => Algorithm::RS384,
        Method::Rs512 => Algorithm::RS512,
        Method::Ps256 => Algorithm::PS256,
        Method::Ps384 => Algorithm::PS384,
        Method::Ps512 => Algorithm::PS512,
        Method::Es256 => Algorithm::ES256,
        Method::Es384 => Algorithm::ES384,
        Method::Es512 => return None,
        Method::Hs256 => Algorithm::HS256,
        Method::Hs384 => Algorithm::HS384,
        Method::Hs512 => Algorithm::HS512,
        Method::EdDsa => Algorithm::EdDSA,
    })
}

fn sign_p521(pair: &EcdsaKeyPair, claims: &Claims<'_>) -> Result<String, SignError> {
    let claims = serde_json::to_vec(claims).map_err(|_| SignError::Failed)?;
    let head = URL_SAFE_NO_PAD.encode(br#"{"alg":"ES512","typ":"JWT"}"#);
    let message = format!("{head}.{}", URL_SAFE_NO_PAD.encode(claims));
    let signature = pair.sign(&SystemRandom::new(), message.as_bytes()).map_err(|_| SignError::Failed)?;
    Ok(format!("{message}.{}", URL_SAFE_NO_PAD.encode(signature)))
}

fn verify_p521(point: &[u8], token: &str) -> Option<Value> {
    let (message, signature) = token.rsplit_once('.')?;
    let (head, claims) = message.split_once('.')?;
    let head: Value = serde_json::from_slice(&URL_SAFE_NO_PAD.decode(head).ok()?).ok()?;
    if head.get("alg")?.as_str()? != "ES512" {
        return None;
    }
    let signature = URL_SAFE_NO_PAD.decode(signature).ok()?;
    let key = UnparsedPublicKey::new(&ECDSA_P521_SHA512_FIXED, point);
    key.verify(message.as_bytes(), &signature).ok()?;
    serde_json::from_slice(&URL_SAFE_NO_PAD.decode(claims).ok()?).ok()
}
