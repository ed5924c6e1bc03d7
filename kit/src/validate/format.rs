//! The well-known formats of `buf.validate.StringRules`.

use std::net::{IpAddr, Ipv4Addr, Ipv6Addr};

/// A well-known format of a string. None of them admits the empty string, but `uri_ref`.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum Format {
    Email,
    Hostname,
    Ip,
    Ipv4,
    Ipv6,
    Uri,
    UriRef,
    Address,
    Uuid,
    TrimmedUuid,
    Ulid,
    HostAndPort,
}

impl Format {
    /// The format that a rule of `buf.validate.StringRules` names.
    pub fn of_rule(name: &str) -> Option<Self> {
        Some(match name {
            "email" => Format::Email,
            "hostname" => Format::Hostname,
            "ip" => Format::Ip,
            "ipv4" => Format::Ipv4,
            "ipv6" => Format::Ipv6,
            "uri" => Format::Uri,
            "uri_ref" => Format::UriRef,
            "address" => Format::Address,
            "uuid" => Format::Uuid,
            "tuuid" => Format::TrimmedUuid,
            "ulid" => Format::Ulid,
            "host_and_port" => Format::HostAndPort,
            _ => return None,
        })
    }

    pub fn describe(self) -> &'static str {
        match self {
            Format::Email => "an email address, such as `name@example.com`",
            Format::Hostname => "a host name, such as `example.com`",
            Format::Ip => "an IP address",
            Format::Ipv4 => "an IPv4 address, such as `192.0.2.1`",
            Format::Ipv6 => "an IPv6 address, such as `2001:db8::1`",
            Format::Uri => "a URI with a scheme, such as `https://example.com/`",
            Format::UriRef => "a URI or a reference relative to one",
            Format::Address => "a host name or an IP address",
            Format::Uuid => "a UUID, such as `123e4567-e89b-12d3-a456-426614174000`",
            Format::TrimmedUuid => "a UUID without dashes",
            Format::Ulid => "a ULID of 26 characters",
            Format::HostAndPort => "a host and a port, such as `example.com:443`",
        }
    }

    pub fn matches(self, text: &str) -> bool {
        match self {
            Format::Email => is_email(text),
            Format::Hostname => is_hostname(text),
            Format::Ip => is_ip(text),
            Format::Ipv4 => text.parse::<Ipv4Addr>().is_ok(),
            Format::Ipv6 => is_ipv6(text),
            Format::Uri => has_scheme(text) && has_uri_characters(text),
            Format::UriRef => has_uri_characters(text),
            Format::Address => is_hostname(text) || is_ip(text),
            Format::Uuid => is_uuid(text),
            Format::TrimmedUuid => text.len() == 32 && text.bytes().all(|byte| byte.is_ascii_hexdigit()),
            Format::Ulid => is_ulid(text),
            Format::HostAndPort => is_host_and_port(text),
        }
    }
}

/// The definition of HTML's `<input type=email>`, which `buf.validate` takes too.
fn is_email(text: &str) -> bool {
    let Some((local, domain)) = text.rsplit_once('@') else {
        return false;
    };
    let local_byte = |byte: u8| byte.is_ascii_alphanumeric() || b".!#$%&'*+/=?^_`{|}~-".contains(&byte);
    !local.is_empty() && local.bytes().all(local_byte) && domain.split('.').all(is_label)
}

/// RFC 1034: labels of at most 63, 253 in all; the last is not a number, lest it be an address.
fn is_hostname(text: &str) -> bool {
    let text = text.strip_suffix('.').unwrap_or(text);
    let last = text.rsplit('.').next().unwrap_or_default();
    text.len() <= 253 && text.split('.').all(is_label) && !last.bytes().all(|byte| byte.is_ascii_digit())
}

fn is_label(label: &str) -> bool {
    (1..=63).contains(&label.len())
        && label.bytes().all(|byte| byte.is_ascii_alphanumeric() || byte == b'-')
        && !label.starts_with('-')
        && !label.ends_with('-')
}

fn is_ip(text: &str) -> bool {
    text.parse::<IpAddr>().is_ok() || is_ipv6(text)
}

/// RFC 4007 lets a zone follow.
fn is_ipv6(text: &str) -> bool {
    match text.split_once('%') {
        Some((address, zone)) => !zone.is_empty() && !zone.contains('\0') && address.parse::<Ipv6Addr>().is_ok(),
        None => text.parse::<Ipv6Addr>().is_ok(),
    }
}

/// RFC 3986 §3.1.
fn has_scheme(text: &str) -> bool {
    text.split_once(':').is_some_and(|(scheme, _)| {
        scheme.starts_with(|first: char| first.is_ascii_alphabetic())
            && scheme.bytes().all(|byte| byte.is_ascii_alphanumeric() || b"+-.".contains(&byte))
    })
}

/// RFC 3986 §2: reserved and unreserved characters, and whole percent escapes; one fragment at most.
fn has_uri_characters(text: &str) -> bool {
    let bytes = text.as_bytes();
    let escape = |at: usize| bytes.get(at + 1..at + 3).is_some_and(|pair| pair.iter().all(u8::is_ascii_hexdigit));
    let legal = |(at, byte): (usize, &u8)| match byte {
        b'%' => escape(at),
        byte => byte.is_ascii_alphanumeric() || b"-._~:/?#[]@!$&'()*+,;=".contains(byte),
    };
    bytes.iter().enumerate().all(legal) && bytes.iter().filter(|byte| **byte == b'#').count() <= 1
}

fn is_uuid(text: &str) -> bool {
    text.len() == 36
        && text.bytes().enumerate().all(|(at, byte)| match at {
            8 | 13 | 18 | 23 => byte == b'-',
            _ => byte.is_ascii_hexdigit(),
        })
}

fn is_ulid(text: &str) -> bool {
    let digit = |byte: u8| byte.is_ascii_alphanumeric() && !b"ILOU".contains(&byte.to_ascii_uppercase());
    text.len() == 26 && matches!(text.as_bytes()[0], b'0'..=b'7') && text.bytes().all(digit)
}

fn is_host_and_port(text: &str) -> bool {
    let Some((host, port)) = text.rsplit_once(':') else {
        return false;
    };
    let port_is_plain = port == "0" || !port.starts_with(['0', '+']);
    let host_is_right = match host.strip_prefix('[') {
        Some(inner) => inner.strip_suffix(']').is_some_and(is_ipv6),
        None => is_hostname(host) || host.parse::<Ipv4Addr>().is_ok(),
    };
    port_is_plain && port.parse::<u16>().is_ok() && host_is_right
}
