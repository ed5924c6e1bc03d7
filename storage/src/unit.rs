//! A unit: what is saved together or not at all. Rows of history, facts and stored replies are buffered and written
//! at its end.

use std::{
    ops::{Deref, DerefMut},
    time::Duration,
};

use kit::{Error, Timestamp};
use prost::{Message, Name};

use crate::{db::flush, session::Session};

/// What is saved together, or not at all. Obtained from [`crate::Db::write`]; everything a [`Session`] can, and more.
pub struct Unit {
    pub(crate) session: Session,
    pub(crate) pending: flush::Pending,
    now: Timestamp,
    time_limit: Duration,
}

/// Something that became true, told to whoever follows the message's topic.
pub struct Fact<'a, M> {
    /// The id of what changed. All facts about it go to one topic.
    pub aggregate: &'a str,
    /// 1, 2, 3, … per aggregate, without a gap.
    pub sequence: i64,
    /// The wrapper message that carries the `topic` option.
    pub message: &'a M,
}

/// A step in the history of an aggregate.
pub struct Change<'a> {
    /// The id of what changed.
    pub aggregate: &'a str,
    /// 1, 2, 3, … per aggregate. A number that is taken refuses the unit with `SERIALIZATION_FAILURE`.
    pub sequence: i64,
    /// The state before; empty at birth.
    pub from: &'a str,
    /// The state after.
    pub to: &'a str,
    /// Whatever else the aggregate wants to remember of the step.
    pub detail: Vec<u8>,
}

impl Unit {
    pub(crate) fn new(session: Session, now: Timestamp, time_limit: Duration) -> Self {
        Self { session, pending: flush::Pending::default(), now, time_limit }
    }

    /// How long the whole unit may take.
    pub(crate) fn time_limit(&self) -> Duration {
        self.time_limit
    }

    /// The time of the unit: the same for everything in it.
    pub fn now(&self) -> Timestamp {
        self.now
    }

    /// Publishes a fact, if and when this unit commits.
    ///
    /// # Errors
    /// `INTERNAL` if the contract names no topic for the message.
    pub fn fact<M: Message + Name>(&mut self, fact: &Fact<'_, M>) -> Result<(), Error> {
        let name = M::full_name();
        let contract = kit::contract::installed();
        let topic = contract.topic(&name).ok_or_else(|| Error::internal(format!("{name} belongs to no topic")))?;
        self.pending.facts.push(flush::Outgoing {
            id: kit::id::new("evt", self.now),
            topic: topic.to_owned(),
            kind: name,
            aggregate: fact.aggregate.to_owned(),
            sequence: fact.sequence,
            time: self.now,
            trace: crate::trace::current(),
            payload: fact.message.encode_to_vec(),
        });
        Ok(())
    }

    /// Adds a step to the history of an aggregate, if and when this unit commits.
    pub fn history(&mut self, change: &Change<'_>) {
        self.pending.changes.push(flush::Step {
            aggregate: change.aggregate.to_owned(),
            sequence: change.sequence,
            from: change.from.to_owned(),
            to: change.to.to_owned(),
            time: self.now,
            detail: change.detail.clone(),
        });
    }

    /// Runs `work` so that its failure undoes only itself: neither the rows it wrote nor those it buffered remain.
    ///
    /// # Errors
    /// What `work` refuses.
    pub async fn attempt<R>(&mut self, work: impl AsyncFnOnce(&mut Unit) -> Result<R, Error>) -> Result<R, Error> {
        self.batch("SAVEPOINT attempt").await?;
        let before = self.pending.mark();
        let result = work(self).await.and_then(|reply| self.session.alive().map(|()| reply));
        if result.is_err() {
            self.session.forgive();
            self.pending.truncate(before);
            self.batch("ROLLBACK TO attempt; RELEASE attempt").await?;
        } else {
            self.batch("RELEASE attempt").await?;
        }
        result
    }
}

impl Deref for Unit {
    type Target = Session;

    fn deref(&self) -> &Session {
        &self.session
    }
}

impl DerefMut for Unit {
    fn deref_mut(&mut self) -> &mut Session {
        &mut self.session
    }
}
