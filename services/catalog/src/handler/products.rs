//! Products: what everyone may read.

use contracts::{
    catalog::v1::{self as proto, asset_service_server::AssetService, product_service_server::ProductService},
    r#type::v1::{Amount, Reason},
};
use kit::{Error, amount, call::Call};
use storage::{Session, page::page_size};
use tonic::{Request, Response};

use super::Reply;
use crate::{
    Service,
    assets::CURRENCY,
    message,
    product::{Kind, Product, Query},
    store::{self, Filter},
};

#[tonic::async_trait]
impl ProductService for Service {
    async fn get_product(&self, request: Request<proto::GetProductRequest>) -> Reply<proto::GetProductResponse> {
        let product = self.load(&request.into_inner().id, |_| true).await?;
        Ok(Response::new(proto::GetProductResponse { product: Some(product) }))
    }

    async fn list_products(&self, request: Request<proto::ListProductsRequest>) -> Reply<proto::ListProductsResponse> {
        let request = request.into_inner();
        let (size, kind) = (page_size(request.page_size)?, message::kind_of(request.kind)?);
        let price = self.price_range(request.price_min.as_ref(), request.price_max.as_ref()).await?;
        let scope = format!("products {:?}", (&request.category, kind.map(Kind::as_str), &price));
        let after = match self.0.pages.decode(&request.page_token, &scope)?.as_deref() {
            None => (String::new(), String::new()),
            Some([name, id]) => (name.clone(), id.clone()),
            Some(_) => return Err(Error::internal("a page token of this list has other sort keys").into()),
        };
        let price = price.as_ref().map(|(currency, min, max)| (currency.as_str(), *min, *max));
        let (filter, now) = (Filter { category: &request.category, kind, price }, self.0.db.clock().now());
        let load =
            async |session: &mut Session| store::products(session, &filter, (&after.0, &after.1), size + 1, now).await;
        let found = self.0.db.snapshot(load).await?;
        let keys = |product: &Product| vec![product.name.clone(), product.id.clone()];
        let (products, next_page_token) = self.page(found, size, &scope, keys).await?;
        Ok(Response::new(proto::ListProductsResponse { products, next_page_token }))
    }

    async fn search_products(
        &self,
        request: Request<proto::SearchProductsRequest>,
    ) -> Reply<proto::SearchProductsResponse> {
        let request = request.into_inner();
        let (query, size) = (Query::parse(&request.query)?, page_size(request.page_size)?);
        let filter = Filter { category: &request.category, kind: message::kind_of(request.kind)?, price: None };
        let (now, currency) = (self.0.db.clock().now(), self.currency(CURRENCY).await?);
        let load = async |session: &mut Session| store::search(session, &query, &filter, size, now).await;
        let found = self.0.db.snapshot(load).await?;
        let products = found.iter().map(|product| message::product(product, &currency)).collect();
        Ok(Response::new(proto::SearchProductsResponse { products }))
    }

    async fn create_product(
        &self,
        request: Request<proto::CreateProductRequest>,
    ) -> Reply<proto::CreateProductResponse> {
        Ok(Response::new(self.create_good(&Call::current()?, request.into_inner()).await?))
    }

    async fn update_product(
        &self,
        request: Request<proto::UpdateProductRequest>,
    ) -> Reply<proto::UpdateProductResponse> {
        Ok(Response::new(self.update_good(&Call::current()?, request.into_inner()).await?))
    }

    async fn archive_product(
        &self,
        request: Request<proto::ArchiveProductRequest>,
    ) -> Reply<proto::ArchiveProductResponse> {
        Ok(Response::new(self.archive_good(&Call::current()?, request.into_inner()).await?))
    }

    async fn create_variant(
        &self,
        request: Request<proto::CreateVariantRequest>,
    ) -> Reply<proto::CreateVariantResponse> {
        Ok(Response::new(self.add_variant(&Call::current()?, request.into_inner()).await?))
    }

    async fn get_variant(&self, request: Request<proto::GetVariantRequest>) -> Reply<proto::GetVariantResponse> {
        let variant = request.into_inner().id;
        let (now, currency) = (self.0.db.clock().now(), self.currency(CURRENCY).await?);
        let load = async |session: &mut Session| {
            let id = store::goods::product_of(session, &variant).await?;
            store::product(session, &id, now).await
        };
        let found = self.0.db.snapshot(load).await?.ok_or_else(|| crate::edit::no_variant(&variant))?;
        let product = Some(message::product(&found, &currency));
        Ok(Response::new(proto::GetVariantResponse { product }))
    }

    async fn archive_variant(
        &self,
        request: Request<proto::ArchiveVariantRequest>,
    ) -> Reply<proto::ArchiveVariantResponse> {
        Ok(Response::new(self.archive_one_variant(&Call::current()?, request.into_inner()).await?))
    }

    async fn list_units(&self, _request: Request<proto::ListUnitsRequest>) -> Reply<proto::ListUnitsResponse> {
        let units = self.0.db.read(store::units).await?;
        Ok(Response::new(proto::ListUnitsResponse { units: units.into_iter().map(message::unit).collect() }))
    }
}

#[tonic::async_trait]
impl AssetService for Service {
    async fn get_asset(&self, request: Request<proto::GetAssetRequest>) -> Reply<proto::GetAssetResponse> {
        let product = self.load(&request.into_inner().id, |product| product.kind() == Kind::Asset).await?;
        Ok(Response::new(proto::GetAssetResponse { product: Some(product) }))
    }

    async fn list_assets(&self, request: Request<proto::ListAssetsRequest>) -> Reply<proto::ListAssetsResponse> {
        let request = request.into_inner();
        let (size, scope) = (page_size(request.page_size)?, format!("assets {}", request.category));
        let after = self.0.pages.decode(&request.page_token, &scope)?.and_then(|keys| keys.into_iter().next());
        let after = after.unwrap_or_default();
        let load = async |session: &mut Session| store::assets(session, &request.category, &after, size + 1).await;
        let found = self.0.db.read(load).await?;
        let keys = |product: &Product| match &product.form {
            crate::product::Form::Asset(unit) => vec![unit.code.clone()],
            crate::product::Form::Good(_) => vec![],
        };
        let (products, next_page_token) = self.page(found, size, &scope, keys).await?;
        Ok(Response::new(proto::ListAssetsResponse { products, next_page_token }))
    }
}

impl Service {
    /// The product with this id, if it is `wanted`.
    async fn load(&self, id: &str, wanted: impl Fn(&Product) -> bool) -> Result<proto::Product, Error> {
        let (now, currency) = (self.0.db.clock().now(), self.currency(CURRENCY).await?);
        let found = self.0.db.snapshot(async |session| store::product(session, id, now).await).await?;
        let product = found.filter(wanted).ok_or_else(|| {
            let message = format!("There is no product `{id}`.");
            Error::new(Reason::ResourceNotFound, message).with("resource", id)
        })?;
        Ok(message::product(&product, &currency))
    }

    /// The page that these rows make, and the token of the next. One row more than asked for tells that there is one.
    async fn page(
        &self,
        mut found: Vec<Product>,
        size: i64,
        scope: &str,
        keys: impl Fn(&Product) -> Vec<String>,
    ) -> Result<(Vec<proto::Product>, String), Error> {
        let currency = self.currency(CURRENCY).await?;
        let size = usize::try_from(size).unwrap_or(usize::MAX);
        let more = found.len() > size;
        found.truncate(size);
        let token = found.last().filter(|_| more).map(|last| self.0.pages.encode(scope, &keys(last)));
        let products = found.iter().map(|product| message::product(product, &currency)).collect();
        Ok((products, token.unwrap_or_default()))
    }

    /// A currency, and from where to where in it, in atoms. None without bounds.
    ///
    /// # Errors
    /// `UNIT_MISMATCH` if the bounds are of two currencies, or not of one.
    async fn price_range(
        &self,
        min: Option<&Amount>,
        max: Option<&Amount>,
    ) -> Result<Option<(String, i64, i64)>, Error> {
        let (one, field) = match (min, max) {
            (Some(min), _) => (min, "price_min"),
            (None, Some(max)) => (max, "price_max"),
            (None, None) => return Ok(None),
        };
        let currency = self.currency(&one.unit).await.map_err(|refusal| refusal.at_amount(field))?;
        if let Some(other) = max.filter(|max| max.unit != one.unit) {
            let message = "`price_min` and `price_max` must be of the same currency.";
            return Err(Error::new(Reason::UnitMismatch, message).with("unit", &other.unit).at_amount("price_max"));
        }
        let atoms = |bound: Option<&Amount>, field, default| {
            let parse = |of: &Amount| amount::parse(&of.value, currency.scale);
            bound.map_or(Ok(default), parse).map_err(|refusal: Error| refusal.at_amount(field))
        };
        let (min, max) = (atoms(min, "price_min", 0)?, atoms(max, "price_max", i64::MAX)?);
        Ok(Some((currency.code, min, max)))
    }
}
