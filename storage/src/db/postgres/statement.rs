//! A statement on its way to PostgreSQL, and what comes back.

use std::{
    borrow::Cow,
    hash::{DefaultHasher, Hash, Hasher},
};

use kit::Error;
use sqlx::{
    AssertSqlSafe, Decode, Row as _, TypeInfo, ValueRef,
    postgres::{PgArguments, PgConnection, PgDatabaseError, PgRow, PgValueRef},
    query::Query,
};

use crate::{
    db::trust::leaves_nothing,
    error::{conflict, locked, too_slow, unavailable, violation},
    value::{Bind, Row, Value},
};

/// A statement that can be sent more than once.
pub(super) struct Statement {
    sql: Cow<'static, str>,
    binds: Binds,
    wants: Wants,
}

enum Binds {
    /// The values of `$1`, `$2`, …
    Values(Vec<Bind>),
    /// The same, each for many rows.
    Columns(Vec<Columns>),
    /// Several statements without parameters.
    Batch,
}

enum Wants {
    Rows,
    Count,
}

/// A parameter of a statement over many rows: one column of all of them.
pub(in crate::db) enum Columns {
    Ints(Vec<i64>),
    Texts(Vec<String>),
    Bytes(Vec<Vec<u8>>),
}

/// What came back.
#[derive(Hash)]
pub(super) enum Answer {
    Rows(Vec<Row>),
    Count(u64),
}

impl Answer {
    /// The same for the same answer.
    pub(super) fn digest(&self) -> u64 {
        let mut hasher = DefaultHasher::new();
        self.hash(&mut hasher);
        hasher.finish()
    }

    pub(super) fn rows(self) -> Vec<Row> {
        match self {
            Self::Rows(rows) => rows,
            Self::Count(_) => Vec::new(),
        }
    }

    pub(super) fn count(self) -> u64 {
        match self {
            Self::Rows(rows) => rows.len() as u64,
            Self::Count(count) => count,
        }
    }
}

impl Statement {
    pub(super) fn query(sql: Cow<'static, str>, binds: &[Bind]) -> Self {
        Self { sql, binds: Binds::Values(binds.to_vec()), wants: Wants::Rows }
    }

    pub(super) fn change(sql: Cow<'static, str>, binds: &[Bind]) -> Self {
        Self { sql, binds: Binds::Values(binds.to_vec()), wants: Wants::Count }
    }

    pub(super) fn columns(sql: Cow<'static, str>, columns: Vec<Columns>) -> Self {
        Self { sql, binds: Binds::Columns(columns), wants: Wants::Count }
    }

    pub(super) fn batch(sql: &'static str) -> Self {
        Self { sql: sql.into(), binds: Binds::Batch, wants: Wants::Count }
    }

    /// Whether something of it stays in the transaction, going by the answer.
    pub(super) fn leaves_something(&self, answer: &Answer) -> bool {
        match (&self.binds, answer) {
            (Binds::Batch, _) => true,
            (_, Answer::Count(touched)) => !leaves_nothing(&self.sql, Some(*touched)),
            (_, Answer::Rows(_)) => !leaves_nothing(&self.sql, None),
        }
    }

    pub(super) async fn run(&self, connection: &mut PgConnection) -> Result<Answer, sqlx::Error> {
        let sql = AssertSqlSafe(self.sql.clone());
        let query = match &self.binds {
            Binds::Values(binds) => binds.iter().fold(sqlx::query(sql), bind),
            Binds::Columns(columns) => columns.iter().fold(sqlx::query(sql), bind_column),
            Binds::Batch => {
                return sqlx::raw_sql(sql).execute(connection).await.map(|_| Answer::Count(0));
            }
        };
        match self.wants {
            Wants::Rows => {
                let rows = query.fetch_all(connection).await?;
                rows.iter().map(row).collect::<Result<_, _>>().map(Answer::Rows)
            }
            Wants::Count => Ok(Answer::Count(query.execute(connection).await?.rows_affected())),
        }
    }
}

type Bound = Query<'static, sqlx::Postgres, PgArguments>;

fn bind(query: Bound, bind: &Bind) -> Bound {
    match bind {
        Bind::Int(value) => query.bind(*value),
        Bind::Text(value) => query.bind(value.as_deref()),
        Bind::Bytes(value) => query.bind(value.as_deref()),
    }
}

fn bind_column(query: Bound, column: &Columns) -> Bound {
    match column {
        Columns::Ints(values) => query.bind(values.as_slice()),
        Columns::Texts(values) => query.bind(values.as_slice()),
        Columns::Bytes(values) => query.bind(values.as_slice()),
    }
}

/// Turns rows of parameters into columns. All rows have the same types and nothing is missing.
pub(in crate::db) fn columns(rows: Vec<Vec<Bind>>) -> Result<Vec<Columns>, Error> {
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

fn row(row: &PgRow) -> Result<Row, sqlx::Error> {
    (0..row.len()).map(|column| value(row.try_get_raw(column)?)).collect::<Result<_, _>>().map(Row)
}

/// `SELECT 1` is INT4 and a comparison BOOL; a `sum()` is NUMERIC and must be cast to BIGINT by its statement.
fn value(raw: PgValueRef<'_>) -> Result<Value, sqlx::Error> {
    if raw.is_null() {
        return Ok(Value::Null);
    }
    let decode = match raw.type_info().name() {
        "INT8" => |raw| i64::decode(raw).map(Value::Int),
        "INT4" => |raw| i32::decode(raw).map(|value| Value::Int(value.into())),
        "BOOL" => |raw| bool::decode(raw).map(|value| Value::Int(value.into())),
        "TEXT" | "VARCHAR" | "NAME" => |raw| String::decode(raw).map(Value::Text),
        "BYTEA" => |raw| Vec::<u8>::decode(raw).map(Value::Bytes),
        kind => {
            let message = format!("a column of type {kind}: cast it to BIGINT, TEXT or BYTEA");
            return Err(sqlx::Error::Decode(message.into()));
        }
    };
    decode(raw).map_err(sqlx::Error::Decode)
}

/// Why a statement had to give way to others.
#[derive(Clone, Copy, PartialEq, Eq)]
pub(super) enum Conflict {
    /// It waited for a lock for as long as it may.
    Waited,
    /// It was chosen to end a deadlock, or cannot be put in order with others.
    Lost,
}

impl Conflict {
    pub(super) fn of(error: &sqlx::Error) -> Option<Self> {
        match code(error)? {
            "55P03" => Some(Self::Waited),
            "40001" | "40P01" => Some(Self::Lost),
            _ => None,
        }
    }
}

fn code(error: &sqlx::Error) -> Option<&str> {
    let cause = error.as_database_error()?.try_downcast_ref::<PgDatabaseError>()?;
    Some(cause.code())
}

/// Whether a statement failed because its connection is no more, and nothing else can be said of it.
pub(super) fn gone(error: &sqlx::Error) -> bool {
    match error {
        sqlx::Error::Io(_) | sqlx::Error::Tls(_) | sqlx::Error::Protocol(_) => true,
        // The server shuts down, or ended a transaction that stood idle.
        _ => matches!(code(error), Some("57P01" | "57P02" | "57P03" | "25P03")),
    }
}

/// What a failed statement means to the unit it is part of.
pub(super) fn refused(error: sqlx::Error) -> Error {
    match &error {
        sqlx::Error::Database(cause) => {
            let cause = cause.downcast_ref::<PgDatabaseError>();
            match cause.code() {
                // A lock timeout; a deadlock.
                "55P03" | "40P01" => locked(),
                // Serialization failure, unique violation, exclusion violation.
                "40001" | "23505" | "23P01" => conflict(),
                "23503" => violation("foreign_key"),
                "23514" => violation(cause.constraint().unwrap_or("unnamed")),
                "23502" => violation(cause.column().unwrap_or("unnamed")),
                // The statement took longer than its unit may.
                "57014" => too_slow(),
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
