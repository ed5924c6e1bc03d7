//! gRPC as it comes: the same door as REST, then straight on. Health and reflection are answered here, for every service
//! of the contract.

use std::pin::pin;

use http::{HeaderMap, HeaderValue, Request, Response, Version, header};
use kit::{Body, Error, call, contract::Contract, guard, health::Health};
use tokio::time::timeout_at;
use tonic::{Status, body::Body as GrpcBody, service::Routes};
use tonic_reflection::server::Builder;
use tower::ServiceExt;

use crate::{
    front::{Inner, Intake},
    rest,
};

/// A gRPC message begins with a flag and four bytes of length.
const PREFIX: usize = 5;

/// Whether a request is gRPC (and not gRPC-Web).
pub fn is_grpc(headers: &HeaderMap) -> bool {
    let content = headers.get(header::CONTENT_TYPE).and_then(|value| value.to_str().ok()).unwrap_or_default();
    content.strip_prefix("application/grpc").is_some_and(|rest| rest.is_empty() || rest.starts_with(['+', ';']))
}

/// Health and reflection (v1 and v1alpha) over all services of a contract.
///
/// # Errors
/// If the descriptors cannot be served.
pub fn introspection(contract: &Contract) -> Result<(Routes, Health), Error> {
    let descriptors = contract.pool().encode_to_vec();
    let builder = || {
        // Whoever asks also finds health, and the details of errors if the contract does not have them itself.
        [&descriptors, tonic_health::pb::FILE_DESCRIPTOR_SET, tonic_types::pb::FILE_DESCRIPTOR_SET]
            .into_iter()
            .fold(Builder::configure(), |builder, set| builder.register_encoded_file_descriptor_set(set))
    };
    let v1 = builder().build_v1().map_err(Error::internal)?;
    let v1alpha = builder().build_v1alpha().map_err(Error::internal)?;
    let (health, server) = Health::new(contract.pool().services().map(|service| service.full_name().to_owned()));
    Ok((Routes::new(server).add_service(v1).add_service(v1alpha).prepare(), health))
}

impl Inner {
    /// Answers a gRPC request, or says why not.
    pub async fn grpc(&self, request: Request<Body>, intake: &Intake) -> Result<Response<Body>, Status> {
        let path = request.uri().path();
        let Some(method) = self.contract.method(path).cloned() else {
            if ["/grpc.health.", "/grpc.reflection."].iter().any(|known| path.starts_with(known)) {
                return match self.introspection.clone().oneshot(request).await {
                    Ok(response) => Ok(response),
                    Err(never) => match never {},
                };
            }
            return Err(Error::named(
                "ROUTE_NOT_FOUND",
                "There is no such RPC. `grpcurl ... list` shows what there is.",
            )
            .into());
        };
        intake.matched(&method);
        let domain = self.door.call(&method, intake.trace);
        call::run(domain, async {
            let admitted = self.door.admit(&method, request.headers(), intake.client, intake.trace)?;
            let deadline = admitted.call.deadline;
            let request = forward(request, intake);
            let work = pin!(async {
                // One message is read and checked here; a stream is the service's to read.
                let request = if method.client_streaming { request } else { self.check(&method, request).await? };
                call::run(admitted.call, self.upstream.link().oneshot(request)).await
            });
            let answer = match deadline {
                Some(deadline) if !method.client_streaming => {
                    timeout_at(deadline, work).await.unwrap_or_else(|_| Err(kit::timeout::error(&method).into()))
                }
                _ => work.await,
            };
            answer.map_err(|status| if status.details().is_empty() { Error::from(status).into() } else { status })
        })
        .await
    }

    async fn check(&self, method: &kit::contract::Method, request: Request<Body>) -> Result<Request<Body>, Status> {
        let (head, body) = request.into_parts();
        let bytes = rest::read(&head.headers, body, self.config.body_max + PREFIX, self.config.timeout).await?;
        match bytes.split_first_chunk::<PREFIX>() {
            Some((&[0, a, b, c, d], message)) if u32::from_be_bytes([a, b, c, d]) as usize == message.len() => {
                guard::check_message(method, message)?;
            }
            _ => return Err(Error::named("MALFORMED_BODY", "Send exactly one uncompressed gRPC message.").into()),
        }
        Ok(Request::from_parts(head, GrpcBody::new(http_body_util::Full::new(bytes))))
    }
}

/// The request as it goes on: no header that belongs to this connection, none that the link states itself.
fn forward(request: Request<Body>, intake: &Intake) -> Request<Body> {
    let (mut head, body) = request.into_parts();
    head.version = Version::HTTP_2;
    head.uri =
        http::Uri::from(head.uri.into_parts().path_and_query.unwrap_or(http::uri::PathAndQuery::from_static("/")));
    for name in [header::HOST, header::CONTENT_LENGTH, header::AUTHORIZATION] {
        head.headers.remove(name);
    }
    for name in [kit::timeout::HEADER, kit::trace::HEADER] {
        head.headers.remove(name);
    }
    head.headers.insert(header::TE, HeaderValue::from_static("trailers"));
    intake.put(&mut head.headers);
    Request::from_parts(head, body)
}
