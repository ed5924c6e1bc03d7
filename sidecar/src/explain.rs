//! Why a call is allowed or refused, where it goes, how long it may take and whether it is repeated: in words, from the
//! same functions that decide it.

use std::fmt::Write;

use kit::contract::{Access, Contract, Idempotency};

use crate::{
    Config,
    authorize::{authorize, is_infrastructure},
    failure::MAX_ATTEMPTS,
    routes::is_repeatable,
};

/// Says what happens to a call of `method` (`/package.Service/Method`) by the workload `from`.
pub fn explain(contract: &Contract, config: &Config, from: &str, method: &str) -> String {
    if is_infrastructure(method) {
        return format!("{method}\n  allowed: every workload of the mesh may call health and reflection\n");
    }
    let Some(method) = contract.method(method) else {
        return format!("{method}\n  refused: the contract has no such RPC (UNIMPLEMENTED)\n");
    };
    let workload = config.workload_of(method);
    let addresses = config.endpoints.get(workload);
    let mut text = format!("{}\n", method.path);
    let mut line = |name: &str, value: String| {
        // Writing to a string cannot fail.
        let _ = writeln!(text, "  {name:<12} {value}");
    };

    let listed = if addresses.is_empty() { "no endpoint is known".to_owned() } else { addresses.join(", ") };
    line("destination", format!("{workload} ({listed})"));
    for (name, has_user_token) in [("by itself", false), ("for a user", true)] {
        let decision = authorize(method, from, &config.edge, has_user_token);
        let verdict = if decision.allow { "allowed" } else { "refused (PERMISSION_DENIED, SERVICE_ONLY)" };
        line(name, format!("{from}: {verdict}: {}", decision.why));
    }
    line("access", access(method.policy.access, &method.policy.roles, &method.policy.services));
    line(
        "timeout",
        match config.limit_of(method) {
            None => "only the caller's: it is a stream".into(),
            Some(limit) if method.policy.timeout.is_some() => {
                format!("{limit:?}, by its policy; less if the caller asks")
            }
            Some(limit) => format!("{limit:?}, by default; less if the caller asks"),
        },
    );
    line(
        "retried",
        match (method.client_streaming, is_repeatable(method)) {
            (true, _) => "only if nothing was sent: the request is a stream".into(),
            (false, true) => format!(
                "up to {MAX_ATTEMPTS} attempts on UNAVAILABLE before the first message: the contract says {}",
                if method.idempotency == Idempotency::Idempotent { "IDEMPOTENT" } else { "NO_SIDE_EFFECTS" }
            ),
            (false, false) => format!(
                "up to {MAX_ATTEMPTS} attempts, only if provably not processed: the contract does not say that a repeat is safe"
            ),
        },
    );
    text
}

fn access(access: Access, roles: &[String], services: &[String]) -> String {
    let who = match access {
        Access::Public => "anyone".to_owned(),
        Access::Owner => "any user, about what is theirs".to_owned(),
        Access::Roles => format!("users with the role {}", roles.join(" or ")),
        Access::Services => "no user".to_owned(),
    };
    if services.is_empty() { who } else { format!("{who}; the workloads {}", services.join(", ")) }
}
