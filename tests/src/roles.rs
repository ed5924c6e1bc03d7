//! A process per role, as pods would run them: PostgreSQL, a certificate authority, the services and the edge.

use std::{collections::HashMap, path::Path, process::Command};

use agora::services::SERVICES;
use anyhow::{Context, Result};
use hyper_util::{client::legacy::Client as Http, rt::TokioExecutor};

use crate::platform::{Platform, Process, binary, eventually, free_port, spawn};

/// Starts every role and waits until the edge is ready.
pub async fn start(data: &Path, settings: &[(&str, &str)]) -> Result<Platform> {
    let mut databases = HashMap::new();
    for name in SERVICES.iter().map(|service| service.name).chain(["events"]) {
        let database = storage::testing::Database::postgres().await.context("PostgreSQL is not installed")?;
        databases.insert(name, database.url().to_owned());
    }

    let ca = format!("127.0.0.1:{}", free_port()?);
    let mut sidecars = HashMap::new();
    for service in SERVICES {
        sidecars.insert(service.name.to_owned(), format!("127.0.0.1:{}", free_port()?));
    }
    let endpoints: Vec<String> = sidecars.iter().map(|(name, at)| format!("{name}={at}")).collect();
    let shared: Vec<(&str, String)> = vec![
        ("AGORA_DATA_DIR", data.display().to_string()),
        ("AGORA_EVENTS", format!("sql:{}", databases["events"])),
        ("AGORA_CA", ca),
        ("AGORA_ENDPOINTS", endpoints.join(",")),
    ];

    let mut processes = Vec::new();
    let mut role = |name: &str, more: &[(&str, &str)]| -> Result<()> {
        let mut command = Command::new(binary());
        command.arg(name).envs(shared.iter().cloned()).envs(more.iter().copied());
        processes.push(spawn(name, &mut command, settings)?);
        Ok(())
    };
    let mut pages = Vec::new();
    role("ca", &[])?;
    for service in SERVICES {
        let (database, inbound) = (databases[service.name].as_str(), sidecars[service.name].as_str());
        let admin = format!("127.0.0.1:{}", free_port()?);
        let more = [("AGORA_DATABASE", database), ("AGORA_INBOUND", inbound), ("AGORA_ADMIN", admin.as_str())];
        role(service.name, &more)?;
        pages.push(format!("http://{admin}/readyz"));
    }
    let port = free_port()?.to_string();
    role("edge", &[("AGORA_PORT", &port), ("AGORA_ADMIN", "127.0.0.1:0"), ("AGORA_INBOUND", "127.0.0.1:0")])?;

    let address = format!("127.0.0.1:{port}");
    pages.push(format!("http://{address}/readyz"));
    wait_ready(&pages, &mut processes).await;
    let settings = shared.into_iter().map(|(name, value)| (name.to_owned(), value)).collect();
    Platform::of(address, sidecars, data, processes, settings)
}

/// Every role says that it is ready.
async fn wait_ready(pages: &[String], processes: &mut [Process]) {
    let http: Http<_, http_body_util::Empty<bytes::Bytes>> = Http::builder(TokioExecutor::new()).build_http();
    eventually("every role is ready", async || {
        for process in processes.iter_mut() {
            let ended = process.wait(std::time::Duration::ZERO).ok();
            assert!(ended.is_none(), "{} ended: {ended:?}", process.name);
        }
        for page in pages {
            let reply = http.get(page.parse().expect("a URL")).await.ok()?;
            if reply.status() != 200 {
                return None;
            }
        }
        Some(())
    })
    .await;
}
