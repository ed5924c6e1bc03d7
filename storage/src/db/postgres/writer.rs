//! A writer: one connection on which units take turns, in groups that share a commit.
//!
//! The writer is a task of its own. It begins a transaction, lends its connection to one unit after the other, a savepoint
//! each, and commits when nobody is in line or the group is full; only then it answers. A unit runs its own statements, in
//! its caller's task, and whatever becomes of that caller, the connection comes back and the writer goes on.

use std::{
    sync::Arc,
    time::{Duration, Instant},
};

use kit::Error;
use sqlx::postgres::PgConnection;
use tokio::time::timeout;

use super::{
    Purpose, Server,
    line::{End, Line, Receipt, Request},
    statement::refused,
};
use crate::{db::Shared, error::unavailable, failpoint};

/// A group that is older than this takes no more units: the first of it has waited long enough.
const OLDEST: Duration = Duration::from_millis(50);
/// How long a statement of a writer's own may take.
const PATIENCE: Duration = Duration::from_secs(10);

/// In company nobody waits long for a lock, see [`super::turn`]. PostgreSQL forgets this at the end of the transaction.
const IN_COMPANY: &str = "SET LOCAL lock_timeout = '20ms'; SAVEPOINT unit";
const SAVEPOINT: &str = "SAVEPOINT unit";
const BACK_TO_SAVEPOINT: &str = "ROLLBACK TO unit";

pub(super) struct Writer {
    pub(super) server: Arc<Server>,
    pub(super) line: Arc<Line>,
    pub(super) shared: Arc<Shared>,
}

impl Writer {
    /// Writes until the line is closed.
    pub(super) async fn work(self) {
        let mut idle = None;
        while let Some(mut first) = self.line.next().await {
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
        let mut done: Vec<Receipt> = Vec::new();
        let mut next = Some(first);
        while let Some(request) = next {
            let Some((returned, end)) = request.lend(connection, !done.is_empty()).await else {
                return lose(done, &unavailable("a unit took its connection along"));
            };
            connection = returned;
            let joined = match end {
                End::Saved(receipt) => {
                    done.push(receipt);
                    if done.len() == 1 { IN_COMPANY } else { SAVEPOINT }
                }
                End::Undone if done.is_empty() => {
                    return After::Idle(undo(&mut connection, "ROLLBACK").await.ok().map(|()| connection));
                }
                End::Undone => match undo(&mut connection, BACK_TO_SAVEPOINT).await {
                    // The savepoint is still there, for the next.
                    Ok(()) => "",
                    Err(error) => return lose(done, &refused(error)),
                },
            };
            let full = done.len() >= self.line.group() || began.elapsed() > OLDEST;
            next = if full { None } else { self.line.next_in_company() };
            if next.is_some()
                && !joined.is_empty()
                && let Err(error) = run(&mut connection, joined).await
            {
                let error = refused(error);
                next.into_iter().for_each(|request| request.refuse(error.clone()));
                return lose(done, &error);
            }
        }
        self.commit(connection, done).await
    }

    /// Commits, and then answers. With units in line the next transaction begins on the same trip; the first of them waits for
    /// this commit then, though another writer may be free before.
    async fn commit(&self, mut connection: PgConnection, done: Vec<Receipt>) -> After {
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
        for receipt in done {
            // Who left meanwhile finds its reply by its key.
            let _ = receipt.send(Ok(()));
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
fn lose(done: Vec<Receipt>, error: &Error) -> After {
    for receipt in done {
        let _ = receipt.send(Err(error.clone()));
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
    match timeout(PATIENCE, sqlx::raw_sql(sql).execute(connection)).await {
        Ok(done) => done.map(|_| ()),
        Err(_) => Err(sqlx::Error::PoolTimedOut),
    }
}
