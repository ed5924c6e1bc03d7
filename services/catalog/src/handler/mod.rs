//! Each RPC: parse, load, decide, save, reply.

use contracts::{
    catalog::v1::{self as proto, category_service_server::CategoryService},
    r#type::v1::{Amount, Reason},
};
use kit::{Error, amount};
use tonic::{Request, Response, Status};

use crate::{
    Service, message,
    product::{Unit, UnitKind},
    store,
};

mod goods;
mod market;
mod pricing;
mod products;

type Reply<T> = Result<Response<T>, Status>;

#[tonic::async_trait]
impl CategoryService for Service {
    async fn list_categories(
        &self,
        _request: Request<proto::ListCategoriesRequest>,
    ) -> Result<Response<proto::ListCategoriesResponse>, Status> {
        let found = self.0.db.read(store::categories).await?;
        let categories = found.into_iter().map(message::category).collect();
        Ok(Response::new(proto::ListCategoriesResponse { categories }))
    }
}

impl Service {
    /// The unit with this code.
    ///
    /// # Errors
    /// `UNIT_MISMATCH` if there is none.
    async fn unit(&self, code: &str) -> Result<Unit, Error> {
        let known = self.0.units.get(code).await?;
        let kind = if known.fiat { UnitKind::Fiat } else { UnitKind::Asset };
        Ok(Unit { code: code.to_owned(), kind, scale: known.scale })
    }

    /// The currency with this code.
    ///
    /// # Errors
    /// `UNIT_MISMATCH` if there is none, or it is something traded.
    async fn currency(&self, code: &str) -> Result<Unit, Error> {
        let unit = self.unit(code).await?;
        if unit.kind == UnitKind::Fiat {
            return Ok(unit);
        }
        let message = format!("`{code}` is not a currency. Name one, such as `EUR`.");
        Err(Error::new(Reason::UnitMismatch, message).with("unit", code))
    }

    /// The price of something in this field of the request: a currency, and more than nothing of it.
    ///
    /// # Errors
    /// `UNIT_MISMATCH`, `SCALE_EXCEEDED`, `AMOUNT_OUT_OF_RANGE`.
    async fn money(&self, of: &Amount, field: &str) -> Result<(Unit, i64), Error> {
        let at = |refusal: Error| refusal.with("unit", &of.unit).at_amount(field);
        let currency = self.currency(&of.unit).await.map_err(|refusal| refusal.at_amount(field))?;
        let atoms = amount::parse(&of.value, currency.scale).map_err(at)?;
        if atoms > 0 {
            return Ok((currency, atoms));
        }
        let message = "A price must be more than zero.";
        Err(at(Error::new(Reason::AmountOutOfRange, message)))
    }
}
