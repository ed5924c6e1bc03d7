//! What a contract of the platform must say about each RPC, beyond what a foreign contract needs to.

use super::{Access, Contract, Idempotency, Method, RequestId};

/// Beginnings of names that promise a read.
const READS: [&str; 6] = ["Get", "BatchGet", "List", "Search", "Watch", "Verify"];

/// Everything that is missing or contradicts itself, a sentence each: an RPC without a policy, a mutation without
/// `request_id` whose policy does not say none, a read without `idempotency_level`, and options without effect.
pub fn problems(contract: &Contract) -> Vec<String> {
    contract
        .methods()
        .flat_map(|method| {
            check(method).into_iter().map(|problem| format!("{}: {problem}", method.path)).collect::<Vec<_>>()
        })
        .collect()
}

fn check(method: &Method) -> Vec<&'static str> {
    let policy = &method.policy;
    let reads_by_name = READS.iter().any(|verb| method.name.starts_with(verb));
    let reads_by_route = method.http.iter().any(|binding| binding.verb == http::Method::GET);
    let read = method.idempotency == Idempotency::NoSideEffects;
    let mut found = Vec::new();
    let mut refuse = |wrong: bool, problem| {
        if wrong {
            found.push(problem);
        }
    };
    refuse(!method.has_policy, "has no policy: say who may call");
    refuse(
        (reads_by_name || reads_by_route) && !read,
        "is a read, by its name or its GET route, and does not say idempotency_level = NO_SIDE_EFFECTS",
    );
    refuse(
        !read && !method.has_request_id && policy.request_id == RequestId::Optional,
        "changes something and has neither a request_id nor a policy that says REQUEST_ID_NONE",
    );
    refuse(
        method.has_request_id && policy.request_id == RequestId::None,
        "has a request_id and a policy that says REQUEST_ID_NONE",
    );
    refuse(
        !method.has_request_id && policy.request_id == RequestId::Required,
        "demands a request_id and has no such field",
    );
    refuse(policy.cache.is_some() && !read, "is cached though it changes something");
    refuse(
        policy.access == Access::Services && !method.http.is_empty(),
        "has a REST route that only services may take",
    );
    refuse(
        policy.access == Access::Services && policy.rate_limit.is_some(),
        "has a rate limit, which only the edge enforces, and only services may call",
    );
    refuse(
        policy.success_status != 0 && !(200..300).contains(&policy.success_status),
        "has a success_status that is no success",
    );
    found
}
