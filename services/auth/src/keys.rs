//! Signing keys: Ed25519, stored with the private half sealed. A new key is told to everyone before it signs, so that
//! no verifier meets a token whose key it does not know; the old key verifies until its last token has expired.

use std::time::Duration;

use base64::{Engine, engine::general_purpose::URL_SAFE_NO_PAD};
use contracts::auth::v1::SigningKey as Shown;
use ed25519_dalek::{SigningKey as Ed25519, pkcs8::EncodePrivateKey};
use hmac::{Hmac, Mac};
use jsonwebtoken::{Algorithm, EncodingKey, Header};
use kit::{
    Error, Timestamp,
    auth::{Claims, TOKEN_TYPE},
    config::Secret,
};
use ring::aead::{Aad, CHACHA20_POLY1305, LessSafeKey, NONCE_LEN, Nonce, UnboundKey};
use sha2::Sha256;

/// How long a new key is told before it signs: several times what it takes to reach everyone.
const TOLD_BEFORE: Duration = Duration::from_secs(2);
/// How much longer than its last token an old key is kept, so that this token is refused as expired, not as unknown.
const KEPT_AFTER: Duration = Duration::from_secs(60);

/// A signing key as it is stored.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct StoredKey {
    /// Its name in the header of a token.
    pub kid: String,
    /// The public half, base64url.
    pub x: String,
    /// The private half: see [`Vault`].
    pub sealed: Vec<u8>,
    /// When it was made.
    pub create_time: Timestamp,
    /// From when it signs.
    pub sign_time: Timestamp,
    /// Until when it verifies; nothing for the newest.
    pub expire_time: Option<Timestamp>,
}

impl StoredKey {
    /// A new key, which signs from now on if it is the first, and otherwise once everyone knows it.
    ///
    /// # Errors
    /// `INTERNAL` if it cannot be sealed.
    pub fn generate(vault: &Vault, first: bool, now: Timestamp) -> Result<Self, Error> {
        let seed = rand::random::<[u8; 32]>();
        let kid = kit::id::new("key", now);
        Ok(Self {
            x: URL_SAFE_NO_PAD.encode(Ed25519::from_bytes(&seed).verifying_key().as_bytes()),
            sealed: vault.seal(&kid, &seed)?,
            kid,
            create_time: now,
            sign_time: if first { now } else { now + TOLD_BEFORE },
            expire_time: None,
        })
    }

    /// Until when the key before this one verifies.
    pub fn predecessor_expires(&self, access_token: Duration) -> Timestamp {
        self.sign_time + access_token + KEPT_AFTER
    }

    /// The public half, as the contract shows it.
    pub fn shown(&self) -> Shown {
        Shown {
            kid: self.kid.clone(),
            x: self.x.clone(),
            create_time: Some(self.create_time.to_proto()),
            expire_time: self.expire_time.map(Timestamp::to_proto),
        }
    }
}

/// Seals private keys with ChaCha20-Poly1305, so that a copy of the database signs nothing. From ring, which TLS uses
/// anyway.
pub struct Vault(LessSafeKey);

impl Vault {
    /// A vault whose key is derived from `secret`.
    ///
    /// # Errors
    /// None in practice: the length of the derived key is right.
    pub fn new(secret: &Secret) -> Result<Self, Error> {
        let key = derive(secret, "seal of signing keys", b"");
        Ok(Self(LessSafeKey::new(UnboundKey::new(&CHACHA20_POLY1305, &key).map_err(Error::internal)?)))
    }

    /// Nonce, sealed seed and tag. Bound to the kid, so that rows cannot be exchanged.
    fn seal(&self, kid: &str, seed: &[u8; 32]) -> Result<Vec<u8>, Error> {
        let nonce = rand::random::<[u8; NONCE_LEN]>();
        let mut text = seed.to_vec();
        self.0
            .seal_in_place_append_tag(Nonce::assume_unique_for_key(nonce), Aad::from(kid), &mut text)
            .map_err(Error::internal)?;
        Ok([nonce.as_slice(), &text].concat())
    }

    /// A key that signs; nothing if it was sealed with another secret, or altered.
    pub fn open(&self, key: &StoredKey) -> Option<Signer> {
        let (nonce, text) = key.sealed.split_first_chunk::<NONCE_LEN>()?;
        let (nonce, mut text) = (Nonce::assume_unique_for_key(*nonce), text.to_vec());
        let seed = self.0.open_in_place(nonce, Aad::from(key.kid.as_str()), &mut text).ok()?;
        let der = Ed25519::from_bytes(<&[u8; 32]>::try_from(&*seed).ok()?).to_pkcs8_der().ok()?;
        Some(Signer { kid: key.kid.clone(), key: EncodingKey::from_ed_der(der.as_bytes()) })
    }
}

/// Signs access tokens.
#[derive(Clone)]
pub struct Signer {
    kid: String,
    key: EncodingKey,
}

impl Signer {
    /// An access token with these claims.
    ///
    /// # Errors
    /// `INTERNAL` if the key cannot be used.
    pub fn sign(&self, claims: &Claims) -> Result<String, Error> {
        let header =
            Header { typ: Some(TOKEN_TYPE.to_owned()), kid: Some(self.kid.clone()), ..Header::new(Algorithm::EdDSA) };
        jsonwebtoken::encode(&header, claims, &self.key).map_err(Error::internal)
    }
}

/// A key, or a name without a meaning, that only who knows `secret` can make: HMAC-SHA256.
pub fn derive(secret: &Secret, purpose: &str, of: &[u8]) -> [u8; 32] {
    // HMAC takes a key of any length; the error is of the trait, not of the algorithm.
    let mut mac =
        Hmac::<Sha256>::new_from_slice(secret.reveal().as_bytes()).unwrap_or_else(|_| Hmac::new(&Default::default()));
    mac.update(purpose.as_bytes());
    mac.update(b"\0");
    mac.update(of);
    mac.finalize().into_bytes().into()
}

#[cfg(test)]
mod tests {
    use super::*;

    const NOW: Timestamp = Timestamp::from_seconds(1_800_000_000);

    #[test]
    fn a_sealed_key_opens_with_its_secret_in_its_own_row_and_unaltered_only() {
        let vault = Vault::new(&Secret::new("one")).unwrap();
        let key = StoredKey::generate(&vault, true, NOW).unwrap();
        assert!(vault.open(&key).is_some());
        assert!(Vault::new(&Secret::new("two")).unwrap().open(&key).is_none());
        assert!(vault.open(&StoredKey { kid: "key_2".into(), ..key.clone() }).is_none());
        for position in 0..key.sealed.len() {
            let mut altered = key.clone();
            altered.sealed[position] ^= 1;
            assert!(vault.open(&altered).is_none(), "{position}");
        }
        assert!(vault.open(&StoredKey { sealed: vec![1; 5], ..key }).is_none());
    }

    #[test]
    fn a_successor_is_told_before_it_signs_and_the_old_key_outlives_its_tokens() {
        let vault = Vault::new(&Secret::new("one")).unwrap();
        assert_eq!(StoredKey::generate(&vault, true, NOW).unwrap().sign_time, NOW);
        let next = StoredKey::generate(&vault, false, NOW).unwrap();
        assert_eq!(next.sign_time, NOW + TOLD_BEFORE);
        let lifetime = Duration::from_secs(600);
        assert!(next.predecessor_expires(lifetime) > next.sign_time + lifetime);
    }

    #[test]
    fn derived_values_differ_by_secret_purpose_and_subject() {
        let secret = Secret::new("one");
        let one = derive(&secret, "a", b"b");
        assert_eq!(one, derive(&secret, "a", b"b"));
        for other in [derive(&secret, "a", b"c"), derive(&secret, "ab", b""), derive(&Secret::new("two"), "a", b"b")] {
            assert_ne!(one, other);
        }
    }
}
