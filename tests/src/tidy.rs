//! What must never be in the code, checked on its text: the absences of docs/ARCHITECTURE.md.

use std::path::{Path, PathBuf};

use anyhow::{Context, Result};

fn root() -> PathBuf {
    Path::new(env!("CARGO_MANIFEST_DIR")).join("..")
}

/// Every Rust file below a folder, tests left out, with its text up to its own tests.
pub fn sources(folder: &str) -> Result<Vec<(PathBuf, String)>> {
    let (mut found, mut folders) = (Vec::new(), vec![root().join(folder)]);
    while let Some(folder) = folders.pop() {
        for entry in std::fs::read_dir(&folder).with_context(|| folder.display().to_string())? {
            let path = entry?.path();
            let name = path.file_name().unwrap_or_default().to_string_lossy().into_owned();
            if path.is_dir() && name != "tests" {
                folders.push(path);
            } else if name.ends_with(".rs") && name != "tests.rs" {
                let text = std::fs::read_to_string(&path)?;
                let code = text.split("#[cfg(test)]\nmod tests {").next().unwrap_or_default().to_owned();
                found.push((path, code));
            }
        }
    }
    Ok(found)
}

/// No file below these folders has any of these words.
fn absent(folders: &[&str], words: &[&str], why: &str) -> Result<()> {
    for folder in folders {
        for (path, code) in sources(folder)? {
            for (number, line) in code.lines().enumerate() {
                let told = line.split("//").next().unwrap_or_default();
                if let Some(word) = words.iter().find(|word| told.contains(**word)) {
                    panic!("{}:{}: `{word}`: {why}", path.display(), number + 1);
                }
            }
        }
    }
    Ok(())
}

#[test]
fn the_domain_is_pure() -> Result<()> {
    let pure = [
        "catalog/src/quote.rs",
        "catalog/src/purchase.rs",
        "inventory/src/stock.rs",
        "inventory/src/reservation.rs",
        "ledger/src/book.rs",
        "ledger/src/hold.rs",
        "ledger/src/withdrawal.rs",
        "order/src/cart.rs",
        "order/src/invoice.rs",
        "order/src/order.rs",
        "order/src/purchase.rs",
        "order/src/saga.rs",
        "order/src/trade.rs",
        "payment/src/payment.rs",
        "payment/src/refund.rs",
    ];
    for file in pure {
        let path = root().join("services").join(file);
        let text = std::fs::read_to_string(&path)?;
        let code = text.split("#[cfg(test)]").next().unwrap_or_default();
        for word in [".await", "async ", "Clock", "SystemTime", "std::fs", "std::net"] {
            assert!(!code.contains(word), "{file} has `{word}`: the domain awaits nothing and reads no clock");
        }
    }
    Ok(())
}

#[test]
fn no_handler_names_a_role_or_a_status() -> Result<()> {
    let roles = ["\"admin\"", "\"support\"", "StatusCode", "http_status"];
    absent(
        &["services/user/src", "services/catalog/src", "services/ledger/src", "services/order/src"],
        &roles,
        "the contract says so",
    )
}

#[test]
fn no_service_imports_a_service_and_nobody_below_them_knows_one() -> Result<()> {
    let services: Vec<&str> = agora::services::SERVICES.iter().map(|service| service.name).collect();
    let manifest = |folder: &str| std::fs::read_to_string(root().join(folder).join("Cargo.toml"));
    for name in &services {
        let text = manifest(&format!("services/{name}"))?;
        for other in services.iter().filter(|other| *other != name) {
            assert!(!text.contains(&format!("\n{other} = ")), "{name} depends on {other}");
        }
    }
    for (folder, never) in [
        ("kit", ["contracts", "storage"].as_slice()),
        ("storage", &["contracts"]),
        ("edge-gateway", &["contracts", "storage", "sqlx", "rusqlite"]),
        ("sidecar", &["contracts", "storage", "sqlx", "rusqlite"]),
    ] {
        for word in never.iter().chain(&services) {
            assert!(!manifest(folder)?.contains(&format!("\n{word} = ")), "{folder} depends on {word}");
        }
    }
    Ok(())
}

#[test]
fn only_storage_knows_which_database_runs() -> Result<()> {
    let services =
        ["services/user/src", "services/auth/src", "services/catalog/src", "services/ledger/src", "services/order/src"];
    absent(&services, &["sqlx::", "rusqlite::"], "only storage::db knows which database runs")
}

#[test]
fn nothing_is_left_unfinished() -> Result<()> {
    let folders = ["kit/src", "storage/src", "services", "edge-gateway/src", "sidecar/src", "agora/src"];
    absent(&folders, &["todo!(", "unimplemented!(", "dbg!("], "finish it")
}

/// Every scenario of docs/SCENARIOS.md has its name in the files that it names, and every test that it names is in one of
/// them.
#[test]
fn every_scenario_has_its_tests() -> Result<()> {
    let table = std::fs::read_to_string(root().join("docs/SCENARIOS.md"))?;
    let mut names = Vec::new();
    for row in table.lines().filter(|line| line.starts_with("| T-")) {
        let cells: Vec<&str> = row.split('|').map(str::trim).collect();
        let [_, name, _, files, tests, _] = cells.as_slice() else { panic!("five cells: {row}") };
        let quoted = |cell: &str| cell.split('`').skip(1).step_by(2).map(str::to_owned).collect::<Vec<_>>();
        let mut code = String::new();
        for file in quoted(files) {
            let text = std::fs::read_to_string(root().join(&file)).with_context(|| file.clone())?;
            let word =
                |line: &str| line.split(|c: char| !c.is_ascii_alphanumeric() && c != '-').any(|word| word == *name);
            assert!(text.lines().any(|line| line.contains("//") && word(line)), "{file} does not name {name}");
            code += &text;
        }
        for test in quoted(tests) {
            assert!(code.contains(&format!("fn {test}(")), "{name}: there is no {test}");
        }
        names.push((*name).to_owned());
    }
    let all =
        ["T-OVERSELL", "T-IDEM", "T-RACE-WEBHOOK", "T-LATE-SUCCESS", "T-STUCK", "T-OUTBOX", "T-DEADLOCK", "T-PAUSE"];
    let all = [&all[..], &["T-F1", "T-F13", "T-EXPIRE", "T-REFUND-RACE", "T-HOT", "T-UPGRADE"]].concat();
    assert_eq!(names, all);
    Ok(())
}
