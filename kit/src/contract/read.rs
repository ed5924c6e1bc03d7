//! Reads policy, routes and reasons from the options of descriptors.

use std::time::Duration;

use prost_reflect::{DynamicMessage, MethodDescriptor, ReflectMessage, Value};

use super::{Access, HttpBinding, Idempotency, Method, Policy, RateLimit, Reason, RequestId};
use crate::validate::Validator;

pub(super) fn read_method(descriptor: MethodDescriptor) -> Result<Method, Vec<String>> {
    let service = descriptor.parent_service().full_name().to_owned();
    let path = format!("/{service}/{}", descriptor.name());
    let input = descriptor.input();
    let validator = Validator::compile(&input)
        .map_err(|found| found.iter().map(|problem| format!("{path}: {problem}")).collect::<Vec<_>>())?;
    let options = descriptor.options();
    let stated = option(&options, "agora.policy.v1.policy");
    let has_policy = stated.is_some();
    let policy = match stated {
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
        has_policy,
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
        success_status: u16::try_from(number_field(message, "success_status")).unwrap_or(u16::MAX),
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

pub(super) fn read_reasons(enumeration: &prost_reflect::EnumDescriptor) -> Vec<(i32, Reason)> {
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
