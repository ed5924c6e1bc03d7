//! The one place that knows which database runs.

mod pool;
pub(crate) mod postgres;
pub(crate) mod sqlite;

use std::{
    sync::{
        Arc,
        atomic::{AtomicU64, Ordering::Relaxed},
    },
    time::Duration,
};

use kit::{Clock, Error};
use tokio::{sync::watch, time::timeout};

use crate::{
    error::{outward, unavailable, unusable},
    failpoint, flush,
    migration::{self, Migration, Schema},
    schema,
    session::{Connection, Session},
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
    /// How many units may share one commit on SQLite. 1 means that each commits for itself.
    pub group_limit: usize,
    /// Connections: of PostgreSQL in all, of SQLite for readers.
    pub pool: u32,
    /// The longest the closure of a unit or a read may take.
    pub time_limit: Duration,
    /// The tables of the context, oldest first.
    pub migrations: &'static [Migration],
}

impl Options {
    /// The defaults: groups of at most 256 units, 16 connections, 5 seconds, no tables.
    pub fn new(name: &'static str, clock: Clock) -> Self {
        Self { name, clock, group_limit: 256, pool: 16, time_limit: Duration::from_secs(5), migrations: &[] }
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
    /// Which connection: `writer`, `reader` or `pool`.
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
        let Options { name, clock, group_limit, pool, time_limit, migrations } = options;
        let shared = Arc::new(Shared { name, clock, counters: Arc::default(), commits: watch::Sender::new(0) });
        let engine = if let Some(path) = url.strip_prefix("sqlite:") {
            let path = path.strip_prefix("//").unwrap_or(path);
            Engine::Sqlite(sqlite::Sqlite::open(path, pool, group_limit, shared.clone())?)
        } else if url.starts_with("postgres:") || url.starts_with("postgresql:") {
            Engine::Postgres(Box::new(postgres::Postgres::open(url, pool, name).await?))
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
    /// Units of one SQLite file run one after the other and share commits; `work` holds everyone up, so it does no
    /// network call and no other write, and ends within the time limit. An error of `work`, or a statement that failed
    /// inside it, undoes the unit. When the caller goes away before the end of `work`, nothing is saved; after that,
    /// everything is. The future must be polled until it is done or dropped: on SQLite one that is kept aside unpolled
    /// keeps its place in the line, and everyone behind it waiting.
    ///
    /// # Errors
    /// What `work` refuses; `SERIALIZATION_FAILURE` when others were faster; `OVERLOADED` when the line is too long;
    /// `DEADLINE_EXCEEDED` past the time limit; `DEPENDENCY_UNAVAILABLE` without a database; `INTERNAL` for a write
    /// inside a unit, which would wait for itself for ever.
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
        let connection = match &self.0.engine {
            Engine::Sqlite(sqlite) => Connection::Turn(sqlite.turn().await?),
            Engine::Postgres(postgres) => Connection::Transaction(postgres.begin(postgres::Access::Write).await?),
        };
        let session = Session::new(connection, self.0.shared.counters.clone());
        let mut unit = Unit::new(session, self.now(), limit);
        let result = WITHIN.scope((), timeout(limit, work(&mut unit))).await;
        let result = result.unwrap_or_else(|_| Err(too_slow()));
        match result.and_then(|reply| unit.session.alive().map(|()| reply)) {
            // Past this limit nobody knows whether it was committed: the stored key answers a repeat.
            Ok(reply) => match timeout(COMMIT, self.save(unit)).await {
                Ok(saved) => saved.map(|()| reply).map_err(outward),
                Err(_) => Err(too_slow()),
            },
            Err(error) => {
                undo(unit).await;
                Err(outward(error))
            }
        }
    }

    /// Writes what the unit has buffered and commits it.
    async fn save(&self, unit: Unit) -> Result<(), Error> {
        let Unit { mut session, pending, .. } = unit;
        flush::write(&mut session, pending).await?;
        match session.connection {
            Connection::Turn(turn) => turn.end()?.await.unwrap_or_else(|_| Err(unavailable("the committer is gone"))),
            Connection::Transaction(transaction) => {
                failpoint::hit_in(self.name(), "before-commit");
                transaction.commit().await?;
                failpoint::hit_in(self.name(), "after-commit");
                self.0.shared.committed(1);
                Ok(())
            }
            Connection::Reader(_) => Ok(()),
        }
    }

    /// Reads at one moment of the database, beside the writers. Sees every write that has been answered.
    ///
    /// # Errors
    /// What `work` refuses, and what [`Session::rows`] does.
    pub async fn read<R>(&self, work: impl AsyncFnOnce(&mut Session) -> Result<R, Error>) -> Result<R, Error> {
        let connection = match &self.0.engine {
            Engine::Sqlite(sqlite) => Connection::Reader(sqlite.reader().await?),
            Engine::Postgres(postgres) => Connection::Transaction(postgres.begin(postgres::Access::Read).await?),
        };
        let mut session = Session::new(connection, self.0.shared.counters.clone());
        let result = timeout(self.0.time_limit, work(&mut session)).await.unwrap_or_else(|_| Err(too_slow()));
        if let Connection::Transaction(transaction) = session.connection
            && result.is_ok()
        {
            transaction.roll_back().await?;
        }
        result.map_err(outward)
    }

    /// Changes after every commit of this process. A hint: other processes commit unheard, so followers poll too.
    pub fn committed(&self) -> watch::Receiver<u64> {
        self.0.shared.commits.subscribe()
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

/// Leaves nothing of a unit that failed. A connection that cannot say so is closed, which does the same.
async fn undo(unit: Unit) {
    if let Connection::Transaction(transaction) = unit.session.connection {
        let _ = transaction.roll_back().await;
    }
}

fn too_slow() -> Error {
    Error::named("DEADLINE_EXCEEDED", "This took too long and was undone. Repeat it with the same request_id.")
}
