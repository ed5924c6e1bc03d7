//! A payment service in memory, which keeps what the contract promises: an id that makes a repeat harmless, and
//! tombstones.

use std::{
    collections::{BTreeMap, HashSet},
    sync::{Arc, Mutex},
};

use contracts::{
    payment::v1::{
        self as payment, Payment, Refund,
        payment_service_server::{PaymentService, PaymentServiceServer},
    },
    r#type::v1::Amount,
};
use kit::link::Link;
use tonic::{Request, Response, Status, service::Routes};

use super::{Moods, not_found};

/// Secures and takes money without end.
#[derive(Clone, Default)]
pub struct FakePayment {
    pub moods: Moods,
    state: Arc<Mutex<Till>>,
}

#[derive(Default)]
struct Till {
    /// What a new payment is.
    next: Option<(payment::payment::State, String)>,
    payments: BTreeMap<String, Payment>,
    captures: HashSet<String>,
    refunds: BTreeMap<String, Refund>,
}

impl FakePayment {
    pub fn link(&self) -> Link {
        Link::new(Routes::new(PaymentServiceServer::new(self.clone())).prepare())
    }

    /// What payments that are asked for become, and where they are confirmed.
    pub fn become_next(&self, state: payment::payment::State, action_url: &str) {
        self.state.lock().unwrap().next = Some((state, action_url.to_owned()));
    }

    /// Moves every payment, as a provider would.
    pub fn move_all(&self, state: payment::payment::State) {
        for payment in self.state.lock().unwrap().payments.values_mut() {
            payment.state = state.into();
        }
    }

    /// Takes all of every payment, as a provider may that does not wait.
    pub fn take_all(&self) {
        for payment in self.state.lock().unwrap().payments.values_mut() {
            payment.captured = payment.amount.clone();
        }
    }

    /// Says why every payment failed.
    pub fn decline(&self, decline: payment::Decline) {
        for payment in self.state.lock().unwrap().payments.values_mut() {
            payment.decline = Some(decline.clone());
        }
    }

    /// Every payment.
    pub fn payments(&self) -> Vec<Payment> {
        self.state.lock().unwrap().payments.values().cloned().collect()
    }

    /// Has a payment that nobody asked for.
    pub fn plant(&self, payment: Payment) {
        self.state.lock().unwrap().payments.insert(payment.id.clone(), payment);
    }

    /// How much was taken, in cents.
    pub fn captured(&self) -> i64 {
        self.payments().iter().map(|payment| cents(payment.captured.as_ref())).sum()
    }

    /// How much was given back, in cents.
    pub fn refunded(&self) -> i64 {
        self.payments().iter().map(|payment| cents(payment.refunded.as_ref())).sum()
    }

    fn change(&self, id: &str, change: impl FnOnce(&mut Payment)) -> Result<Option<Payment>, Status> {
        let mut state = self.state.lock().unwrap();
        let payment = state.payments.get_mut(id).ok_or_else(not_found)?;
        change(payment);
        Ok(Some(payment.clone()))
    }
}

#[tonic::async_trait]
impl PaymentService for FakePayment {
    async fn process_payment(
        &self,
        request: Request<payment::ProcessPaymentRequest>,
    ) -> Result<Response<payment::ProcessPaymentResponse>, Status> {
        let payment::ProcessPaymentRequest { id, order_id, owner_id, amount, payment_method_id } = request.into_inner();
        let work = || {
            let mut state = self.state.lock().unwrap();
            let authorized = (payment::payment::State::Authorized, String::new());
            let (next, action_url) = state.next.clone().unwrap_or(authorized);
            let new = Payment {
                id: id.clone(),
                order_id,
                owner_id,
                payment_method_id,
                state: next.into(),
                capturable: amount.clone(),
                amount,
                action_url,
                ..Default::default()
            };
            let payment = Some(state.payments.entry(id).or_insert(new).clone());
            Ok(payment::ProcessPaymentResponse { payment })
        };
        self.moods.answer("authorize", work).await
    }

    async fn get_payment(
        &self,
        request: Request<payment::GetPaymentRequest>,
    ) -> Result<Response<payment::GetPaymentResponse>, Status> {
        let payment = self.change(&request.into_inner().id, |_| {})?;
        Ok(Response::new(payment::GetPaymentResponse { payment }))
    }

    async fn list_payments(
        &self,
        request: Request<payment::ListPaymentsRequest>,
    ) -> Result<Response<payment::ListPaymentsResponse>, Status> {
        let state = request.into_inner().state;
        let payments = self.payments().into_iter().filter(|payment| payment.state == state).collect();
        Ok(Response::new(payment::ListPaymentsResponse { payments, next_page_token: String::new() }))
    }

    async fn capture_payment(
        &self,
        request: Request<payment::CapturePaymentRequest>,
    ) -> Result<Response<payment::CapturePaymentResponse>, Status> {
        let payment::CapturePaymentRequest { id, shipment_id, amount, r#final } = request.into_inner();
        let work = || {
            let first = self.state.lock().unwrap().captures.insert(shipment_id);
            let payment = self.change(&id, |payment| {
                if !first {
                    return;
                }
                assert_eq!(payment.state(), payment::payment::State::Authorized, "money is secured that is taken");
                let captured = cents(payment.captured.as_ref()) + cents(amount.as_ref());
                assert!(captured <= cents(payment.amount.as_ref()), "more is taken than was secured");
                payment.captured = dollars(captured);
                if r#final {
                    payment.state = payment::payment::State::Captured.into();
                }
            })?;
            Ok(payment::CapturePaymentResponse { payment })
        };
        self.moods.answer("capture", work).await
    }

    async fn void_payment(
        &self,
        request: Request<payment::VoidPaymentRequest>,
    ) -> Result<Response<payment::VoidPaymentResponse>, Status> {
        let payment::VoidPaymentRequest { id, order_id, owner_id } = request.into_inner();
        let work = || {
            let tombstone = Payment { id: id.clone(), order_id, owner_id, ..Default::default() };
            self.state.lock().unwrap().payments.entry(id.clone()).or_insert(tombstone);
            let payment = self.change(&id, |payment| {
                let taken = cents(payment.captured.as_ref()) > 0;
                let end = if taken { payment::payment::State::Captured } else { payment::payment::State::Voided };
                payment.state = end.into();
            })?;
            Ok(payment::VoidPaymentResponse { payment })
        };
        self.moods.answer("void", work).await
    }

    async fn create_refund(
        &self,
        request: Request<payment::CreateRefundRequest>,
    ) -> Result<Response<payment::CreateRefundResponse>, Status> {
        let payment::CreateRefundRequest { request_id, payment_id, amount, reference } = request.into_inner();
        let work = || {
            if let Some(refund) = self.state.lock().unwrap().refunds.get(&request_id) {
                return Ok(payment::CreateRefundResponse { refund: Some(refund.clone()) });
            }
            self.change(&payment_id, |payment| {
                let all = || cents(payment.captured.as_ref()) - cents(payment.refunded.as_ref());
                let amount = amount.as_ref().map_or_else(all, |amount| cents(Some(amount)));
                let refunded = cents(payment.refunded.as_ref()) + amount;
                assert!(refunded <= cents(payment.captured.as_ref()), "more is given back than was taken");
                payment.refunded = dollars(refunded);
            })?;
            let refund = Refund {
                id: kit::id::derive("rfd", &request_id, "id"),
                payment_id,
                amount,
                state: payment::refund::State::Succeeded.into(),
                reference,
                ..Default::default()
            };
            self.state.lock().unwrap().refunds.insert(request_id, refund.clone());
            Ok(payment::CreateRefundResponse { refund: Some(refund) })
        };
        self.moods.answer("refund", work).await
    }

    async fn get_refund(
        &self,
        request: Request<payment::GetRefundRequest>,
    ) -> Result<Response<payment::GetRefundResponse>, Status> {
        let id = request.into_inner().id;
        let refund = self.state.lock().unwrap().refunds.values().find(|refund| refund.id == id).cloned();
        Ok(Response::new(payment::GetRefundResponse { refund }))
    }

    async fn confirm_payment(
        &self,
        _: Request<payment::ConfirmPaymentRequest>,
    ) -> Result<Response<payment::ConfirmPaymentResponse>, Status> {
        Err(Status::unimplemented("not here"))
    }

    async fn list_refunds(
        &self,
        _: Request<payment::ListRefundsRequest>,
    ) -> Result<Response<payment::ListRefundsResponse>, Status> {
        Err(Status::unimplemented("not here"))
    }

    async fn create_payment_method(
        &self,
        _: Request<payment::CreatePaymentMethodRequest>,
    ) -> Result<Response<payment::CreatePaymentMethodResponse>, Status> {
        Err(Status::unimplemented("not here"))
    }

    async fn list_payment_methods(
        &self,
        _: Request<payment::ListPaymentMethodsRequest>,
    ) -> Result<Response<payment::ListPaymentMethodsResponse>, Status> {
        Err(Status::unimplemented("not here"))
    }

    async fn delete_payment_method(
        &self,
        _: Request<payment::DeletePaymentMethodRequest>,
    ) -> Result<Response<payment::DeletePaymentMethodResponse>, Status> {
        Err(Status::unimplemented("not here"))
    }

    async fn handle_provider_webhook(
        &self,
        _: Request<payment::HandleProviderWebhookRequest>,
    ) -> Result<Response<payment::HandleProviderWebhookResponse>, Status> {
        Err(Status::unimplemented("not here"))
    }

    async fn verify_payments(
        &self,
        _: Request<payment::VerifyPaymentsRequest>,
    ) -> Result<Response<payment::VerifyPaymentsResponse>, Status> {
        Err(Status::unimplemented("not here"))
    }
}

/// An amount of dollars, in cents.
pub fn cents(amount: Option<&Amount>) -> i64 {
    amount.map_or(0, |amount| kit::amount::parse(&amount.value, 2).unwrap())
}

fn dollars(cents: i64) -> Option<Amount> {
    Some(Amount { value: kit::amount::format(cents, 2), unit: "USD".to_owned() })
}
