//! The one place that knows which database runs.

pub(crate) mod connection;
pub(crate) mod flush;
mod followers;
pub(crate) mod many;
mod pool;
mod postgres;
mod sqlite;
mod trust;

use std::{
    sync::{
        Arc,
        atomic::{AtomicU64, Ordering::Relaxed},
    },
    time::Duration,
};

use kit::{Clock, Error};
use tokio::{sync::watch, time::timeout};

use self::connection::{Connection, Way};
use crate::{
    error::{outward, overloaded, too_slow, unavailable, unheard, unusable},
    migration::{self, Migration, Schema},
    schema,
    session::Session,
    unit::Unit,
};

/// The longest the buffered rows and a commit may take.
const COMMIT: Duration = Duration::from_secs(10);
/// The longest a migration may take.
const MIGRATION: Duration = Duration::from_secs(600);

tokio::task_local! {
    /// Set while a unit's closure runs in this task.
    static WITHIN: ();
}

/// How a database is opened. `Options { migrations: MIGRATIONS, ..Options::new("order", clock) }`.
#[derive(Clone)]
pub struct Options {
    /// The context that owns the database, for messages and leases.
    pub name: &'static str,
    /// Where units take their time from.
    pub clock: Clock,
    /// How many units may share one commit; PostgreSQL, where a group holds locks, takes at most 16. 1 means that each
    /// commits for itself.
    pub group_limit: usize,
    /// Connections: of PostgreSQL in all, half of them for writers; of SQLite for readers.
    pub pool: u32,
    /// The longest the closure of a unit or a read may take, and the longest it may stand in line.
    pub time_limit: Duration,
    /// The tables of the context, oldest first.
    pub migrations: &'static [Migration],
}

impl Options {
    /// The defaults: groups of at most 256 units, 16 connections, 4 seconds, no tables.
    pub fn new(name: &'static str, clock: Clock) -> Self {
        Self { name, clock, group_limit: 256, pool: 16, time_limit: Duration::from_secs(4), migrations: &[] }
    }
}

/// One context's database. Clones share it.
#[derive(Clone)]
pub struct Db(Arc<Inner>);

struct Inner {
    shared: Arc<Shared>,
    engine: Engine,
    time_limit: Duration,
}

enum Engine {
    Sqlite(sqlite::Sqlite),
    Postgres(Box<postgres::Postgres>),
}

/// What the writer and its callers both need.
pub(crate) struct Shared {
    name: &'static str,
    clock: Clock,
    counters: Arc<Counters>,
    commits: watch::Sender<u64>,
    followers: followers::Followers,
}

impl Shared {
    /// Notes that a commit made `units` units durable, and wakes whoever follows.
    fn committed(&self, units: usize) {
        self.counters.commits.fetch_add(1, Relaxed);
        self.counters.units.fetch_add(units as u64, Relaxed);
        self.commits.send_modify(|commits| *commits += 1);
    }
}

#[derive(Default)]
pub(crate) struct Counters {
    statements: AtomicU64,
    commits: AtomicU64,
    units: AtomicU64,
}

impl Counters {
    pub(crate) fn statement(&self) {
        self.statements.fetch_add(1, Relaxed);
    }
}

/// What a database has done since it was opened. Counters: they only grow.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub struct Stats {
    /// Statements of stores and of buffered rows; BEGIN, COMMIT and savepoints are not counted.
    pub statements: u64,
    /// Commits, each with a flush to disk.
    pub commits: u64,
    /// Units that were committed.
    pub units: u64,
}

/// One setting of one live connection, as the connection itself reports it.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Durability {
    /// Which connection: `writer` or `reader`.
    pub connection: String,
    /// SQLite: `synchronous`, `journal_mode`. PostgreSQL: `fsync`, `synchronous_commit`.
    pub setting: &'static str,
    /// The value; durable are `2` (FULL) and `wal`, and `on`.
    pub value: String,
}

impl Db {
    /// Opens `sqlite:PATH` or `postgres://…` and brings its tables up to date.
    ///
    /// # Errors
    /// `DATABASE_UNUSABLE` with one clear sentence: a wrong URL, no server, a database of a newer version.
    pub async fn open(url: &str, options: Options) -> Result<Self, Error> {
        Self::open_with(url, options, schema::SERVICE).await
    }

    /// Opens a database that has the tables of `schema` besides those of its context.
    pub(crate) async fn open_with(url: &str, options: Options, schema: Schema) -> Result<Self, Error> {
        let Options { name, group_limit, pool, time_limit, migrations, .. } = options;
        let clock = options.clock.clone();
        let shared = Arc::new(Shared {
            name,
            clock,
            counters: Arc::default(),
            commits: watch::Sender::new(0),
            followers: followers::Followers::default(),
        });
        let engine = if let Some(path) = url.strip_prefix("sqlite:") {
            let path = path.strip_prefix("//").unwrap_or(path);
            Engine::Sqlite(sqlite::Sqlite::open(path, pool, group_limit, shared.clone())?)
        } else if url.starts_with("postgres:") || url.starts_with("postgresql:") {
            Engine::Postgres(Box::new(postgres::Postgres::open(url, &options, shared.clone()).await?))
        } else {
            return Err(unusable(format!("The database URL of {name} must begin with `sqlite:` or `postgres:`.")));
        };
        let db = Self(Arc::new(Inner { shared, engine, time_limit }));
        let schemas = [schema, (name, migrations)];
        let applied = db.write_within(MIGRATION, async |unit: &mut Unit| migration::apply(unit, name, &schemas).await);
        match applied.await {
            Err(error) if error.reason() != migration::UP_TO_DATE => Err(error),
            _ => Ok(db),
        }
    }

    /// Saves together, or not at all, what `work` writes. The reply comes when it is on disk.
    ///
    /// Units take turns at a few writers (SQLite has one) and share commits. `work` holds everyone behind it up, so it does
    /// no network call and no other write, and ends within the time limit. An error of `work`, or a statement that failed
    /// inside it, undoes the unit and no other. When the caller goes away before the end of `work`, nothing is saved; after
    /// that, everything is, unless the commit is refused. The future must be polled until it is done or dropped: one that is kept aside unpolled keeps its
    /// turn, and everyone behind it waiting.
    ///
    /// # Errors
    /// What `work` refuses; `SERIALIZATION_FAILURE` when others were faster; `LOCK_CONFLICT` when they hold the same rows
    /// for long; `OVERLOADED` when the line is too long; `DEADLINE_EXCEEDED` past the time limit; `DEPENDENCY_UNAVAILABLE`
    /// without a database; `INTERNAL` for a write inside a unit, which would wait for itself for ever.
    pub async fn write<R>(&self, work: impl AsyncFnOnce(&mut Unit) -> Result<R, Error>) -> Result<R, Error> {
        self.write_within(self.0.time_limit, work).await
    }

    async fn write_within<R>(
        &self,
        limit: Duration,
        work: impl AsyncFnOnce(&mut Unit) -> Result<R, Error>,
    ) -> Result<R, Error> {
        if WITHIN.try_with(|()| ()).is_ok() {
            return Err(Error::internal(format!("a write to {} inside a unit would wait for itself", self.name())));
        }
        let turn = timeout(limit, self.turn()).await.unwrap_or_else(|_| Err(overloaded()))?;
        let mut unit = Unit::new(Session::new(turn), self.now(), limit);
        let result = WITHIN.scope((), timeout(limit, work(&mut unit))).await;
        // An error drops the unit, and so undoes it.
        let reply = result.unwrap_or_else(|_| Err(too_slow())).map_err(outward)?;
        unit.session.alive().map_err(outward)?;
        let touched: Vec<String> = unit.pending.changes.iter().map(|step| step.aggregate.clone()).collect();
        // Past this limit nobody knows whether it was committed: the stored key answers a repeat.
        timeout(COMMIT, save(unit)).await.unwrap_or_else(|_| Err(unheard())).map_err(outward)?;
        self.0.shared.followers.tell(&touched);
        Ok(reply)
    }

    async fn turn(&self) -> Result<Connection, Error> {
        let way = match &self.0.engine {
            Engine::Sqlite(sqlite) => Way::SqliteTurn(sqlite.turn().await?),
            Engine::Postgres(postgres) => Way::PostgresTurn(postgres.turn().await?),
        };
        Ok(Connection::new(way, self.0.shared.counters.clone()))
    }

    /// Reads with a single statement, beside the writers. Sees every write that has been answered.
    ///
    /// # Errors
    /// What `work` refuses, what [`Session::rows`] does, and `INTERNAL` for a second statement, which may see another
    /// moment than the first: [`Self::snapshot`] is for more than one.
    pub async fn read<R>(&self, work: impl AsyncFnOnce(&mut Session) -> Result<R, Error>) -> Result<R, Error> {
        let way = match &self.0.engine {
            Engine::Sqlite(sqlite) => Way::SqliteReader(sqlite.reader().await?),
            Engine::Postgres(postgres) => Way::PostgresReader(postgres.reader().await?),
        };
        self.look(way, work).await
    }

    /// Reads with several statements, which all see one moment of the database, beside the writers. Sees every write that
    /// has been answered.
    ///
    /// # Errors
    /// What `work` refuses, and what [`Session::rows`] does.
    pub async fn snapshot<R>(&self, work: impl AsyncFnOnce(&mut Session) -> Result<R, Error>) -> Result<R, Error> {
        let way = match &self.0.engine {
            Engine::Sqlite(sqlite) => Way::SqliteReader(sqlite.snapshot().await?),
            Engine::Postgres(postgres) => Way::PostgresReader(postgres.snapshot().await?),
        };
        self.look(way, work).await
    }

    async fn look<R>(&self, way: Way, work: impl AsyncFnOnce(&mut Session) -> Result<R, Error>) -> Result<R, Error> {
        let mut session = Session::new(Connection::new(way, self.0.shared.counters.clone()));
        match timeout(self.0.time_limit, work(&mut session)).await {
            Ok(result) => {
                session.connection.close().await;
                result.map_err(outward)
            }
            // A statement may be under way still: the connection goes with the session.
            Err(_) => Err(too_slow()),
        }
    }

    /// Changes after every commit of this process. A hint: other processes commit unheard, so followers poll too.
    pub fn committed(&self) -> watch::Receiver<u64> {
        self.0.shared.commits.subscribe()
    }

    /// Changes after a commit of this process with a step in the history of `aggregate`. A hint, as [`Self::committed`]
    /// is, and told to nobody else.
    pub fn changed(&self, aggregate: &str) -> watch::Receiver<()> {
        self.0.shared.followers.follow(aggregate)
    }

    /// What this database has done since it was opened.
    pub fn stats(&self) -> Stats {
        let counters = &self.0.shared.counters;
        Stats {
            statements: counters.statements.load(Relaxed),
            commits: counters.commits.load(Relaxed),
            units: counters.units.load(Relaxed),
        }
    }

    /// The durability settings of every live connection. Waits until none is in use.
    ///
    /// # Errors
    /// If a connection cannot be asked.
    pub async fn durability(&self) -> Result<Vec<Durability>, Error> {
        match &self.0.engine {
            Engine::Sqlite(sqlite) => sqlite.durability().await,
            Engine::Postgres(postgres) => postgres.durability().await,
        }
    }

    /// Moves what stands in the write-ahead log of SQLite into the database file, so that the file alone is the whole
    /// database. Waits for the writer, and changes nothing on PostgreSQL.
    ///
    /// # Errors
    /// If the file cannot be written, or somebody still reads from the log.
    pub async fn checkpoint(&self) -> Result<(), Error> {
        match &self.0.engine {
            Engine::Sqlite(sqlite) => sqlite.checkpoint().await,
            Engine::Postgres(_) => Ok(()),
        }
    }

    /// The context that owns this database.
    pub fn name(&self) -> &'static str {
        self.0.shared.name
    }

    /// The clock that units take their time from.
    pub fn clock(&self) -> &Clock {
        &self.0.shared.clock
    }

    pub(crate) fn now(&self) -> kit::Timestamp {
        self.0.shared.clock.now()
    }
}

/// Hands in what the unit has buffered and waits for its commit.
async fn save(unit: Unit) -> Result<(), Error> {
    let Unit { session, pending, .. } = unit;
    session.connection.end(pending)?.await.unwrap_or_else(|_| Err(unavailable("the writer is gone")))
}
