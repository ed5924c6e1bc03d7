//! Puts the goods of a purchase that is rejected back into the cart that was checked out.

use kit::Error;
use storage::Unit;

use crate::{
    cart::Cart,
    cart_handler,
    cart_store::Whose,
    order::{Order, State},
};

/// Puts goods back in the unit that rejects their order, and so once, on top of what its owner has put in meanwhile.
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
            cart.put_back(&line.variant_id, line.quantity);
        }
        Ok(())
    };
    cart_handler::change(unit, &Whose::Owner(after.owner.clone()), restore).await.map(|_| ())
}
