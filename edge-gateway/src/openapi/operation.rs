//! One route as an OpenAPI operation.

use std::{collections::BTreeMap, sync::Arc};

use kit::{
    contract::{Access, Idempotency, Method, RequestId, comment},
    validate,
};
use prost_reflect::{FieldDescriptor, Kind, MessageDescriptor};
use serde_json::{Value, json};

use super::{
    example::{self, For},
    schema::{Schemas, put_text},
};
use crate::{
    binding::{Binding, Body},
    template::{Segment, Template},
};

/// Messages within messages that a query may reach into.
const QUERY_DEPTH: usize = 3;

pub struct Writer<'w> {
    pub verb: &'w http::Method,
    pub schemas: &'w mut Schemas,
    /// How often each operation id was given.
    pub ids: &'w mut BTreeMap<String, usize>,
    /// The path and its parameters, by the path without their names.
    pub paths: &'w mut BTreeMap<String, (String, Vec<String>)>,
    pub template: &'w Template,
    pub binding: &'w Arc<Binding>,
}

impl Writer<'_> {
    /// The path and the operation.
    pub fn write(mut self) -> (String, Value) {
        let method = self.binding.method.clone();
        let (path, mut parameters) = self.path();
        if self.binding.body != Body::All {
            self.query(&method.input, "", &mut Vec::new(), &mut parameters);
        }
        parameters.extend(idempotency_key(&method));
        parameters.extend(self.conditions());
        let about = comment(method.descriptor.parent_file(), method.descriptor.path());
        let mut operation = json!({
            "operationId": self.id(),
            "summary": about.split_inclusive(". ").next().unwrap_or_default().trim(),
            "description": format!("{about}\n\n{}", notes(&method)).trim(),
            "tags": [method.descriptor.parent_service().name()],
            "parameters": parameters,
            "responses": self.responses(),
            "security": if method.policy.access == Access::Public { json!([]) } else { json!([{"bearer": []}]) },
            "x-rpc": method.path,
        });
        if let Some(body) = self.body() {
            operation["requestBody"] = body;
        }
        (path, operation)
    }

    /// The headers that guard an update, or spare a read.
    fn conditions(&self) -> Vec<Value> {
        let reads = self.answers_conditions();
        let guard = "Refuses with 412 if the resource has another etag by now: the `ETag` of a reply, or `etag` in it.";
        let known = "Answers 304 without a body if the reply would have this `ETag`.";
        let headers = [("If-Match", guard, reads || self.binding.guard.is_some()), ("If-None-Match", known, reads)];
        let header = |(name, about, _): (&str, &str, bool)| {
            parameter(name, "header", false, json!({"type": "string", "description": about}))
        };
        headers.into_iter().filter(|(.., is_there)| *is_there).map(header).collect()
    }

    /// `OrderService_GetOrder`; a further route of the same RPC gets a number.
    fn id(&mut self) -> String {
        let method = &self.binding.method;
        let id = format!("{}_{}", method.descriptor.parent_service().name(), method.name);
        let times = self.ids.entry(id.clone()).or_insert(0);
        *times += 1;
        if *times == 1 { id } else { format!("{id}_{times}") }
    }

    /// The path with a parameter for each wildcard: `/v1/{name=shelves/*}` is `/v1/shelves/{name}`.
    fn path(&mut self) -> (String, Vec<Value>) {
        let mut path = String::new();
        let mut parameters = Vec::new();
        for (at, segment) in self.template.segments.iter().enumerate() {
            path.push('/');
            if let Segment::Literal(text) = segment {
                path += text;
                continue;
            }
            let covers = |start: usize, end: Option<usize>| start <= at && end.is_none_or(|end| at < end);
            let variable = self.template.variables.iter().find(|variable| covers(variable.start, variable.end));
            let mut name = variable.map_or_else(|| format!("segment{at}"), |variable| variable.field.clone());
            if parameters.iter().any(|parameter: &Value| parameter["name"] == name.as_str()) {
                name = format!("{name}.{at}");
            }
            path += &format!("{{{name}}}");
            let field = variable.and_then(|variable| find(&self.binding.method.input, &variable.field));
            let schema = field.as_ref().map_or_else(|| json!({"type": "string"}), |field| self.schemas.field(field));
            let mut parameter = parameter(&name, "path", true, schema);
            put_example(&mut parameter, field.as_ref());
            parameters.push(parameter);
        }
        if let Some(verb) = &self.template.verb {
            path += &format!(":{verb}");
        }
        (self.one_name(path, &mut parameters), parameters)
    }

    /// OpenAPI does not allow `/users/{id}` next to `/users/{user.id}`: the first names hold for all.
    fn one_name(&mut self, path: String, parameters: &mut [Value]) -> String {
        let parts = path.split('{').map(|part| part.split_once('}').map_or(part, |(_, rest)| rest));
        let shape = parts.collect::<Vec<_>>().join("{}");
        let names = parameters.iter().filter_map(|parameter| Some(parameter["name"].as_str()?.to_owned())).collect();
        let (path, names) = self.paths.entry(shape).or_insert((path, names));
        for (parameter, name) in parameters.iter_mut().zip(names) {
            parameter["name"] = name.as_str().into();
        }
        path.clone()
    }

    /// A parameter for each field that neither path nor body holds.
    fn query(&mut self, message: &MessageDescriptor, prefix: &str, above: &mut Vec<String>, out: &mut Vec<Value>) {
        if above.len() > QUERY_DEPTH || above.iter().any(|name| name == message.full_name()) {
            return;
        }
        above.push(message.full_name().to_owned());
        for field in message.fields() {
            let in_proto = format!("{}{}", prefix, field.name());
            let in_path = self.template.variables.iter().any(|variable| variable.field == in_proto);
            if in_path || (above.len() == 1 && self.is_body(&field)) {
                continue;
            }
            match field.kind() {
                Kind::Message(inner) if !field.is_map() && !is_text(&inner) => {
                    if !field.is_list() && inner.package_name() != "google.protobuf" {
                        self.query(&inner, &format!("{in_proto}."), above, out);
                    }
                }
                _ => {
                    let name = names(&self.binding.method.input, &in_proto);
                    let schema = self.schemas.field(&field);
                    let mut parameter =
                        parameter(&name, "query", above.len() == 1 && validate::is_required(&field), schema);
                    if parameter["required"] == true {
                        put_example(&mut parameter, Some(&field));
                    }
                    if field.is_map() {
                        parameter["style"] = "deepObject".into();
                        parameter["explode"] = true.into();
                    }
                    out.push(parameter);
                }
            }
        }
        above.pop();
    }

    /// Whether it is a read of a resource that has an etag.
    fn answers_conditions(&self) -> bool {
        self.binding.etag.is_some() && self.verb == http::Method::GET && !self.binding.method.server_streaming
    }

    fn is_body(&self, field: &FieldDescriptor) -> bool {
        self.body_field().is_some_and(|body| body == *field)
    }

    fn body_field(&self) -> Option<FieldDescriptor> {
        let Body::Field(position) = self.binding.body else { return None };
        let mut fields: Vec<FieldDescriptor> = self.binding.method.input.fields().collect();
        fields.sort_by_key(FieldDescriptor::number);
        fields.into_iter().filter(|field| !field.is_group()).nth(position)
    }

    fn body(&mut self) -> Option<Value> {
        let input = self.binding.method.input.clone();
        let schema = match self.binding.body {
            Body::None => return None,
            Body::Field(_) => self.schemas.field(&self.body_field()?),
            Body::All => {
                let variables = self.template.variables.iter().map(|variable| variable.field.as_str());
                let in_path: Vec<&str> = variables.filter(|field| !field.contains('.')).collect();
                if in_path.is_empty() { self.schemas.message(&input) } else { self.schemas.object(&input, &in_path) }
            }
        };
        let mut content = json!({"schema": schema});
        let updates = matches!(*self.verb, http::Method::PATCH | http::Method::PUT);
        let purpose = if updates { For::Update } else { For::Request };
        let examples = match self.body_field() {
            Some(field) => vec![(String::new(), example::field(&field, purpose))],
            None => {
                let variables = self.template.variables.iter().map(|variable| variable.field.as_str());
                example::requests(&input, purpose, &variables.filter(|field| !field.contains('.')).collect::<Vec<_>>())
            }
        };
        match examples.as_slice() {
            [(name, only)] if name.is_empty() => content["example"] = only.clone(),
            several => {
                let named = several.iter().map(|(name, value)| (name.clone(), json!({"value": value})));
                content["examples"] = Value::Object(named.collect());
            }
        }
        Some(json!({"required": true, "content": {"application/json": content}}))
    }

    fn responses(&mut self) -> Value {
        let method = self.binding.method.clone();
        let shown = self.binding.response_body.and_then(|number| method.output.get_field(number));
        let schema = match &shown {
            _ if self.binding.raw => json!({"type": "string", "format": "binary"}),
            Some(field) => self.schemas.field(field),
            None => self.schemas.message(&method.output),
        };
        let shows = match &shown {
            Some(field) => example::field(field, For::Reply),
            None => example::message(&method.output, For::Reply),
        };
        let about = comment(method.output.parent_file(), method.output.path());
        let about = if about.is_empty() { "The reply.".to_owned() } else { about };
        let content = if method.server_streaming {
            json!({
                "text/event-stream": {"schema": {"type": "string", "description": "One event for each message; its data:"}, "x-event-schema": schema},
                "application/x-ndjson": {"schema": schema, "example": shows},
            })
        } else if self.binding.raw {
            // The reply says which type it has.
            json!({"*/*": {"schema": schema}})
        } else {
            json!({"application/json": {"schema": schema, "example": shows}})
        };
        let error = json!({"$ref": "#/components/responses/Error"});
        let status = if method.policy.success_status == 0 { 200 } else { method.policy.success_status };
        let mut responses = json!({"default": error});
        responses[status.to_string()] = json!({"description": about, "content": content});
        if self.binding.etag.is_some() && !method.server_streaming {
            responses[status.to_string()]["headers"] = json!({"ETag": etag_header()});
        }
        if self.answers_conditions() {
            let about = "The caller has it already, by `If-None-Match`.";
            responses["304"] = json!({"description": about, "headers": {"ETag": etag_header()}});
        }
        let refusals = match method.policy.access {
            Access::Public => ["400", "429"].as_slice(),
            Access::Owner => &["400", "401", "429"],
            Access::Roles | Access::Services => &["400", "401", "403", "429"],
        };
        let guarded = self.binding.guard.is_some() || self.answers_conditions();
        for status in refusals.iter().copied().chain(guarded.then_some("412")) {
            responses[status] = error.clone();
        }
        responses
    }
}

fn put_example(parameter: &mut Value, field: Option<&FieldDescriptor>) {
    let example = field.map_or_else(|| "text".into(), |field| example::field(field, For::Request));
    if !example.is_null() {
        parameter["example"] = example;
    }
}

fn etag_header() -> Value {
    let about = "Names what is shown: the etag of the resource, and a digest of the body.";
    json!({"description": about, "schema": {"type": "string"}})
}

fn parameter(name: &str, place: &str, required: bool, mut schema: Value) -> Value {
    let description = schema.as_object_mut().and_then(|schema| schema.remove("description"));
    let mut parameter = json!({"name": name, "in": place, "required": required, "schema": schema});
    put_text(&mut parameter, "description", description.as_ref().and_then(Value::as_str).unwrap_or_default());
    parameter
}

/// Messages that a query writes as text.
fn is_text(message: &MessageDescriptor) -> bool {
    let name = message.full_name().strip_prefix("google.protobuf.").unwrap_or_default();
    matches!(name, "Timestamp" | "Duration" | "FieldMask")
        || (name.ends_with("Value") && name.len() > "Value".len() && name != "ListValue")
}

fn find(message: &MessageDescriptor, path: &str) -> Option<FieldDescriptor> {
    let (first, rest) = path.split_once('.').map_or((path, None), |(first, rest)| (first, Some(rest)));
    let field = message.get_field_by_name(first)?;
    match (rest, field.kind()) {
        (None, _) => Some(field),
        (Some(rest), Kind::Message(inner)) => find(&inner, rest),
        _ => None,
    }
}

/// A path of fields in their JSON names.
fn names(message: &MessageDescriptor, path: &str) -> String {
    let mut at = Some(message.clone());
    let mut out = Vec::new();
    for name in path.split('.') {
        let field = at.as_ref().and_then(|message| message.get_field_by_name(name));
        out.push(field.as_ref().map_or(name, |field| field.json_name()).to_owned());
        at = field.and_then(|field| field.kind().as_message().cloned());
    }
    out.join(".")
}

fn idempotency_key(method: &Method) -> Option<Value> {
    if !method.has_request_id || method.policy.request_id == RequestId::None {
        return None;
    }
    let about = "Makes a repeat of the request harmless. The same as `requestId` in the body; a UUID is best.";
    let required =
        if method.policy.request_id == RequestId::Required { " This or `requestId` is required." } else { "" };
    Some(json!({
        "name": "Idempotency-Key",
        "in": "header",
        "required": false,
        "description": format!("{about}{required}"),
        "schema": {"type": "string", "minLength": 1, "maxLength": 255},
    }))
}

/// What the policy says, in sentences.
fn notes(method: &Method) -> String {
    let policy = &method.policy;
    let roles = policy.roles.join(", ");
    let mut notes = vec![match policy.access {
        Access::Public => "Anyone may call.".to_owned(),
        Access::Owner if roles.is_empty() => "For signed-in callers; concerns the caller alone.".to_owned(),
        Access::Owner => format!("For signed-in callers; concerns the caller alone, or everyone for: {roles}."),
        Access::Roles => format!("For the roles: {roles}."),
        Access::Services => "For services of the mesh.".to_owned(),
    }];
    if let Some(limit) = policy.rate_limit {
        notes.push(format!("At most {} calls in {} s.", limit.requests, limit.per.as_secs()));
    }
    if let Some(timeout) = policy.timeout {
        notes.push(format!("Answers within {} s.", timeout.as_secs_f64()));
    }
    if method.idempotency != Idempotency::Unknown {
        notes.push("Repeating it does no harm.".to_owned());
    }
    if method.server_streaming {
        notes.push("A stream: server-sent events, or one JSON a line with `Accept: application/x-ndjson`.".to_owned());
    }
    notes.join(" ")
}
