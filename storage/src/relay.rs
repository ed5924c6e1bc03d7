//! The relay: carries committed facts from a context's outbox to the log, in order per aggregate, at least once. The log
//! leaves out what it has, so each fact is there once.

use std::time::Duration;

use kit::{Error, drain::Draining};
use tokio::select;

use crate::{
    db::{Db, many::REMOVE},
    event::Event,
    failpoint,
    idle::Idle,
    log::{FENCED, Lease, Log},
    session::Session,
    unit::Unit,
};

/// How many facts travel together.
const BATCH: i64 = 256;
/// The longest pause between looks at an outbox that was empty.
const LONGEST_PAUSE: Duration = Duration::from_secs(1);
/// The pause after a fault.
const AFTER_FAULT: Duration = Duration::from_millis(500);

/// Relays until the drain. Every process that writes to the database runs one; the lease lets one of them work.
pub async fn run(db: Db, log: Log, draining: Draining) {
    let _work = draining.in_flight();
    let mut relay = Relay::new(db, log);
    select! {
        () = draining.wait() => {}
        () = relay.keep_going() => {}
    }
    relay.leave().await;
}

struct Relay {
    db: Db,
    log: Log,
    holder: String,
    lease: Option<Lease>,
    /// The last fact that was looked at. Aggregates take turns: the next batch begins after it.
    after: (String, i64),
}

impl Relay {
    fn new(db: Db, log: Log) -> Self {
        let holder = kit::id::new("relay", db.now());
        Self { db, log, holder, lease: None, after: (String::new(), 0) }
    }

    async fn keep_going(&mut self) {
        let mut hint = self.db.committed();
        let mut idle = Idle::new(LONGEST_PAUSE);
        loop {
            hint.borrow_and_update();
            match self.step().await {
                Ok(true) => idle.busy(),
                Ok(false) => idle.wait(&mut hint).await,
                Err(error) => {
                    tracing::warn!(%error, database = self.db.name(), "the relay tries again");
                    tokio::time::sleep(AFTER_FAULT).await;
                }
            }
        }
    }

    /// Carries one batch. Says whether there may be more.
    async fn step(&mut self) -> Result<bool, Error> {
        let from_the_start = self.after.0.is_empty();
        let facts = self.next().await?;
        let after = match facts.last() {
            Some(last) if facts.len() as i64 == BATCH => (last.aggregate.clone(), last.sequence),
            // The end of the outbox: the next look begins at its start.
            _ => (String::new(), 0),
        };
        if facts.is_empty() {
            self.after = after;
            return Ok(!from_the_start);
        }
        let Some(lease) = self.lease().await? else { return Ok(false) };
        for (topic, facts) in by_topic(&facts) {
            match self.log.append(&lease, &topic, facts).await {
                Ok(()) => {}
                Err(error) if error.reason() == FENCED => {
                    self.lease = None;
                    return Ok(false);
                }
                Err(error) => return Err(error),
            }
        }
        failpoint::hit_in(self.db.name(), "relay-after-append");
        self.remove(&facts).await?;
        self.after = after;
        Ok(true)
    }

    async fn next(&self) -> Result<Vec<Event>, Error> {
        const NEXT: &str = "SELECT topic, 0, id, type, aggregate, sequence, time, trace, payload FROM outbox
            WHERE (aggregate, sequence) > ($1, $2) ORDER BY aggregate, sequence LIMIT $3";
        let binds = [(&self.after.0).into(), self.after.1.into(), BATCH.into()];
        let rows = self.db.read(async |session: &mut Session| session.rows(NEXT, &binds).await).await?;
        rows.iter().map(|row| Event::read(row, 0)).collect()
    }

    /// Removes what the log has.
    async fn remove(&self, facts: &[Event]) -> Result<(), Error> {
        let rows = facts.iter().map(|fact| vec![(&fact.aggregate).into(), fact.sequence.into()]).collect();
        self.db.write(async |unit: &mut Unit| unit.exec_each(REMOVE, rows).await).await.map(|_| ())
    }

    async fn lease(&mut self) -> Result<Option<Lease>, Error> {
        if self.lease.is_none() {
            self.lease = self.log.lease(&format!("relay/{}", self.db.name()), &self.holder).await?;
        }
        Ok(self.lease.clone())
    }

    async fn leave(&mut self) {
        if let Some(lease) = self.lease.take() {
            // Not ours any more, or out of reach: it expires by itself.
            let _ = self.log.release(&lease).await;
        }
    }
}

/// The facts of each topic, in their order.
fn by_topic(facts: &[Event]) -> Vec<(String, Vec<Event>)> {
    let mut topics: Vec<(String, Vec<Event>)> = Vec::new();
    for fact in facts {
        match topics.iter_mut().find(|(topic, _)| *topic == fact.topic) {
            Some((_, facts)) => facts.push(fact.clone()),
            None => topics.push((fact.topic.clone(), vec![fact.clone()])),
        }
    }
    topics
}
