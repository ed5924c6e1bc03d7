//! Every refusal that a caller can meet: its reason, its code, its message, and that nothing has moved.

use anyhow::Result;
use serde_json::{Value, json};
use tonic::Code;

use crate::{
    client::{Answer, Client, Protocol, Refused},
    people::{Person, text},
    platform::{amount, eventually, key},
    reasons::{self, told},
};

/// Every refusal with one client.
pub async fn all(client: &Client) -> Result<()> {
    let (one, other) = (Person::with_money(client, "1000").await?, Person::with_money(client, "1000").await?);
    who_may_not(client, &one, &other).await?;
    what_is_malformed(client, &one).await?;
    quotes(&one, &other).await?;
    money(&one).await?;
    repeats(&one).await?;
    for person in [&one, &other] {
        assert_eq!(person.available("USD").await?, "1000.00", "a refusal moves nothing");
    }
    ended_sessions(client).await?;
    credentials(client).await
}

/// Checks a refusal against the contract: the reason's own code and status, and a sentence with these words. It counts as
/// met then.
pub fn refused(client: &Client, answer: Answer, reason: &str, words: &str) -> Refused {
    let refusal = answer.err().unwrap_or_else(|| panic!("{reason}: the call went through"));
    assert_eq!(refusal.reason, reason, "{refusal}");
    let meaning = client.contract().reason_named(reason).unwrap_or_else(|| panic!("the contract has no {reason}"));
    assert_eq!(refusal.code, meaning.code, "{refusal}");
    if client.protocol == Protocol::Rest
        && let Some(status) = refusal.http_status
    {
        assert_eq!(status, meaning.http_status, "{refusal}");
    }
    assert!(!refusal.message.is_empty() && refusal.message.contains(words), "`{words}` is not in: {}", refusal.message);
    // Over REST, what has no route is called over gRPC.
    let protocol = if refusal.http_status.is_some() { Protocol::Rest } else { Protocol::Grpc };
    reasons::note(client, protocol, reason);
    refusal
}

async fn who_may_not(client: &Client, one: &Person, other: &Person) -> Result<()> {
    refused(client, client.call("ledger.v1.WalletService/GetWallet", json!({})).await, "TOKEN_MISSING", "Log in");
    let listed = one.call("user.v1.UserService/ListUsers", json!({})).await;
    refused(client, listed, "ROLE_REQUIRED", "support, admin");
    let nobody = client.with_token("not.a.token");
    refused(client, nobody.call("ledger.v1.WalletService/GetWallet", json!({})).await, "TOKEN_INVALID", "");

    let asked = json!({"requestId": key(), "amount": amount("1", "USD")});
    let asked = one.call("ledger.v1.WalletService/CreateWithdrawal", asked).await?["withdrawal"].clone();
    let peeked = other.call("ledger.v1.WalletService/GetWithdrawal", json!({"id": asked["id"]})).await;
    refused(client, peeked, "RESOURCE_NOT_FOUND", "");
    one.deposit("1").await?;

    let someone_elses = json!({"token": "x", "ownerId": one.id});
    if client.protocol == Protocol::Grpc {
        let verified = one.call("catalog.v1.PricingService/VerifyQuote", someone_elses).await;
        refused(client, verified, "SERVICE_ONLY", "order");
        let entries = json!([
            {"owner": one.id, "amount": amount("1000", "USD")},
            {"owner": "house/trading", "amount": amount("-1000", "USD")},
        ]);
        let request = json!({"requestId": key(), "kind": "trade", "reference": "x", "entries": entries});
        refused(client, one.call("ledger.v1.LedgerService/PostTransaction", request).await, "SERVICE_ONLY", "order");
    }
    Ok(())
}

async fn what_is_malformed(client: &Client, one: &Person) -> Result<()> {
    let get = async |id: &str| one.call("order.v1.OrderService/GetOrder", json!({"id": id})).await;
    refused(client, get("usr_01h455vb4pex5vsknk084sn02q").await, "INVALID_ID", "ord_");
    refused(client, get("ord_01h455vb4pex5vsknk084sn02q").await, "RESOURCE_NOT_FOUND", "");

    let page = one.call("order.v1.OrderService/ListOrders", json!({"pageToken": "bm90IG91cnM"})).await;
    refused(client, page, "INVALID_PAGE_TOKEN", "");
    let page = one.call("order.v1.OrderService/ListOrders", json!({"pageSize": -1})).await;
    refused(client, page, "INVALID_FIELD", "");

    let deposit = async |value: &str, unit: &str, request_id: &str| {
        let request = json!({"requestId": request_id, "amount": amount(value, unit)});
        one.call("ledger.v1.WalletService/CreateDeposit", request).await
    };
    refused(client, deposit("1.001", "USD", &key()).await, "SCALE_EXCEEDED", "");
    refused(client, deposit("-1", "USD", &key()).await, "AMOUNT_OUT_OF_RANGE", "");
    refused(client, deposit("1", "NOSUCH", &key()).await, "UNIT_MISMATCH", "");
    refused(client, deposit("one", "USD", &key()).await, "INVALID_FIELD", "");
    refused(client, deposit("1", "USD", "").await, "IDEMPOTENCY_KEY_REQUIRED", "Idempotency-Key");
    refused(client, deposit("1", "USD", "not a uuid").await, "INVALID_FIELD", "");

    let request = json!({"email": one.email, "password": "a long enough password"});
    let again = client.call("user.v1.UserService/CreateUser", request).await;
    refused(client, again, "ALREADY_EXISTS_EMAIL", "");
    let request = json!({"email": "nobody", "password": "short"});
    let weak = client.call("user.v1.UserService/CreateUser", request).await;
    refused(client, weak, "INVALID_FIELD", "");

    if client.protocol == Protocol::Grpc {
        let request = json!({"query": "x".repeat(2 << 20)});
        let large = client.call("catalog.v1.ProductService/SearchProducts", request).await;
        refused(client, large, "BODY_TOO_LARGE", "");
    }
    if client.protocol == Protocol::Rest {
        what_only_rest_can_get_wrong(one).await?;
    }
    Ok(())
}

async fn what_only_rest_can_get_wrong(one: &Person) -> Result<()> {
    let post = async |target: &str, body: Value| -> Result<(u16, Value)> {
        let (status, bytes) = one.client.http_request(http::Method::POST, target, Some(body), &[]).await?;
        Ok((status, serde_json::from_slice(&bytes)?))
    };
    let client = &one.client;
    let is = |(status, body): (u16, Value), reason: &str| {
        let details = body["error"]["details"].as_array().cloned().unwrap_or_default();
        assert!(details.iter().any(|detail| detail["reason"] == reason), "{reason}: {body}");
        let meaning = client.contract().reason_named(reason).expect("it is in the contract");
        assert_eq!(status, meaning.http_status, "{body}");
        reasons::note(client, Protocol::Rest, reason);
        body
    };
    let body = is(post("/api/v1/quotes", json!({"site": "SIDE_BUY"})).await?, "UNKNOWN_FIELD");
    assert!(body.to_string().contains("site") && body.to_string().contains("side"), "names it and the nearest: {body}");
    let (status, bytes) = client.post_text("/api/v1/quotes", "{\"side\": SIDE_BUY}").await?;
    is((status, serde_json::from_slice(&bytes)?), "MALFORMED_BODY");
    is(post("/api/v1/quotes", json!({"side": "x".repeat(2 << 20)})).await?, "BODY_TOO_LARGE");
    is(post("/api/v1/nowhere", json!({})).await?, "ROUTE_NOT_FOUND");
    let (status, bytes) = client.http_request(http::Method::DELETE, "/api/v1/orders", None, &[]).await?;
    is((status, serde_json::from_slice(&bytes)?), "METHOD_NOT_ALLOWED");
    Ok(())
}

async fn quotes(one: &Person, other: &Person) -> Result<()> {
    let client = &one.client;
    let quote = one.quote("SIDE_BUY", "0.001", "BTC").await?;
    refused(client, other.take(&quote).await, "QUOTE_INVALID", "");
    let token = text(&quote["token"]);
    let forged = format!("{}{}", &token[..token.len() - 1], if token.ends_with('A') { "B" } else { "A" });
    refused(client, one.take(&json!({"token": forged})).await, "QUOTE_INVALID", "");
    refused(client, one.take(&json!({"token": "nonsense"})).await, "QUOTE_INVALID", "");

    let trade = json!({
        "side": "SIDE_BUY",
        "quantity": amount("0.001", "BTC"),
        "limitPrice": {"value": "1", "currency": "USD"},
    });
    let request = json!({"requestId": key(), "marketTrade": trade});
    let moved = one.call("order.v1.OrderService/CreateOrder", request).await;
    refused(client, moved, "SLIPPAGE_EXCEEDED", "worse price");
    Ok(())
}

async fn money(one: &Person) -> Result<()> {
    let client = &one.client;
    let order = one.trade("SIDE_BUY", "10", "BTC").await?["order"].clone();
    assert_eq!(order["state"], "STATE_REJECTED", "{order}");
    told(client, &order["rejection"], "INSUFFICIENT_FUNDS", "");
    let order = one.trade("SIDE_SELL", "1", "ETH").await?["order"].clone();
    told(client, &order["rejection"], "INSUFFICIENT_HOLDINGS", "");
    let request = json!({"requestId": key(), "amount": amount("5000", "USD")});
    let asked = one.call("ledger.v1.WalletService/CreateWithdrawal", request).await;
    let refusal = refused(client, asked, "INSUFFICIENT_FUNDS", "");
    assert_eq!(refusal.metadata["unit"], "USD");
    Ok(())
}

async fn repeats(one: &Person) -> Result<()> {
    let client = &one.client;
    let key = key();
    let deposit = async |value: &str| {
        let request = json!({"requestId": key, "amount": amount(value, "EUR")});
        one.call("ledger.v1.WalletService/CreateDeposit", request).await
    };
    let first = deposit("5").await?;
    assert_eq!(deposit("5").await?, first, "a repeat gets the first reply");
    refused(client, deposit("6").await, "IDEMPOTENCY_KEY_REUSED", "");
    assert_eq!(one.available("EUR").await?, "5.00", "one effect");
    Ok(())
}

async fn ended_sessions(client: &Client) -> Result<()> {
    let person = Person::register(client).await?;
    let first = Person::login(client, &person.email, &person.password).await?;
    let request = json!({"id": first.tokens["sessionId"]});
    person.call("auth.v1.AuthService/RevokeSession", request).await?;
    let refusal = eventually("the revoked token is refused", async || {
        first.call("ledger.v1.WalletService/GetWallet", json!({})).await.err()
    })
    .await;
    refused(client, Err(refusal), "TOKEN_REVOKED", "");

    let refresh = json!({"refreshToken": person.tokens["refreshToken"]});
    client.call("auth.v1.AuthService/RefreshToken", refresh.clone()).await?;
    let stolen = client.call("auth.v1.AuthService/RefreshToken", refresh).await;
    refused(client, stolen, "TOKEN_REVOKED", "");
    eventually("a refresh token used twice ends the session", async || {
        person.call("ledger.v1.WalletService/GetWallet", json!({})).await.err()
    })
    .await;
    Ok(())
}

async fn credentials(client: &Client) -> Result<()> {
    let person = Person::register(client).await?;
    let login = async |password: &str| {
        let request = json!({"email": person.email, "password": password});
        client.call("auth.v1.AuthService/Login", request).await
    };
    let refusal = refused(client, login("wrong").await, "CREDENTIALS_INVALID", "");
    assert_eq!(refusal.code, Code::Unauthenticated);
    let locked = eventually("too many failures lock the account", async || {
        login("wrong").await.err().filter(|refusal| refusal.reason != "CREDENTIALS_INVALID")
    })
    .await;
    refused(client, Err(locked), "ACCOUNT_LOCKED", "");
    refused(client, login(&person.password).await, "ACCOUNT_LOCKED", "");
    Ok(())
}
