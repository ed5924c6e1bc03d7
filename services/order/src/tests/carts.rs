//! What people think of buying.

use contracts::order::v1::{cart_service_server::CartService, order::State};
use contracts::r#type::v1::Reason;
use futures::future::join_all;
use storage::{Session, Unit};
use tokio::time::Instant;

use super::{fakes::Mood, *};
use crate::cart_sweep;

impl Bench {
    /// A bench whose shelf has `a`, `b` and `c` for 1, 2 and 3 dollars.
    pub async fn each_with_shelf() -> Vec<Bench> {
        let benches = Bench::each_patient().await;
        for bench in &benches {
            for (name, cents) in [("a", 100), ("b", 200), ("c", 300)] {
                bench.catalog.shelf.put(&variant(name), cents);
            }
        }
        benches
    }

    async fn guest(&self) -> String {
        let request = Request::new(api::CreateCartRequest {});
        answer(guest_call(), self.service.create_cart(request)).await.unwrap().cart_token
    }

    pub async fn cart(&self, call: Call, cart_token: &str) -> Result<api::Cart, Error> {
        let request = Request::new(api::GetCartRequest { cart_token: cart_token.to_owned() });
        Ok(answer(call, self.service.get_cart(request)).await?.cart.unwrap())
    }

    pub async fn add(&self, call: Call, cart_token: &str, name: &str, quantity: i64) -> Result<api::Cart, Error> {
        let request = api::AddCartItemRequest {
            request_id: request_id(),
            cart_token: cart_token.to_owned(),
            variant_id: variant(name),
            quantity,
        };
        Ok(answer(call, self.service.add_cart_item(Request::new(request))).await?.cart.unwrap())
    }

    async fn put(&self, call: Call, name: &str, quantity: i64) -> Result<api::Cart, Error> {
        let request = api::UpdateCartItemRequest {
            request_id: request_id(),
            cart_token: String::new(),
            variant_id: variant(name),
            quantity,
        };
        Ok(answer(call, self.service.update_cart_item(Request::new(request))).await?.cart.unwrap())
    }

    async fn merge(&self, owner: &str, request: &api::MergeCartRequest) -> Result<api::Cart, Error> {
        let request = Request::new(request.clone());
        Ok(answer(user_call(owner), self.service.merge_cart(request)).await?.cart.unwrap())
    }

    pub async fn checkout(&self, owner: &str, request: &api::CheckoutCartRequest) -> Result<api::Order, Error> {
        let request = Request::new(request.clone());
        Ok(answer(user_call(owner), self.service.checkout_cart(request)).await?.order.unwrap())
    }
}

fn guest_call() -> Call {
    Call::background("edge", Duration::from_secs(60))
}

pub fn checkout() -> api::CheckoutCartRequest {
    api::CheckoutCartRequest { request_id: request_id(), ..Default::default() }
}

/// `a 2, b 1`: what is in a cart.
pub fn contents(cart: &api::Cart) -> String {
    let name = |id: &str| ["a", "b", "c"].into_iter().find(|name| variant(name) == id).unwrap_or("?");
    let lines = cart.lines.iter().map(|line| format!("{} {}", name(&line.variant_id), line.quantity));
    lines.collect::<Vec<_>>().join(", ")
}

#[tokio::test]
async fn a_guest_has_a_cart_by_its_token_at_the_prices_of_the_moment() {
    for bench in Bench::each_with_shelf().await {
        let token = bench.guest().await;
        assert!(token.len() == 64 && token.bytes().all(|byte| byte.is_ascii_hexdigit()));
        bench.add(guest_call(), &token, "a", 2).await.unwrap();
        let cart = bench.add(guest_call(), &token, "b", 1).await.unwrap();
        assert_eq!((contents(&cart).as_str(), cart.owner_id.as_str()), ("a 2, b 1", ""));
        assert_eq!(cart.lines[0].unit_price, amount("1.00", "USD"));
        assert_eq!(cart.subtotal, amount("3.00", "USD"), "4.00 less a dollar of discount");
        bench.catalog.shelf.put(&variant("a"), 150);
        let cart = bench.cart(guest_call(), &token).await.unwrap();
        assert_eq!(cart.subtotal, amount("4.00", "USD"));
        assert_eq!(bench.cart(guest_call(), "another token").await.unwrap_err().reason(), "RESOURCE_NOT_FOUND");
        assert_eq!(bench.cart(guest_call(), "").await.unwrap_err().reason(), "TOKEN_MISSING");
    }
}

#[tokio::test]
async fn the_token_of_a_guest_is_nowhere_in_the_database() {
    for bench in Bench::each_with_shelf().await {
        let token = bench.guest().await;
        bench.add(guest_call(), &token, "a", 2).await.unwrap();
        const STORED: &str = "SELECT content, id FROM carts UNION ALL SELECT token_hash, id FROM carts
            UNION ALL SELECT reply, principal FROM idempotency_keys";
        let rows = bench.db.read(async |session: &mut Session| session.rows(STORED, &[]).await).await.unwrap();
        assert_eq!(rows.len(), 3);
        let raw = (0..64).step_by(2).map(|at| u8::from_str_radix(&token[at..at + 2], 16).unwrap()).collect::<Vec<_>>();
        for row in rows {
            let (bytes, text) = (row.bytes(0).unwrap(), row.text(1).unwrap());
            assert!(!text.contains(&token) && !bytes.windows(64).any(|part| part == token.as_bytes()));
            assert!(!bytes.windows(32).any(|part| part == raw));
        }
    }
}

#[tokio::test]
async fn a_line_that_cannot_be_bought_says_why_and_the_others_keep_their_prices() {
    for bench in Bench::each_with_shelf().await {
        let me = user();
        for name in ["a", "b", "c"] {
            bench.add(user_call(&me), "", name, 1).await.unwrap();
        }
        bench.catalog.shelf.take(&variant("b"));
        bench.catalog.shelf.calls();
        let cart = bench.cart(user_call(&me), "").await.unwrap();
        assert_eq!(bench.catalog.shelf.calls(), 2);
        let told: Vec<_> = cart.lines.iter().map(|line| (line.problem.is_empty(), line.unit_price.is_some())).collect();
        assert_eq!((told, cart.subtotal), (vec![(true, true), (false, false), (true, true)], None));
        let error = bench.add(user_call(&me), "", "b", 1).await.unwrap_err();
        assert_eq!(error.reason(), "PRODUCT_UNAVAILABLE");
        let error = bench.checkout(&me, &checkout()).await.unwrap_err();
        assert_eq!((error.reason(), error.metadata("variant")), ("PRODUCT_UNAVAILABLE", Some(variant("b").as_str())));
        bench.put(user_call(&me), "b", 0).await.unwrap();
        assert!(bench.cart(user_call(&me), "").await.unwrap().subtotal.is_some());
    }
}

#[tokio::test]
async fn a_cart_says_how_many_are_left_and_is_shown_without_that_if_inventory_does_not_answer() {
    for bench in Bench::each_patient().await {
        let me = user();
        bench.catalog.sell(basket(&[("mug", false, 1, 100), ("pan", false, 1, 100), ("book", true, 1, 100)]));
        bench.inventory.stock(&variant("mug"), 395);
        for (name, quantity) in [("mug", 5_000), ("pan", 1), ("book", 1)] {
            bench.add(user_call(&me), "", name, quantity).await.unwrap();
        }
        let problems = |cart: api::Cart| cart.lines.into_iter().map(|line| line.problem).collect::<Vec<_>>();
        let shown = async || problems(bench.cart(user_call(&me), "").await.unwrap());
        assert_eq!(shown().await, ["Only 395 are left.", "Sold out.", ""]);
        let changed = bench.put(user_call(&me), "mug", 395).await.unwrap();
        assert_eq!(problems(changed), ["", "Sold out.", ""]);
        for mood in [Mood::Away, Mood::Hanging] {
            bench.inventory.moods.set("available", mood);
            assert_eq!(shown().await, ["", "", ""]);
        }
    }
}

#[tokio::test]
async fn a_cart_leaves_inventory_no_more_than_half_of_the_time_in_which_it_has_to_be_shown() {
    for bench in Bench::each_with_shelf().await {
        let me = user();
        bench.add(user_call(&me), "", "a", 1).await.unwrap();
        bench.inventory.moods.set("available", Mood::Hanging);
        let began = Instant::now();
        let hurried = Call { deadline: Some(began + Duration::from_millis(100)), ..user_call(&me) };
        assert_eq!(contents(&bench.cart(hurried, "").await.unwrap()), "a 1");
        assert!(began.elapsed() < Duration::from_millis(500), "it waited as if nobody was in a hurry");
    }
}

#[tokio::test]
async fn a_checkout_is_told_of_no_field_that_it_does_not_have() {
    for bench in Bench::each_patient().await {
        let me = user();
        bench.catalog.sell(basket(MUGS));
        bench.add(user_call(&me), "", "mug", 1).await.unwrap();
        let refusal = |field: &str| {
            let message = format!("`{field}` is wrong. Correct it.");
            Error::new(Reason::InvalidField, message).domain("catalog.agora")
        };
        let at = |field: &str| refusal(field).with("field", field).violation(field, "is wrong");
        for (of_basket, of_checkout) in
            [("basket.items", refusal("items")), ("basket.items[0].quantity", refusal("items[0].quantity"))]
        {
            bench.catalog.refuse(at(of_basket));
            assert_eq!(bench.checkout(&me, &checkout()).await.unwrap_err(), of_checkout);
        }
        bench.catalog.refuse(at("basket.promotion_code"));
        assert_eq!(bench.checkout(&me, &checkout()).await.unwrap_err(), at("promotion_code"));
    }
}

#[tokio::test]
async fn a_cart_of_many_problems_asks_the_catalog_once_more_than_one_of_none() {
    for bench in Bench::each_with_shelf().await {
        let me = user();
        let names: Vec<String> = (0..40).map(|number| format!("good {number}")).collect();
        for name in &names {
            bench.catalog.shelf.put(&variant(name), 100);
            bench.add(user_call(&me), "", name, 1).await.unwrap();
        }
        for (gone, calls) in [(0, 1), (39, 2), (40, 1)] {
            names[..gone].iter().for_each(|name| bench.catalog.shelf.take(&variant(name)));
            bench.catalog.shelf.calls();
            let cart = bench.cart(user_call(&me), "").await.unwrap();
            let problems = cart.lines.iter().filter(|line| line.problem.contains("Leave it out")).count();
            let prices = cart.lines.iter().filter(|line| line.unit_price.is_some()).count();
            assert_eq!((problems, prices), (gone, 40 - gone));
            assert_eq!(bench.catalog.shelf.calls(), calls, "{gone} of 40 are gone");
        }
    }
}

#[tokio::test]
async fn someone_who_has_put_nothing_in_has_an_empty_cart_and_no_row() {
    for bench in Bench::each_with_shelf().await {
        let me = user();
        let cart = bench.cart(user_call(&me), "").await.unwrap();
        assert_eq!(cart, api::Cart { owner_id: me.clone(), etag: "\"v0\"".to_owned(), ..Default::default() });
        let cart = bench.put(user_call(&me), "a", 0).await.unwrap();
        assert_eq!(cart.id, "");
        let cart = bench.put(user_call(&me), "a", 7).await.unwrap();
        assert!(cart.id.starts_with("crt_") && cart.etag == "\"v1\"");
        assert_eq!(bench.put(user_call(&me), "a", 7).await.unwrap().etag, "\"v1\"", "nothing has changed");
        let clear = api::ClearCartRequest { request_id: request_id(), cart_token: String::new() };
        let cleared = answer(user_call(&me), bench.service.clear_cart(Request::new(clear))).await.unwrap();
        assert_eq!(
            (contents(&cleared.cart.clone().unwrap()), cleared.cart.unwrap().etag),
            (String::new(), "\"v2\"".into())
        );
    }
}

#[tokio::test]
async fn the_same_request_adds_once() {
    for bench in Bench::each_with_shelf().await {
        let (me, token) = (user(), bench.guest().await);
        for (call, cart_token) in [(user_call(&me), String::new()), (guest_call(), token)] {
            let variant_id = variant("a");
            let request = api::AddCartItemRequest { request_id: request_id(), cart_token, variant_id, quantity: 2 };
            for _ in 0..2 {
                let reply = answer(call.clone(), bench.service.add_cart_item(Request::new(request.clone()))).await;
                assert_eq!(contents(&reply.unwrap().cart.unwrap()), "a 2");
            }
        }
    }
}

#[tokio::test]
async fn a_repeat_gets_its_reply_though_the_good_is_not_on_sale_any_more() {
    for bench in Bench::each_with_shelf().await {
        let me = user();
        let variant_id = variant("a");
        let add = api::AddCartItemRequest {
            request_id: request_id(),
            variant_id: variant_id.clone(),
            quantity: 2,
            ..Default::default()
        };
        let set = api::UpdateCartItemRequest {
            request_id: request_id(),
            variant_id: variant_id.clone(),
            quantity: 3,
            ..Default::default()
        };
        for on_sale in [true, false] {
            let added = answer(user_call(&me), bench.service.add_cart_item(Request::new(add.clone()))).await.unwrap();
            assert_eq!(contents(&added.cart.unwrap()), "a 2");
            let changed = answer(user_call(&me), bench.service.update_cart_item(Request::new(set.clone()))).await;
            assert_eq!(contents(&changed.unwrap().cart.unwrap()), "a 3");
            if on_sale {
                bench.catalog.shelf.take(&variant_id);
            }
        }
        for request in [add, api::AddCartItemRequest { quantity: 1, variant_id, ..Default::default() }] {
            let again = api::AddCartItemRequest { request_id: request_id(), ..request };
            let refused = answer(user_call(&me), bench.service.add_cart_item(Request::new(again))).await.unwrap_err();
            assert_eq!(refused.reason(), "PRODUCT_UNAVAILABLE");
        }
    }
}

#[tokio::test]
async fn at_login_the_larger_number_counts_and_the_cart_of_the_guest_ends() {
    for bench in Bench::each_with_shelf().await {
        let (me, cart_token) = (user(), bench.guest().await);
        for (name, quantity) in [("a", 2), ("b", 5)] {
            bench.add(guest_call(), &cart_token, name, quantity).await.unwrap();
        }
        for (name, quantity) in [("c", 1), ("b", 3), ("a", 4)] {
            bench.add(user_call(&me), "", name, quantity).await.unwrap();
        }
        let request = api::MergeCartRequest { request_id: request_id(), cart_token: cart_token.clone() };
        let merged = bench.merge(&me, &request).await.unwrap();
        assert_eq!(contents(&merged), "c 1, b 5, a 4");
        assert_eq!(bench.merge(&me, &request).await.unwrap(), merged, "a repeat");
        assert_eq!(bench.cart(guest_call(), &cart_token).await.unwrap_err().reason(), "RESOURCE_NOT_FOUND");
        let again = api::MergeCartRequest { request_id: request_id(), cart_token };
        assert_eq!(bench.merge(&user(), &again).await.unwrap_err().reason(), "RESOURCE_NOT_FOUND");
    }
}

#[tokio::test]
async fn a_cart_has_a_limit_of_lines_and_of_pieces() {
    install();
    let mut cart = crate::cart::Cart::empty(String::new(), None, Timestamp::default());
    for number in 0..100 {
        cart.add(&variant(&number.to_string()), 10_000).unwrap();
    }
    assert_eq!(cart.add(&variant("one more"), 1).unwrap_err().reason(), "LIMIT_EXCEEDED");
    assert_eq!(cart.add(&variant("0"), 1).unwrap_err().reason(), "LIMIT_EXCEEDED");
    assert_eq!(cart.add(&variant("0"), i64::MAX).unwrap_err().reason(), "LIMIT_EXCEEDED");
    let mut other = crate::cart::Cart::empty(String::new(), None, Timestamp::default());
    other.add(&variant("one more"), 1).unwrap();
    assert_eq!(cart.merge(&other).unwrap_err().reason(), "LIMIT_EXCEEDED");
    assert_eq!((cart.put_back(&variant("one more"), 3), cart.put_back(&variant("0"), 2)), (3, 2));
    assert!(cart.items.len() == 100 && cart.items[0].1 == 10_000, "what is too much stays out");
    cart.set(&variant("1"), 9_999).unwrap();
    assert_eq!((cart.put_back(&variant("1"), 5), cart.items[1].1), (4, 10_000));
    cart.set(&variant("0"), 0).unwrap();
    cart.merge(&other).unwrap();
    assert_eq!(cart.items.len(), 100);
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn what_many_put_in_at_once_is_all_there() {
    for bench in Bench::each_with_shelf().await {
        let me = user();
        let add = async |number: usize| {
            let name = ["a", "b", "c"][number % 3];
            loop {
                match bench.add(user_call(&me), "", name, 1).await {
                    Err(error) if error.reason() == "SERIALIZATION_FAILURE" => {}
                    outcome => return outcome.unwrap(),
                }
            }
        };
        join_all((0..24).map(add)).await;
        let cart = bench.cart(user_call(&me), "").await.unwrap();
        assert_eq!(cart.lines.iter().map(|line| line.quantity).collect::<Vec<_>>(), [8, 8, 8]);
    }
}

#[tokio::test]
async fn a_checkout_orders_everything_and_empties_the_cart_once() {
    for bench in Bench::each_with_shelf().await {
        let me = user();
        assert_eq!(bench.checkout(&me, &checkout()).await.unwrap_err().reason(), "CART_EMPTY");
        bench.add(user_call(&me), "", "a", 2).await.unwrap();
        let cart = bench.add(user_call(&me), "", "b", 1).await.unwrap();
        let late = api::CheckoutCartRequest { etag: "\"v1\"".to_owned(), ..checkout() };
        assert_eq!(bench.checkout(&me, &late).await.unwrap_err().reason(), "ETAG_MISMATCH");
        let request = api::CheckoutCartRequest { etag: cart.etag, ..checkout() };
        let order = bench.checkout(&me, &request).await.unwrap();
        assert_eq!(order.state(), State::Pending);
        let purchase = order.purchase.clone().unwrap();
        let bought: Vec<_> = purchase.lines.iter().map(|line| (line.variant_id.clone(), line.quantity)).collect();
        assert_eq!(bought, [(variant("a"), 2), (variant("b"), 1)]);
        assert_eq!(purchase.total, amount("4.00", "USD"));
        assert_eq!(contents(&bench.cart(user_call(&me), "").await.unwrap()), "");
        assert_eq!(bench.checkout(&me, &request).await.unwrap(), order, "a repeat");
        bench.reaches(&me, &order.id, State::Fulfilled).await;
        assert_eq!(bench.states(&me).await.len(), 1);
    }
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn many_identical_checkouts_are_one_order_and_different_ones_never_two() {
    for bench in Bench::each_with_shelf().await {
        for same in [true, false] {
            let me = user();
            bench.add(user_call(&me), "", "a", 2).await.unwrap();
            let request = checkout();
            let ask = async |_| {
                let request = if same { request.clone() } else { checkout() };
                loop {
                    match bench.checkout(&me, &request).await {
                        Err(error) if !error.definitive() => {}
                        outcome => return outcome,
                    }
                }
            };
            let outcomes = join_all((0..16).map(ask)).await;
            let placed = outcomes.iter().filter(|outcome| outcome.is_ok()).count();
            assert_eq!(placed, if same { 16 } else { 1 });
            let refused = outcomes.iter().filter_map(|outcome| outcome.as_ref().err());
            assert!(refused.map(Error::reason).all(|reason| reason == "CART_EMPTY"));
            assert_eq!(bench.states(&me).await.len(), 1);
        }
    }
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn what_is_put_in_while_the_cart_is_ordered_is_ordered_or_stays() {
    for bench in Bench::each_with_shelf().await {
        let me = user();
        bench.add(user_call(&me), "", "a", 1).await.unwrap();
        let add = async || loop {
            match bench.add(user_call(&me), "", "a", 1).await {
                Err(error) if !error.definitive() => {}
                outcome => return outcome.unwrap(),
            }
        };
        let order = async || loop {
            let request = checkout();
            match bench.checkout(&me, &request).await {
                Err(error) if !error.definitive() => {}
                outcome => return outcome.unwrap(),
            }
        };
        let ((..), order) = tokio::join!(
            async {
                join_all((0..8).map(|_| add())).await;
            },
            order()
        );
        let bought: i64 = order.purchase.unwrap().lines.iter().map(|line| line.quantity).sum();
        let left: i64 = bench.cart(user_call(&me), "").await.unwrap().lines.iter().map(|line| line.quantity).sum();
        assert_eq!(bought + left, 9);
    }
}

#[tokio::test]
async fn carts_that_guests_left_end_after_thirty_days_and_those_of_customers_stay() {
    for bench in Bench::each_with_shelf().await {
        let (me, old) = (user(), bench.guest().await);
        bench.add(user_call(&me), "", "a", 1).await.unwrap();
        bench.clock.advance(Duration::from_secs(30 * 24 * 3_600 - 1));
        let young = bench.guest().await;
        let sweep = async || bench.db.write(async |unit: &mut Unit| cart_sweep::sweep(unit).await).await.unwrap();
        assert_eq!(sweep().await, 0);
        bench.clock.advance(Duration::from_secs(2));
        assert_eq!(sweep().await, 1);
        assert_eq!(bench.cart(guest_call(), &old).await.unwrap_err().reason(), "RESOURCE_NOT_FOUND");
        bench.cart(guest_call(), &young).await.unwrap();
        assert_eq!(contents(&bench.cart(user_call(&me), "").await.unwrap()), "a 1");
    }
}
