//! The line of units that want to write, and the connection that a writer lends to the one whose turn it is.
//!
//! A group holds its locks until it commits, so where units want the same rows, groups get into each other's way. Whenever
//! a unit has waited for rows in company in vain, groups become half as large; after a while without that they grow again.

use std::{
    collections::VecDeque,
    mem,
    sync::{
        Mutex, MutexGuard, PoisonError,
        atomic::{AtomicUsize, Ordering::Relaxed},
    },
    time::Duration,
};

use kit::Error;
use sqlx::postgres::PgConnection;
use tokio::{
    sync::{Semaphore, oneshot},
    time::timeout,
};

use super::statement::{Answer, Statement};
use crate::{
    db::{flush::Pending, trust::Trust},
    error::{overloaded, unavailable},
};

/// How many units may stand in line.
const LONGEST: usize = 4_096;

/// After so many commits without a collision, groups may have one unit more.
const CALM: usize = 256;

/// Whoever has stood in line for so long calls a writer of the reserve.
const LATE: Duration = Duration::from_millis(5);

/// How a caller hears whether its unit was committed.
pub(super) type Receipt = oneshot::Sender<Result<(), Error>>;

/// First come, first served, by a few writers, and by those of a reserve when these do not keep up: units that wait for one
/// writer share a transaction, which costs less than one for each, as long as the wait is short.
pub(super) struct Line {
    queue: Mutex<VecDeque<Request>>,
    /// A permit for each request in the queue.
    arrived: Semaphore,
    /// A permit for a writer of the reserve that is called.
    called: Semaphore,
    /// How many units a group may have now, and how many at best.
    group: AtomicUsize,
    largest: usize,
    /// Commits since the last collision or growth.
    calm: AtomicUsize,
    pub(super) trust: Trust,
}

/// A unit in the line.
pub(super) struct Request {
    /// It wants a transaction that holds no locks of others.
    first: bool,
    lent: oneshot::Sender<Result<Lent, Error>>,
}

impl Line {
    /// A line for groups of at most `largest` units.
    pub(super) fn new(largest: usize) -> Self {
        Self {
            queue: Mutex::default(),
            arrived: Semaphore::new(0),
            called: Semaphore::new(0),
            group: AtomicUsize::new(largest),
            largest,
            calm: AtomicUsize::new(0),
            trust: Trust::new(),
        }
    }

    /// How many units a group may have.
    pub(super) fn group(&self) -> usize {
        self.group.load(Relaxed)
    }

    /// A unit waited in vain for rows that another group holds. That two at once may count as one does no harm.
    pub(super) fn collided(&self) {
        self.calm.store(0, Relaxed);
        self.group.store((self.group() / 2).max(1), Relaxed);
    }

    /// A group was committed.
    pub(super) fn committed(&self) {
        if self.calm.fetch_add(1, Relaxed) >= CALM {
            self.calm.store(0, Relaxed);
            self.group.store((self.group() + 1).min(self.largest), Relaxed);
        }
    }

    /// Waits for a connection in a transaction.
    pub(super) async fn join(&self) -> Result<Lent, Error> {
        let (lent, lends) = oneshot::channel();
        {
            let mut queue = self.queue();
            if queue.len() >= LONGEST {
                return Err(overloaded());
            }
            queue.push_back(Request { first: false, lent });
        }
        self.arrived.add_permits(1);
        self.wait(lends).await
    }

    /// Waits for a connection in a transaction of its own, before everyone in line.
    pub(super) async fn join_first(&self) -> Result<Lent, Error> {
        let (lent, lends) = oneshot::channel();
        self.put_back(Request { first: true, lent });
        self.wait(lends).await
    }

    async fn wait(&self, mut lends: oneshot::Receiver<Result<Lent, Error>>) -> Result<Lent, Error> {
        let mut patience = LATE;
        let lent = loop {
            if let Ok(lent) = timeout(patience, &mut lends).await {
                break lent;
            }
            if self.called.available_permits() == 0 {
                self.called.add_permits(1);
            }
            patience *= 2;
        };
        lent.unwrap_or_else(|_| Err(unavailable("the writers are gone")))
    }

    /// The next unit, for a writer of the reserve: when somebody has called. `None` when the line is closed.
    pub(super) async fn next_when_called(&self) -> Option<Request> {
        loop {
            self.called.acquire().await.ok()?.forget();
            if let Some(request) = self.next_at_once() {
                return Some(request);
            }
        }
    }

    /// The next unit, for a transaction that is yet to begin. `None` when the line is closed.
    pub(super) async fn next(&self) -> Option<Request> {
        loop {
            self.arrived.acquire().await.ok()?.forget();
            match self.queue().pop_front() {
                Some(request) if !request.lent.is_closed() => return Some(request),
                // It has left.
                _ => {}
            }
        }
    }

    /// The next unit, for a transaction that is yet to begin, if one is here.
    pub(super) fn next_at_once(&self) -> Option<Request> {
        loop {
            self.arrived.try_acquire().ok()?.forget();
            match self.queue().pop_front() {
                Some(request) if !request.lent.is_closed() => return Some(request),
                _ => {}
            }
        }
    }

    /// The next unit, for a transaction that others are in: one that is here and does not mind them.
    pub(super) fn next_in_company(&self) -> Option<Request> {
        loop {
            let arrived = self.arrived.try_acquire().ok()?;
            let mut queue = self.queue();
            if queue.front()?.first {
                return None;
            }
            arrived.forget();
            match queue.pop_front() {
                Some(request) if !request.lent.is_closed() => return Some(request),
                _ => {}
            }
        }
    }

    /// Gives a unit its place at the head of the line again.
    pub(super) fn put_back(&self, request: Request) {
        self.queue().push_front(request);
        self.arrived.add_permits(1);
    }

    /// Lets the writers end once they have nothing to do.
    pub(super) fn close(&self) {
        self.arrived.close();
        self.called.close();
    }

    /// A panic while the queue was held cannot have left it half changed.
    fn queue(&self) -> MutexGuard<'_, VecDeque<Request>> {
        self.queue.lock().unwrap_or_else(PoisonError::into_inner)
    }
}

/// How a turn ended.
pub(super) enum End {
    /// Well: commit it and tell.
    Saved(Saved),
    /// By a refusal, a panic, or the caller's leaving, before it left anything in the transaction.
    Nothing,
    /// The same, and something has to be undone.
    Undone,
}

/// A unit that has ended well and waits for its commit.
pub(super) struct Saved {
    /// Its statements, each with a digest of its answer. None if they alone do not say what it did.
    pub(super) journal: Option<Journal>,
    /// The rows that are yet to be written.
    pub(super) pending: Pending,
    pub(super) receipt: Receipt,
}

/// Statements, each with a digest of its answer.
pub(super) type Journal = Vec<(Statement, u64)>;

impl Request {
    /// Lends the connection to this unit, and waits until it comes back, which it does whatever becomes of the caller.
    /// `company` says that others are in the transaction.
    pub(super) async fn lend(self, connection: PgConnection, company: bool) -> Option<(PgConnection, End)> {
        let (back, returned) = oneshot::channel();
        let lent = Lent { connection: Some((connection, back)), company, in_flight: false, left: false };
        // Whoever has left meanwhile does not take it; then it is dropped, and so returned.
        drop(self.lent.send(Ok(lent)));
        returned.await.ok()
    }

    pub(super) fn refuse(self, error: Error) {
        // Who has left needs no answer.
        let _ = self.lent.send(Err(error));
    }
}

/// A connection in a transaction, for one turn.
pub(super) struct Lent {
    connection: Option<(PgConnection, oneshot::Sender<(PgConnection, End)>)>,
    company: bool,
    in_flight: bool,
    /// Something of the turn is in the transaction, be it a failure.
    left: bool,
}

impl Lent {
    /// Whether others are in the transaction, whose locks last as long as it does.
    pub(super) fn in_company(&self) -> bool {
        self.company
    }

    pub(super) async fn run(&mut self, statement: &Statement) -> Result<Answer, sqlx::Error> {
        let Some((connection, _)) = &mut self.connection else {
            return Err(sqlx::Error::Configuration("a unit was used after its end".into()));
        };
        // A statement whose caller stopped waiting may have failed since, unheard.
        if mem::replace(&mut self.in_flight, true) {
            return Err(sqlx::Error::Configuration("a unit went on after a statement it had not waited for".into()));
        }
        let answer = statement.run(connection).await;
        self.in_flight = false;
        self.left |= answer.as_ref().map_or(true, |answer| statement.leaves_something(answer));
        answer
    }

    /// Ends the turn well.
    pub(super) fn save(&mut self, saved: Saved) -> Result<(), Error> {
        if self.in_flight {
            return Err(Error::internal("a unit ended before one of its statements"));
        }
        self.give_back(End::Saved(saved));
        Ok(())
    }

    /// Whether nothing of the turn is in the transaction.
    pub(super) fn left_nothing(&self) -> bool {
        !self.left && !self.in_flight
    }

    /// Ends the turn; nothing of it remains.
    pub(super) fn undo(&mut self) {
        self.give_back(if self.left_nothing() { End::Nothing } else { End::Undone });
    }

    fn give_back(&mut self, end: End) {
        if let Some((connection, back)) = self.connection.take() {
            // Without a writer the connection closes, and nothing is committed.
            let _ = back.send((connection, end));
        }
    }
}

impl Drop for Lent {
    fn drop(&mut self) {
        self.undo();
    }
}
