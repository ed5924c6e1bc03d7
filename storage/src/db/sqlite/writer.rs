//! The writer of a SQLite file.
//!
//! Units that queue together share one `BEGIN IMMEDIATE` and one `COMMIT`. A caller runs its unit itself while it holds
//! the writer; the committer stands at the end of the line and commits for all of them. A caller may vanish wherever it
//! awaits, so none of them is the one who commits: the committer is called before a group's first statement, and
//! everything a caller does to the group after its own closure happens without an await.
//!
//! In one group each unit has a savepoint, or, as long as units are trusted to end well, a journal of its statements. If
//! one fails then, everything is undone and the others are run again from their journals.

use std::{
    borrow::Cow,
    hash::{DefaultHasher, Hash, Hasher},
    mem,
    sync::Arc,
};

use kit::Error;
use rusqlite::{Connection, ErrorCode};
use tokio::sync::{Mutex, Notify, OwnedMutexGuard, oneshot};

use super::statement::{change, execute, query, refused};
use crate::{
    db::{
        Shared,
        trust::{Trust, leaves_nothing},
    },
    error::{conflict, unavailable},
    failpoint,
    value::{Bind, Row},
};

/// How many rounds of the scheduler the committer lets pass: who was ready before it is in line after the first, and who
/// is made ready by those after the next. Where nobody is, they take no time.
const ROUNDS: usize = 4;

/// Commits the group that is open when its turn comes. It lets whoever is ready to write, or about to be, step into line
/// first.
pub(super) async fn commit_when_called(called: Arc<Notify>, writer: Arc<Mutex<Writer>>) {
    loop {
        called.notified().await;
        for _ in 0..ROUNDS {
            tokio::task::yield_now().await;
        }
        writer.lock().await.commit();
    }
}

pub(super) struct Writer {
    connection: Connection,
    called: Arc<Notify>,
    open: bool,
    /// The units of the open group that have ended well and wait for its commit.
    saved: Vec<Saved>,
    guard: Guard,
    trust: Trust,
    limit: usize,
    shared: Arc<Shared>,
}

/// What keeps the failure of a unit from the others of the open group.
#[derive(Clone, Copy, PartialEq, Eq)]
enum Guard {
    /// There are no others.
    Nothing,
    Savepoint,
    Journal,
}

struct Saved {
    journal: Vec<Done>,
    receipt: oneshot::Sender<Result<(), Error>>,
}

/// A statement of a unit, with a digest of its answer; none where it failed.
struct Done {
    statement: Statement,
    digest: Option<u64>,
}

enum Statement {
    Query(Cow<'static, str>, Vec<Bind>),
    Change(Cow<'static, str>, Vec<Bind>),
    Batch(&'static str),
}

#[derive(Hash)]
enum Answer {
    Rows(Vec<Row>),
    Count(u64),
    Nothing,
}

impl Writer {
    pub(super) fn new(connection: Connection, called: Arc<Notify>, limit: usize, shared: Arc<Shared>) -> Self {
        let (saved, guard, trust) = (Vec::new(), Guard::Nothing, Trust::new());
        Self { connection, called, open: false, saved, guard, trust, limit, shared }
    }

    pub(super) fn connection(&self) -> &Connection {
        &self.connection
    }

    /// Makes a place for a unit, in the open group or in a new one. Says whether it could: another process may be writing.
    pub(super) fn begin(&mut self) -> Result<bool, Error> {
        if self.open && self.connection.is_autocommit() {
            self.lose(&unavailable("SQLite rolled a group back"));
        }
        if !self.open {
            if !self.begin_group()? {
                return Ok(false);
            }
            self.guard = match self.limit {
                1 => Guard::Nothing,
                _ if self.trust.holds() => Guard::Journal,
                _ => Guard::Savepoint,
            };
            self.called.notify_one();
        }
        self.guard().map(|()| true)
    }

    /// Says whether it could.
    fn begin_group(&mut self) -> Result<bool, Error> {
        match self.connection.prepare_cached("BEGIN IMMEDIATE").and_then(|mut begin| begin.raw_execute()) {
            Err(error) if error.sqlite_error_code() == Some(ErrorCode::DatabaseBusy) => return Ok(false),
            begun => begun.map_err(refused)?,
        };
        self.open = true;
        Ok(true)
    }

    fn guard(&self) -> Result<(), Error> {
        match self.guard {
            Guard::Savepoint => execute(&self.connection, "SAVEPOINT unit"),
            Guard::Nothing | Guard::Journal => Ok(()),
        }
    }

    /// Undoes the unit that is open, which has left something in the group or not; its neighbours keep what they did.
    /// Without any, the file is free at once.
    fn undo(&mut self, left: bool) {
        if self.saved.is_empty() {
            return self.roll_back();
        }
        if left {
            self.trust.ended_badly()
        } else {
            self.trust.ended_well()
        }
        let undone = match (self.guard, left) {
            (Guard::Savepoint, _) => self.back_to_savepoint(),
            (Guard::Nothing | Guard::Journal, false) => Ok(()),
            (Guard::Nothing | Guard::Journal, true) => self.repeat(),
        };
        if let Err(error) = undone {
            self.lose(&error);
        }
    }

    fn back_to_savepoint(&self) -> Result<(), Error> {
        execute(&self.connection, "ROLLBACK TO unit").and_then(|()| execute(&self.connection, "RELEASE unit"))
    }

    /// Undoes everything, and runs again what ended well. A unit with other answers than before is told so: another process
    /// has written in between.
    fn repeat(&mut self) -> Result<(), Error> {
        self.roll_back();
        self.guard = Guard::Savepoint;
        // The committer was called already, for this group.
        if !self.begin_group()? {
            return Err(conflict());
        }
        let mut others = mem::take(&mut self.saved).into_iter();
        while let Some(unit) = others.next() {
            self.guard()?;
            let repeated = self.run_again(&unit.journal);
            let ended = if repeated { execute(&self.connection, "RELEASE unit") } else { self.back_to_savepoint() };
            if repeated || ended.is_err() {
                self.saved.push(unit);
            } else {
                let _ = unit.receipt.send(Err(conflict()));
            }
            // Without its savepoint nobody knows what of the unit is there: the whole group is lost.
            if let Err(error) = ended {
                self.saved.extend(others);
                return Err(error);
            }
        }
        Ok(())
    }

    /// Says whether every answer was the same.
    fn run_again(&self, journal: &[Done]) -> bool {
        // A statement that failed before may fail now for another reason, and take the transaction with it: what comes after
        // would then commit by itself.
        let same = |done: &Done| {
            done.digest == digest(&done.statement.run(&self.connection)) && !self.connection.is_autocommit()
        };
        journal.iter().all(same)
    }

    /// Commits the open group and answers everyone in it.
    fn commit(&mut self) {
        // Closed already by a group limit, or by the failure of every unit in it.
        if !mem::take(&mut self.open) {
            return;
        }
        failpoint::hit_in(self.shared.name, "before-commit");
        if let Err(error) = execute(&self.connection, "COMMIT") {
            return self.lose(&error);
        }
        failpoint::hit_in(self.shared.name, "after-commit");
        self.shared.committed(self.saved.len());
        for unit in self.saved.drain(..) {
            // Who left meanwhile finds its reply by its key.
            let _ = unit.receipt.send(Ok(()));
        }
    }

    /// Gives the open group up: nothing of it is in the database, and everyone in it is told.
    fn lose(&mut self, error: &Error) {
        self.roll_back();
        for unit in self.saved.drain(..) {
            let _ = unit.receipt.send(Err(error.clone()));
        }
    }

    fn roll_back(&mut self) {
        self.open = false;
        if !self.connection.is_autocommit() {
            let _ = execute(&self.connection, "ROLLBACK");
        }
    }
}

/// One caller's turn at the writer. Dropped before its end, it undoes what it did.
pub(crate) struct Turn {
    writer: OwnedMutexGuard<Writer>,
    journal: Vec<Done>,
    /// Something of the turn is in the group, be it a failure.
    left: bool,
    ended: bool,
}

impl Turn {
    pub(super) fn new(writer: OwnedMutexGuard<Writer>) -> Self {
        Self { writer, journal: Vec::new(), left: false, ended: false }
    }

    pub(crate) fn query(&mut self, sql: Cow<'static, str>, binds: &[Bind]) -> Result<Vec<Row>, Error> {
        match self.run(Statement::Query(sql, binds.to_vec()))? {
            Answer::Rows(rows) => Ok(rows),
            Answer::Count(_) | Answer::Nothing => Ok(Vec::new()),
        }
    }

    pub(crate) fn execute(&mut self, sql: Cow<'static, str>, binds: &[Bind]) -> Result<u64, Error> {
        match self.run(Statement::Change(sql, binds.to_vec()))? {
            Answer::Count(touched) => Ok(touched),
            Answer::Rows(_) | Answer::Nothing => Ok(0),
        }
    }

    pub(crate) fn batch(&mut self, sql: &'static str) -> Result<(), Error> {
        self.run(Statement::Batch(sql)).map(|_| ())
    }

    fn run(&mut self, statement: Statement) -> Result<Answer, Error> {
        // SQLite rolls a whole transaction back on some faults (a full disk); the statements after it would then each
        // commit on their own.
        if self.writer.connection.is_autocommit() {
            return Err(unavailable("SQLite rolled the transaction of a unit back"));
        }
        let answer = statement.run(&self.writer.connection);
        self.left |= answer.as_ref().map_or(true, |answer| statement.leaves_something(answer));
        if self.writer.guard == Guard::Journal {
            self.journal.push(Done { digest: digest(&answer), statement });
        }
        answer
    }

    /// Ends the unit well. The answer comes when the group it belongs to is on disk.
    pub(crate) fn end(mut self) -> Result<oneshot::Receiver<Result<(), Error>>, Error> {
        if self.writer.connection.is_autocommit() {
            return Err(unavailable("SQLite rolled the transaction of a unit back"));
        }
        if self.writer.guard == Guard::Savepoint {
            execute(&self.writer.connection, "RELEASE unit")?;
        }
        self.ended = true;
        let (receipt, answer) = oneshot::channel();
        let journal = mem::take(&mut self.journal);
        self.writer.trust.ended_well();
        self.writer.saved.push(Saved { journal, receipt });
        if self.writer.saved.len() >= self.writer.limit {
            self.writer.commit();
        }
        Ok(answer)
    }
}

impl Drop for Turn {
    fn drop(&mut self) {
        if !self.ended {
            let left = self.left;
            self.writer.undo(left);
        }
    }
}

impl Statement {
    fn run(&self, connection: &Connection) -> Result<Answer, Error> {
        match self {
            Self::Query(sql, binds) => query(connection, sql, binds).map(Answer::Rows),
            Self::Change(sql, binds) => change(connection, sql, binds).map(Answer::Count),
            Self::Batch(sql) => connection.execute_batch(sql).map(|()| Answer::Nothing).map_err(refused),
        }
    }

    /// Whether something of it stays in the group, going by the answer.
    fn leaves_something(&self, answer: &Answer) -> bool {
        match (self, answer) {
            (Self::Query(sql, _), _) => !leaves_nothing(sql, None),
            (Self::Change(sql, _), Answer::Count(touched)) => !leaves_nothing(sql, Some(*touched)),
            _ => true,
        }
    }
}

/// The same for the same answer.
fn digest(answer: &Result<Answer, Error>) -> Option<u64> {
    let answer = answer.as_ref().ok()?;
    let mut hasher = DefaultHasher::new();
    answer.hash(&mut hasher);
    Some(hasher.finish())
}
