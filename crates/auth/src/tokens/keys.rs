//! Keys from PEM files, in all forms in which Go takes them.

use aws_lc_rs::signature::{
    ECDSA_P256_SHA256_FIXED_SIGNING, ECDSA_P384_SHA384_FIXED_SIGNING, ECDSA_P521_SHA512_FIXED_SIGNING,
    EcdsaKeyPair, EcdsaSigningAlgorithm, Ed25519KeyPair, KeyPair as _, RsaKeyPair,
};
use base64::Engine as _;
use base64::engine::general_purpose::STANDARD;

use super::Method;

/// A block of a PEM file.
pub(super) struct Block {
    label: String,
    der: Vec<u8>,
}

/// A key that signs, with the public one that goes with it.
pub(super) enum Private {
    Rsa { pkcs1: Vec<u8>, public_pkcs1: Vec<u8> },
    Ecdsa { pkcs8: Vec<u8>, point: Vec<u8> },
    Ed25519 { pkcs8: Vec<u8>, point: Vec<u8> },
}

/// The first block whose label is a key's or a certificate's.
pub(super) fn block(text: &[u8]) -> Option<Block> {
    let text = std::str::from_utf8(text).ok()?;
    let mut rest = text;
    loop {
        let (_, after) = rest.split_once("-----BEGIN ")?;
        let (label, after) = after.split_once("-----")?;
        let (body, after) = after.split_once("-----END ")?;
        rest = after;
        // Go's tools write the parameters of a curve before its key.
        if label == "EC PARAMETERS" {
            continue;
        }
        let encoded: String = body.split_whitespace().filter(|line| !line.contains(':')).collect();
        return Some(Block { label: label.to_owned(), der: STANDARD.decode(encoded).ok()? });
    }
}

/// The key that signs; `None` if it is not of the method's kind.
pub(super) fn private(method: Method, block: &Block) -> Option<Private> {
    match method {
        Method::Hs256 | Method::Hs384 | Method::Hs512 => None,
        Method::Rs256 | Method::Rs384 | Method::Rs512 | Method::Ps256 | Method::Ps384 | Method::Ps512 => {
            let pair = match block.label.as_str() {
                "RSA PRIVATE KEY" => RsaKeyPair::from_der(&block.der),
                _ => RsaKeyPair::from_pkcs8(&block.der),
            };
            let pair = pair.ok()?;
            let public_pkcs1 = pair.public_key().as_ref().to_vec();
            let pkcs1 =
                if block.label == "RSA PRIVATE KEY" { block.der.clone() } else { pkcs1_of(&block.der)? };
            Some(Private::Rsa { pkcs1, public_pkcs1 })
        }
        Method::Es256 | Method::Es384 | Method::Es512 => {
            let pair = ecdsa(method, block)?;
            let point = pair.public_key().as_ref().to_vec();
            let pkcs8 = pair.to_pkcs8v1().ok()?.as_ref().to_vec();
            Some(Private::Ecdsa { pkcs8, point })
        }
        Method::EdDsa => {
            let pair = Ed25519KeyPair::from_pkcs8_maybe_unchecked(&block.der).ok()?;
            Some(Private::Ed25519 { point: pair.public_key().as_ref().to_vec(), pkcs8: block.der.clone() })
        }
    }
}

/// The algorithm of a curve's method.
pub(super) fn curve(method: Method) -> Option<&'static EcdsaSigningAlgorithm> {
    match method {
        Method::Es256 => Some(&ECDSA_P256_SHA256_FIXED_SIGNING),
        Method::Es384 => Some(&ECDSA_P384_SHA384_FIXED_SIGNING),
        Method::Es512 => Some(&ECDSA_P521_SHA512_FIXED_SIGNING),
        _ => None,
    }
}

fn ecdsa(method: Method, block: &Block) -> Option<EcdsaKeyPair> {
    let curve = curve(method)?;
    match block.label.as_str() {
        "EC PRIVATE KEY" => EcdsaKeyPair::from_private_key_der(curve, &block.der).ok(),
        _ => EcdsaKeyPair::from_pkcs8(curve, &block.der).ok(),
    }
}

/// The bytes of a public key: PKCS#1 of RSA, the point of a curve.
pub(super) fn public(block: &Block) -> Option<Vec<u8>> {
    match block.label.as_str() {
        "RSA PUBLIC KEY" => Some(block.der.clone()),
        "PUBLIC KEY" => key_bits(&block.der),
        "CERTIFICATE" => {
            // Certificate, then what is signed of it; the key is the first thing that looks like one.
            let certificate = der::inside(&block.der, 0x30)?.0;
            let mut fields = der::inside(certificate, 0x30)?.0;
            while let Some((tag, whole, rest)) = der::next(fields) {
                if tag == 0x30
                    && let Some(bits) = key_bits(whole)
                {
                    return Some(bits);
                }
                fields = rest;
            }
            None
        }
        _ => None,
    }
}

/// What lies in SubjectPublicKeyInfo after the algorithm.
fn key_bits(info: &[u8]) -> Option<Vec<u8>> {
    let (fields, _) = der::inside(info, 0x30)?;
    let (tag, _, rest) = der::next(fields)?;
    let (bits, _) = der::inside(rest, 0x03)?;
    (tag == 0x30).then(|| bits.strip_prefix(&[0])).flatten().map(<[u8]>::to_vec)
}

/// What lies in PKCS#8 after version and algorithm.
fn pkcs1_of(pkcs8: &[u8]) -> Option<Vec<u8>> {
    let (fields, _) = der::inside(pkcs8, 0x30)?;
    let (_, _, rest) = der::next(fields)?;
    let (_, _, rest) = der::next(rest)?;
    Some(der::inside(rest, 0x04)?.0.to_vec())
}

/// As little of DER as keys need.
mod der {
    /// The next thing: its tag, all of it, and what follows.
    pub(super) fn next(bytes: &[u8]) -> Option<(u8, &[u8], &[u8])> {
        let (head, length) = head(bytes)?;
        let (whole, rest) = bytes.split_at_checked(head.checked_add(length)?)?;
        Some((*bytes.first()?, whole, rest))
    }

    /// What is in the next thing if it has this tag, and what follows it.
    pub(super) fn inside(bytes: &[u8], tag: u8) -> Option<(&[u8], &[u8])> {
        let (found, whole, rest) = next(bytes)?;
        let (start, _) = head(bytes)?;
        (found == tag).then(|| whole.split_at(start).1).map(|inside| (inside, rest))
    }

    fn head(bytes: &[u8]) -> Option<(usize, usize)> {
        let first = *bytes.get(1)?;
        if first < 0x80 {
            return Some((2, usize::from(first)));
        }
        let count = usize::from(first & 0x7f);
        if !(1..=4).contains(&count) {
            return None;
        }
        let digits = bytes.get(2..2 + count)?;
        Some((2 + count, digits.iter().fold(0, |length, digit| length << 8 | usize::from(*digit))))
    }
}
