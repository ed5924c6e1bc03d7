//! Sessions, tokens, signing keys and roles. Passwords are verified by user; no email and no password is kept here.

mod bulletin;
mod events;
mod handler;
mod keys;
mod lockout;
mod role;
mod session;
mod store;

#[cfg(test)]
mod tests;

use std::{sync::Arc, time::Duration};

use contracts::auth::v1::auth_service_server::AuthServiceServer;
use kit::{
    Error,
    config::Secret,
    drain::Draining,
    link::{Link, Links},
};
use storage::{Db, Log, Migration, Unit, consumer, page::Tokens};
use tonic::service::Routes;

use crate::{
    bulletin::Bulletin,
    keys::{StoredKey, Vault},
};
pub use crate::{lockout::Patience, session::Lifetimes};

/// The tables of this service, oldest first.
pub const MIGRATIONS: &[Migration] =
    &[Migration { version: 1, name: "auth", sql: include_str!("../migrations/0001_auth.sql") }];

/// How often old rows and old keys are looked after.
const UPKEEP: Duration = Duration::from_secs(60);
/// For how long what is over stays, to be looked at.
const KEPT: Duration = Duration::from_secs(24 * 60 * 60);

/// What can be set. Secrets are the same for all replicas.
#[derive(Clone, Debug)]
pub struct Settings {
    /// Signs page tokens.
    pub page_secret: Secret,
    /// Seals signing keys, and hides emails in the count of failed logins.
    pub key_secret: Secret,
    /// Who issues the tokens: the claim `iss`.
    pub issuer: String,
    /// Whom they are for: the claim `aud`.
    pub audience: String,
    /// How long tokens and sessions last.
    pub lifetimes: Lifetimes,
    /// How long a key signs before the next takes over.
    pub signing_key_lifetime: Duration,
    /// What happens after wrong passwords.
    pub patience: Patience,
    /// How many sessions a user may have: one more ends the oldest.
    pub sessions_max: i64,
}

impl Default for Settings {
    fn default() -> Self {
        let day = Duration::from_secs(24 * 60 * 60);
        Self {
            page_secret: Secret::random(),
            key_secret: Secret::random(),
            issuer: "agora".to_owned(),
            audience: "agora".to_owned(),
            lifetimes: Lifetimes { access_token: Duration::from_secs(600), session: day * 30 },
            signing_key_lifetime: day * 30,
            patience: Patience::default(),
            sessions_max: 1_000,
        }
    }
}

/// Gives roles to a user beside those it has, past every RPC: for the people of a demo, and for whoever operates a platform.
/// Ends the logins from before, and says so; but changes nothing for who has them already.
///
/// # Errors
/// What the database refuses.
pub async fn grant(db: &Db, user_id: &str, roles: &[&str]) -> Result<bool, Error> {
    let granted = db.write(async |unit| {
        let account = store::lock_account(unit, user_id).await?;
        let added = roles.iter().map(|role| (*role).to_owned());
        let wanted: Vec<_> = account.roles.iter().cloned().chain(added).collect();
        match account.with_roles(&wanted, unit.now()) {
            Some(account) => store::save_account(unit, &account).await.map(|()| true),
            None => Ok(false),
        }
    });
    granted.await
}

/// The auth service. Clones are the same service.
#[derive(Clone)]
pub struct Service(Arc<Inner>);

struct Inner {
    db: Db,
    user: Link,
    pages: Tokens,
    bulletin: Arc<Bulletin>,
    settings: Settings,
}

impl Service {
    /// Makes the service, and its first signing key if there is none. It calls `user`.
    ///
    /// # Errors
    /// What the database refuses.
    pub async fn new(db: Db, links: &Links, settings: Settings) -> Result<Self, Error> {
        let bulletin = Arc::new(Bulletin::new(Vault::new(&settings.key_secret)?));
        let pages = Tokens::new(settings.page_secret.reveal());
        let service = Self(Arc::new(Inner { db, user: links.to("user"), pages, bulletin, settings }));
        service.0.bulletin.look(&service.0.db).await?;
        service.rotate_if_due().await?;
        Ok(service)
    }

    /// The RPCs of this service.
    pub fn routes(&self) -> Routes {
        Routes::new(AuthServiceServer::new(self.clone()))
    }

    /// Tells keys and revocations, follows `user-events`, rotates keys and removes what is over, until drained.
    pub async fn run(self, log: Log, draining: Draining) {
        let follower = consumer::Consumer { group: "auth", topics: events::TOPICS, db: self.0.db.clone(), log };
        tokio::join!(
            self.0.bulletin.run(&self.0.db, draining.clone()),
            consumer::run(follower, events::Reactions, draining.clone()),
            self.keep_up(&draining),
        );
    }

    async fn keep_up(&self, draining: &Draining) {
        let clock = self.0.db.clock().clone();
        while !draining.is_set() {
            if let Err(error) = self.rotate_if_due().await {
                tracing::warn!(%error, "the signing key could not be rotated; trying again");
            }
            if let Err(error) = self.sweep().await {
                tracing::warn!(%error, "what is over could not be removed; trying again");
            }
            tokio::select! {
                () = clock.sleep(UPKEEP) => {}
                () = draining.wait() => {}
            }
        }
    }

    /// Takes a new key into use if none can sign, or the newest has signed for its time.
    async fn rotate_if_due(&self) -> Result<(), Error> {
        let rotated = self.0.db.write(async |unit| {
            let now = unit.now();
            let keys = store::keys(unit, now).await?;
            let fresh = |key: &StoredKey| key.create_time + self.0.settings.signing_key_lifetime > now;
            match keys.first() {
                Some(newest) if fresh(newest) && self.0.bulletin.vault().open(newest).is_some() => Ok(false),
                _ => self.rotate(unit).await.map(|_| true),
            }
        });
        if rotated.await? {
            self.0.bulletin.look(&self.0.db).await?;
        }
        Ok(())
    }

    /// Adds a key. It signs once everyone knows it, and its predecessor verifies until its last token has expired.
    async fn rotate(&self, unit: &mut Unit) -> Result<StoredKey, Error> {
        let now = unit.now();
        let keys = store::keys(unit, now).await?;
        let vault = self.0.bulletin.vault();
        let first = !keys.iter().any(|key| vault.open(key).is_some());
        let key = StoredKey::generate(vault, first, now)?;
        let expire = key.predecessor_expires(self.0.settings.lifetimes.access_token);
        store::insert_key(unit, &key, expire).await?;
        Ok(key)
    }

    async fn sweep(&self) -> Result<(), Error> {
        let Settings { lifetimes, patience, .. } = &self.0.settings;
        loop {
            let swept = self.0.db.write(async |unit| {
                let now = unit.now();
                store::sweep(unit, now - KEPT, now - lifetimes.session, now - patience.forget).await
            });
            if !swept.await? {
                return Ok(());
            }
        }
    }
}
