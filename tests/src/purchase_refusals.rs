//! Every refusal that a customer or a merchant of goods can meet, and that nothing has moved.

use anyhow::Result;
use serde_json::{Value, json};

use crate::{
    client::Client,
    people::{Person, text},
    platform::{amount, key},
    reasons::told,
    refusals::refused,
    shop::{Good, address, cards},
};

/// Every refusal with one client.
pub async fn all(client: &Client) -> Result<()> {
    let admin = Person::admin(client).await?;
    let good = Good::stocked(&admin, "30", 3).await?;
    let (one, other) = (Person::with_money(client, "1000").await?, Person::with_money(client, "1000").await?);
    what_cannot_be_ordered(client, &one, &other, &good).await?;
    orders_that_end_rejected(client, &one, &good).await?;
    carts(client, &one, &good).await?;
    who_may_not(client, &one, &other, &admin, &good).await?;
    merchants(client, &admin, &good).await?;
    webhooks(client).await?;
    too_many_cards(client).await?;
    catalogues(client, &admin).await?;
    assert_eq!(good.available(client).await?, 3, "a refusal sets nothing aside");
    for person in [&one, &other] {
        assert_eq!(person.available("USD").await?, "1000.00", "a refusal moves nothing");
    }
    shipped_too_far(client, &admin).await
}

async fn what_cannot_be_ordered(client: &Client, one: &Person, other: &Person, good: &Good) -> Result<()> {
    refused(client, one.buy(&[]).await, "INVALID_FIELD", "");
    let both = json!({"marketTrade": {"side": "SIDE_BUY", "quantity": amount("1", "BTC")}});
    refused(client, one.buy_with(&[good.times(1)], both).await, "INVALID_FIELD", "");
    let someone = json!({"customerId": other.id});
    refused(client, one.buy_with(&[good.times(1)], someone).await, "INVALID_FIELD", "for themselves");
    let nowhere = json!({"requestId": key(), "items": [good.times(1)]});
    refused(client, one.call("order.v1.OrderService/CreateOrder", nowhere).await, "INVALID_FIELD", "goods go");
    let none = json!({"variantId": good.variant, "quantity": "0"});
    refused(client, one.buy(&[none]).await, "INVALID_FIELD", "");
    let unknown = json!({"variantId": "var_01h455vb4pex5vsknk084sn02q", "quantity": "1"});
    refused(client, one.buy(&[unknown]).await, "PRODUCT_UNAVAILABLE", "");
    let wrong = json!({"variantId": "prd_01h455vb4pex5vsknk084sn02q", "quantity": "1"});
    refused(client, one.buy(&[wrong]).await, "INVALID_ID", "var_");
    let mut abroad = address();
    abroad["countryCode"] = json!("AQ");
    let abroad = one.buy_with(&[good.times(1)], json!({"shippingAddress": abroad})).await;
    refused(client, abroad, "INVALID_FIELD", "");

    let basket = json!({"items": [good.times(1)], "countryCode": "DE"});
    let quote =
        one.call("catalog.v1.PricingService/CreatePurchaseQuote", json!({"basket": basket})).await?["quote"].clone();
    let quoted = |token: &str| json!({"quotedPurchase": {"quoteToken": token}});
    let token = text(&quote["token"]);
    refused(client, other.buy_with(&[], quoted(token)).await, "QUOTE_INVALID", "");
    let forged = format!("{}{}", &token[..token.len() - 1], if token.ends_with('A') { "B" } else { "A" });
    refused(client, one.buy_with(&[], quoted(&forged)).await, "QUOTE_INVALID", "");
    let trade = one.quote("SIDE_BUY", "0.001", "BTC").await?;
    refused(client, one.buy_with(&[], quoted(text(&trade["token"]))).await, "QUOTE_INVALID", "quote of a trade");
    refused(client, one.take(&quote).await, "QUOTE_INVALID", "");
    Ok(())
}

async fn orders_that_end_rejected(client: &Client, one: &Person, good: &Good) -> Result<()> {
    let rejected = async |order: Value, reason: &str| {
        let shown = one.until(&order["id"], "STATE_REJECTED").await;
        told(client, &shown["rejection"], reason, "");
    };
    rejected(one.buy(&[good.times(4)]).await?, "OUT_OF_STOCK").await;
    let poor = Person::register(client).await?;
    let order = poor.buy(&[good.times(1)]).await?;
    let shown = poor.until(&order["id"], "STATE_REJECTED").await;
    told(client, &shown["rejection"], "INSUFFICIENT_FUNDS", "");
    let card = one.card(cards::DECLINED).await?;
    let order = one.buy_with(&[good.times(1)], json!({"paymentMethodId": card["id"]})).await?;
    let shown = one.until(&order["id"], "STATE_REJECTED").await;
    told(client, &shown["rejection"], "PAYMENT_DECLINED", "Decline code: `card_declined`");
    let someones = poor.card(cards::APPROVED).await?;
    let order = one.buy_with(&[good.times(1)], json!({"paymentMethodId": someones["id"]})).await?;
    rejected(order, "PAYMENT_METHOD_INVALID").await;

    let unreadable = json!({"number": "4242424242424241", "expireMonth": 1, "expireYear": 2040, "securityCode": "123"});
    let refusal = refused(
        client,
        one.call("payment.v1.PaymentService/CreatePaymentMethod", unreadable).await,
        "INVALID_FIELD",
        "number of a card",
    );
    assert!(!refusal.message.contains("4242424242424241"), "{refusal}");
    Ok(())
}

async fn carts(client: &Client, one: &Person, good: &Good) -> Result<()> {
    let guest = client.anonymous();
    refused(client, guest.call("order.v1.CartService/GetCart", json!({})).await, "TOKEN_MISSING", "cart");
    let lost = json!({"cartToken": "no such token"});
    refused(client, guest.call("order.v1.CartService/GetCart", lost).await, "RESOURCE_NOT_FOUND", "");
    let request = json!({"requestId": key(), "shippingAddress": address()});
    refused(client, one.call("order.v1.CartService/CheckoutCart", request.clone()).await, "CART_EMPTY", "");

    let poor = Person::register(client).await?;
    let wanted = |quantity: &str| json!({"requestId": key(), "variantId": good.variant, "quantity": quantity});
    let cart = poor.call("order.v1.CartService/AddCartItem", wanted("4")).await?["cart"].clone();
    assert_eq!(cart["lines"][0]["problem"], "Only 3 are left.", "{cart}");
    poor.call("order.v1.CartService/UpdateCartItem", wanted("2")).await?;
    let order = poor.call("order.v1.CartService/CheckoutCart", request).await?["order"].clone();
    poor.until(&order["id"], "STATE_REJECTED").await;
    let cart = poor.call("order.v1.CartService/GetCart", json!({})).await?["cart"].clone();
    assert_eq!((&cart["lines"][0]["quantity"], &cart["lines"][0]["problem"]), (&json!("2"), &json!("")), "{cart}");
    Ok(())
}

async fn who_may_not(client: &Client, one: &Person, other: &Person, admin: &Person, good: &Good) -> Result<()> {
    let order = one.buy(&[good.times(1)]).await?;
    one.until(&order["id"], "STATE_CONFIRMED").await;
    refused(client, other.order(&order["id"]).await, "RESOURCE_NOT_FOUND", "");
    refused(client, other.cancel(&order["id"]).await, "RESOURCE_NOT_FOUND", "");
    let of_one = json!({"ownerId": one.id, "pageSize": 200});
    let listed = admin.call("order.v1.OrderService/ListOrders", of_one).await?["orders"].clone();
    let listed = listed.as_array().unwrap();
    assert!(listed.iter().any(|listed| listed["id"] == order["id"]), "{listed:?}");
    assert!(listed.iter().all(|listed| listed["ownerId"] == json!(one.id)), "{listed:?}");
    refused(client, one.ship(&order["id"], &[]).await, "ROLE_REQUIRED", "admin");
    let too_many = admin.ship(&order["id"], &[good.times(2)]).await;
    refused(client, too_many, "QUANTITY_LIMIT", "");
    let early = json!({"requestId": key(), "orderId": order["id"], "lines": [good.times(1)]});
    let early = one.call("order.v1.FulfillmentService/CreateReturn", early).await;
    refused(client, early, "INVALID_STATE_TRANSITION", "Cancel");
    let request = json!({"requestId": key(), "variantId": good.variant, "kind": "KIND_RECEIVED", "quantity": "1"});
    let adjusted = one.call("inventory.v1.InventoryService/AdjustStock", request).await;
    refused(client, adjusted, "ROLE_REQUIRED", "admin");
    if client.protocol == crate::client::Protocol::Grpc {
        let request = json!({
            "id": "rsv_01h455vb4pex5vsknk084sn02q", "reference": "x", "lines": [good.times(1)],
        });
        let reserved = admin.call("inventory.v1.InventoryService/CreateReservation", request).await;
        refused(client, reserved, "SERVICE_ONLY", "order");
        let request = json!({
            "id": "pay_01h455vb4pex5vsknk084sn02q", "orderId": order["id"], "ownerId": one.id,
            "amount": amount("1", "USD"),
        });
        let paid = admin.call("payment.v1.PaymentService/ProcessPayment", request).await;
        refused(client, paid, "SERVICE_ONLY", "order");
    }
    one.cancel(&order["id"]).await?;
    one.until(&order["id"], "STATE_CANCELLED").await;
    assert_eq!(one.cancel(&order["id"]).await?["state"], "STATE_CANCELLED", "once more does no harm");
    refused(client, admin.ship(&order["id"], &[]).await, "INVALID_STATE_TRANSITION", "");
    Ok(())
}

async fn merchants(client: &Client, admin: &Person, good: &Good) -> Result<()> {
    let sku = good.product["variants"][0]["sku"].clone();
    let request = json!({
        "requestId": key(), "kind": "KIND_PHYSICAL_GOOD", "name": "x", "category": good.product["category"],
        "variants": [{"sku": sku}],
    });
    let twice = admin.call("catalog.v1.ProductService/CreateProduct", request).await;
    refused(client, twice, "ALREADY_EXISTS_SKU", text(&sku));
    let request = json!({
        "requestId": key(), "variantId": good.variant, "kind": "KIND_LOST", "quantity": "4",
    });
    let lost = admin.call("inventory.v1.InventoryService/AdjustStock", request).await;
    refused(client, lost, "OUT_OF_STOCK", "");
    let request = json!({"requestId": key(), "variantId": good.variant, "kind": "KIND_COUNTED", "quantity": "4",
        "etag": "\"v0\""});
    let counted = admin.call("inventory.v1.InventoryService/AdjustStock", request).await;
    refused(client, counted, "ETAG_MISMATCH", "");
    let ghost = "var_01h455vb4pex5vsknk084sn02q";
    let request = json!({"requestId": key(), "variantId": ghost, "kind": "KIND_RECEIVED", "quantity": "4"});
    let received = admin.call("inventory.v1.InventoryService/AdjustStock", request).await;
    refused(client, received, "RESOURCE_NOT_FOUND", ghost);
    let name = format!("A shelf {}", key());
    let request = || json!({"requestId": key(), "name": name, "rank": 9000});
    admin.call("inventory.v1.InventoryService/CreateLocation", request()).await?;
    let again = admin.call("inventory.v1.InventoryService/CreateLocation", request()).await;
    refused(client, again, "ALREADY_EXISTS_NAME", "");
    Ok(())
}

async fn webhooks(client: &Client) -> Result<()> {
    let told = async |signature: &str| {
        let request = json!({"provider": "simulator", "payload": "{}", "signature": signature});
        client.anonymous().call("payment.v1.PaymentService/HandleProviderWebhook", request).await
    };
    refused(client, told("nonsense").await, "SIGNATURE_INVALID", "");
    let now = std::time::SystemTime::now().duration_since(std::time::UNIX_EPOCH)?.as_secs();
    refused(client, told(&format!("t={now},v1={}", "0".repeat(64))).await, "SIGNATURE_INVALID", "");
    Ok(())
}

async fn too_many_cards(client: &Client) -> Result<()> {
    let person = Person::register(client).await?;
    for _ in 0..50 {
        person.card(cards::APPROVED).await?;
    }
    let request = json!({
        "requestId": key(), "number": cards::APPROVED, "expireMonth": 12, "expireYear": 2040, "securityCode": "123",
    });
    let one_more = person.call("payment.v1.PaymentService/CreatePaymentMethod", request).await;
    let refusal = refused(client, one_more, "LIMIT_EXCEEDED", "Remove one");
    assert_eq!(refusal.metadata["max"], "50");
    Ok(())
}

async fn catalogues(client: &Client, admin: &Person) -> Result<()> {
    let good = Good::listed(admin, "KIND_PHYSICAL_GOOD", "10").await?;
    let price = async |etag: &Value| {
        let request =
            json!({"requestId": key(), "variantId": good.variant, "amount": amount("11", "USD"), "etag": etag});
        admin.call("catalog.v1.PricingService/UpdateListPrice", request).await
    };
    refused(client, price(&json!("")).await, "INVALID_FIELD", "");
    price(&good.product["etag"]).await?;
    refused(client, price(&good.product["etag"]).await, "ETAG_MISMATCH", "Read it again");
    let shown = admin.call("catalog.v1.ProductService/GetProduct", json!({"id": good.product["id"]})).await?;
    assert_eq!(shown["product"]["variants"][0]["listPrice"], amount("11.00", "USD"), "{shown}");

    let code = format!("T-{}", &key()[..8]).to_uppercase();
    let announce = async || {
        let request = json!({
            "requestId": key(), "title": "A discount of a test", "discountBps": 100, "code": code,
            "category": good.product["category"],
        });
        admin.call("catalog.v1.PricingService/CreatePromotion", request).await
    };
    let first = announce().await?["promotion"].clone();
    refused(client, announce().await, "ALREADY_EXISTS_NAME", &code);
    let end = json!({"requestId": key(), "id": first["id"]});
    admin.call("catalog.v1.PricingService/EndPromotion", end).await?;
    let again = announce().await?["promotion"].clone();
    let end = json!({"requestId": key(), "id": again["id"]});
    admin.call("catalog.v1.PricingService/EndPromotion", end).await?;
    Ok(())
}

/// What is shipped cannot be cancelled, and what is returned cannot be returned again.
async fn shipped_too_far(client: &Client, admin: &Person) -> Result<()> {
    let good = Good::stocked(admin, "10", 1).await?;
    let buyer = Person::with_money(client, "100").await?;
    let order = buyer.buy(&[good.times(1)]).await?;
    buyer.until(&order["id"], "STATE_CONFIRMED").await;
    admin.ship(&order["id"], &[]).await?;
    buyer.until(&order["id"], "STATE_FULFILLED").await;
    refused(client, buyer.cancel(&order["id"]).await, "ORDER_NOT_CANCELLABLE", "");
    let request = json!({"requestId": key(), "orderId": order["id"], "lines": [good.times(1)]});
    let announced = buyer.call("order.v1.FulfillmentService/CreateReturn", request).await?["return"].clone();
    let reject = || json!({"requestId": key(), "id": announced["id"], "rejection": "It was opened"});
    admin.call("order.v1.FulfillmentService/RejectReturn", reject()).await?;
    let again = admin.call("order.v1.FulfillmentService/RejectReturn", reject()).await;
    refused(client, again, "INVALID_STATE_TRANSITION", "");
    Ok(())
}
