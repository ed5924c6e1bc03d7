//! Goods with prices, for a catalog in memory that looks at what is asked.

use std::{
    collections::HashMap,
    sync::{Arc, Mutex},
};

use contracts::{
    catalog::v1::{self as catalog, PurchaseQuote, QuoteLine, product},
    r#type::v1::Reason,
};
use kit::Error;
use tonic::Status;

use super::amount;

/// What is on sale, at which price in cents. Nobody looks here before something was put on it.
#[derive(Clone, Default)]
pub struct Shelf(Arc<Mutex<Goods>>);

#[derive(Default)]
struct Goods {
    prices: HashMap<String, i64>,
    used: bool,
    calls: usize,
}

impl Shelf {
    /// Puts a variant on sale.
    pub fn put(&self, variant_id: &str, cents: i64) {
        let mut goods = self.0.lock().unwrap();
        goods.prices.insert(variant_id.to_owned(), cents);
        goods.used = true;
    }

    /// Takes a variant off sale.
    pub fn take(&self, variant_id: &str) {
        self.0.lock().unwrap().prices.remove(variant_id);
    }

    /// How often it was asked since the last time.
    pub fn calls(&self) -> usize {
        std::mem::take(&mut self.0.lock().unwrap().calls)
    }

    /// What a basket costs, if this shelf is in use.
    pub fn price(&self, request: &catalog::PricePurchaseRequest) -> Option<Result<PurchaseQuote, Status>> {
        let mut goods = self.0.lock().unwrap();
        if !goods.used {
            return None;
        }
        goods.calls += 1;
        let usd = |cents| amount(&kit::amount::format(cents, 2), "USD");
        let (mut lines, mut sum) = (Vec::new(), 0);
        let items = &request.basket.as_ref().unwrap().items;
        let gone: Vec<&str> = items.iter().map(|item| item.variant_id.as_str()).collect();
        let gone: Vec<&str> = gone.into_iter().filter(|id| !goods.prices.contains_key(*id)).collect();
        if let Some(first) = gone.first() {
            let error = Error::new(Reason::ProductUnavailable, "It is not on sale. Leave it out.");
            return Some(Err(error.with("variant", *first).with("variants", gone.join(",")).into()));
        }
        for item in items {
            let cents = &goods.prices[&item.variant_id];
            sum += item.quantity * cents;
            lines.push(QuoteLine {
                variant_id: item.variant_id.clone(),
                title: format!("Good {}", &item.variant_id[..8]),
                kind: product::Kind::DigitalGood.into(),
                quantity: item.quantity,
                unit_price: usd(*cents),
                total: usd(item.quantity * cents),
                ..Default::default()
            });
        }
        let (subtotal, discount, total) = (usd(sum), usd(100), usd(sum));
        Some(Ok(PurchaseQuote { lines, subtotal, discount, total, ..Default::default() }))
    }
}
