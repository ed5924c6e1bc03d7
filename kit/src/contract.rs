//! The contract as it is at run time: every RPC with its policy, every error reason with its meaning, every topic, read
//! from descriptor bytes. Nothing here knows a business noun.

use std::{
    collections::{BTreeMap, HashMap},
    sync::{Arc, OnceLock},
    time::Duration,
};

use prost_reflect::{DescriptorPool, MessageDescriptor, MethodDescriptor};
use thiserror::Error;

use crate::validate::Validator;

mod lint;
mod read;

pub use lint::problems;
pub use read::{comment, option};
use read::{read_method, read_reasons};

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
    /// Who may call, how often, for how long; nothing but the defaults where the contract does not say.
    pub policy: Policy,
    /// Whether the contract says so itself.
    pub has_policy: bool,
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
