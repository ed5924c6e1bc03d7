//! A platform to measure: a process of its own on a throw-away folder.

use std::{
    io::{BufRead, BufReader},
    path::PathBuf,
    process::{Child, Command, Stdio},
};

use anyhow::{Context, Result, ensure};
use contracts::{
    auth::v1::{LoginRequest, auth_service_client::AuthServiceClient},
    ledger::v1::{CreateDepositRequest, wallet_service_client::WalletServiceClient},
    r#type::v1::Amount,
    user::v1::{CreateUserRequest, user_service_client::UserServiceClient},
};
use serde_json::Value;
use storage::testing::Database;
use tonic::{
    Request,
    transport::{Channel, Endpoint},
};

/// How many customers share the load.
const CUSTOMERS: usize = 16;

/// Which database a platform runs on.
#[derive(Clone, Copy, PartialEq, Eq)]
pub enum Base {
    Sqlite,
    Postgres,
}

impl Base {
    pub fn name(self) -> &'static str {
        match self {
            Base::Sqlite => "SQLite",
            Base::Postgres => "PostgreSQL",
        }
    }
}

/// A running platform with customers who have money.
pub struct Target {
    pub channels: Vec<Channel>,
    pub tokens: Vec<String>,
    pub address: String,
    child: Child,
    _folder: tempfile::TempDir,
}

impl Drop for Target {
    fn drop(&mut self) {
        // It may have ended already.
        let _ = self.child.kill();
        let _ = self.child.wait();
    }
}

impl Target {
    pub async fn start(base: Base, direct: bool, group_limit: usize) -> Result<Self> {
        let folder = tempfile::tempdir()?;
        let mut command = Command::new(binary()?);
        command.args(["up", "--port", "0", "--output", "json", "--rate-limits", "false", "--log", "error"]);
        command.args(["--access-token-lifetime", "1d", "--group-limit", &group_limit.to_string()]);
        command.arg("--data-dir").arg(folder.path());
        if direct {
            command.arg("--direct");
        }
        if base == Base::Postgres {
            let names = ["user", "auth", "catalog", "ledger", "order", "events"];
            let url = Database::postgres_each(&names).await.context("PostgreSQL is not installed")?;
            command.args(["--database", &url, "--events", &format!("sql:{}", url.replace("{name}", "events"))]);
        }
        let mut child = command.stdout(Stdio::piped()).spawn()?;
        let mut line = String::new();
        BufReader::new(child.stdout.take().context("no output")?).read_line(&mut line)?;
        let told: Value = serde_json::from_str(&line).with_context(|| format!("not ready: {line}"))?;
        let address = told["grpc"].as_str().context("no address")?.to_owned();
        let endpoint = Endpoint::from_shared(format!("http://{address}"))?;
        let mut channels = Vec::new();
        for _ in 0..4 {
            channels.push(endpoint.connect().await?);
        }
        let mut tokens = Vec::new();
        for number in 0..CUSTOMERS {
            tokens.push(customer(&channels[0], number).await?);
        }
        Ok(Self { channels, tokens, address, child, _folder: folder })
    }

    /// CPU that the platform has used, in milliseconds.
    pub fn cpu_ms(&self) -> Result<f64> {
        let stat = std::fs::read_to_string(format!("/proc/{}/stat", self.child.id()))?;
        let fields: Vec<&str> = stat.rsplit_once(')').context("no stat")?.1.split_whitespace().collect();
        let ticks: f64 = fields[11].parse::<f64>()? + fields[12].parse::<f64>()?;
        // The kernel counts in hundredths of a second for programs, whatever its own tick (proc(5), USER_HZ).
        Ok(ticks * 10.0)
    }

    /// Statements and commits of all its databases until now.
    pub async fn work(&self) -> Result<(f64, f64)> {
        let metrics = get(&self.address, "/metrics").await?;
        let sum = |what: &str| -> f64 {
            metrics
                .lines()
                .filter(|line| line.starts_with("storage_") && line.contains(&format!("_{what}_total ")))
                .filter_map(|line| line.rsplit_once(' ')?.1.parse::<f64>().ok())
                .sum()
        };
        let (statements, commits) = (sum("statements"), sum("commits"));
        ensure!(commits > 0.0, "the metrics show no commits:\n{metrics}");
        Ok((statements, commits))
    }
}

/// Registers someone who can afford any number of small trades.
async fn customer(channel: &Channel, number: usize) -> Result<String> {
    let (email, password) = (format!("bench-{number}@test.example"), "a bench password".to_owned());
    let account = CreateUserRequest { email: email.clone(), password: password.clone(), display_name: String::new() };
    UserServiceClient::new(channel.clone()).create_user(account).await?;
    let login = LoginRequest { email, password, device: String::new() };
    let reply = AuthServiceClient::new(channel.clone()).login(login).await?.into_inner();
    let token = reply.tokens.context("no tokens")?.access_token;
    let amount = Some(Amount { value: "1000000".into(), unit: "USD".into() });
    let deposit = CreateDepositRequest { request_id: uuid::Uuid::new_v4().to_string(), amount };
    WalletServiceClient::new(channel.clone()).create_deposit(authorized(deposit, &token)?).await?;
    Ok(token)
}

/// A request in the name of whoever holds `token`.
pub fn authorized<T>(message: T, token: &str) -> Result<Request<T>> {
    let mut request = Request::new(message);
    request.metadata_mut().insert("authorization", format!("Bearer {token}").parse()?);
    Ok(request)
}

async fn get(address: &str, path: &str) -> Result<String> {
    use tokio::io::{AsyncReadExt, AsyncWriteExt};
    let mut stream = tokio::net::TcpStream::connect(address).await?;
    let request = format!("GET {path} HTTP/1.1\r\nhost: {address}\r\nconnection: close\r\n\r\n");
    stream.write_all(request.as_bytes()).await?;
    let mut text = String::new();
    stream.read_to_string(&mut text).await?;
    Ok(text)
}

/// The platform's binary, built beside this one.
fn binary() -> Result<PathBuf> {
    let path = std::env::current_exe()?.with_file_name("agora");
    ensure!(path.exists(), "{} is missing: `make bench` builds it first", path.display());
    Ok(path)
}
