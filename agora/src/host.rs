//! What every process of the platform has, whether it runs one service or all of them.

use std::{sync::Arc, time::Duration};

use anyhow::{Context, Result};
use kit::{
    Clock,
    auth::{Keyring, Verifier},
    config::Mode,
    contract::{self, Contract},
    drain::{Drain, Draining},
    link::{Link, Links},
    server::App,
};
use storage::{Db, Log, Options};
use tokio::task::JoinSet;

use crate::{
    hold::Hold,
    keys, metrics,
    services::{Parts, Service},
    settings::Platform,
};

/// Who issues access tokens, and for whom.
pub const ISSUER: &str = "https://agora.local";

/// How long a request may be repeated under its key: whoever moves money may retry for a week.
const KEYS_KEPT: Duration = Duration::from_secs(7 * 24 * 60 * 60);

/// How long databases may take to be left in their files alone.
const CHECKPOINTS: Duration = Duration::from_secs(2);

/// A process of the platform.
pub struct Host {
    /// Its settings.
    pub platform: Platform,
    /// Its clock.
    pub clock: Clock,
    /// The contract it serves.
    pub contract: Arc<Contract>,
    /// Verifies the tokens of callers.
    pub verifier: Verifier,
    /// Ends it.
    pub drain: Drain,
    keyring: Keyring,
    tasks: JoinSet<()>,
    databases: Vec<Db>,
    log: Option<Log>,
    hold: Option<Hold>,
}

impl Host {
    /// Reads the contract and prepares the process. Nothing runs yet.
    ///
    /// # Errors
    /// If the contract cannot be enforced, or the data folder cannot be made.
    pub fn new(platform: Platform, clock: Clock) -> Result<Self> {
        let contract = Arc::new(Contract::parse(contracts::DESCRIPTORS).context("the contract is broken")?);
        contract::install(contract.clone());
        private_folder(&platform.data_dir)
            .with_context(|| format!("the data folder {} cannot be made", platform.data_dir.display()))?;
        if readable_by_others(&platform.data_dir) {
            let folder = platform.data_dir.display();
            tracing::warn!(%folder, "other users can read the data folder: `chmod 700` it");
            anyhow::ensure!(
                platform.mode == Mode::Development,
                "other users can read the data folder {folder}, which holds hashes and sealed keys: `chmod 700` it"
            );
        }
        let keyring = Keyring::new(clock.clone());
        let verifier = Verifier::new(keyring.clone(), clock.clone(), ISSUER, ISSUER);
        let (drain, _) = Drain::new();
        let (tasks, databases) = (JoinSet::new(), Vec::new());
        Ok(Self { platform, clock, contract, verifier, drain, keyring, tasks, databases, log: None, hold: None })
    }

    /// Keeps other processes from running on the same embedded databases until this one ends.
    ///
    /// # Errors
    /// If another has the data folder.
    pub fn hold_data_folder(&mut self) -> Result<()> {
        if self.platform.is_embedded() {
            self.hold = Some(Hold::take(&self.platform.data_dir)?);
        }
        Ok(())
    }

    /// Sees the end of this process.
    pub fn draining(&self) -> Draining {
        self.drain.draining()
    }

    /// The databases of the services that run here.
    pub fn databases(&self) -> &[Db] {
        &self.databases
    }

    /// Runs `work` until it ends, at the latest when the process has drained.
    pub fn spawn(&mut self, work: impl Future<Output = ()> + Send + 'static) {
        self.tasks.spawn(work);
    }

    /// Opens the database of a service and brings it up to date.
    ///
    /// # Errors
    /// One sentence: no server, a wrong URL, a database of a newer version.
    pub async fn open(&self, service: &Service) -> Result<Db> {
        let options = Options {
            group_limit: self.platform.group_limit,
            migrations: service.migrations,
            ..Options::new(service.name, self.clock.clone())
        };
        let url = self.platform.database_of(service.name);
        Db::open(&url, options).await.map_err(sentence)
    }

    /// The log of facts, opened once for every service of this process.
    async fn log(&mut self) -> Result<Log> {
        if let Some(log) = &self.log {
            return Ok(log.clone());
        }
        let log = Log::open(&self.platform.events_url(), self.clock.clone()).await.map_err(sentence)?;
        metrics::show(log.db().clone());
        Ok(self.log.insert(log).clone())
    }

    /// Starts a service whose calls leave by `way_out`, with its relay and its background work.
    ///
    /// # Errors
    /// If its database, the log, or the service itself cannot be opened.
    pub async fn start(&mut self, service: &'static Service, way_out: &Link) -> Result<App> {
        let db = self.open(service).await?;
        metrics::show(db.clone());
        self.databases.push(db.clone());
        let log = self.log().await?;
        let links = service.calls.iter().fold(Links::new(), |links, callee| links.add(callee, way_out.clone()));
        let parts = Parts { db: db.clone(), links, platform: self.platform.clone(), clock: self.clock.clone() };
        let started = (service.start)(parts).await.map_err(sentence)?;
        self.spawn(metrics::follow_backlog(db.clone(), self.draining()));
        self.spawn(storage::idempotency::keep_swept(db.clone(), KEYS_KEPT, self.draining()));
        self.spawn(storage::relay::run(db, log.clone(), self.draining()));
        self.spawn((started.run)(log, self.draining()));
        let (contract, verifier) = (self.contract.clone(), self.verifier.clone());
        let app =
            App::new(service.name, contract, contracts::DESCRIPTORS, verifier, started.routes).map_err(sentence)?;
        self.spawn(app.health().follow(self.ready(), self.draining()));
        Ok(app)
    }

    /// Follows auth for keys and revocations.
    pub fn follow_auth(&mut self, workload: &str, way_out: Link) {
        let follower = keys::follow(workload.to_owned(), way_out, self.keyring.clone(), self.draining());
        self.spawn(follower);
    }

    /// Whether tokens can be verified.
    pub fn ready(&self) -> impl Fn() -> bool + Send + Sync + Clone + 'static {
        let keyring = self.keyring.clone();
        move || keyring.ready()
    }

    /// Waits until tokens can be verified.
    ///
    /// # Errors
    /// If auth stays silent for `limit`.
    pub async fn wait_ready(&self, limit: Duration) -> Result<()> {
        let (ready, deadline) = (self.ready(), tokio::time::Instant::now() + limit);
        while !ready() {
            anyhow::ensure!(tokio::time::Instant::now() < deadline, "auth told no signing key within {limit:?}");
            tokio::time::sleep(Duration::from_millis(5)).await;
        }
        Ok(())
    }

    /// Waits for the drain, then until everything that is under way has finished, at most the drain limit. Background work
    /// that panics ends the process: what relays facts or follows auth must not be missing from one that looks well.
    ///
    /// # Errors
    /// If background work panicked.
    pub async fn run_until_drained(mut self) -> Result<()> {
        let draining = self.draining();
        let mut broken = false;
        loop {
            let ended = tokio::select! {
                () = draining.wait() => break,
                Some(ended) = self.tasks.join_next() => ended,
            };
            if panicked(ended) {
                broken = true;
                self.drain.start();
            }
        }
        let limit = self.platform.lifetimes.drain_limit;
        let finished = async {
            while let Some(ended) = self.tasks.join_next().await {
                broken |= panicked(ended);
            }
        };
        if tokio::time::timeout(limit, finished).await.is_err() {
            tracing::warn!(limit_s = limit.as_secs(), "some work did not finish in time");
            self.tasks.abort_all();
        }
        if tokio::time::timeout(CHECKPOINTS, self.checkpoint()).await.is_err() {
            tracing::warn!("some databases are still partly in their write-ahead logs");
        }
        anyhow::ensure!(!broken, "background work panicked; the log says where");
        Ok(())
    }
}

impl Host {
    /// Leaves each embedded database in its file alone, as far as nobody is still at it.
    async fn checkpoint(&self) {
        for db in self.databases.iter().chain(self.log.as_ref().map(Log::db)) {
            if let Err(error) = db.checkpoint().await {
                tracing::warn!(%error, database = db.name(), "a part of the database is still in its write-ahead log");
            }
        }
    }
}

fn panicked(ended: Result<(), tokio::task::JoinError>) -> bool {
    match ended {
        Err(error) if error.is_panic() => {
            tracing::error!(%error, "background work panicked");
            true
        }
        _ => false,
    }
}

/// Makes a folder that only its owner can read: databases hold hashes, emails and sealed keys.
fn private_folder(path: &std::path::Path) -> std::io::Result<()> {
    std::os::unix::fs::DirBuilderExt::mode(std::fs::DirBuilder::new().recursive(true), 0o700).create(path)
}

fn readable_by_others(path: &std::path::Path) -> bool {
    use std::os::unix::fs::PermissionsExt;
    std::fs::metadata(path).is_ok_and(|found| found.permissions().mode() & 0o077 != 0)
}

/// An error for the person who started the process: its sentence.
pub fn sentence(error: impl Into<kit::Error>) -> anyhow::Error {
    anyhow::anyhow!(error.into().message().to_owned())
}
