//! Accounts, credentials and what people keep in them. Passwords, their hashes and personal data stay here and in
//! `user-events`; everyone else knows a person by id.

mod address;
mod handler;
mod password;
mod store;
mod user;

#[cfg(test)]
mod tests;

use std::{num::NonZero, sync::Arc, time::Duration};

use contracts::user::v1::user_service_server::UserServiceServer;
use kit::{Error, config::Secret, drain::Draining, link::Links};
use storage::{Db, Log, Migration, page::Tokens};
use tonic::service::Routes;

pub use crate::password::Cost;
use crate::password::Hasher;

/// The tables of this service, oldest first.
pub const MIGRATIONS: &[Migration] =
    &[Migration { version: 1, name: "users", sql: include_str!("../migrations/0001_users.sql") }];

/// What can be set.
#[derive(Clone, Debug)]
pub struct Settings {
    /// Signs page tokens. The same for all replicas.
    pub page_secret: Secret,
    /// What a password hash costs.
    pub cost: Cost,
    /// How many hashes are computed at once: each takes a core and the memory of its cost.
    pub hashes_at_once: NonZero<usize>,
    /// How long a call waits for its turn to hash, before it is refused as OVERLOADED.
    pub hash_wait: Duration,
    /// How many addresses one user may keep.
    pub addresses_max: i64,
}

impl Default for Settings {
    fn default() -> Self {
        Self {
            page_secret: Secret::random(),
            cost: Cost::default(),
            hashes_at_once: std::thread::available_parallelism().unwrap_or(NonZero::<usize>::MIN),
            hash_wait: Duration::from_secs(2),
            addresses_max: 100,
        }
    }
}

/// Whose account has this email, if anybody's has; past every RPC, for whoever operates a platform.
///
/// # Errors
/// What the database refuses.
pub async fn id_of(db: &Db, email: &str) -> Result<Option<String>, Error> {
    let known = db.read(async |session| store::credential(session, &user::normalise(email)).await).await?;
    Ok(known.map(|credential| credential.user_id))
}

/// The user service. Clones are the same service.
#[derive(Clone)]
pub struct Service(Arc<Inner>);

struct Inner {
    db: Db,
    hasher: Hasher,
    pages: Tokens,
    addresses_max: i64,
}

impl Service {
    /// Makes the service. It calls nobody.
    ///
    /// # Errors
    /// `INTERNAL` if the cost of a hash is out of range.
    pub async fn new(db: Db, _links: &Links, settings: Settings) -> Result<Self, Error> {
        let hasher = Hasher::new(settings.cost, settings.hashes_at_once, settings.hash_wait).await?;
        let pages = Tokens::new(settings.page_secret.reveal());
        Ok(Self(Arc::new(Inner { db, hasher, pages, addresses_max: settings.addresses_max })))
    }

    /// The RPCs of this service.
    pub fn routes(&self) -> Routes {
        Routes::new(UserServiceServer::new(self.clone()))
    }

    /// The background work of this service: there is none.
    pub async fn run(self, _log: Log, draining: Draining) {
        draining.wait().await;
    }

    /// Opens an account with an id of the caller's choice, unless the email has one. For the people of a demo.
    ///
    /// # Errors
    /// What the database and the hasher refuse.
    pub async fn seed(&self, id: &str, email: &str, password: &str, display_name: &str) -> Result<(), Error> {
        if id_of(&self.0.db, email).await?.is_some() {
            return Ok(());
        }
        match storage::again(|| self.open(id, email, password, display_name)).await {
            // Another replica was faster.
            Err(error) if error.reason() == "ALREADY_EXISTS_EMAIL" => Ok(()),
            opened => opened.map(drop),
        }
    }
}
