//! The user: what may change, and which fact each change makes true.

use contracts::{
    r#type::v1::Reason,
    user::v1::{PasswordChanged, Preferences, UserCreated, UserUpdated, user_event::Event},
};
use kit::{Error, Timestamp};

const DEFAULT_LANGUAGE: &str = "en";
const DEFAULT_CURRENCY: &str = "USD";

/// A person with an account, without the password.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct User {
    /// `usr_…`.
    pub id: String,
    /// In lower case.
    pub email: String,
    /// How the person is addressed.
    pub display_name: String,
    /// A BCP 47 language.
    pub language: String,
    /// The currency in which values are shown.
    pub currency: String,
    /// 1, 2, 3, …: a fact each.
    pub version: i64,
    /// When the account was opened.
    pub create_time: Timestamp,
    /// When it last changed.
    pub update_time: Timestamp,
}

/// Something to change.
#[derive(Clone, Debug)]
pub enum Change<'a> {
    /// How the person is addressed.
    Profile {
        /// The new name.
        display_name: &'a str,
    },
    /// What the person prefers. An empty value is the default.
    Preferences(&'a Preferences),
    /// The password, which is kept elsewhere.
    Password,
}

impl User {
    /// Opens an account.
    pub fn open(id: &str, email: &str, display_name: &str, now: Timestamp) -> (Self, Event) {
        let user = Self {
            id: id.to_owned(),
            email: normalise(email),
            display_name: display_name.to_owned(),
            language: DEFAULT_LANGUAGE.to_owned(),
            currency: DEFAULT_CURRENCY.to_owned(),
            version: 1,
            create_time: now,
            update_time: now,
        };
        let created = UserCreated { email: user.email.clone(), display_name: user.display_name.clone() };
        (user, Event::UserCreated(created))
    }

    /// Makes a change to those of its fields that `mask` names; nothing if they are as they should be.
    ///
    /// # Errors
    /// `INVALID_FIELD` if the mask names what cannot be changed.
    pub fn change(&self, change: &Change<'_>, mask: &[String], now: Timestamp) -> Result<Option<(Self, Event)>, Error> {
        let mut next = self.clone();
        match change {
            Change::Profile { display_name } => {
                if masked(mask, "display_name", display_name, &["display_name"])? {
                    (*display_name).clone_into(&mut next.display_name);
                }
            }
            Change::Preferences(Preferences { language, currency }) => {
                let fields = ["language", "currency"];
                if masked(mask, "language", language, &fields)? {
                    next.language = or_default(language, DEFAULT_LANGUAGE);
                }
                if masked(mask, "currency", currency, &fields)? {
                    next.currency = or_default(currency, DEFAULT_CURRENCY);
                }
            }
            Change::Password => {}
        }
        if next == *self && !matches!(change, Change::Password) {
            return Ok(None);
        }
        next.version += 1;
        next.update_time = now;
        let event = match change {
            Change::Password => Event::PasswordChanged(PasswordChanged {}),
            Change::Profile { .. } | Change::Preferences(_) => Event::UserUpdated(UserUpdated {
                email: next.email.clone(),
                display_name: next.display_name.clone(),
                language: next.language.clone(),
            }),
        };
        Ok(Some((next, event)))
    }

    /// What stands for this version of the account.
    pub fn etag(&self) -> String {
        format!("\"v{}\"", self.version)
    }

    /// Refuses a change that was based on another version. An empty etag is based on any.
    ///
    /// # Errors
    /// `ETAG_MISMATCH`.
    pub fn check_etag(&self, etag: &str) -> Result<(), Error> {
        if etag.is_empty() || etag == self.etag() {
            return Ok(());
        }
        let message = "The account has changed since you read it. Read it again, and repeat your change.";
        Err(Error::new(Reason::EtagMismatch, message).with("etag", self.etag()))
    }
}

/// An email as accounts know it: Alice@Example.com is alice@example.com.
pub fn normalise(email: &str) -> String {
    email.trim().to_lowercase()
}

/// Whether a mask names `field`, one of those that can be changed. `*` names all of them, no mask all that have a value
/// (AIP-134). The etag guards a change, so it may be named as well.
fn masked(mask: &[String], field: &str, value: &str, changeable: &[&str]) -> Result<bool, Error> {
    let known = |path: &str| path == "*" || path == "etag" || changeable.contains(&path);
    if let Some(path) = mask.iter().find(|path| !known(path)) {
        let message = format!("`{path}` cannot be changed. `update_mask` may name: {}.", changeable.join(", "));
        let refusal = Error::new(Reason::InvalidField, &message).with("field", "update_mask");
        return Err(refusal.violation("update_mask", message));
    }
    let named = mask.iter().any(|path| path == "*" || path == field);
    Ok(named || (mask.is_empty() && !value.is_empty()))
}

fn or_default(value: &str, default: &str) -> String {
    if value.is_empty() { default.to_owned() } else { value.to_owned() }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn alice() -> User {
        User::open("usr_1", " Alice@Example.COM", "Alice", Timestamp::from_seconds(1)).0
    }

    fn mask(paths: &[&str]) -> Vec<String> {
        paths.iter().map(|path| (*path).to_owned()).collect()
    }

    #[test]
    fn an_account_is_opened_with_its_email_in_lower_case_and_sensible_preferences() {
        let (user, event) = User::open("usr_1", " Alice@Example.COM", "Alice", Timestamp::from_seconds(1));
        assert_eq!((user.email.as_str(), user.version, user.etag()), ("alice@example.com", 1, "\"v1\"".to_owned()));
        assert_eq!((user.language.as_str(), user.currency.as_str()), ("en", "USD"));
        let created = UserCreated { email: "alice@example.com".into(), display_name: "Alice".into() };
        assert_eq!(event, Event::UserCreated(created));
    }

    #[test]
    fn only_what_the_mask_names_changes_and_every_change_is_a_fact() {
        let preferences = Preferences { language: "de-CH".into(), currency: "CHF".into() };
        let change = Change::Preferences(&preferences);
        let later = Timestamp::from_seconds(2);
        let (user, event) = alice().change(&change, &mask(&["currency"]), later).unwrap().unwrap();
        assert_eq!((user.language.as_str(), user.currency.as_str(), user.version), ("en", "CHF", 2));
        assert_eq!(user.update_time, later);
        assert!(matches!(event, Event::UserUpdated(UserUpdated { language, .. }) if language == "en"));
        let (user, _) = alice().change(&change, &[], later).unwrap().unwrap();
        assert_eq!((user.language.as_str(), user.currency.as_str()), ("de-CH", "CHF"));
        let francs = Preferences { language: String::new(), currency: "CHF".into() };
        let (user, _) = user.change(&Change::Preferences(&francs), &mask(&["*"]), later).unwrap().unwrap();
        assert_eq!((user.language.as_str(), user.currency.as_str()), ("en", "CHF"));
        assert_eq!(user.change(&Change::Preferences(&francs), &[], later).unwrap(), None);
    }

    #[test]
    fn a_change_that_changes_nothing_is_no_fact_but_a_password_always_is_one() {
        let same = Change::Profile { display_name: "Alice" };
        assert_eq!(alice().change(&same, &[], Timestamp::from_seconds(2)).unwrap(), None);
        let (user, event) = alice().change(&Change::Password, &[], Timestamp::from_seconds(2)).unwrap().unwrap();
        assert_eq!((user.version, event), (2, Event::PasswordChanged(PasswordChanged {})));
    }

    #[test]
    fn a_mask_that_names_what_cannot_be_changed_is_refused() {
        crate::tests::install_contract();
        let change = Change::Profile { display_name: "A" };
        for path in ["email", "id", "displayName", ""] {
            let refused = alice().change(&change, &mask(&["display_name", path]), Timestamp::default()).unwrap_err();
            assert_eq!(refused.reason(), "INVALID_FIELD", "{path}");
        }
        assert!(alice().change(&change, &mask(&["display_name", "etag"]), Timestamp::default()).unwrap().is_some());
    }

    #[test]
    fn a_change_based_on_another_version_is_refused() {
        crate::tests::install_contract();
        assert!(alice().check_etag("").is_ok() && alice().check_etag("\"v1\"").is_ok());
        assert_eq!(alice().check_etag("\"v2\"").unwrap_err().reason(), "ETAG_MISMATCH");
    }
}
