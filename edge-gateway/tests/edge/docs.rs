//! `/docs` says of each call what it takes, what must be there, and by which rules.

use crate::support;

/// What the page says of one call.
fn call<'p>(page: &'p str, id: &str) -> &'p str {
    let (_, rest) = page.split_once(&format!("<details id=\"{id}\">")).unwrap_or_else(|| panic!("{id} is not there"));
    rest.split_once("<details id=").map_or(rest, |(call, _)| call)
}

#[tokio::test]
async fn the_page_tells_what_a_call_takes() {
    let page = support::start_platform().await.send("GET /docs", &[]).await.body;
    for (id, words) in [
        (
            "PricingService_UpdateListPrice",
            "<code>etag</code><td><b>required</b><td>string<td>The etag of the variant's",
        ),
        ("PricingService_UpdateListPrice", "<i>It must have at most 40 characters.</i>"),
        ("PricingService_UpdateListPrice", "<code>unit</code><td><b>required</b>"),
        ("PricingService_CreatePurchaseQuote", "if empty. <i>It must be like `NL`, or empty.</i>"),
        (
            "PaymentService_CreateRefund",
            "<code>amount</code><td><td>object<td>How much; everything that was not given back",
        ),
        ("ProductService_CreateProduct", "<td><code>KIND_PHYSICAL_GOOD</code> or <code>KIND_DIGITAL_GOOD</code><td>"),
        (
            "ProductService_CreateProduct",
            "<td>list of object<td>The forms in which it is sold. <i>It must have between 1 and 50 items.</i>",
        ),
        ("OrderService_CreateOrder", "At most one of `quotedTrade`, `marketTrade`, `quotedPurchase` may be set."),
        ("OrderService_ListOrders", "<code>state</code><td>query<td>"),
        (
            "OrderService_GetOrder",
            "<code>id</code><td>path, <b>required</b><td>string<td>The order. <i>It must be an id",
        ),
        ("AuthService_UpdateRoleBinding", "<td>list of <code>customer</code> or <code>support</code>"),
    ] {
        assert!(call(&page, id).contains(words), "{id}: {words}\n{}", call(&page, id));
    }
    let update = call(&page, "ProductService_UpdateProduct").split_once("<p>200:").unwrap().0;
    assert!(update.contains("<code>taxClass</code>") && !update.contains("<code>kind</code>"), "{update}");
    assert!(!update.contains("<code>createTime</code>"), "{update}");
    assert!(update.contains("`category`, `taxClass`. Those"), "a comment names fields as JSON does: {update}");
}
