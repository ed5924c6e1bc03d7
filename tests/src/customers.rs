//! Customers who keep a platform busy whatever happens to it: they buy, confirm, cancel, return and trade at random, repeat
//! under its key whatever was not answered, and know in the end what they must have.

use std::{
    sync::{
        Arc,
        atomic::{AtomicBool, AtomicUsize, Ordering::Relaxed},
    },
    time::{Duration, Instant},
};

use anyhow::{Context, Result, ensure};
use futures::future::{join_all, try_join_all};
use rand::Rng;
use serde_json::{Value, json};
use tokio::{sync::watch, task::JoinHandle};

use crate::{
    client::{Answer, Client},
    people::{Person, atoms, text},
    platform::{Patience, amount, key, within},
    purchase_crashes::transient,
    shop::{Good, address, cards, invariants_hold},
};

/// Within which time everything must have ended once nobody is killed any more.
const HEALED_WITHIN: Duration = Duration::from_secs(30);
/// The longest that one step may take while processes come and go.
const PATIENCE: Duration = Duration::from_secs(120);
/// What each has at the beginning, in cents.
const MONEY: i64 = 100_000_000;
/// How many pieces there are at the beginning.
const PIECES: u32 = 1_000_000;

const CREATE: &str = "order.v1.OrderService/CreateOrder";

/// Customers at work.
pub struct Crowd {
    place: watch::Sender<Client>,
    enough: Arc<AtomicBool>,
    served: Arc<AtomicUsize>,
    work: Vec<JoinHandle<Result<Customer>>>,
    good: Good,
}

/// Everything that is known of one customer.
struct Customer {
    person: Person,
    admin: Person,
    good: Good,
    /// Cards: approved, to be confirmed, and one whose first request is lost.
    cards: [Value; 3],
    place: watch::Receiver<Client>,
    /// How often anyone was served.
    served: Arc<AtomicUsize>,
    /// Cents that the wallet has paid.
    paid: i64,
    /// Thousandths of a bitcoin that were bought.
    bought: i64,
    /// Pieces that were kept.
    kept: i64,
    /// The orders that were answered.
    orders: Vec<String>,
}

impl Crowd {
    /// Lets so many customers begin.
    pub async fn gather(client: &Client, number: usize) -> Result<Self> {
        let admin = Person::admin(client).await?;
        let good = Good::stocked(&admin, "10", PIECES).await?;
        let (place, enough) = (watch::Sender::new(client.clone()), Arc::new(AtomicBool::new(false)));
        let served = Arc::new(AtomicUsize::new(0));
        let register = |_| Customer::register(client, &admin, &good, place.subscribe(), served.clone());
        let customers = join_all((0..number).map(register));
        let customers = customers.await.into_iter().collect::<Result<Vec<_>>>()?;
        let work = customers.into_iter().map(|customer| {
            let busy = customer.keep_busy(enough.clone());
            // Said at once: whoever kills may wait in vain for one who does nothing any more.
            tokio::spawn(async move { busy.await.inspect_err(|error| eprintln!("a customer gives up: {error:#}")) })
        });
        let work = work.collect();
        Ok(Self { place, enough, served, work, good })
    }

    /// Waits until so many more customers were served.
    pub async fn serves(&self, more: usize) {
        let enough = self.served.load(Relaxed) + more;
        within(PATIENCE, "customers are served", async || (self.served.load(Relaxed) >= enough).then_some(())).await;
    }

    /// Says where the platform is from now on.
    pub fn moved(&self, client: Client) {
        self.place.send_replace(client);
    }

    /// Says that nobody shall begin anything more.
    pub fn enough(&self) {
        self.enough.store(true, Relaxed);
    }

    /// Waits until everything has ended that was begun, and adds up. Gives back how many orders there were.
    pub async fn settle(self) -> Result<usize> {
        self.enough();
        let since = Instant::now();
        let ended = try_join_all(self.work).await.context("a customer has given up")?;
        let ended = ended.into_iter().collect::<Result<Vec<_>>>()?;
        ensure!(since.elapsed() < HEALED_WITHIN, "what was begun took {:?} to end", since.elapsed());
        let client = self.place.borrow().clone();
        invariants_hold(&client).await?;
        let (mut orders, mut kept) = (0, 0);
        for customer in &ended {
            customer.has_what_it_must().await?;
            orders += customer.orders.len();
            kept += customer.kept;
        }
        assert_eq!(self.good.available(&client).await?, i64::from(PIECES) - kept, "what was kept has left, once");
        Ok(orders)
    }
}

impl Customer {
    async fn register(
        client: &Client,
        admin: &Person,
        good: &Good,
        place: watch::Receiver<Client>,
        served: Arc<AtomicUsize>,
    ) -> Result<Self> {
        let person = Person::with_money(client, &kit::amount::format(MONEY, 2)).await?;
        let mut ids = Vec::new();
        for number in [cards::APPROVED, cards::NEEDS_ACTION, cards::LOST_REQUEST] {
            ids.push(person.card(number).await?["id"].clone());
        }
        let cards = ids.try_into().map_err(|_| anyhow::anyhow!("three cards"))?;
        let (admin, good) = (admin.clone(), good.clone());
        Ok(Self { person, admin, good, cards, place, served, paid: 0, bought: 0, kept: 0, orders: Vec::new() })
    }

    async fn keep_busy(mut self, enough: Arc<AtomicBool>) -> Result<Self> {
        while !enough.load(Relaxed) {
            let story = rand::rng().random_range(0..8);
            match story {
                0 | 1 => self.buys(story == 1).await?,
                2 => self.confirms().await?,
                3 | 4 => self.cancels(story == 4).await?,
                5 => self.cancels_what_nobody_heard().await?,
                6 => self.returns().await?,
                _ => self.trades().await?,
            }
            self.served.fetch_add(1, Relaxed);
        }
        Ok(self)
    }

    /// Asks under its key until it is answered, wherever the platform is by then.
    async fn ask(&self, who: &Person, rpc: &str, request: &Value) -> Answer {
        let patience = Patience::of(PATIENCE);
        loop {
            let client = self.place.borrow().clone();
            match who.on(&client).call(rpc, request.clone()).await {
                Err(refusal) if transient(&refusal) => patience.pause(&format!("{rpc} is answered: {refusal}")).await,
                answer => return answer,
            }
        }
    }

    /// Looks at something of this customer's until it is as it should be.
    async fn see(&self, rpc: &str, id: &Value, what: &str, holds: fn(&Value) -> bool) -> Answer {
        let patience = Patience::of(PATIENCE);
        loop {
            let client = self.place.borrow().clone();
            match self.person.on(&client).call(rpc, json!({"id": id})).await {
                Ok(shown) if holds(&shown) => return Ok(shown),
                Ok(shown) => patience.pause(&format!("{what}: {shown}")).await,
                Err(refusal) if transient(&refusal) || refusal.reason == "RESOURCE_NOT_FOUND" => {
                    patience.pause(&format!("{what}: {refusal}")).await;
                }
                Err(refusal) => return Err(refusal),
            }
        }
    }

    async fn order(&mut self, method: Option<&Value>) -> Result<Value> {
        let request = json!({
            "requestId": key(), "items": [self.good.times(1)], "shippingAddress": address(),
            "paymentMethodId": method.unwrap_or(&json!("")),
        });
        let order = self.ask(&self.person, CREATE, &request).await?["order"].clone();
        self.orders.push(text(&order["id"]).to_owned());
        Ok(order)
    }

    /// Waits until an order is carried out or undone, and notes what it has cost. Says whether it was carried out.
    async fn ended(&mut self, id: &Value) -> Result<(Value, bool)> {
        let over = |shown: &Value| {
            let ends = ["STATE_FULFILLED", "STATE_CANCELLED", "STATE_REJECTED"];
            ends.iter().any(|end| shown["order"]["state"] == *end)
        };
        let order = self.see("order.v1.OrderService/GetOrder", id, "the end", over).await?["order"].clone();
        let purchase = &order["purchase"];
        if order["state"] != "STATE_FULFILLED" {
            // Only who could not be served in time is sent away.
            let reasons = ["DEADLINE_EXCEEDED", "UNAVAILABLE", "SERIALIZATION_FAILURE", "LOCK_CONFLICT"];
            let reason = order["rejection"]["reason"].as_str().unwrap_or_default();
            ensure!(order["state"] == "STATE_CANCELLED" || reasons.contains(&reason), "{order}");
            return Ok((order, false));
        }
        ensure!(purchase["captured"] == purchase["total"], "{order}");
        self.kept += 1;
        if purchase["paymentMethodId"] == "" {
            self.paid += cents(&purchase["total"]);
        }
        Ok((order, true))
    }

    async fn buys(&mut self, by_card: bool) -> Result<()> {
        let order = self.order(by_card.then_some(&self.cards[0].clone())).await?;
        self.ended(&order["id"]).await.map(drop)
    }

    async fn confirms(&mut self) -> Result<()> {
        let order = self.order(Some(&self.cards[1].clone())).await?;
        let asked = |shown: &Value| {
            let order = &shown["order"];
            order["purchase"]["actionUrl"] != "" || order["state"] != "STATE_PENDING"
        };
        let rpc = "order.v1.OrderService/GetOrder";
        let shown = self.see(rpc, &order["id"], "what the buyer has to do", asked).await?["order"].clone();
        if shown["state"] == "STATE_PENDING" {
            let confirm = json!({"requestId": key(), "id": shown["purchase"]["paymentId"]});
            self.ask(&self.person, "payment.v1.PaymentService/ConfirmPayment", &confirm).await?;
        }
        self.ended(&order["id"]).await.map(drop)
    }

    async fn cancels(&mut self, by_card: bool) -> Result<()> {
        let order = self.order(by_card.then_some(&self.cards[0].clone())).await?;
        if rand::rng().random() {
            let confirmed = |shown: &Value| shown["order"]["state"] != "STATE_PENDING";
            self.see("order.v1.OrderService/GetOrder", &order["id"], "that it is confirmed", confirmed).await?;
        }
        self.cancel(&order).await
    }

    async fn cancels_what_nobody_heard(&mut self) -> Result<()> {
        let order = self.order(Some(&self.cards[2].clone())).await?;
        let payment = &order["purchase"]["paymentId"];
        self.see("payment.v1.PaymentService/GetPayment", payment, "any payment", |_| true).await?;
        self.cancel(&order).await
    }

    /// Cancels an order, which may be too late: then it is carried out.
    async fn cancel(&mut self, order: &Value) -> Result<()> {
        let request = json!({"requestId": key(), "id": order["id"]});
        let answer = self.ask(&self.person, "order.v1.OrderService/CancelOrder", &request).await;
        let (ended, kept) = self.ended(&order["id"]).await?;
        match answer {
            Ok(_) => ensure!(ended["state"] == "STATE_CANCELLED", "it was to be cancelled: {ended}"),
            Err(refusal) => ensure!(
                refusal.reason == "ORDER_NOT_CANCELLABLE" && (kept || ended["state"] == "STATE_REJECTED"),
                "{refusal}: {ended}"
            ),
        }
        Ok(())
    }

    async fn returns(&mut self) -> Result<()> {
        let by_card: bool = rand::rng().random();
        let order = self.order(by_card.then_some(&self.cards[0].clone())).await?;
        let (order, kept) = self.ended(&order["id"]).await?;
        if !kept {
            return Ok(());
        }
        let request = json!({"requestId": key(), "orderId": order["id"], "lines": [self.good.times(1)]});
        let announced = self.ask(&self.person, "order.v1.FulfillmentService/CreateReturn", &request).await?;
        let id = &announced["return"]["id"];
        let receive = json!({"requestId": key(), "id": id, "restock": true});
        self.ask(&self.admin, "order.v1.FulfillmentService/ReceiveReturn", &receive).await?;
        let refunded = |shown: &Value| shown["return"]["state"] == "STATE_REFUNDED";
        let shown = self.see("order.v1.FulfillmentService/GetReturn", id, "the refund", refunded).await?;
        let back = cents(&shown["return"]["amount"]);
        ensure!(back == cents(&order["purchase"]["lines"][0]["total"]), "{shown}");
        self.kept -= 1;
        if !by_card {
            self.paid -= back;
        }
        Ok(())
    }

    async fn trades(&mut self) -> Result<()> {
        let trade = json!({"side": "SIDE_BUY", "quantity": amount("0.001", "BTC")});
        let request = json!({"requestId": key(), "marketTrade": trade});
        let order = match self.ask(&self.person, CREATE, &request).await {
            Ok(reply) => reply["order"].clone(),
            // Prices come a moment after catalog does.
            Err(refusal) if refusal.reason.starts_with("PRICE_") => return Ok(()),
            Err(refusal) => return Err(refusal.into()),
        };
        ensure!(order["state"] == "STATE_FULFILLED", "{order}");
        self.orders.push(text(&order["id"]).to_owned());
        self.paid += cents(&order["trade"]["total"]);
        self.bought += 1;
        Ok(())
    }

    /// Compares what this customer has with what it must have.
    async fn has_what_it_must(&self) -> Result<()> {
        let client = self.place.borrow().clone();
        let person = self.person.on(&client);
        let wallet = person.call("ledger.v1.WalletService/GetWallet", json!({})).await?;
        let dollars = wallet["wallet"]["balances"].as_array().into_iter().flatten();
        let dollars = dollars.into_iter().find(|balance| balance["total"]["unit"] == "USD").context("dollars")?;
        assert_eq!(cents(&dollars["available"]), MONEY - self.paid, "charged once for everything: {wallet}");
        assert_eq!(dollars["held"], amount("0.00", "USD"), "nothing stays set aside");
        let bitcoin = atoms(&person.available("BTC").await?, 8);
        assert_eq!(bitcoin, self.bought * 100_000, "each trade was made once");
        let mut known = self.orders.clone();
        known.sort_unstable();
        let (mut listed, mut token) = (Vec::new(), json!(""));
        loop {
            let request = json!({"pageSize": 200, "pageToken": token});
            let page = person.call("order.v1.OrderService/ListOrders", request).await?;
            listed.extend(page["orders"].as_array().unwrap().iter().map(|order| text(&order["id"]).to_owned()));
            token = page["nextPageToken"].clone();
            if token == "" {
                break;
            }
        }
        listed.sort_unstable();
        assert_eq!(listed, known, "each request is one order, and every order that was answered is there");
        Ok(())
    }
}

fn cents(value: &Value) -> i64 {
    atoms(text(&value["value"]), 2)
}
