//! The session: a login that lasts as long as it is refreshed, and its refresh tokens, of which each works once.

use std::time::Duration;

use base64::{Engine, engine::general_purpose::URL_SAFE_NO_PAD};
use contracts::r#type::v1::Reason;
use kit::{Error, Timestamp};
use sha2::{Digest, Sha256};

/// How long things last.
#[derive(Clone, Copy, Debug)]
pub struct Lifetimes {
    /// An access token.
    pub access_token: Duration,
    /// A session that is not refreshed.
    pub session: Duration,
}

/// A login that lasts.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Session {
    /// `ses_…`.
    pub id: String,
    /// Who logged in.
    pub user_id: String,
    /// What the caller said it is.
    pub device: String,
    /// When the login began, before the password was verified.
    pub create_time: Timestamp,
    /// When it was last refreshed.
    pub refresh_time: Timestamp,
    /// When it ends unless it is refreshed.
    pub expire_time: Timestamp,
    /// When its last access token expires.
    pub token_expire_time: Timestamp,
    /// When it ended before its time.
    pub end_time: Option<Timestamp>,
}

impl Session {
    /// Opens a session for a login that began at `began`.
    pub fn open(user_id: &str, device: &str, began: Timestamp, now: Timestamp, lifetimes: &Lifetimes) -> Self {
        let session = Self {
            id: kit::id::new("ses", now),
            user_id: user_id.to_owned(),
            device: device.to_owned(),
            create_time: began,
            refresh_time: now,
            expire_time: now,
            token_expire_time: now,
            end_time: None,
        };
        session.extended(now, lifetimes)
    }

    /// The session after a refresh.
    ///
    /// # Errors
    /// `TOKEN_REVOKED` if it has ended, `TOKEN_EXPIRED` if it was not refreshed in time.
    pub fn refresh(&self, now: Timestamp, lifetimes: &Lifetimes) -> Result<Self, Error> {
        if self.end_time.is_some() {
            return Err(ended());
        }
        if self.expire_time <= now {
            return Err(Error::new(Reason::TokenExpired, "The session has expired. Log in again."));
        }
        Ok(self.clone().extended(now, lifetimes))
    }

    fn extended(self, now: Timestamp, lifetimes: &Lifetimes) -> Self {
        Self {
            refresh_time: now,
            expire_time: now + lifetimes.session,
            // A JWT tells times in whole seconds.
            token_expire_time: Timestamp::from_seconds((now + lifetimes.access_token).seconds()),
            ..self
        }
    }
}

/// The answer to a token of a session that has ended.
pub fn ended() -> Error {
    Error::new(Reason::TokenRevoked, "The session has ended. Log in again.")
}

/// A new refresh token: 256 random bits.
pub fn refresh_token() -> String {
    URL_SAFE_NO_PAD.encode(rand::random::<[u8; 32]>())
}

/// What is stored of a refresh token. It is random, so a fast hash is as good as a slow one.
pub fn hash(refresh_token: &str) -> Vec<u8> {
    Sha256::digest(refresh_token).to_vec()
}

#[cfg(test)]
mod tests {
    use super::*;

    const NOW: Timestamp = Timestamp::from_micros(1_800_000_000_500_000);
    const LIFETIMES: Lifetimes =
        Lifetimes { access_token: Duration::from_secs(600), session: Duration::from_secs(3_600) };

    #[test]
    fn a_session_lasts_as_long_as_it_is_refreshed() {
        crate::tests::install_contract();
        let session = Session::open("usr_1", "phone", NOW, NOW, &LIFETIMES);
        assert_eq!(session.token_expire_time, Timestamp::from_seconds(1_800_000_600));
        let later = NOW + Duration::from_secs(3_599);
        let refreshed = session.refresh(later, &LIFETIMES).unwrap();
        assert_eq!((refreshed.create_time, refreshed.expire_time), (NOW, later + LIFETIMES.session));
        let late = session.refresh(NOW + Duration::from_secs(3_600), &LIFETIMES).unwrap_err();
        assert_eq!(late.reason(), "TOKEN_EXPIRED");
        let gone = Session { end_time: Some(later), ..session };
        assert_eq!(gone.refresh(later, &LIFETIMES).unwrap_err().reason(), "TOKEN_REVOKED");
    }

    #[test]
    fn refresh_tokens_are_long_and_never_the_same() {
        assert_eq!(refresh_token().len(), 43);
        assert_ne!(refresh_token(), refresh_token());
        assert_ne!(hash("a"), hash("b"));
    }
}
