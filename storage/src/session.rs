//! A session: the statements that a store runs, whichever database is behind it.

use std::{borrow::Cow, sync::Arc};

use kit::Error;

use crate::{
    db::{Counters, postgres, sqlite},
    value::{Bind, Row},
};

/// A way to run statements, inside a unit or a read. Store functions take `&mut Session` and so serve both.
///
/// Statements are the portable subset (TEXT, BIGINT, BYTEA, `$n`, RETURNING, ON CONFLICT) with parameters `$1`, `$2`, …;
/// sums and comparisons in a result are cast to BIGINT. A statement that fails ends its unit: what is sent after it is
/// refused, and nothing of the unit is saved, on both databases alike.
pub struct Session {
    pub(crate) connection: Connection,
    pub(crate) counters: Arc<Counters>,
    failure: Option<Error>,
}

pub(crate) enum Connection {
    Turn(sqlite::Turn),
    Reader(sqlite::Reader),
    Transaction(postgres::Transaction),
}

impl Session {
    pub(crate) fn new(connection: Connection, counters: Arc<Counters>) -> Self {
        Self { connection, counters, failure: None }
    }

    /// Every row of a query. Whoever writes the query bounds it by LIMIT.
    ///
    /// # Errors
    /// `SERIALIZATION_FAILURE` when others were faster, `DEPENDENCY_UNAVAILABLE` without a database, a constraint's
    /// refusal (see [`crate::violated`]), `INTERNAL` for a faulty statement; so for every statement.
    pub async fn rows(&mut self, sql: &'static str, binds: &[Bind]) -> Result<Vec<Row>, Error> {
        self.query(Cow::Borrowed(sql), binds).await
    }

    /// Every row of a query that was put together at run time, from words of ours: what a caller sent is always a bind.
    ///
    /// # Errors
    /// See [`Session::rows`].
    pub async fn rows_dynamic(&mut self, sql: String, binds: &[Bind]) -> Result<Vec<Row>, Error> {
        self.query(Cow::Owned(sql), binds).await
    }

    /// The first row of a query, if there is one.
    ///
    /// # Errors
    /// See [`Session::rows`].
    pub async fn row(&mut self, sql: &'static str, binds: &[Bind]) -> Result<Option<Row>, Error> {
        Ok(self.rows(sql, binds).await?.into_iter().next())
    }

    /// The first row of a query, locked until the unit ends. Lock rows in the order of their ids.
    ///
    /// # Errors
    /// See [`Session::rows`].
    pub async fn row_for_update(&mut self, sql: &'static str, binds: &[Bind]) -> Result<Option<Row>, Error> {
        let sql = match self.connection {
            Connection::Transaction(_) => Cow::Owned(format!("{sql} FOR UPDATE")),
            // SQLite has one writer: a unit holds every row.
            Connection::Turn(_) | Connection::Reader(_) => Cow::Borrowed(sql),
        };
        Ok(self.query(sql, binds).await?.into_iter().next())
    }

    /// Runs a statement and says how many rows it touched.
    ///
    /// # Errors
    /// See [`Session::rows`].
    pub async fn exec(&mut self, sql: &'static str, binds: &[Bind]) -> Result<u64, Error> {
        self.alive()?;
        self.counters.statement();
        let touched = match &mut self.connection {
            Connection::Turn(turn) => turn.execute(sql, binds),
            Connection::Reader(reader) => reader.execute(sql, binds),
            Connection::Transaction(transaction) => transaction.execute(Cow::Borrowed(sql), binds).await,
        };
        self.remember(touched)
    }

    /// Runs a statement for each row of parameters: `one` by one where a statement costs a function call (SQLite), `all`
    /// with whole columns as parameters where it costs a round trip (PostgreSQL). Says how many rows were touched.
    pub(crate) async fn exec_each(
        &mut self,
        one: &'static str,
        all: &'static str,
        rows: Vec<Vec<Bind>>,
    ) -> Result<u64, Error> {
        if let Connection::Transaction(transaction) = &mut self.connection {
            if let Some(failure) = &self.failure {
                return Err(failure.clone());
            }
            self.counters.statement();
            let touched = transaction.execute_columns(all, postgres::columns(rows)?).await;
            return self.remember(touched);
        }
        let mut touched = 0;
        for row in rows {
            touched += self.exec(one, &row).await?;
        }
        Ok(touched)
    }

    async fn query(&mut self, sql: Cow<'static, str>, binds: &[Bind]) -> Result<Vec<Row>, Error> {
        self.alive()?;
        self.counters.statement();
        let found = match &mut self.connection {
            Connection::Turn(turn) => turn.query(&sql, binds),
            Connection::Reader(reader) => reader.query(&sql, binds),
            Connection::Transaction(transaction) => transaction.query(sql, binds).await,
        };
        self.remember(found)
    }

    /// Statements of ours without parameters: migrations and savepoints. Not counted.
    pub(crate) async fn batch(&mut self, sql: &'static str) -> Result<(), Error> {
        self.alive()?;
        let done = match &mut self.connection {
            Connection::Turn(turn) => turn.batch(sql),
            Connection::Reader(_) => Err(Error::internal("a read runs no batch")),
            Connection::Transaction(transaction) => transaction.batch(sql).await,
        };
        self.remember(done)
    }

    /// The first failure, if a statement has failed.
    pub(crate) fn alive(&self) -> Result<(), Error> {
        self.failure.clone().map_or(Ok(()), Err)
    }

    /// Forgets a failure that a savepoint has undone.
    pub(crate) fn forgive(&mut self) {
        self.failure = None;
    }

    pub(crate) fn remember<T>(&mut self, result: Result<T, Error>) -> Result<T, Error> {
        if let Err(error) = &result {
            self.failure.get_or_insert_with(|| error.clone());
        }
        result
    }
}
