//! What was charged, in writing.

use std::collections::BTreeSet;

use contracts::{
    catalog::v1::PurchaseQuote,
    order::v1::{Invoice, invoice_service_server::InvoiceService, order::State},
    r#type::v1::Tax,
};
use proptest::prelude::*;
use storage::{Session, Unit};

use super::{fakes::cents, *};
use crate::{
    invoice::{self, Subject},
    invoice_clerk,
    purchase::Purchase,
};

/// A good: how many pieces, the price of one, what is taken off the line, and the rate of its tax.
type Taxed = (i64, i64, i64, i32);

/// What taxed goods cost, with shipping at the highest of their rates.
fn taxed(goods: &[Taxed], shipping: i64) -> PurchaseQuote {
    let usd = |cents| amount(&kit::amount::format(cents, 2), "USD");
    let tax_of = |net: i64, bps: i32| net * i64::from(bps) / 10_000;
    let (mut total, mut tax, mut rates) = (0, 0, std::collections::BTreeMap::<i32, (i64, i64)>::new());
    let mut lines = Vec::new();
    for (number, (quantity, price, discount, bps)) in goods.iter().enumerate() {
        let net = quantity * price - discount;
        let line_tax = tax_of(net, *bps);
        (total, tax) = (total + net + line_tax, tax + line_tax);
        let rate = rates.entry(*bps).or_default();
        *rate = (rate.0 + net, rate.1 + line_tax);
        lines.push(QuoteLine {
            variant_id: variant(&number.to_string()),
            sku: format!("SKU-{number}"),
            title: format!("Good {number}"),
            kind: product::Kind::PhysicalGood.into(),
            quantity: *quantity,
            unit_price: usd(*price),
            discount: usd(*discount),
            tax: usd(line_tax),
            total: usd(net + line_tax),
            tax_bps: *bps,
            ..Default::default()
        });
    }
    let bps = goods.iter().map(|(.., bps)| *bps).max().unwrap_or_default();
    let shipping_tax = tax_of(shipping, bps);
    if shipping > 0 {
        let rate = rates.entry(bps).or_default();
        *rate = (rate.0 + shipping, rate.1 + shipping_tax);
    }
    let taxes = rates.into_iter().map(|(rate_bps, (base, tax))| Tax {
        title: format!("VAT {}", invoice::percent(rate_bps)),
        rate_bps,
        base: usd(base),
        amount: usd(tax),
    });
    PurchaseQuote {
        lines,
        shipping: usd(shipping),
        tax: usd(tax + shipping_tax),
        total: usd(total + shipping + shipping_tax),
        taxes: taxes.collect(),
        ..Default::default()
    }
}

/// Ships piece by piece, parcel by parcel, and writes the invoice of each.
fn ship_in_parcels(quote: PurchaseQuote, parcels: &[Vec<usize>]) -> Vec<Invoice> {
    install();
    let mut bought = Purchase::of(quote, Some(address()), String::new()).unwrap();
    let (mut shipments, mut invoices) = (Vec::new(), Vec::new());
    for picks in parcels.iter().map(Some).chain([None]) {
        let mut wanted = Vec::new();
        for pick in picks.into_iter().flatten() {
            let left = bought.cancel_of(&wanted);
            if let Some(one) = left.get(pick % left.len().max(1)) {
                wanted.push(api::LineQuantity { quantity: 1, ..one.clone() });
            }
        }
        if bought.left().is_empty() || (picks.is_some() && wanted.is_empty()) {
            continue;
        }
        let (after, lines, charged) = bought.ship(&wanted).unwrap();
        let shipment = api::Shipment {
            id: format!("shp_{}", shipments.len()),
            lines,
            amount: Some(charged),
            ..Default::default()
        };
        shipments.push(shipment.clone());
        let before = invoice::shipped_before(&shipments, &shipment);
        let subject = Subject { purchase: bought.message(), shipment: &shipment, before: &before };
        invoices.push(invoice::write(&subject, String::new(), String::new(), Timestamp::default()).unwrap());
        bought = after;
    }
    invoices
}

impl Purchase {
    /// What is left beside these pieces.
    fn cancel_of(&self, wanted: &[api::LineQuantity]) -> Vec<api::LineQuantity> {
        if wanted.is_empty() {
            return self.left();
        }
        self.ship(wanted).map(|(after, ..)| after.left()).unwrap_or_default()
    }
}

fn sum<'a>(amounts: impl IntoIterator<Item = &'a Option<Amount>>) -> i64 {
    amounts.into_iter().map(|amount| cents(amount.as_ref())).sum()
}

#[test]
fn an_invoice_says_price_discount_and_tax_of_each_line_and_shipping() {
    let quote = taxed(&[(3, 1_000, 100, 1_900), (2, 500, 0, 700), (1, 250, 0, 0)], 499);
    let [written] = ship_in_parcels(quote, &[]).try_into().unwrap();
    let shown: Vec<String> = written
        .lines
        .iter()
        .map(|line| {
            let cents = [&line.unit_price, &line.discount, &line.net, &line.tax].map(|amount| cents(amount.as_ref()));
            format!("{} x{} {cents:?} {}", line.title, line.quantity, line.tax_bps)
        })
        .collect();
    let [first, second, third, shipping] = shown.try_into().unwrap();
    let mut goods = [first, second, third];
    goods.sort();
    assert_eq!(
        goods,
        ["Good 0 x3 [1000, 100, 2900, 551] 1900", "Good 1 x2 [500, 0, 1000, 70] 700", "Good 2 x1 [250, 0, 250, 0] 0",]
    );
    assert_eq!(shipping, "Shipping x1 [499, 0, 499, 94] 1900");
    let taxes: Vec<_> =
        written.taxes.iter().map(|tax| (tax.title.as_str(), sum([&tax.base]), sum([&tax.amount]))).collect();
    assert_eq!(taxes, [("VAT 19 %", 3_399, 645), ("VAT 7 %", 1_000, 70)]);
    assert_eq!((sum([&written.net]), sum([&written.total])), (4_649, 5_364));
}

#[test]
fn a_rate_is_written_as_people_do() {
    for (bps, text) in [(0, "0 %"), (700, "7 %"), (1_950, "19.5 %"), (1_925, "19.25 %"), (5, "0.05 %")] {
        assert_eq!(invoice::percent(bps), text);
    }
    assert_eq!([invoice::number(2026, 42), invoice::number(2026, 1_234_567)], ["2026-000042", "2026-1234567"]);
}

fn goods() -> impl Strategy<Value = Vec<Taxed>> {
    let good = (1_i64..9, 0_i64..5_000, 0_i64..=10_000, prop::sample::select(vec![0, 550, 700, 1_900]));
    let shared =
        |(quantity, price, share, bps): (i64, i64, i64, i32)| (quantity, price, quantity * price * share / 10_000, bps);
    prop::collection::vec(good.prop_map(shared), 1..5)
}

proptest! {
    #[test]
    fn the_invoices_of_an_order_sum_to_the_order_and_each_to_what_was_charged(
        goods in goods(),
        shipping in 0_i64..1_000,
        parcels in prop::collection::vec(prop::collection::vec(0_usize..8, 0..6), 0..5),
    ) {
        let quote = taxed(&goods, shipping);
        let invoices = ship_in_parcels(quote.clone(), &parcels);
        for written in &invoices {
            let (net, tax) = (sum(written.lines.iter().map(|line| &line.net)), sum(written.lines.iter().map(|line| &line.tax)));
            prop_assert_eq!(net, sum([&written.net]));
            prop_assert_eq!(net + tax, sum([&written.total]));
            prop_assert_eq!(tax, sum(written.taxes.iter().map(|tax| &tax.amount)));
            for line in &written.lines {
                let [price, discount, net, tax] =
                    [&line.unit_price, &line.discount, &line.net, &line.tax].map(|amount| sum([amount]));
                prop_assert_eq!(line.quantity * price - discount, net);
                prop_assert!(discount >= 0 && tax >= 0 && net >= 0, "{:?}", line);
            }
        }
        let lines = || invoices.iter().flat_map(|written| &written.lines);
        prop_assert_eq!(invoices.iter().map(|written| sum([&written.total])).sum::<i64>(), sum([&quote.total]));
        for (number, (quantity, ..)) in goods.iter().enumerate() {
            let sku = format!("SKU-{number}");
            let shipped: i64 = lines().filter(|line| line.sku == sku).map(|line| line.quantity).sum();
            prop_assert_eq!(shipped, *quantity);
        }
    }
}

impl Bench {
    /// Someone's order that was shipped.
    async fn shipped(&self, owner: &str) -> api::Order {
        self.catalog.sell(taxed(&[(1, 1_000, 0, 1_900)], 0));
        let bought = api::CreateOrderRequest { items: vec![pieces("0", 1)], ..items() };
        let order = self.create(owner, bought).await.unwrap();
        self.reaches(owner, &order.id, State::Confirmed).await;
        self.ship(&order.id, &[]).await.unwrap();
        self.reaches(owner, &order.id, State::Fulfilled).await
    }

    async fn invoices(&self, owner: &str) -> Vec<Invoice> {
        let request = Request::new(api::ListInvoicesRequest::default());
        answer(user_call(owner), self.service.list_invoices(request)).await.unwrap().invoices
    }
}

#[tokio::test]
async fn what_was_shipped_gets_one_invoice_that_its_owner_alone_can_read() {
    for bench in Bench::each_patient().await {
        let (me, you) = (user(), user());
        let order = bench.shipped(&me).await;
        assert_eq!(invoice_clerk::work(&bench.service).await.unwrap(), 1);
        assert_eq!(invoice_clerk::work(&bench.service).await.unwrap(), 0);
        let [written] = bench.invoices(&me).await.try_into().unwrap();
        assert_eq!((written.number.as_str(), &written.order_id), ("2027-000001", &order.id));
        assert_eq!((&written.total, &written.address), (&amount("11.90", "USD"), &Some(address())));
        let get = || Request::new(api::GetInvoiceRequest { id: written.id.clone() });
        let read = answer(user_call(&me), bench.service.get_invoice(get())).await.unwrap();
        assert_eq!(read.invoice, Some(written.clone()));
        let error = answer(user_call(&you), bench.service.get_invoice(get())).await.unwrap_err();
        assert_eq!(error.reason(), "RESOURCE_NOT_FOUND");
        assert!(bench.invoices(&you).await.is_empty());
        let download = || Request::new(api::DownloadInvoiceRequest { id: written.id.clone() });
        let pdf = answer(user_call(&me), bench.service.download_invoice(download())).await.unwrap().pdf.unwrap();
        assert!(pdf.content_type == "application/pdf" && pdf.data.starts_with(b"%PDF-"));
        let error = answer(user_call(&you), bench.service.download_invoice(download())).await.unwrap_err();
        assert_eq!(error.reason(), "RESOURCE_NOT_FOUND");
    }
}

#[tokio::test]
async fn a_written_invoice_is_told_without_the_address() {
    for bench in Bench::each_patient().await {
        bench.shipped(&user()).await;
        invoice_clerk::work(&bench.service).await.unwrap();
        const FACT: &str = "SELECT payload, sequence FROM outbox WHERE aggregate LIKE 'inv%'";
        let rows = bench.db.read(async |session: &mut Session| session.rows(FACT, &[]).await).await.unwrap();
        let [row] = rows.as_slice() else { panic!("one fact") };
        let payload = row.bytes(0).unwrap();
        assert!(!payload.windows(7).any(|part| part == b"Utrecht"));
        let event: api::OrderEvent = prost::Message::decode(payload.as_slice()).unwrap();
        let Some(api::order_event::Event::InvoiceIssued(issued)) = event.event else { panic!("{event:?}") };
        assert_eq!((issued.number.as_str(), row.int(1).unwrap()), ("2027-000001", 1));
        assert_eq!(event.order.unwrap().state(), State::Fulfilled);
    }
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn however_many_clerks_write_the_numbers_have_no_gap_and_no_shipment_two_invoices() {
    for bench in Bench::each_patient().await {
        let me = user();
        for round in 0..4 {
            for _ in 0..3 {
                bench.shipped(&me).await;
            }
            let clerk = async |_| loop {
                match invoice_clerk::work(&bench.service).await {
                    Err(error) if error.reason() == "SERIALIZATION_FAILURE" => {}
                    done => return done.unwrap(),
                }
            };
            let written: usize = futures::future::join_all((0..4).map(clerk)).await.into_iter().sum();
            assert_eq!(written, 3, "round {round}");
        }
        let invoices = bench.invoices(&me).await;
        let numbers: BTreeSet<String> = invoices.iter().map(|invoice| invoice.number.clone()).collect();
        assert_eq!(numbers, (1..=12).map(|count| invoice::number(2027, count)).collect());
        let shipments: BTreeSet<&String> = invoices.iter().map(|invoice| &invoice.shipment_id).collect();
        assert_eq!((invoices.len(), shipments.len()), (12, 12));
    }
}

#[tokio::test]
async fn each_year_begins_with_one() {
    for bench in Bench::each_patient().await {
        let me = user();
        for _ in 0..2 {
            bench.shipped(&me).await;
            invoice_clerk::work(&bench.service).await.unwrap();
            bench.clock.advance(Duration::from_secs(366 * 24 * 3_600));
        }
        let numbers: Vec<String> = bench.invoices(&me).await.into_iter().map(|invoice| invoice.number).collect();
        assert_eq!(numbers, ["2028-000001", "2027-000001"]);
    }
}

#[tokio::test]
async fn one_that_cannot_be_written_keeps_no_other_waiting_and_takes_no_number() {
    const SPOIL: &str = "UPDATE shipments SET order_id = 'ord_gone', content = $1";
    for bench in Bench::each_patient().await {
        let me = user();
        bench.shipped(&me).await;
        let lost = api::Shipment { id: "shp_lost".into(), order_id: "ord_gone".into(), ..Default::default() };
        let content = prost::Message::encode_to_vec(&lost);
        bench.db.write(async |unit: &mut Unit| unit.exec(SPOIL, &[content.into()]).await).await.unwrap();
        bench
            .db
            .write(async |unit: &mut Unit| unit.exec("UPDATE shipments SET id = 'shp_lost'", &[]).await)
            .await
            .unwrap();
        bench.shipped(&me).await;
        assert_eq!(invoice_clerk::work(&bench.service).await.unwrap(), 2);
        let numbers: Vec<String> = bench.invoices(&me).await.into_iter().map(|invoice| invoice.number).collect();
        assert_eq!(numbers, ["2027-000001"]);
        assert_eq!(invoice_clerk::work(&bench.service).await.unwrap(), 0);
    }
}

#[tokio::test]
async fn an_order_with_too_many_shipments_keeps_no_other_from_its_invoices() {
    const PLANT: &str = "INSERT INTO shipments (id, order_id, owner, state, content, update_time)
        WITH RECURSIVE numbers (n) AS (SELECT 1 UNION ALL SELECT n + 1 FROM numbers WHERE n < 10000)
        SELECT 'shp_' || CAST(n AS TEXT), $1, 'usr_1', 'CANCELLED', $2, 1 FROM numbers";
    for bench in Bench::each_patient().await {
        let me = user();
        let split = bench.shipped(&me).await.id;
        let other = bench.shipped(&me).await.id;
        let plant = async |unit: &mut Unit| unit.exec(PLANT, &[(&split).into(), Vec::<u8>::new().into()]).await;
        assert_eq!(bench.db.write(plant).await.unwrap(), 10_000);
        assert_eq!(invoice_clerk::work(&bench.service).await.unwrap(), 2);
        let of = async |order_id: &str| {
            let list = async |session: &mut Session| {
                crate::invoice_store::list(session, &Scope::All, Some(order_id), None, 10).await
            };
            bench.db.read(list).await.unwrap().len()
        };
        assert_eq!((of(&split).await, of(&other).await), (0, 1));
    }
}

#[tokio::test]
async fn many_invoices_cost_one_commit_and_few_statements() {
    for bench in Bench::each_patient().await {
        let me = user();
        for _ in 0..10 {
            bench.shipped(&me).await;
        }
        let before = bench.db.stats();
        assert_eq!(invoice_clerk::work(&bench.service).await.unwrap(), 10);
        let after = bench.db.stats();
        assert_eq!(after.commits - before.commits, 1);
        // On SQLite each fact is a statement of its own.
        let statements = after.statements - before.statements;
        assert!(statements <= 8 + 10, "{statements} statements");
    }
}

#[tokio::test]
async fn pages_of_invoices_have_everything_once() {
    for bench in Bench::each_patient().await {
        let me = user();
        let mut orders = Vec::new();
        for _ in 0..5 {
            orders.push(bench.shipped(&me).await.id);
            invoice_clerk::work(&bench.service).await.unwrap();
            bench.clock.advance(Duration::from_secs(1));
        }
        let (mut seen, mut page_token) = (Vec::new(), String::new());
        loop {
            let request = api::ListInvoicesRequest { page_size: 2, page_token, order_id: String::new() };
            let page = answer(user_call(&me), bench.service.list_invoices(Request::new(request))).await.unwrap();
            seen.extend(page.invoices.into_iter().map(|invoice| invoice.order_id));
            page_token = page.next_page_token;
            if page_token.is_empty() {
                break;
            }
        }
        orders.reverse();
        assert_eq!(seen, orders);
        let request = api::ListInvoicesRequest { order_id: orders[1].clone(), ..Default::default() };
        let of_order = answer(user_call(&me), bench.service.list_invoices(Request::new(request))).await.unwrap();
        assert_eq!(of_order.invoices.len(), 1);
    }
}
