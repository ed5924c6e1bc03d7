//! A platform to test against: real processes, real sockets, a throw-away data folder, gone when the test ends.

use std::{
    collections::HashMap,
    io::{BufRead, BufReader},
    net::TcpListener,
    path::{Path, PathBuf},
    process::{Child, Command, ExitStatus, Stdio},
    sync::{
        Arc,
        atomic::{AtomicU32, Ordering::Relaxed},
    },
    time::{Duration, Instant},
};

use anyhow::{Context, Result, bail, ensure};
use kit::contract::{self, Contract};
use serde_json::{Value, json};
use tempfile::TempDir;

use crate::client::{Client, Protocol};

/// How long a platform may take to come up on a busy machine.
const START_LIMIT: Duration = Duration::from_secs(120);

/// How a platform is put together.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Shape {
    /// One process on SQLite, each service behind its sidecar.
    Meshed,
    /// One process on SQLite, services called in memory.
    Direct,
    /// A process per role on PostgreSQL, each behind its sidecar.
    Roles,
}

/// A running platform.
pub struct Platform {
    pub address: String,
    pub contract: Arc<Contract>,
    /// Where the sidecars listen, by workload.
    pub sidecars: HashMap<String, String>,
    pub data: PathBuf,
    processes: Vec<Process>,
    settings: HashMap<String, String>,
    _folder: Option<TempDir>,
}

/// A child process that ends with its owner.
pub struct Process {
    pub name: String,
    /// Where it says whether it is ready, if anywhere.
    pub page: Option<String>,
    command: Command,
    child: Child,
}

impl Drop for Process {
    fn drop(&mut self) {
        // It may have ended already: then there is nothing to end.
        let _ = self.child.kill();
        let _ = self.child.wait();
    }
}

impl Process {
    pub fn id(&self) -> u32 {
        self.child.id()
    }

    /// How it has ended, if it has.
    pub fn ended(&mut self) -> Result<Option<ExitStatus>> {
        Ok(self.child.try_wait()?)
    }

    /// Starts it again, after its end, as it was started before.
    pub fn start_again(&mut self) -> Result<()> {
        self.child = self.command.spawn().with_context(|| format!("{} cannot be started again", self.name))?;
        Ok(())
    }

    /// Starts it again, after its end, as it was started before, from this build.
    pub fn start_from_this_build(&mut self) -> Result<()> {
        let mut command = Command::new(binary());
        command.args(self.command.get_args()).stdin(Stdio::null()).stdout(Stdio::piped());
        command.envs(self.command.get_envs().filter_map(|(name, value)| Some((name, value?))));
        self.command = command;
        self.start_again()
    }

    /// Sends it a signal: `TERM`, `STOP`, `CONT`.
    pub fn signal(&self, name: &str) -> Result<()> {
        let told = Command::new("kill").args([format!("-{name}"), self.id().to_string()]).status()?;
        ensure!(told.success(), "{} cannot be sent {name}", self.name);
        Ok(())
    }

    /// Waits until the process has ended by itself.
    pub fn wait(&mut self, limit: Duration) -> Result<ExitStatus> {
        let deadline = Instant::now() + limit;
        loop {
            if let Some(status) = self.ended()? {
                return Ok(status);
            }
            ensure!(Instant::now() < deadline, "{} did not end within {limit:?}", self.name);
            std::thread::sleep(Duration::from_millis(5));
        }
    }
}

/// The binary under test, built beside this one.
pub fn binary() -> PathBuf {
    let mut folder = std::env::current_exe().expect("this test has a path");
    folder.pop();
    if folder.ends_with("deps") {
        folder.pop();
    }
    let path = folder.join("agora");
    assert!(path.exists(), "{} is missing: `make test` builds it first", path.display());
    path
}

/// Settings that make time short enough to be met by a test, and limits wide enough not to be.
fn common() -> Vec<(&'static str, String)> {
    vec![
        ("AGORA_RATE_LIMITS", "false".into()),
        ("AGORA_SETTLE_DELAY", "100ms".into()),
        ("AGORA_RECONCILE_AFTER", "500ms".into()),
        ("AGORA_DEMO_WAREHOUSE", "false".into()),
        ("AGORA_LOG", std::env::var("AGORA_LOG").unwrap_or_else(|_| "error".into())),
    ]
}

impl Platform {
    /// Starts a platform with the usual settings.
    pub async fn start(shape: Shape) -> Result<Self> {
        Self::start_with(shape, &[]).await
    }

    /// Starts a platform with more settings, as environment variables.
    pub async fn start_with(shape: Shape, settings: &[(&str, &str)]) -> Result<Self> {
        let folder = tempfile::Builder::new().prefix("agora").tempdir()?;
        let data = folder.path().to_owned();
        let mut platform = match shape {
            Shape::Meshed => Self::one_process(&data, &[], settings)?,
            Shape::Direct => Self::one_process(&data, &["--direct"], settings)?,
            Shape::Roles => crate::roles::start(&data, settings, &[]).await?,
        };
        platform._folder = Some(folder);
        Ok(platform)
    }

    /// Starts `agora up` on a data folder that the caller keeps.
    pub fn one_process(data: &Path, arguments: &[&str], settings: &[(&str, &str)]) -> Result<Self> {
        let mut command = Command::new(binary());
        command.args(["up", "--port", "0", "--output", "json", "--data-dir"]).arg(data).args(arguments);
        let mut child = spawn("up", command, settings)?;
        let told = first_line(&mut child)?;
        let told: Value = serde_json::from_str(&told).with_context(|| format!("not JSON: {told}"))?;
        let sidecars = told["sidecars"].as_object().into_iter().flatten();
        Ok(Self {
            address: told["grpc"].as_str().context("no address")?.to_owned(),
            contract: contract()?,
            sidecars: sidecars.map(|(name, at)| (name.clone(), at.as_str().unwrap_or_default().to_owned())).collect(),
            data: data.to_owned(),
            processes: vec![child],
            settings: HashMap::new(),
            _folder: None,
        })
    }

    /// A platform of processes that were started one by one, all with these settings.
    pub fn of(
        address: String,
        sidecars: HashMap<String, String>,
        data: &Path,
        processes: Vec<Process>,
        settings: HashMap<String, String>,
    ) -> Result<Self> {
        let data = data.to_owned();
        Ok(Self { address, contract: contract()?, sidecars, data, processes, settings, _folder: None })
    }

    /// A setting that all its processes share.
    pub fn setting(&self, name: &str) -> Option<&str> {
        self.settings.get(name).map(String::as_str)
    }

    /// The database of a service, or of the log of facts: `events`.
    pub fn database(&self, name: &str) -> String {
        let usual = format!("sqlite:{}/{{name}}.db", self.data.display());
        self.setting("AGORA_DATABASE").unwrap_or(&usual).replace("{name}", name)
    }

    /// The id of its first process.
    pub fn process_id(&self) -> u32 {
        self.processes[0].id()
    }

    /// A caller that nobody knows yet.
    pub fn client(&self, protocol: Protocol) -> Result<Client> {
        Client::new(protocol, &self.address, self.contract.clone())
    }

    /// The processes, the edge (or the only one) last.
    pub fn processes(&mut self) -> &mut Vec<Process> {
        &mut self.processes
    }
}

/// The contract that this build serves.
pub fn contract() -> Result<Arc<Contract>> {
    let contract = Arc::new(Contract::parse(contracts::DESCRIPTORS)?);
    contract::install(contract.clone());
    Ok(contract::installed())
}

/// Starts a process of the binary with the usual settings and these.
pub fn spawn(name: &str, mut command: Command, settings: &[(&str, &str)]) -> Result<Process> {
    command.envs(common()).envs(settings.iter().copied()).stdin(Stdio::null()).stdout(Stdio::piped());
    let child = command.spawn().with_context(|| format!("{name} cannot be started"))?;
    Ok(Process { name: name.to_owned(), page: None, command, child })
}

fn first_line(process: &mut Process) -> Result<String> {
    let stdout = process.child.stdout.take().context("no output")?;
    let (sender, receiver) = std::sync::mpsc::channel();
    std::thread::spawn(move || {
        let mut line = String::new();
        // An end without a line is told as an empty one.
        let _ = BufReader::new(stdout).read_line(&mut line);
        let _ = sender.send(line);
    });
    match receiver.recv_timeout(START_LIMIT) {
        Ok(line) if !line.is_empty() => Ok(line),
        Ok(_) => bail!("{} ended before it was ready", process.name),
        Err(_) => bail!("{} was not ready within {START_LIMIT:?}", process.name),
    }
}

/// A loopback port for a process that is yet to start. None is given twice, and all lie below those that the kernel hands
/// out by itself, which another socket might have taken by the time that the process binds it.
pub fn free_port() -> Result<u16> {
    const FIRST: u16 = 16_384;
    const PORTS: u32 = 16_384;
    static GIVEN: AtomicU32 = AtomicU32::new(0);

    // Runs beside this one begin elsewhere.
    let begin = std::process::id().wrapping_mul(257);
    for _ in 0..PORTS {
        let place = begin.wrapping_add(GIVEN.fetch_add(1, Relaxed)) % PORTS;
        let port = FIRST + u16::try_from(place)?;
        if TcpListener::bind(("127.0.0.1", port)).is_ok() {
            return Ok(port);
        }
    }
    bail!("no loopback port is free from {FIRST} on")
}

/// Polls until `condition` holds.
pub async fn eventually<T>(what: &str, condition: impl AsyncFnMut() -> Option<T>) -> T {
    within(Duration::from_secs(30), what, condition).await
}

/// Polls until `condition` holds, no longer than `limit`.
pub async fn within<T>(limit: Duration, what: &str, mut condition: impl AsyncFnMut() -> Option<T>) -> T {
    let patience = Patience::of(limit);
    loop {
        if let Some(value) = condition().await {
            return value;
        }
        patience.pause(what).await;
    }
}

/// Polling in a task of its own, which an `async` closure cannot move to.
pub struct Patience(Instant);

impl Patience {
    /// From now on.
    pub fn of(limit: Duration) -> Self {
        Self(Instant::now() + limit)
    }

    /// Until the next look, if there may be one.
    pub async fn pause(&self, what: &str) {
        assert!(Instant::now() < self.0, "never came true: {what}");
        tokio::time::sleep(Duration::from_millis(20)).await;
    }
}

/// A new idempotency key.
pub fn key() -> String {
    uuid::Uuid::new_v4().to_string()
}

/// An amount on the wire.
pub fn amount(value: &str, unit: &str) -> Value {
    json!({"value": value, "unit": unit})
}
