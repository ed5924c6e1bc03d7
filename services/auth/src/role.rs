//! The roles of a user.

use contracts::{auth::v1::RoleBinding, r#type::v1::Reason};
use kit::{Error, Timestamp};

const EVERYONE: &str = "customer";

/// What auth knows of a user.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Account {
    /// `usr_…`.
    pub user_id: String,
    /// In alphabetical order.
    pub roles: Vec<String>,
    /// How often the roles were changed.
    pub version: i64,
    /// A login that began before this is not good any more: its password, or its roles, have changed.
    pub valid_from: Timestamp,
}

impl Account {
    /// A user of whom nothing was said yet.
    pub fn new(user_id: &str) -> Self {
        let roles = vec![EVERYONE.to_owned()];
        Self { user_id: user_id.to_owned(), roles, version: 0, valid_from: Timestamp::default() }
    }

    /// The account with other roles; nothing if they are the same.
    pub fn with_roles(&self, roles: &[String], now: Timestamp) -> Option<Self> {
        let mut roles = roles.to_vec();
        roles.sort_unstable();
        roles.dedup();
        (roles != self.roles).then(|| Self { roles, version: self.version + 1, valid_from: now, ..self.clone() })
    }

    /// Refuses a change that was based on other roles. An empty etag is based on any.
    ///
    /// # Errors
    /// `ETAG_MISMATCH`.
    pub fn check_etag(&self, etag: &str) -> Result<(), Error> {
        if etag.is_empty() || etag == self.etag() {
            return Ok(());
        }
        let message = "The roles have changed since you read them. Read them again, and repeat your change.";
        Err(Error::new(Reason::EtagMismatch, message).with("etag", self.etag()))
    }

    /// The roles as the contract shows them.
    pub fn binding(&self) -> RoleBinding {
        RoleBinding { user_id: self.user_id.clone(), roles: self.roles.clone(), etag: self.etag() }
    }

    fn etag(&self) -> String {
        format!("\"v{}\"", self.version)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn everyone_is_a_customer_until_told_otherwise() {
        crate::tests::install_contract();
        let account = Account::new("usr_1");
        assert_eq!((account.binding().roles, account.etag()), (vec!["customer".to_owned()], "\"v0\"".to_owned()));
        let now = Timestamp::from_seconds(9);
        let promoted = account.with_roles(&["support".into(), "admin".into(), "admin".into()], now).unwrap();
        assert_eq!((promoted.roles.join(" "), promoted.version, promoted.valid_from), ("admin support".into(), 1, now));
        assert_eq!(promoted.with_roles(&["support".into(), "admin".into()], now), None);
        assert_eq!(promoted.check_etag("\"v0\"").unwrap_err().reason(), "ETAG_MISMATCH");
    }
}
