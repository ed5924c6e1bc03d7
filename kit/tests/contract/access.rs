//! Who may call, and what the handler may load for them.

use std::time::Duration;

use kit::{Scope, link::XFCC};

use crate::house::{House, asked, frame, house, request, stated};

/// The reasons of refusals, or else the scope that the handler sees.
async fn ask(house: &House, rpc: &str, peer: &str, roles: Option<&[&str]>) -> Result<Option<Scope>, String> {
    let peer = stated(peer);
    let bearer = roles.map(|roles| format!("Bearer {}", house.token(roles)));
    let mut headers = vec![(XFCC, peer.as_str())];
    headers.extend(bearer.as_deref().map(|bearer| ("authorization", bearer)));
    let answer = house.send(request(rpc, &headers, frame(&[]))).await;
    answer.map(|call| call.scope).map_err(|refusal| refusal.reason())
}

#[tokio::test]
async fn the_policy_alone_says_who_may_call_and_whose_things_they_see() {
    const NOBODY: Option<&[&str]> = None;
    const CUSTOMER: Option<&[&str]> = Some(&["customer"]);
    const SUPPORT: Option<&[&str]> = Some(&["customer", "support"]);
    let own = || Ok(Some(Scope::Owner("usr_1".to_owned())));
    let all = || Ok(Some(Scope::All));
    let refused = |reason: &str| Err(reason.to_owned());
    let table = [
        ("anyone may call what is public", "Open", "edge", NOBODY, Ok(None)),
        ("a user is known even there", "Open", "edge", CUSTOMER, own()),
        ("no role matters there", "Open", "edge", SUPPORT, own()),
        ("a named service speaks for itself", "Shared", "order", NOBODY, all()),
        ("a named service speaks for a user whose token it carries", "Shared", "order", CUSTOMER, own()),
        ("an owner logs in", "Own", "edge", NOBODY, refused("TOKEN_MISSING")),
        ("an owner sees what is theirs", "Own", "edge", CUSTOMER, own()),
        ("a named role sees everyone's", "Own", "edge", SUPPORT, all()),
        ("a named service needs no user", "Own", "order", NOBODY, all()),
        ("with a user it sees what is theirs", "Own", "order", CUSTOMER, own()),
        ("another service needs a user", "Own", "ledger", NOBODY, refused("TOKEN_MISSING")),
        ("staff log in", "Staff", "edge", NOBODY, refused("TOKEN_MISSING")),
        ("a customer is not staff", "Staff", "edge", CUSTOMER, refused("ROLE_REQUIRED")),
        ("one of the roles is enough", "Staff", "edge", SUPPORT, all()),
        ("a named service is let in beside staff", "Staff", "order", NOBODY, all()),
        ("it lends a customer nothing", "Staff", "order", CUSTOMER, refused("ROLE_REQUIRED")),
        ("the edge is no service that is named", "Inner", "edge", NOBODY, refused("SERVICE_ONLY")),
        ("no role replaces a name", "Inner", "edge", SUPPORT, refused("SERVICE_ONLY")),
        ("a service that is not named is refused", "Inner", "catalog", NOBODY, refused("SERVICE_ONLY")),
        ("the first that is named is let in", "Inner", "order", NOBODY, all()),
        ("and the second", "Inner", "ledger", CUSTOMER, all()),
        ("a star names every workload", "Mesh", "catalog", NOBODY, all()),
    ];
    let house = house();
    for (sentence, rpc, peer, roles, expected) in table {
        let before = house.executions();
        let answer = ask(&house, rpc, peer, roles).await;
        assert_eq!(answer, expected, "{sentence}");
        assert_eq!(house.executions() - before, usize::from(expected.is_ok()), "{sentence}");
    }
}

#[tokio::test]
async fn the_handler_learns_who_asks_and_by_whom_they_were_sent() {
    let house = house();
    let bearer = format!("bearer {}", house.token(&["customer"]));
    let call = house.send(asked("Own", &[("authorization", &bearer)], &[])).await.unwrap();
    assert_eq!((call.user().unwrap(), call.principal()), ("usr_1", "usr_1".to_owned()));
    assert_eq!((call.peer.workload.as_str(), call.peer.trust_domain.as_str()), ("edge", "agora.test"));
    assert_eq!(call.method.unwrap().name, "Own");
    let call = house.send(request("Inner", &[(XFCC, &stated("order"))], frame(&[]))).await.unwrap();
    assert_eq!(call.principal(), "service/order");
    assert_eq!(call.user().unwrap_err().reason(), "TOKEN_MISSING");
}

#[tokio::test]
async fn a_bad_token_is_refused_even_where_none_is_needed() {
    let house = house();
    let good = house.token(&["customer"]);
    for wrong in ["Bearer", "Bearer ", "Basic dTpw", "Bearer a.b.c", &good, &format!("Bearer {good}x")] {
        let refusal = house.send(asked("Open", &[("authorization", wrong)], &[])).await.err().unwrap();
        assert_eq!(refusal.reason(), "TOKEN_INVALID", "{wrong}");
        assert_eq!(refusal.0.code(), tonic::Code::Unauthenticated);
    }
    assert_eq!(house.executions(), 0);
}

#[tokio::test]
async fn a_token_that_is_no_longer_good_hinders_nobody_where_none_is_needed() {
    let house = house();
    let bearer = format!("Bearer {}", house.token(&["customer"]));
    house.clock.advance(Duration::from_secs(600));
    let call = house.send(asked("Open", &[("authorization", &bearer)], &[])).await.unwrap();
    assert_eq!((call.caller, call.scope), (None, None));
    let refusal = house.send(asked("Own", &[("authorization", &bearer)], &[])).await.err().unwrap();
    assert_eq!(refusal.reason(), "TOKEN_EXPIRED");
}

#[tokio::test]
async fn a_call_that_no_sidecar_vouches_for_is_refused() {
    let house = house();
    let refusal = house.send(request("Open", &[], frame(&[]))).await.err().unwrap();
    assert_eq!(refusal.reason(), "SERVICE_ONLY");
    for wrong in
        ["", "order", "URI=order", "URI=spiffe://agora.test/order", "By=spiffe://agora.test/ns/default/sa/order"]
    {
        let refusal = house.send(request("Mesh", &[(XFCC, wrong)], frame(&[]))).await.err().unwrap();
        assert_eq!(refusal.reason(), "SERVICE_ONLY", "{wrong}");
    }
    assert_eq!(house.executions(), 0);
}

#[tokio::test]
async fn only_the_nearest_hop_says_who_the_peer_is() {
    let house = house();
    let (order, edge) = (stated("order"), stated("edge"));
    let joined = format!("{order},{edge}");
    let unreadable = format!("{order},URI=nonsense");
    for forged in [vec![(XFCC, joined.as_str())], vec![(XFCC, &order), (XFCC, &edge)], vec![(XFCC, &unreadable)]] {
        let refusal = house.send(request("Inner", &forged, frame(&[]))).await.err().unwrap();
        assert_eq!(refusal.reason(), "SERVICE_ONLY", "{forged:?}");
    }
    let call = house.send(request("Inner", &[(XFCC, &edge), (XFCC, &order)], frame(&[]))).await.unwrap();
    assert_eq!(call.peer.workload, "order");
    assert_eq!(house.executions(), 1);
}
