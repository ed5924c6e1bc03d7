//! The calls of the README, executed word for word but for the port.

use std::{
    os::unix::fs::PermissionsExt,
    path::{Path, PathBuf},
    process::Command,
};

use anyhow::{Context, Result, ensure};

use crate::{
    foreign,
    platform::{Platform, Shape},
};

/// The code blocks of a language, in order.
fn blocks(readme: &str, language: &str) -> Vec<String> {
    readme
        .split("```")
        .skip(1)
        .step_by(2)
        .filter_map(|block| block.strip_prefix(language)?.strip_prefix('\n'))
        .map(str::to_owned)
        .collect()
}

/// A folder with a curl that fails on an HTTP error, and never waits for ever.
fn strict_curl(folder: &Path) -> Result<PathBuf> {
    let bin = folder.join("bin");
    std::fs::create_dir(&bin)?;
    let found = Command::new("sh").args(["-c", "command -v curl"]).output()?;
    let real = String::from_utf8(found.stdout)?;
    let path = bin.join("curl");
    std::fs::write(&path, format!("#!/bin/sh\nexec {} --fail-with-body --max-time 20 \"$@\"\n", real.trim()))?;
    std::fs::set_permissions(&path, std::fs::Permissions::from_mode(0o755))?;
    Ok(bin)
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn the_calls_of_the_readme_work_as_they_stand() -> Result<()> {
    let root = concat!(env!("CARGO_MANIFEST_DIR"), "/..");
    let readme = std::fs::read_to_string(format!("{root}/README.md"))?;
    let mut calls = blocks(&readme, "sh");
    if foreign::tool("grpcurl").is_none() {
        calls.retain(|block| !block.contains("grpcurl"));
    }
    let script = calls.join("\n");
    ensure!(script.contains("curl"), "the README shows no calls");
    let platform = Platform::start_with(Shape::Meshed, &[("AGORA_DEMO_WAREHOUSE", "true")]).await?;
    let port = platform.address.rsplit_once(':').context("a port")?.1;
    let folder = tempfile::tempdir()?;
    let wrapped = strict_curl(folder.path())?;
    // `-e` stops at the first call that fails.
    let script = format!(
        "set -euo pipefail\nPATH={}:{root}/.tools/bin:$PATH\n{}",
        wrapped.display(),
        script.replace("localhost:8080", &format!("127.0.0.1:{port}"))
    );
    let output = Command::new("bash").arg("-c").arg(&script).current_dir(folder.path()).output()?;
    let (out, err) = (String::from_utf8_lossy(&output.stdout), String::from_utf8_lossy(&output.stderr));
    ensure!(output.status.success(), "{out}\n{err}");
    for shown in [
        "STATE_FULFILLED",
        "marketValue",
        "STATE_HELD",
        "\"tickers\"",
        "STATE_SHIPPED",
        "STATE_REQUESTED",
        "STATE_REFUNDED",
    ] {
        ensure!(out.contains(shown), "`{shown}` is not in:\n{out}\n{err}");
    }
    ensure!(std::fs::read(folder.path().join("invoice.pdf"))?.starts_with(b"%PDF-"), "the invoice is no PDF");
    Ok(())
}
