//! A REST request from its match to its answer.

use std::{collections::BTreeSet, pin::pin, sync::Arc, time::Duration};

use bytes::Bytes;
use http::{HeaderMap, HeaderValue, Method as Verb, Request, Response, StatusCode, header};
use http_body_util::{BodyExt, LengthLimitError, Limited};
use kit::{Body, Call, Error, call, guard};
use tokio::time::{timeout, timeout_at};
use tonic::{Status, metadata::MetadataMap};

use crate::{
    admit::Admitted,
    binding::Binding,
    errors::ETAG_MISMATCH,
    etag, fields,
    front::{Inner, Intake},
    json::nearest,
    router::Found,
    sse,
    template::Template,
    transcode,
};

/// The domain of errors before a request is matched.
pub const EDGE: &str = "edge.agora";

/// What a service may tell a REST client beside its reply.
const REPLY_HEADERS: [&str; 5] = ["content-disposition", "etag", "idempotency-replayed", "location", "retry-after"];

impl Inner {
    /// Answers a REST request, or says why not.
    pub async fn rest(&self, request: Request<Body>, intake: &Intake) -> Result<Response<Body>, Status> {
        let path = request.uri().path();
        let found = self.router.find(request.method(), path);
        let (binding, values) = match self.with_known_verb(path, found)? {
            Found::Route(binding, _, values) => (binding.clone(), values),
            Found::OtherMethods(methods) => return Ok(self.other_methods(request.method(), path, &methods, intake)),
            Found::Nothing => return Err(no_route(path).into()),
            Found::Malformed => {
                return Err(Error::named("INVALID_FIELD", "The path has a malformed percent escape.")
                    .domain(EDGE)
                    .into());
            }
        };
        // Everything from here on speaks in the name of the RPC's context.
        let method = binding.method.clone();
        intake.matched(&method);
        let call = self.door.call(&method, intake.trace);
        call::run(call, async {
            let admitted = self.door.admit(&method, request.headers(), intake.client, intake.trace)?;
            let deadline = admitted.call.deadline;
            let work = pin!(self.carry_out(&binding, &values, request, intake, admitted));
            match deadline {
                Some(deadline) if !method.server_streaming => {
                    let late = |_| Err(fields::as_sent(&self.codec, &binding, kit::timeout::error(&method).into()));
                    timeout_at(deadline, work).await.unwrap_or_else(late)
                }
                _ => work.await,
            }
        })
        .await
    }

    /// What was found, unless the path ends in an id and a verb: no id has a colon, so the verb is what is wrong.
    fn with_known_verb<'r>(
        &'r self,
        path: &str,
        found: Found<'r, Arc<Binding>>,
    ) -> Result<Found<'r, Arc<Binding>>, Error> {
        let last = path.rfind('/').map_or(0, |slash| slash + 1);
        let Some((id, verb)) = path[last..].split_once(':') else { return Ok(found) };
        if matches!(&found, Found::Route(_, template, _) if template.verb.is_some()) {
            return Ok(found);
        }
        let base = &path[..last + id.len()];
        let there = self.router.at(base);
        let is_id = |prefix: &String| kit::id::is_valid(prefix, id);
        let is_there = match found {
            Found::Nothing => !there.is_empty(),
            _ => there.iter().any(|(_, _, binding)| binding.id.as_ref().is_some_and(is_id)),
        };
        if !is_there {
            return Ok(found);
        }
        let has_verb = |template: &Template| template.verb.as_deref() == Some(verb);
        let mut methods: Vec<Verb> =
            there.iter().filter(|(_, template, _)| has_verb(template)).map(|(method, ..)| (*method).clone()).collect();
        if methods.contains(&Verb::GET) {
            methods.push(Verb::HEAD);
        }
        if !methods.is_empty() {
            return Ok(Found::OtherMethods(methods));
        }
        Err(no_verb(base, verb, there.iter().filter_map(|(_, template, _)| template.verb.as_deref()).collect()))
    }

    async fn carry_out(
        &self,
        binding: &Arc<Binding>,
        values: &[String],
        request: Request<Body>,
        intake: &Intake,
        Admitted { call, allowance }: Admitted,
    ) -> Result<Response<Body>, Status> {
        let (head, body) = request.into_parts();
        let body = read(&head.headers, body, self.config.body_max, self.config.timeout).await?;
        // Callers who are not signed in share no namespace of idempotency keys.
        let principal = match &call.caller {
            Some(caller) => caller.user.clone(),
            None => format!("anonymous/{}", intake.client),
        };
        let parts = transcode::Parts {
            variables: values,
            query: head.uri.query().unwrap_or_default(),
            headers: &head.headers,
            body: &body,
            principal: &principal,
        };
        let message = transcode::request(&self.codec, binding, &parts)?;
        let told = |error| fields::as_sent(&self.codec, binding, Status::from(error));
        guard::check_message(&binding.method, &message).map_err(told)?;
        let metadata = metadata(&head.headers, intake);
        let mut response = if binding.method.server_streaming {
            self.stream(binding, call, metadata, message, &head.headers, intake).await?
        } else {
            self.unary(binding, call, metadata, message, &head).await?
        };
        if let Some(allowance) = allowance {
            allowance.put(response.headers_mut());
        }
        Ok(response)
    }

    async fn unary(
        &self,
        binding: &Binding,
        call: Call,
        metadata: MetadataMap,
        message: Vec<u8>,
        head: &http::request::Parts,
    ) -> Result<Response<Body>, Status> {
        let method = &binding.method;
        let reply = call::run(call.clone(), self.upstream.unary(&method.path, metadata, message.into())).await;
        let reply = reply.map_err(|status| self.told(binding, status))?;
        let (content_type, content) = self.content(binding, reply.get_ref())?;
        let tag = transcode::etag(binding, reply.get_ref()).and_then(|etag| etag::of(etag, &content));
        let length = content.len();
        let body = if head.method == Verb::HEAD { Bytes::new() } else { content };
        let mut response = Response::new(Body::new(http_body_util::Full::new(body)));
        *response.status_mut() = StatusCode::from_u16(method.policy.success_status).unwrap_or(StatusCode::OK);
        let headers = response.headers_mut();
        headers.insert(header::CONTENT_TYPE, content_type);
        if binding.raw {
            headers.insert(header::X_CONTENT_TYPE_OPTIONS, HeaderValue::from_static("nosniff"));
        }
        headers.insert(header::CONTENT_LENGTH, HeaderValue::from(length));
        headers.insert(header::CACHE_CONTROL, cache_control(binding, call.caller.is_some()));
        tag.into_iter().for_each(|tag| drop(headers.insert(header::ETAG, tag)));
        copy(reply.metadata().as_ref(), headers, &REPLY_HEADERS);
        if binding.reads() { conditional(head, response) } else { Ok(response) }
    }

    /// What a service refuses, in the names that the caller knows.
    fn told(&self, binding: &Binding, status: Status) -> Status {
        fields::as_sent(&self.codec, binding, no_bare_transport_fault(status))
    }

    /// What the client gets of a reply: JSON, or the bytes that are in it.
    fn content(&self, binding: &Binding, reply: &[u8]) -> Result<(HeaderValue, Bytes), Error> {
        if binding.raw {
            let (kind, data) = transcode::raw_reply(binding, reply)?;
            let kind = HeaderValue::from_str(kind).map_err(Error::internal)?;
            return Ok((kind, Bytes::copy_from_slice(data)));
        }
        let mut json = transcode::reply(&self.codec, binding, reply)?;
        json.push(b'\n');
        Ok((HeaderValue::from_static("application/json"), json.into()))
    }

    async fn stream(
        &self,
        binding: &Arc<Binding>,
        call: Call,
        metadata: MetadataMap,
        message: Vec<u8>,
        headers: &HeaderMap,
        intake: &Intake,
    ) -> Result<Response<Body>, Status> {
        let deadline = call.deadline;
        let open = call::run(call, self.upstream.stream(&binding.method.path, metadata, message.into()));
        // The stream may last, but it must begin.
        let opened =
            timeout(self.config.timeout, open).await.map_err(|_| Status::from(kit::timeout::error(&binding.method)))?;
        let teller = sse::Teller {
            codec: self.codec.clone(),
            errors: self.errors.clone(),
            binding: binding.clone(),
            telling: intake.telling(Some(&binding.method)),
            form: sse::Form::of(headers),
            heartbeat: self.config.heartbeat,
            deadline,
            draining: self.draining.subscribe(),
        };
        Ok(sse::response(teller, opened.map_err(|status| self.told(binding, status))?.into_inner()))
    }

    fn other_methods(&self, method: &Verb, path: &str, allowed: &[Verb], intake: &Intake) -> Response<Body> {
        let allowed = allowed.iter().map(Verb::as_str).collect::<Vec<_>>().join(", ");
        let mut response = if method == Verb::OPTIONS {
            let mut response = Response::new(Body::empty());
            *response.status_mut() = StatusCode::NO_CONTENT;
            response
        } else {
            let message = format!("{path} takes {allowed}, and not {method}.");
            let error = Error::named("METHOD_NOT_ALLOWED", message).with("allowed", &allowed).domain(EDGE);
            self.errors.response(error, &intake.telling(None))
        };
        if let Ok(value) = HeaderValue::from_str(&allowed) {
            response.headers_mut().insert(header::ALLOW, value);
        }
        response
    }
}

/// Reads a body of at most `limit` bytes within `time`. Its stated length is judged first, so that a large one costs nothing.
pub async fn read(headers: &HeaderMap, body: Body, limit: usize, time: Duration) -> Result<Bytes, Error> {
    let too_large =
        || Error::named("BODY_TOO_LARGE", format!("A body may have {limit} bytes.")).with("limit", limit.to_string());
    let stated = headers.get(header::CONTENT_LENGTH).and_then(|value| value.to_str().ok()?.parse::<u64>().ok());
    if stated.is_some_and(|length| length > limit as u64) {
        return Err(too_large());
    }
    if headers.get(header::CONTENT_ENCODING).is_some_and(|encoding| encoding != "identity") {
        return Err(Error::named("MALFORMED_BODY", "Send the body uncompressed, without `Content-Encoding`."));
    }
    match timeout(time, Limited::new(body, limit).collect()).await {
        Err(_) => Err(Error::named("DEADLINE_EXCEEDED", "The body came too slowly. Send it again.")),
        Ok(Ok(body)) => Ok(body.to_bytes()),
        Ok(Err(error)) if error.is::<LengthLimitError>() => Err(too_large()),
        Ok(Err(_)) => Err(Error::named("MALFORMED_BODY", "The body ended before its end.")),
    }
}

/// What of a REST request travels on beside the message. The token, trace and deadline are the link's to add.
fn metadata(headers: &HeaderMap, intake: &Intake) -> MetadataMap {
    let mut out = HeaderMap::new();
    copy(headers, &mut out, &["accept-language"]);
    intake.put(&mut out);
    MetadataMap::from_headers(out)
}

fn copy(from: &HeaderMap, to: &mut HeaderMap, names: &[&'static str]) {
    for name in names {
        if let Some(value) = from.get(*name) {
            to.insert(*name, value.clone());
        }
    }
}

/// The reply to a read, unless the request wants another version of it, or has it already.
fn conditional(head: &http::request::Parts, mut response: Response<Body>) -> Result<Response<Body>, Status> {
    let Some(tag) = response.headers().get(header::ETAG) else { return Ok(response) };
    if !etag::is_admitted(&head.headers, tag) {
        let message = "It has changed since the etag in `If-Match` was read. Read it again.";
        return Err(Error::named(ETAG_MISMATCH, message).with("etag", tag.to_str().unwrap_or_default()).into());
    }
    let gets = matches!(head.method, Verb::GET | Verb::HEAD);
    if gets && etag::is_known(&head.headers, tag) {
        *response.status_mut() = StatusCode::NOT_MODIFIED;
        *response.body_mut() = Body::empty();
        for name in [header::CONTENT_TYPE, header::CONTENT_LENGTH] {
            response.headers_mut().remove(name);
        }
    }
    Ok(response)
}

/// A reply for a caller is the caller's alone to keep.
fn cache_control(binding: &Binding, has_caller: bool) -> HeaderValue {
    let text = match binding.method.policy.cache {
        Some(time) if has_caller => format!("private, max-age={}", time.as_secs()),
        Some(time) => format!("public, max-age={}", time.as_secs()),
        None => "no-store".to_owned(),
    };
    HeaderValue::from_str(&text).unwrap_or(HeaderValue::from_static("no-store"))
}

/// A fault of the way there has no reason of its own; a service's answer without one keeps its code.
fn no_bare_transport_fault(status: Status) -> Status {
    let is_transport = matches!(status.code(), tonic::Code::Unavailable | tonic::Code::DeadlineExceeded);
    if is_transport && status.details().is_empty() { Error::from(status).into() } else { status }
}

fn no_verb(base: &str, verb: &str, known: BTreeSet<&str>) -> Error {
    let near = nearest(verb, known.iter().copied()).map(|near| format!(" Did you mean `:{near}`?")).unwrap_or_default();
    let known: Vec<String> = known.iter().map(|verb| format!("`:{verb}`")).collect();
    let known = if known.is_empty() { String::new() } else { format!(" Known here: {}.", known.join(", ")) };
    let (base, verb): (String, String) = (base.chars().take(200).collect(), verb.chars().take(40).collect());
    let message = format!("There is no verb `:{verb}` of {base}.{near}{known} GET /docs lists what there is.");
    Error::named("ROUTE_NOT_FOUND", message).domain(EDGE)
}

fn no_route(path: &str) -> Error {
    let path: String = path.chars().take(200).collect();
    Error::named("ROUTE_NOT_FOUND", format!("There is no {path} here. GET /docs lists what there is.")).domain(EDGE)
}
