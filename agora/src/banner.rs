//! What `agora up` shows: what it does while it starts, then URLs, demo logins and calls to try.

use std::{io::Write, time::Duration};

use serde_json::json;

use crate::{
    demo::PEOPLE,
    up::{Output, Running, Up},
};

/// Prints to people on a terminal, or one line of JSON to a script.
#[derive(Clone)]
pub struct Banner {
    output: Output,
    demo: bool,
    data: String,
}

impl Banner {
    /// The banner that the settings ask for.
    pub fn new(up: &Up) -> Self {
        let data = if up.ephemeral { "nothing is kept".to_owned() } else { up.platform.data_dir.display().to_string() };
        Self { output: up.output, demo: up.platform.demo(), data }
    }

    /// A part of the platform starts; `first` before all others.
    pub fn step(&self, step: &str, first: bool) {
        if self.output == Output::Text {
            eprint!("{}{step}", if first { "Agora is starting: " } else { " " });
        }
    }

    /// The platform was asked to end.
    pub fn ending(&self) {
        if self.output == Output::Text {
            eprintln!("\nAgora is stopping: what is under way is finished first. Once more to end at once.");
        }
    }

    /// The platform has ended.
    pub fn ended(&self) {
        if self.output == Output::Text {
            eprintln!("Agora has stopped.");
        }
    }

    /// The platform answers.
    pub fn ready(&self, running: &Running, took: Duration) {
        let base = format!("http://{}", running.address);
        if self.output == Output::Json {
            print(&self.as_json(running, &base, took).to_string());
            return;
        }
        eprintln!(". Ready in {} ms.", took.as_millis());
        print(&self.as_text(running, &base));
    }

    fn as_json(&self, running: &Running, base: &str, took: Duration) -> serde_json::Value {
        let people = if self.demo { PEOPLE } else { &[] };
        json!({
            "url": base,
            "grpc": running.address.to_string(),
            "openapi": format!("{base}/openapi.json"),
            "sidecars": running.sidecars.iter().map(|(name, at)| (name.clone(), json!(at.to_string()))).collect::<serde_json::Map<_, _>>(),
            "logins": people.iter().map(|p| json!({"email": p.email, "password": p.password, "roles": p.roles})).collect::<Vec<_>>(),
            "data": self.data,
            "readyMs": u64::try_from(took.as_millis()).unwrap_or(u64::MAX),
        })
    }

    fn as_text(&self, running: &Running, base: &str) -> String {
        let mut lines = vec![
            String::new(),
            format!("  REST      {base}"),
            format!("  gRPC      {}   (reflection and health over all services)", running.address),
            format!("  API       {base}/docs   {base}/openapi.json"),
            format!("  health    {base}/healthz   {base}/readyz   {base}/metrics"),
            format!("  data      {}", self.data),
        ];
        for (workload, address) in &running.sidecars {
            lines.push(format!("  sidecar   {workload:<9} {address}   (mTLS)"));
        }
        if self.demo {
            lines.push(String::new());
            lines.extend(
                PEOPLE.iter().map(|p| format!("  login     {:<24} {:<16} {}", p.email, p.password, p.roles.join(", "))),
            );
        }
        lines.push(String::new());
        lines.push("  Try:".to_owned());
        lines.extend(
            examples(base, &running.address.to_string(), self.demo).into_iter().map(|line| format!("    {line}")),
        );
        lines.iter().map(|line| line.trim_end()).collect::<Vec<_>>().join("\n")
    }
}

/// Prints a line. That nobody reads any more is no reason to end the platform.
fn print(line: &str) {
    let _ = writeln!(std::io::stdout(), "{line}");
}

/// Calls that work as they stand, in the order of a first look around. Only a demo has somebody to log in as.
pub fn examples(base: &str, address: &str, demo: bool) -> Vec<String> {
    let public = [
        format!("curl '{base}/api/v1/assets?page_size=5'"),
        format!("curl -N '{base}/api/v1/tickers:watch?units=BTC'"),
        format!("grpcurl -plaintext {address} list"),
    ];
    let personal = [
        format!(
            "TOKEN=$(curl -s {base}/api/v1/auth/login --json '{{\"email\":\"alice@agora.example\",\"password\":\"alice-demo-1\"}}' | sed 's/.*\"accessToken\":\"\\([^\"]*\\)\".*/\\1/')"
        ),
        format!(
            "curl {base}/api/v1/balance/deposits -H \"Authorization: Bearer $TOKEN\" -H \"Idempotency-Key: $(cat /proc/sys/kernel/random/uuid)\" --json '{{\"amount\":{{\"value\":\"1000\",\"unit\":\"USD\"}}}}'"
        ),
        format!(
            "curl {base}/api/v1/orders -H \"Authorization: Bearer $TOKEN\" -H \"Idempotency-Key: $(cat /proc/sys/kernel/random/uuid)\" --json '{{\"marketTrade\":{{\"side\":\"SIDE_BUY\",\"quantity\":{{\"value\":\"0.001\",\"unit\":\"BTC\"}}}}}}'"
        ),
        format!("curl {base}/api/v1/portfolio -H \"Authorization: Bearer $TOKEN\""),
    ];
    public.into_iter().chain(personal.into_iter().filter(|_| demo)).collect()
}
