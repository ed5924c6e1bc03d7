//! PostgreSQL: a transaction a unit, on connections that are kept. The rows that a unit buffers go out in one statement.

use std::{borrow::Cow, str::FromStr, time::Duration};

use kit::Error;
use sqlx::{
    AssertSqlSafe, ConnectOptions, Decode, Row as _, TypeInfo, ValueRef,
    postgres::{PgArguments, PgConnectOptions, PgConnection, PgDatabaseError, PgRow, PgValueRef},
    query::Query,
};

use super::{
    Durability,
    pool::{Lent, Pool},
};
use crate::{
    error::{conflict, unavailable, unusable, violation},
    value::{Bind, Row, Value},
};

/// Set on every connection, whatever the server's defaults: durable, and nobody waits long for a lock.
const SETTINGS: [(&str, &str); 5] = [
    ("synchronous_commit", "on"),
    ("lock_timeout", "500ms"),
    ("idle_in_transaction_session_timeout", "5s"),
    // A peer that no longer acknowledges is given up.
    ("tcp_user_timeout", "10s"),
    ("default_transaction_isolation", "read committed"),
];
/// How many prepared statements a connection keeps.
const STATEMENTS: usize = 256;
/// How long connecting may take.
const CONNECT: Duration = Duration::from_secs(5);

pub(crate) struct Postgres {
    options: PgConnectOptions,
    connections: Pool<PgConnection>,
    size: u32,
}

impl Postgres {
    /// Connects once, to find a wrong address or an unfit database at start.
    pub(super) async fn open(url: &str, pool: u32, name: &str) -> Result<Self, Error> {
        let options = PgConnectOptions::from_str(url)
            .map_err(|error| unusable(format!("The database URL of {name} is malformed: {error}.")))?
            .application_name(name)
            .statement_cache_capacity(STATEMENTS)
            .options(SETTINGS)
            .disable_statement_logging();
        let postgres = Self { options, connections: Pool::new(pool), size: pool };
        let mut connection = postgres
            .connect()
            .await
            .map_err(|error| unusable(format!("The PostgreSQL database of {name} cannot be reached: {error}.")))?;
        let collation =
            text(&mut connection, "SELECT datcollate FROM pg_database WHERE datname = current_database()").await?;
        if !matches!(collation.as_str(), "C" | "POSIX" | "C.UTF-8" | "C.utf8") {
            return Err(unusable(format!(
                "The database of {name} sorts text by {collation}, but pages need it sorted by bytes. Create it with \
                 TEMPLATE template0 LC_COLLATE 'C.UTF-8' LC_CTYPE 'C.UTF-8'."
            )));
        }
        postgres.connections.put_all(vec![connection]);
        Ok(postgres)
    }

    /// Begins a transaction.
    pub(super) async fn begin(&self, access: Access) -> Result<Transaction, Error> {
        let mut lent = self.connections.borrow().await?;
        // A connection may have died since it was used. Nothing was sent on it yet, so another is as good.
        for _ in 0..self.size {
            let Some(mut connection) = lent.idle() else { break };
            if run(&mut connection, access.begin()).await.is_ok() {
                lent.set(connection);
                return Ok(Transaction(lent));
            }
        }
        let mut connection = self.connect().await.map_err(unavailable)?;
        run(&mut connection, access.begin()).await?;
        lent.set(connection);
        Ok(Transaction(lent))
    }

    async fn connect(&self) -> Result<PgConnection, sqlx::Error> {
        match tokio::time::timeout(CONNECT, self.options.connect()).await {
            Ok(connected) => connected,
            Err(_) => Err(sqlx::Error::PoolTimedOut),
        }
    }

    pub(super) async fn durability(&self) -> Result<Vec<Durability>, Error> {
        let (mut connections, _permits) = self.connections.take_all().await?;
        let mut found = Vec::new();
        for connection in &mut connections {
            for (setting, sql) in [("fsync", "SHOW fsync"), ("synchronous_commit", "SHOW synchronous_commit")] {
                let value = text(connection, sql).await?;
                found.push(Durability { connection: "pool".to_owned(), setting, value });
            }
        }
        self.connections.put_all(connections);
        Ok(found)
    }
}

/// What a transaction is for.
#[derive(Clone, Copy)]
pub(crate) enum Access {
    Write,
    Read,
}

impl Access {
    /// A read sees one moment, as on SQLite.
    fn begin(self) -> &'static str {
        match self {
            Self::Write => "BEGIN",
            Self::Read => "BEGIN ISOLATION LEVEL REPEATABLE READ READ ONLY",
        }
    }
}

/// An open transaction. Dropped before its end it takes its connection with it, and the server rolls it back.
pub(crate) struct Transaction(Lent<PgConnection>);

impl Transaction {
    pub(crate) async fn query(&mut self, sql: Cow<'static, str>, binds: &[Bind]) -> Result<Vec<Row>, Error> {
        let found = bound(sql, binds).fetch_all(self.0.get()?).await.map_err(refused)?;
        found.iter().map(row).collect()
    }

    pub(crate) async fn execute(&mut self, sql: Cow<'static, str>, binds: &[Bind]) -> Result<u64, Error> {
        let done = bound(sql, binds).execute(self.0.get()?).await.map_err(refused)?;
        Ok(done.rows_affected())
    }

    /// Statements without parameters.
    pub(crate) async fn batch(&mut self, sql: &'static str) -> Result<(), Error> {
        run(self.0.get()?, sql).await
    }

    /// One statement whose parameters are whole columns.
    pub(crate) async fn execute_columns(&mut self, sql: &'static str, columns: Vec<Columns>) -> Result<u64, Error> {
        let mut query = sqlx::query(sql);
        for column in columns {
            query = match column {
                Columns::Ints(values) => query.bind(values),
                Columns::Texts(values) => query.bind(values),
                Columns::Bytes(values) => query.bind(values),
            };
        }
        Ok(query.execute(self.0.get()?).await.map_err(refused)?.rows_affected())
    }

    pub(crate) async fn commit(mut self) -> Result<(), Error> {
        run(self.0.get()?, "COMMIT").await?;
        self.0.give_back();
        Ok(())
    }

    pub(crate) async fn roll_back(mut self) -> Result<(), Error> {
        run(self.0.get()?, "ROLLBACK").await?;
        self.0.give_back();
        Ok(())
    }
}

/// A parameter of a statement over many rows: one column of all of them.
pub(crate) enum Columns {
    Ints(Vec<i64>),
    Texts(Vec<String>),
    Bytes(Vec<Vec<u8>>),
}

/// Turns rows of parameters into columns. All rows have the same types and nothing is missing.
pub(crate) fn columns(rows: Vec<Vec<Bind>>) -> Result<Vec<Columns>, Error> {
    let mut columns: Vec<Columns> = Vec::new();
    for row in rows {
        for (index, bind) in row.into_iter().enumerate() {
            match (columns.get_mut(index), bind) {
                (Some(Columns::Ints(values)), Bind::Int(Some(value))) => values.push(value),
                (Some(Columns::Texts(values)), Bind::Text(Some(value))) => values.push(value),
                (Some(Columns::Bytes(values)), Bind::Bytes(Some(value))) => values.push(value),
                (None, Bind::Int(Some(value))) => columns.push(Columns::Ints(vec![value])),
                (None, Bind::Text(Some(value))) => columns.push(Columns::Texts(vec![value])),
                (None, Bind::Bytes(Some(value))) => columns.push(Columns::Bytes(vec![value])),
                (_, bind) => return Err(Error::internal(format!("column {index} does not take {bind:?}"))),
            }
        }
    }
    Ok(columns)
}

async fn run(connection: &mut PgConnection, sql: &'static str) -> Result<(), Error> {
    sqlx::raw_sql(sql).execute(connection).await.map(|_| ()).map_err(refused)
}

async fn text(connection: &mut PgConnection, sql: &'static str) -> Result<String, Error> {
    let found = sqlx::query(sql).fetch_one(connection).await.map_err(refused)?;
    row(&found)?.text(0)
}

fn bound<'q>(sql: Cow<'static, str>, binds: &[Bind]) -> Query<'q, sqlx::Postgres, PgArguments> {
    binds.iter().fold(sqlx::query(AssertSqlSafe(sql)), |query, bind| match bind.clone() {
        Bind::Int(value) => query.bind(value),
        Bind::Text(value) => query.bind(value),
        Bind::Bytes(value) => query.bind(value),
    })
}

fn row(row: &PgRow) -> Result<Row, Error> {
    (0..row.len()).map(|column| value(row.try_get_raw(column).map_err(refused)?)).collect::<Result<_, _>>().map(Row)
}

/// `SELECT 1` is INT4 and a comparison BOOL; a `sum()` is NUMERIC and must be cast to BIGINT by its statement.
fn value(raw: PgValueRef<'_>) -> Result<Value, Error> {
    if raw.is_null() {
        return Ok(Value::Null);
    }
    let kind = raw.type_info().name().to_owned();
    let value = match kind.as_str() {
        "INT8" => i64::decode(raw).map(Value::Int),
        "INT4" => i32::decode(raw).map(|value| Value::Int(value.into())),
        "BOOL" => bool::decode(raw).map(|value| Value::Int(value.into())),
        "TEXT" | "VARCHAR" | "NAME" => String::decode(raw).map(Value::Text),
        "BYTEA" => Vec::<u8>::decode(raw).map(Value::Bytes),
        _ => return Err(Error::internal(format!("a column of type {kind}: cast it to BIGINT, TEXT or BYTEA"))),
    };
    value.map_err(Error::internal)
}

fn refused(error: sqlx::Error) -> Error {
    match &error {
        sqlx::Error::Database(cause) => {
            let cause = cause.downcast_ref::<PgDatabaseError>();
            match cause.code() {
                // Serialization failure, deadlock, lock timeout, unique violation, exclusion violation.
                "40001" | "40P01" | "55P03" | "23505" | "23P01" => conflict(),
                "23503" => violation("foreign_key"),
                "23514" => violation(cause.constraint().unwrap_or("unnamed")),
                "23502" => violation(cause.column().unwrap_or("unnamed")),
                // The server shuts down, or ended a transaction that stood idle.
                "57P01" | "57P02" | "57P03" | "25P03" | "53300" | "53100" => unavailable(error),
                _ => Error::internal(error),
            }
        }
        sqlx::Error::Io(_) | sqlx::Error::Tls(_) | sqlx::Error::PoolTimedOut | sqlx::Error::Protocol(_) => {
            unavailable(error)
        }
        _ => Error::internal(error),
    }
}
