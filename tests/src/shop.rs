//! What tests need of the shop: goods of their own, so that no two tests share a shelf, and people who buy them.

use anyhow::Result;
use serde_json::{Value, json};

use crate::{
    client::{Answer, Client, Refused},
    people::{Person, text},
    platform::{amount, eventually, key},
};

/// A good that one test sells.
#[derive(Clone)]
pub struct Good {
    pub product: Value,
    /// The variant that is sold, `var_…`.
    pub variant: String,
}

impl Good {
    /// Lists a good at a price in dollars, with so many pieces in stock.
    pub async fn stocked(admin: &Person, dollars: &str, pieces: u32) -> Result<Self> {
        let good = Self::listed(admin, "KIND_PHYSICAL_GOOD", dollars).await?;
        good.receive(admin, pieces).await?;
        Ok(good)
    }

    /// Lists a good of a kind at a price in dollars.
    pub async fn listed(admin: &Person, kind: &str, dollars: &str) -> Result<Self> {
        let categories = admin.call("catalog.v1.CategoryService/ListCategories", json!({})).await?;
        let goods = admin.call("catalog.v1.ProductService/ListProducts", json!({"kind": kind, "pageSize": 1})).await?;
        let category = &goods["products"][0]["category"];
        let known = categories["categories"].as_array().unwrap().iter().any(|known| &known["name"] == category);
        assert!(known, "{category} is listed");
        let sku = format!("T-{}", key().replace('-', "").to_uppercase());
        let request = json!({
            "requestId": key(), "kind": kind, "name": "A good of a test", "category": category,
            "taxClass": "TAX_CLASS_STANDARD",
            "variants": [{"sku": sku, "title": "the only one", "listPrice": amount(dollars, "USD")}],
        });
        let product = admin.call("catalog.v1.ProductService/CreateProduct", request).await?["product"].clone();
        let variant = text(&product["variants"][0]["id"]).to_owned();
        Ok(Self { product, variant })
    }

    /// Notes that pieces were delivered.
    pub async fn receive(&self, admin: &Person, pieces: u32) -> Answer {
        let request = json!({
            "requestId": key(), "variantId": self.variant, "kind": "KIND_RECEIVED",
            "quantity": pieces.to_string(), "reference": "a test",
        });
        admin.call("inventory.v1.InventoryService/AdjustStock", request).await
    }

    /// How many pieces can be had.
    pub async fn available(&self, client: &Client) -> Result<i64> {
        let request = json!({"variantIds": [self.variant]});
        let found = client.call("inventory.v1.InventoryService/BatchGetAvailability", request).await?;
        Ok(text(&found["availabilities"][0]["available"]).parse()?)
    }

    /// A line with so many pieces.
    pub fn times(&self, pieces: u32) -> Value {
        json!({"variantId": self.variant, "quantity": pieces.to_string()})
    }
}

/// Where the tests have everything sent.
pub fn address() -> Value {
    json!({"recipient": "A Test", "lines": ["Street 1"], "city": "Berlin", "postalCode": "10115", "countryCode": "DE"})
}

/// The numbers of test cards, by what the provider's simulator does with them.
pub mod cards {
    pub const APPROVED: &str = "4242424242424242";
    pub const DECLINED: &str = "4000000000000002";
    pub const NEEDS_ACTION: &str = "4000002500003155";
    pub const OUTAGE: &str = "4000000000001083";
    pub const UNREACHED_AT_FIRST: &str = "4000000000001117";
    pub const HALF_SECURED: &str = "4000000000001133";
    pub const LOST_REQUEST: &str = "4000000000001034";
}

impl Person {
    /// Orders goods at the price of the moment, paid by the wallet.
    pub async fn buy(&self, items: &[Value]) -> Answer {
        self.buy_with(items, json!({})).await
    }

    /// Orders goods, with more fields of the request.
    pub async fn buy_with(&self, items: &[Value], more: Value) -> Answer {
        let mut request = json!({
            "requestId": key(), "customerId": self.id, "items": items, "shippingAddress": address(),
        });
        for (name, value) in more.as_object().unwrap() {
            request[name] = value.clone();
        }
        Ok(self.call("order.v1.OrderService/CreateOrder", request).await?["order"].clone())
    }

    /// Adds a card.
    pub async fn card(&self, number: &str) -> Result<Value> {
        let request = json!({"number": number, "expireMonth": 12, "expireYear": 2040, "securityCode": "123"});
        let added = self.call("payment.v1.PaymentService/CreatePaymentMethod", request).await?;
        Ok(added["paymentMethod"].clone())
    }

    pub async fn order(&self, id: &Value) -> Answer {
        Ok(self.call("order.v1.OrderService/GetOrder", json!({"id": id})).await?["order"].clone())
    }

    pub async fn payment(&self, id: &Value) -> Answer {
        Ok(self.call("payment.v1.PaymentService/GetPayment", json!({"id": id})).await?["payment"].clone())
    }

    pub async fn cancel(&self, id: &Value) -> Answer {
        let request = json!({"requestId": key(), "id": id});
        Ok(self.call("order.v1.OrderService/CancelOrder", request).await?["order"].clone())
    }

    /// Ships lines of an order, or everything that is left.
    pub async fn ship(&self, order: &Value, lines: &[Value]) -> Answer {
        let request = json!({"requestId": key(), "orderId": order, "lines": lines, "carrier": "Test Post"});
        Ok(self.call("order.v1.FulfillmentService/CreateShipment", request).await?["shipment"].clone())
    }

    /// Waits until an order stands where it should; it must not end elsewhere.
    pub async fn until(&self, id: &Value, state: &str) -> Value {
        const ENDS: [&str; 4] = ["STATE_REJECTED", "STATE_CANCELLED", "STATE_FULFILLED", "STATE_COMPLETED"];
        eventually(&format!("{id} is {state}"), async || {
            let order = self.order(id).await.unwrap_or_else(|refusal| panic!("{id}: {refusal}"));
            if order["state"] == state {
                return Some(order);
            }
            assert!(!ENDS.iter().any(|end| order["state"] == *end), "{id} ended elsewhere than {state}: {order}");
            None
        })
        .await
    }
}

/// Waits until no saga is under way, then lets every context check its invariants.
pub async fn invariants_hold(client: &Client) -> Result<()> {
    let admin = Person::admin(client).await?;
    eventually("every saga has ended", async || {
        let listed = admin.call("order.v1.OrderService/ListSagas", json!({})).await.ok()?;
        let sagas = listed["sagas"].as_array()?;
        assert!(sagas.iter().all(|saga| saga["state"] != "STATE_STUCK"), "{listed}");
        sagas.is_empty().then_some(())
    })
    .await;
    for rpc in [
        "inventory.v1.InventoryService/VerifyStock",
        "payment.v1.PaymentService/VerifyPayments",
        "order.v1.OrderService/VerifyOrders",
        "ledger.v1.LedgerService/VerifyLedger",
    ] {
        // What was just finished may still be on its way to those who ask.
        eventually(&format!("{rpc} finds nothing"), async || {
            let mut found = json!({"nextPageToken": ""});
            loop {
                let request = json!({"pageToken": found["nextPageToken"]});
                let answer: Result<Value, Refused> = admin.call(rpc, request).await;
                found = answer.unwrap_or_else(|refusal| panic!("{rpc}: {refusal}"));
                if found["nextPageToken"].as_str().is_none_or(str::is_empty) {
                    break;
                }
            }
            if found["holds"] != true {
                eprintln!("{rpc}: {found}");
            }
            (found["holds"] == true).then_some(())
        })
        .await;
    }
    Ok(())
}
