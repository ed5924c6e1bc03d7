//! A writer: one connection on which units take turns, in groups that share a commit.
//!
//! The writer is a task of its own. It begins a transaction, lends its connection to one unit after the other, and when
//! nobody is in line or the group is full, writes the rows that all of them have buffered and commits; only then it answers.
//! A unit runs its own statements, in its caller's task, and whatever becomes of that caller, the connection comes back and
//! the writer goes on. A unit that fails in company is undone to its savepoint, or, where units were trusted to go without,
//! costs the others a second run from their journals, each by itself.

use std::{
    mem,
    sync::Arc,
    time::{Duration, Instant},
};

use kit::Error;
use sqlx::postgres::PgConnection;
use tokio::time::timeout;

use super::{
    Purpose, Server,
    line::{End, Line, Request, Saved},
    statement::{Statement, gone, refused},
};
use crate::{
    db::{Shared, flush},
    error::{conflict, unavailable},
    failpoint,
};

/// A group that is older than this takes no more units: the first of it has waited long enough.
const OLDEST: Duration = Duration::from_millis(50);
/// How long a statement of a writer's own may take.
const PATIENCE: Duration = Duration::from_secs(10);

/// In company nobody waits long for a lock, see [`super::turn`]. PostgreSQL forgets this at the end of the transaction.
const IN_COMPANY: &str = "SET LOCAL lock_timeout = '20ms'";
const IN_COMPANY_WITH_SAVEPOINT: &str = "SET LOCAL lock_timeout = '20ms'; SAVEPOINT unit";
const SAVEPOINT: &str = "SAVEPOINT unit";
const BACK_TO_SAVEPOINT: &str = "ROLLBACK TO unit";

pub(super) struct Writer {
    pub(super) server: Arc<Server>,
    pub(super) line: Arc<Line>,
    pub(super) shared: Arc<Shared>,
    /// Whether it works only when it is called.
    pub(super) reserve: bool,
}

impl Writer {
    /// Writes until the line is closed.
    pub(super) async fn work(self) {
        let mut idle = None;
        while let Some(mut first) = self.next().await {
            match self.begin(idle.take()).await {
                Ok(mut connection) => loop {
                    match self.group(connection, first).await {
                        After::Begun(begun, next) => (connection, first) = (begun, next),
                        After::Idle(connection) => break idle = connection,
                    }
                },
                Err(error) => first.refuse(error),
            }
        }
    }

    async fn next(&self) -> Option<Request> {
        match self.reserve {
            true => self.line.next_when_called().await,
            false => self.line.next().await,
        }
    }

    /// Begins a transaction. The connection may have died since it was used; nothing was sent yet, so another is as good.
    async fn begin(&self, idle: Option<PgConnection>) -> Result<PgConnection, Error> {
        if let Some(mut connection) = idle
            && run(&mut connection, "BEGIN").await.is_ok()
        {
            return Ok(connection);
        }
        let mut connection = self.server.connect(Purpose::Write).await.map_err(unavailable)?;
        run(&mut connection, "BEGIN").await.map_err(refused)?;
        Ok(connection)
    }

    /// Lets units take turns and commits for all of them.
    async fn group(&self, mut connection: PgConnection, first: Request) -> After {
        let began = Instant::now();
        let mut done: Vec<Saved> = Vec::new();
        // Whether a savepoint keeps a failure of the unit from the others.
        let mut guarded = false;
        let mut company = false;
        let mut next = Some(first);
        while let Some(request) = next {
            let Some((returned, end)) = request.lend(connection, !done.is_empty()).await else {
                return lose(done, &unavailable("a unit took its connection along"));
            };
            connection = returned;
            let alone = done.is_empty();
            match end {
                End::Saved(saved) => {
                    self.line.trust.ended_well();
                    done.push(saved);
                    guarded = false;
                }
                End::Nothing if !alone => self.line.trust.ended_well(),
                End::Nothing | End::Undone if alone => {
                    return After::Idle(undo(&mut connection, "ROLLBACK").await.ok().map(|()| connection));
                }
                End::Nothing | End::Undone => {
                    self.line.trust.ended_badly();
                    if !guarded {
                        return self.apart(connection, done).await;
                    }
                    // The savepoint is still there, for the next.
                    if let Err(error) = undo(&mut connection, BACK_TO_SAVEPOINT).await {
                        return lose(done, &refused(error));
                    }
                }
            }
            let full = done.len() >= self.line.group() || began.elapsed() > OLDEST;
            next = if full { None } else { self.line.next_in_company() };
            company |= next.is_some();
            if next.is_some() && !guarded {
                guarded = !self.line.trust.holds();
                let joined = match (alone, guarded) {
                    (true, true) => IN_COMPANY_WITH_SAVEPOINT,
                    (true, false) => IN_COMPANY,
                    (false, true) => SAVEPOINT,
                    (false, false) => continue,
                };
                if let Err(error) = run(&mut connection, joined).await {
                    let error = refused(error);
                    next.into_iter().for_each(|request| request.refuse(error.clone()));
                    return lose(done, &error);
                }
            }
        }
        match self.flush(&mut connection, &mut done, company).await {
            Ok(()) => self.commit(connection, done).await,
            Err(error) if gone(&error) => lose(done, &refused(error)),
            Err(_) if company => self.apart(connection, done).await,
            Err(error) => {
                lose(done, &refused(error));
                After::Idle(undo(&mut connection, "ROLLBACK").await.ok().map(|()| connection))
            }
        }
    }

    /// Writes the rows that the units have buffered, all in one statement. After a unit in company they can be written again.
    async fn flush(&self, connection: &mut PgConnection, done: &mut [Saved], company: bool) -> Result<(), sqlx::Error> {
        let statement = match done {
            [saved] if !company && saved.pending.is_small() && !saved.pending.is_empty() => {
                let (sql, binds) = mem::take(&mut saved.pending).into_one();
                Statement::change(sql.into(), &binds)
            }
            _ => {
                let (sql, columns) = flush::together(done.iter().map(|saved| &saved.pending));
                if sql.is_empty() {
                    return Ok(());
                }
                Statement::columns(sql.into(), columns)
            }
        };
        self.shared.counters.statement();
        patiently(statement.run(connection)).await.map(|_| ())
    }

    /// Saves the units of a group each in a transaction of its own, from their journals: one that came after them left the
    /// transaction in disorder, or their rows together were refused.
    async fn apart(&self, mut connection: PgConnection, done: Vec<Saved>) -> After {
        if let Err(error) = undo(&mut connection, "ROLLBACK").await {
            return lose(done, &refused(error));
        }
        let mut done = done.into_iter();
        while let Some(mut saved) = done.next() {
            let answer = match self.repeat(&mut connection, &mut saved).await {
                Ok(true) => {
                    self.shared.committed(1);
                    Ok(())
                }
                Ok(false) => Err(conflict()),
                Err(error) => Err(refused(error)),
            };
            let failed = answer.is_err();
            let _ = saved.receipt.send(answer);
            if failed && let Err(error) = undo(&mut connection, "ROLLBACK").await {
                return lose(done.collect(), &refused(error));
            }
        }
        After::Idle(Some(connection))
    }

    /// Saves a unit in a transaction of its own. Says whether each of its statements had the same answer as before:
    /// otherwise it is not the same unit.
    async fn repeat(&self, connection: &mut PgConnection, saved: &mut Saved) -> Result<bool, sqlx::Error> {
        let Some(journal) = &saved.journal else { return Ok(false) };
        run(connection, "BEGIN").await?;
        for (statement, digest) in journal {
            if patiently(statement.run(connection)).await?.digest() != *digest {
                return Ok(false);
            }
        }
        self.flush(connection, std::slice::from_mut(saved), false).await?;
        failpoint::hit_in(self.shared.name, "before-commit");
        run(connection, "COMMIT").await?;
        failpoint::hit_in(self.shared.name, "after-commit");
        Ok(true)
    }

    /// Commits, and then answers. With units in line the next transaction begins on the same trip; the first of them waits for
    /// this commit then, though another writer may be free before.
    async fn commit(&self, mut connection: PgConnection, done: Vec<Saved>) -> After {
        failpoint::hit_in(self.shared.name, "before-commit");
        let next = self.line.next_at_once();
        let commit = if next.is_some() { "COMMIT AND CHAIN" } else { "COMMIT" };
        if let Err(error) = run(&mut connection, commit).await {
            next.into_iter().for_each(|request| self.line.put_back(request));
            return lose(done, &refused(error));
        }
        failpoint::hit_in(self.shared.name, "after-commit");
        self.line.committed();
        self.shared.committed(done.len());
        for saved in done {
            // Who left meanwhile finds its reply by its key.
            let _ = saved.receipt.send(Ok(()));
        }
        match next {
            Some(next) => After::Begun(connection, next),
            None => After::Idle(Some(connection)),
        }
    }
}

/// What a group leaves behind.
enum After {
    /// The next transaction, and the unit that waits for it.
    Begun(PgConnection, Request),
    /// The connection, if it is fit for another group.
    Idle(Option<PgConnection>),
}

/// Gives a group up with its connection: nothing of it is in the database, or nobody knows whether it is. Everyone in it is
/// told.
fn lose(done: Vec<Saved>, error: &Error) -> After {
    for saved in done {
        let _ = saved.receipt.send(Err(error.clone()));
    }
    After::Idle(None)
}

/// Undoes a unit. A statement of it that nobody waited for may fail first: that answer is not the one to this.
async fn undo(connection: &mut PgConnection, sql: &'static str) -> Result<(), sqlx::Error> {
    match run(connection, sql).await {
        Err(sqlx::Error::Database(_)) => run(connection, sql).await,
        done => done,
    }
}

async fn run(connection: &mut PgConnection, sql: &'static str) -> Result<(), sqlx::Error> {
    patiently(sqlx::raw_sql(sql).execute(connection)).await.map(|_| ())
}

async fn patiently<T>(statement: impl Future<Output = Result<T, sqlx::Error>>) -> Result<T, sqlx::Error> {
    timeout(PATIENCE, statement).await.unwrap_or(Err(sqlx::Error::PoolTimedOut))
}
