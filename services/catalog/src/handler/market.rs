//! Live prices.

use std::collections::BTreeSet;

use contracts::{
    catalog::v1::{self as proto, market_data_service_server::MarketDataService},
    r#type::v1::Reason,
};
use futures::{
    StreamExt,
    stream::{self, BoxStream},
};
use kit::{Error, call::Call};
use tonic::{Request, Response, Status};

use crate::{Service, message};

#[tonic::async_trait]
impl MarketDataService for Service {
    async fn get_ticker(
        &self,
        request: Request<proto::GetTickerRequest>,
    ) -> Result<Response<proto::GetTickerResponse>, Status> {
        let code = request.into_inner().unit;
        let tick = self.0.market.tick(&code).ok_or_else(|| {
            let message = format!("There is no price of `{code}`.");
            Error::new(Reason::ResourceNotFound, message).with("resource", &code)
        })?;
        Ok(Response::new(proto::GetTickerResponse { ticker: Some(message::ticker(&tick)) }))
    }

    async fn list_tickers(
        &self,
        request: Request<proto::ListTickersRequest>,
    ) -> Result<Response<proto::ListTickersResponse>, Status> {
        let units = self.known(request.into_inner().units).await?;
        let ticks = self.0.market.ticks(&units);
        Ok(Response::new(proto::ListTickersResponse { tickers: ticks.iter().map(message::ticker).collect() }))
    }

    type WatchTickersStream = BoxStream<'static, Result<proto::WatchTickersResponse, Status>>;

    async fn watch_tickers(
        &self,
        request: Request<proto::WatchTickersRequest>,
    ) -> Result<Response<Self::WatchTickersStream>, Status> {
        let units = self.known(request.into_inner().units).await?;
        let permit = self.permit(&Call::current()?)?;
        let watch = self.0.market.watch(units, self.0.db.clock().clone(), self.0.settings.watch_age_max);
        let stream = stream::unfold((watch, permit), |(mut watch, permit)| async move {
            let ticks = watch.next().await?;
            let reply = proto::WatchTickersResponse { tickers: ticks.iter().map(message::ticker).collect() };
            Some((Ok(reply), (watch, permit)))
        });
        Ok(Response::new(stream.boxed()))
    }
}

impl Service {
    /// These codes, each of which is that of a unit.
    ///
    /// # Errors
    /// `UNIT_MISMATCH` if there is one that nobody knows.
    async fn known(&self, codes: Vec<String>) -> Result<BTreeSet<String>, Error> {
        for code in &codes {
            self.0.units.get(code).await?;
        }
        Ok(codes.into_iter().collect())
    }

    /// Opens a stream for the caller. Those without a user share the allowance of whoever brings them.
    fn permit(&self, call: &Call) -> Result<crate::market::Permit, Error> {
        let settings = &self.0.settings;
        let each = if call.caller.is_some() { settings.watches_per_user } else { settings.watches_max / 2 };
        self.0.watches.open(&call.principal(), each, settings.watches_max)
    }
}
