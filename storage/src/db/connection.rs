//! The way of a unit or a read to its database, whichever that is.

use std::{borrow::Cow, sync::Arc};

use kit::Error;
use tokio::sync::oneshot;

use super::{Counters, flush::Pending, many::Each, postgres, sqlite};
use crate::value::{Bind, Row};

/// A place in a group of units, or a reader, on one of the databases.
pub(crate) struct Connection {
    way: Way,
    counters: Arc<Counters>,
}

pub(super) enum Way {
    SqliteTurn(sqlite::Turn),
    SqliteReader(sqlite::Reader),
    PostgresTurn(postgres::Turn),
    PostgresReader(postgres::Reader),
}

/// What is left of a read.
#[derive(Clone, Copy, PartialEq, Eq)]
pub(super) enum Span {
    /// One statement, which sees one moment by itself.
    One,
    /// Any number, in a transaction that sees one moment.
    Many,
    /// Nothing.
    Over,
}

impl Span {
    /// Counts a statement.
    pub(super) fn next(&mut self) -> Result<(), Error> {
        *self = match self {
            Self::One => Self::Over,
            Self::Many => Self::Many,
            Self::Over => return Err(Error::internal("a read has one statement: several need a snapshot")),
        };
        Ok(())
    }
}

impl Connection {
    pub(super) fn new(way: Way, counters: Arc<Counters>) -> Self {
        Self { way, counters }
    }

    pub(crate) async fn query(&mut self, sql: Cow<'static, str>, binds: &[Bind]) -> Result<Vec<Row>, Error> {
        self.counters.statement();
        match &mut self.way {
            Way::SqliteTurn(turn) => turn.query(sql, binds),
            Way::SqliteReader(reader) => reader.query(&sql, binds),
            Way::PostgresTurn(turn) => turn.query(sql, binds).await,
            Way::PostgresReader(reader) => reader.query(sql, binds).await,
        }
    }

    /// A query whose rows stay locked until the unit ends.
    pub(crate) async fn query_and_lock(&mut self, sql: &'static str, binds: &[Bind]) -> Result<Vec<Row>, Error> {
        let sql = match &self.way {
            Way::PostgresTurn(_) | Way::PostgresReader(_) => Cow::Owned(format!("{sql} FOR UPDATE")),
            // SQLite has one writer: a unit holds every row.
            Way::SqliteTurn(_) | Way::SqliteReader(_) => Cow::Borrowed(sql),
        };
        self.query(sql, binds).await
    }

    pub(crate) async fn execute(&mut self, sql: &'static str, binds: &[Bind]) -> Result<u64, Error> {
        self.counters.statement();
        match &mut self.way {
            Way::SqliteTurn(turn) => turn.execute(sql.into(), binds),
            Way::SqliteReader(reader) => reader.execute(sql, binds),
            Way::PostgresTurn(turn) => turn.execute(sql.into(), binds).await,
            Way::PostgresReader(reader) => reader.execute(sql, binds).await,
        }
    }

    /// Runs a statement over rows of parameters, in few pieces. Says how many rows were touched.
    pub(crate) async fn execute_each(&mut self, each: Each, rows: Vec<Vec<Bind>>) -> Result<u64, Error> {
        if let Way::PostgresTurn(turn) = &mut self.way {
            self.counters.statement();
            return turn.execute_columns(each.all, postgres::columns(rows)?).await;
        }
        let mut touched = 0;
        for (sql, binds) in each.rows.pieces(rows) {
            touched += self.execute_piece(sql, &binds)?;
        }
        Ok(touched)
    }

    /// A part of a statement over many rows, on SQLite.
    fn execute_piece(&mut self, sql: String, binds: &[Bind]) -> Result<u64, Error> {
        self.counters.statement();
        match &mut self.way {
            Way::SqliteTurn(turn) => turn.execute(sql.into(), binds),
            _ => Err(Error::internal("only a unit on SQLite writes in pieces")),
        }
    }

    /// Statements of ours without parameters: migrations and savepoints. Not counted.
    pub(crate) async fn batch(&mut self, sql: &'static str) -> Result<(), Error> {
        match &mut self.way {
            Way::SqliteTurn(turn) => turn.batch(sql),
            Way::PostgresTurn(turn) => turn.batch(sql).await,
            Way::SqliteReader(_) | Way::PostgresReader(_) => Err(Error::internal("a read runs no batch")),
        }
    }

    /// Waits until no other process changes tables, and keeps them from it until the unit ends.
    pub(crate) async fn change_tables(&mut self) -> Result<(), Error> {
        match &mut self.way {
            Way::PostgresTurn(turn) => turn.batch(postgres::ONE_AT_A_TIME).await,
            // SQLite has one writer.
            Way::SqliteTurn(_) | Way::SqliteReader(_) | Way::PostgresReader(_) => Ok(()),
        }
    }

    /// Leaves a group whose other units have buffered rows that this one has to see: it waits for their commit and begins
    /// anew. Says whether it did; without company there is nothing to wait for. Only before the unit's first row.
    pub(crate) async fn leave_company(&mut self) -> Result<bool, Error> {
        match &mut self.way {
            Way::PostgresTurn(turn) => turn.leave_company().await,
            // On SQLite each unit writes its buffered rows itself.
            Way::SqliteTurn(_) | Way::SqliteReader(_) | Way::PostgresReader(_) => Ok(false),
        }
    }

    /// Ends a unit well, with what it has buffered: a few cached statements on SQLite, one for its whole group on
    /// PostgreSQL. The answer comes when the group is on disk. Dropped without this call, a connection leaves nothing of its
    /// unit.
    pub(super) fn end(self, pending: Pending) -> Result<oneshot::Receiver<Result<(), Error>>, Error> {
        match self.way {
            Way::SqliteTurn(mut turn) => {
                for (sql, binds) in pending.into_pieces() {
                    self.counters.statement();
                    turn.execute(sql, &binds)?;
                }
                turn.end()
            }
            Way::PostgresTurn(turn) => turn.end(pending),
            Way::SqliteReader(_) | Way::PostgresReader(_) => Err(Error::internal("a read has nothing to save")),
        }
    }

    /// Ends a read, so that its connection serves the next.
    pub(super) async fn close(self) {
        if let Way::PostgresReader(reader) = self.way {
            reader.close().await;
        }
    }
}
