//! PostgreSQL: a few writers on which units share transactions, and readers on connections of their own.

mod line;
mod statement;
mod turn;
mod writer;

use std::{borrow::Cow, str::FromStr, sync::Arc, time::Duration};

use kit::Error;
use sqlx::{
    ConnectOptions,
    postgres::{PgConnectOptions, PgConnection},
};
use tokio::sync::Mutex;

use self::{
    line::Line,
    statement::{Answer, Statement, gone, refused},
    writer::Writer,
};
pub(super) use self::{
    statement::{Columns, columns},
    turn::Turn,
};
use super::{
    Durability, Options, Shared,
    connection::Span,
    pool::{self, Pool},
};
use crate::{
    error::{unavailable, unusable},
    value::{Bind, Row},
};

/// How many units share a transaction at most. Each holds its locks until the last of them is done.
const GROUP: usize = 16;
/// How many writers are always at work. The others are called when these do not keep up.
const ALWAYS: u32 = 4;
/// How many prepared statements a connection keeps.
const STATEMENTS: usize = 256;
/// How long connecting may take.
const CONNECT: Duration = Duration::from_secs(5);
/// How much longer than a unit a transaction may stand idle: the server ends the transaction of a process that has gone
/// silent, never one whose unit is merely slow, since it has neighbours.
const SILENT: Duration = Duration::from_secs(1);

/// Two processes that start together bring the tables up one after the other; there is no hurry.
pub(super) const ONE_AT_A_TIME: &str =
    "SET LOCAL lock_timeout = 0; SET LOCAL statement_timeout = 0; SELECT pg_advisory_xact_lock(4702111234474983745);";

pub(crate) struct Postgres {
    server: Arc<Server>,
    line: Arc<Line>,
    writers: usize,
    readers: Pool<PgConnection>,
    /// Whoever asks every writer at once must be alone in that.
    asking: Mutex<()>,
}

impl Postgres {
    /// Connects once, to find a wrong address or an unfit database at start.
    pub(super) async fn open(url: &str, options: &Options, shared: Arc<Shared>) -> Result<Self, Error> {
        let Options { name, pool, time_limit, .. } = *options;
        let server = Arc::new(Server::at(url, name, time_limit)?);
        let mut connection = server
            .connect(Purpose::Read)
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
        let writers = (pool / 2).max(1);
        let readers = Pool::new(pool.saturating_sub(writers).max(1));
        readers.put_all(vec![connection]);
        let group = options.group_limit.clamp(1, GROUP);
        let line = Arc::new(Line::new(group));
        // Where units share nothing, waiting for a writer gains nothing.
        let always = if group == 1 { writers } else { ALWAYS };
        for number in 0..writers {
            let (server, line, shared) = (server.clone(), line.clone(), shared.clone());
            tokio::spawn(Writer { server, line, shared, reserve: number >= always }.work());
        }
        Ok(Self { server, line, writers: writers as usize, readers, asking: Mutex::new(()) })
    }

    /// Waits for a writer.
    pub(super) async fn turn(&self) -> Result<Turn, Error> {
        let lent = self.line.join().await?;
        Ok(Turn::new(self.line.clone(), lent))
    }

    /// A reader for one statement.
    pub(super) async fn reader(&self) -> Result<Reader, Error> {
        let mut reader =
            Reader { lent: self.readers.borrow().await?, span: Span::One, doubtful: true, server: self.server.clone() };
        reader.connect().await?;
        Ok(reader)
    }

    /// A reader that sees one moment of the database from its first statement on.
    pub(super) async fn snapshot(&self) -> Result<Reader, Error> {
        let mut reader = self.reader().await?;
        reader.run(Statement::batch("BEGIN")).await?;
        reader.span = Span::Many;
        Ok(reader)
    }

    pub(super) async fn durability(&self) -> Result<Vec<Durability>, Error> {
        const FSYNC: &str = "SELECT current_setting('fsync'), current_setting('synchronous_commit')";
        let found = |connection: &str, row: &Row| {
            let setting = |setting, value| Durability { connection: connection.to_owned(), setting, value };
            Ok::<_, Error>([setting("fsync", row.text(0)?), setting("synchronous_commit", row.text(1)?)])
        };
        let _alone = self.asking.lock().await;
        let mut settings = Vec::new();
        // Whoever has a turn at each writer at once has asked them all.
        let mut turns = Vec::new();
        for _ in 0..self.writers {
            let mut turn = Turn::new(self.line.clone(), self.line.join_first().await?);
            for row in turn.query(FSYNC.into(), &[]).await? {
                settings.extend(found("writer", &row)?);
            }
            turns.push(turn);
        }
        drop(turns);
        let (mut connections, _permits) = self.readers.take_all().await?;
        for connection in &mut connections {
            let answer = Statement::query(FSYNC.into(), &[]).run(connection).await.map_err(refused)?;
            for row in answer.rows() {
                settings.extend(found("reader", &row)?);
            }
        }
        self.readers.put_all(connections);
        Ok(settings)
    }
}

impl Drop for Postgres {
    fn drop(&mut self) {
        self.line.close();
    }
}

/// Where the connections go.
struct Server(PgConnectOptions);

/// What a connection is for.
enum Purpose {
    /// Nothing but reading, and a transaction sees one moment, as on SQLite.
    Read,
    Write,
}

impl Server {
    fn at(url: &str, name: &str, time_limit: Duration) -> Result<Self, Error> {
        let settings = [
            // Durable, whatever the server's defaults.
            ("synchronous_commit", "on".to_owned()),
            // Nobody waits long for a lock, and no statement outlasts its unit.
            ("lock_timeout", "500ms".to_owned()),
            ("statement_timeout", milliseconds(time_limit)),
            ("idle_in_transaction_session_timeout", milliseconds(time_limit + SILENT)),
            // A peer that no longer acknowledges is given up.
            ("tcp_user_timeout", "10s".to_owned()),
        ];
        let options = PgConnectOptions::from_str(url)
            .map_err(|error| unusable(format!("The database URL of {name} is malformed: {error}.")))?
            .application_name(name)
            .statement_cache_capacity(STATEMENTS)
            .options(settings)
            .disable_statement_logging();
        Ok(Self(options))
    }

    async fn connect(&self, purpose: Purpose) -> Result<PgConnection, sqlx::Error> {
        let (isolation, read_only) = match purpose {
            Purpose::Read => ("repeatable read", "on"),
            Purpose::Write => ("read committed", "off"),
        };
        let settings = [("default_transaction_isolation", isolation), ("default_transaction_read_only", read_only)];
        let options = self.0.clone().options(settings);
        // Rare, and so large that in place it would make the future of every statement large, whatever the database.
        match tokio::time::timeout(CONNECT, Box::pin(options.connect())).await {
            Ok(connected) => connected,
            Err(_) => Err(sqlx::Error::PoolTimedOut),
        }
    }
}

/// A setting of at least a millisecond: 0 would be no limit.
fn milliseconds(duration: Duration) -> String {
    format!("{}ms", duration.as_millis().max(1))
}

/// A reader and its snapshot. Dropped before [`Reader::close`] it takes its connection with it.
pub(crate) struct Reader {
    lent: pool::Lent<PgConnection>,
    span: Span,
    /// The connection may have died since it was used last.
    doubtful: bool,
    server: Arc<Server>,
}

impl Reader {
    pub(super) async fn query(&mut self, sql: Cow<'static, str>, binds: &[Bind]) -> Result<Vec<Row>, Error> {
        self.run(Statement::query(sql, binds)).await.map(Answer::rows)
    }

    pub(super) async fn execute(&mut self, sql: &'static str, binds: &[Bind]) -> Result<u64, Error> {
        self.run(Statement::change(sql.into(), binds)).await.map(Answer::count)
    }

    /// What one connection cannot read because it is dead, another can.
    async fn run(&mut self, statement: Statement) -> Result<Answer, Error> {
        self.span.next()?;
        loop {
            match statement.run(self.lent.get()?).await {
                Err(error) if gone(&error) => {
                    self.lent.forget();
                    if !self.doubtful {
                        return Err(refused(error));
                    }
                    self.connect().await?;
                }
                answer => {
                    self.doubtful = false;
                    return answer.map_err(refused);
                }
            }
        }
    }

    /// Takes a connection that was used before, or a new one.
    async fn connect(&mut self) -> Result<(), Error> {
        let connection = match self.lent.idle() {
            Some(connection) => connection,
            None => {
                self.doubtful = false;
                self.server.connect(Purpose::Read).await.map_err(unavailable)?
            }
        };
        self.lent.set(connection);
        Ok(())
    }

    /// Ends the snapshot; the connection serves the next reader.
    pub(super) async fn close(mut self) {
        let ended = match (self.span, self.lent.get()) {
            (Span::Many, Ok(connection)) => run(connection, "ROLLBACK").await,
            (_, found) => found.map(|_| ()),
        };
        if ended.is_ok() {
            self.lent.give_back();
        }
    }
}

async fn run(connection: &mut PgConnection, sql: &'static str) -> Result<(), Error> {
    Statement::batch(sql).run(connection).await.map(|_| ()).map_err(refused)
}

async fn text(connection: &mut PgConnection, sql: &'static str) -> Result<String, Error> {
    let found = Statement::query(sql.into(), &[]).run(connection).await.map_err(refused)?.rows();
    found.first().map_or_else(|| Err(Error::internal("no row")), |row| row.text(0))
}
