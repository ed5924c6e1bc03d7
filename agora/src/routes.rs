//! `agora routes`: every route, its RPC and its policy, as the contract has them.

use std::fmt::Write;

use kit::contract::{Access, Contract, Idempotency, Method, RequestId};
use serde_json::{Value, json};

/// One row: a REST route of an RPC, or an RPC that has none.
struct Row {
    verb: String,
    path: String,
    rpc: String,
    access: String,
    repeat: &'static str,
    limits: String,
}

/// What the words of a column mean.
const LEGEND: &str = "
REPEAT: what a second, equal call does. `read` changes nothing; `idempotent` leaves things as the first did; `by key` gives the
reply of the first under the same Idempotency-Key (gRPC: request_id), and `by key?` does so if there is one; `again` acts again.
";

/// The routes as a table for people.
pub fn table(contract: &Contract) -> String {
    let rows: Vec<Row> = contract.methods().flat_map(|method| rows(method)).collect();
    let width = |column: fn(&Row) -> &str| rows.iter().map(|row| column(row).len()).max().unwrap_or(0);
    let (path, rpc, access) = (width(|row| &row.path), width(|row| &row.rpc), width(|row| &row.access));
    let mut out =
        format!("{:<7} {:<path$} {:<rpc$} {:<access$} {:<11} LIMITS\n", "VERB", "ROUTE", "RPC", "WHO", "REPEAT");
    for row in &rows {
        let Row { verb, path: route, rpc: name, access: who, repeat, limits } = row;
        let _ = writeln!(out, "{verb:<7} {route:<path$} {name:<rpc$} {who:<access$} {repeat:<11} {limits}");
    }
    out.push_str(LEGEND);
    out.lines().map(str::trim_end).fold(String::new(), |text, line| text + line + "\n")
}

/// The routes as JSON, an object per RPC.
pub fn json(contract: &Contract) -> Value {
    contract
        .methods()
        .map(|method| {
            let policy = &method.policy;
            json!({
                "rpc": method.path,
                "routes": method.http.iter().map(|b| json!({"verb": b.verb.as_str(), "path": b.path})).collect::<Vec<_>>(),
                "access": access(method),
                "roles": policy.roles,
                "services": policy.services,
                "repeat": repeat(method),
                "rateLimit": policy.rate_limit.map(|limit| json!({"requests": limit.requests, "perSeconds": limit.per.as_secs()})),
                "cacheSeconds": policy.cache.map(|cache| cache.as_secs()),
                "timeoutSeconds": policy.timeout.map(|timeout| timeout.as_secs_f64()),
                "streams": method.server_streaming,
                "successStatus": if policy.success_status == 0 { 200 } else { policy.success_status },
            })
        })
        .collect()
}

fn rows(method: &Method) -> Vec<Row> {
    let row = |verb: &str, path: &str| Row {
        verb: verb.to_owned(),
        path: path.to_owned(),
        rpc: format!("{}/{}", method.service, method.name),
        access: access(method),
        repeat: repeat(method),
        limits: limits(method),
    };
    if method.http.is_empty() {
        return vec![row("-", "-")];
    }
    method.http.iter().map(|binding| row(binding.verb.as_str(), &binding.path)).collect()
}

fn access(method: &Method) -> String {
    let policy = &method.policy;
    let services = policy.services.join(",");
    let who = match policy.access {
        Access::Public => "public".to_owned(),
        Access::Owner if policy.roles.is_empty() => "owner".to_owned(),
        Access::Owner => format!("owner or {}", policy.roles.join(",")),
        Access::Roles => policy.roles.join(","),
        Access::Services => return format!("services {services}"),
    };
    if services.is_empty() { who } else { format!("{who}; services {services}") }
}

/// What a second, equal call does.
fn repeat(method: &Method) -> &'static str {
    match (method.idempotency, method.policy.request_id) {
        (Idempotency::NoSideEffects, _) => "read",
        (Idempotency::Idempotent, _) => "idempotent",
        (_, RequestId::Required) => "by key",
        (_, RequestId::Optional) => "by key?",
        (_, RequestId::None) => "again",
    }
}

fn limits(method: &Method) -> String {
    let mut limits = Vec::new();
    if let Some(limit) = method.policy.rate_limit {
        limits.push(format!("{} per {} s", limit.requests, limit.per.as_secs()));
    }
    if let Some(cache) = method.policy.cache {
        limits.push(format!("cache {} s", cache.as_secs()));
    }
    if method.server_streaming {
        limits.push("stream".to_owned());
    }
    limits.join(", ")
}
