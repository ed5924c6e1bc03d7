//! Who may call an RPC, decided on the matched RPC from its policy: the same program at the edge and in the service.

use crate::{
    Error,
    call::{Caller, Peer, Scope, token_missing},
    contract::{Access, Method, RequestId},
};

/// Decides whether a call is let through, and whose resources it may load.
///
/// `peer` is the workload that carries the call; nothing for whoever calls from outside the mesh.
///
/// # Errors
/// `SERVICE_ONLY`, `TOKEN_MISSING` or `ROLE_REQUIRED`.
pub fn authorize(method: &Method, peer: Option<&Peer>, caller: Option<&Caller>) -> Result<Option<Scope>, Error> {
    let policy = &method.policy;
    let named = peer.is_some_and(|peer| policy.admits_service(&peer.workload));
    let role = |caller: &Caller| caller.roles.iter().any(|role| policy.roles.contains(role));
    match (policy.access, caller) {
        (Access::Services, _) if named => Ok(Some(Scope::All)),
        (Access::Services, _) => Err(service_only(method)),
        (_, None) if named => Ok(Some(Scope::All)),
        (Access::Public, caller) => Ok(caller.map(|caller| Scope::Owner(caller.user.clone()))),
        (Access::Owner | Access::Roles, None) => Err(token_missing()),
        (Access::Owner | Access::Roles, Some(caller)) if role(caller) => Ok(Some(Scope::All)),
        (Access::Owner, Some(caller)) => Ok(Some(Scope::Owner(caller.user.clone()))),
        (Access::Roles, Some(_)) => {
            let roles = policy.roles.join(", ");
            let message = format!("{} is for callers with one of the roles: {roles}.", method.name);
            Err(Error::named("ROLE_REQUIRED", message).with("roles", roles))
        }
    }
}

/// Checks the message of a request: every rule of its fields, and the idempotency key where the policy demands one.
///
/// # Errors
/// `INVALID_FIELD`, `INVALID_ID` or `IDEMPOTENCY_KEY_REQUIRED`.
pub fn check_message(method: &Method, message: &[u8]) -> Result<(), Error> {
    method.validator.check(message)?;
    if method.policy.request_id == RequestId::Required
        && let Some(field) = method.input.get_field_by_name("request_id")
        && !has_text(message, field.number())
    {
        let message = "Send `request_id` (over REST: the header `Idempotency-Key`), so that a repeat does no harm.";
        return Err(Error::named("IDEMPOTENCY_KEY_REQUIRED", message));
    }
    Ok(())
}

fn service_only(method: &Method) -> Error {
    let services = method.policy.services.join(", ");
    let message = format!("{} is for services of the mesh: {services}.", method.name);
    Error::named("SERVICE_ONLY", message).with("services", services)
}

/// Whether the text with this number is not empty at the top level of a message. The last value counts, as for whoever
/// decodes the message.
fn has_text(mut message: &[u8], number: u32) -> bool {
    use prost::encoding::{DecodeContext, WireType, decode_key, decode_varint, skip_field};
    let mut found = false;
    while !message.is_empty() {
        let Ok((tag, wire_type)) = decode_key(&mut message) else {
            return false;
        };
        if tag == number && wire_type == WireType::LengthDelimited {
            found = decode_varint(&mut &*message).is_ok_and(|length| length > 0);
        }
        if skip_field(wire_type, tag, &mut message, DecodeContext::default()).is_err() {
            return false;
        }
    }
    found
}
