//! A catalog in memory, and what inventory asks of it.

use std::sync::{
    Mutex,
    atomic::{AtomicUsize, Ordering},
};

use contracts::{
    catalog::v1::{
        self as catalog, Product,
        product_service_server::{ProductService, ProductServiceServer},
    },
    r#type::v1::Reason,
};
use kit::link::Link;
use tonic::service::Routes;

use super::*;

/// What it says of every variant.
#[derive(Clone, Copy, Debug, Default)]
pub enum Says {
    #[default]
    Physical,
    Digital,
    Unknown,
    /// Nothing: it cannot be reached.
    Away,
}

/// Says the same of every variant, and counts how often it was asked.
#[derive(Clone, Default)]
pub struct FakeCatalog {
    says: Arc<Mutex<Says>>,
    asked: Arc<AtomicUsize>,
}

impl FakeCatalog {
    pub fn link(&self) -> Link {
        Link::new(Routes::new(ProductServiceServer::new(self.clone())).prepare())
    }

    fn set(&self, says: Says) {
        *self.says.lock().unwrap() = says;
    }

    fn asked(&self) -> usize {
        self.asked.load(Ordering::SeqCst)
    }
}

#[tokio::test]
async fn only_what_comes_for_the_first_time_is_asked_about() {
    for bench in Bench::each().await {
        let tea = new_id("var");
        bench.receive(&tea, 10).await.unwrap();
        assert_eq!(bench.catalog.asked(), 1);
        bench.catalog.set(Says::Away);
        let (_, units) = bench.cost(bench.receive(&tea, 1)).await;
        bench.adjust(adjustment(&tea, "", Kind::Lost, 2)).await.unwrap();
        assert_eq!((bench.catalog.asked(), units, bench.counts(&tea).await), (1, 1, [9, 0, 9]));
        let memphis = bench.add_location("Memphis", 1).await.unwrap().id;
        let there = adjustment(&tea, &memphis, Kind::Received, 3);
        assert_eq!(bench.adjust(there.clone()).await.unwrap_err().reason(), "DEPENDENCY_UNAVAILABLE");
        bench.catalog.set(Says::Physical);
        bench.adjust(there.clone()).await.unwrap();
        bench.adjust(there).await.unwrap();
        assert_eq!((bench.catalog.asked(), bench.counts(&tea).await), (3, [12, 0, 12]), "a repeat asks no more");
    }
}

#[tokio::test]
async fn nothing_comes_into_stock_that_the_catalog_does_not_have_or_that_never_runs_out() {
    for bench in Bench::each().await {
        let ghost = new_id("var");
        for (says, kind, reason) in [
            (Says::Unknown, Kind::Received, "RESOURCE_NOT_FOUND"),
            (Says::Unknown, Kind::Counted, "RESOURCE_NOT_FOUND"),
            (Says::Unknown, Kind::Returned, "RESOURCE_NOT_FOUND"),
            (Says::Digital, Kind::Received, "INVALID_FIELD"),
            (Says::Away, Kind::Received, "DEPENDENCY_UNAVAILABLE"),
        ] {
            bench.catalog.set(says);
            let request = adjustment(&ghost, &bench.location, kind, 5);
            let refused = bench.adjust(request.clone()).await.unwrap_err();
            assert_eq!(refused.reason(), reason, "{says:?}");
            assert!(reason == "DEPENDENCY_UNAVAILABLE" || refused.message().contains(&ghost), "{refused:?}");
            assert!(bench.items(&ghost).await.is_empty(), "{says:?}");
        }
        // Added meanwhile: the refusal was not kept.
        bench.catalog.set(Says::Unknown);
        let request = adjustment(&ghost, &bench.location, Kind::Received, 5);
        bench.adjust(request.clone()).await.unwrap_err();
        bench.catalog.set(Says::Physical);
        assert_eq!(bench.adjust(request).await.unwrap().on_hand, 5);
    }
}

#[tonic::async_trait]
impl ProductService for FakeCatalog {
    async fn get_variant(
        &self,
        request: Request<catalog::GetVariantRequest>,
    ) -> Result<Response<catalog::GetVariantResponse>, Status> {
        self.asked.fetch_add(1, Ordering::SeqCst);
        let kind = match *self.says.lock().unwrap() {
            Says::Physical => catalog::product::Kind::PhysicalGood,
            Says::Digital => catalog::product::Kind::DigitalGood,
            Says::Unknown => {
                let message = format!("There is no variant `{}`.", request.get_ref().id);
                return Err(Error::new(Reason::ResourceNotFound, message).into());
            }
            Says::Away => return Err(Status::unavailable("connection refused")),
        };
        let product = Product { kind: kind.into(), ..Default::default() };
        Ok(Response::new(catalog::GetVariantResponse { product: Some(product) }))
    }

    async fn get_product(
        &self,
        _: Request<catalog::GetProductRequest>,
    ) -> Result<Response<catalog::GetProductResponse>, Status> {
        Err(Status::unimplemented("not here"))
    }

    async fn list_products(
        &self,
        _: Request<catalog::ListProductsRequest>,
    ) -> Result<Response<catalog::ListProductsResponse>, Status> {
        Err(Status::unimplemented("not here"))
    }

    async fn search_products(
        &self,
        _: Request<catalog::SearchProductsRequest>,
    ) -> Result<Response<catalog::SearchProductsResponse>, Status> {
        Err(Status::unimplemented("not here"))
    }

    async fn create_product(
        &self,
        _: Request<catalog::CreateProductRequest>,
    ) -> Result<Response<catalog::CreateProductResponse>, Status> {
        Err(Status::unimplemented("not here"))
    }

    async fn update_product(
        &self,
        _: Request<catalog::UpdateProductRequest>,
    ) -> Result<Response<catalog::UpdateProductResponse>, Status> {
        Err(Status::unimplemented("not here"))
    }

    async fn archive_product(
        &self,
        _: Request<catalog::ArchiveProductRequest>,
    ) -> Result<Response<catalog::ArchiveProductResponse>, Status> {
        Err(Status::unimplemented("not here"))
    }

    async fn create_variant(
        &self,
        _: Request<catalog::CreateVariantRequest>,
    ) -> Result<Response<catalog::CreateVariantResponse>, Status> {
        Err(Status::unimplemented("not here"))
    }

    async fn archive_variant(
        &self,
        _: Request<catalog::ArchiveVariantRequest>,
    ) -> Result<Response<catalog::ArchiveVariantResponse>, Status> {
        Err(Status::unimplemented("not here"))
    }

    async fn list_units(
        &self,
        _: Request<catalog::ListUnitsRequest>,
    ) -> Result<Response<catalog::ListUnitsResponse>, Status> {
        Err(Status::unimplemented("not here"))
    }
}
