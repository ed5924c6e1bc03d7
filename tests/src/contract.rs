//! What the contract of the platform must say, and what a broken contract is refused for.

use agora::settings;
use anyhow::Result;
use kit::contract::{Access, Contract, problems};
use serde_json::{Map, Value, json};

use crate::{
    client::{Client, Protocol},
    people::Person,
    platform::{Platform, Shape, amount, contract, eventually, key},
    shop::{Good, cards},
};

#[test]
fn the_contract_leaves_nothing_unsaid() -> Result<()> {
    assert_eq!(problems(contract()?.as_ref()), Vec::<String>::new());
    // The edge refuses routes that are ambiguous or cannot be reached.
    let clock = kit::Clock::system();
    let verifier = kit::auth::Verifier::new(kit::auth::Keyring::new(clock.clone()), clock, "x", "x");
    edge_gateway::Edge::new(contract()?, kit::link::Link::deferred().0, verifier, edge_gateway::Config::default())?;
    Ok(())
}

#[test]
fn every_reason_states_its_code_its_status_and_its_meaning() -> Result<()> {
    let contract = contract()?;
    let declared = contract.pool().get_enum_by_name("agora.type.v1.Reason").expect("the enum").values().len();
    assert_eq!(contract.reasons().len() + 1, declared, "every value but the zero has a policy");
    for reason in contract.reasons() {
        assert_ne!(reason.code, tonic::Code::Ok, "{}", reason.name);
        assert!((400..600).contains(&reason.http_status), "{}", reason.name);
        assert!(reason.description.len() > 10, "{} says what it means", reason.name);
        assert!(reason.name.len() <= 63, "{} is too long for AIP-193", reason.name);
    }
    Ok(())
}

/// Whoever prints a message prints it to a log: see build.rs, which leaves out what is marked.
#[test]
fn what_would_open_an_account_or_pay_is_marked_as_secret() -> Result<()> {
    const SECRETS: [&str; 7] =
        ["password", "security_code", "access_token", "refresh_token", "cart_token", "secret", "private_key"];
    let contract = contract()?;
    let messages = contract.pool().all_messages().filter(|message| message.full_name().starts_with("agora."));
    let mut marked = 0;
    for field in messages.flat_map(|message| message.fields().collect::<Vec<_>>()) {
        let options = field.options();
        let is_marked = options.get_field_by_name("debug_redact").is_some_and(|value| value.as_bool() == Some(true));
        marked += i32::from(is_marked);
        let names_a_secret = SECRETS.iter().any(|secret| field.name().ends_with(secret));
        assert!(is_marked || !names_a_secret, "{} needs debug_redact", field.full_name());
    }
    assert!(marked > 10, "{marked}");
    let request = contracts::auth::v1::LoginRequest { password: "correct horse".into(), ..Default::default() };
    let printed = format!("{request:?}");
    assert!(!printed.contains("horse") && printed.contains("redacted"), "{printed}");
    Ok(())
}

/// Whatever names a resource of one user must not exist for another: RPCs from the contract, fixtures by id prefix.
#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn no_owner_only_rpc_shows_or_changes_what_belongs_to_someone_else() -> Result<()> {
    let platform = Platform::start(Shape::Direct).await?;
    let client = platform.client(Protocol::Grpc)?;
    let (owner, stranger) = (Person::with_money(&client, "1000").await?, Person::register(&client).await?);
    let fixtures = fixtures(&client, &owner).await?;
    let mut tried = 0;
    for method in client.contract().methods().filter(|method| method.policy.access == Access::Owner) {
        let mut request = Map::new();
        let mut names_a_resource = false;
        // A list takes an id as a filter: what matches nothing of the caller's is an empty page.
        if method.input.get_field_by_name("page_token").is_some() {
            stranger_sees_nothing(&stranger, &method.path, &fixtures, &method.input).await;
            tried += 1;
            continue;
        }
        for field in method.input.fields() {
            let prefix = kit::contract::option(&field.options(), "agora.policy.v1.id");
            if let Some(prefix) = prefix.as_ref().and_then(|value| value.as_str()) {
                let id = fixtures.get(prefix).unwrap_or_else(|| panic!("{}: no fixture of {prefix}_…", method.path));
                request.insert(field.json_name().to_owned(), id.clone());
                names_a_resource = true;
            } else if field.name() == "lines" {
                request.insert("lines".into(), json!([{"variantId": fixtures["var"], "quantity": "1"}]));
            } else if field.name() == "request_id" {
                request.insert("requestId".into(), json!(key()));
            } else if field.name() == "user" {
                request.insert("user".into(), json!({"id": fixtures["usr"], "displayName": "Mallory"}));
                request.insert("updateMask".into(), json!("displayName"));
                names_a_resource = true;
            }
        }
        if !names_a_resource {
            continue;
        }
        let rpc = method.path.trim_start_matches("/agora.").to_owned();
        let refusal = refusal_of(&stranger.client, &rpc, Value::Object(request), method.server_streaming).await;
        // An order in someone else's name is no resource that is looked for; a card is, once there is something to pay.
        let expected = match rpc.as_str() {
            "order.v1.OrderService/CreateOrder" => "INVALID_FIELD",
            "order.v1.CartService/CheckoutCart" => "CART_EMPTY",
            _ => "RESOURCE_NOT_FOUND",
        };
        assert_eq!(refusal.as_deref(), Some(expected), "{rpc} as a stranger");
        tried += 1;
    }
    assert!(tried >= 20, "only {tried} RPCs name a resource");
    Ok(())
}

/// No list of a stranger shows anything of the owner's, filtered by the owner's ids or not.
async fn stranger_sees_nothing(
    stranger: &Person,
    path: &str,
    fixtures: &Map<String, Value>,
    input: &prost_reflect::MessageDescriptor,
) {
    let rpc = path.trim_start_matches("/agora.");
    let mut filter = Map::new();
    for field in input.fields() {
        if let Some(prefix) = kit::contract::option(&field.options(), "agora.policy.v1.id")
            && let Some(prefix) = prefix.as_str()
        {
            filter.insert(field.json_name().to_owned(), fixtures[prefix].clone());
        }
    }
    for request in [json!({}), Value::Object(filter)] {
        match stranger.call(rpc, request).await {
            Err(refusal) => assert_eq!(refusal.reason, "RESOURCE_NOT_FOUND", "{rpc} as a stranger"),
            Ok(page) => {
                let owned = fixtures.iter().filter(|(prefix, _)| *prefix != "var");
                for (_, id) in owned {
                    assert!(!page.to_string().contains(id.as_str().unwrap()), "{rpc} as a stranger: {page}");
                }
            }
        }
    }
}

async fn refusal_of(client: &Client, rpc: &str, request: Value, streams: bool) -> Option<String> {
    if !streams {
        return client.call(rpc, request).await.err().map(|refusal| refusal.reason);
    }
    match client.watch(rpc, request).await {
        Err(refusal) => Some(refusal.reason),
        Ok(mut stream) => {
            let first = futures::StreamExt::next(&mut stream).await;
            first.and_then(|answer| answer.err()).map(|refusal| refusal.reason)
        }
    }
}

/// One resource of each kind that belongs to `owner`.
async fn fixtures(client: &Client, owner: &Person) -> Result<Map<String, Value>> {
    let admin = Person::admin(client).await?;
    let good = Good::stocked(&admin, "10", 10).await?;
    let card = owner.card(cards::APPROVED).await?["id"].clone();
    let bought = owner.buy(&[good.times(2)]).await?;
    owner.until(&bought["id"], "STATE_CONFIRMED").await;
    let shipment = admin.ship(&bought["id"], &[]).await?["id"].clone();
    let bought = owner.until(&bought["id"], "STATE_FULFILLED").await;
    let request = json!({"requestId": key(), "orderId": bought["id"], "lines": [good.times(1)]});
    let back = owner.call("order.v1.FulfillmentService/CreateReturn", request).await?["return"]["id"].clone();
    let payment = bought["purchase"]["paymentId"].clone();
    let request = json!({"requestId": key(), "paymentId": payment, "amount": amount("1", "USD")});
    let refund = admin.call("payment.v1.PaymentService/CreateRefund", request).await?["refund"]["id"].clone();
    let invoice = eventually("the invoice is written", async || {
        let listed = owner.call("order.v1.InvoiceService/ListInvoices", json!({})).await.ok()?;
        listed["invoices"].as_array()?.first().map(|invoice| invoice["id"].clone())
    })
    .await;
    let order = owner.trade("SIDE_BUY", "0.001", "BTC").await?["order"]["id"].clone();
    let request = json!({"requestId": key(), "amount": amount("1", "USD")});
    let withdrawal = owner.call("ledger.v1.WalletService/CreateWithdrawal", request).await?["withdrawal"]["id"].clone();
    let address = json!({"recipient": "A", "lines": ["Street 1"], "city": "Bern", "countryCode": "CH"});
    let address =
        owner.call("user.v1.UserService/CreateAddress", json!({"address": address})).await?["address"]["id"].clone();
    let fixtures = [
        ("usr", json!(owner.id)),
        ("ses", owner.tokens["sessionId"].clone()),
        ("ord", order),
        ("wdl", withdrawal),
        ("adr", address),
        ("pmt", card),
        ("shp", shipment),
        ("rtn", back),
        ("pay", payment),
        ("rfd", refund),
        ("inv", invoice),
        ("var", json!(good.variant)),
    ];
    Ok(fixtures.into_iter().map(|(prefix, id)| (prefix.to_owned(), id)).collect())
}

#[test]
fn production_refuses_the_default_secret_and_demo_data_at_once() {
    use clap::Parser;
    #[derive(Parser)]
    struct Given {
        #[command(flatten)]
        platform: settings::Platform,
    }
    let given = Given::parse_from(["x", "--mode", "production", "--demo", "true", "--database", "sqlite:one.db"]);
    let problems = given.platform.check_all().finish().unwrap_err().to_string();
    for part in ["AGORA_SECRET", "AGORA_DEMO", "AGORA_DATABASE"] {
        assert!(problems.contains(part), "{part} is not in: {problems}");
    }
    assert!(!problems.contains(settings::DEVELOPMENT_SECRET), "a secret is never shown");
}

#[test]
fn a_contract_that_cannot_be_enforced_is_refused() {
    assert!(Contract::parse(b"not a descriptor set").is_err());
}
