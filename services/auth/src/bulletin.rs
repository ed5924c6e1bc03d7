//! The bulletin: which keys verify tokens and which sessions have ended, read from the database several times a second
//! (another replica may have written it) and told to every workload that follows.

use std::{collections::BTreeMap, sync::Arc, time::Duration};

use contracts::{
    auth::v1::{Revocation, WatchKeysAndRevocationsResponse},
    r#type::v1::Reason,
};
use futures::Stream;
use kit::{Error, Timestamp, drain::Draining};
use storage::Db;
use tokio::{
    sync::{Semaphore, watch},
    time::timeout,
};
use tonic::Status;

use crate::{
    keys::{Signer, StoredKey, Vault},
    store,
};

/// How often other replicas' changes are looked for. Those of this process are seen at once.
const TICK: Duration = Duration::from_millis(200);
/// The shortest time between two looks.
const PAUSE: Duration = Duration::from_millis(10);
/// How far back each look goes, since a unit elsewhere may commit late and by another clock. Far more than a unit's
/// time limit.
const OVERLAP: Duration = Duration::from_secs(60);
/// How often a follower hears something.
const HEARTBEAT: Duration = Duration::from_secs(5);
/// How many may follow at once.
const FOLLOWERS_MAX: usize = 1_000;

/// What is told. Cheap to clone.
#[derive(Clone, Default)]
struct Told {
    /// The newest first.
    keys: Arc<Vec<StoredKey>>,
    /// Those of the keys that can sign, in the same order.
    signers: Arc<Vec<(Timestamp, Signer)>>,
    revoked: Arc<BTreeMap<String, Timestamp>>,
    /// When the database was last read.
    looked: Timestamp,
    /// Whether this process is about to end.
    closed: bool,
}

/// What every workload is told.
pub struct Bulletin {
    told: watch::Sender<Told>,
    followers: Arc<Semaphore>,
    vault: Vault,
}

impl Bulletin {
    /// An empty bulletin. Keys that `vault` cannot open verify, but do not sign.
    pub fn new(vault: Vault) -> Self {
        let followers = Arc::new(Semaphore::new(FOLLOWERS_MAX));
        Self { told: watch::Sender::new(Told::default()), followers, vault }
    }

    /// What opens the private halves of keys.
    pub fn vault(&self) -> &Vault {
        &self.vault
    }

    /// The keys that verify tokens, the newest first.
    pub fn keys(&self) -> Arc<Vec<StoredKey>> {
        self.told.borrow().keys.clone()
    }

    /// The key that signs now: the newest that everyone knows, or else the oldest.
    ///
    /// # Errors
    /// `DEPENDENCY_UNAVAILABLE` without any.
    pub fn signer(&self, now: Timestamp) -> Result<Signer, Error> {
        let signers = self.told.borrow().signers.clone();
        let ripe = signers.iter().find(|(sign_time, _)| *sign_time <= now).or(signers.last());
        ripe.map(|(_, signer)| signer.clone())
            .ok_or_else(|| Error::new(Reason::DependencyUnavailable, "There is no key to sign with yet. Try again."))
    }

    /// Reads the database and tells what is new.
    ///
    /// # Errors
    /// What the database refuses.
    pub async fn look(&self, db: &Db) -> Result<(), Error> {
        let (before, now) = (self.told.borrow().clone(), db.clock().now());
        let since = before.looked - OVERLAP;
        let (keys, ended) = db
            .snapshot(async |session| {
                Ok((store::keys(session, now).await?, store::revocations(session, since, now).await?))
            })
            .await?;
        let mut next = Told { looked: now, ..before.clone() };
        if *before.keys != keys {
            next.signers = Arc::new(self.openable(&keys));
            next.keys = Arc::new(keys);
        }
        let over = before.revoked.values().any(|expire| *expire <= now);
        if over || ended.iter().any(|(session, _)| !before.revoked.contains_key(session)) {
            let mut revoked = before.revoked.as_ref().clone();
            revoked.extend(ended);
            revoked.retain(|_, expire| *expire > now);
            next.revoked = Arc::new(revoked);
        }
        self.told.send_if_modified(|told| {
            let new = !Arc::ptr_eq(&told.keys, &next.keys) || !Arc::ptr_eq(&told.revoked, &next.revoked);
            next.closed = told.closed;
            *told = next;
            new
        });
        Ok(())
    }

    fn openable(&self, keys: &[StoredKey]) -> Vec<(Timestamp, Signer)> {
        let open = |key: &StoredKey| {
            let signer = self.vault.open(key);
            if signer.is_none() {
                tracing::warn!(
                    kid = key.kid,
                    "a signing key was sealed with another secret: it verifies, but never signs"
                );
            }
            Some((key.sign_time, signer?))
        };
        keys.iter().filter_map(open).collect()
    }

    /// Looks whenever this process has written, and several times a second for what others wrote, until drained. Then
    /// every follower's stream ends.
    pub async fn run(&self, db: &Db, draining: Draining) {
        let mut committed = db.committed();
        while !draining.is_set() {
            if let Err(error) = self.look(db).await {
                tracing::warn!(%error, "keys and revocations could not be read; trying again");
                tokio::time::sleep(TICK).await;
            }
            tokio::time::sleep(PAUSE).await;
            tokio::select! {
                // Whether by a commit, by time or by the end of the database: the next look finds out.
                _ = timeout(TICK, committed.changed()) => {}
                () = draining.wait() => {}
            }
        }
        self.told.send_modify(|told| told.closed = true);
    }

    /// Everything, and then each change, with heartbeats between.
    ///
    /// # Errors
    /// `OVERLOADED` if too many follow.
    pub fn follow(
        self: &Arc<Self>,
    ) -> Result<impl Stream<Item = Result<WatchKeysAndRevocationsResponse, Status>> + Send + 'static, Error> {
        let place = self.followers.clone().try_acquire_owned();
        let place = place.map_err(|_| Error::new(Reason::Overloaded, "Too many follow keys and revocations."))?;
        let mut changes = self.told.subscribe();
        Ok(async_stream::stream! {
            let _place = place;
            let mut told = changes.borrow_and_update().clone();
            yield Ok(told.all());
            while !told.closed {
                match timeout(HEARTBEAT, changes.changed()).await {
                    Ok(Ok(())) => {
                        let next = changes.borrow_and_update().clone();
                        yield Ok(next.since(&told));
                        told = next;
                    }
                    Ok(Err(_)) => break,
                    Err(_) => yield Ok(WatchKeysAndRevocationsResponse::default()),
                }
            }
        })
    }
}

impl Told {
    fn all(&self) -> WatchKeysAndRevocationsResponse {
        WatchKeysAndRevocationsResponse { snapshot: true, ..self.since(&Self::default()) }
    }

    fn since(&self, before: &Self) -> WatchKeysAndRevocationsResponse {
        let keys = if self.keys == before.keys { Vec::new() } else { self.keys.iter().map(StoredKey::shown).collect() };
        let new = self.revoked.iter().filter(|(session, _)| !before.revoked.contains_key(*session));
        let revocations = new
            .map(|(session, expire)| Revocation { session_id: session.clone(), expire_time: Some(expire.to_proto()) });
        WatchKeysAndRevocationsResponse { snapshot: false, keys, revocations: revocations.collect() }
    }
}
