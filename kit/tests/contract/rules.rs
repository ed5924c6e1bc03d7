//! What a contract must say, and what it may not.

use kit::contract::{ContractError, problems};

use crate::proto::contract;

/// A service with these RPCs. `Plain` has no `request_id`, and `Keyed` has one.
fn service(rpcs: &str) -> String {
    format!(
        "message Plain {{ string name = 1; }} message Keyed {{ string request_id = 1; }} service Things {{ {rpcs} }}"
    )
}

/// One RPC with a policy and other options.
fn rpc(name: &str, request: &str, policy: &str, options: &str) -> String {
    let policy = format!("option (agora.policy.v1.policy) = {{ {policy} }};");
    format!("rpc {name}({request}) returns (Plain) {{ {policy} {options} }}")
}

const READ: &str = "option idempotency_level = NO_SIDE_EFFECTS;";
const GET: &str = "option (google.api.http) = { get: \"/api/v1/things\" };";

#[test]
fn every_gap_in_a_contract_has_a_sentence_of_its_own() {
    let open = "access: ACCESS_PUBLIC";
    let inner = "access: ACCESS_SERVICES services: \"order\"";
    let also = |policy: &str, more: &str| format!("{policy} {more}");
    let table = [
        ("it says who may call", "rpc Do(Keyed) returns (Plain);".to_owned(), "has no policy"),
        ("a change can be repeated safely", rpc("Do", "Plain", open, ""), "neither a request_id nor a policy"),
        ("a read by name says that it is one", rpc("ListThings", "Keyed", open, ""), "is a read"),
        ("a read by its route says that it is one", rpc("Do", "Keyed", open, GET), "is a read"),
        (
            "a key that is demanded can be sent",
            rpc("Do", "Plain", &also(open, "request_id: REQUEST_ID_REQUIRED"), ""),
            "demands a request_id and has no such field",
        ),
        (
            "a key that can be sent is not denied",
            rpc("Do", "Keyed", &also(open, "request_id: REQUEST_ID_NONE"), ""),
            "has a request_id and a policy that says REQUEST_ID_NONE",
        ),
        (
            "a change is not cached",
            rpc("Do", "Keyed", &also(open, "cache { seconds: 1 }"), ""),
            "is cached though it changes something",
        ),
        (
            "only services have no route for others",
            rpc("Do", "Plain", inner, &format!("{READ} {GET}")),
            "has a REST route that only services may take",
        ),
        (
            "services pass no edge that could limit them",
            rpc("Do", "Keyed", &also(inner, "rate_limit { requests: 1 per { seconds: 1 } }"), ""),
            "has a rate limit, which only the edge enforces",
        ),
        (
            "a refusal is no success",
            rpc("Do", "Keyed", &also(open, "success_status: 404"), ""),
            "a success_status that is no success",
        ),
        (
            "what is no status at all is no success",
            rpc("Do", "Keyed", &also(open, "success_status: 65736"), ""),
            "a success_status that is no success",
        ),
    ];
    for (sentence, rpcs, problem) in table {
        let found = problems(&contract(&service(&rpcs)).unwrap());
        assert_eq!(found.len(), 1, "{sentence}: {found:?}");
        assert!(found[0].starts_with("/agora.thing.v1.Things/"), "{sentence}: {found:?}");
        assert!(found[0].contains(problem), "{sentence}: {found:?}");
    }
}

#[test]
fn a_contract_without_gaps_has_no_problem() {
    let rpcs = [
        rpc("GetThing", "Plain", "access: ACCESS_PUBLIC cache { seconds: 5 }", &format!("{READ} {GET}")),
        rpc("Create", "Keyed", "access: ACCESS_OWNER request_id: REQUEST_ID_REQUIRED success_status: 201", ""),
        rpc("Forget", "Plain", "access: ACCESS_ROLES roles: \"admin\" request_id: REQUEST_ID_NONE", ""),
        rpc("Post", "Keyed", "access: ACCESS_SERVICES services: \"*\"", ""),
    ];
    assert_eq!(problems(&contract(&service(&rpcs.join(" "))).unwrap()), Vec::<String>::new());
}

#[test]
fn what_cannot_be_enforced_is_refused_at_the_start() {
    let policy = |policy: &str| service(&rpc("Do", "Keyed", policy, ""));
    let limit = |fields: &str| policy(&format!("access: ACCESS_PUBLIC rate_limit {{ {fields} }}"));
    let route = "option (google.api.http) = { body: \"*\" };";
    let rule = |rule: &str| {
        let rpc = rpc("Do", "Odd", "access: ACCESS_PUBLIC", "");
        format!("message Odd {{ string text = 1 [(buf.validate.field).{rule}]; }} {}", service(&rpc))
    };
    let table = [
        ("access is unspecified", policy(""), "does not say who may call"),
        ("roles are asked for and none is named", policy("access: ACCESS_ROLES"), "ACCESS_ROLES names no role"),
        ("no service is named", policy("access: ACCESS_SERVICES"), "ACCESS_SERVICES names no service"),
        ("everyone may call, and roles too", policy("access: ACCESS_PUBLIC roles: \"admin\""), "no effect"),
        ("a limit has no time", limit("requests: 1"), "rate_limit needs `requests` and `per`"),
        ("a limit has no number", limit("per { seconds: 1 }"), "rate_limit needs `requests` and `per`"),
        ("a limit has a negative time", limit("requests: 1 per { seconds: -1 }"), "rate_limit needs"),
        (
            "a route has no verb",
            service(&rpc("Do", "Keyed", "access: ACCESS_PUBLIC", route)),
            "the HttpRule has no get",
        ),
        (
            "a rule has no program",
            rule("string.ip_prefix = true"),
            "agora.thing.v1.Odd.text: the rule `string.ip_prefix`",
        ),
        (
            "a rule is a program of its own",
            rule("cel = { id: \"a\" expression: \"true\" }"),
            "Odd.text: the rule `cel`",
        ),
        ("a rule is of another type", rule("int32.gt = 1"), "agora.thing.v1.Odd.text: the rule `int32"),
    ];
    for (sentence, text, problem) in table {
        let Err(ContractError::Unenforceable(found)) = contract(&text) else { panic!("{sentence}: was accepted") };
        assert_eq!(found.len(), 1, "{sentence}: {found:?}");
        assert!(found[0].starts_with("/agora.thing.v1.Things/Do: "), "{sentence}: {found:?}");
        assert!(found[0].contains(problem), "{sentence}: {found:?}");
    }
}

#[test]
fn every_problem_is_told_at_once() {
    let rpcs = [rpc("One", "Keyed", "", ""), rpc("Two", "Keyed", "access: ACCESS_ROLES", "")];
    let error = contract(&service(&rpcs.join(" "))).err().unwrap().to_string();
    assert!(error.contains("/One: ") && error.contains("/Two: "), "{error}");
    assert!(kit::contract::Contract::parse(b"no descriptors").is_err());
}
