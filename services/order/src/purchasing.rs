//! Placing a purchase: priced by the catalog, noted in one unit, carried out afterwards.

use contracts::{
    catalog::v1::{
        Basket, Item, PricePurchaseRequest, PurchaseQuote, VerifyPurchaseQuoteRequest,
        pricing_service_client::PricingServiceClient,
    },
    order::v1::{self as api, create_order_request::Order as Asked},
    r#type::v1::Reason,
};
use kit::Error;
use storage::{Key, Unit};
use tonic::Status;
use tonic_types::StatusExt;

use crate::{
    Service,
    order::{Fact, Kind, Order},
    proto,
    purchase::Purchase,
    store::{self, Open},
};

impl Service {
    /// Places a purchase, and answers as soon as it is noted.
    pub(crate) async fn buy(
        &self,
        owner: &str,
        key: Option<Key>,
        request: api::CreateOrderRequest,
    ) -> Result<api::CreateOrderResponse, Error> {
        // Asked before anything is stored. What it refuses counts only if the key is free: a repeat gets its reply even
        // if the quote has expired since.
        let priced = self.price(owner, request).await;
        let mut placed = None;
        let reply = self.0.db.once(key, async |unit: &mut Unit| {
            let (purchase, quote_id) = priced?;
            let order = self.place(unit, owner, purchase, quote_id).await?;
            let reply = api::CreateOrderResponse { order: Some(proto::order(&order)) };
            placed = Some(order);
            Ok(reply)
        });
        let reply = reply.await?;
        if let Some(order) = placed {
            self.start(order);
        }
        Ok(reply)
    }

    /// Notes a new purchase within a unit. Call [`Service::start`] with it when the unit is committed.
    ///
    /// # Errors
    /// `QUOTE_INVALID` if the quote was used before.
    pub(crate) async fn place(
        &self,
        unit: &mut Unit,
        owner: &str,
        purchase: Purchase,
        quote_id: Option<String>,
    ) -> Result<Order, Error> {
        let id = kit::id::new("ord", unit.now());
        let kind = Kind::Purchase(purchase.named(&id)?);
        let deadline = Some(unit.now() + self.0.settings.carry_out_within);
        let (order, facts) = Order::place(id, owner.to_owned(), kind, quote_id, deadline, unit.now());
        let open = Open { order, request_key: None };
        self.insert(unit, &open, facts).await?;
        Ok(open.order)
    }

    /// Writes a new order.
    ///
    /// # Errors
    /// `QUOTE_INVALID` if the quote was used before.
    pub(crate) async fn insert(&self, unit: &mut Unit, open: &Open, facts: &[Fact]) -> Result<(), Error> {
        let events = facts.iter().map(|fact| proto::event(*fact, &open.order)).collect();
        if store::insert(unit, open, events, self.0.settings.reconcile_after).await? {
            return Ok(());
        }
        Err(Error::new(Reason::QuoteInvalid, "The quote was used for another order. Ask for a new one."))
    }

    /// What the catalog says about the goods: by the quote, or at the prices of the moment.
    async fn price(&self, owner: &str, request: api::CreateOrderRequest) -> Result<(Purchase, Option<String>), Error> {
        let api::CreateOrderRequest { order, items, shipping_address, payment_method_id, .. } = request;
        match order {
            Some(_) if !items.is_empty() => {
                let error = Error::new(Reason::InvalidField, "Name a quote or a trade, or else `items`: not both.");
                Err(error.violation("items", "must be empty beside a quote or a trade"))
            }
            Some(Asked::QuotedPurchase(quoted)) => {
                if !request.promotion_code.is_empty() || !request.currency.is_empty() {
                    let message = "A quote has its currency and its promotion. Ask for another quote to change them.";
                    let field = if request.currency.is_empty() { "promotion_code" } else { "currency" };
                    return Err(Error::new(Reason::InvalidField, message).violation(field, "must be empty for a quote"));
                }
                let request = VerifyPurchaseQuoteRequest { token: quoted.quote_token, owner_id: owner.to_owned() };
                let mut catalog = PricingServiceClient::new(self.0.catalog.clone());
                let reply = catalog.verify_purchase_quote(request).await?.into_inner();
                let quote = reply.quote.ok_or_else(unpriced)?;
                Ok((Purchase::of(quote, shipping_address, payment_method_id)?, Some(reply.quote_id)))
            }
            _ => {
                let item = |line: api::LineQuantity| Item { variant_id: line.variant_id, quantity: line.quantity };
                let basket = Basket {
                    items: items.into_iter().map(item).collect(),
                    currency: request.currency,
                    country_code: shipping_address.as_ref().map_or_else(String::new, |at| at.country_code.clone()),
                    promotion_code: request.promotion_code,
                };
                let quote = self.price_basket(basket, |_| true).await?;
                Ok((Purchase::of(quote, shipping_address, payment_method_id)?, None))
            }
        }
    }

    /// What goods cost at this moment. A refusal is in the names of the caller's request, as far as that `has` the fields.
    pub(crate) async fn price_basket(&self, basket: Basket, has: fn(&str) -> bool) -> Result<PurchaseQuote, Error> {
        let mut catalog = PricingServiceClient::new(self.0.catalog.clone());
        let request = PricePurchaseRequest { basket: Some(basket) };
        let reply = catalog.price_purchase(request).await.map_err(|status| as_ordered(status, has))?.into_inner();
        reply.quote.ok_or_else(unpriced)
    }
}

/// What the catalog says against a basket, as it is said of an order.
fn as_ordered(status: Status, has: fn(&str) -> bool) -> Error {
    let Ok(mut details) = status.check_error_details() else { return status.into() };
    let mut message = status.message().to_owned();
    if let Some(mut request) = details.bad_request().cloned() {
        for violation in &mut request.field_violations {
            let field = ordered(&violation.field);
            message = message.replace(&violation.field, &field);
            violation.field = field;
        }
        request.field_violations.retain(|violation| has(&violation.field));
        details.set_bad_request(request.field_violations);
    }
    if let Some(mut info) = details.error_info().cloned() {
        if let Some(field) = info.metadata.get_mut("field") {
            *field = ordered(field);
        }
        info.metadata.retain(|key, field| key != "field" || has(field));
        details.set_error_info(info.reason, info.domain, info.metadata);
    }
    Status::with_error_details(status.code(), message, details).into()
}

/// A field of a basket, as orders and checkouts name it.
fn ordered(field: &str) -> String {
    match field.strip_prefix("basket.") {
        Some("country_code") => "shipping_address.country_code".to_owned(),
        Some(own) => own.to_owned(),
        None => field.to_owned(),
    }
}

fn unpriced() -> Error {
    Error::internal("the catalog answers without a quote")
}
