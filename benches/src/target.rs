//! A platform to measure: a process of its own on a throw-away folder.

use std::{
    io::{BufRead, BufReader},
    path::{Path, PathBuf},
    process::{Child, Command, Stdio},
};

use anyhow::{Context, Result, ensure};
use clap::{Args, ValueEnum};
use contracts::{
    auth::v1::{LoginRequest, auth_service_client::AuthServiceClient},
    catalog::v1::{
        CreateProductRequest, ListProductsRequest, NewVariant, product::Kind,
        product_service_client::ProductServiceClient,
    },
    inventory::v1::{
        AdjustStockRequest, inventory_service_client::InventoryServiceClient, stock_movement::Kind as MovementKind,
    },
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

/// Who buys, and what.
#[derive(Clone, Copy, Args)]
pub struct Shop {
    /// How many customers share the load
    #[arg(long, default_value_t = 64, value_parser = clap::value_parser!(u16).range(1..=10_000))]
    pub customers: u16,
    /// How many goods they choose from in turn; with 1 every purchase wants the same row of stock
    #[arg(long, default_value_t = 64, value_parser = clap::value_parser!(u16).range(1..=10_000))]
    pub goods: u16,
}

/// Which database a platform runs on.
#[derive(Clone, Copy, PartialEq, Eq, ValueEnum)]
pub enum Base {
    /// One file for each service.
    Sqlite,
    /// One database for each service, on one server.
    Postgres,
}

/// A running platform with customers who have money.
pub struct Target {
    pub channels: Vec<Channel>,
    pub tokens: Vec<String>,
    /// Goods that never run out, `var_…`.
    pub variants: Vec<String>,
    pub address: String,
    /// Where its data is.
    pub folder: tempfile::TempDir,
    base: Base,
    arguments: Vec<String>,
    child: Child,
}

impl Drop for Target {
    fn drop(&mut self) {
        // It may have ended already.
        let _ = self.child.kill();
        let _ = self.child.wait();
    }
}

impl Target {
    pub async fn start(base: Base, direct: bool, group_limit: usize, shop: Shop) -> Result<Self> {
        let folder = tempfile::tempdir()?;
        let mut arguments: Vec<String> =
            ["up", "--port", "0", "--output", "json", "--log", "error"].map(str::to_owned).into();
        let mut set = |name: &str, value: &str| arguments.extend([name.to_owned(), value.to_owned()]);
        set("--rate-limits", "false");
        set("--access-token-lifetime", "1d");
        set("--group-limit", &group_limit.to_string());
        set("--demo-warehouse", "true");
        set("--ship-delay", "1ms");
        set("--data-dir", &folder.path().to_string_lossy());
        if base == Base::Postgres {
            let names = ["user", "auth", "catalog", "ledger", "inventory", "payment", "order", "events"];
            let url = Database::postgres_each(&names).await.context("PostgreSQL is not installed")?;
            set("--database", &url);
            set("--events", &format!("sql:{}", url.replace("{name}", "events")));
        }
        if direct {
            arguments.push("--direct".into());
        }
        let (child, address, channels) = launch(&arguments).await?;
        let mut tokens = Vec::new();
        for number in 0..shop.customers {
            tokens.push(customer(&channels[0], number).await?);
        }
        let variants = stocked(&channels[0], shop.goods).await?;
        Ok(Self { channels, tokens, variants, address, folder, base, arguments, child })
    }

    /// Ends the platform, lets `meanwhile` work on its data, and starts it again.
    pub async fn restart(&mut self, meanwhile: impl FnOnce(&Path) -> Result<()>) -> Result<()> {
        let ended = Command::new("kill").args(["-TERM", &self.child.id().to_string()]).status()?;
        ensure!(ended.success() && self.child.wait()?.success(), "the platform did not end by itself");
        meanwhile(self.folder.path())?;
        (self.child, self.address, self.channels) = launch(&self.arguments).await?;
        Ok(())
    }

    /// CPU that the platform has used, and the server of its databases with it, in milliseconds.
    pub fn cpu_ms(&self) -> Result<f64> {
        let mut ticks = ticks(&std::fs::read_to_string(format!("/proc/{}/stat", self.child.id()))?)?;
        if self.base == Base::Postgres {
            // Every server of this machine: nobody else's should run while this one is measured.
            for entry in std::fs::read_dir("/proc")? {
                let stat = std::fs::read_to_string(entry?.path().join("stat")).unwrap_or_default();
                if stat.contains("(postgres)") {
                    ticks += self::ticks(&stat)?;
                }
            }
        }
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

/// Starts the platform and connects to it.
async fn launch(arguments: &[String]) -> Result<(Child, String, Vec<Channel>)> {
    let mut child = Command::new(binary()?).args(arguments).stdout(Stdio::piped()).spawn()?;
    let mut line = String::new();
    BufReader::new(child.stdout.take().context("no output")?).read_line(&mut line)?;
    let told: Value = serde_json::from_str(&line).with_context(|| format!("not ready: {line}"))?;
    let address = told["grpc"].as_str().context("no address")?.to_owned();
    let endpoint = Endpoint::from_shared(format!("http://{address}"))?;
    let mut channels = Vec::new();
    for _ in 0..4 {
        channels.push(endpoint.connect().await?);
    }
    Ok((child, address, channels))
}

/// The time that a process has used, by its line in `/proc`.
fn ticks(stat: &str) -> Result<f64> {
    let fields: Vec<&str> = stat.rsplit_once(')').context("no stat")?.1.split_whitespace().collect();
    Ok(fields[11].parse::<f64>()? + fields[12].parse::<f64>()?)
}

/// Lists goods with more pieces than any run sells.
async fn stocked(channel: &Channel, goods: u16) -> Result<Vec<String>> {
    let login =
        LoginRequest { email: "admin@agora.example".into(), password: "admin-demo-1".into(), device: String::new() };
    let reply = AuthServiceClient::new(channel.clone()).login(login).await?.into_inner();
    let token = reply.tokens.context("no tokens")?.access_token;
    let mut products = ProductServiceClient::new(channel.clone());
    let mut inventory = InventoryServiceClient::new(channel.clone());
    let list = ListProductsRequest { kind: Kind::PhysicalGood.into(), page_size: 1, ..Default::default() };
    let listed = products.list_products(list).await?.into_inner().products;
    let category = listed.first().context("no goods")?.category.clone();
    let mut variants = Vec::new();
    for number in 1..=goods {
        let product = CreateProductRequest {
            request_id: uuid::Uuid::new_v4().to_string(),
            kind: Kind::PhysicalGood.into(),
            name: format!("Good {number} of the bench"),
            category: category.clone(),
            variants: vec![NewVariant {
                sku: format!("BENCH-{number}"),
                title: String::new(),
                list_price: Some(Amount { value: "1".into(), unit: "USD".into() }),
            }],
            ..Default::default()
        };
        let product = products.create_product(authorized(product, &token)?).await?.into_inner().product;
        let variant = product.and_then(|product| product.variants.into_iter().next()).context("no variant")?.id;
        let adjust = AdjustStockRequest {
            request_id: uuid::Uuid::new_v4().to_string(),
            variant_id: variant.clone(),
            kind: MovementKind::Received.into(),
            quantity: 1_000_000_000,
            ..Default::default()
        };
        inventory.adjust_stock(authorized(adjust, &token)?).await?;
        variants.push(variant);
    }
    Ok(variants)
}

/// Registers someone who can afford any number of small trades.
async fn customer(channel: &Channel, number: u16) -> Result<String> {
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
