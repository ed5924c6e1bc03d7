//! Verifies access tokens: EdDSA JWTs of type `at+jwt` (RFC 9068), against keys and revocations that the issuer tells
//! every process. No call is made to verify one, and a token that was verified before costs a hash and a look-up.

use std::{
    collections::HashMap,
    sync::{
        Arc,
        atomic::{AtomicI64, Ordering},
    },
};

use arc_swap::ArcSwap;
use base64::{Engine, engine::general_purpose::URL_SAFE_NO_PAD};
use jsonwebtoken::{Algorithm, DecodingKey, Validation};
use serde::{Deserialize, Serialize};
use sha2::{Digest, Sha256};

use crate::{
    Caller, Clock, Error, Timestamp,
    contract::{Access, Method},
};

/// The `typ` of an access token's header (RFC 9068 §2.1).
pub const TOKEN_TYPE: &str = "at+jwt";

/// Longer tokens are refused unread, in bytes.
const TOKEN_MAX: usize = 4 << 10;
/// How many verified tokens are remembered.
const CACHE_MAX: u64 = 50_000;
const KEY_LENGTH: usize = 32;

/// The claims of an access token (RFC 9068 §2.2; `sid` as in OpenID Connect).
#[derive(Clone, Debug, Serialize, Deserialize)]
pub struct Claims {
    /// Who issued the token.
    pub iss: String,
    /// The user.
    pub sub: String,
    /// Whom the token is for.
    pub aud: String,
    /// When it expires, in seconds since 1970.
    pub exp: i64,
    /// When it was issued, in seconds since 1970.
    pub iat: i64,
    /// Before when it is not yet good, in seconds since 1970.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub nbf: Option<i64>,
    /// The token's own id.
    pub jti: String,
    /// For which client it was issued: RFC 9068 requires it, and nothing here reads it.
    #[serde(default)]
    pub client_id: String,
    /// The session that the token belongs to.
    pub sid: String,
    /// The user's roles.
    #[serde(default)]
    pub roles: Vec<String>,
}

/// What the issuer tells. An empty change is a heartbeat.
#[derive(Clone, Debug, Default)]
pub struct KeysAndRevocations {
    /// Whether this is everything, and what was known before is to be forgotten.
    pub snapshot: bool,
    /// Keys that verify: the name, the Ed25519 key in base64url, and until when (nothing for the key that signs). In a
    /// change: all of them if they have changed, otherwise none.
    pub keys: Vec<(String, String, Option<Timestamp>)>,
    /// Sessions whose tokens are no longer good, and when the last of these has expired. In a change: the new ones.
    pub revocations: Vec<(String, Timestamp)>,
}

/// The keys and revocations that a process knows. Clones share them.
#[derive(Clone)]
pub struct Keyring(Arc<Ring>);

struct Ring {
    clock: Clock,
    state: ArcSwap<State>,
    /// Microseconds since 1970; 0 before the first word.
    heard: AtomicI64,
}

#[derive(Clone, Default)]
struct State {
    ready: bool,
    keys: Arc<Vec<Key>>,
    revoked: HashMap<String, Timestamp>,
}

struct Key {
    kid: String,
    x: String,
    expire: Option<Timestamp>,
    decoding: DecodingKey,
}

impl Keyring {
    /// A keyring that knows nothing yet and therefore trusts no token.
    pub fn new(clock: Clock) -> Self {
        Self(Arc::new(Ring { clock, state: ArcSwap::default(), heard: AtomicI64::new(0) }))
    }

    /// Takes in what the issuer told. Forgets revocations whose tokens have all expired.
    pub fn apply(&self, told: KeysAndRevocations) {
        let now = self.0.clock.now();
        if told.snapshot || !told.keys.is_empty() || !told.revocations.is_empty() {
            self.0.state.rcu(|state| state.changed(&told, now));
        }
        self.0.heard.store(now.micros(), Ordering::Relaxed);
    }

    /// Whether a snapshot with a key has been heard: before that, every token is refused.
    pub fn ready(&self) -> bool {
        self.0.state.load().ready
    }

    /// When the issuer was last heard, heartbeats included.
    pub fn last_heard(&self) -> Option<Timestamp> {
        match self.0.heard.load(Ordering::Relaxed) {
            0 => None,
            micros => Some(Timestamp::from_micros(micros)),
        }
    }

    /// The keys that verify tokens now, as a JSON Web Key Set (RFC 7517, RFC 8037).
    pub fn jwks(&self) -> String {
        let (state, now) = (self.0.state.load(), self.0.clock.now());
        let keys: Vec<_> = state
            .keys
            .iter()
            .filter(|key| key.good_at(now))
            .map(|Key { kid, x, .. }| {
                serde_json::json!({ "kty": "OKP", "crv": "Ed25519", "use": "sig", "alg": "EdDSA", "kid": kid, "x": x })
            })
            .collect();
        serde_json::json!({ "keys": keys }).to_string()
    }
}

impl State {
    fn changed(&self, told: &KeysAndRevocations, now: Timestamp) -> Self {
        let mut next = if told.snapshot { Self::default() } else { self.clone() };
        if !told.keys.is_empty() {
            next.keys = Arc::new(told.keys.iter().filter_map(Key::read).collect());
        }
        next.revoked.retain(|_, expire| *expire > now);
        next.revoked.extend(told.revocations.iter().filter(|(_, expire)| *expire > now).cloned());
        next.ready = !next.keys.is_empty();
        next
    }

    fn key(&self, kid: &str, now: Timestamp) -> Option<&Key> {
        self.keys.iter().find(|key| key.kid == kid && key.good_at(now))
    }
}

impl Key {
    /// A key of the wrong length is passed over: jsonwebtoken would panic on it.
    fn read((kid, x, expire): &(String, String, Option<Timestamp>)) -> Option<Self> {
        let bytes = URL_SAFE_NO_PAD.decode(x).ok().filter(|bytes| bytes.len() == KEY_LENGTH);
        let Some(bytes) = bytes else {
            tracing::error!(kid, "a public key is no Ed25519 key: tokens that it signed will be refused");
            return None;
        };
        Some(Self { kid: kid.clone(), x: x.clone(), expire: *expire, decoding: DecodingKey::from_ed_der(&bytes) })
    }

    fn good_at(&self, now: Timestamp) -> bool {
        self.expire.is_none_or(|expire| expire > now)
    }
}

/// Verifies access tokens. Clones share the memory of those already verified.
#[derive(Clone)]
pub struct Verifier {
    keyring: Keyring,
    clock: Clock,
    validation: Arc<Validation>,
    /// By the SHA-256 of the token.
    verified: moka::sync::Cache<[u8; 32], Verified>,
}

/// A token whose signature and claims were found right. What time may change is asked anew on every use.
#[derive(Clone)]
struct Verified {
    kid: Arc<str>,
    not_before: Timestamp,
    caller: Arc<Caller>,
}

impl Verifier {
    /// Accepts tokens that `issuer` issued for `audience` with a key of the keyring, and judges their times by `clock`.
    pub fn new(keyring: Keyring, clock: Clock, issuer: &str, audience: &str) -> Self {
        // The algorithm is ours to name, never the token's. Times are judged by our clock, below.
        let mut validation = Validation::new(Algorithm::EdDSA);
        validation.set_required_spec_claims(&["exp", "iss", "aud", "sub"]);
        validation.set_issuer(&[issuer]);
        validation.set_audience(&[audience]);
        validation.validate_exp = false;
        Self { keyring, clock, validation: Arc::new(validation), verified: moka::sync::Cache::new(CACHE_MAX) }
    }

    /// Who an `Authorization` header speaks for (RFC 6750). A public RPC asks nobody to log in, so a token that is no
    /// longer good is no hindrance there: who sends it has no name, and may log in.
    ///
    /// # Errors
    /// What [`Verifier::verify`] refuses.
    pub fn caller(&self, method: &Method, authorization: Option<&str>) -> Result<Option<Arc<Caller>>, Error> {
        let Some(authorization) = authorization else { return Ok(None) };
        let token = bearer(authorization)
            .ok_or_else(|| Error::named("TOKEN_INVALID", "Send `Authorization: Bearer <access token>`."))?;
        match self.verify(token) {
            Err(error)
                if method.policy.access == Access::Public
                    && matches!(error.reason(), "TOKEN_EXPIRED" | "TOKEN_REVOKED") =>
            {
                Ok(None)
            }
            verified => verified.map(Some),
        }
    }

    /// Who a token speaks for.
    ///
    /// # Errors
    /// `TOKEN_INVALID` if it is malformed, not for us or not signed by a key that is known; `TOKEN_EXPIRED`;
    /// `TOKEN_REVOKED` if its session has ended; `DEPENDENCY_UNAVAILABLE` while the keyring is not ready.
    pub fn verify(&self, token: &str) -> Result<Arc<Caller>, Error> {
        let (state, now) = (self.keyring.0.state.load(), self.clock.now());
        if token.len() > TOKEN_MAX {
            return Err(invalid("it is too long"));
        }
        if !state.ready {
            let message = "The keys that verify tokens are not known here yet. Try again.";
            return Err(Error::named("DEPENDENCY_UNAVAILABLE", message));
        }
        let digest = Sha256::digest(token).into();
        let known = self.verified.get(&digest);
        let verified = match &known {
            Some(verified) => verified.clone(),
            None => self.check(token, &state, now)?,
        };
        if verified.caller.token_expires <= now {
            let message = "The access token has expired. Refresh it, or log in again.";
            return Err(Error::named("TOKEN_EXPIRED", message));
        }
        if verified.not_before > now {
            return Err(invalid("it is not good yet"));
        }
        if state.key(&verified.kid, now).is_none() {
            return Err(invalid("its key is no longer in use"));
        }
        if state.revoked.contains_key(&verified.caller.session) {
            return Err(Error::named("TOKEN_REVOKED", "The session of this token has ended. Log in again."));
        }
        if known.is_none() {
            self.verified.insert(digest, verified.clone());
        }
        Ok(verified.caller)
    }

    /// Everything about a token that time does not change.
    fn check(&self, token: &str, state: &State, now: Timestamp) -> Result<Verified, Error> {
        let header = jsonwebtoken::decode_header(token).map_err(|_| invalid("it is no JWT of ours"))?;
        // RFC 9068 §4: `application/at+jwt` says the same; RFC 7515 §4.1.11: an extension that must be understood.
        let kind = header.typ.as_deref().unwrap_or_default().to_ascii_lowercase();
        if kind.strip_prefix("application/").unwrap_or(&kind) != TOKEN_TYPE || header.crit.is_some() {
            return Err(invalid("it is no access token"));
        }
        let kid = header.kid.ok_or_else(|| invalid("it names no key"))?;
        let key = state.key(&kid, now).ok_or_else(|| invalid("its key is unknown"))?;
        let Claims { sub, exp, nbf, sid, roles, .. } =
            jsonwebtoken::decode::<Claims>(token, &key.decoding, &self.validation)
                .map_err(|_| invalid("its signature or its claims are wrong"))?
                .claims;
        let token_expires = Timestamp::from_seconds(exp);
        let caller = Caller { user: sub, roles, session: sid, token_expires, token: token.into() };
        Ok(Verified {
            kid: kid.into(),
            not_before: Timestamp::from_seconds(nbf.unwrap_or(i64::MIN)),
            caller: Arc::new(caller),
        })
    }

    /// The keys that verify tokens now: see [`Keyring::jwks`].
    pub fn jwks(&self) -> String {
        self.keyring.jwks()
    }
}

fn invalid(why: &str) -> Error {
    Error::named("TOKEN_INVALID", format!("The access token is not accepted: {why}. Log in again."))
}

/// The token of an `Authorization: Bearer` header.
fn bearer(authorization: &str) -> Option<&str> {
    let (scheme, token) = authorization.split_once(' ')?;
    let token = token.trim();
    (scheme.eq_ignore_ascii_case("bearer") && !token.is_empty()).then_some(token)
}

#[cfg(test)]
mod tests;
