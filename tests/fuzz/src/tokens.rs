//! Tokens that prove who somebody is.

use std::sync::LazyLock;
use std::time::{Duration, Instant};

use auth::tokens::{Method, Signer, Simple};
use base64::Engine as _;
use base64::engine::general_purpose::URL_SAFE_NO_PAD;
use hmac::{Hmac, Mac};
use sha2::Sha256;

const SECRET: &[u8] = b"a secret of tests";
const TTL: Duration = Duration::from_mins(5);

// Of keys that are kept nowhere.
const P521: &[u8] = b"-----BEGIN PUBLIC KEY-----
MIGbMBAGByqGSM49AgEGBSuBBAAjA4GGAAQBA7wCY9S1mTIwAgIHUqJ5jaN+Nqfl
P38C0qWfblGLWYmYrr3bZ0OVfcbj2fuoFugml3jL79s59FYeRTWEqfXRFWgBTFBY
0v/WI196/RZR+v9ieCIWPfsHam1RoPH8Ke9krHomUJKpo4cjZX9Q9PnykCSQ5BGb
3FE9wHZe/VLLgn9fFQc=
-----END PUBLIC KEY-----
";
const RSA: &[u8] = b"-----BEGIN PUBLIC KEY-----
MIIBIjANBgkqhkiG9w0BAQEFAAOCAQ8AMIIBCgKCAQEAufY1ZOgSTLF0gthbKMgS
TeIhEt3vxtP6H4xI8mYvavHqLmlt8MrB34PxjTdbqFemn6Kvlf5GNYOt5AGAYock
O5AE7KVtTvN8xiTroOO7csUOu5solbJyshvVQk6gbgaZ+TY37Zn+fb8p7FSaSA9L
bT1qpIHDsoZfPb7kjD8xBHh0ucH2mAdCu4VQW7mone2uU04wrWVAlNP/O2LXho4V
0LllWeGKRLEkZP4OHj+yRNwZXA3TGN6PE6jdsxjakmQLvi/CS+ztD0XlwfqmVh6Z
7WPwi3brJT9h7kmO0TNdpEgVK5bizn6+YTdzVHoB8d70yMh7PqFlqw3HM22iPjAE
IwIDAQAB
-----END PUBLIC KEY-----
";

static SECRETS: LazyLock<Signer> =
    LazyLock::new(|| Signer::new(Method::Hs256, TTL, None, Some(SECRET)).expect("a secret"));
static CURVES: LazyLock<Signer> =
    LazyLock::new(|| Signer::new(Method::Es512, TTL, Some(P521), None).expect("a key"));
static FACTORS: LazyLock<Signer> =
    LazyLock::new(|| Signer::new(Method::Ps256, TTL, Some(RSA), None).expect("a key"));
static SIMPLE: LazyLock<Simple> = LazyLock::new(|| Simple::new(TTL));

/// A token as it comes. Without a full stop in it, the input is the claims of one that is sealed with the right secret.
pub(crate) fn token(input: &[u8]) {
    let text = String::from_utf8_lossy(input);
    assert_eq!(SIMPLE.user_of(&text, Instant::now()), None, "nobody was given that");
    assert!(CURVES.verify(&text, 0).is_none() && FACTORS.verify(&text, 0).is_none(), "the keys are lost");
    if text.contains('.') {
        if let Some((head_and_claims, _)) = text.rsplit_once('.')
            && SECRETS.verify(&text, 0).is_some()
        {
            assert_eq!(sealed(head_and_claims), text, "only one signature is right");
        }
        return;
    }
    let head = URL_SAFE_NO_PAD.encode(r#"{"alg":"HS256","typ":"JWT"}"#);
    let token = sealed(&format!("{head}.{}", URL_SAFE_NO_PAD.encode(input)));
    let Some(identity) = SECRETS.verify(&token, 0) else { return };
    let again = SECRETS.sign(&identity.user, identity.revision, 0).expect("there is a secret");
    assert_eq!(SECRETS.verify(&again, 0), Some(identity), "a token says what was signed");
}

fn sealed(head_and_claims: &str) -> String {
    let mut sum = Hmac::<Sha256>::new_from_slice(SECRET).expect("any length is a key");
    sum.update(head_and_claims.as_bytes());
    format!("{head_and_claims}.{}", URL_SAFE_NO_PAD.encode(sum.finalize().into_bytes()))
}
