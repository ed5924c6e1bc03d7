//! A unit's turn at a connection.
//!
//! A transaction keeps the locks of all its units until it commits, so units that lock their rows in order can still wait
//! for each other when they share transactions. Therefore nobody waits long for a lock in company: the unit leaves the
//! group, which is saved without it and so lets go of its locks, and is run again at the head of a transaction of its own. The caller
//! notices nothing: its statements are repeated from a journal, and it goes on if each has the same answer as before.

use std::{
    borrow::Cow,
    hash::{BuildHasher, RandomState},
    mem,
    sync::Arc,
    time::Duration,
};

use kit::Error;
use tokio::sync::oneshot;

use super::{
    line::{Journal, Lent, Line, Saved},
    statement::{Answer, Columns, Conflict, Statement, refused},
};
use crate::{
    db::flush::Pending,
    error::conflict,
    value::{Bind, Row},
};

/// How often a unit is run again after a deadlock.
const AGAIN: u32 = 3;
/// The longest pause before that; how long it is, is left to chance, so that those who met do not meet again.
const PAUSE: Duration = Duration::from_millis(50);

/// What a unit does until its end. Dropped before, it leaves nothing.
pub(in crate::db) struct Turn {
    line: Arc<Line>,
    lent: Lent,
    /// Every statement so far.
    journal: Journal,
    /// A statement has failed, and the closure knows it: it can no longer be run again behind its back.
    failed: bool,
    /// The unit could not be brought back to where it was: whatever it still asks for, nothing of it will be saved.
    lost: bool,
    deadlocks: u32,
}

impl Turn {
    pub(super) fn new(line: Arc<Line>, lent: Lent) -> Self {
        Self { line, lent, journal: Vec::new(), failed: false, lost: false, deadlocks: 0 }
    }

    pub(in crate::db) async fn query(&mut self, sql: Cow<'static, str>, binds: &[Bind]) -> Result<Vec<Row>, Error> {
        self.run(Statement::query(sql, binds)).await.map(Answer::rows)
    }

    pub(in crate::db) async fn execute(&mut self, sql: Cow<'static, str>, binds: &[Bind]) -> Result<u64, Error> {
        self.run(Statement::change(sql, binds)).await.map(Answer::count)
    }

    /// One statement whose parameters are whole columns.
    pub(in crate::db) async fn execute_columns(
        &mut self,
        sql: &'static str,
        columns: Vec<Columns>,
    ) -> Result<u64, Error> {
        self.run(Statement::columns(sql.into(), columns)).await.map(Answer::count)
    }

    /// Statements without parameters.
    pub(in crate::db) async fn batch(&mut self, sql: &'static str) -> Result<(), Error> {
        self.run(Statement::batch(sql)).await.map(|_| ())
    }

    /// Leaves the group before anything was written, to begin anew in a transaction of its own, when the group has
    /// committed. Says whether it did: a unit that has no company stays.
    pub(in crate::db) async fn leave_company(&mut self) -> Result<bool, Error> {
        if self.lost || !self.lent.in_company() {
            return Ok(false);
        }
        if !self.lent.left_nothing() {
            return Err(Error::internal("a unit left its group after it had written"));
        }
        self.lent.undo();
        self.journal.clear();
        self.lent = self.line.join_first().await?;
        Ok(true)
    }

    /// Ends the unit well, with the rows that are yet to be written. The answer comes when the group is on disk.
    pub(in crate::db) fn end(mut self, pending: Pending) -> Result<oneshot::Receiver<Result<(), Error>>, Error> {
        if self.lost {
            return Err(conflict());
        }
        let (receipt, answer) = oneshot::channel();
        let journal = (!self.failed).then_some(mem::take(&mut self.journal));
        self.lent.save(Saved { journal, pending, receipt }).map(|()| answer)
    }

    async fn run(&mut self, statement: Statement) -> Result<Answer, Error> {
        if self.lost {
            return Err(conflict());
        }
        let mut result = self.lent.run(&statement).await;
        while let Err(error) = &result
            && self.may_run_again(error)
        {
            self.line.collided();
            self.lent.undo();
            if self.deadlocks > 0 {
                tokio::time::sleep(PAUSE.mul_f64(chance())).await;
            }
            self.lent = self.line.join_first().await?;
            // Until the journal is repeated, the transaction holds a part of the unit at the most.
            self.lost = true;
            result = match self.repeat().await {
                Ok(true) => {
                    self.lost = false;
                    self.lent.run(&statement).await
                }
                Ok(false) => {
                    self.lent.undo();
                    return Err(conflict());
                }
                Err(error) => Err(error),
            };
        }
        if self.lost {
            self.lent.undo();
        }
        match result {
            Ok(answer) => {
                self.journal.push((statement, answer.digest()));
                Ok(answer)
            }
            Err(error) => {
                self.failed = true;
                Err(refused(error))
            }
        }
    }

    /// Whether the unit may do better in a transaction of its own.
    fn may_run_again(&mut self, error: &sqlx::Error) -> bool {
        match Conflict::of(error) {
            _ if self.failed => false,
            Some(Conflict::Waited) => self.lent.in_company(),
            Some(Conflict::Lost) => {
                self.deadlocks += 1;
                self.deadlocks <= AGAIN
            }
            None => false,
        }
    }

    /// Repeats the journal. Says whether every answer was the same.
    async fn repeat(&mut self) -> Result<bool, sqlx::Error> {
        for (statement, digest) in &self.journal {
            if self.lent.run(statement).await?.digest() != *digest {
                return Ok(false);
            }
        }
        Ok(true)
    }
}

/// A number from 0 to 1 that nobody can foretell.
fn chance() -> f64 {
    RandomState::new().hash_one(()) as f64 / u64::MAX as f64
}
