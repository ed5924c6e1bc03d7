//! Statements on SQLite: prepared once, with the text and the values that it needs.

use kit::Error;
use rusqlite::{CachedStatement, Connection, ErrorCode, ffi};

use crate::{
    error::{conflict, unavailable, violation},
    value::{Bind, Row, Value},
};

/// A statement without parameters and rows, prepared once.
pub(super) fn execute(connection: &Connection, sql: &str) -> Result<(), Error> {
    connection.prepare_cached(sql).and_then(|mut statement| statement.raw_execute()).map(|_| ()).map_err(refused)
}

pub(super) fn query(connection: &Connection, sql: &str, binds: &[Bind]) -> Result<Vec<Row>, Error> {
    let mut statement = prepare(connection, sql, binds)?;
    let columns = statement.column_count();
    let mut rows = statement.raw_query();
    let mut found = Vec::new();
    while let Some(row) = rows.next().map_err(refused)? {
        let mut values = Vec::with_capacity(columns);
        for column in 0..columns {
            values.push(row.get_ref(column).and_then(|value| Ok(owned(value)?)).map_err(refused)?);
        }
        found.push(Row(values));
    }
    Ok(found)
}

pub(super) fn change(connection: &Connection, sql: &str, binds: &[Bind]) -> Result<u64, Error> {
    let mut statement = prepare(connection, sql, binds)?;
    if statement.column_count() > 0 {
        let mut rows = statement.raw_query();
        let mut touched = 0;
        while rows.next().map_err(refused)?.is_some() {
            touched += 1;
        }
        return Ok(touched);
    }
    statement.raw_execute().map(|touched| touched as u64).map_err(refused)
}

/// A statement with its parameters, prepared once.
pub(super) fn prepare<'connection>(
    connection: &'connection Connection,
    sql: &str,
    binds: &[Bind],
) -> Result<CachedStatement<'connection>, Error> {
    let mut statement = connection.prepare_cached(&text(sql)).map_err(refused)?;
    for index in 1..=statement.parameter_count() {
        let bound = match binds.get(index - 1) {
            Some(Bind::Int(value)) => statement.raw_bind_parameter(index, value),
            Some(Bind::Text(value)) => statement.raw_bind_parameter(index, value),
            Some(Bind::Bytes(value)) => statement.raw_bind_parameter(index, value),
            None => return Err(Error::internal(format!("parameter {index} has no value: {sql}"))),
        };
        bound.map_err(refused)?;
    }
    Ok(statement)
}

/// The text of a statement for SQLite. To it `$2` is a name, numbered by where it first appears, and `?2` a number. And it
/// plans a statement anew each time that the parameter of a bare `LIMIT ?2` is bound, but not for `LIMIT +?2`.
fn text(sql: &str) -> String {
    let mut parts = sql.split('$');
    let mut text = String::with_capacity(sql.len() + 8);
    text.push_str(parts.next().unwrap_or_default());
    for part in parts {
        text.push_str(if text.ends_with("LIMIT ") { "+?" } else { "?" });
        text.push_str(part);
    }
    text
}

fn owned(value: rusqlite::types::ValueRef<'_>) -> Result<Value, rusqlite::types::FromSqlError> {
    use rusqlite::types::{FromSqlError, ValueRef};

    Ok(match value {
        ValueRef::Null => Value::Null,
        ValueRef::Integer(value) => Value::Int(value),
        ValueRef::Text(_) => Value::Text(value.as_str()?.to_owned()),
        ValueRef::Blob(value) => Value::Bytes(value.to_vec()),
        // Floats are outside the portable subset.
        ValueRef::Real(_) => return Err(FromSqlError::InvalidType),
    })
}

pub(super) fn refused(error: rusqlite::Error) -> Error {
    let rusqlite::Error::SqliteFailure(cause, message) = &error else {
        return Error::internal(error);
    };
    match cause.code {
        ErrorCode::ConstraintViolation => match cause.extended_code {
            ffi::SQLITE_CONSTRAINT_UNIQUE | ffi::SQLITE_CONSTRAINT_PRIMARYKEY | ffi::SQLITE_CONSTRAINT_ROWID => {
                conflict()
            }
            ffi::SQLITE_CONSTRAINT_FOREIGNKEY => violation("foreign_key"),
            // "CHECK constraint failed: accounts_no_overdraft"
            _ => violation(message.as_deref().and_then(|text| text.rsplit(": ").next()).unwrap_or("unnamed")),
        },
        ErrorCode::DatabaseBusy | ErrorCode::DatabaseLocked => conflict(),
        ErrorCode::DiskFull | ErrorCode::SystemIoFailure | ErrorCode::CannotOpen | ErrorCode::ReadOnly => {
            unavailable(error)
        }
        _ => Error::internal(error),
    }
}

#[cfg(test)]
mod tests {
    use rusqlite::StatementStatus;

    use super::*;

    #[test]
    fn parameters_are_numbered_and_a_limit_is_no_reason_to_plan_anew() {
        let sql = "SELECT $2, $1 WHERE $1 < $2 LIMIT $3";
        assert_eq!(text(sql), "SELECT ?2, ?1 WHERE ?1 < ?2 LIMIT +?3");
        let connection = Connection::open_in_memory().unwrap();
        for limit in 1..=3 {
            let rows = query(&connection, sql, &[1.into(), 2.into(), limit.into()]).unwrap();
            assert_eq!((rows[0].int(0).unwrap(), rows[0].int(1).unwrap()), (2, 1));
            let statement = connection.prepare_cached(&text(sql)).unwrap();
            assert_eq!(statement.get_status(StatementStatus::RePrepare), 0, "limit {limit}");
        }
        assert!(query(&connection, sql, &[1.into()]).is_err(), "a parameter without a value");
    }

    #[test]
    fn sqlite_is_compiled_as_the_workspace_asks() {
        let connection = Connection::open_in_memory().unwrap();
        let rows = query(&connection, "SELECT compile_options FROM pragma_compile_options", &[]).unwrap();
        let options: Vec<String> = rows.iter().map(|row| row.text(0).unwrap()).collect();
        assert!(options.contains(&"THREADSAFE=2".to_owned()), "{options:?}");
        assert!(!options.contains(&"ENABLE_MEMORY_MANAGEMENT".to_owned()), "{options:?}");
    }
}
