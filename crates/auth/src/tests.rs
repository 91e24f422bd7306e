//! Signed tokens, by every method, with keys made here; and ranges that touch.

use std::time::Duration;

use aws_lc_rs::encoding::AsDer as _;
use aws_lc_rs::rand::SystemRandom;
use aws_lc_rs::rsa::KeySize;
use aws_lc_rs::signature::{
    ECDSA_P256_SHA256_FIXED_SIGNING, ECDSA_P384_SHA384_FIXED_SIGNING, ECDSA_P521_SHA512_FIXED_SIGNING,
    EcdsaKeyPair, EcdsaSigningAlgorithm, Ed25519KeyPair, KeyPair as _, RsaKeyPair,
};
use base64::Engine as _;
use base64::engine::general_purpose::{STANDARD, URL_SAFE_NO_PAD};
use bytes::Bytes;
use types::{Key, KeyRange};

use super::*;
use crate::tokens::{Method, SetUpError, SignError, Signer};

const NOW: i64 = 1_767_225_600;
const TTL: Duration = Duration::from_mins(10);

fn pem(label: &str, der: &[u8]) -> Vec<u8> {
    let mut text = format!("-----BEGIN {label}-----\n");
    for line in STANDARD.encode(der).as_bytes().chunks(64) {
        text.push_str(std::str::from_utf8(line).expect("ASCII"));
        text.push('\n');
    }
    text.extend(["-----END ", label, "-----\n"]);
    text.into_bytes()
}

/// A private key and its public one, as their files hold them.
fn pair(method: Method) -> (Vec<u8>, Option<Vec<u8>>) {
    let curve = |curve: &'static EcdsaSigningAlgorithm| {
        let pkcs8 = EcdsaKeyPair::generate_pkcs8(curve, &SystemRandom::new()).expect("a key");
        let pair = EcdsaKeyPair::from_pkcs8(curve, pkcs8.as_ref()).expect("it was just made");
        let public = pair.public_key().as_der().expect("it has a form");
        (pem("PRIVATE KEY", pkcs8.as_ref()), Some(pem("PUBLIC KEY", public.as_ref())))
    };
    match method {
        Method::Hs256 | Method::Hs384 | Method::Hs512 => (rand_secret(), None),
        Method::Es256 => curve(&ECDSA_P256_SHA256_FIXED_SIGNING),
        Method::Es384 => curve(&ECDSA_P384_SHA384_FIXED_SIGNING),
        Method::Es512 => curve(&ECDSA_P521_SHA512_FIXED_SIGNING),
        Method::EdDsa => {
            let pkcs8 = Ed25519KeyPair::generate_pkcs8(&SystemRandom::new()).expect("a key");
            let pair = Ed25519KeyPair::from_pkcs8(pkcs8.as_ref()).expect("it was just made");
            let public = pair.public_key().as_der().expect("it has a form");
            (pem("PRIVATE KEY", pkcs8.as_ref()), Some(pem("PUBLIC KEY", public.as_ref())))
        }
        _ => {
            let pair = RsaKeyPair::generate(KeySize::Rsa2048).expect("a key");
            let private = pair.as_der().expect("it has a form");
            let public = pair.public_key().as_der().expect("it has a form");
            (pem("PRIVATE KEY", private.as_ref()), Some(pem("PUBLIC KEY", public.as_ref())))
        }
    }
}

fn rand_secret() -> Vec<u8> {
    let mut secret = vec![0; 64];
    aws_lc_rs::rand::fill(&mut secret).expect("chance");
    secret
}

const METHODS: [&str; 13] = [
    "RS256", "RS384", "RS512", "PS256", "PS384", "PS512", "ES256", "ES384", "ES512", "HS256", "HS384",
    "HS512", "EdDSA",
];

fn with_head(token: &str, head: &str) -> String {
    let (_, rest) = token.split_once('.').expect("three parts");
    format!("{}.{rest}", URL_SAFE_NO_PAD.encode(head))
}

#[test]
fn tokens_of_every_method_prove_who_somebody_is_and_nothing_else_does() {
    for name in METHODS {
        let method = Method::named(name).expect("it is one");
        let (private, public) = pair(method);
        let signer = Signer::new(method, TTL, public.as_deref(), Some(&private)).expect(name);
        let token = signer.sign("alice", 7, NOW).expect(name);
        let (head, claims) =
            token.rsplit_once('.').expect("three parts").0.split_once('.').expect("three parts");
        let text =
            |part: &str| String::from_utf8(URL_SAFE_NO_PAD.decode(part).expect("base64")).expect("text");
        assert!(text(head).contains(&format!("\"alg\":\"{name}\"")), "{}", text(head));
        assert_eq!(text(claims), format!(r#"{{"username":"alice","revision":7,"exp":{}}}"#, NOW + 600));
        let proved =
            |signer: &Signer, token: &str, now| signer.verify(token, now).map(|who| (who.user, who.revision));
        assert_eq!(proved(&signer, &token, NOW + 599), Some(("alice".to_owned(), 7)), "{name}");
        assert_eq!(proved(&signer, &token, NOW + 600), None, "{name}: over");

        let (message, signature) = token.rsplit_once('.').expect("three parts");
        let other = URL_SAFE_NO_PAD.encode(r#"{"username":"root","revision":7,"exp":9999999999}"#);
        let forged = [
            format!("{head}.{other}.{signature}"),
            format!("{message}."),
            message.to_owned(),
            format!("{message}.{}", URL_SAFE_NO_PAD.encode([0; 64])),
            with_head(&token, r#"{"alg":"none","typ":"JWT"}"#),
            format!("{}.{other}.", URL_SAFE_NO_PAD.encode(r#"{"alg":"none","typ":"JWT"}"#)),
            with_head(&token, r#"{"alg":"HS256","typ":"JWT"}"#),
            with_head(&token, r#"{"alg":"RS256","typ":"JWT" }"#),
            "a.b.c".to_owned(),
            String::new(),
        ];
        for forged in forged {
            assert_eq!(proved(&signer, &forged, NOW), None, "{name}: {forged}");
        }
        let stranger = pair(method);
        let stranger = Signer::new(method, TTL, stranger.1.as_deref(), Some(&stranger.0)).expect(name);
        assert_eq!(proved(&stranger, &token, NOW), None, "{name}: another key");

        let Some(public) = public else { continue };
        let reader = Signer::new(method, TTL, Some(&public), None).expect(name);
        assert_eq!(
            proved(&reader, &token, NOW),
            Some(("alice".to_owned(), 7)),
            "{name}: with the public key"
        );
        assert_eq!(reader.sign("alice", 7, NOW), Err(SignError::VerifyOnly));
        // What was made with a public key for a secret is not taken for more than that.
        let secret = Signer::new(Method::Hs256, TTL, None, Some(&public)).expect("any secret");
        let confused = secret.sign("root", 7, NOW).expect("signed");
        assert_eq!(proved(&reader, &confused, NOW), None, "{name}: a public key is no secret");
        let mismatch = Signer::new(method, TTL, Some(&public), Some(&pair(method).0)).map(drop);
        assert_eq!(mismatch, Err(SetUpError::Mismatch), "{name}");
    }
    assert_eq!(Signer::new(Method::Rs256, TTL, None, None).map(drop), Err(SetUpError::MissingKey));
    assert_eq!(Signer::new(Method::Hs256, TTL, None, None).map(drop), Err(SetUpError::MissingKey));
    assert_eq!(
        Signer::new(Method::Es256, TTL, None, Some(b"no PEM")).map(drop),
        Err(SetUpError::BadPrivateKey)
    );
}

fn range(key: &'static str, end: &'static str) -> KeyRange {
    let key = Key::new(Bytes::from_static(key.as_bytes())).expect("not empty");
    KeyRange::from_wire(key, Bytes::from_static(end.as_bytes()))
}

#[test]
fn ranges_that_touch_are_one() {
    let of = |ranges: &[KeyRange]| Ranges::of(ranges.iter());
    let touching = of(&[range("c", "e"), range("a", "c"), range("x", "")]);
    assert!(
        touching.cover(&range("a", "e"))
            && touching.cover(&range("b", "d"))
            && touching.cover(&range("x", ""))
    );
    assert!(!touching.cover(&range("a", "f")) && !touching.cover(&range("x", "x\0\0")));
    assert!(touching.cover(&range("x", "x\0")), "one key, said otherwise");
    assert!(!touching.cover(&range("a", "\0")) && !touching.cover(&range("e", "")));
    // GHSA-xg4h-6gfc-h4m8: from a key on is more than the key.
    assert!(!of(&[range("x", "")]).cover(&range("x", "\0")));
    let open = of(&[range("m", "\0"), range("a", "b")]);
    assert!(open.cover(&range("m", "\0")) && open.cover(&range("z", "zz")) && !open.cover(&range("a", "\0")));
    let all = of(&[range("\0", "\0")]);
    assert!(all.cover(&KeyRange::all()) && all.cover(&range("\0", "\0")) && all.contains(b"\0"));
    assert!(!of(&[]).cover(&range("a", "")) && !of(&[range("b", "a")]).cover(&range("b", "")));
    // Of a range without keys the first one counts, as in etcd.
    assert!(touching.cover(&range("b", "a")) && !touching.cover(&range("y", "a")));
}
