//! Puts the goods of a purchase that is rejected back into the cart that was checked out.

use kit::Error;
use storage::Unit;

use crate::{
    cart::Cart,
    cart_handler,
    cart_store::Whose,
    order::{Order, State},
};

/// Puts goods back in the unit that rejects their order, and so once, on top of what its owner has put in meanwhile. What
/// does not fit the limits of a cart stays out.
///
/// # Errors
/// `SERIALIZATION_FAILURE` if the owner makes a cart at the same time.
pub async fn put_back(unit: &mut Unit, after: &Order) -> Result<(), Error> {
    let Some(purchase) = after.purchase().filter(|_| after.state == State::Rejected) else { return Ok(()) };
    let goods = purchase.message();
    if goods.cart_id.is_empty() {
        return Ok(());
    }
    let restore = |cart: &mut Cart| {
        for line in &goods.lines {
            let pieces = cart.put_back(&line.variant_id, line.quantity);
            if pieces > 0 {
                let variant = &line.variant_id;
                tracing::info!(order = after.id, variant, pieces, "what was ordered does not fit the cart any more");
            }
        }
        Ok(())
    };
    cart_handler::change(unit, &Whose::Owner(after.owner.clone()), restore).await.map(|_| ())
}
