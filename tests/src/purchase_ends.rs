//! What a purchase meets when its time is over, or when a card provider does not do what it should: each refusal, and that
//! nothing has moved. On a platform that has no patience.

use agora::settings::{Platform as Settings, Purpose};
use anyhow::{Context, Result};
use clap::{Args, FromArgMatches};
use hmac::{Hmac, Mac};
use serde_json::{Value, json};
use sha2::Sha256;

use crate::{
    client::{Answer, Client},
    people::Person,
    platform::{amount, eventually, key},
    reasons::told,
    refusals::refused,
    shop::{Good, cards},
};

/// Settings that make everything end soon, but for answers that are missing: those are asked for after two seconds, so that
/// a provider that is away three times is away for longer than goods are set aside.
pub const HASTY: [(&str, &str); 5] = [
    ("AGORA_RECONCILE_AFTER", "2s"),
    ("AGORA_PURCHASE_QUOTE_LIFETIME", "1s"),
    ("AGORA_RESERVATION_LIFETIME", "3s"),
    ("AGORA_AUTHORIZATION_LIFETIME", "6s"),
    ("AGORA_RETURN_WINDOW", "1s"),
];

/// Every end with one client.
pub async fn all(client: &Client) -> Result<()> {
    let admin = Person::admin(client).await?;
    let good = Good::stocked(&admin, "20", 9).await?;
    money_is_secured_for_a_while(client, &good).await?;
    goods_are_set_aside_for_a_while(client, &admin, &good).await?;
    a_quote_holds_for_a_while(client, &good).await?;
    a_buyer_is_waited_for(client, &admin, &good).await?;
    a_provider_that_is_away(client).await?;
    a_provider_that_secured_less(client, &admin, &good).await?;
    an_old_signature(client).await?;
    assert_eq!(good.available(client).await?, 9, "everything is back");
    a_return_that_comes_too_late(client, &admin, &good).await
}

/// The payment of an order as soon as it stands like this.
async fn payment_is(person: &Person, order: &Value, state: &str) -> Value {
    eventually(&format!("the payment is {state}"), async || {
        let id = person.order(&order["id"]).await.ok()?["purchase"]["paymentId"].clone();
        person.payment(&id).await.ok().filter(|payment| payment["state"] == state)
    })
    .await
}

async fn buy_by_card(person: &Person, card: &str, good: &Good) -> Result<Value> {
    let card = person.card(card).await?;
    Ok(person.buy_with(&[good.times(1)], json!({"paymentMethodId": card["id"]})).await?)
}

async fn money_is_secured_for_a_while(client: &Client, good: &Good) -> Result<()> {
    let buyer = Person::with_money(client, "100").await?;
    let order = buyer.buy(&[good.times(2)]).await?;
    buyer.until(&order["id"], "STATE_CONFIRMED").await;
    let payment = payment_is(&buyer, &order, "STATE_FAILED").await;
    assert_eq!((&payment["decline"]["code"], &payment["captured"]), (&json!("expired"), &amount("0.00", "USD")));
    let request = json!({"requestId": key(), "id": payment["id"]});
    let confirmed = buyer.call("payment.v1.PaymentService/ConfirmPayment", request).await;
    refused(client, confirmed, "HOLD_EXPIRED", "was not taken in time");
    buyer.until(&order["id"], "STATE_CANCELLED").await;
    assert_eq!(buyer.available("USD").await?, "100.00", "the money is available again");
    Ok(())
}

async fn goods_are_set_aside_for_a_while(client: &Client, admin: &Person, good: &Good) -> Result<()> {
    let buyer = Person::register(client).await?;
    let before = good.available(client).await?;
    let order = buy_by_card(&buyer, cards::OUTAGE, good).await?;
    let payment = payment_is(&buyer, &order, "STATE_PROCESSING").await;
    let request = json!({"requestId": key(), "paymentId": payment["id"], "amount": amount("1", "USD")});
    let refund = admin.call("payment.v1.PaymentService/CreateRefund", request).await;
    refused(client, refund, "PAYMENT_PROCESSING", "Ask again");
    let shown = buyer.until(&order["id"], "STATE_REJECTED").await;
    told(client, &shown["rejection"], "RESERVATION_EXPIRED", "Order again");
    assert_eq!(good.available(client).await?, before, "the goods can be had by others");
    let payment = buyer.payment(&payment["id"]).await?;
    let ended = ["STATE_FAILED", "STATE_VOIDED"].iter().any(|state| payment["state"] == *state);
    assert!(ended && payment["captured"] == amount("0.00", "USD"), "no money was taken: {payment}");
    Ok(())
}

async fn a_quote_holds_for_a_while(client: &Client, good: &Good) -> Result<()> {
    let buyer = Person::with_money(client, "100").await?;
    let basket = json!({"items": [good.times(1)], "countryCode": "DE"});
    let quote =
        buyer.call("catalog.v1.PricingService/CreatePurchaseQuote", json!({"basket": basket})).await?["quote"].clone();
    let refusal = eventually("the quote has ended", async || {
        // Without an address, so that it is not used while it holds.
        let quoted = json!({"requestId": key(), "quotedPurchase": {"quoteToken": quote["token"]}});
        let answer: Answer = buyer.call("order.v1.OrderService/CreateOrder", quoted).await;
        answer.err().filter(|refusal| refusal.reason != "INVALID_FIELD")
    })
    .await;
    refused(client, Err(refusal), "QUOTE_EXPIRED", "");
    let listed = buyer.call("order.v1.OrderService/ListOrders", json!({})).await?;
    assert_eq!((&listed["orders"], buyer.available("USD").await?.as_str()), (&json!([]), "100.00"));
    Ok(())
}

async fn a_buyer_is_waited_for(client: &Client, admin: &Person, good: &Good) -> Result<()> {
    let buyer = Person::register(client).await?;
    let order = buy_by_card(&buyer, cards::NEEDS_ACTION, good).await?;
    let saga = saga_with_error(admin, &order, "PAYMENT_ACTION_REQUIRED").await;
    told(client, &saga["lastError"], "PAYMENT_ACTION_REQUIRED", "Confirm");
    buyer.cancel(&order["id"]).await?;
    buyer.until(&order["id"], "STATE_CANCELLED").await;
    Ok(())
}

/// The saga of an order as soon as this keeps it from going on.
async fn saga_with_error(admin: &Person, order: &Value, reason: &str) -> Value {
    eventually(&format!("{} waits for {reason}", order["id"]), async || {
        let request = json!({"orderId": order["id"]});
        let saga = admin.call("order.v1.OrderService/GetSaga", request).await.ok()?["saga"].clone();
        (saga["lastError"]["reason"] == reason).then_some(saga)
    })
    .await
}

async fn a_provider_that_is_away(client: &Client) -> Result<()> {
    let person = Person::register(client).await?;
    let request = json!({
        "requestId": key(), "number": cards::UNREACHED_AT_FIRST, "expireMonth": 12, "expireYear": 2040,
        "securityCode": "123",
    });
    let add = async || person.call("payment.v1.PaymentService/CreatePaymentMethod", request.clone()).await;
    let list = async || person.call("payment.v1.PaymentService/ListPaymentMethods", json!({})).await;
    refused(client, add().await, "PROVIDER_UNAVAILABLE", "Try again");
    assert_eq!(list().await?["paymentMethods"], json!([]));
    let added = add().await?["paymentMethod"].clone();
    assert_eq!(list().await?["paymentMethods"], json!([added]), "a repeat adds it");
    assert_eq!(add().await?["paymentMethod"], added, "and another adds no second one");
    Ok(())
}

async fn a_provider_that_secured_less(client: &Client, admin: &Person, good: &Good) -> Result<()> {
    let buyer = Person::register(client).await?;
    let before = good.available(client).await?;
    let order = buy_by_card(&buyer, cards::HALF_SECURED, good).await?;
    buyer.until(&order["id"], "STATE_CONFIRMED").await;
    let shipment = admin.ship(&order["id"], &[]).await?;
    assert_eq!(shipment["state"], "STATE_PREPARING", "it has not left: {shipment}");
    let saga = saga_with_error(admin, &order, "CAPTURE_EXCEEDS_AUTHORIZED").await;
    assert_eq!(saga["state"], "STATE_STUCK", "{saga}");
    told(client, &saga["lastError"], "CAPTURE_EXCEEDS_AUTHORIZED", "less than is taken");
    let shown = buyer.order(&order["id"]).await?;
    assert_eq!(shown["purchase"]["captured"], amount("0.00", "USD"), "{shown}");
    let request = json!({"requestId": key(), "id": shipment["id"], "reason": "The card is not good", "restock": true});
    admin.call("order.v1.FulfillmentService/CancelShipment", request).await?;
    buyer.until(&order["id"], "STATE_CANCELLED").await;
    assert_eq!(good.available(client).await?, before, "the goods are back");
    Ok(())
}

/// As the simulator signs, but ten minutes ago.
async fn an_old_signature(client: &Client) -> Result<()> {
    let settings = Settings::augment_args(clap::Command::new("agora")).no_binary_name(true);
    let settings = Settings::from_arg_matches(&settings.get_matches_from([""; 0]))?;
    let payload = json!({"id": "evt_1", "type": "charge.authorized", "key": "pay_1"}).to_string();
    let now = std::time::SystemTime::now().duration_since(std::time::UNIX_EPOCH)?.as_secs();
    let told = async |time: u64| {
        let mut mac = Hmac::<Sha256>::new_from_slice(settings.key(Purpose::Webhooks).reveal().as_bytes())?;
        mac.update(format!("{time}.{payload}").as_bytes());
        let tag: String = mac.finalize().into_bytes().iter().map(|byte| format!("{byte:02x}")).collect();
        let request = json!({"provider": "simulator", "payload": payload, "signature": format!("t={time},v1={tag}")});
        anyhow::Ok(client.anonymous().call("payment.v1.PaymentService/HandleProviderWebhook", request).await)
    };
    for time in [now - 600, now + 600] {
        refused(client, told(time).await?, "SIGNATURE_EXPIRED", "five minutes");
    }
    // Signed now it is read: there is no such payment.
    refused(client, told(now).await?, "RESOURCE_NOT_FOUND", "pay_1");
    Ok(())
}

async fn a_return_that_comes_too_late(client: &Client, admin: &Person, good: &Good) -> Result<()> {
    let buyer = Person::with_money(client, "100").await?;
    let order = buyer.buy(&[good.times(1)]).await?;
    buyer.until(&order["id"], "STATE_CONFIRMED").await;
    admin.ship(&order["id"], &[]).await?;
    eventually("the order is completed", async || {
        (buyer.order(&order["id"]).await.ok()?["state"] == "STATE_COMPLETED").then_some(())
    })
    .await;
    let (money, pieces) = (buyer.available("USD").await?, good.available(client).await?);
    let request = json!({"requestId": key(), "orderId": order["id"], "lines": [good.times(1)]});
    let late = buyer.call("order.v1.FulfillmentService/CreateReturn", request).await;
    refused(client, late, "RETURN_WINDOW_CLOSED", "is over");
    let listed = buyer.call("order.v1.FulfillmentService/ListReturns", json!({"orderId": order["id"]})).await?;
    assert_eq!(listed["returns"].as_array().context("a list")?.len(), 0, "{listed}");
    assert_eq!((buyer.available("USD").await?, good.available(client).await?), (money, pieces));
    Ok(())
}
