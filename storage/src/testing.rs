//! Databases for tests and benches: a file for SQLite, and one throw-away PostgreSQL a process, with a database a test.
//! The server stops when the process ends, however it ends.

use std::{
    path::{Path, PathBuf},
    process::{ChildStdin, Command, Stdio},
    sync::{
        OnceLock,
        atomic::{AtomicU32, Ordering::Relaxed},
    },
    time::{Duration, Instant},
};

use sqlx::{AssertSqlSafe, Connection, PgConnection};
use tempfile::TempDir;

/// A fault of the test machine, in words.
type Fault = Box<dyn std::error::Error + Send + Sync>;

/// A database of its own. The file of SQLite goes when this is dropped, the database of PostgreSQL with its server.
pub struct Database {
    url: String,
    _folder: Option<TempDir>,
}

impl Database {
    /// An empty SQLite file.
    ///
    /// # Panics
    /// Without a folder for temporary files.
    pub fn sqlite() -> Self {
        match tempfile::tempdir() {
            Ok(folder) => {
                let url = format!("sqlite:{}", folder.path().join("db.sqlite").display());
                Self { url, _folder: Some(folder) }
            }
            Err(error) => panic!("no temporary folder: {error}"),
        }
    }

    /// An empty database on this process's PostgreSQL. Without PostgreSQL, nothing, and it is said on stderr.
    ///
    /// # Panics
    /// If a server that is installed does not start; with `CI=true`, if none is installed.
    pub async fn postgres() -> Option<Self> {
        let cluster = cluster()?;
        let name = unique();
        create(cluster, &name).await;
        Some(Self { url: cluster.url(&name), _folder: None })
    }

    /// An empty database for each of these names on this process's PostgreSQL: gives the URL, with `{name}` in place of
    /// the name. Without PostgreSQL, nothing.
    ///
    /// # Panics
    /// As [`Database::postgres`].
    pub async fn postgres_each(names: &[&str]) -> Option<String> {
        let cluster = cluster()?;
        let prefix = unique();
        for name in names {
            create(cluster, &format!("{prefix}_{name}")).await;
        }
        Some(cluster.url(&format!("{prefix}_{{name}}")))
    }

    /// The URL for [`crate::Db::open`].
    pub fn url(&self) -> &str {
        &self.url
    }

    /// The URL for [`crate::Log::open`].
    pub fn log_url(&self) -> String {
        format!("sql:{}", self.url)
    }

    /// Whether this is PostgreSQL.
    pub fn is_postgres(&self) -> bool {
        self.url.starts_with("postgres:")
    }
}

/// A PostgreSQL of a test's own, for tests that kill it. It goes with the process, too.
pub struct Server(Cluster);

impl Server {
    /// An empty server. Without PostgreSQL, nothing, and it is said on stderr.
    ///
    /// # Panics
    /// As [`Database::postgres`].
    pub fn start() -> Option<Self> {
        installed().map(|programs| Self(started(&programs)))
    }

    /// An empty database on it.
    pub async fn database(&self) -> Database {
        let name = unique();
        create(&self.0, &name).await;
        Database { url: self.0.url(&name), _folder: None }
    }

    /// Ends every process of the server by SIGKILL, as a power cut would, and starts it again on what is on disk.
    ///
    /// # Panics
    /// If it cannot be killed or does not start again.
    pub fn kill_and_start_again(&self) {
        let done = self.0.kill().and_then(|()| self.0.start());
        done.unwrap_or_else(|error| panic!("PostgreSQL does not come back: {error}"));
    }
}

/// A name that no other database of this process's server has.
fn unique() -> String {
    static COUNT: AtomicU32 = AtomicU32::new(1);

    format!("t{}", COUNT.fetch_add(1, Relaxed))
}

async fn create(cluster: &Cluster, name: &str) {
    let create = async {
        let mut connection = PgConnection::connect(&cluster.url("postgres")).await?;
        sqlx::raw_sql(AssertSqlSafe(format!("CREATE DATABASE {name}"))).execute(&mut connection).await?;
        connection.close().await
    };
    if let Err(error) = create.await {
        panic!("no database on the PostgreSQL of the tests: {error}");
    }
}

/// An empty database of each kind that can be had here.
pub async fn each_database() -> Vec<Database> {
    let mut databases = vec![Database::sqlite()];
    databases.extend(Database::postgres().await);
    databases
}

/// A server, and the pipe whose end stops it.
struct Cluster {
    programs: PathBuf,
    folder: PathBuf,
    _alive: ChildStdin,
}

impl Cluster {
    fn url(&self, database: &str) -> String {
        format!("postgres://app@localhost/{database}?host={}", self.folder.display())
    }

    fn new(programs: &Path) -> Result<Self, Fault> {
        // A short path: that of a unix socket has at most 100 characters.
        let folder = tempfile::Builder::new().prefix("agora-pg-").tempdir_in("/tmp")?.keep();
        if is_root()? {
            succeed(Command::new("chown").arg("postgres").arg(&folder))?;
        }
        let mut initdb = as_owner(&programs.join("initdb"))?;
        initdb.arg("-D").arg(folder.join("data")).args(["-U", "app", "-A", "trust", "-E", "UTF8", "--locale=C.UTF-8"]);
        succeed(initdb.arg("-N"))?;
        let cluster = Self { programs: programs.to_owned(), _alive: stop_with_us(programs, &folder)?, folder };
        cluster.start()?;
        Ok(cluster)
    }

    fn start(&self) -> Result<(), Fault> {
        let options = format!(
            "-k {} -c listen_addresses= -c fsync=on -c max_connections=300 -c max_wal_size=256MB",
            self.folder.display()
        );
        let mut start = as_owner(&self.programs.join("pg_ctl"))?;
        start.arg("-D").arg(self.folder.join("data")).arg("-l").arg(self.folder.join("log"));
        succeed(start.args(["-w", "-t", "60", "-o", &options, "start"]))
    }

    /// Kills the first process before the others: it would start them again.
    fn kill(&self) -> Result<(), Fault> {
        let pids = std::fs::read_to_string(self.folder.join("data/postmaster.pid"))?;
        let first = pids.lines().next().ok_or("postmaster.pid is empty")?;
        let children = std::fs::read_to_string(format!("/proc/{first}/task/{first}/children"))?;
        succeed(Command::new("kill").args(["-9", first]).args(children.split_whitespace()))?;
        let gone = |pid: &str| !Path::new("/proc").join(pid).exists();
        let deadline = Instant::now() + Duration::from_secs(30);
        while !children.split_whitespace().chain([first]).all(gone) {
            if Instant::now() > deadline {
                return Err("a killed server is still there".into());
            }
            std::thread::yield_now();
        }
        Ok(())
    }
}

/// The server of this process: started by the first who asks.
fn cluster() -> Option<&'static Cluster> {
    static CLUSTER: OnceLock<Option<Cluster>> = OnceLock::new();

    CLUSTER.get_or_init(|| installed().map(|programs| started(&programs))).as_ref()
}

/// Where PostgreSQL is. That it is nowhere is said, and with `CI=true` it is a fault.
fn installed() -> Option<PathBuf> {
    let programs = programs();
    if programs.is_none() {
        assert!(std::env::var("CI").as_deref() != Ok("true"), "PostgreSQL is not installed: apt install postgresql");
        eprintln!("PostgreSQL is not installed: this run leaves out everything on PostgreSQL.");
    }
    programs
}

fn started(programs: &Path) -> Cluster {
    Cluster::new(programs).unwrap_or_else(|error| panic!("PostgreSQL does not start: {error}"))
}

/// The folder of `initdb` and `pg_ctl`: on the PATH, or the newest of Debian's packages.
fn programs() -> Option<PathBuf> {
    let path = std::env::var_os("PATH").unwrap_or_default();
    let debian = std::fs::read_dir("/usr/lib/postgresql").into_iter().flatten().flatten();
    let mut packaged: Vec<PathBuf> = debian.map(|version| version.path().join("bin")).collect();
    packaged.sort_by_key(|folder| {
        let version = folder.parent().and_then(Path::file_name).and_then(|name| name.to_str());
        std::cmp::Reverse(version.and_then(|version| version.parse::<u32>().ok()))
    });
    std::env::split_paths(&path)
        .chain(packaged)
        .find(|folder| folder.join("initdb").is_file() && folder.join("pg_ctl").is_file())
}

/// A shell that waits for the end of its input, which comes with the end of this process, and then clears up.
fn stop_with_us(programs: &Path, folder: &Path) -> Result<ChildStdin, Fault> {
    let stop = as_owner(&programs.join("pg_ctl"))?;
    let words = std::iter::once(stop.get_program()).chain(stop.get_args());
    let stop = words.map(|word| word.to_string_lossy().into_owned()).collect::<Vec<_>>().join(" ");
    let folder = folder.display();
    let script = format!("cat > /dev/null; {stop} -D {folder}/data -m immediate stop; rm -rf {folder}");
    let mut shell = Command::new("sh");
    shell.arg("-c").arg(script).stdin(Stdio::piped()).stdout(Stdio::null()).stderr(Stdio::null());
    // A group of its own: a Ctrl-C for the tests must not reach it before its work is done.
    let shell = std::os::unix::process::CommandExt::process_group(&mut shell, 0).spawn()?;
    shell.stdin.ok_or_else(|| "the shell has no input".into())
}

/// PostgreSQL refuses to run as root; then it runs as the user of its package.
fn as_owner(program: &Path) -> Result<Command, Fault> {
    if !is_root()? {
        return Ok(Command::new(program));
    }
    let mut command = Command::new("runuser");
    command.args(["-u", "postgres", "--"]).arg(program);
    Ok(command)
}

fn is_root() -> Result<bool, Fault> {
    use std::os::unix::fs::MetadataExt;

    Ok(std::fs::metadata("/proc/self")?.uid() == 0)
}

fn succeed(command: &mut Command) -> Result<(), Fault> {
    // `pg_ctl start` leaves a server behind that would hold a pipe open for ever.
    let status = command.stdin(Stdio::null()).stdout(Stdio::null()).stderr(Stdio::null()).status()?;
    if status.success() { Ok(()) } else { Err(format!("{command:?} ended with {status}").into()) }
}
