//! A session: the statements that a store runs, whichever database is behind it.

use std::borrow::Cow;

use kit::Error;

use crate::{
    db::{connection::Connection, many::Each},
    value::{Bind, Row},
};

/// A way to run statements, inside a unit or a read. Store functions take `&mut Session` and so serve both.
///
/// Statements are the portable subset (TEXT, BIGINT, BYTEA, `$n`, RETURNING, ON CONFLICT) with parameters `$1`, `$2`, …;
/// sums and comparisons in a result are cast to BIGINT. What begins with SELECT only reads, and calls no function that writes. A statement that fails ends its unit: what is sent after it is
/// refused, and nothing of the unit is saved, on both databases alike.
pub struct Session {
    pub(crate) connection: Connection,
    failure: Option<Error>,
}

impl Session {
    pub(crate) fn new(connection: Connection) -> Self {
        Self { connection, failure: None }
    }

    /// Every row of a query. Whoever writes the query bounds it by LIMIT.
    ///
    /// # Errors
    /// `SERIALIZATION_FAILURE` when others were faster, `LOCK_CONFLICT` when they take long, `DEPENDENCY_UNAVAILABLE` without a database, a constraint's
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
        self.alive()?;
        let found = self.connection.query_and_lock(sql, binds).await;
        Ok(self.remember(found)?.into_iter().next())
    }

    /// Runs a statement and says how many rows it touched.
    ///
    /// # Errors
    /// See [`Session::rows`].
    pub async fn exec(&mut self, sql: &'static str, binds: &[Bind]) -> Result<u64, Error> {
        self.alive()?;
        let touched = self.connection.execute(sql, binds).await;
        self.remember(touched)
    }

    /// Runs a statement for each row of parameters. Says how many rows were touched.
    pub(crate) async fn exec_each(&mut self, each: Each, rows: Vec<Vec<Bind>>) -> Result<u64, Error> {
        self.alive()?;
        let touched = self.connection.execute_each(each, rows).await;
        self.remember(touched)
    }

    async fn query(&mut self, sql: Cow<'static, str>, binds: &[Bind]) -> Result<Vec<Row>, Error> {
        self.alive()?;
        let found = self.connection.query(sql, binds).await;
        self.remember(found)
    }

    /// Statements of ours without parameters: migrations and savepoints.
    pub(crate) async fn batch(&mut self, sql: &'static str) -> Result<(), Error> {
        self.alive()?;
        let done = self.connection.batch(sql).await;
        self.remember(done)
    }

    /// Keeps other processes from changing tables until the unit ends.
    pub(crate) async fn change_tables(&mut self) -> Result<(), Error> {
        self.alive()?;
        let alone = self.connection.change_tables().await;
        self.remember(alone)
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
