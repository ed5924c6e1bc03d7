//! Pages by keyset (AIP-158). A page token holds the sort keys of the last row that was sent, signed together with what
//! was asked for, so that a token neither opens another list nor survives a changed filter.

use base64::{Engine, engine::general_purpose::URL_SAFE_NO_PAD};
use hmac::{Hmac, Mac};
use kit::{Error, Timestamp};
use sha2::Sha256;

const DEFAULT_PAGE_SIZE: i64 = 50;
const MAX_PAGE_SIZE: i64 = 200;
const MAX_TOKEN_LENGTH: usize = 2_048;
const TAG_LENGTH: usize = 32;

/// How many rows to send for a `page_size`: 0 means 50, more than 200 means 200.
///
/// # Errors
/// `INVALID_FIELD` if it is negative.
pub fn page_size(requested: i32) -> Result<i64, Error> {
    match i64::from(requested) {
        0 => Ok(DEFAULT_PAGE_SIZE),
        size if size < 0 => {
            let message = "`page_size` is negative. Leave it out for the default.";
            Err(Error::named("INVALID_FIELD", message)
                .with("field", "page_size")
                .violation("page_size", "must not be negative"))
        }
        size => Ok(size.min(MAX_PAGE_SIZE)),
    }
}

/// Makes and checks page tokens. All processes of a service share the secret.
#[derive(Clone)]
pub struct Tokens {
    keyed: Hmac<Sha256>,
}

impl Tokens {
    /// Tokens signed with `secret`, HMAC-SHA256.
    pub fn new(secret: impl AsRef<[u8]>) -> Self {
        // HMAC takes a key of any length, an empty one too; the error is of the trait, not of the algorithm.
        let keyed = Hmac::new_from_slice(secret.as_ref()).unwrap_or_else(|_| Hmac::new(&Default::default()));
        Self { keyed }
    }

    /// The token for the page after the row with these sort keys. `scope` says what was asked for: the list, its
    /// filter, its order and the caller.
    pub fn encode(&self, scope: &str, keys: &[String]) -> String {
        let mut token = Vec::new();
        for key in keys {
            // A key is a column of ours, far below 4 GiB.
            token.extend_from_slice(&u32::try_from(key.len()).unwrap_or(u32::MAX).to_be_bytes());
            token.extend_from_slice(key.as_bytes());
        }
        let tag = self.mac(scope, &token).finalize().into_bytes();
        token.extend_from_slice(&tag);
        URL_SAFE_NO_PAD.encode(token)
    }

    /// The sort keys in a token of this scope; `None` for the empty token of a first page.
    ///
    /// # Errors
    /// `INVALID_PAGE_TOKEN` if the token is not ours, was altered, or belongs to another list, filter or caller.
    pub fn decode(&self, token: &str, scope: &str) -> Result<Option<Vec<String>>, Error> {
        if token.is_empty() {
            return Ok(None);
        }
        self.open(token, scope).map(Some).ok_or_else(|| {
            let message = "`page_token` is not one that this list gave out. Repeat the call without it, and keep filter \
                           and order the same from page to page.";
            Error::named("INVALID_PAGE_TOKEN", message).with("field", "page_token")
        })
    }

    /// Where the next page of a list begins that is sorted by time and id, the newest first: after these sort keys. Those
    /// for the first page are above all.
    ///
    /// # Errors
    /// See [`Tokens::decode`].
    pub fn after(&self, token: &str, scope: &str) -> Result<(Timestamp, String), Error> {
        let first = (Timestamp::from_micros(i64::MAX), String::new());
        let Some(keys) = self.decode(token, scope)? else { return Ok(first) };
        match keys.as_slice() {
            [time, id] => Ok((Timestamp::from_micros(time.parse().map_err(Error::internal)?), id.clone())),
            _ => Err(Error::internal("a page token of this list has other sort keys")),
        }
    }

    /// Cuts off the one row that was read beyond `size`, which says that there is a next page, and makes its token.
    pub fn cut<T>(
        &self,
        mut rows: Vec<T>,
        size: i64,
        scope: &str,
        keys: impl Fn(&T) -> (Timestamp, &String),
    ) -> (Vec<T>, String) {
        let size = usize::try_from(size).unwrap_or(usize::MAX);
        let more = rows.len() > size;
        rows.truncate(size);
        let token = rows.last().filter(|_| more).map(|last| {
            let (time, id) = keys(last);
            self.encode(scope, &[time.micros().to_string(), id.clone()])
        });
        (rows, token.unwrap_or_default())
    }

    fn open(&self, token: &str, scope: &str) -> Option<Vec<String>> {
        if token.len() > MAX_TOKEN_LENGTH {
            return None;
        }
        let bytes = URL_SAFE_NO_PAD.decode(token).ok()?;
        let (mut rest, tag) = bytes.split_at_checked(bytes.len().checked_sub(TAG_LENGTH)?)?;
        self.mac(scope, rest).verify_slice(tag).ok()?;
        let mut keys = Vec::new();
        while !rest.is_empty() {
            let (length, after) = rest.split_first_chunk()?;
            let (key, after) = after.split_at_checked(usize::try_from(u32::from_be_bytes(*length)).ok()?)?;
            keys.push(std::str::from_utf8(key).ok()?.to_owned());
            rest = after;
        }
        Some(keys)
    }

    fn mac(&self, scope: &str, keys: &[u8]) -> Hmac<Sha256> {
        let mut mac = self.keyed.clone();
        mac.update(&(scope.len() as u64).to_be_bytes());
        mac.update(scope.as_bytes());
        mac.update(keys);
        mac
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn keys() -> Vec<String> {
        vec!["2026-01-01".to_owned(), "ord_1".to_owned()]
    }

    #[test]
    fn a_token_gives_back_its_keys_to_the_list_that_made_it() {
        let tokens = Tokens::new("a secret");
        let token = tokens.encode("orders user:usr_1", &keys());
        assert_eq!(tokens.decode(&token, "orders user:usr_1").unwrap(), Some(keys()));
        assert_eq!(tokens.decode("", "orders user:usr_1").unwrap(), None);
        assert_eq!(Tokens::new("a secret").decode(&token, "orders user:usr_1").unwrap(), Some(keys()));
    }

    #[test]
    fn a_token_of_another_list_secret_or_caller_is_refused() {
        let tokens = Tokens::new("a secret");
        let token = tokens.encode("orders user:usr_1", &keys());
        for scope in ["orders user:usr_2", "entries user:usr_1", ""] {
            assert_eq!(tokens.decode(&token, scope).unwrap_err().reason(), "INVALID_PAGE_TOKEN");
        }
        let other = Tokens::new("another secret");
        assert_eq!(other.decode(&token, "orders user:usr_1").unwrap_err().reason(), "INVALID_PAGE_TOKEN");
    }

    #[test]
    fn no_changed_character_and_no_garbage_is_taken_for_a_token() {
        let tokens = Tokens::new("a secret");
        let token = tokens.encode("orders", &keys());
        for position in 0..token.len() {
            let mut forged = token.clone().into_bytes();
            forged[position] = if forged[position] == b'A' { b'B' } else { b'A' };
            let forged = String::from_utf8(forged).unwrap();
            assert!(tokens.decode(&forged, "orders").is_err(), "{position}");
        }
        for garbage in ["x", "====", "not a token", &"A".repeat(43), &"A".repeat(100_000)] {
            assert!(tokens.decode(garbage, "orders").is_err());
        }
    }

    #[test]
    fn a_list_by_time_goes_on_after_the_last_row_that_was_sent() {
        let tokens = Tokens::new("a secret");
        let rows = |count: i64| (0..count).map(|n| (Timestamp::from_micros(n), format!("ord_{n}"))).collect::<Vec<_>>();
        assert_eq!(tokens.cut(rows(2), 2, "orders", |row| (row.0, &row.1)).1, "");
        let (page, token) = tokens.cut(rows(3), 2, "orders", |row| (row.0, &row.1));
        assert_eq!(page.len(), 2);
        assert_eq!(tokens.after(&token, "orders").unwrap(), page[1]);
        assert!(tokens.after("", "orders").unwrap() > page[1]);
    }

    #[test]
    fn a_page_has_at_least_one_row_and_at_most_two_hundred() {
        assert_eq!(page_size(0).unwrap(), 50);
        assert_eq!(page_size(1).unwrap(), 1);
        assert_eq!(page_size(i32::MAX).unwrap(), 200);
        assert_eq!(page_size(-1).unwrap_err().reason(), "INVALID_FIELD");
    }
}
