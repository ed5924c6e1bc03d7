//! A process per role, as pods would run them: PostgreSQL, a certificate authority, the services and the edge.

use std::{path::Path, process::Command};

use agora::services::SERVICES;
use anyhow::{Context, Result};
use hyper_util::{client::legacy::Client as Http, rt::TokioExecutor};
use storage::testing::Database;

use crate::platform::{Platform, Process, binary, eventually, free_port, spawn};

/// Starts every role, those in `twice` as two processes that share the work, and waits until all are ready.
pub async fn start(data: &Path, settings: &[(&str, &str)], twice: &[&str]) -> Result<Platform> {
    start_build(&binary(), data, settings, twice).await
}

/// The same with the binary of another build.
pub async fn start_build(build: &Path, data: &Path, settings: &[(&str, &str)], twice: &[&str]) -> Result<Platform> {
    let names: Vec<&str> = SERVICES.iter().map(|service| service.name).chain(["events"]).collect();
    let databases = Database::postgres_each(&names).await.context("PostgreSQL is not installed")?;
    let ca = format!("127.0.0.1:{}", free_port()?);
    let mut inbound = Vec::new();
    for service in SERVICES {
        for _ in 0..if twice.contains(&service.name) { 2 } else { 1 } {
            inbound.push((service.name, format!("127.0.0.1:{}", free_port()?)));
        }
    }
    let endpoints: Vec<String> = inbound.iter().map(|(name, at)| format!("{name}={at}")).collect();
    let shared: Vec<(&str, String)> = vec![
        ("AGORA_DATA_DIR", data.display().to_string()),
        ("AGORA_EVENTS", format!("sql:{}", databases.replace("{name}", "events"))),
        ("AGORA_DATABASE", databases),
        ("AGORA_CA", ca),
        ("AGORA_ENDPOINTS", endpoints.join(",")),
    ];

    let role = |name: &str, page: Option<String>, more: &[(&str, &str)]| -> Result<Process> {
        let mut command = Command::new(build);
        command.arg(name).envs(shared.iter().cloned()).envs(more.iter().copied());
        let mut process = spawn(name, command, settings)?;
        process.page = page;
        Ok(process)
    };
    let mut processes = vec![role("ca", None, &[])?];
    for (name, at) in &inbound {
        let admin = format!("127.0.0.1:{}", free_port()?);
        let more = [("AGORA_INBOUND", at.as_str()), ("AGORA_ADMIN", admin.as_str())];
        processes.push(role(name, Some(format!("http://{admin}/readyz")), &more)?);
    }
    let port = free_port()?.to_string();
    let address = format!("127.0.0.1:{port}");
    let more = [("AGORA_PORT", port.as_str()), ("AGORA_ADMIN", "127.0.0.1:0"), ("AGORA_INBOUND", "127.0.0.1:0")];
    processes.push(role("edge", Some(format!("http://{address}/readyz")), &more)?);

    ready(&mut processes).await;
    let settings = shared.into_iter().map(|(name, value)| (name.to_owned(), value)).collect();
    Platform::of(
        address,
        inbound.into_iter().map(|(name, at)| (name.to_owned(), at)).collect(),
        data,
        processes,
        settings,
    )
}

/// Waits until every process that has a page says there that it is ready.
pub async fn ready(processes: &mut [Process]) {
    let http: Http<_, http_body_util::Empty<bytes::Bytes>> = Http::builder(TokioExecutor::new()).build_http();
    eventually("every role is ready", async || {
        for process in processes.iter_mut() {
            let ended = process.ended().expect("it can be asked");
            assert!(ended.is_none(), "{} ended: {ended:?}", process.name);
        }
        for page in processes.iter().filter_map(|process| process.page.as_ref()) {
            let reply = http.get(page.parse().expect("a URL")).await.ok()?;
            if reply.status() != 200 {
                return None;
            }
        }
        Some(())
    })
    .await;
}
