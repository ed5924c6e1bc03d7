//! Programs that nobody here wrote: grpcurl and buf, which know the platform only by reflection.

use std::{path::PathBuf, process::Command};

use anyhow::{Context, Result, ensure};
use serde_json::Value;

use crate::platform::{Platform, Shape, key};

/// A tool of `scripts/tools.sh`. Missing in CI is a failure; elsewhere the test says that it left something out.
pub fn tool(name: &str) -> Option<PathBuf> {
    let path = PathBuf::from(env!("CARGO_MANIFEST_DIR")).join("../.tools/bin").join(name);
    if path.exists() {
        return Some(path);
    }
    assert!(std::env::var_os("CI").is_none(), "{name} is missing: run scripts/tools.sh");
    eprintln!("left out: {name} is missing; scripts/tools.sh installs it");
    None
}

fn run(program: &PathBuf, arguments: &[&str]) -> Result<String> {
    let output = Command::new(program).args(arguments).output().with_context(|| format!("{}", program.display()))?;
    let text = String::from_utf8_lossy(&output.stdout).into_owned();
    ensure!(output.status.success(), "{arguments:?}: {text}{}", String::from_utf8_lossy(&output.stderr));
    Ok(text)
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn grpcurl_trades_by_reflection_alone() -> Result<()> {
    let Some(grpcurl) = tool("grpcurl") else { return Ok(()) };
    let platform = Platform::start(Shape::Meshed).await?;
    let address = platform.address.as_str();
    let listed = run(&grpcurl, &["-plaintext", address, "list"])?;
    for method in platform.contract.methods() {
        assert!(listed.lines().any(|line| line == method.service), "{} is not listed:\n{listed}", method.service);
    }
    let call = |token: Option<&str>, rpc: &str, request: &str| -> Result<Value> {
        let header = format!("authorization: Bearer {}", token.unwrap_or_default());
        let mut arguments = vec!["-plaintext", "-d", request];
        if token.is_some() {
            arguments.extend(["-H", &header]);
        }
        arguments.extend([address, rpc]);
        Ok(serde_json::from_str(&run(&grpcurl, &arguments)?)?)
    };
    let login = r#"{"email": "alice@agora.example", "password": "alice-demo-1"}"#;
    let tokens = call(None, "agora.auth.v1.AuthService/Login", login)?;
    let token = tokens["tokens"]["accessToken"].as_str().context("a token")?;
    let deposit = format!(r#"{{"requestId": "{}", "amount": {{"value": "100", "unit": "USD"}}}}"#, key());
    call(Some(token), "agora.ledger.v1.WalletService/CreateDeposit", &deposit)?;
    let order = format!(
        r#"{{"requestId": "{}", "marketTrade": {{"side": "SIDE_BUY", "quantity": {{"value": "0.0001", "unit": "BTC"}}}}}}"#,
        key()
    );
    let order = call(Some(token), "agora.order.v1.OrderService/CreateOrder", &order)?;
    assert_eq!(order["order"]["state"], "STATE_FULFILLED", "{order}");

    let refused = call(Some(token), "agora.user.v1.UserService/ListUsers", "{}").unwrap_err().to_string();
    assert!(refused.contains("PermissionDenied") && refused.contains("ROLE_REQUIRED"), "{refused}");
    let refused = call(Some(token), "agora.user.v1.UserService/Authenticate", "{}").unwrap_err().to_string();
    assert!(refused.contains("SERVICE_ONLY"), "{refused}");

    let health = run(&grpcurl, &["-plaintext", address, "grpc.health.v1.Health/Check"])?;
    assert!(health.contains("SERVING"), "{health}");
    Ok(())
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn buf_curl_calls_by_reflection() -> Result<()> {
    let Some(buf) = tool("buf") else { return Ok(()) };
    let platform = Platform::start(Shape::Direct).await?;
    let url = format!("http://{}/agora.catalog.v1.MarketDataService/GetTicker", platform.address);
    let request = r#"{"unit": "BTC"}"#;
    let shown = run(&buf, &["curl", "--protocol", "grpc", "--http2-prior-knowledge", "-d", request, &url])?;
    assert_eq!(serde_json::from_str::<Value>(&shown)?["ticker"]["unit"], "BTC");
    Ok(())
}
