use std::time::Duration;

use ed25519_dalek::{Signer, SigningKey, pkcs8::EncodePrivateKey};
use jsonwebtoken::{EncodingKey, Header};
use serde_json::{Value, json};

use super::*;

const NOW: i64 = 1_800_000_000;

struct House {
    clock: Clock,
    keyring: Keyring,
    verifier: Verifier,
    key: SigningKey,
}

/// A verifier that knows one key, `k1`.
fn house() -> House {
    let clock = Clock::manual(Timestamp::from_seconds(NOW));
    let keyring = Keyring::new(clock.clone());
    let key = SigningKey::from_bytes(&[7; 32]);
    keyring.apply(snapshot(vec![public("k1", &key, None)]));
    let verifier = Verifier::new(keyring.clone(), clock.clone(), "https://auth.test", "agora");
    House { clock, keyring, verifier, key }
}

fn snapshot(keys: Vec<(String, String, Option<Timestamp>)>) -> KeysAndRevocations {
    KeysAndRevocations { snapshot: true, keys, ..Default::default() }
}

fn public(kid: &str, key: &SigningKey, expire: Option<Timestamp>) -> (String, String, Option<Timestamp>) {
    (kid.to_owned(), URL_SAFE_NO_PAD.encode(key.verifying_key().as_bytes()), expire)
}

fn claims() -> Value {
    json!({
        "iss": "https://auth.test", "sub": "usr_1", "aud": "agora", "exp": NOW + 600, "iat": NOW,
        "jti": "1", "client_id": "agora", "sid": "ses_1", "roles": ["customer"],
    })
}

fn header() -> Value {
    json!({ "typ": "at+jwt", "alg": "EdDSA", "kid": "k1" })
}

/// Any header and any claims, properly signed.
fn signed(key: &SigningKey, header: &Value, claims: &Value) -> String {
    let encode = |part: &Value| URL_SAFE_NO_PAD.encode(part.to_string());
    let message = format!("{}.{}", encode(header), encode(claims));
    let signature = URL_SAFE_NO_PAD.encode(key.sign(message.as_bytes()).to_bytes());
    format!("{message}.{signature}")
}

fn with(mut object: Value, key: &str, value: Value) -> Value {
    object[key] = value;
    object
}

fn without(mut object: Value, key: &str) -> Value {
    object.as_object_mut().unwrap().remove(key);
    object
}

fn refusal(house: &House, token: &str) -> String {
    house.verifier.verify(token).expect_err(token).reason().to_owned()
}

#[test]
fn a_good_token_says_who_calls() {
    let house = house();
    let token = signed(&house.key, &header(), &claims());
    for _ in 0..2 {
        let caller = house.verifier.verify(&token).unwrap();
        assert_eq!((caller.user.as_str(), caller.session.as_str()), ("usr_1", "ses_1"));
        assert_eq!(caller.roles, ["customer"]);
        assert_eq!(caller.token_expires, Timestamp::from_seconds(NOW + 600));
        assert_eq!(&*caller.token, token);
    }
}

#[test]
fn a_token_made_by_the_issuers_library_is_good() {
    let house = house();
    let der = house.key.to_pkcs8_der().unwrap();
    let header = Header { typ: Some(TOKEN_TYPE.into()), kid: Some("k1".into()), ..Header::new(Algorithm::EdDSA) };
    let claims: Claims = serde_json::from_value(claims()).unwrap();
    let token = jsonwebtoken::encode(&header, &claims, &EncodingKey::from_ed_der(der.as_bytes())).unwrap();
    assert!(house.verifier.verify(&token).is_ok());
}

#[test]
fn only_our_algorithm_our_type_and_our_keys_are_accepted() {
    let house = house();
    for wrong in [
        with(header(), "alg", json!("none")),
        with(header(), "alg", json!("HS256")),
        with(header(), "alg", json!("ES256")),
        without(header(), "alg"),
        with(header(), "typ", json!("JWT")),
        without(header(), "typ"),
        with(header(), "kid", json!("k2")),
        without(header(), "kid"),
        with(header(), "crit", json!(["exp"])),
    ] {
        let token = signed(&house.key, &wrong, &claims());
        assert_eq!(refusal(&house, &token), "TOKEN_INVALID", "{wrong}");
    }
    let typed = with(header(), "typ", json!("application/AT+JWT"));
    assert!(house.verifier.verify(&signed(&house.key, &typed, &claims())).is_ok());
}

#[test]
fn an_unsigned_token_is_refused() {
    let house = house();
    let encode = |part: &Value| URL_SAFE_NO_PAD.encode(part.to_string());
    let message = format!("{}.{}.", encode(&with(header(), "alg", json!("none"))), encode(&claims()));
    assert_eq!(refusal(&house, &message), "TOKEN_INVALID");
}

#[test]
fn the_public_key_is_no_secret_to_sign_with() {
    let house = house();
    let header = Header { typ: Some(TOKEN_TYPE.into()), kid: Some("k1".into()), ..Header::new(Algorithm::HS256) };
    for secret in [house.key.verifying_key().as_bytes().to_vec(), public("k1", &house.key, None).1.into_bytes()] {
        let token = jsonwebtoken::encode(&header, &claims(), &EncodingKey::from_secret(&secret)).unwrap();
        assert_eq!(refusal(&house, &token), "TOKEN_INVALID");
    }
}

#[test]
fn a_token_for_others_by_others_or_without_a_claim_is_refused() {
    let house = house();
    for wrong in [
        with(claims(), "iss", json!("https://evil.test")),
        with(claims(), "iss", json!(["https://auth.test"])),
        with(claims(), "aud", json!("another")),
        with(claims(), "aud", json!(["another"])),
        with(claims(), "exp", json!("tomorrow")),
        with(claims(), "exp", json!(u64::MAX)),
        without(claims(), "iss"),
        without(claims(), "aud"),
        without(claims(), "sub"),
        without(claims(), "exp"),
        without(claims(), "sid"),
    ] {
        let token = signed(&house.key, &header(), &wrong);
        assert_eq!(refusal(&house, &token), "TOKEN_INVALID", "{wrong}");
    }
    let stranger = SigningKey::from_bytes(&[8; 32]);
    assert_eq!(refusal(&house, &signed(&stranger, &header(), &claims())), "TOKEN_INVALID");
}

#[test]
fn a_tampered_token_is_refused_wherever_it_is_touched() {
    let house = house();
    let token = signed(&house.key, &header(), &claims());
    house.verifier.verify(&token).unwrap();
    for position in 0..token.len() {
        let mut forged = token.clone().into_bytes();
        forged[position] = if forged[position] == b'A' { b'B' } else { b'A' };
        let forged = String::from_utf8(forged).unwrap();
        assert_eq!(refusal(&house, &forged), "TOKEN_INVALID", "{position}");
    }
    for garbage in ["", ".", "..", "a.b.c", &"a".repeat(5_000), &"..".repeat(2_000), "é.é.é"] {
        assert_eq!(refusal(&house, garbage), "TOKEN_INVALID");
    }
}

#[test]
fn time_alone_makes_a_token_good_and_ends_it_though_it_is_remembered() {
    let house = house();
    let token = signed(&house.key, &header(), &with(claims(), "nbf", json!(NOW + 60)));
    assert_eq!(refusal(&house, &token), "TOKEN_INVALID");
    house.clock.advance(Duration::from_secs(60));
    assert!(house.verifier.verify(&token).is_ok());
    house.clock.advance(Duration::from_micros(539_999_999));
    assert!(house.verifier.verify(&token).is_ok());
    house.clock.advance(Duration::from_micros(1));
    assert_eq!(refusal(&house, &token), "TOKEN_EXPIRED");
}

#[test]
fn an_ended_session_is_refused_at_once_until_its_last_token_has_expired() {
    let house = house();
    let token = signed(&house.key, &header(), &claims());
    house.verifier.verify(&token).unwrap();
    let revocations = vec![("ses_1".to_owned(), Timestamp::from_seconds(NOW + 600))];
    house.keyring.apply(KeysAndRevocations { revocations, ..Default::default() });
    assert_eq!(refusal(&house, &token), "TOKEN_REVOKED");
    let other = signed(&house.key, &header(), &with(claims(), "sid", json!("ses_2")));
    assert!(house.verifier.verify(&other).is_ok());
    house.clock.advance(Duration::from_secs(600));
    house.keyring.apply(KeysAndRevocations { keys: vec![public("k1", &house.key, None)], ..Default::default() });
    assert!(house.keyring.0.state.load().revoked.is_empty());
}

#[test]
fn a_key_that_is_gone_or_has_expired_verifies_nothing_more() {
    let house = house();
    let token = signed(&house.key, &header(), &claims());
    house.verifier.verify(&token).unwrap();
    let next = SigningKey::from_bytes(&[9; 32]);
    let until = Timestamp::from_seconds(NOW + 10);
    let keys = vec![public("k2", &next, None), public("k1", &house.key, Some(until))];
    house.keyring.apply(KeysAndRevocations { keys, ..Default::default() });
    let young = signed(&next, &with(header(), "kid", json!("k2")), &claims());
    assert!(house.verifier.verify(&young).is_ok() && house.verifier.verify(&token).is_ok());
    house.clock.advance(Duration::from_secs(10));
    assert_eq!(refusal(&house, &token), "TOKEN_INVALID");
    assert!(house.keyring.jwks().contains("k2") && !house.keyring.jwks().contains("k1"));
    house.keyring.apply(snapshot(vec![public("k3", &house.key, None)]));
    assert_eq!(refusal(&house, &young), "TOKEN_INVALID");
}

#[test]
fn without_keys_nobody_is_trusted_and_the_caller_is_told_to_try_again() {
    let house = house();
    let token = signed(&house.key, &header(), &claims());
    let keyring = Keyring::new(house.clock.clone());
    let verifier = Verifier::new(keyring.clone(), house.clock.clone(), "https://auth.test", "agora");
    assert!(!keyring.ready() && keyring.last_heard().is_none());
    assert_eq!(verifier.verify(&token).unwrap_err().reason(), "DEPENDENCY_UNAVAILABLE");
    for x in ["", "AAAA", "no base64", &"A".repeat(44)] {
        keyring.apply(snapshot(vec![("k1".to_owned(), x.to_owned(), None)]));
        assert!(!keyring.ready());
    }
    keyring.apply(KeysAndRevocations::default());
    assert_eq!(keyring.last_heard(), Some(house.clock.now()));
}

#[test]
fn the_key_set_is_what_a_foreign_verifier_reads() {
    let house = house();
    let set: jsonwebtoken::jwk::JwkSet = serde_json::from_str(&house.verifier.jwks()).unwrap();
    let key = DecodingKey::from_jwk(set.find("k1").unwrap()).unwrap();
    let mut validation = Validation::new(Algorithm::EdDSA);
    validation.set_audience(&["agora"]);
    validation.validate_exp = false;
    let token = signed(&house.key, &header(), &claims());
    assert!(jsonwebtoken::decode::<Claims>(&token, &key, &validation).is_ok());
}
