//! One REST route of one RPC, made ready at start: which part of the request goes into which field.

use std::sync::Arc;

use kit::{
    Error,
    contract::{HttpBinding, Idempotency, Method, comment, option},
    validate,
};
use prost_reflect::{FieldDescriptor, Value};

use crate::{
    json::{Codec, Field, Form, MessageTable, Shape, Type, no_such_field},
    template::{Segment, Template},
};

/// A REST route, ready for requests.
pub struct Binding {
    /// The RPC.
    pub method: Arc<Method>,
    /// The path template as written in the contract: the route's name in logs and metrics.
    pub path: String,
    /// The fields of the template's variables, in their order.
    pub variables: Vec<Chain>,
    /// Where the body goes.
    pub body: Body,
    /// The field of the reply that is the body.
    pub response_body: Option<u32>,
    /// Whether the body is raw: a `google.api.HttpBody`, which says its own content type.
    pub raw: bool,
    /// The request, in the codec's tables.
    pub input: usize,
    /// The reply, in the codec's tables.
    pub output: usize,
    /// A PATCH fills this field mask from the body, if the caller does not.
    pub mask: Option<usize>,
    /// What an update of its body may change, and what not.
    pub updates: Updates,
    /// The etag of the request, or of the resource that is its body: a lost update is refused by it.
    pub guard: Option<Chain>,
    /// What the contract says of that etag, if no request goes without it.
    pub guard_about: Option<String>,
    /// The prefix of the id that the path ends with.
    pub id: Option<String>,
    /// The etag of what the reply shows.
    pub etag: Option<u32>,
}

/// The message that is not written as JSON.
const RAW: &str = "google.api.HttpBody";

/// Where a request's body goes.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Body {
    /// There is none.
    None,
    /// It is the request message.
    All,
    /// It is this field of the request message (its position in the table).
    Field(usize),
}

/// A path of fields: the message and the field's position, at each step.
pub type Chain = Vec<(usize, usize)>;

/// The fields of the resource that an update has as its body.
#[derive(Debug, Default)]
pub struct Updates {
    /// JSON names of what can be changed.
    open: Vec<String>,
    /// Names, in the proto and in JSON, of what cannot.
    fixed: Vec<(String, String)>,
    /// What the path says already: names of the proto.
    bound: Vec<String>,
}

impl Updates {
    fn of(resource: &MessageTable, bound: Vec<String>) -> Updates {
        let (mut open, mut fixed) = (Vec::new(), Vec::new());
        for field in resource.fields.iter().filter(|field| !field.output_only && *field.name != *"etag") {
            let json = field.json_name.to_string();
            match field.immutable {
                true => fixed.push((field.name.to_string(), json)),
                false if bound.iter().all(|name| **name != *field.name) => open.push(json),
                false => {}
            }
        }
        Updates { open, fixed, bound }
    }

    /// Of the paths that a body sets, those that are to be changed.
    ///
    /// # Errors
    /// As [`Updates::check`].
    pub fn mask(&self, mut paths: Vec<String>) -> Result<Vec<String>, Error> {
        paths.retain(|path| !self.bound.contains(path));
        self.check(&paths)?;
        Ok(paths)
    }

    /// Refuses what cannot be changed, in the caller's own names.
    ///
    /// # Errors
    /// `INVALID_FIELD` with every such field among these paths of the proto.
    fn check(&self, paths: &[String]) -> Result<(), Error> {
        let is_named = |name: &str| paths.iter().any(|path| path.split('.').next() == Some(name));
        let wrong: Vec<&str> =
            self.fixed.iter().filter(|(name, _)| is_named(name)).map(|(_, json)| json.as_str()).collect();
        let Some(first) = wrong.first() else { return Ok(()) };
        let open = match self.open.as_slice() {
            [] => String::new(),
            open => format!(" What can be: `{}`.", open.join("`, `")),
        };
        let error = Error::named("INVALID_FIELD", format!("`{}` cannot be changed.{open}", wrong.join("`, `")));
        let error = error.with("field", *first);
        Err(wrong.iter().fold(error, |error, name| error.violation(*name, "cannot be changed")))
    }
}

impl Binding {
    /// The positions in the request of what the path or the body holds.
    pub fn elsewhere(&self) -> Vec<usize> {
        let in_path = self.variables.iter().filter(|chain| chain.len() == 1).map(|chain| chain[0].1);
        let in_body = if let Body::Field(position) = self.body { Some(position) } else { None };
        in_path.chain(in_body).collect()
    }

    /// Whether the RPC changes nothing.
    pub fn reads(&self) -> bool {
        self.method.idempotency == Idempotency::NoSideEffects
    }

    /// Checks a route against its request and reply.
    ///
    /// # Errors
    /// What in the route does not fit them.
    pub fn new(
        codec: &Codec,
        method: &Arc<Method>,
        http: &HttpBinding,
        template: &Template,
    ) -> Result<Binding, Vec<String>> {
        let mut problems = Vec::new();
        let lookup = |name: &str| codec.message(name).ok_or_else(|| vec![format!("{name} is not in the descriptors")]);
        let (input, output) = (lookup(method.input.full_name())?, lookup(method.output.full_name())?);
        if method.client_streaming {
            problems.push("a stream of requests has no REST form".to_owned());
        }
        let body = body(codec, input, http).unwrap_or_else(|problem| {
            problems.push(problem);
            Body::None
        });
        let variables = template.variables.iter().filter_map(|variable| {
            let found = path_variable(codec, input, &variable.field);
            found.map_err(|problem| problems.push(format!("`{{{}}}` {problem}", variable.field))).ok()
        });
        let variables: Vec<Chain> = variables.collect();
        if let Body::Field(position) = body
            && variables.iter().any(|chain| chain.len() == 1 && chain[0].1 == position)
        {
            problems.push(format!("body: `{}` is in the path already", http.body));
        }
        let reply = &codec.tables.messages[output];
        let response_body = match http.response_body.as_str() {
            "" => None,
            name => reply.field(name).map(|field| field.number).or_else(|| {
                problems.push(format!("response_body: the reply has no field `{name}`"));
                None
            }),
        };
        if !problems.is_empty() {
            return Err(problems);
        }
        let shown = match response_body.and_then(|number| method.output.get_field(number)) {
            Some(field) if field.is_list() => None,
            Some(field) => field.kind().as_message().cloned(),
            None => Some(method.output.clone()),
        };
        let raw = !method.server_streaming && shown.as_ref().is_some_and(|shown| shown.full_name() == RAW);
        let etag = shown.and_then(|shown| etag(codec, codec.message(shown.full_name())?));
        let etag = etag.map(|(message, position)| codec.tables.messages[message].fields[position].number);
        let guard = guard(codec, input, body);
        let mask = (http.verb == http::Method::PATCH).then(|| patch_mask(codec, input, body)).flatten();
        let guard_about = guard.as_ref().and_then(|guard| required_about(codec, guard));
        let updated = mask.and_then(|_| body_message(codec, input, body));
        let updates = updated.map(|updated| Updates::of(&codec.tables.messages[updated], bound(codec, &variables)));
        let updates = updates.unwrap_or_default();
        let id = last_id(codec, template, &variables);
        let (method, path) = (method.clone(), http.path.clone());
        Ok(Binding {
            method,
            path,
            variables,
            body,
            response_body,
            raw,
            input,
            output,
            mask,
            updates,
            guard,
            guard_about,
            id,
            etag,
        })
    }
}

fn body(codec: &Codec, input: usize, http: &HttpBinding) -> Result<Body, String> {
    let has_body = !matches!(http.verb, http::Method::GET | http::Method::DELETE);
    match http.body.as_str() {
        "" => Ok(Body::None),
        _ if !has_body => Err(format!("body: {} has none", http.verb)),
        "*" => Ok(Body::All),
        name => {
            let table = &codec.tables.messages[input];
            let position = table.names.get(name).copied();
            position.map(Body::Field).ok_or_else(|| format!("body: the request has no field `{name}`"))
        }
    }
}

/// The one field mask of an update whose body is a field.
fn patch_mask(codec: &Codec, input: usize, body: Body) -> Option<usize> {
    let table = &codec.tables.messages[input];
    let Body::Field(position) = body else { return None };
    let is_mask = |at: &usize| {
        table.fields[*at].form == Form::Explicit && codec.tables.shape(table.fields[*at].ty) == Some(Shape::FieldMask)
    };
    let masks: Vec<usize> = (0..table.fields.len()).filter(is_mask).collect();
    let is_object = codec.tables.shape(table.fields[position].ty) == Some(Shape::Object);
    (masks.len() == 1 && is_object).then(|| masks[0])
}

/// The etag of a request, or of the resource that is its body.
fn guard(codec: &Codec, input: usize, body: Body) -> Option<Chain> {
    if let Some(own) = etag(codec, input) {
        return Some(vec![own]);
    }
    let Body::Field(position) = body else { return None };
    let field = &codec.tables.messages[input].fields[position];
    match (field.form, field.ty) {
        (Form::Explicit, Type::Message(inner)) => Some(vec![(input, position), etag(codec, inner)?]),
        _ => None,
    }
}

/// The message that is the body.
fn body_message(codec: &Codec, input: usize, body: Body) -> Option<usize> {
    let Body::Field(position) = body else { return None };
    let Type::Message(inner) = codec.tables.messages[input].fields[position].ty else { return None };
    Some(inner)
}

/// The fields of what the request holds that the path says: `id` for `{product.id}`.
fn bound(codec: &Codec, variables: &[Chain]) -> Vec<String> {
    let inner = variables.iter().filter_map(|chain| chain.get(1..).filter(|inner| !inner.is_empty()));
    let name = |(message, position): &(usize, usize)| &*codec.tables.messages[*message].fields[*position].name;
    inner.map(|inner| inner.iter().map(name).collect::<Vec<_>>().join(".")).collect()
}

/// What the contract says of a field, if no request goes without it.
fn required_about(codec: &Codec, chain: &Chain) -> Option<String> {
    let field = descriptor(codec, chain)?;
    let about = || comment(field.parent_message().parent_file(), field.path());
    validate::is_required(&field).then(about)
}

/// The prefix of the id that the last segment of a path is.
fn last_id(codec: &Codec, template: &Template, variables: &[Chain]) -> Option<String> {
    let last = template.segments.len().checked_sub(1)?;
    let at = template.variables.iter().position(|variable| variable.start == last && !variable.is_multi_segment())?;
    let field = descriptor(codec, variables.get(at)?).filter(|_| template.segments[last] == Segment::One)?;
    match option(&field.options(), "agora.policy.v1.id")? {
        Value::String(prefix) => Some(prefix),
        _ => None,
    }
}

fn descriptor(codec: &Codec, chain: &Chain) -> Option<FieldDescriptor> {
    let (message, position) = chain.last()?;
    let table = &codec.tables.messages[*message];
    table.descriptor.get_field(table.fields[*position].number)
}

/// The field `etag` of a message, if it has one that is a text.
fn etag(codec: &Codec, message: usize) -> Option<(usize, usize)> {
    let table = &codec.tables.messages[message];
    let position = *table.names.get("etag")?;
    let field = &table.fields[position];
    let is_text = field.ty == Type::String && matches!(field.form, Form::Implicit | Form::Explicit);
    is_text.then_some((message, position))
}

fn path_variable(codec: &Codec, input: usize, path: &str) -> Result<Chain, String> {
    let chain = chain(codec, input, path, &[])?;
    let (message, position) = *chain.last().ok_or("names no field")?;
    let field = &codec.tables.messages[message].fields[position];
    match (field.form, codec.tables.shape(field.ty)) {
        (Form::List { .. } | Form::Map { .. }, _) => Err("is repeated, and a path has one value".to_owned()),
        (_, Some(Shape::Object | Shape::Struct | Shape::Value | Shape::List | Shape::Any)) => {
            Err("is a message, which a path cannot hold".to_owned())
        }
        _ => Ok(chain),
    }
}

/// The fields that a dotted path names, in JSON names or names of the proto. A refusal does not offer those `elsewhere`.
///
/// # Errors
/// What is wrong with it, as the rest of a sentence after the path.
pub fn chain(codec: &Codec, message: usize, path: &str, elsewhere: &[usize]) -> Result<Chain, String> {
    let mut chain = Chain::new();
    let mut at = Some(message);
    for name in path.split('.') {
        let Some(message) = at else {
            return Err(format!("has a part `.{name}`, and what stands before it is no message"));
        };
        let table = &codec.tables.messages[message];
        let position = *table
            .names
            .get(name)
            .ok_or_else(|| unknown(table, name, if chain.is_empty() { elsewhere } else { &[] }))?;
        let field = &table.fields[position];
        chain.push((message, position));
        at = match (field.form, field.ty) {
            (Form::Explicit, Type::Message(inner)) if codec.tables.messages[inner].shape == Shape::Object => {
                Some(inner)
            }
            _ => None,
        };
    }
    Ok(chain)
}

fn unknown(table: &MessageTable, name: &str, elsewhere: &[usize]) -> String {
    let offered = |(at, field): &(usize, &Field)| !field.output_only && !elsewhere.contains(at);
    let names = table.fields.iter().enumerate().filter(offered).map(|(_, field)| field.json_name.as_ref());
    no_such_field(name, names)
}
