//! A consumer: follows topics of the log and does, for each fact, one thing in its own database, once.
//!
//! The effect, the inbox row and the offset are saved in one unit. Facts of an aggregate are followed in the order 1, 2,
//! 3, …: one that comes too early waits, and one that is refused is put aside together with those after it, while
//! other aggregates go on.

use std::{future::Future, panic::AssertUnwindSafe, time::Duration};

use futures::FutureExt;
use kit::{Error, drain::Draining};
use tokio::select;

pub use crate::inbox::{DeadLetter, dead_letters, release};
use crate::{
    db::Db,
    event::Event,
    failpoint,
    idle::Idle,
    inbox::{self, Place},
    log::Log,
    session::Session,
    trace,
    unit::Unit,
};

/// How many facts share a unit.
const BATCH: i64 = 32;
/// How often a fact is tried before it is put aside. A definitive refusal is put aside at once.
const ATTEMPTS: u32 = 5;
/// The pause after the first failure; it doubles with each.
const PAUSE: Duration = Duration::from_millis(20);
/// The pause after a fault that is not of a fact.
const AFTER_FAULT: Duration = Duration::from_millis(500);
/// The longest pause between looks at a log that had nothing new.
const LONGEST_LOOK: Duration = Duration::from_millis(250);

/// Who follows which topics.
#[derive(Clone)]
pub struct Consumer {
    /// Who follows: its offsets and its inbox bear this name. Processes with the same group share the work.
    pub group: &'static str,
    /// What it follows, each topic from its first record on.
    pub topics: &'static [&'static str],
    /// Where the effects are saved.
    pub db: Db,
    /// Where the facts come from.
    pub log: Log,
}

/// What a consumer does with a fact. Effects go through the unit; a fact that means nothing to it is `Ok(())`.
pub trait Handler: Send + Sync {
    /// Does what follows from `event`. Runs again if the unit could not be saved.
    fn handle(&self, unit: &mut Unit, event: &Event) -> impl Future<Output = Result<(), Error>> + Send;
}

/// Follows until the drain.
pub async fn run(consumer: Consumer, handler: impl Handler, draining: Draining) {
    let _work = draining.in_flight();
    let topics =
        consumer.topics.iter().map(|topic| Followed { topic, next: None, batch: BATCH, failures: 0 }).collect();
    let mut follower = Follower { consumer, handler, topics };
    select! {
        () = draining.wait() => {}
        () = follower.keep_going() => {}
    }
}

struct Follower<H> {
    consumer: Consumer,
    handler: H,
    topics: Vec<Followed>,
}

/// How far a topic has been followed.
struct Followed {
    topic: &'static str,
    /// The next offset, once it is known.
    next: Option<i64>,
    /// How many facts to take at once: one after a fault, to find out whose it is.
    batch: i64,
    /// How often the next fact has failed.
    failures: u32,
}

/// What became of a batch.
enum Outcome {
    /// Everything up to this offset is done.
    Done(i64),
    /// Everything before this offset is done; the fact there failed and may be tried again.
    Stuck(i64, Error),
    /// Another process has followed meanwhile.
    Overtaken,
}

impl<H: Handler> Follower<H> {
    async fn keep_going(&mut self) {
        let mut hint = self.consumer.log.grown();
        let mut idle = Idle::new(LONGEST_LOOK);
        loop {
            hint.borrow_and_update();
            let mut found = self.retry_released().await;
            for index in 0..self.topics.len() {
                found |= self.step(index).await;
            }
            match found {
                true => idle.busy(),
                false => idle.wait(&mut hint).await,
            }
        }
    }

    /// Follows one batch of one topic. Says whether there was anything to do.
    async fn step(&mut self, index: usize) -> bool {
        let (topic, batch, failures) = {
            let followed = &self.topics[index];
            (followed.topic, followed.batch, followed.failures)
        };
        let result = self.follow(index, topic, batch, failures).await;
        let followed = &mut self.topics[index];
        let error = match result {
            Ok(None) => return false,
            Ok(Some(Outcome::Done(next))) => {
                *followed = Followed { topic, next: Some(next), batch: (batch * 2).min(BATCH), failures: 0 };
                return true;
            }
            Ok(Some(Outcome::Overtaken)) => {
                followed.next = None;
                return true;
            }
            Ok(Some(Outcome::Stuck(offset, error))) => {
                followed.failures = if followed.next == Some(offset) { failures + 1 } else { 1 };
                followed.next = Some(offset);
                error
            }
            // The unit as a whole failed: the database is away, or one of its facts takes too long.
            Err(error) => {
                let slow = batch == 1 && error.reason() == "DEADLINE_EXCEEDED";
                followed.failures = if slow { failures + 1 } else { 0 };
                followed.next = None;
                error
            }
        };
        followed.batch = 1;
        let pause = match followed.failures {
            0 => AFTER_FAULT,
            failures => PAUSE.saturating_mul(1 << failures.min(10)),
        };
        tracing::warn!(%error, consumer = self.consumer.group, topic, "a fact is tried again");
        tokio::time::sleep(pause).await;
        true
    }

    async fn follow(&mut self, index: usize, topic: &str, batch: i64, failures: u32) -> Result<Option<Outcome>, Error> {
        let Consumer { group, db, log, .. } = &self.consumer;
        let next = match self.topics[index].next {
            Some(next) => next,
            None => inbox::offset(db, group, topic).await?,
        };
        self.topics[index].next = Some(next);
        let events = log.read(topic, next, batch).await?;
        if events.is_empty() {
            return Ok(None);
        }
        let (handler, last_try) = (&self.handler, failures + 1 >= ATTEMPTS);
        let outcome = db
            .write(async |unit: &mut Unit| {
                if !inbox::at(unit, group, topic, next).await? {
                    return Ok(Outcome::Overtaken);
                }
                let mut outcome = Outcome::Done(next);
                for (position, event) in events.iter().enumerate() {
                    match one(unit, group, handler, event).await {
                        Ok(()) => outcome = Outcome::Done(event.offset + 1),
                        Err(error) if error.definitive() || (position == 0 && last_try) => {
                            put_aside(unit, group, event, &error).await?;
                            outcome = Outcome::Done(event.offset + 1);
                        }
                        Err(error) => {
                            outcome = Outcome::Stuck(event.offset, error);
                            break;
                        }
                    }
                }
                if let Outcome::Done(next) | Outcome::Stuck(next, _) = outcome {
                    inbox::set_offset(unit, group, topic, next).await?;
                }
                failpoint::hit_in(db.name(), "consumer-before-commit");
                Ok(outcome)
            })
            .await;
        match outcome {
            Ok(outcome) => Ok(Some(outcome)),
            // The one fact of the unit takes too long or brings the unit down, again and again.
            Err(error) if batch == 1 && last_try && error.reason() == "DEADLINE_EXCEEDED" => {
                self.skip(topic, next, &events, &error).await.map(Some)
            }
            Err(error) => Err(error),
        }
    }

    /// Puts the first fact aside in a unit without the handler.
    async fn skip(&self, topic: &str, next: i64, events: &[Event], error: &Error) -> Result<Outcome, Error> {
        let Consumer { group, db, .. } = &self.consumer;
        let Some(event) = events.first() else { return Ok(Outcome::Done(next)) };
        db.write(async |unit: &mut Unit| {
            if !inbox::at(unit, group, topic, next).await? {
                return Ok(Outcome::Overtaken);
            }
            put_aside(unit, group, event, error).await?;
            inbox::set_offset(unit, group, topic, event.offset + 1).await?;
            Ok(Outcome::Done(event.offset + 1))
        })
        .await
    }

    /// Tries again what an operator has released.
    async fn retry_released(&self) -> bool {
        let Consumer { group, db, .. } = &self.consumer;
        let released = db.read(async |session: &mut Session| inbox::released(session, group).await).await;
        let released = released.unwrap_or_default();
        for event in &released {
            let retried = db.write(async |unit: &mut Unit| retry(unit, group, &self.handler, event).await).await;
            if let Err(error) = retried {
                tracing::warn!(%error, consumer = group, fact = event.id, "a released fact is tried again");
                tokio::time::sleep(PAUSE).await;
            }
        }
        !released.is_empty()
    }
}

/// Handles an event if it is its turn, and then those that waited for it; its failure undoes only itself.
async fn one(unit: &mut Unit, group: &str, handler: &impl Handler, event: &Event) -> Result<(), Error> {
    match handled(unit, group, handler, event).await? {
        Place::Next { parked: true } => {}
        Place::Next { parked: false } | Place::Known => return Ok(()),
        Place::Early => {
            return inbox::park(unit, group, event, inbox::WAITING, "an earlier fact is missing").await;
        }
    }
    let mut done = event.sequence;
    while let Some(waiting) = inbox::waiting(unit, group, &event.aggregate, done + 1).await? {
        let result = unit
            .attempt(async |unit: &mut Unit| {
                inbox::unpark(unit, group, &waiting).await?;
                handled(unit, group, handler, &waiting).await
            })
            .await;
        if let Err(error) = result {
            return inbox::mark(unit, group, &waiting, inbox::POISON, &error.to_string()).await;
        }
        done = waiting.sequence;
    }
    Ok(())
}

/// Finds the event's place and, if it is its turn, does what follows from it.
async fn handled(unit: &mut Unit, group: &str, handler: &impl Handler, event: &Event) -> Result<Place, Error> {
    unit.attempt(async |unit: &mut Unit| {
        let place = inbox::advance(unit, group, event).await?;
        if let Place::Next { .. } = place {
            let call = trace::following(event, group, unit.time_limit());
            let handled = AssertUnwindSafe(kit::call::run(call, handler.handle(unit, event))).catch_unwind().await;
            handled.unwrap_or_else(|_| Err(Error::internal(format!("the handler of {group} panicked"))))?;
        }
        Ok(place)
    })
    .await
}

async fn put_aside(unit: &mut Unit, group: &str, event: &Event, error: &Error) -> Result<(), Error> {
    tracing::error!(%error, consumer = group, fact = event.id, aggregate = event.aggregate, "a fact is put aside");
    inbox::park(unit, group, event, inbox::POISON, &error.to_string()).await
}

/// Tries a released fact again; what fails again is poison again.
async fn retry(unit: &mut Unit, group: &str, handler: &impl Handler, event: &Event) -> Result<(), Error> {
    let result = unit
        .attempt(async |unit: &mut Unit| {
            inbox::unpark(unit, group, event).await?;
            one(unit, group, handler, event).await
        })
        .await;
    match result {
        Ok(()) => Ok(()),
        Err(error) => inbox::mark(unit, group, event, inbox::POISON, &error.to_string()).await,
    }
}
