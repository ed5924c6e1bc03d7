//! What a person does on the first day, each step once, over either protocol and on every shape of the platform.

use anyhow::Result;
use serde_json::{Value, json};

use crate::{
    client::{Client, next},
    people::{Person, atoms, text},
    platform::{amount, eventually, key},
};

/// Every journey with one client.
pub async fn all(client: &Client) -> Result<()> {
    looking_around(client).await?;
    a_trade_from_registration_to_withdrawal(client).await?;
    watching_an_order_and_a_price(client).await?;
    a_session_from_login_to_logout(client).await?;
    an_account_and_what_is_kept_in_it(client).await?;
    an_administrator(client).await
}

async fn looking_around(client: &Client) -> Result<()> {
    let mut units = Vec::new();
    let mut page_token = String::new();
    loop {
        let request = json!({"pageSize": 40, "pageToken": page_token});
        let page = client.call("catalog.v1.AssetService/ListAssets", request).await?;
        units.extend(page["products"].as_array().unwrap().iter().map(|product| text(&product["unit"]).to_owned()));
        page_token = text(&page["nextPageToken"]).to_owned();
        if page_token.is_empty() {
            break;
        }
    }
    assert!(units.len() >= 100, "{} assets", units.len());
    assert!(units.is_sorted() && units.iter().any(|unit| unit == "BTC"));

    let found = client.call("catalog.v1.ProductService/SearchProducts", json!({"query": "bitcoin"})).await?;
    let bitcoin = &found["products"][0];
    assert_eq!(bitcoin["unit"], "BTC");
    let shown = client.call("catalog.v1.ProductService/GetProduct", json!({"id": bitcoin["id"]})).await?;
    assert_eq!(&shown["product"], bitcoin);

    let categories = client.call("catalog.v1.CategoryService/ListCategories", json!({})).await?;
    assert!(categories["categories"].as_array().unwrap().len() >= 5);

    let tickers = client.call("catalog.v1.MarketDataService/ListTickers", json!({})).await?;
    assert_eq!(tickers["tickers"].as_array().unwrap().len(), units.len());
    let ticker = client.call("catalog.v1.MarketDataService/GetTicker", json!({"unit": "BTC"})).await?;
    let price = |name: &str| atoms(text(&ticker["ticker"][name]["value"]), 8);
    assert!(price("bid") > 0 && price("bid") < price("ask"), "{ticker}");
    Ok(())
}

async fn a_trade_from_registration_to_withdrawal(client: &Client) -> Result<()> {
    let person = Person::with_money(client, "10000").await?;
    assert_eq!(person.available("USD").await?, "10000.00");

    let quote = person.quote("SIDE_BUY", "0.05", "BTC").await?;
    let order = person.take(&quote).await?["order"].clone();
    assert_eq!(order["state"], "STATE_FULFILLED", "{order}");
    assert_eq!(order["ownerId"], person.id.as_str());
    assert_eq!(order["trade"]["total"], quote["total"], "the quote is honoured");
    assert_eq!(person.available("BTC").await?, "0.05");
    let paid = atoms(text(&quote["total"]["value"]), 2);
    assert_eq!(atoms(&person.available("USD").await?, 2), 1_000_000 - paid);

    let portfolio = person.call("ledger.v1.WalletService/GetPortfolio", json!({})).await?["portfolio"].clone();
    let position = &portfolio["positions"][0];
    assert_eq!(position["quantity"], amount("0.05", "BTC"));
    assert_eq!(position["cost"], quote["total"], "cost includes the fee");
    let cash = atoms(text(&portfolio["cash"]["value"]), 2);
    let value = atoms(text(&position["marketValue"]["value"]), 2);
    assert_eq!(atoms(text(&portfolio["totalValue"]["value"]), 2), cash + value);

    let sold = person.trade("SIDE_SELL", "0.02", "BTC").await?["order"].clone();
    assert_eq!(sold["state"], "STATE_FULFILLED", "{sold}");
    let received = atoms(text(&sold["trade"]["total"]["value"]), 2);
    assert_eq!(atoms(&person.available("USD").await?, 2), 1_000_000 - paid + received);
    assert_eq!(person.available("BTC").await?, "0.03");

    withdraw(&person).await?;
    lists_and_history(&person, &order).await
}

async fn withdraw(person: &Person) -> Result<()> {
    let before = atoms(&person.available("USD").await?, 2);
    let request = json!({"requestId": key(), "amount": amount("100", "USD")});
    let asked = person.call("ledger.v1.WalletService/CreateWithdrawal", request).await?["withdrawal"].clone();
    assert_eq!(asked["state"], "STATE_HELD");
    assert_eq!(atoms(&person.available("USD").await?, 2), before - 10_000, "held money cannot be spent");
    eventually("the demo bank pays", async || {
        let request = json!({"id": asked["id"]});
        let shown = person.call("ledger.v1.WalletService/GetWithdrawal", request).await.ok()?;
        (shown["withdrawal"]["state"] == "STATE_SETTLED").then_some(())
    })
    .await;
    assert_eq!(atoms(&person.available("USD").await?, 2), before - 10_000);
    Ok(())
}

async fn lists_and_history(person: &Person, first: &Value) -> Result<()> {
    let listed = person.call("order.v1.OrderService/ListOrders", json!({"pageSize": 1})).await?;
    assert_eq!(listed["orders"].as_array().unwrap().len(), 1);
    let request = json!({"pageSize": 1, "pageToken": listed["nextPageToken"]});
    let listed = person.call("order.v1.OrderService/ListOrders", request).await?;
    assert_eq!(listed["orders"][0]["id"], first["id"], "the newest comes first");

    let request = json!({"id": first["id"]});
    let changes = person.call("order.v1.OrderService/ListOrderChanges", request).await?;
    let states: Vec<&Value> = changes["changes"].as_array().unwrap().iter().map(|c| &c["toState"]).collect();
    assert_eq!(states.first().unwrap(), &"STATE_PENDING");
    assert_eq!(states.last().unwrap(), &"STATE_FULFILLED");
    let placed = &changes["changes"][0];
    assert_eq!((&placed["cause"], &placed["actor"]), (&json!("CAUSE_PLACED"), &json!(person.id)), "{placed}");
    assert_eq!(changes["changes"][1]["actor"], "service", "{changes}");

    let entries = person.call("ledger.v1.WalletService/ListWalletEntries", json!({"unit": "BTC"})).await?;
    let amounts: Vec<&Value> = entries["entries"].as_array().unwrap().iter().map(|e| &e["amount"]["value"]).collect();
    assert_eq!(amounts, ["-0.02", "0.05"]);
    Ok(())
}

async fn watching_an_order_and_a_price(client: &Client) -> Result<()> {
    let request = json!({"units": ["BTC", "ETH"]});
    let mut prices = client.watch("catalog.v1.MarketDataService/WatchTickers", request).await?;
    let first = next(&mut prices).await?;
    assert_eq!(first["tickers"].as_array().unwrap().len(), 2, "all of them first");
    let moved = next(&mut prices).await?;
    assert!(!moved["tickers"].as_array().unwrap().is_empty(), "then what has moved");

    let person = Person::with_money(client, "1000").await?;
    let order = person.trade("SIDE_BUY", "0.001", "BTC").await?["order"].clone();
    let watch = async |after: i64| {
        let request = json!({"id": order["id"], "afterSequence": after.to_string()});
        person.client.watch("order.v1.OrderService/WatchOrder", request).await
    };
    let mut changes = watch(0).await?;
    let snapshot = next(&mut changes).await?;
    assert_eq!(snapshot["order"], order, "the order as it stands");
    let last: i64 = text(&snapshot["sequence"]).parse()?;
    let mut changes = watch(1).await?;
    let mut seen = 1;
    while seen < last {
        let change = next(&mut changes).await?;
        let sequence: i64 = text(&change["sequence"]).parse()?;
        assert!(sequence > seen, "changes come in order");
        seen = sequence;
    }
    Ok(())
}

async fn a_session_from_login_to_logout(client: &Client) -> Result<()> {
    let person = Person::register(client).await?;
    let sessions = person.call("auth.v1.AuthService/ListSessions", json!({})).await?;
    assert_eq!(sessions["sessions"].as_array().unwrap().len(), 1);
    assert_eq!(sessions["sessions"][0]["current"], true);

    let request = json!({"refreshToken": person.tokens["refreshToken"]});
    let fresh = client.call("auth.v1.AuthService/RefreshToken", request).await?["tokens"].clone();
    assert_ne!(fresh["refreshToken"], person.tokens["refreshToken"], "refresh tokens rotate");
    let again = client.with_token(text(&fresh["accessToken"]));
    again.call("user.v1.UserService/GetUser", json!({})).await?;

    again.call("auth.v1.AuthService/Logout", json!({})).await?;
    eventually("a token of the ended session is refused", async || {
        let refused = again.call("user.v1.UserService/GetUser", json!({})).await.err()?;
        (refused.reason == "TOKEN_REVOKED").then_some(())
    })
    .await;
    Ok(())
}

async fn an_account_and_what_is_kept_in_it(client: &Client) -> Result<()> {
    let person = Person::register(client).await?;
    let shown = person.call("user.v1.UserService/GetUser", json!({})).await?["user"].clone();
    let request = json!({
        "user": {"displayName": "Another", "etag": shown["etag"]},
        "updateMask": "displayName",
        "requestId": key(),
    });
    let changed = person.call("user.v1.UserService/UpdateUser", request).await?["user"].clone();
    assert_eq!(changed["displayName"], "Another");
    assert_ne!(changed["etag"], shown["etag"]);

    let request = json!({"preferences": {"language": "de", "currency": "EUR"}, "updateMask": "language,currency"});
    person.call("user.v1.UserService/UpdatePreferences", request).await?;
    let preferences = person.call("user.v1.UserService/GetPreferences", json!({})).await?;
    assert_eq!(preferences["preferences"], json!({"language": "de", "currency": "EUR"}));

    let address = json!({"recipient": "A", "lines": ["Street 1"], "city": "Bern", "countryCode": "CH"});
    let request = json!({"requestId": key(), "address": address});
    let added = person.call("user.v1.UserService/CreateAddress", request).await?["address"].clone();
    let listed = person.call("user.v1.UserService/ListAddresses", json!({})).await?;
    assert_eq!(listed["addresses"], json!([added]));
    person.call("user.v1.UserService/DeleteAddress", json!({"id": added["id"]})).await?;
    let listed = person.call("user.v1.UserService/ListAddresses", json!({})).await?;
    assert_eq!(listed["addresses"], json!([]));

    let request = json!({"currentPassword": person.password, "newPassword": "another long password"});
    person.call("user.v1.UserService/ChangePassword", request).await?;
    eventually("a changed password ends the sessions that knew the old one", async || {
        let refused = person.call("user.v1.UserService/GetUser", json!({})).await.err()?;
        (refused.reason == "TOKEN_REVOKED").then_some(())
    })
    .await;
    Person::login(client, &person.email, "another long password").await?;
    Ok(())
}

async fn an_administrator(client: &Client) -> Result<()> {
    let admin = Person::admin(client).await?;
    let person = Person::register(client).await?;
    let listed = admin.call("user.v1.UserService/ListUsers", json!({"pageSize": 200})).await?;
    assert!(listed["users"].as_array().unwrap().iter().any(|user| user["id"] == person.id.as_str()));

    let request = json!({"roleBinding": {"userId": person.id, "roles": ["customer", "support"]}, "requestId": key()});
    admin.call("auth.v1.AuthService/UpdateRoleBinding", request).await?;
    let support = Person::login(client, &person.email, &person.password).await?;
    assert_eq!(support.tokens["roles"], json!(["customer", "support"]));
    support.call("user.v1.UserService/ListUsers", json!({})).await?;

    let verified = admin.call("ledger.v1.LedgerService/VerifyLedger", json!({})).await?;
    assert_eq!(verified["holds"], true, "{verified}");

    let before = client.call("auth.v1.AuthService/ListSigningKeys", json!({})).await?;
    admin.call("auth.v1.AuthService/RotateSigningKey", json!({"requestId": key()})).await?;
    person_with_old_key(client, &support, &before).await
}

async fn person_with_old_key(client: &Client, holder: &Person, before: &Value) -> Result<()> {
    eventually("another key signs", async || {
        let after = client.call("auth.v1.AuthService/ListSigningKeys", json!({})).await.ok()?;
        (after["keys"][0]["kid"] != before["keys"][0]["kid"]).then_some(())
    })
    .await;
    holder.call("user.v1.UserService/GetUser", json!({})).await?;
    let fresh = Person::login(client, &holder.email, &holder.password).await?;
    eventually("a token of the new key is known everywhere", async || {
        fresh.call("user.v1.UserService/GetUser", json!({})).await.ok()
    })
    .await;
    Ok(())
}
