//! The RPCs: parse, load, decide, save, reply. No rule and no SQL.

mod capture;
pub(crate) mod methods;
mod payments;
mod refunds;
mod webhook;

use contracts::payment::v1::{self as api, payment_service_server::PaymentService};
use tonic::{Request, Response, Status};

use crate::{Service, verify};

#[tonic::async_trait]
impl PaymentService for Service {
    async fn process_payment(
        &self,
        request: Request<api::ProcessPaymentRequest>,
    ) -> Result<Response<api::ProcessPaymentResponse>, Status> {
        Ok(Response::new(payments::process(self, request.into_inner()).await?))
    }

    async fn get_payment(
        &self,
        request: Request<api::GetPaymentRequest>,
    ) -> Result<Response<api::GetPaymentResponse>, Status> {
        Ok(Response::new(payments::get(self, request.into_inner()).await?))
    }

    async fn list_payments(
        &self,
        request: Request<api::ListPaymentsRequest>,
    ) -> Result<Response<api::ListPaymentsResponse>, Status> {
        Ok(Response::new(payments::list(self, request.into_inner()).await?))
    }

    async fn confirm_payment(
        &self,
        request: Request<api::ConfirmPaymentRequest>,
    ) -> Result<Response<api::ConfirmPaymentResponse>, Status> {
        Ok(Response::new(payments::confirm(self, request.into_inner()).await?))
    }

    async fn capture_payment(
        &self,
        request: Request<api::CapturePaymentRequest>,
    ) -> Result<Response<api::CapturePaymentResponse>, Status> {
        Ok(Response::new(capture::capture(self, request.into_inner()).await?))
    }

    async fn void_payment(
        &self,
        request: Request<api::VoidPaymentRequest>,
    ) -> Result<Response<api::VoidPaymentResponse>, Status> {
        Ok(Response::new(payments::void(self, request.into_inner()).await?))
    }

    async fn create_refund(
        &self,
        request: Request<api::CreateRefundRequest>,
    ) -> Result<Response<api::CreateRefundResponse>, Status> {
        Ok(Response::new(refunds::create(self, request.into_inner()).await?))
    }

    async fn get_refund(
        &self,
        request: Request<api::GetRefundRequest>,
    ) -> Result<Response<api::GetRefundResponse>, Status> {
        Ok(Response::new(refunds::get(self, request.into_inner()).await?))
    }

    async fn list_refunds(
        &self,
        request: Request<api::ListRefundsRequest>,
    ) -> Result<Response<api::ListRefundsResponse>, Status> {
        Ok(Response::new(refunds::list(self, request.into_inner()).await?))
    }

    async fn create_payment_method(
        &self,
        request: Request<api::CreatePaymentMethodRequest>,
    ) -> Result<Response<api::CreatePaymentMethodResponse>, Status> {
        Ok(Response::new(methods::create(self, request.into_inner()).await?))
    }

    async fn list_payment_methods(
        &self,
        _request: Request<api::ListPaymentMethodsRequest>,
    ) -> Result<Response<api::ListPaymentMethodsResponse>, Status> {
        Ok(Response::new(methods::list(self).await?))
    }

    async fn delete_payment_method(
        &self,
        request: Request<api::DeletePaymentMethodRequest>,
    ) -> Result<Response<api::DeletePaymentMethodResponse>, Status> {
        Ok(Response::new(methods::delete(self, request.into_inner()).await?))
    }

    async fn handle_provider_webhook(
        &self,
        request: Request<api::HandleProviderWebhookRequest>,
    ) -> Result<Response<api::HandleProviderWebhookResponse>, Status> {
        Ok(Response::new(webhook::handle(self, request.into_inner()).await?))
    }

    async fn verify_payments(
        &self,
        request: Request<api::VerifyPaymentsRequest>,
    ) -> Result<Response<api::VerifyPaymentsResponse>, Status> {
        Ok(Response::new(verify::verify(self, &request.into_inner().page_token).await?))
    }
}
