//! Idempotency keys: an effect, its key and its reply are saved in one unit, so a repeat finds the reply and an effect
//! happens once. A definitive refusal is stored as well; a fault of ours or of a neighbour never is.

use std::time::Duration;

use kit::{Call, Error, Timestamp, drain::Draining};
use prost::Message;
use sha2::{Digest, Sha256};

use crate::{
    db::{Db, flush},
    error::LOCKED,
    session::Session,
    unit::Unit,
    value::{Bind, Row},
};

/// How many old keys one unit removes.
const SWEEP: i64 = 500;
const BETWEEN_SWEEPS: Duration = Duration::from_secs(3_600);

/// Who asked for what under which request id.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Key {
    /// A user's id, or `service/order`: a key belongs to whoever sent it.
    pub principal: String,
    /// The RPC's path.
    pub method: String,
    /// The caller's `request_id`.
    pub request_id: String,
    /// SHA-256 of the request: another request under the same key is refused.
    pub fingerprint: [u8; 32],
}

impl Key {
    /// The key of the request that `call` carries; `None` without a `request_id`, which makes every repeat a new request.
    pub fn of(call: &Call, request_id: &str, request: &impl Message) -> Option<Self> {
        let method = call.method.as_ref().map_or("background", |method| method.path.as_str());
        Self::new(call.principal(), method, request_id, request)
    }

    /// The key of a request; `None` without a `request_id`, which makes every repeat a new request.
    pub fn new(
        principal: impl Into<String>,
        method: impl Into<String>,
        request_id: &str,
        request: &impl Message,
    ) -> Option<Self> {
        if request_id.is_empty() {
            return None;
        }
        Some(Self {
            principal: principal.into(),
            method: method.into(),
            request_id: request_id.to_owned(),
            fingerprint: Sha256::digest(request.encode_to_vec()).into(),
        })
    }

    /// The key as text, for a row in which work of several units finds it again.
    pub fn to_text(&self) -> String {
        serde_json::json!([self.principal, self.method, self.request_id]).to_string()
    }

    /// Reads what [`Key::to_text`] wrote. The fingerprint is left out: it has done its work when the key was taken.
    ///
    /// # Errors
    /// `INTERNAL` if the text is something else.
    pub fn from_text(text: &str) -> Result<Self, Error> {
        let [principal, method, request_id]: [String; 3] = serde_json::from_str(text).map_err(Error::internal)?;
        Ok(Self { principal, method, request_id, fingerprint: [0; 32] })
    }

    pub(crate) fn binds(&self) -> [Bind; 3] {
        [(&self.principal).into(), (&self.method).into(), (&self.request_id).into()]
    }
}

/// What a key stands for.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum State {
    InProgress,
    Answered,
    Refused,
}

impl State {
    pub(crate) fn as_str(self) -> &'static str {
        match self {
            Self::InProgress => "IN_PROGRESS",
            Self::Answered => "ANSWERED",
            Self::Refused => "REFUSED",
        }
    }
}

/// What [`Db::begin`] found.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum Begun<R, Reply> {
    /// The first unit is saved and the key is in progress: go on, and end with [`Unit::finish`].
    Started(R),
    /// The same request was answered before.
    Finished(Reply),
}

impl Db {
    /// Runs `work` once per key: a repeat gets the stored reply, or the stored refusal. Without a key it just runs.
    ///
    /// # Errors
    /// What [`Db::write`] and `work` refuse; `IDEMPOTENCY_KEY_REUSED` for another request under the same key;
    /// `REQUEST_IN_PROGRESS` while the same request is being worked on.
    pub async fn once<R: Message + Default>(
        &self,
        key: Option<Key>,
        work: impl AsyncFnOnce(&mut Unit) -> Result<R, Error>,
    ) -> Result<R, Error> {
        let Some(key) = key else { return self.write(work).await };
        let begun = self
            .under(&key, async |unit: &mut Unit| {
                let reply = work(unit).await?;
                unit.finish(&key, &reply);
                Ok(reply)
            })
            .await?;
        match begun {
            Begun::Started(reply) | Begun::Finished(reply) => Ok(reply),
        }
    }

    /// Runs the first unit of work that takes several, once per key, and leaves the key in progress. The last unit
    /// calls [`Unit::finish`] or [`Unit::refuse`].
    ///
    /// # Errors
    /// See [`Db::once`].
    pub async fn begin<R, Reply: Message + Default>(
        &self,
        key: Option<Key>,
        work: impl AsyncFnOnce(&mut Unit) -> Result<R, Error>,
    ) -> Result<Begun<R, Reply>, Error> {
        match key {
            Some(key) => self.under(&key, work).await,
            None => self.write(work).await.map(Begun::Started),
        }
    }

    /// Takes the key and runs `work` in the same unit, or finds what is stored.
    async fn under<R, Reply: Message + Default>(
        &self,
        key: &Key,
        work: impl AsyncFnOnce(&mut Unit) -> Result<R, Error>,
    ) -> Result<Begun<R, Reply>, Error> {
        let mut taken = false;
        let begun = self
            .write(async |unit: &mut Unit| match take(unit, key).await? {
                Some(stored) => Ok(Begun::Finished(stored)),
                None => {
                    taken = true;
                    work(unit).await.map(Begun::Started)
                }
            })
            .await;
        match begun {
            Ok(Begun::Started(reply)) => Ok(Begun::Started(reply)),
            Ok(Begun::Finished(stored)) => stored.answer().map(Begun::Finished),
            Err(error) if taken && error.definitive() => self.keep_refusal(key, error).await.map(Begun::Finished),
            Err(error) => Err(error),
        }
    }

    /// The refused unit is undone, so the refusal is stored by one of its own. Whoever took the key in between has
    /// decided: its answer is the answer.
    async fn keep_refusal<Reply: Message + Default>(&self, key: &Key, error: Error) -> Result<Reply, Error> {
        let stored = self
            .write(async |unit: &mut Unit| {
                let stored = take(unit, key).await?;
                if stored.is_none() {
                    unit.refuse(key, &error);
                }
                Ok(stored)
            })
            .await?;
        match stored {
            Some(stored) => stored.answer(),
            None => Err(error),
        }
    }
}

impl Unit {
    /// Stores the reply under its key, if and when this unit commits.
    pub fn finish(&mut self, key: &Key, reply: &impl Message) {
        let bytes = reply.encode_to_vec();
        self.pending.replies.push(flush::Reply { key: key.clone(), state: State::Answered, bytes });
    }

    /// Stores a refusal under its key, if and when this unit commits.
    pub fn refuse(&mut self, key: &Key, error: &Error) {
        let bytes = error.encode();
        self.pending.replies.push(flush::Reply { key: key.clone(), state: State::Refused, bytes });
    }
}

/// Takes a key that is free; otherwise what is stored under it. On PostgreSQL this waits for another transaction that
/// holds the key.
async fn take(unit: &mut Unit, key: &Key) -> Result<Option<Stored>, Error> {
    const TAKE: &str = "INSERT INTO idempotency_keys (principal, method, request_id, fingerprint, state, reply, time)
        VALUES ($1, $2, $3, $4, 'IN_PROGRESS', NULL, $5) ON CONFLICT (principal, method, request_id) DO NOTHING";

    let [principal, method, request_id] = key.binds();
    let binds = [principal, method, request_id, key.fingerprint.as_slice().into(), unit.now().into()];
    loop {
        match unit.exec(TAKE, &binds).await {
            Ok(0) => {}
            Ok(_) => return Ok(None),
            Err(error) if error.reason() == LOCKED => return Err(in_progress(key)),
            Err(error) => return Err(error),
        }
        match stored(unit, key).await? {
            Some(stored) if stored.fingerprint != key.fingerprint => return Err(reused(key)),
            // Perhaps a unit of the same group has answered it, and the reply is yet to be written.
            Some(Stored { state: State::InProgress, .. }) if unit.connection.leave_company().await? => {}
            Some(Stored { state: State::InProgress, .. }) => return Err(in_progress(key)),
            Some(stored) => return Ok(Some(stored)),
            // Swept away between the two statements.
            None => return Err(in_progress(key)),
        }
    }
}

struct Stored {
    fingerprint: Vec<u8>,
    state: State,
    reply: Vec<u8>,
}

impl Stored {
    fn read(row: &Row) -> Result<Self, Error> {
        let state = match row.text(1)?.as_str() {
            "ANSWERED" => State::Answered,
            "REFUSED" => State::Refused,
            _ => State::InProgress,
        };
        Ok(Self { fingerprint: row.bytes(0)?, state, reply: row.optional_bytes(2)?.unwrap_or_default() })
    }

    fn answer<Reply: Message + Default>(self) -> Result<Reply, Error> {
        if self.state == State::Refused {
            let unreadable = || Error::internal("a stored refusal cannot be read");
            return Err(Error::decode(&self.reply).unwrap_or_else(unreadable));
        }
        Reply::decode(self.reply.as_slice()).map_err(Error::internal)
    }
}

async fn stored(session: &mut Session, key: &Key) -> Result<Option<Stored>, Error> {
    const FIND: &str = "SELECT fingerprint, state, reply FROM idempotency_keys
        WHERE principal = $1 AND method = $2 AND request_id = $3";
    session.row(FIND, &key.binds()).await?.as_ref().map(Stored::read).transpose()
}

/// Removes answered keys from before `until`, a few hundred a unit so that nobody waits long. Returns how many.
/// Keys in progress stay: somebody still has to finish them.
///
/// # Errors
/// See [`Db::write`].
pub async fn sweep(db: &Db, until: Timestamp) -> Result<u64, Error> {
    const REMOVE: &str = "DELETE FROM idempotency_keys WHERE (principal, method, request_id) IN
        (SELECT principal, method, request_id FROM idempotency_keys
         WHERE time < $1 AND state <> 'IN_PROGRESS' ORDER BY time LIMIT $2)";

    let mut removed = 0;
    loop {
        let swept = db.write(async |unit: &mut Unit| unit.exec(REMOVE, &[until.into(), SWEEP.into()]).await).await?;
        removed += swept;
        if swept < SWEEP.unsigned_abs() {
            return Ok(removed);
        }
    }
}

/// Keeps answered keys for `retention` and sweeps once an hour until the drain.
pub async fn keep_swept(db: Db, retention: Duration, draining: Draining) {
    let sweeping = async {
        loop {
            match sweep(&db, db.now() - retention).await {
                Ok(removed) => tracing::debug!(removed, database = db.name(), "old idempotency keys are swept"),
                Err(error) => tracing::warn!(%error, database = db.name(), "the sweep tries again in an hour"),
            }
            db.clock().sleep(BETWEEN_SWEEPS).await;
        }
    };
    tokio::select! {
        () = draining.wait() => {}
        () = sweeping => {}
    }
}

fn in_progress(key: &Key) -> Error {
    let message = "The same request is being worked on. Repeat it in a moment to get its answer.";
    Error::named("REQUEST_IN_PROGRESS", message)
        .with("request_id", &key.request_id)
        .retry_after(Duration::from_millis(200))
}

fn reused(key: &Key) -> Error {
    let message = "This request_id was used for another request. Send a new one with each new request.";
    Error::named("IDEMPOTENCY_KEY_REUSED", message).with("request_id", &key.request_id)
}
