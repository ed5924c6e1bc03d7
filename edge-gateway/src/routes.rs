//! All REST routes of a contract, refused as a whole if one cannot be served.

use std::sync::Arc;

use kit::contract::{Contract, HttpBinding, Method};

use crate::{binding::Binding, json::Codec, pages, router::Router, template::Template};

/// The router over every binding.
///
/// # Errors
/// Every route that is malformed, ambiguous, unreachable, or does not fit its RPC.
pub fn build(contract: &Contract, codec: &Codec) -> Result<Router<Arc<Binding>>, Vec<String>> {
    let mut router = Router::default();
    let mut problems = Vec::new();
    for method in contract.methods() {
        for http in &method.http {
            for problem in add(&mut router, codec, method, http).err().unwrap_or_default() {
                problems.push(format!("{}: {} {}: {problem}", method.path, http.verb, http.path));
            }
        }
    }
    for binding in router.unreachable() {
        problems.push(format!("{}: {}: other routes leave it no request", binding.method.path, binding.path));
    }
    if problems.is_empty() { Ok(router) } else { Err(problems) }
}

fn add(
    router: &mut Router<Arc<Binding>>,
    codec: &Codec,
    method: &Arc<Method>,
    http: &HttpBinding,
) -> Result<(), Vec<String>> {
    let template = Template::parse(&http.path).map_err(|error| vec![error.to_string()])?;
    if pages::PATHS.contains(&http.path.as_str()) {
        return Err(vec!["the edge answers this path itself".to_owned()]);
    }
    let binding = Arc::new(Binding::new(codec, method, http, &template)?);
    router
        .insert(http.verb.clone(), template, binding)
        .map_err(|taken| vec![format!("means the same requests as {} of {}", taken.0.path, taken.0.method.path)])
}
