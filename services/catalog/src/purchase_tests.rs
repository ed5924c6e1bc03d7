use proptest::prelude::*;

use super::*;
use crate::{assets::Seed, product::UnitKind, rates::Rates};

const NOW: Timestamp = Timestamp::from_seconds(1_800_000_000);
const HOUR: Duration = Duration::from_secs(3_600);
const QUARTER: Duration = Duration::from_secs(900);

fn currency(code: &str, scale: u8) -> Unit {
    Unit { code: code.into(), kind: UnitKind::Fiat, scale }
}

fn eur() -> Unit {
    currency("EUR", 2)
}

fn rates() -> Rates {
    Rates::read(&Seed::read().unwrap().currencies).unwrap()
}

/// A shipped mug of the kitchen at the full rate.
fn mug(atoms: i64) -> Offer {
    Offer {
        variant_id: "var_mug".into(),
        product_id: "prd_mug".into(),
        sku: "MUG".into(),
        title: "Mug (Blue)".into(),
        category: "kitchen".into(),
        physical: true,
        tax_class: TaxClass::Standard,
        on_sale: true,
        prices: ["EUR", "USD", "JPY"].map(|code| (code.to_owned(), NOW, atoms)).to_vec(),
    }
}

/// A download of the books at the reduced rate.
fn ebook(atoms: i64) -> Offer {
    Offer {
        variant_id: "var_ebook".into(),
        category: "books".into(),
        physical: false,
        tax_class: TaxClass::Reduced,
        ..mug(atoms)
    }
}

fn promotion(discount_bps: i64, category: &str, code: &str) -> Promotion {
    let some = |text: &str| (!text.is_empty()).then(|| text.to_owned());
    Promotion {
        id: "prm_1".into(),
        title: "Sale".into(),
        discount_bps,
        category: some(category),
        code: some(code),
        start_time: NOW,
        end_time: Some(NOW + HOUR),
        create_time: NOW,
    }
}

/// Prices so many pieces of each offer for a country.
fn price(
    offers: &[(Offer, i64)],
    promotions: &[Promotion],
    (country, unit, code): (&str, Unit, &str),
) -> Result<Purchase, Error> {
    crate::tests::install_contract();
    let items = offers.iter().map(|(offer, quantity)| (offer.variant_id.clone(), *quantity));
    let basket = Basket::new(items, unit, code.into())?;
    let offers = offers.iter().map(|(offer, _)| (offer.variant_id.clone(), Arc::new(offer.clone()))).collect();
    Purchase::new(&basket, &offers, promotions, rates().country(country)?, QUARTER, NOW)
}

#[test]
fn a_basket_costs_its_lines_less_discount_plus_shipping_and_tax() {
    let sale = [promotion(1_000, "kitchen", "")];
    let purchase = price(&[(mug(1_390), 2), (ebook(1_190), 1)], &sale, ("DE", eur(), "")).unwrap();
    let lines: Vec<_> =
        purchase.lines.iter().map(|line| (line.gross(), line.discount, line.tax, line.tax_bps, line.total())).collect();
    // 27.80 less 2.78 is 25.02, of which 19 % are 4.7538; 7 % of 11.90 are 0.833.
    assert_eq!(lines, [(2_780, 278, 475, 1_900, 2_977), (1_190, 0, 83, 700, 1_273)]);
    assert_eq!((purchase.shipping, purchase.shipping_tax), (490, 93));
    let sums = purchase.sums().unwrap();
    let taxes = vec![(1_900, 2_502 + 490, 475 + 93), (700, 1_190, 83)];
    assert_eq!(sums, Sums { subtotal: 3_970, discount: 278, tax: 651, total: 4_833, taxes });
    assert_eq!(purchase.expire_time, NOW + QUARTER);
}

#[test]
fn what_is_only_delivered_costs_no_shipping_and_what_is_worth_enough_is_shipped_free() {
    for (offers, shipping) in [
        (vec![(ebook(1_000), 3)], 0),
        (vec![(mug(4_999), 1)], 490),
        (vec![(mug(4_999), 1), (ebook(9_999), 1)], 490),
        (vec![(mug(5_000), 1)], 0),
        (vec![(mug(2_500), 2)], 0),
    ] {
        assert_eq!(price(&offers, &[], ("DE", eur(), "")).unwrap().shipping, shipping, "{offers:?}");
    }
    let sale = [promotion(100, "", "")];
    assert_eq!(price(&[(mug(5_000), 1)], &sale, ("DE", eur(), "")).unwrap().shipping, 490, "after the discount");
}

#[test]
fn a_country_without_tax_and_an_exempt_good_show_no_tax() {
    let purchase = price(&[(mug(1_000), 1)], &[], ("US", eur(), "")).unwrap();
    let sums = purchase.sums().unwrap();
    assert_eq!((sums.tax, sums.taxes.as_slice(), sums.total), (0, [].as_slice(), 1_000 + 1_390));
    let exempt = Offer { tax_class: TaxClass::Exempt, ..ebook(1_000) };
    assert_eq!(price(&[(exempt, 1)], &[], ("DE", eur(), "")).unwrap().sums().unwrap().taxes, []);
    // Books are at zero in GB, shipping is not.
    let book = Offer { tax_class: TaxClass::Reduced, ..mug(1_000) };
    let sums = price(&[(book, 1)], &[], ("GB", eur(), "")).unwrap().sums().unwrap();
    assert_eq!(sums.taxes, [(2_000, 1_090, 218)]);
}

#[test]
fn only_the_best_promotion_that_applies_is_taken() {
    let all = [
        promotion(1_000, "", ""),
        promotion(1_500, "kitchen", ""),
        promotion(2_000, "kitchen", "TWENTY"),
        promotion(5_000, "", "HALF"),
    ];
    for (code, mug_discount, book_discount) in [("", 150, 100), ("TWENTY", 200, 100), ("HALF", 500, 500)] {
        let purchase = price(&[(mug(1_000), 1), (ebook(1_000), 1)], &all, ("DE", eur(), code)).unwrap();
        let discounts: Vec<i64> = purchase.lines.iter().map(|line| line.discount).collect();
        assert_eq!(discounts, [mug_discount, book_discount], "{code}");
    }
    let free = price(&[(ebook(1_000), 1)], &[promotion(10_000, "", "")], ("DE", eur(), "")).unwrap();
    assert_eq!(free.sums().unwrap().total, 0);
}

#[test]
fn a_promotion_holds_from_its_start_to_its_end_and_its_code_no_longer() {
    let before = Promotion { start_time: NOW + HOUR, end_time: None, ..promotion(1_000, "", "") };
    let after = Promotion { end_time: Some(NOW), ..promotion(1_000, "", "") };
    assert!(!before.holds(NOW) && before.holds(NOW + HOUR));
    assert!(!after.holds(NOW));
    for ended in [before, after] {
        let purchase = price(&[(mug(1_000), 1)], std::slice::from_ref(&ended), ("DE", eur(), "")).unwrap();
        assert_eq!(purchase.lines[0].discount, 0);
        let coded = Promotion { code: Some("SPRING".into()), ..ended };
        let refused = price(&[(mug(1_000), 1)], &[coded], ("DE", eur(), "SPRING")).unwrap_err();
        assert_eq!((refused.reason(), refused.metadata("field")), ("INVALID_FIELD", Some("basket.promotion_code")));
    }
}

#[test]
fn a_promotion_ends_once() {
    crate::tests::install_contract();
    let ahead = Promotion { start_time: NOW + HOUR, end_time: None, ..promotion(1_000, "", "") };
    for begun in [promotion(1_000, "", ""), ahead] {
        let ended = begun.ended(NOW).unwrap();
        assert_eq!(ended.end_time, Some(NOW));
        assert!(!ended.holds(NOW) && !ended.holds(NOW + HOUR));
        assert_eq!(ended.ended(NOW).unwrap_err().reason(), "INVALID_STATE_TRANSITION");
    }
}

#[test]
fn a_price_holds_until_a_later_one_does() {
    let prices = [(0, 100), (-3_600, 90), (3_600, 110)].map(|(seconds, atoms)| {
        let start = Timestamp::from_seconds(NOW.seconds() + seconds);
        ("EUR".to_owned(), start, atoms)
    });
    let offer = Offer { prices: prices.to_vec(), ..mug(1) };
    let at = |seconds| offer.price(&eur(), Timestamp::from_seconds(NOW.seconds() + seconds));
    assert_eq!(
        [-3_601, -3_600, -1, 0, 3_599, 3_600].map(at),
        [None, Some(90), Some(90), Some(100), Some(100), Some(110)]
    );
    assert_eq!(offer.price(&currency("USD", 2), NOW), None);
}

#[test]
fn what_cannot_be_bought_is_refused_with_the_variant() {
    let archived = Offer { on_sale: false, ..mug(1_000) };
    let unpriced = Offer { prices: vec![], ..mug(1_000) };
    let ahead = Offer { prices: vec![("EUR".into(), NOW + HOUR, 1_000)], ..mug(1_000) };
    for offer in [archived, unpriced, ahead] {
        let refused = price(&[(ebook(1), 1), (offer, 1)], &[], ("DE", eur(), "")).unwrap_err();
        assert_eq!((refused.reason(), refused.metadata("variant")), ("PRODUCT_UNAVAILABLE", Some("var_mug")));
    }
    let items = [("var_nobody".to_owned(), 1), ("var_none".to_owned(), 1)];
    let basket = Basket::new(items, eur(), String::new()).unwrap();
    let rates = rates();
    let unknown = Purchase::new(&basket, &HashMap::new(), &[], rates.country("DE").unwrap(), QUARTER, NOW);
    let unknown = unknown.unwrap_err();
    assert_eq!(unknown.metadata("variant"), Some("var_nobody"));
    assert_eq!(unknown.metadata("variants"), Some("var_nobody,var_none"), "all at once");
}

#[test]
fn a_basket_has_each_variant_once_and_its_limits() {
    crate::tests::install_contract();
    let basket = |items: &[(&str, i64)]| {
        Basket::new(items.iter().map(|(id, quantity)| ((*id).to_owned(), *quantity)), eur(), String::new())
    };
    let merged = basket(&[("a", 1), ("b", 2), ("a", 3)]).unwrap();
    assert_eq!(merged.items, [("a".to_owned(), 4), ("b".to_owned(), 2)]);
    for (items, field) in [
        (vec![], "basket.items"),
        (vec![("a", 0)], "basket.items.quantity"),
        (vec![("a", -1)], "basket.items.quantity"),
        (vec![("a", 10_001)], "basket.items.quantity"),
        (vec![("a", 10_000), ("a", 1)], "basket.items"),
    ] {
        let refused = basket(&items).unwrap_err();
        assert_eq!((refused.reason(), refused.metadata("field")), ("INVALID_FIELD", Some(field)), "{items:?}");
    }
    let names: Vec<String> = (0..101).map(|number| number.to_string()).collect();
    let many = |count: usize| basket(&names.iter().take(count).map(|name| (name.as_str(), 1)).collect::<Vec<_>>());
    assert!(many(100).is_ok());
    assert_eq!(many(101).unwrap_err().reason(), "INVALID_FIELD");
}

#[test]
fn a_sum_that_does_not_fit_is_refused() {
    for offers in [
        vec![(mug(i64::MAX), 10_000)],
        vec![(mug(i64::MAX), 1)],
        vec![(mug(i64::MAX / 2), 1), (ebook(i64::MAX / 2), 1)],
    ] {
        let refused = price(&offers, &[], ("DE", eur(), "")).unwrap_err();
        assert_eq!(refused.reason(), "AMOUNT_OUT_OF_RANGE");
    }
}

#[test]
fn a_quote_holds_until_it_expires_or_something_of_it_is_gone() {
    let purchase = price(&[(mug(1_000), 1), (ebook(1_000), 1)], &[], ("DE", eur(), "")).unwrap();
    assert!(purchase.holds(NOW + QUARTER - Duration::from_micros(1)).is_ok());
    assert_eq!(purchase.holds(NOW + QUARTER).unwrap_err().reason(), "QUOTE_EXPIRED");
    let mut gone = purchase;
    gone.lines[1].offer = Arc::new(Offer { on_sale: false, ..ebook(1_000) });
    let refused = gone.holds(NOW).unwrap_err();
    assert_eq!((refused.reason(), refused.metadata("variant")), ("PRODUCT_UNAVAILABLE", Some("var_ebook")));
}

#[test]
fn a_currency_without_decimals_is_paid_in_whole_units() {
    let yen = currency("JPY", 0);
    let purchase = price(&[(mug(1_985), 1), (ebook(999), 1)], &[promotion(1_000, "", "")], ("DE", yen, "")).unwrap();
    // 10 % of 1985 are 198.5, 19 % of 1787 are 339.53; 10 % of 999 are 99.9, 7 % of 900 are 63; 19 % of 850 are 161.5.
    let lines: Vec<_> = purchase.lines.iter().map(|line| (line.discount, line.tax)).collect();
    assert_eq!((lines, purchase.shipping, purchase.shipping_tax), (vec![(198, 340), (99, 63)], 850, 162));
    assert_eq!(purchase.sums().unwrap().total, 1_985 + 999 - 297 + 850 + 565);
}

fn offers() -> impl Strategy<Value = Vec<(Offer, i64)>> {
    let class = prop::sample::select(vec![TaxClass::Standard, TaxClass::Reduced, TaxClass::Exempt]);
    let category = prop::sample::select(vec!["kitchen", "books", "home"]);
    let offer = (1_i64..5_000_000, 1_i64..=10_000, class, category, any::<bool>());
    prop::collection::vec(offer, 1..20).prop_map(|offers| {
        let named = |(index, (atoms, quantity, tax_class, category, physical)): (usize, _)| {
            let category = str::to_owned(category);
            (Offer { variant_id: format!("var_{index}"), tax_class, category, physical, ..mug(atoms) }, quantity)
        };
        offers.into_iter().enumerate().map(named).collect()
    })
}

fn promotions() -> impl Strategy<Value = Vec<Promotion>> {
    let category = prop::sample::select(vec!["", "kitchen", "books"]);
    let one = (1_i64..=10_000, category, prop::sample::select(vec!["", "CODE"]));
    prop::collection::vec(one, 0..4)
        .prop_map(|all| all.into_iter().map(|(bps, category, code)| promotion(bps, category, code)).collect())
}

fn places() -> impl Strategy<Value = (&'static str, Unit)> {
    let countries = prop::sample::select(vec!["DE", "FR", "NL", "US", "GB", "CH"]);
    let currencies = prop::sample::select(vec![("EUR", 2), ("USD", 2), ("JPY", 0)]);
    (countries, currencies).prop_map(|(country, (code, scale))| (country, currency(code, scale)))
}

proptest! {
    #[test]
    fn the_total_is_the_subtotal_less_discount_plus_shipping_and_tax(
        offers in offers(), promotions in promotions(), place in places(),
    ) {
        let purchase = price(&offers, &promotions, (place.0, place.1, "")).unwrap();
        let sums = purchase.sums().unwrap();
        prop_assert_eq!(sums.total, sums.subtotal - sums.discount + purchase.shipping + sums.tax);
        let lines: i128 = purchase.lines.iter().map(Line::total).sum();
        let shipping = i128::from(purchase.shipping + purchase.shipping_tax);
        prop_assert_eq!(i128::from(sums.total), lines + shipping);
        prop_assert_eq!(sums.taxes.iter().map(|(.., amount)| amount).sum::<i64>(), sums.tax);
        prop_assert!(sums.taxes.iter().all(|(rate, base, amount)| *rate > 0 && *base > 0 && *amount <= *base));
        prop_assert!(sums.discount >= 0 && sums.discount <= sums.subtotal && sums.total >= 0);
    }

    #[test]
    fn every_line_rounds_by_itself(offers in offers(), promotions in promotions(), place in places()) {
        let together = price(&offers, &promotions, (place.0, place.1.clone(), "")).unwrap();
        for (offer, line) in offers.iter().zip(&together.lines) {
            let alone = price(std::slice::from_ref(offer), &promotions, (place.0, place.1.clone(), "")).unwrap();
            prop_assert_eq!(&alone.lines[0], line);
            // Never more than a part off what it is exactly; a discount is never rounded up.
            let exact = line.net() * i128::from(line.tax_bps);
            prop_assert!((i128::from(line.tax) * PER_BPS - exact).abs() * 2 <= PER_BPS);
            let best = promotions.iter().filter(|one| one.applies(&offer.0.category, "", NOW)).map(|one| one.discount_bps);
            let exact = line.gross() * i128::from(best.max().unwrap_or(0));
            prop_assert!((0..PER_BPS).contains(&(exact - i128::from(line.discount) * PER_BPS)));
        }
    }

    #[test]
    fn every_quote_of_a_purchase_survives_its_token(
        offers in offers(), promotions in promotions(), place in places(), nonce: u64,
    ) {
        let signer = crate::token::Signer::new("key");
        let purchase = price(&offers, &promotions, (place.0, place.1, "")).unwrap();
        let token = signer.sign_purchase(&purchase, "usr_1", nonce);
        let known = purchase.lines.iter().map(|line| (line.offer.variant_id.clone(), line.offer.clone())).collect();
        let frozen = signer.open_purchase(&token, "usr_1").unwrap();
        prop_assert_eq!(frozen.variants().count(), offers.len());
        prop_assert_eq!(frozen.thaw(&known).unwrap(), purchase);
        let someone_elses = signer.open_purchase(&token, "usr_2").unwrap_err();
        let no_trade = signer.open(&token, "usr_1").unwrap_err();
        prop_assert_eq!([someone_elses.reason(), no_trade.reason()], ["QUOTE_INVALID"; 2]);
    }
}
