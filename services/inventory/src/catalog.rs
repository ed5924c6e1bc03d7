//! What inventory asks of the catalog: whether what comes for the first time is something that is kept in stock.

use contracts::{
    catalog::v1::{GetVariantRequest, product::Kind, product_service_client::ProductServiceClient},
    r#type::v1::Reason,
};
use kit::{Error, link::Link};

use crate::stock::invalid;

/// Refuses a variant that the catalog does not have, or that never runs out. One that is off sale is still kept.
///
/// # Errors
/// `RESOURCE_NOT_FOUND`, `INVALID_FIELD`; what keeps the catalog from answering.
pub async fn check(catalog: Link, variant_id: &str) -> Result<(), Error> {
    let request = GetVariantRequest { id: variant_id.to_owned() };
    let reply = ProductServiceClient::new(catalog).get_variant(request).await.map_err(Error::from);
    let kind = match reply {
        Ok(reply) => reply.into_inner().product.unwrap_or_default().kind(),
        Err(error) if error.reason() == "RESOURCE_NOT_FOUND" => return Err(unknown(variant_id)),
        Err(error) => return Err(error),
    };
    match kind {
        Kind::PhysicalGood => Ok(()),
        _ => {
            let message = format!("{variant_id} is no physical good: it never runs out, and is not kept in stock.");
            Err(invalid("variant_id", &message))
        }
    }
}

fn unknown(variant_id: &str) -> Error {
    let message = format!(
        "There is no variant {variant_id}. Add it to the catalogue first (`CreateProduct`, `CreateVariant`), or take its id \
         from there (`GetProduct`)."
    );
    Error::new(Reason::ResourceNotFound, message).with("resource", variant_id).with("field", "variant_id")
}
