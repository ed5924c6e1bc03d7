//! The contract as it is at run time: every RPC with its policy, every error reason with its meaning, every topic, read
//! from descriptor bytes. Nothing here knows a business noun.

use std::{
    collections::{BTreeMap, HashMap},
    sync::{Arc, OnceLock},
    time::Duration,
};

use prost_reflect::{DescriptorPool, DynamicMessage, MessageDescriptor, MethodDescriptor, ReflectMessage, Value};
use thiserror::Error;

use crate::validate::Validator;

static INSTALLED: OnceLock<Arc<Contract>> = OnceLock::new();

/// Makes `contract` the one whose reasons and topics this process speaks. The first call wins.
pub fn install(contract: Arc<Contract>) {
    let _ = INSTALLED.set(contract);
}

/// The contract of this process; an empty one before `install`.
pub fn installed() -> Arc<Contract> {
    static EMPTY: OnceLock<Arc<Contract>> = OnceLock::new();
    INSTALLED.get().unwrap_or_else(|| EMPTY.get_or_init(Arc::default)).clone()
}

/// Why descriptor bytes are no contract.
#[derive(Debug, Error)]
pub enum ContractError {
    /// The bytes are no descriptor set.
    #[error("the descriptor set cannot be read: {0}")]
    Descriptors(#[from] prost_reflect::DescriptorError),
    /// Options of the contract contradict each other or cannot be enforced.
    #[error("the contract cannot be enforced:\n{}", .0.join("\n"))]
    Unenforceable(Vec<String>),
}

/// Every RPC, reason and topic of a descriptor set.
#[derive(Default)]
pub struct Contract {
    pool: DescriptorPool,
    methods: BTreeMap<String, Arc<Method>>,
    reasons: HashMap<i32, Reason>,
    numbers: HashMap<String, i32>,
    topics: HashMap<String, String>,
}

/// What an error reason means on the wire.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Reason {
    /// Its text in `google.rpc.ErrorInfo`.
    pub name: String,
    /// Its gRPC code.
    pub code: tonic::Code,
    /// Its HTTP status.
    pub http_status: u16,
    /// Whether the same call may succeed later.
    pub retryable: bool,
    /// What it means, in a sentence.
    pub description: String,
}

/// One RPC.
pub struct Method {
    /// `/agora.order.v1.OrderService/CreateOrder`.
    pub path: String,
    /// `agora.order.v1.OrderService`.
    pub service: String,
    /// `CreateOrder`.
    pub name: String,
    /// The workload that serves it: `order` of `agora.order.v1`, or the whole package where it has another shape.
    pub context: String,
    /// Its descriptor, with comments.
    pub descriptor: MethodDescriptor,
    /// Its request.
    pub input: MessageDescriptor,
    /// Its reply.
    pub output: MessageDescriptor,
    /// Who may call, how often, for how long.
    pub policy: Policy,
    /// Its REST routes, the primary one first.
    pub http: Vec<HttpBinding>,
    /// Whether a repeat does harm.
    pub idempotency: Idempotency,
    /// Whether the request is a stream.
    pub client_streaming: bool,
    /// Whether the reply is a stream.
    pub server_streaming: bool,
    /// Whether the request has a field `request_id`.
    pub has_request_id: bool,
    /// What a request must satisfy.
    pub validator: Validator,
}

/// `google.protobuf.MethodOptions.IdempotencyLevel`.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Idempotency {
    /// A repeat may do harm.
    Unknown,
    /// Nothing happens at all.
    NoSideEffects,
    /// A repeat does what one call does.
    Idempotent,
}

/// `agora.policy.v1.Policy`, with every default made explicit.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct Policy {
    /// Who may call.
    pub access: Access,
    /// Roles that may call, or that see everyone's resources.
    pub roles: Vec<String>,
    /// Workloads that may call in their own name.
    pub services: Vec<String>,
    /// How often one caller may call.
    pub rate_limit: Option<RateLimit>,
    /// For how long a reply may be reused.
    pub cache: Option<Duration>,
    /// The longest an attempt may take.
    pub timeout: Option<Duration>,
    /// Whether a mutation carries `request_id`.
    pub request_id: RequestId,
    /// The HTTP status of a success; zero means 200.
    pub success_status: u16,
}

impl Policy {
    /// Whether this workload may call in its own name.
    pub fn admits_service(&self, workload: &str) -> bool {
        self.services.iter().any(|name| name == "*" || name == workload)
    }
}

/// Who may call an RPC.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub enum Access {
    /// Anyone.
    #[default]
    Public,
    /// Any user; the RPC concerns that user alone.
    Owner,
    /// Users with one of the roles.
    Roles,
    /// Only the named workloads.
    Services,
}

/// A bucket that holds `requests` and refills over `per`.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct RateLimit {
    /// Calls allowed in one `per`.
    pub requests: u32,
    /// The time over which the allowance refills.
    pub per: Duration,
}

/// Whether a mutation carries `request_id`.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub enum RequestId {
    /// It may.
    #[default]
    Optional,
    /// It must.
    Required,
    /// It has no such field.
    None,
}

/// One REST route of an RPC, as `google.api.HttpRule` has it.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct HttpBinding {
    /// `GET`, `POST`, …
    pub verb: http::Method,
    /// The path template, `/api/v1/orders/{id}`.
    pub path: String,
    /// Where the body goes: nowhere, `*`, or a field.
    pub body: String,
    /// The field of the reply that is the body; empty for the whole reply.
    pub response_body: String,
}

impl Contract {
    /// Reads an encoded `google.protobuf.FileDescriptorSet`.
    ///
    /// # Errors
    /// If the bytes are malformed, or an option could not be enforced.
    pub fn parse(descriptor_set: &[u8]) -> Result<Self, ContractError> {
        let pool = DescriptorPool::decode(descriptor_set)?;
        let mut contract = Contract::default();
        let mut problems = Vec::new();
        for descriptor in pool.services().flat_map(|service| service.methods().collect::<Vec<_>>()) {
            match read_method(descriptor) {
                Ok(method) => {
                    contract.methods.insert(method.path.clone(), Arc::new(method));
                }
                Err(mut found) => problems.append(&mut found),
            }
        }
        for (number, reason) in pool.all_enums().flat_map(|enumeration| read_reasons(&enumeration)) {
            contract.numbers.insert(reason.name.clone(), number);
            contract.reasons.insert(number, reason);
        }
        for message in pool.all_messages() {
            if let Some(topic) = option(&message.options(), "agora.policy.v1.topic") {
                let topic = topic.as_str().unwrap_or_default().to_owned();
                contract.topics.insert(message.full_name().to_owned(), topic);
            }
        }
        contract.pool = pool;
        if problems.is_empty() { Ok(contract) } else { Err(ContractError::Unenforceable(problems)) }
    }

    /// The descriptors, with every option and comment.
    pub fn pool(&self) -> &DescriptorPool {
        &self.pool
    }

    /// The RPC at `/package.Service/Method`.
    pub fn method(&self, path: &str) -> Option<&Arc<Method>> {
        self.methods.get(path)
    }

    /// Every RPC, in the order of the paths.
    pub fn methods(&self) -> impl Iterator<Item = &Arc<Method>> {
        self.methods.values()
    }

    /// Every reason, in the order of the enum.
    pub fn reasons(&self) -> Vec<&Reason> {
        let mut numbered: Vec<_> = self.reasons.iter().collect();
        numbered.sort_by_key(|(number, _)| **number);
        numbered.into_iter().map(|(_, reason)| reason).collect()
    }

    /// The reason with this number in the enum.
    pub fn reason(&self, number: i32) -> Option<&Reason> {
        self.reasons.get(&number)
    }

    /// The reason with this name, `TOKEN_EXPIRED`.
    pub fn reason_named(&self, name: &str) -> Option<&Reason> {
        self.reasons.get(self.numbers.get(name)?)
    }

    /// The topic that carries the message with this full name.
    pub fn topic(&self, message: &str) -> Option<&str> {
        self.topics.get(message).map(String::as_str)
    }
}

fn read_method(descriptor: MethodDescriptor) -> Result<Method, Vec<String>> {
    let service = descriptor.parent_service().full_name().to_owned();
    let path = format!("/{service}/{}", descriptor.name());
    let input = descriptor.input();
    let validator = Validator::compile(&input)
        .map_err(|found| found.iter().map(|problem| format!("{path}: {problem}")).collect::<Vec<_>>())?;
    let options = descriptor.options();
    let policy = match option(&options, "agora.policy.v1.policy") {
        Some(Value::Message(message)) => read_policy(&message).map_err(|problem| vec![format!("{path}: {problem}")])?,
        _ => Policy::default(),
    };
    let http = match option(&options, "google.api.http") {
        Some(Value::Message(rule)) => read_http(&rule).map_err(|problem| vec![format!("{path}: {problem}")])?,
        _ => Vec::new(),
    };
    let idempotency = match options.get_field_by_name("idempotency_level").and_then(|v| v.as_enum_number()) {
        Some(1) => Idempotency::NoSideEffects,
        Some(2) => Idempotency::Idempotent,
        _ => Idempotency::Unknown,
    };
    Ok(Method {
        context: context_of(descriptor.parent_file().package_name()),
        name: descriptor.name().to_owned(),
        output: descriptor.output(),
        client_streaming: descriptor.is_client_streaming(),
        server_streaming: descriptor.is_server_streaming(),
        has_request_id: input.get_field_by_name("request_id").is_some(),
        path,
        service,
        input,
        policy,
        http,
        idempotency,
        validator,
        descriptor,
    })
}

/// `order` of `agora.order.v1`; another package stands for itself.
fn context_of(package: &str) -> String {
    match package.split('.').collect::<Vec<_>>().as_slice() {
        ["agora", context, _version] => (*context).to_owned(),
        _ => package.to_owned(),
    }
}

fn read_policy(message: &DynamicMessage) -> Result<Policy, String> {
    let rate_limit = match message_field(message, "rate_limit") {
        Some(limit) => {
            let requests = number_field(&limit, "requests");
            let per = duration_field(&limit, "per").unwrap_or_default();
            if requests == 0 || per.is_zero() {
                return Err("rate_limit needs `requests` and `per`".into());
            }
            Some(RateLimit { requests, per })
        }
        None => None,
    };
    let policy = Policy {
        access: match number_field(message, "access") {
            1 => Access::Public,
            2 => Access::Owner,
            3 => Access::Roles,
            4 => Access::Services,
            _ => return Err("the policy does not say who may call".into()),
        },
        roles: texts_field(message, "roles"),
        services: texts_field(message, "services"),
        rate_limit,
        cache: duration_field(message, "cache"),
        timeout: duration_field(message, "timeout"),
        request_id: match number_field(message, "request_id") {
            1 => RequestId::Required,
            2 => RequestId::None,
            _ => RequestId::Optional,
        },
        success_status: u16::try_from(number_field(message, "success_status")).unwrap_or(0),
    };
    match policy.access {
        Access::Roles if policy.roles.is_empty() => Err("ACCESS_ROLES names no role".into()),
        Access::Services if policy.services.is_empty() => Err("ACCESS_SERVICES names no service".into()),
        Access::Public | Access::Services if !policy.roles.is_empty() => {
            Err("roles have no effect with this access".into())
        }
        _ => Ok(policy),
    }
}

fn read_http(rule: &DynamicMessage) -> Result<Vec<HttpBinding>, String> {
    let text =
        |name: &str| rule.get_field_by_name(name).and_then(|v| v.as_str().map(str::to_owned)).unwrap_or_default();
    let mut bindings = Vec::new();
    for (field, verb) in [
        ("get", http::Method::GET),
        ("put", http::Method::PUT),
        ("post", http::Method::POST),
        ("delete", http::Method::DELETE),
        ("patch", http::Method::PATCH),
    ] {
        if rule.has_field_by_name(field) {
            bindings.push(HttpBinding {
                verb,
                path: text(field),
                body: text("body"),
                response_body: text("response_body"),
            });
        }
    }
    if bindings.is_empty() {
        return Err("the HttpRule has no get, put, post, delete or patch".into());
    }
    if let Some(Value::List(more)) = rule.get_field_by_name("additional_bindings").as_deref() {
        for value in more {
            if let Value::Message(rule) = value {
                bindings.extend(read_http(rule)?);
            }
        }
    }
    Ok(bindings)
}

fn read_reasons(enumeration: &prost_reflect::EnumDescriptor) -> Vec<(i32, Reason)> {
    let prefix = format!("{}_", enumeration.name().to_uppercase());
    let describe =
        |value: &prost_reflect::EnumValueDescriptor| comment(value.parent_enum().parent_file(), value.path());
    enumeration
        .values()
        .filter_map(|value| {
            let Some(Value::Message(policy)) = option(&value.options(), "agora.policy.v1.reason") else {
                return None;
            };
            let code = i32::try_from(number_field(&policy, "code")).unwrap_or(2);
            let reason = Reason {
                name: value.name().strip_prefix(&prefix).unwrap_or(value.name()).to_owned(),
                code: tonic::Code::from_i32(code),
                http_status: u16::try_from(number_field(&policy, "http_status")).unwrap_or(500),
                retryable: policy.get_field_by_name("retryable").and_then(|v| v.as_bool()).unwrap_or(false),
                description: describe(&value),
            };
            Some((value.number(), reason))
        })
        .collect()
}

/// The leading comment of the descriptor at `path` of its file, in one line.
pub fn comment(file: prost_reflect::FileDescriptor, path: &[i32]) -> String {
    let Some(info) = &file.file_descriptor_proto().source_code_info else {
        return String::new();
    };
    info.location
        .iter()
        .find(|location| location.path == path)
        .map(|location| location.leading_comments().split_whitespace().collect::<Vec<_>>().join(" "))
        .unwrap_or_default()
}

/// The value of an extension on options, if it is set.
pub fn option(options: &DynamicMessage, extension: &str) -> Option<Value> {
    let descriptor = options.descriptor().parent_pool().get_extension_by_name(extension)?;
    options.has_extension(&descriptor).then(|| options.get_extension(&descriptor).into_owned())
}

fn message_field(message: &DynamicMessage, name: &str) -> Option<DynamicMessage> {
    if !message.has_field_by_name(name) {
        return None;
    }
    message.get_field_by_name(name)?.as_message().cloned()
}

fn number_field(message: &DynamicMessage, name: &str) -> u32 {
    match message.get_field_by_name(name).as_deref() {
        Some(Value::U32(number)) => *number,
        Some(Value::EnumNumber(number)) => u32::try_from(*number).unwrap_or(0),
        _ => 0,
    }
}

fn texts_field(message: &DynamicMessage, name: &str) -> Vec<String> {
    match message.get_field_by_name(name).as_deref() {
        Some(Value::List(values)) => values.iter().filter_map(|v| v.as_str().map(str::to_owned)).collect(),
        _ => Vec::new(),
    }
}

fn duration_field(message: &DynamicMessage, name: &str) -> Option<Duration> {
    let duration = message_field(message, name)?;
    let seconds = duration.get_field_by_name("seconds")?.as_i64()?;
    let nanos = duration.get_field_by_name("nanos")?.as_i32()?;
    Some(Duration::new(u64::try_from(seconds).ok()?, u32::try_from(nanos).ok()?))
}
