//! `CartService`: parse, load, decide, save, price, reply. No rule and no SQL.

use contracts::{
    catalog::v1::{Basket, Item, PurchaseQuote, product::Kind},
    order::v1::{self as api, cart_service_server::CartService},
    r#type::v1::{Amount, PostalAddress, Reason},
};
use kit::{Call, Error, amount};
use prost::Message;
use storage::{Key, Unit};
use tonic::{Request, Response, Status};

use crate::{
    Service,
    cart::Cart,
    cart_stock,
    cart_store::{self, Whose},
    proto,
    purchase::Purchase,
};

/// How often a cart is priced: with all lines, without those that cannot be bought, and if that changed meanwhile.
const PRICINGS: usize = 3;
/// How often a cart is priced again because it changed meanwhile, before its caller is told.
const CHECKOUTS: usize = 3;

#[tonic::async_trait]
impl CartService for Service {
    async fn create_cart(
        &self,
        _request: Request<api::CreateCartRequest>,
    ) -> Result<Response<api::CreateCartResponse>, Status> {
        let cart_token = new_token();
        let whose = Whose::guest(&cart_token);
        let cart = self.0.db.write(async |unit: &mut Unit| {
            let cart = Cart::empty(kit::id::new("crt", unit.now()), None, unit.now());
            cart_store::insert(unit, &whose, &cart).await?;
            Ok(cart)
        });
        let cart = Some(cart.await?.message());
        Ok(Response::new(api::CreateCartResponse { cart, cart_token }))
    }

    async fn get_cart(&self, request: Request<api::GetCartRequest>) -> Result<Response<api::GetCartResponse>, Status> {
        let whose = whose(&request.into_inner().cart_token)?;
        let cart = self.cart(&whose).await?;
        Ok(Response::new(api::GetCartResponse { cart: Some(self.priced(cart.message()).await) }))
    }

    async fn add_cart_item(
        &self,
        request: Request<api::AddCartItemRequest>,
    ) -> Result<Response<api::AddCartItemResponse>, Status> {
        let request = request.into_inner();
        // What is refused here counts only if the key is free: a repeat gets its reply though the variant is gone since.
        let known = self.check_variant(&request.variant_id).await;
        let add = |cart: &mut Cart| known.and_then(|()| cart.add(&request.variant_id, request.quantity));
        let cart = Some(self.change_cart(&request.cart_token, &request.request_id, &request, add).await?);
        Ok(Response::new(api::AddCartItemResponse { cart }))
    }

    async fn update_cart_item(
        &self,
        request: Request<api::UpdateCartItemRequest>,
    ) -> Result<Response<api::UpdateCartItemResponse>, Status> {
        let request = request.into_inner();
        let known = match request.quantity > 0 {
            true => self.check_variant(&request.variant_id).await,
            false => Ok(()),
        };
        let set = |cart: &mut Cart| known.and_then(|()| cart.set(&request.variant_id, request.quantity));
        let cart = Some(self.change_cart(&request.cart_token, &request.request_id, &request, set).await?);
        Ok(Response::new(api::UpdateCartItemResponse { cart }))
    }

    async fn remove_cart_item(
        &self,
        request: Request<api::RemoveCartItemRequest>,
    ) -> Result<Response<api::RemoveCartItemResponse>, Status> {
        let request = request.into_inner();
        let remove = |cart: &mut Cart| cart.set(&request.variant_id, 0);
        let cart = Some(self.change_cart(&request.cart_token, &request.request_id, &request, remove).await?);
        Ok(Response::new(api::RemoveCartItemResponse { cart }))
    }

    async fn clear_cart(
        &self,
        request: Request<api::ClearCartRequest>,
    ) -> Result<Response<api::ClearCartResponse>, Status> {
        let request = request.into_inner();
        let clear = |cart: &mut Cart| {
            cart.items.clear();
            Ok(())
        };
        let cart = Some(self.change_cart(&request.cart_token, &request.request_id, &request, clear).await?);
        Ok(Response::new(api::ClearCartResponse { cart }))
    }

    async fn merge_cart(
        &self,
        request: Request<api::MergeCartRequest>,
    ) -> Result<Response<api::MergeCartResponse>, Status> {
        let request = request.into_inner();
        let call = Call::current()?;
        let key = Key::of(&call, &request.request_id, &request);
        let (owner, guest) = (Whose::Owner(call.user()?.to_owned()), Whose::guest(&request.cart_token));
        let merged = self.0.db.once(key, async |unit: &mut Unit| {
            let other = cart_store::lock(unit, &guest).await?.ok_or_else(no_cart)?;
            let merged = change(unit, &owner, |cart| cart.merge(&other)).await?;
            cart_store::delete(unit, &other.id).await?;
            Ok(merged.message())
        });
        let cart = Some(self.priced(merged.await?).await);
        Ok(Response::new(api::MergeCartResponse { cart }))
    }

    async fn checkout_cart(
        &self,
        request: Request<api::CheckoutCartRequest>,
    ) -> Result<Response<api::CheckoutCartResponse>, Status> {
        let request = request.into_inner();
        let call = Call::current()?;
        let owner = call.user()?;
        let key = Key::of(&call, &request.request_id, &request);
        let whose = Whose::Owner(owner.to_owned());
        for attempt in 1.. {
            let cart = self.cart(&whose).await?;
            // What is refused here counts only if the key is free: a repeat gets its reply though the cart is empty.
            let wanted = self.wanted(&cart, &request).await;
            let mut placed = None;
            let reply = self.0.db.once(key.clone(), async |unit: &mut Unit| {
                let purchase = wanted?;
                let mut locked = cart_store::lock(unit, &whose).await?.ok_or_else(no_cart)?;
                if locked.version != cart.version {
                    return Err(changed());
                }
                let order = self.place(unit, owner, purchase.with_cart(&locked.id), None).await?;
                locked.items.clear();
                (locked.version, locked.update_time) = (locked.version + 1, unit.now());
                cart_store::save(unit, &locked).await?;
                let reply = api::CheckoutCartResponse { order: Some(proto::order(&order)) };
                placed = Some(order);
                Ok(reply)
            });
            match reply.await {
                // Others put something in while it was priced.
                Err(error) if error.reason() == "SERIALIZATION_FAILURE" && attempt < CHECKOUTS => {}
                Err(error) => return Err(error.into()),
                Ok(reply) => {
                    if let Some(order) = placed {
                        self.start(order);
                    }
                    return Ok(Response::new(reply));
                }
            }
        }
        Err(changed().into())
    }
}

impl Service {
    /// A cart as it is stored.
    ///
    /// # Errors
    /// `RESOURCE_NOT_FOUND` for a token that is of no cart. Someone who is signed in has a cart always.
    async fn cart(&self, whose: &Whose) -> Result<Cart, Error> {
        match self.0.db.read(async |session| cart_store::load(session, whose).await).await? {
            Some(cart) => Ok(cart),
            None => unstored(whose),
        }
    }

    /// Changes a cart in one unit, and prices it.
    async fn change_cart(
        &self,
        cart_token: &str,
        request_id: &str,
        request: &impl Message,
        work: impl FnOnce(&mut Cart) -> Result<(), Error>,
    ) -> Result<api::Cart, Error> {
        let call = Call::current()?;
        let whose = whose(cart_token)?;
        // The keys of a guest are those of the cart: guests have no name.
        let principal = match &whose {
            Whose::Owner(owner) => owner.clone(),
            Whose::Guest(hash) => hash.iter().fold("cart/".to_owned(), |text, byte| text + &format!("{byte:02x}")),
        };
        let method = call.method.as_ref().map_or("background", |method| method.path.as_str());
        let key = Key::new(principal, method, request_id, request);
        let changed = async |unit: &mut Unit| Ok(change(unit, &whose, work).await?.message());
        Ok(self.priced(self.0.db.once(key, changed).await?).await)
    }

    /// Refuses a variant that cannot be bought.
    async fn check_variant(&self, variant_id: &str) -> Result<(), Error> {
        self.price_basket(basket([(variant_id, 1)]), has_field).await.map(|_| ())
    }

    /// A cart with names and prices, and what is left of goods where that is less than is wanted.
    async fn priced(&self, mut cart: api::Cart) -> api::Cart {
        let variants = cart.lines.iter().map(|line| line.variant_id.clone()).collect();
        let (physical, available) = tokio::join!(self.price_lines(&mut cart), cart_stock::available(self, variants));
        if let Some(available) = available {
            cart_stock::show(&mut cart, &physical, &available);
        }
        cart
    }

    /// Writes names and prices into a cart, and gives back which of its variants need a parcel. Lines that cannot be bought
    /// are left out: the catalog names all of them at once.
    async fn price_lines(&self, cart: &mut api::Cart) -> Vec<String> {
        for _ in 0..PRICINGS {
            let left: Vec<_> = cart.lines.iter().filter(|line| line.problem.is_empty()).collect();
            if left.is_empty() {
                return Vec::new();
            }
            let left = left.into_iter().map(|line| (line.variant_id.as_str(), line.quantity));
            match self.price_basket(basket(left), has_field).await {
                Ok(quote) => {
                    let physical = quote.lines.iter().filter(|line| line.kind() == Kind::PhysicalGood);
                    let physical = physical.map(|line| line.variant_id.clone()).collect();
                    show_prices(cart, quote);
                    return physical;
                }
                // If it is the fault of no line, the cart is shown all the same.
                Err(error) if !show_problems(cart, &error) => break,
                Err(_) => {}
            }
        }
        for line in cart.lines.iter_mut().filter(|line| line.problem.is_empty()) {
            line.problem = "The price cannot be told at this moment. Look again in a moment.".to_owned();
        }
        Vec::new()
    }

    /// What a checkout is to buy, at the prices of this moment.
    async fn wanted(&self, cart: &Cart, request: &api::CheckoutCartRequest) -> Result<Purchase, Error> {
        cart.check(&request.etag)?;
        if cart.items.is_empty() {
            return Err(Error::new(Reason::CartEmpty, "There is nothing in the cart. Put something in first."));
        }
        let country_code = |at: &PostalAddress| at.country_code.clone();
        let basket = Basket {
            currency: request.currency.clone(),
            country_code: request.shipping_address.as_ref().map(country_code).unwrap_or_default(),
            promotion_code: request.promotion_code.clone(),
            ..basket(cart.items.iter().map(|(variant_id, quantity)| (variant_id.as_str(), *quantity)))
        };
        let quote = self.price_basket(basket, has_field).await?;
        Purchase::of(quote, request.shipping_address.clone(), request.payment_method_id.clone())
    }
}

/// Changes a cart within a unit. The first change of someone who is signed in makes the cart.
///
/// # Errors
/// What the change refuses; `SERIALIZATION_FAILURE` if somebody else makes the cart at the same time.
pub async fn change(
    unit: &mut Unit,
    whose: &Whose,
    work: impl FnOnce(&mut Cart) -> Result<(), Error>,
) -> Result<Cart, Error> {
    let mut cart = match cart_store::lock(unit, whose).await? {
        Some(cart) => cart,
        None => {
            let empty = unstored(whose)?;
            Cart { id: kit::id::new("crt", unit.now()), create_time: unit.now(), ..empty }
        }
    };
    let before = cart.clone();
    work(&mut cart)?;
    if cart.items == before.items {
        // Nothing to write, and a cart in which nothing ever was has no id.
        return if before.version == 0 && before.owner.is_some() { unstored(whose) } else { Ok(before) };
    }
    (cart.version, cart.update_time) = (before.version + 1, unit.now());
    if before.version > 0 || before.owner.is_none() {
        cart_store::save(unit, &cart).await?;
    } else if !cart_store::insert(unit, whose, &cart).await? {
        return Err(changed());
    }
    Ok(cart)
}

/// The cart of someone who has put nothing into it yet.
fn unstored(whose: &Whose) -> Result<Cart, Error> {
    let owner = whose.owner().ok_or_else(no_cart)?;
    Ok(Cart::empty(String::new(), Some(owner.to_owned()), kit::Timestamp::default()))
}

/// The cart with a token, or that of the caller.
fn whose(cart_token: &str) -> Result<Whose, Error> {
    if cart_token.is_empty() {
        let call = Call::current()?;
        let user = call.user().map_err(|_| {
            let message =
                "Log in, or make a cart for a guest (CreateCart, POST /api/v1/carts) and send its cart_token.";
            Error::new(Reason::TokenMissing, message)
        })?;
        Ok(Whose::Owner(user.to_owned()))
    } else {
        Ok(Whose::guest(cart_token))
    }
}

/// 256 random bits, as text.
fn new_token() -> String {
    rand::random::<[u8; 32]>().iter().map(|byte| format!("{byte:02x}")).collect()
}

fn basket<'a>(items: impl IntoIterator<Item = (&'a str, i64)>) -> Basket {
    let item = |(variant_id, quantity): (&str, i64)| Item { variant_id: variant_id.to_owned(), quantity };
    Basket { items: items.into_iter().map(item).collect(), ..Default::default() }
}

/// Whether requests have a field of an order: what is in a cart is in none of them.
fn has_field(field: &str) -> bool {
    !field.starts_with("items")
}

/// Writes into the lines what the catalog says against them. False if that is nothing new.
fn show_problems(cart: &mut api::Cart, error: &Error) -> bool {
    let first = error.metadata("variant").unwrap_or_default();
    let named: Vec<&str> = error.metadata("variants").unwrap_or(first).split(',').collect();
    let mut found = false;
    for line in cart.lines.iter_mut().filter(|line| line.problem.is_empty()) {
        if named.contains(&line.variant_id.as_str()) {
            line.problem = match line.variant_id == first {
                true => error.message().to_owned(),
                false => format!("The variant `{}` cannot be bought at this moment. Leave it out.", line.variant_id),
            };
            found = true;
        }
    }
    found
}

/// Writes what a quote says into the lines, and the subtotal where the quote is for all of them.
fn show_prices(cart: &mut api::Cart, quote: PurchaseQuote) {
    for quoted in quote.lines {
        if let Some(line) = cart.lines.iter_mut().find(|line| line.variant_id == quoted.variant_id) {
            (line.title, line.unit_price) = (quoted.title, quoted.unit_price);
        }
    }
    if cart.lines.iter().all(|line| line.problem.is_empty()) {
        cart.subtotal = less(quote.subtotal.as_ref(), quote.discount.as_ref());
    }
}

/// The difference of two amounts of one currency.
fn less(sum: Option<&Amount>, discount: Option<&Amount>) -> Option<Amount> {
    let sum = sum?;
    let decimals = sum.value.split_once('.').map_or(0, |(_, decimals)| decimals.len());
    let scale = u8::try_from(decimals).ok()?;
    let atoms = |amount: &Amount| amount::parse(&amount.value, scale).ok();
    let left = atoms(sum)?.checked_sub(discount.map_or(Some(0), atoms)?)?;
    Some(Amount { value: amount::format(left, scale), unit: sum.unit.clone() })
}

fn no_cart() -> Error {
    let message = "There is no cart with this token: it was merged, or nobody changed it for a month. Make another.";
    Error::new(Reason::ResourceNotFound, message)
}

fn changed() -> Error {
    let message = "The cart was changed at the same time. Repeat the request with the same request_id.";
    Error::new(Reason::SerializationFailure, message)
}
