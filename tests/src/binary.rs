//! What the person at the keyboard meets: help, listings, and one clear sentence for each thing that is wrong.

use std::{
    net::TcpListener,
    process::{Command, Output},
    time::Duration,
};

use anyhow::{Context, Result};
use kit::Clock;
use serde_json::{Value, json};
use storage::{Db, Migration, Options};

use crate::{
    client::Protocol,
    people::Person,
    platform::{Platform, binary, contract, eventually},
};

fn agora(arguments: &[&str], settings: &[(&str, &str)]) -> Result<Output> {
    let mut command = Command::new(binary());
    command.args(arguments).envs(settings.iter().copied()).output().context("agora cannot be run")
}

/// What a failing command says, in one piece.
fn complaint(arguments: &[&str], settings: &[(&str, &str)]) -> Result<String> {
    let output = agora(arguments, settings)?;
    assert!(!output.status.success(), "{arguments:?} went through");
    let text = String::from_utf8(output.stderr)?;
    assert!(!text.contains("panicked") && !text.contains("stack backtrace"), "{text}");
    Ok(text)
}

fn told(arguments: &[&str]) -> Result<String> {
    let output = agora(arguments, &[])?;
    assert!(output.status.success(), "{arguments:?}: {}", String::from_utf8_lossy(&output.stderr));
    Ok(String::from_utf8(output.stdout)?)
}

#[test]
fn help_names_every_service_and_every_setting_its_variable() -> Result<()> {
    let help = told(&["--help"])?;
    for service in agora::services::SERVICES {
        assert!(help.contains(&format!("  {}", service.name)), "{help}");
    }
    let up = told(&["up", "--help"])?;
    for word in ["--ephemeral", "--direct", "--output", "AGORA_PORT", "AGORA_QUOTE_LIFETIME", "[default: 8080]"] {
        assert!(up.contains(word), "`{word}` is not in {up}");
    }
    assert!(!up.contains(agora::settings::DEVELOPMENT_SECRET), "a secret is never shown");
    Ok(())
}

#[test]
fn routes_are_listed_for_people_and_for_programs() -> Result<()> {
    let table = told(&["routes"])?;
    let line = table.lines().find(|line| line.contains("OrderService/CreateOrder")).context("no CreateOrder")?;
    assert!(line.starts_with("POST") && line.contains("/api/v1/orders") && line.contains("owner"), "{line}");
    let listed: Vec<Value> = serde_json::from_str(&told(&["routes", "--output", "json"])?)?;
    assert_eq!(listed.len(), contract()?.methods().count(), "an object per RPC");
    Ok(())
}

#[test]
fn the_mesh_says_why_a_call_is_allowed_or_refused() -> Result<()> {
    let post = "/agora.ledger.v1.LedgerService/PostTransaction";
    let allowed = told(&["mesh", "explain", "--from", "order", post])?;
    assert!(allowed.contains("order: allowed") && allowed.contains("ledger (127.0.0.1:"), "{allowed}");
    let refused = told(&["mesh", "explain", "--from", "catalog", post])?;
    assert!(refused.contains("refused"), "{refused}");
    Ok(())
}

#[test]
fn a_port_in_use_is_one_clear_sentence() -> Result<()> {
    let taken = TcpListener::bind("127.0.0.1:0")?;
    let port = taken.local_addr()?.port().to_string();
    let text = complaint(&["up", "--ephemeral", "--port", &port], &[])?;
    assert!(text.contains(&port) && text.contains("--port"), "{text}");
    Ok(())
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_data_folder_in_use_is_one_clear_sentence() -> Result<()> {
    let folder = tempfile::tempdir()?;
    let platform = Platform::one_process(folder.path(), &[], &[])?;
    let text = complaint(&["up", "--port", "0", "--data-dir", &folder.path().display().to_string()], &[])?;
    assert!(text.contains("in use by another `agora up`") && text.contains("--data-dir"), "{text}");
    drop(platform);
    Platform::one_process(folder.path(), &[], &[])?;
    Ok(())
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn after_a_stop_each_database_is_whole_in_its_file() -> Result<()> {
    let (folder, copy) = (tempfile::tempdir()?, tempfile::tempdir()?);
    let mut platform = Platform::one_process(folder.path(), &[], &[])?;
    let person = Person::with_money(&platform.client(Protocol::Rest)?, "42").await?;
    platform.processes()[0].signal("TERM")?;
    let status = tokio::task::block_in_place(|| platform.processes()[0].wait(Duration::from_secs(30)))?;
    assert!(status.success(), "{status}");
    for name in agora::services::SERVICES.iter().map(|service| service.name).chain(["events"]) {
        let file = format!("{name}.db");
        std::fs::copy(folder.path().join(&file), copy.path().join(&file))?;
    }
    let platform = Platform::one_process(copy.path(), &[], &[])?;
    let again = person.on(&platform.client(Protocol::Rest)?);
    assert_eq!(again.available("USD").await?, "42.00", "the files alone hold the token and the money");
    Ok(())
}

#[test]
fn a_broken_variable_is_told_by_its_name() -> Result<()> {
    let text = complaint(&["up", "--ephemeral"], &[("AGORA_PORT", "abc")])?;
    assert!(text.contains("--port") && text.contains("AGORA_PORT in the environment"), "{text}");
    let text = complaint(&["up", "--ephemeral", "--port", "abc"], &[("AGORA_PORT", "8080")])?;
    assert!(!text.contains("AGORA_PORT"), "{text}");
    let text = complaint(&["up", "--ephemeral"], &[("AGORA_DATABASE", "mysql://root:secret@db/{name}")])?;
    assert!(text.contains("begins with `mysql:`") && !text.contains("secret"), "{text}");
    let text = complaint(&["up", "--ephemeral"], &[("AGORA_DATABASE", "host=db password=secret dbname={name}")])?;
    assert!(text.contains("is no URL") && !text.contains("secret"), "{text}");
    Ok(())
}

#[test]
fn every_broken_setting_is_told_at_once() -> Result<()> {
    let settings = [("AGORA_GROUP_LIMIT", "0"), ("AGORA_DATABASE", "sqlite:one.db"), ("AGORA_FEE_BPS", "20000")];
    let text = complaint(&["up", "--ephemeral", "--mode", "production"], &settings)?;
    for name in ["AGORA_SECRET", "AGORA_GROUP_LIMIT", "AGORA_DATABASE", "--fee-bps"] {
        assert!(text.contains(name), "{name} is not in: {text}");
    }
    let text = complaint(&["up", "--quote-lifetime", "soon"], &[])?;
    assert!(text.contains("quote-lifetime") && text.contains("soon"), "{text}");
    Ok(())
}

/// T-UPGRADE, the way back.
#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_data_folder_of_a_newer_version_is_refused_in_a_sentence() -> Result<()> {
    const NEWER: &[Migration] = &[
        Migration { version: 1, name: "users", sql: include_str!("../../services/user/migrations/0001_users.sql") },
        Migration { version: 9999, name: "future", sql: "CREATE TABLE future (id TEXT NOT NULL PRIMARY KEY)" },
    ];
    let folder = tempfile::tempdir()?;
    let url = format!("sqlite:{}", folder.path().join("user.db").display());
    Db::open(&url, Options { migrations: NEWER, ..Options::new("user", Clock::system()) }).await?;
    let data = folder.path().display().to_string();
    let text = complaint(&["up", "--port", "0", "--data-dir", &data], &[])?;
    assert!(text.contains("newer"), "{text}");
    Ok(())
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_data_folder_is_kept_between_runs_and_is_nobody_elses() -> Result<()> {
    use std::os::unix::fs::PermissionsExt;
    let folder = tempfile::tempdir()?;
    let data = folder.path().join("data");
    let migrated = told(&["migrate", "--data-dir", &data.display().to_string()])?;
    assert_eq!(migrated.lines().count(), agora::services::SERVICES.len() + 1, "{migrated}");
    assert_eq!(std::fs::metadata(&data)?.permissions().mode() & 0o777, 0o700);

    let platform = Platform::one_process(&data, &[], &[])?;
    let person = Person::with_money(&platform.client(Protocol::Rest)?, "42").await?;
    drop(platform);
    let platform = Platform::one_process(&data, &["--direct"], &[])?;
    let again = person.on(&platform.client(Protocol::Rest)?);
    assert_eq!(again.available("USD").await?, "42.00", "the token and the money are still good");
    Ok(())
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn whoever_operates_a_platform_names_its_first_admin() -> Result<()> {
    let folder = tempfile::tempdir()?;
    let data = folder.path().display().to_string();
    let platform = Platform::one_process(folder.path(), &["--demo", "false"], &[])?;
    let client = platform.client(Protocol::Rest)?;
    let person = Person::register(&client).await?;
    let list = async |person: &Person| person.call("user.v1.UserService/ListUsers", json!({})).await;
    assert_eq!(list(&person).await.unwrap_err().reason, "ROLE_REQUIRED");
    let said = told(&["grant", &person.email, "admin", "--data-dir", &data])?;
    assert!(said.contains(&person.id) && said.contains("is admin"), "{said}");
    let admin = Person::login(&client, &person.email, &person.password).await?;
    list(&admin).await?;
    eventually("the login from before has ended", async || {
        (list(&person).await.err()?.reason == "TOKEN_REVOKED").then_some(())
    })
    .await;
    let again = told(&["grant", &person.email, "admin", "--data-dir", &data])?;
    assert!(again.contains("is admin already"), "{again}");
    list(&admin).await?;
    let nowhere = folder.path().join("nowhere");
    let text = complaint(&["grant", &person.email, "admin", "--data-dir", &nowhere.display().to_string()], &[])?;
    assert!(text.contains("--data-dir") && !nowhere.exists(), "{text}");
    let text = complaint(&["grant", "nobody@test.example", "admin", "--data-dir", &data], &[])?;
    assert!(text.contains("nobody has registered as `nobody@test.example`"), "{text}");
    let text = complaint(&["grant", &person.email, "king", "--data-dir", &data], &[])?;
    assert!(text.contains("support"), "{text}");
    Ok(())
}
