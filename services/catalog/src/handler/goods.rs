//! Goods: what admins may change.

use std::collections::BTreeSet;

use contracts::catalog::v1::{self as proto, ProductArchived, ProductCreated, ProductUpdated, catalog_event::Event};
use kit::{Error, call::Call};
use storage::{Key, Unit as Write};

use crate::{
    Service,
    assets::CURRENCY,
    message::{self, invalid},
    product::{Form, Good, Kind, Product, State, TaxClass, Unit, Variant},
    store::goods,
};

/// A variant that is to be added, and what a piece of it costs: a currency and atoms of it.
type Draft = (Variant, Option<(Unit, i64)>);

impl Service {
    /// Adds a good with its variants.
    pub(super) async fn create_good(
        &self,
        call: &Call,
        request: proto::CreateProductRequest,
    ) -> Result<proto::CreateProductResponse, Error> {
        let key = Key::of(call, &request.request_id, &request);
        let currency = self.currency(CURRENCY).await?;
        let Some(kind) = message::kind_of(request.kind)?.filter(|kind| *kind != Kind::Asset) else {
            return Err(invalid("kind", "must be KIND_PHYSICAL_GOOD or KIND_DIGITAL_GOOD"));
        };
        let tax_class = match request.tax_class {
            0 => TaxClass::Standard,
            class => message::tax_class("tax_class", class)?,
        };
        let mut drafts = vec![];
        for (index, variant) in request.variants.into_iter().enumerate() {
            drafts.push(self.draft(variant, &currency, &format!("variants[{index}]")).await?);
        }
        let skus: BTreeSet<&str> = drafts.iter().map(|(variant, _)| variant.sku.as_str()).collect();
        if skus.is_empty() || skus.len() < drafts.len() {
            return Err(invalid("variants", "must have at least one, and no two of the same SKU"));
        }
        let reply = self.0.db.once(key, async |unit| {
            let variants = drafts.iter().map(|(variant, _)| variant.clone()).collect();
            let product = Product {
                id: kit::id::new("prd", unit.now()),
                form: Form::Good(Good { physical: kind == Kind::PhysicalGood, tax_class, variants }),
                name: request.name.clone(),
                description: request.description.clone(),
                category: request.category.clone(),
                state: State::Active,
                version: 1,
                create_time: unit.now(),
                update_time: unit.now(),
            };
            let words = goods::words(unit, &product).await?;
            goods::insert_products(unit, &[(product.clone(), words)]).await?;
            save_variants(unit, &goods::positioned(&product), &drafts).await?;
            goods::publish(unit, &product, &currency, Event::ProductCreated(ProductCreated {}))?;
            Ok(proto::CreateProductResponse { product: Some(message::product(&product, &currency)) })
        });
        reply.await
    }

    /// Changes what a good is called, how it is described, grouped and taxed.
    pub(super) async fn update_good(
        &self,
        call: &Call,
        request: proto::UpdateProductRequest,
    ) -> Result<proto::UpdateProductResponse, Error> {
        let key = Key::of(call, &request.request_id, &request);
        let currency = self.currency(CURRENCY).await?;
        let patch = request.product.ok_or_else(|| invalid("product", "is missing"))?;
        let mask = request.update_mask.unwrap_or_default().paths;
        let reply = self.0.db.once(key, async |unit| {
            let product = goods::load_for_update(unit, &patch.id).await?;
            product.check_etag(&patch.etag)?;
            let now = unit.now();
            let product = match product.change(&patch, &mask, now)? {
                None => product,
                Some(next) => {
                    goods::save(unit, &next).await?;
                    goods::publish(unit, &next, &currency, Event::ProductUpdated(ProductUpdated {}))?;
                    next
                }
            };
            Ok(proto::UpdateProductResponse { product: Some(message::product(&product, &currency)) })
        });
        reply.await
    }

    /// Takes a good off sale.
    pub(super) async fn archive_good(
        &self,
        call: &Call,
        request: proto::ArchiveProductRequest,
    ) -> Result<proto::ArchiveProductResponse, Error> {
        let key = Key::of(call, &request.request_id, &request);
        let currency = self.currency(CURRENCY).await?;
        let reply = self.0.db.once(key, async |unit| {
            let product = goods::load_for_update(unit, &request.id).await?;
            product.check_etag(&request.etag)?;
            let product = product.archive(unit.now())?;
            goods::archive_variants(unit, &product.id, None).await?;
            goods::save(unit, &product).await?;
            let archived = ProductArchived { variant_id: String::new() };
            goods::publish(unit, &product, &currency, Event::ProductArchived(archived))?;
            Ok(proto::ArchiveProductResponse { product: Some(message::product(&product, &currency)) })
        });
        reply.await
    }

    /// Adds a variant to a good.
    pub(super) async fn add_variant(
        &self,
        call: &Call,
        request: proto::CreateVariantRequest,
    ) -> Result<proto::CreateVariantResponse, Error> {
        let key = Key::of(call, &request.request_id, &request);
        let currency = self.currency(CURRENCY).await?;
        let variant = request.variant.ok_or_else(|| invalid("variant", "is missing"))?;
        let draft = self.draft(variant, &currency, "variant").await?;
        let reply = self.0.db.once(key, async |unit| {
            let now = unit.now();
            let product = goods::load_for_update(unit, &request.product_id).await?;
            product.check_etag(&request.etag)?;
            let product = product.with_variant(draft.0.clone(), now)?;
            let added = goods::positioned(&product).split_off(product.variants().len() - 1);
            save_variants(unit, &added, std::slice::from_ref(&draft)).await?;
            goods::save(unit, &product).await?;
            goods::publish(unit, &product, &currency, Event::ProductUpdated(ProductUpdated {}))?;
            Ok(proto::CreateVariantResponse { product: Some(message::product(&product, &currency)) })
        });
        reply.await
    }

    /// Takes one variant of a good off sale.
    pub(super) async fn archive_one_variant(
        &self,
        call: &Call,
        request: proto::ArchiveVariantRequest,
    ) -> Result<proto::ArchiveVariantResponse, Error> {
        let key = Key::of(call, &request.request_id, &request);
        let currency = self.currency(CURRENCY).await?;
        let reply = self.0.db.once(key, async |unit| {
            let now = unit.now();
            let product = goods::load_of_variant(unit, &request.id).await?;
            product.check_etag(&request.etag)?;
            let product = product.archive_variant(&request.id, now)?;
            goods::archive_variants(unit, &product.id, Some(&request.id)).await?;
            goods::save(unit, &product).await?;
            let archived = ProductArchived { variant_id: request.id.clone() };
            goods::publish(unit, &product, &currency, Event::ProductArchived(archived))?;
            Ok(proto::ArchiveVariantResponse { product: Some(message::product(&product, &currency)) })
        });
        reply.await
    }

    /// The variant that a request describes in this field.
    async fn draft(&self, new: proto::NewVariant, platform: &Unit, field: &str) -> Result<Draft, Error> {
        let price = match &new.list_price {
            Some(price) => Some(self.money(price, &format!("{field}.list_price")).await?),
            None => None,
        };
        let shown = price.as_ref().filter(|(currency, _)| currency == platform).map(|(_, atoms)| *atoms);
        let id = kit::id::new("var", self.0.db.clock().now());
        let variant = Variant { id, sku: new.sku, title: new.title, state: State::Active, list_price: shown };
        Ok((variant, price))
    }
}

/// Saves new variants and what they cost from now on.
async fn save_variants(unit: &mut Write, variants: &[(&str, i64, &Variant)], drafts: &[Draft]) -> Result<(), Error> {
    goods::insert_variants(unit, variants).await?;
    let price = |(variant, price): &'_ Draft| {
        price.as_ref().map(|(currency, atoms)| (variant.id.clone(), currency.code.clone(), *atoms))
    };
    let prices: Vec<(String, String, i64)> = drafts.iter().filter_map(price).collect();
    let prices: Vec<(&str, &str, i64)> =
        prices.iter().map(|(id, code, atoms)| (id.as_str(), code.as_str(), *atoms)).collect();
    let now = unit.now();
    goods::insert_prices(unit, &prices, now).await
}
