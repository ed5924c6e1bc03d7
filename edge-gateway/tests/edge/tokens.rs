//! An issuer of access tokens with a key of its own.

use base64::{Engine, engine::general_purpose::URL_SAFE_NO_PAD};
use ed25519_dalek::{Signer, SigningKey};
use kit::{
    Clock, Timestamp,
    auth::{Keyring, KeysAndRevocations, Verifier},
};
use serde_json::json;

const NOW: i64 = 1_800_000_000;

fn key(seed: u8) -> SigningKey {
    SigningKey::from_bytes(&[seed; 32])
}

/// A verifier that knows the key, and one session that has ended.
pub fn verifier() -> Verifier {
    let clock = Clock::manual(Timestamp::from_seconds(NOW));
    let keyring = Keyring::new(clock.clone());
    keyring.apply(KeysAndRevocations {
        snapshot: true,
        keys: vec![("k1".to_owned(), URL_SAFE_NO_PAD.encode(key(1).verifying_key().as_bytes()), None)],
        revocations: vec![("ses_ended".to_owned(), Timestamp::from_seconds(NOW + 600))],
    });
    Verifier::new(keyring, clock, "test", "test")
}

fn token(key: &SigningKey, session: &str, expires: i64, roles: &[&str]) -> String {
    let header = json!({"alg": "EdDSA", "typ": "at+jwt", "kid": "k1"});
    let claims = json!({
        "iss": "test", "aud": "test", "sub": "usr_1", "sid": session, "jti": "1", "iat": NOW - 60, "exp": expires, "roles": roles,
    });
    let encode = |value: serde_json::Value| URL_SAFE_NO_PAD.encode(value.to_string());
    let signed = format!("{}.{}", encode(header), encode(claims));
    let signature = URL_SAFE_NO_PAD.encode(key.sign(signed.as_bytes()).to_bytes());
    format!("{signed}.{signature}")
}

pub fn good(roles: &[&str]) -> String {
    token(&key(1), "ses_open", NOW + 600, roles)
}

pub fn expired() -> String {
    token(&key(1), "ses_open", NOW - 1, &[])
}

pub fn revoked() -> String {
    token(&key(1), "ses_ended", NOW + 600, &[])
}

pub fn forged() -> String {
    token(&key(2), "ses_open", NOW + 600, &["keeper"])
}
