//! What goes into a statement and what comes out: integers, text and bytes, the portable subset of both databases.

use std::fmt::Write;

use kit::{Error, Timestamp};

/// A value for `$n` of a statement. A missing one keeps its type, since PostgreSQL asks for it.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum Bind {
    /// BIGINT.
    Int(Option<i64>),
    /// TEXT.
    Text(Option<String>),
    /// BYTEA.
    Bytes(Option<Vec<u8>>),
}

impl From<i64> for Bind {
    fn from(value: i64) -> Self {
        Self::Int(Some(value))
    }
}

impl From<Option<i64>> for Bind {
    fn from(value: Option<i64>) -> Self {
        Self::Int(value)
    }
}

impl From<i32> for Bind {
    fn from(value: i32) -> Self {
        Self::Int(Some(value.into()))
    }
}

impl From<Timestamp> for Bind {
    fn from(value: Timestamp) -> Self {
        Self::Int(Some(value.micros()))
    }
}

impl From<Option<Timestamp>> for Bind {
    fn from(value: Option<Timestamp>) -> Self {
        Self::Int(value.map(Timestamp::micros))
    }
}

impl From<&str> for Bind {
    fn from(value: &str) -> Self {
        Self::Text(Some(value.to_owned()))
    }
}

impl From<Option<&str>> for Bind {
    fn from(value: Option<&str>) -> Self {
        Self::Text(value.map(str::to_owned))
    }
}

impl From<&String> for Bind {
    fn from(value: &String) -> Self {
        Self::Text(Some(value.clone()))
    }
}

impl From<String> for Bind {
    fn from(value: String) -> Self {
        Self::Text(Some(value))
    }
}

impl From<Option<String>> for Bind {
    fn from(value: Option<String>) -> Self {
        Self::Text(value)
    }
}

impl From<&[u8]> for Bind {
    fn from(value: &[u8]) -> Self {
        Self::Bytes(Some(value.to_vec()))
    }
}

impl From<Vec<u8>> for Bind {
    fn from(value: Vec<u8>) -> Self {
        Self::Bytes(Some(value))
    }
}

impl From<Option<Vec<u8>>> for Bind {
    fn from(value: Option<Vec<u8>>) -> Self {
        Self::Bytes(value)
    }
}

/// One column of a row.
#[derive(Clone, Debug, PartialEq, Eq, Hash)]
pub(crate) enum Value {
    Null,
    Int(i64),
    Text(String),
    Bytes(Vec<u8>),
}

/// One row of a result. Columns are read by position, from 0. A column of another type than the one asked for is a
/// fault of the statement: `INTERNAL`.
#[derive(Clone, Debug, PartialEq, Eq, Hash)]
pub struct Row(pub(crate) Vec<Value>);

impl Row {
    /// The integer in column `index`.
    ///
    /// # Errors
    /// `INTERNAL` if the column is missing, NULL or of another type; so for every reader of this type.
    pub fn int(&self, index: usize) -> Result<i64, Error> {
        self.optional_int(index)?.ok_or_else(|| missing(index))
    }

    /// The integer in column `index`, or `None` for NULL.
    ///
    /// # Errors
    /// See [`Row::int`].
    pub fn optional_int(&self, index: usize) -> Result<Option<i64>, Error> {
        match self.0.get(index) {
            Some(Value::Int(value)) => Ok(Some(*value)),
            Some(Value::Null) => Ok(None),
            other => Err(mismatch(index, "an integer", other)),
        }
    }

    /// The text in column `index`.
    ///
    /// # Errors
    /// See [`Row::int`].
    pub fn text(&self, index: usize) -> Result<String, Error> {
        self.optional_text(index)?.ok_or_else(|| missing(index))
    }

    /// The text in column `index`, or `None` for NULL.
    ///
    /// # Errors
    /// See [`Row::int`].
    pub fn optional_text(&self, index: usize) -> Result<Option<String>, Error> {
        match self.0.get(index) {
            Some(Value::Text(value)) => Ok(Some(value.clone())),
            Some(Value::Null) => Ok(None),
            other => Err(mismatch(index, "text", other)),
        }
    }

    /// The bytes in column `index`.
    ///
    /// # Errors
    /// See [`Row::int`].
    pub fn bytes(&self, index: usize) -> Result<Vec<u8>, Error> {
        self.optional_bytes(index)?.ok_or_else(|| missing(index))
    }

    /// The bytes in column `index`, or `None` for NULL.
    ///
    /// # Errors
    /// See [`Row::int`].
    pub fn optional_bytes(&self, index: usize) -> Result<Option<Vec<u8>>, Error> {
        match self.0.get(index) {
            Some(Value::Bytes(value)) => Ok(Some(value.clone())),
            Some(Value::Null) => Ok(None),
            other => Err(mismatch(index, "bytes", other)),
        }
    }

    /// The time in column `index`, stored as microseconds since 1970.
    ///
    /// # Errors
    /// See [`Row::int`].
    pub fn time(&self, index: usize) -> Result<Timestamp, Error> {
        self.int(index).map(Timestamp::from_micros)
    }

    /// The time in column `index`, or `None` for NULL.
    ///
    /// # Errors
    /// See [`Row::int`].
    pub fn optional_time(&self, index: usize) -> Result<Option<Timestamp>, Error> {
        Ok(self.optional_int(index)?.map(Timestamp::from_micros))
    }
}

fn missing(index: usize) -> Error {
    Error::internal(format!("column {index} is NULL where a value was expected"))
}

fn mismatch(index: usize, expected: &str, found: Option<&Value>) -> Error {
    let found = match found {
        None => "no such column",
        Some(Value::Null) => "NULL",
        Some(Value::Int(_)) => "an integer",
        Some(Value::Text(_)) => "text",
        Some(Value::Bytes(_)) => "bytes",
    };
    Error::internal(format!("column {index} holds {found} where {expected} was expected"))
}

/// `($1, $2), ($3, $4)`: the parameters of so many rows, for `VALUES`.
pub fn placeholders(rows: usize, columns: usize) -> String {
    let mut text = String::with_capacity(rows * columns * 6);
    for row in 0..rows {
        text.push_str(if row == 0 { "(" } else { ", (" });
        for column in 1..=columns {
            let before = if column == 1 { "" } else { ", " };
            // A String takes everything.
            let _ = write!(text, "{before}${}", row * columns + column);
        }
        text.push(')');
    }
    text
}
