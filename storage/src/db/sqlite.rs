//! SQLite: one writer that queues its callers, and readers on connections of their own.
//!
//! Units that queue together share one `BEGIN IMMEDIATE` and one `COMMIT`. A caller runs its unit itself while it holds
//! the writer, inside a savepoint; the committer stands at the end of the line and commits for all of them. A caller may
//! vanish wherever it awaits, so none of them is the one who commits: the committer is called before a group's first
//! statement, and everything a caller does to the group after its own closure happens without an await.

use std::{
    path::Path,
    sync::Arc,
    time::{Duration, Instant},
};

use kit::Error;
use rusqlite::{CachedStatement, Connection, ErrorCode, OpenFlags, ffi};
use tokio::{
    sync::{Mutex, Notify, OwnedMutexGuard, Semaphore, oneshot},
    task::JoinHandle,
};

use super::{
    Durability, Shared,
    connection::Span,
    pool::{Lent, Pool},
};
use crate::{
    error::{conflict, overloaded, unavailable, unusable, violation},
    failpoint,
    value::{Bind, Row, Value},
};

/// How many callers may stand in line for the writer.
const LINE: usize = 4_096;
/// How many prepared statements a connection keeps.
const STATEMENTS: usize = 256;
/// How long to wait for another process that writes the same file, and how long between looks.
const BUSY: Duration = Duration::from_secs(5);
const LOOK_AGAIN: Duration = Duration::from_millis(2);

pub(crate) struct Sqlite {
    path: String,
    writer: Arc<Mutex<Writer>>,
    line: Semaphore,
    readers: Pool<Connection>,
    committer: JoinHandle<()>,
}

impl Sqlite {
    pub(super) fn open(path: &str, pool: u32, group_limit: usize, shared: Arc<Shared>) -> Result<Self, Error> {
        let called = Arc::new(Notify::new());
        let connection = connect(path, false)?;
        connection.busy_timeout(Duration::ZERO).map_err(refused)?;
        let writer = Writer {
            connection,
            called: called.clone(),
            waiting: Vec::new(),
            open: false,
            limit: group_limit.max(1),
            shared,
        };
        let writer = Arc::new(Mutex::new(writer));
        Ok(Self {
            path: path.to_owned(),
            committer: tokio::spawn(commit_when_called(called, writer.clone())),
            writer,
            line: Semaphore::new(LINE),
            readers: Pool::new(pool),
        })
    }

    /// Waits for the writer and opens a savepoint in the running group, or in a new one.
    pub(super) async fn turn(&self) -> Result<Turn, Error> {
        let _place = self.line.try_acquire().map_err(|_| overloaded())?;
        let mut writer = self.writer.clone().lock_owned().await;
        let patience = Instant::now() + BUSY;
        // SQLite itself would wait with the thread, and a committer of the same file may need that thread.
        while !writer.begin()? {
            if Instant::now() > patience {
                return Err(conflict());
            }
            tokio::time::sleep(LOOK_AGAIN).await;
        }
        Ok(Turn { writer, ended: false })
    }

    /// A reader for one statement.
    pub(super) async fn reader(&self) -> Result<Reader, Error> {
        let mut lent = self.readers.borrow().await?;
        let connection = match lent.idle() {
            Some(connection) => connection,
            None => connect(&self.path, true)?,
        };
        lent.set(connection);
        Ok(Reader { lent, span: Span::One })
    }

    /// A reader that sees one moment of the database from its first statement on.
    pub(super) async fn snapshot(&self) -> Result<Reader, Error> {
        let mut reader = self.reader().await?;
        reader.span = Span::Many;
        execute(reader.lent.get()?, "BEGIN")?;
        Ok(reader)
    }

    /// Moves the write-ahead log into the database file, and leaves it empty.
    pub(super) async fn checkpoint(&self) -> Result<(), Error> {
        let writer = self.writer.lock().await;
        let busy = writer.connection.query_row("PRAGMA wal_checkpoint(TRUNCATE)", [], |row| row.get::<_, i64>(0));
        match busy.map_err(refused)? {
            0 => Ok(()),
            _ => Err(unavailable("somebody still reads from the write-ahead log")),
        }
    }

    pub(super) async fn durability(&self) -> Result<Vec<Durability>, Error> {
        let mut found = settings("writer", &self.writer.lock().await.connection)?;
        let (readers, _permits) = self.readers.take_all().await?;
        let settings = readers.iter().map(|reader| settings("reader", reader)).collect::<Result<Vec<_>, _>>();
        self.readers.put_all(readers);
        found.extend(settings?.into_iter().flatten());
        Ok(found)
    }
}

impl Drop for Sqlite {
    fn drop(&mut self) {
        self.committer.abort();
    }
}

/// Commits the group that is open when its turn comes. It lets whoever is ready to write step into line first.
async fn commit_when_called(called: Arc<Notify>, writer: Arc<Mutex<Writer>>) {
    loop {
        called.notified().await;
        tokio::task::yield_now().await;
        writer.lock().await.commit();
    }
}

pub(crate) struct Writer {
    connection: Connection,
    called: Arc<Notify>,
    /// Whoever waits for the commit of the open group.
    waiting: Vec<oneshot::Sender<Result<(), Error>>>,
    open: bool,
    limit: usize,
    shared: Arc<Shared>,
}

impl Writer {
    /// Opens a savepoint, in the open group or in a new one. Says whether it could: another process may be writing.
    fn begin(&mut self) -> Result<bool, Error> {
        if self.open && self.connection.is_autocommit() {
            self.lose(&unavailable("SQLite rolled a group back"));
        }
        if !self.open {
            match self.connection.prepare_cached("BEGIN IMMEDIATE").and_then(|mut begin| begin.raw_execute()) {
                Err(error) if error.sqlite_error_code() == Some(ErrorCode::DatabaseBusy) => return Ok(false),
                begun => begun.map_err(refused)?,
            };
            self.open = true;
            self.called.notify_one();
        }
        execute(&self.connection, "SAVEPOINT unit").map(|()| true)
    }

    /// Undoes the unit that is open; its neighbours keep what they did. Without any, the file is free at once.
    fn undo(&mut self) {
        if self.waiting.is_empty() {
            return self.roll_back();
        }
        let undone =
            execute(&self.connection, "ROLLBACK TO unit").and_then(|()| execute(&self.connection, "RELEASE unit"));
        if let Err(error) = undone {
            self.lose(&error);
        }
    }

    /// Commits the open group and answers everyone in it.
    fn commit(&mut self) {
        // Closed already by a group limit, or by the failure of every unit in it.
        if !std::mem::take(&mut self.open) {
            return;
        }
        failpoint::hit_in(self.shared.name, "before-commit");
        if let Err(error) = execute(&self.connection, "COMMIT") {
            return self.lose(&error);
        }
        failpoint::hit_in(self.shared.name, "after-commit");
        self.shared.committed(self.waiting.len());
        for waiting in self.waiting.drain(..) {
            // Who left meanwhile finds its reply by its key.
            let _ = waiting.send(Ok(()));
        }
    }

    /// Gives the open group up: nothing of it is in the database, and everyone in it is told.
    fn lose(&mut self, error: &Error) {
        self.roll_back();
        for waiting in self.waiting.drain(..) {
            let _ = waiting.send(Err(error.clone()));
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
    ended: bool,
}

impl Turn {
    /// SQLite rolls a whole transaction back on some faults (a full disk); the statements after it would then each
    /// commit on their own.
    fn connection(&self) -> Result<&Connection, Error> {
        if self.writer.connection.is_autocommit() {
            return Err(unavailable("SQLite rolled the transaction of a unit back"));
        }
        Ok(&self.writer.connection)
    }

    pub(crate) fn query(&self, sql: &str, binds: &[Bind]) -> Result<Vec<Row>, Error> {
        query(self.connection()?, sql, binds)
    }

    pub(crate) fn execute(&self, sql: &str, binds: &[Bind]) -> Result<u64, Error> {
        change(self.connection()?, sql, binds)
    }

    pub(crate) fn batch(&self, sql: &str) -> Result<(), Error> {
        self.connection()?.execute_batch(sql).map_err(refused)
    }

    /// Ends the unit well. The answer comes when the group it belongs to is on disk.
    pub(crate) fn end(mut self) -> Result<oneshot::Receiver<Result<(), Error>>, Error> {
        execute(self.connection()?, "RELEASE unit")?;
        self.ended = true;
        let (answer, receipt) = oneshot::channel();
        self.writer.waiting.push(answer);
        if self.writer.waiting.len() >= self.writer.limit {
            self.writer.commit();
        }
        Ok(receipt)
    }
}

impl Drop for Turn {
    fn drop(&mut self) {
        if !self.ended {
            self.writer.undo();
        }
    }
}

/// A reader and its snapshot, which ends with it.
pub(crate) struct Reader {
    lent: Lent<Connection>,
    span: Span,
}

impl Reader {
    pub(crate) fn query(&mut self, sql: &str, binds: &[Bind]) -> Result<Vec<Row>, Error> {
        self.span.next()?;
        query(self.lent.get()?, sql, binds)
    }

    pub(crate) fn execute(&mut self, sql: &str, binds: &[Bind]) -> Result<u64, Error> {
        self.span.next()?;
        change(self.lent.get()?, sql, binds)
    }
}

impl Drop for Reader {
    fn drop(&mut self) {
        // Of a single statement nothing is open.
        let ended = self.lent.get().and_then(|connection| match self.span {
            Span::Many => execute(connection, "ROLLBACK"),
            Span::One | Span::Over => Ok(()),
        });
        if ended.is_ok() {
            self.lent.give_back();
        }
    }
}

fn connect(path: &str, read_only: bool) -> Result<Connection, Error> {
    if let Some(folder) = Path::new(path).parent().filter(|folder| !folder.as_os_str().is_empty()) {
        std::fs::create_dir_all(folder)
            .map_err(|error| unusable(format!("The folder {} cannot be made: {error}.", folder.display())))?;
    }
    let flags = OpenFlags::SQLITE_OPEN_READ_WRITE | OpenFlags::SQLITE_OPEN_CREATE | OpenFlags::SQLITE_OPEN_NO_MUTEX;
    let open = || {
        let connection = Connection::open_with_flags(path, flags)?;
        connection.busy_timeout(BUSY)?;
        connection.execute_batch(
            "PRAGMA journal_mode = WAL; PRAGMA synchronous = FULL; PRAGMA foreign_keys = ON;
             PRAGMA journal_size_limit = 67108864; PRAGMA wal_autocheckpoint = 4000; PRAGMA temp_store = MEMORY;",
        )?;
        if read_only {
            connection.execute_batch("PRAGMA query_only = ON")?;
        }
        connection.set_prepared_statement_cache_capacity(STATEMENTS);
        Ok(connection)
    };
    open().map_err(|error: rusqlite::Error| unusable(format!("The database file {path} cannot be opened: {error}.")))
}

fn settings(connection: &str, on: &Connection) -> Result<Vec<Durability>, Error> {
    let read = |setting: &'static str, value: String| Durability { connection: connection.to_owned(), setting, value };
    let synchronous: i64 = on.query_row("PRAGMA synchronous", [], |row| row.get(0)).map_err(refused)?;
    let journal: String = on.query_row("PRAGMA journal_mode", [], |row| row.get(0)).map_err(refused)?;
    Ok(vec![read("synchronous", synchronous.to_string()), read("journal_mode", journal)])
}

/// A statement without parameters and rows, prepared once.
fn execute(connection: &Connection, sql: &str) -> Result<(), Error> {
    connection.prepare_cached(sql).and_then(|mut statement| statement.raw_execute()).map(|_| ()).map_err(refused)
}

fn query(connection: &Connection, sql: &str, binds: &[Bind]) -> Result<Vec<Row>, Error> {
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

fn change(connection: &Connection, sql: &str, binds: &[Bind]) -> Result<u64, Error> {
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
fn prepare<'connection>(
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

fn refused(error: rusqlite::Error) -> Error {
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
