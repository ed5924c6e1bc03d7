//! What only services may ask for: a workload with a certificate of its own, past the edge, meets the refusals that the
//! platform's own services never provoke. Each has the code of the contract, and nothing moves.

use anyhow::{Context, Result};
use contracts::{
    inventory::v1::{
        CreateReservationRequest, PinReservationRequest, ReleaseReservationRequest, ReservationLine,
        inventory_service_client::InventoryServiceClient,
    },
    ledger::v1::{
        CreateHoldRequest, Entry, PostHoldRequest, PostTransactionRequest, VoidHoldRequest,
        ledger_service_client::LedgerServiceClient,
    },
    payment::v1::{
        CapturePaymentRequest, ProcessPaymentRequest, VoidPaymentRequest, payment_service_client::PaymentServiceClient,
    },
    r#type::v1::Amount,
};
use kit::link::Link;
use serde_json::json;
use tonic::{Response, Status};

use crate::{
    client::{Client, Protocol},
    doors::Door,
    people::Person,
    platform::{Platform, Shape, eventually, key},
    shop::Good,
};

fn id(prefix: &str) -> String {
    kit::id::new(prefix, kit::Clock::system().now())
}

fn dollars(value: &str) -> Option<Amount> {
    Some(Amount { value: value.to_owned(), unit: "USD".to_owned() })
}

/// Checks a refusal against the contract.
fn refused<T>(client: &Client, answer: Result<Response<T>, Status>, reason: &str) {
    let status = answer.err().unwrap_or_else(|| panic!("{reason}: the call went through"));
    let (code, error) = (status.code(), kit::Error::from(status));
    assert_eq!(error.reason(), reason, "{error}");
    assert_eq!(code, client.contract().reason_named(reason).expect("it is in the contract").code, "{error}");
    assert!(!error.message().is_empty());
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_workload_that_asks_for_what_cannot_be_is_refused_and_nothing_moves() -> Result<()> {
    let platform = Platform::start(Shape::Roles).await?;
    let client = platform.client(Protocol::Grpc)?;
    let (order, payment) = (Door::joined(&platform, "order").await?, Door::joined(&platform, "payment").await?);
    let admin = Person::admin(&client).await?;
    let (person, good) = (Person::with_money(&client, "100").await?, Good::stocked(&admin, "10", 5).await?);
    reservations(&client, order.link(), &good).await?;
    payments(&client, order.link(), &person).await?;
    holds(&client, payment.link(), &person).await?;
    transactions(&client, payment.link(), &person).await?;
    assert_eq!(good.available(&client).await?, 5);
    for rpc in [
        "inventory.v1.InventoryService/VerifyStock",
        "payment.v1.PaymentService/VerifyPayments",
        "ledger.v1.LedgerService/VerifyLedger",
    ] {
        let found = admin.call(rpc, json!({})).await?;
        assert_eq!(found["holds"], true, "{rpc}: {found}");
    }
    Ok(())
}

async fn reservations(client: &Client, link: Link, good: &Good) -> Result<()> {
    let mut inventory = InventoryServiceClient::new(link);
    let reserve = |lifetime_seconds| CreateReservationRequest {
        id: id("rsv"),
        reference: "a test".to_owned(),
        lines: vec![ReservationLine { variant_id: good.variant.clone(), quantity: 2, committed: 0 }],
        lifetime_seconds,
    };
    let (released, expired) = (reserve(60), reserve(1));
    inventory.create_reservation(released.clone()).await?;
    inventory.create_reservation(expired.clone()).await?;
    let release = ReleaseReservationRequest { id: released.id.clone(), reference: released.reference };
    inventory.release_reservation(release).await?;
    let pin = PinReservationRequest { id: released.id };
    refused(client, inventory.pin_reservation(pin).await, "RESERVATION_NOT_HELD");
    // Its time is over before anybody has swept it.
    eventually("the goods can be had again", async || (good.available(client).await.ok()? == 5).then_some(())).await;
    let pin = PinReservationRequest { id: expired.id };
    refused(client, inventory.pin_reservation(pin).await, "RESERVATION_EXPIRED");
    Ok(())
}

async fn payments(client: &Client, link: Link, person: &Person) -> Result<()> {
    let mut payments = PaymentServiceClient::new(link);
    let (order_id, owner_id) = (id("ord"), person.id.clone());
    let request = ProcessPaymentRequest {
        id: id("pay"),
        order_id: order_id.clone(),
        owner_id: owner_id.clone(),
        amount: dollars("10.00"),
        payment_method_id: String::new(),
    };
    let id_of = request.id.clone();
    payments.process_payment(request).await?;
    let take = |value| CapturePaymentRequest {
        id: id_of.clone(),
        shipment_id: id("shp"),
        amount: dollars(value),
        r#final: false,
    };
    refused(client, payments.capture_payment(take("10.01")).await, "CAPTURE_EXCEEDS_AUTHORIZED");
    assert_eq!(person.available("USD").await?, "90.00", "it stays secured, and no more");
    payments.void_payment(VoidPaymentRequest { id: id_of.clone(), order_id, owner_id }).await?;
    refused(client, payments.capture_payment(take("1.00")).await, "INVALID_STATE_TRANSITION");
    assert_eq!(person.available("USD").await?, "100.00");
    Ok(())
}

async fn holds(client: &Client, link: Link, person: &Person) -> Result<()> {
    let mut ledger = LedgerServiceClient::new(link);
    let now = kit::Clock::system().now();
    let hold = |seconds| CreateHoldRequest {
        id: id("hld"),
        owner_id: person.id.clone(),
        amount: dollars("10.00"),
        reference: "a test".to_owned(),
        expire_time: Some((now + std::time::Duration::from_secs(seconds)).to_proto()),
    };
    let (posted, voided, expired) = (hold(600), hold(600), hold(1));
    for hold in [&posted, &voided, &expired] {
        ledger.create_hold(hold.clone()).await?;
    }
    let post = |hold: &CreateHoldRequest, value| PostHoldRequest {
        id: hold.id.clone(),
        transaction_id: id("txn"),
        amount: dollars(value),
        to_account: "house/sales".to_owned(),
        kind: "purchase".to_owned(),
        r#final: true,
    };
    refused(client, ledger.post_hold(post(&posted, "10.01")).await, "EXCEEDS_HOLD");
    ledger.post_hold(post(&posted, "1.00")).await?;
    refused(client, ledger.post_hold(post(&posted, "1.00")).await, "HOLD_ALREADY_POSTED");
    ledger.void_hold(VoidHoldRequest { id: voided.id.clone() }).await?;
    refused(client, ledger.post_hold(post(&voided, "1.00")).await, "HOLD_ALREADY_VOIDED");
    eventually("the money is available again", async || (person.available("USD").await.ok()? == "99.00").then_some(()))
        .await;
    refused(client, ledger.post_hold(post(&expired, "1.00")).await, "HOLD_EXPIRED");
    assert_eq!(person.available("USD").await?, "99.00", "one dollar was taken, once");
    Ok(())
}

async fn transactions(client: &Client, link: Link, person: &Person) -> Result<()> {
    let mut ledger = LedgerServiceClient::new(link);
    let entry = |owner: &str, value| Entry { owner: owner.to_owned(), amount: dollars(value) };
    let request = PostTransactionRequest {
        request_id: key(),
        kind: "refund".to_owned(),
        reference: "a test".to_owned(),
        entries: vec![entry("house/sales", "-1.00"), entry(&person.id, "2.00")],
    };
    refused(client, ledger.post_transaction(request).await, "UNBALANCED_TRANSACTION");
    let wallet = person.call("ledger.v1.WalletService/GetWallet", json!({})).await?;
    let total = &wallet["wallet"]["balances"].as_array().context("balances")?[0]["total"]["value"];
    assert_eq!(total, "99.00");
    Ok(())
}
