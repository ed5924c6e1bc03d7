//! `InvoiceService`: parse, load, reply. No rule and no SQL.

use contracts::{
    google::api::HttpBody,
    order::v1::{self as api, Invoice, invoice_service_server::InvoiceService},
};
use kit::{Call, Error};
use storage::{Session, page};
use tonic::{Request, Response, Status};

use crate::{Service, invoice_store, pdf, store::missing};

#[tonic::async_trait]
impl InvoiceService for Service {
    async fn get_invoice(
        &self,
        request: Request<api::GetInvoiceRequest>,
    ) -> Result<Response<api::GetInvoiceResponse>, Status> {
        let invoice = Some(self.invoice(&request.into_inner().id).await?);
        Ok(Response::new(api::GetInvoiceResponse { invoice }))
    }

    async fn list_invoices(
        &self,
        request: Request<api::ListInvoicesRequest>,
    ) -> Result<Response<api::ListInvoicesResponse>, Status> {
        let request = request.into_inner();
        let scope = Call::current()?.scope()?;
        let size = page::page_size(request.page_size)?;
        let order_id = (!request.order_id.is_empty()).then_some(request.order_id.as_str());
        let list = format!("invoices of {} for {}", scope.owner().unwrap_or("everyone"), request.order_id);
        let after = self.0.tokens.decode(&request.page_token, &list)?;
        let before = after.as_ref().and_then(|keys| keys.first()).map(String::as_str);
        // One more than the page, to learn whether there is another.
        let read = async |session: &mut Session| invoice_store::list(session, &scope, order_id, before, size + 1).await;
        let mut invoices = self.0.db.read(read).await?;
        let size = usize::try_from(size).map_err(Error::internal)?;
        let more = invoices.len() > size;
        invoices.truncate(size);
        let next_page_token = match invoices.last() {
            Some(last) if more => self.0.tokens.encode(&list, std::slice::from_ref(&last.id)),
            _ => String::new(),
        };
        Ok(Response::new(api::ListInvoicesResponse { invoices, next_page_token }))
    }

    async fn download_invoice(
        &self,
        request: Request<api::DownloadInvoiceRequest>,
    ) -> Result<Response<api::DownloadInvoiceResponse>, Status> {
        let invoice = self.invoice(&request.into_inner().id).await?;
        let (seller, number) = (self.0.settings.seller.clone(), invoice.number.clone());
        // Drawing is work for the processor, and others wait for this thread.
        let drawn = tokio::task::spawn_blocking(move || pdf::draw(&invoice, &seller)).await;
        let data = drawn.map_err(Error::internal)??;
        let content_type = "application/pdf".to_owned();
        let pdf = Some(HttpBody { content_type, data, extensions: Vec::new() });
        let mut response = Response::new(api::DownloadInvoiceResponse { pdf });
        // A number of ours is digits and a dash.
        if let Ok(name) = format!("inline; filename=\"invoice-{number}.pdf\"").parse() {
            response.metadata_mut().insert("content-disposition", name);
        }
        Ok(response)
    }
}

impl Service {
    async fn invoice(&self, id: &str) -> Result<Invoice, Error> {
        let scope = Call::current()?.scope()?;
        let found = self.0.db.read(async |session| invoice_store::load(session, &scope, id).await).await?;
        found.ok_or_else(|| missing("invoice", id))
    }
}
