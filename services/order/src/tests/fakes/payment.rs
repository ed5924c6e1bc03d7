//! A payment service in memory, which keeps what the contract promises: an id that makes a repeat harmless, and
//! tombstones. What was refused under a key stays refused under it.

use std::{
    collections::{BTreeMap, HashMap},
    sync::{Arc, Mutex},
};

use contracts::{
    payment::v1::{
        self as payment, Payment, Refund,
        payment_service_server::{PaymentService, PaymentServiceServer},
    },
    r#type::v1::{Amount, Reason},
};
use kit::{Error, link::Link};
use tonic::{Request, Response, Status, service::Routes};

use super::{Mood, Moods, not_found};

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
    /// What was taken by shipment, or why it was not.
    captures: HashMap<String, Result<(), Error>>,
    refunds: Vec<Refund>,
    /// Which refund each request was for, or why it was refused.
    keys: HashMap<String, Result<String, Error>>,
}

/// Money that is to be given back.
struct Asked {
    payment_id: String,
    amount: Option<Amount>,
    reference: String,
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
            payment.capturable = dollars(0);
        }
    }

    /// Forgets which requests were made, as after a week.
    pub fn forget_keys(&self) {
        self.state.lock().unwrap().keys.clear();
    }

    /// Gives money back, as support would.
    pub fn give_back(&self, order_id: &str, cents: i64) {
        let mut state = self.state.lock().unwrap();
        for payment in state.payments.values_mut().filter(|payment| payment.order_id == order_id) {
            payment.refunded = dollars(self::cents(payment.refunded.as_ref()) + cents);
        }
    }

    /// Gives money back, as support would, and tells the refund.
    pub fn refund_for(&self, order_id: &str, cents: i64, reference: &str) -> (Payment, Refund) {
        let payment = self.payments().into_iter().find(|payment| payment.order_id == order_id).unwrap();
        let asked = Asked { payment_id: payment.id.clone(), amount: dollars(cents), reference: reference.to_owned() };
        let id = self.refund(asked, None).unwrap();
        let mut state = self.state.lock().unwrap();
        let refund = state.refunds.iter_mut().find(|refund| refund.id == id).unwrap();
        refund.automatic = false;
        (payment, refund.clone())
    }

    /// Every refund.
    pub fn refunds(&self) -> Vec<Refund> {
        self.state.lock().unwrap().refunds.clone()
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

    /// Gives back what is asked for, unless it is more than is left.
    fn refund(&self, asked: Asked, declined: Option<&Error>) -> Result<String, Error> {
        let Asked { payment_id, amount, reference } = asked;
        let mut state = self.state.lock().unwrap();
        let number = state.refunds.len();
        let Some(payment) = state.payments.get_mut(&payment_id) else { return Err(Error::from(not_found())) };
        let left = cents(payment.captured.as_ref()) - cents(payment.refunded.as_ref());
        let wanted = amount.as_ref().map_or(left, |amount| cents(Some(amount)));
        if wanted < 1 || wanted > left {
            return Err(Error::new(Reason::RefundExceedsCaptured, "No more than was taken is given back."));
        }
        let (end, decline) = match declined {
            None => {
                payment.refunded = dollars(cents(payment.refunded.as_ref()) + wanted);
                (payment::refund::State::Succeeded, None)
            }
            Some(refusal) => {
                let (code, message) = (refusal.reason().to_lowercase(), refusal.message().to_owned());
                (payment::refund::State::Failed, Some(payment::Decline { code, message }))
            }
        };
        let id = kit::id::derive("rfd", &payment_id, &number.to_string());
        state.refunds.push(Refund {
            id: id.clone(),
            payment_id,
            amount: dollars(wanted),
            state: end.into(),
            reference,
            automatic: true,
            decline,
            ..Default::default()
        });
        Ok(id)
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
        let id = request.into_inner().id;
        let work = || Ok(payment::GetPaymentResponse { payment: self.change(&id, |_| {})? });
        self.moods.answer("get", work).await
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
        let noted = self.state.lock().unwrap().captures.get(&shipment_id).cloned();
        let work = || {
            if let Some(Err(refusal)) = noted.clone() {
                return Err(refusal.into());
            }
            let held = self.change(&id, |_| {})?.unwrap_or_default();
            if noted.is_none() && held.state() != payment::payment::State::Authorized {
                return Err(Error::new(Reason::InvalidStateTransition, "The money is not secured.").into());
            }
            let payment = self.change(&id, |payment| {
                if noted.is_some() {
                    return;
                }
                let captured = cents(payment.captured.as_ref()) + cents(amount.as_ref());
                let secured = cents(payment.amount.as_ref());
                assert!(captured <= secured, "more is taken than was secured");
                payment.captured = dollars(captured);
                payment.capturable = dollars(if r#final { 0 } else { secured - captured });
                if r#final {
                    payment.state = payment::payment::State::Captured.into();
                }
            })?;
            self.state.lock().unwrap().captures.insert(shipment_id.clone(), Ok(()));
            Ok(payment::CapturePaymentResponse { payment })
        };
        let reply = self.moods.answer("capture", work).await;
        if let Err(status) = &reply {
            let refusal = Error::from(status.clone());
            if refusal.definitive() {
                self.state.lock().unwrap().captures.entry(shipment_id).or_insert(Err(refusal));
            }
        }
        reply
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
                if payment.state() == payment::payment::State::Failed {
                    return;
                }
                let taken = cents(payment.captured.as_ref()) > 0;
                let end = if taken { payment::payment::State::Captured } else { payment::payment::State::Voided };
                payment.state = end.into();
                payment.capturable = dollars(0);
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
        let asked = Asked { payment_id, amount, reference };
        let declined = match self.moods.of("refund") {
            Mood::Refusing(refusal) => Some(refusal),
            _ => None,
        };
        let work = || {
            let noted = self.state.lock().unwrap().keys.get(&request_id).cloned();
            let outcome = noted.unwrap_or_else(|| self.refund(asked, declined.as_ref()));
            self.state.lock().unwrap().keys.insert(request_id, outcome.clone());
            let id = outcome.map_err(Status::from)?;
            Ok(payment::CreateRefundResponse { refund: self.refunds().into_iter().find(|refund| refund.id == id) })
        };
        // What a provider refuses is a refund that failed.
        if declined.is_some() {
            return work().map(Response::new);
        }
        self.moods.answer("refund", work).await
    }

    async fn get_refund(
        &self,
        request: Request<payment::GetRefundRequest>,
    ) -> Result<Response<payment::GetRefundResponse>, Status> {
        let id = request.into_inner().id;
        let refund = self.refunds().into_iter().find(|refund| refund.id == id);
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
        request: Request<payment::ListRefundsRequest>,
    ) -> Result<Response<payment::ListRefundsResponse>, Status> {
        let payment_id = request.into_inner().payment_id;
        let refunds = self.refunds().into_iter().filter(|refund| refund.payment_id == payment_id).collect();
        Ok(Response::new(payment::ListRefundsResponse { refunds, next_page_token: String::new() }))
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
