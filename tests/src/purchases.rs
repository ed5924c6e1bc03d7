//! What a customer and a merchant do with goods, each step once, over either protocol and on every shape of the
//! platform. The demo warehouse is off here: a merchant ships.

use anyhow::Result;
use serde_json::{Value, json};

use crate::{
    client::{Client, Protocol, next},
    people::{Person, atoms, text},
    platform::{amount, eventually, key},
    refusals::refused,
    shop::{Good, address, cards, invariants_hold},
};

/// Every journey with one client.
pub async fn all(client: &Client) -> Result<()> {
    let admin = Person::admin(client).await?;
    browsing_goods(client).await?;
    a_purchase_from_cart_to_refund(client, &admin).await?;
    a_quoted_purchase_shipped_in_parts(client, &admin).await?;
    a_cancelled_order_gives_money_and_stock_back(client, &admin).await?;
    a_purchase_by_card(client, &admin).await?;
    a_payment_that_the_buyer_confirms(client, &admin).await?;
    a_digital_good_is_delivered_at_once(client, &admin).await?;
    a_merchant_at_work(client, &admin).await?;
    invariants_hold(client).await
}

fn cents(value: &Value) -> i64 {
    atoms(text(&value["value"]), 2)
}

async fn dollars(person: &Person) -> Result<i64> {
    Ok(atoms(&person.available("USD").await?, 2))
}

async fn browsing_goods(client: &Client) -> Result<()> {
    let list = async |request: Value| client.call("catalog.v1.ProductService/ListProducts", request).await;
    let mut goods = Vec::new();
    for kind in ["KIND_PHYSICAL_GOOD", "KIND_DIGITAL_GOOD"] {
        let page = list(json!({"kind": kind, "pageSize": 200})).await?;
        goods.extend(page["products"].as_array().unwrap().iter().cloned());
    }
    assert!(goods.len() >= 60, "{} goods", goods.len());
    let mut categories: Vec<&str> = goods.iter().map(|good| text(&good["category"])).collect();
    categories.sort_unstable();
    categories.dedup();
    assert!(categories.len() >= 8, "{categories:?}");

    let one = goods.iter().find(|good| good["variants"][0]["listPrice"].is_object()).expect("a good with a price");
    let found = client.call("catalog.v1.ProductService/SearchProducts", json!({"query": one["name"]})).await?;
    assert!(found["products"].as_array().unwrap().iter().any(|found| found["id"] == one["id"]), "{found}");
    let variant = &one["variants"][0]["sku"];
    let found = client.call("catalog.v1.ProductService/SearchProducts", json!({"query": variant})).await?;
    assert_eq!(found["products"][0]["id"], one["id"], "a SKU finds its good");

    let request = json!({"kind": "KIND_PHYSICAL_GOOD", "priceMax": amount("20", "USD"), "pageSize": 200});
    for good in list(request).await?["products"].as_array().unwrap() {
        let prices: Vec<i64> =
            good["variants"].as_array().unwrap().iter().map(|variant| cents(&variant["listPrice"])).collect();
        assert!(prices.iter().any(|price| *price <= 2_000), "{good}");
    }
    Ok(())
}

async fn a_purchase_from_cart_to_refund(client: &Client, admin: &Person) -> Result<()> {
    let (mug, pan) = (Good::stocked(admin, "12.50", 10).await?, Good::stocked(admin, "40", 5).await?);
    let guest = client.anonymous();
    let made = guest.call("order.v1.CartService/CreateCart", json!({})).await?;
    let token = &made["cartToken"];
    let add = json!({"requestId": key(), "cartToken": token, "variantId": mug.variant, "quantity": "2"});
    let cart = guest.call("order.v1.CartService/AddCartItem", add).await?["cart"].clone();
    assert_eq!(cart["subtotal"], amount("25.00", "USD"), "{cart}");

    let buyer = Person::with_money(client, "1000").await?;
    let add = json!({"requestId": key(), "variantId": pan.variant, "quantity": "1"});
    buyer.call("order.v1.CartService/AddCartItem", add).await?;
    let merge = json!({"requestId": key(), "cartToken": token});
    let cart = buyer.call("order.v1.CartService/MergeCart", merge).await?["cart"].clone();
    assert_eq!(cart["lines"].as_array().unwrap().len(), 2, "{cart}");
    assert_eq!(cart["subtotal"], amount("65.00", "USD"), "{cart}");

    let request = json!({"requestId": key(), "shippingAddress": address(), "etag": cart["etag"]});
    let order = buyer.call("order.v1.CartService/CheckoutCart", request).await?["order"].clone();
    let emptied = buyer.call("order.v1.CartService/GetCart", json!({})).await?;
    assert_eq!(emptied["cart"]["lines"], json!([]), "the cart is ordered");
    let order = buyer.until(&order["id"], "STATE_CONFIRMED").await;
    let total = cents(&order["purchase"]["total"]);
    assert_eq!(dollars(&buyer).await?, 100_000 - total, "the money is set aside");
    assert_eq!(mug.available(client).await?, 8, "the goods are set aside");

    admin.ship(&order["id"], &[]).await?;
    let order = buyer.until(&order["id"], "STATE_FULFILLED").await;
    assert_eq!(order["purchase"]["captured"], order["purchase"]["total"], "everything is charged");
    the_invoice_says_what_was_charged(&buyer, &order).await?;
    a_mug_comes_back(&buyer, admin, &order, &mug).await
}

async fn the_invoice_says_what_was_charged(buyer: &Person, order: &Value) -> Result<()> {
    let invoice = eventually("the invoice is written", async || {
        let request = json!({"orderId": order["id"]});
        let listed = buyer.call("order.v1.InvoiceService/ListInvoices", request).await.ok()?;
        listed["invoices"].as_array()?.first().cloned()
    })
    .await;
    assert_eq!(invoice["total"], order["purchase"]["total"], "{invoice}");
    let sum =
        |field: &str| -> i64 { invoice["lines"].as_array().unwrap().iter().map(|line| cents(&line[field])).sum() };
    assert_eq!(sum("net"), cents(&invoice["net"]));
    assert_eq!(sum("net") + sum("tax"), cents(&invoice["total"]));
    if buyer.client.protocol == Protocol::Rest {
        let target = format!("/api/v1/invoices/{}/pdf", text(&invoice["id"]));
        let (status, bytes) = buyer.client.http_request(http::Method::GET, &target, None, &[]).await?;
        assert_eq!(status, 200);
        assert!(bytes.starts_with(b"%PDF-"), "{:?}", &bytes[..bytes.len().min(40)]);
    } else {
        let shown = buyer.call("order.v1.InvoiceService/DownloadInvoice", json!({"id": invoice["id"]})).await?;
        assert_eq!(shown["pdf"]["contentType"], "application/pdf");
    }
    Ok(())
}

async fn a_mug_comes_back(buyer: &Person, admin: &Person, order: &Value, mug: &Good) -> Result<()> {
    let (before, pieces) = (dollars(buyer).await?, mug.available(&buyer.client).await?);
    let request = json!({"requestId": key(), "orderId": order["id"], "lines": [mug.times(1)], "note": "It leaks"});
    let announced = buyer.call("order.v1.FulfillmentService/CreateReturn", request).await?["return"].clone();
    assert_eq!(announced["state"], "STATE_REQUESTED");
    let request = json!({"requestId": key(), "id": announced["id"], "restock": true});
    admin.call("order.v1.FulfillmentService/ReceiveReturn", request).await?;
    let refunded = eventually("the money is given back", async || {
        let request = json!({"id": announced["id"]});
        let shown = buyer.call("order.v1.FulfillmentService/GetReturn", request).await.ok()?["return"].clone();
        (shown["state"] == "STATE_REFUNDED").then_some(shown)
    })
    .await;
    assert_eq!(dollars(buyer).await?, before + cents(&refunded["amount"]));
    assert_eq!(mug.available(&buyer.client).await?, pieces + 1, "it can be sold again");
    let again = json!({"requestId": key(), "orderId": order["id"], "lines": [mug.times(2)]});
    let refusal = buyer.call("order.v1.FulfillmentService/CreateReturn", again).await.unwrap_err();
    assert_eq!(refusal.reason, "QUANTITY_LIMIT", "only one is left to return: {refusal}");
    Ok(())
}

async fn a_quoted_purchase_shipped_in_parts(client: &Client, admin: &Person) -> Result<()> {
    let (cup, pot) = (Good::stocked(admin, "9.99", 10).await?, Good::stocked(admin, "33.33", 10).await?);
    let buyer = Person::with_money(client, "1000").await?;
    let basket = json!({"items": [cup.times(3), pot.times(1)], "countryCode": "DE"});
    let request = json!({"basket": basket});
    let quote = buyer.call("catalog.v1.PricingService/CreatePurchaseQuote", request).await?["quote"].clone();
    let etag = &cup.product["etag"];
    let raise = json!({"requestId": key(), "variantId": cup.variant, "amount": amount("99", "USD"), "etag": etag});
    admin.call("catalog.v1.PricingService/UpdateListPrice", raise).await?;

    let quoted = json!({"quotedPurchase": {"quoteToken": quote["token"]}});
    let order = buyer.buy_with(&[], quoted).await?;
    assert_eq!(order["purchase"]["total"], quote["total"], "the quote is honoured");
    let watched = watch_until(&buyer, &order["id"], "STATE_CONFIRMED").await?;
    assert_eq!(watched.first().map(String::as_str), Some("STATE_PENDING"));

    let part = admin.ship(&order["id"], &[cup.times(1)]).await?;
    assert_eq!(part["state"], "STATE_SHIPPED", "{part}");
    let shown = buyer.until(&order["id"], "STATE_PARTIALLY_FULFILLED").await;
    assert_eq!(shown["purchase"]["captured"], part["amount"], "charged as it leaves");
    let rest = admin.ship(&order["id"], &[]).await?;
    let shown = buyer.until(&order["id"], "STATE_FULFILLED").await;
    assert_eq!(cents(&part["amount"]) + cents(&rest["amount"]), cents(&quote["total"]));
    assert_eq!(shown["purchase"]["captured"], quote["total"]);
    assert_eq!(dollars(&buyer).await?, 100_000 - cents(&quote["total"]));

    let request = json!({"requestId": key(), "id": rest["id"]});
    let arrived = admin.call("order.v1.FulfillmentService/DeliverShipment", request).await?;
    assert_eq!(arrived["shipment"]["state"], "STATE_DELIVERED");
    let listed = buyer.call("order.v1.FulfillmentService/ListShipments", json!({"orderId": order["id"]})).await?;
    assert_eq!(listed["shipments"].as_array().unwrap().len(), 2);
    let refusal = buyer.cancel(&order["id"]).await.unwrap_err();
    assert_eq!(refusal.reason, "ORDER_NOT_CANCELLABLE", "{refusal}");
    Ok(())
}

/// The states of an order, as whoever watches it live sees them.
async fn watch_until(buyer: &Person, order: &Value, state: &str) -> Result<Vec<String>> {
    let request = json!({"id": order, "afterSequence": "0"});
    let mut changes = buyer.client.watch("order.v1.OrderService/WatchOrder", request).await?;
    let mut seen = Vec::new();
    loop {
        let change = next(&mut changes).await?;
        seen.push(text(&change["order"]["state"]).to_owned());
        if change["order"]["state"] == state {
            // The snapshot may have come after the first changes: then they are asked for.
            let listed = buyer.call("order.v1.OrderService/ListOrderChanges", json!({"id": order})).await?;
            let states = listed["changes"].as_array().unwrap().iter();
            return Ok(states.map(|change| text(&change["toState"]).to_owned()).collect());
        }
    }
}

async fn a_cancelled_order_gives_money_and_stock_back(client: &Client, admin: &Person) -> Result<()> {
    let good = Good::stocked(admin, "15", 4).await?;
    let buyer = Person::with_money(client, "500").await?;
    let order = buyer.buy(&[good.times(4)]).await?;
    assert_eq!(order["state"], "STATE_PENDING", "it is noted first");
    buyer.until(&order["id"], "STATE_CONFIRMED").await;
    assert_eq!(good.available(client).await?, 0);
    buyer.cancel(&order["id"]).await?;
    buyer.until(&order["id"], "STATE_CANCELLED").await;
    assert_eq!(dollars(&buyer).await?, 50_000, "the money is back");
    assert_eq!(good.available(client).await?, 4, "the goods are back");

    let order = buyer.buy(&[good.times(3)]).await?;
    buyer.until(&order["id"], "STATE_CONFIRMED").await;
    let part = admin.ship(&order["id"], &[good.times(1)]).await?;
    buyer.cancel(&order["id"]).await?;
    let shown = buyer.until(&order["id"], "STATE_FULFILLED").await;
    assert_eq!(shown["purchase"]["lines"][0]["cancelled"], "2", "{shown}");
    assert_eq!(dollars(&buyer).await?, 50_000 - cents(&part["amount"]), "what was not shipped is not charged");
    assert_eq!(good.available(client).await?, 3);
    Ok(())
}

async fn a_purchase_by_card(client: &Client, admin: &Person) -> Result<()> {
    let good = Good::stocked(admin, "20", 5).await?;
    let buyer = Person::register(client).await?;
    let card = buyer.card(cards::APPROVED).await?;
    assert_eq!(card["lastFour"], "4242");
    assert!(!card.to_string().contains(cards::APPROVED), "{card}");
    let order = buyer.buy_with(&[good.times(1)], json!({"paymentMethodId": card["id"]})).await?;
    let order = buyer.until(&order["id"], "STATE_CONFIRMED").await;
    let payment = buyer.payment(&order["purchase"]["paymentId"]).await?;
    assert_eq!(payment["state"], "STATE_AUTHORIZED", "{payment}");
    admin.ship(&order["id"], &[]).await?;
    buyer.until(&order["id"], "STATE_FULFILLED").await;
    let payment = buyer.payment(&payment["id"]).await?;
    assert_eq!((&payment["state"], &payment["captured"]), (&json!("STATE_CAPTURED"), &payment["amount"]));

    let refund = async |value: &str| {
        let request = json!({"requestId": key(), "paymentId": payment["id"], "amount": amount(value, "USD")});
        admin.call("payment.v1.PaymentService/CreateRefund", request).await
    };
    let refunded = refund("15").await?["refund"].clone();
    eventually("the refund succeeds", async || {
        let request = json!({"id": refunded["id"]});
        let shown = buyer.call("payment.v1.PaymentService/GetRefund", request).await.ok()?;
        (shown["refund"]["state"] == "STATE_SUCCEEDED").then_some(())
    })
    .await;
    eventually("the order counts what support gave back", async || {
        let shown = buyer.order(&order["id"]).await.ok()?;
        (shown["purchase"]["refunded"] == amount("15.00", "USD")).then_some(())
    })
    .await;
    let everything = json!({"requestId": key(), "orderId": order["id"], "lines": [good.times(1)]});
    let back = buyer.call("order.v1.FulfillmentService/CreateReturn", everything).await?["return"].clone();
    let request = json!({"requestId": key(), "id": back["id"], "restock": true});
    admin.call("order.v1.FulfillmentService/ReceiveReturn", request).await?;
    let shown = eventually("the money for the return is given back", async || {
        let shown = buyer.call("order.v1.FulfillmentService/GetReturn", json!({"id": back["id"]})).await.ok()?;
        (shown["return"]["state"] == "STATE_REFUNDED").then_some(shown["return"].clone())
    })
    .await;
    let left = cents(&payment["amount"]) - 1_500;
    assert_eq!(cents(&shown["amount"]), left, "{shown}");
    assert_eq!(cents(&shown["givenBackBefore"]), cents(&back["amount"]) - left, "{shown}");
    let all = refund(text(&payment["amount"]["value"])).await;
    refused(client, all, "REFUND_EXCEEDS_CAPTURED", "can still be given back");

    let request = json!({"requestId": key(), "id": card["id"]});
    buyer.call("payment.v1.PaymentService/DeletePaymentMethod", request).await?;
    let listed = buyer.call("payment.v1.PaymentService/ListPaymentMethods", json!({})).await?;
    assert_eq!(listed["paymentMethods"], json!([]));
    Ok(())
}

async fn a_payment_that_the_buyer_confirms(client: &Client, admin: &Person) -> Result<()> {
    let good = Good::stocked(admin, "20", 2).await?;
    let buyer = Person::register(client).await?;
    let card = buyer.card(cards::NEEDS_ACTION).await?;
    let waiting = async |order: &Value| {
        eventually("the buyer is asked to confirm", async || {
            let shown = buyer.order(&order["id"]).await.ok()?;
            (shown["purchase"]["actionUrl"] != "").then_some(shown)
        })
        .await
    };
    let order = buyer.buy_with(&[good.times(1)], json!({"paymentMethodId": card["id"]})).await?;
    let shown = waiting(&order).await;
    assert_eq!(shown["state"], "STATE_PENDING");
    let request = json!({"requestId": key(), "id": shown["purchase"]["paymentId"]});
    buyer.call("payment.v1.PaymentService/ConfirmPayment", request).await?;
    buyer.until(&order["id"], "STATE_CONFIRMED").await;

    let order = buyer.buy_with(&[good.times(1)], json!({"paymentMethodId": card["id"]})).await?;
    let shown = waiting(&order).await;
    buyer.cancel(&order["id"]).await?;
    buyer.until(&order["id"], "STATE_CANCELLED").await;
    let payment = buyer.payment(&shown["purchase"]["paymentId"]).await?;
    assert_eq!(payment["state"], "STATE_VOIDED", "{payment}");
    assert_eq!(good.available(client).await?, 1, "the other one is still set aside");
    Ok(())
}

async fn a_digital_good_is_delivered_at_once(client: &Client, admin: &Person) -> Result<()> {
    let song = Good::listed(admin, "KIND_DIGITAL_GOOD", "1.29").await?;
    let buyer = Person::with_money(client, "10").await?;
    let request = json!({"requestId": key(), "items": [song.times(1)]});
    let order = buyer.call("order.v1.OrderService/CreateOrder", request).await?["order"].clone();
    let order = buyer.until(&order["id"], "STATE_FULFILLED").await;
    assert_eq!(order["purchase"]["captured"], order["purchase"]["total"]);
    assert_eq!(dollars(&buyer).await?, 1_000 - cents(&order["purchase"]["total"]));
    Ok(())
}

async fn a_merchant_at_work(client: &Client, admin: &Person) -> Result<()> {
    let good = Good::stocked(admin, "100", 10).await?;
    let id = &good.product["id"];
    let request = json!({
        "requestId": key(), "updateMask": "name",
        "product": {"id": id, "name": "A better name", "etag": good.product["etag"]},
    });
    let changed = admin.call("catalog.v1.ProductService/UpdateProduct", request.clone()).await?["product"].clone();
    assert_eq!(changed["name"], "A better name");
    let mut stale = request;
    stale["requestId"] = json!(key());
    let refusal = admin.call("catalog.v1.ProductService/UpdateProduct", stale).await.unwrap_err();
    assert_eq!(refusal.reason, "ETAG_MISMATCH", "{refusal}");

    let code = format!("C{}", &key().replace('-', "").to_uppercase()[..10]);
    let request = json!({"requestId": key(), "title": "Ten off", "discountBps": 1000, "code": code});
    let promotion = admin.call("catalog.v1.PricingService/CreatePromotion", request).await?["promotion"].clone();
    let buyer = Person::register(client).await?;
    let quote = async |code: &str| {
        let basket = json!({"items": [good.times(1)], "countryCode": "DE", "promotionCode": code});
        buyer.call("catalog.v1.PricingService/CreatePurchaseQuote", json!({"basket": basket})).await
    };
    let quoted = quote(&code).await?["quote"].clone();
    assert_eq!(quoted["discount"], amount("10.00", "USD"), "{quoted}");
    assert_eq!(
        cents(&quoted["total"]),
        cents(&quoted["subtotal"]) - cents(&quoted["discount"]) + cents(&quoted["shipping"]) + cents(&quoted["tax"])
    );
    let request = json!({"requestId": key(), "id": promotion["id"]});
    admin.call("catalog.v1.PricingService/EndPromotion", request).await?;

    stock_on_the_shelf(admin, &good).await?;
    let request = json!({"requestId": key(), "id": id});
    let archived = admin.call("catalog.v1.ProductService/ArchiveProduct", request).await?["product"].clone();
    assert_eq!(archived["state"], "STATE_ARCHIVED");
    eventually("an archived good is no longer sold", async || {
        let refusal = quote("").await.err()?;
        (refusal.reason == "PRODUCT_UNAVAILABLE").then_some(())
    })
    .await;
    Ok(())
}

async fn stock_on_the_shelf(admin: &Person, good: &Good) -> Result<()> {
    let request = json!({"variantId": good.variant});
    let items = admin.call("inventory.v1.InventoryService/ListStockItems", request).await?;
    let item = &items["stockItems"][0];
    assert_eq!(item["onHand"], "10");
    let request = json!({"requestId": key(), "id": item["id"], "safetyStock": "2", "lowThreshold": "5"});
    let item = admin.call("inventory.v1.InventoryService/UpdateStockItem", request).await?["stockItem"].clone();
    assert_eq!(item["available"], "8", "two are never sold");
    let request = json!({
        "requestId": key(), "variantId": good.variant, "locationId": item["locationId"], "kind": "KIND_COUNTED",
        "quantity": "9", "etag": item["etag"],
    });
    let item = admin.call("inventory.v1.InventoryService/AdjustStock", request).await?["stockItem"].clone();
    assert_eq!((&item["onHand"], &item["available"]), (&json!("9"), &json!("7")));
    let request = json!({"stockItemId": item["id"]});
    let moved = admin.call("inventory.v1.InventoryService/ListStockMovements", request).await?;
    let quantities: Vec<&Value> = moved["stockMovements"].as_array().unwrap().iter().map(|m| &m["quantity"]).collect();
    assert_eq!(quantities, ["-1", "10"]);
    Ok(())
}
