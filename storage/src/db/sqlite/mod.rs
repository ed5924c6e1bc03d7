//! SQLite: one writer that queues its callers, and readers on connections of their own.

mod statement;
mod writer;

use std::{
    path::Path,
    sync::Arc,
    time::{Duration, Instant},
};

use kit::Error;
use rusqlite::{Connection, OpenFlags};
use tokio::{
    sync::{Mutex, Notify, Semaphore},
    task::JoinHandle,
};

pub(crate) use self::writer::Turn;
use self::{
    statement::{change, execute, query, refused},
    writer::{Writer, commit_when_called},
};
use super::{
    Durability, Shared,
    connection::Span,
    pool::{Lent, Pool},
};
use crate::{
    error::{conflict, overloaded, unavailable, unusable},
    value::{Bind, Row},
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
        let writer = Arc::new(Mutex::new(Writer::new(connection, called.clone(), group_limit.max(1), shared)));
        Ok(Self {
            path: path.to_owned(),
            committer: tokio::spawn(commit_when_called(called, writer.clone())),
            writer,
            line: Semaphore::new(LINE),
            readers: Pool::new(pool),
        })
    }

    /// Waits for the writer and a place in the running group, or in a new one.
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
        Ok(Turn::new(writer))
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
        let busy = writer.connection().query_row("PRAGMA wal_checkpoint(TRUNCATE)", [], |row| row.get::<_, i64>(0));
        match busy.map_err(refused)? {
            0 => Ok(()),
            _ => Err(unavailable("somebody still reads from the write-ahead log")),
        }
    }

    pub(super) async fn durability(&self) -> Result<Vec<Durability>, Error> {
        let mut found = settings("writer", self.writer.lock().await.connection())?;
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
