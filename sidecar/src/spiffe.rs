//! SPIFFE ids: the name of a workload, and how it is read from a certificate.
//!
//! The form is the one that Istio uses: `spiffe://<trust domain>/ns/<namespace>/sa/<workload>`. One namespace is enough
//! here, so it is always `default`.

use std::{
    fmt,
    time::{Duration, SystemTime, UNIX_EPOCH},
};

use x509_parser::prelude::{FromDer, GeneralName, ParsedExtension, X509Certificate};

use crate::Error;

/// The longest trust domain or workload name that we accept, in bytes. SPIFFE allows 255 for a trust domain.
const MAX_NAME: usize = 255;

/// The name of a workload: `spiffe://<trust_domain>/ns/default/sa/<workload>`.
#[derive(Clone, Debug, PartialEq, Eq, Hash)]
pub struct SpiffeId {
    trust_domain: String,
    workload: String,
}

impl SpiffeId {
    /// The id of a workload.
    ///
    /// # Errors
    /// If a part is empty, too long, or has other characters than `a-z`, `0-9`, `.`, `-` and `_`.
    pub fn new(trust_domain: &str, workload: &str) -> Result<Self, Error> {
        for (what, name) in [("trust domain", trust_domain), ("workload", workload)] {
            if !is_name(name) {
                return Err(Error::Setting(format!(
                    "`{name}` is no name of a {what}: use a-z, 0-9, `.`, `-`, `_`; at most {MAX_NAME} bytes"
                )));
            }
        }
        Ok(Self { trust_domain: trust_domain.to_owned(), workload: workload.to_owned() })
    }

    /// Reads the text form. Anything but the exact form is `None`.
    pub fn parse(uri: &str) -> Option<Self> {
        let (trust_domain, path) = uri.strip_prefix("spiffe://")?.split_once('/')?;
        let workload = path.strip_prefix("ns/default/sa/")?;
        Self::new(trust_domain, workload).ok()
    }

    /// The trust domain: the mesh that this workload belongs to.
    pub fn trust_domain(&self) -> &str {
        &self.trust_domain
    }

    /// The workload's own name, `order`.
    pub fn workload(&self) -> &str {
        &self.workload
    }
}

impl fmt::Display for SpiffeId {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "spiffe://{}/ns/default/sa/{}", self.trust_domain, self.workload)
    }
}

/// A name that is safe in a URI, a file name and a log line. `.` and `..` would be paths.
fn is_name(name: &str) -> bool {
    (1..=MAX_NAME).contains(&name.len())
        && name.bytes().all(|byte| byte.is_ascii_lowercase() || byte.is_ascii_digit() || b".-_".contains(&byte))
        && !name.bytes().all(|byte| byte == b'.')
}

/// Why a certificate is not that of a workload.
#[derive(Clone, Debug, PartialEq, Eq, thiserror::Error)]
pub enum NotAWorkload {
    /// It is no X.509 certificate.
    #[error("the certificate cannot be read")]
    Unreadable,
    /// It may sign others, which no workload's certificate may.
    #[error("the certificate is that of an authority, not of a workload")]
    Authority,
    /// It has no name, several, or one that is no URI.
    #[error("the certificate has {0} names; a workload has exactly one, a SPIFFE URI")]
    Names(usize),
    /// Its one name is not of the form that we issue.
    #[error("`{0}` is no SPIFFE id of a workload")]
    NotSpiffe(String),
    /// It belongs to another mesh.
    #[error("trust domain `{found}`, wanted `{wanted}`")]
    TrustDomain {
        /// Ours.
        wanted: String,
        /// Theirs.
        found: String,
    },
    /// It is another workload than the one that was dialed.
    #[error("dialed `{wanted}`, but `{found}` answered")]
    Other {
        /// Whom we dialed.
        wanted: SpiffeId,
        /// Who answered.
        found: SpiffeId,
    },
}

/// Who a certificate belongs to, and until when.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(crate) struct Holder {
    pub(crate) id: SpiffeId,
    pub(crate) not_after: SystemTime,
}

/// Reads the workload from a certificate, by the rules of the X.509-SVID specification: not an authority, no right to
/// sign others, exactly one name, and that a SPIFFE URI. Says nothing about who signed it: see [`crate::tls`].
pub(crate) fn holder(certificate: &[u8]) -> Result<Holder, NotAWorkload> {
    let (rest, certificate) = X509Certificate::from_der(certificate).map_err(|_| NotAWorkload::Unreadable)?;
    if !rest.is_empty() {
        return Err(NotAWorkload::Unreadable);
    }
    let mut names = Vec::new();
    for extension in certificate.extensions() {
        match extension.parsed_extension() {
            ParsedExtension::BasicConstraints(constraints) if constraints.ca => return Err(NotAWorkload::Authority),
            ParsedExtension::KeyUsage(usage) if usage.key_cert_sign() || usage.crl_sign() => {
                return Err(NotAWorkload::Authority);
            }
            ParsedExtension::SubjectAlternativeName(san) => names.extend(&san.general_names),
            _ => {}
        }
    }
    let [GeneralName::URI(uri)] = names.as_slice() else {
        return Err(NotAWorkload::Names(names.len()));
    };
    let id = SpiffeId::parse(uri).ok_or_else(|| NotAWorkload::NotSpiffe(uri.chars().take(MAX_NAME).collect()))?;
    let seconds = u64::try_from(certificate.validity().not_after.timestamp()).unwrap_or(0);
    Ok(Holder { id, not_after: UNIX_EPOCH + Duration::from_secs(seconds) })
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn an_id_survives_its_text_form() {
        let id = SpiffeId::new("agora.local", "order").unwrap();
        assert_eq!(id.to_string(), "spiffe://agora.local/ns/default/sa/order");
        assert_eq!(SpiffeId::parse(&id.to_string()), Some(id));
    }

    #[test]
    fn anything_but_the_exact_form_is_no_id() {
        for text in [
            "",
            "spiffe://",
            "spiffe://td",
            "https://td/ns/default/sa/order",
            "spiffe:///ns/default/sa/order",
            "spiffe://td/ns/default/sa/",
            "spiffe://td/ns/default/sa/order/",
            "spiffe://td/ns/default/sa/../ledger",
            "spiffe://td/ns/default/sa/..",
            "spiffe://td/ns/default/sa/Order",
            "spiffe://td/ns/default/sa/order?x=1",
            "spiffe://td/ns/default/sa/order;URI=spiffe",
            "spiffe://td/ns/other/sa/order",
            "spiffe://td:8080/ns/default/sa/order",
            "spiffe://td/ns/default/sa/or%64er",
        ] {
            assert_eq!(SpiffeId::parse(text), None, "{text}");
        }
    }

    #[test]
    fn bytes_that_are_no_certificate_name_nobody() {
        assert_eq!(holder(&[]), Err(NotAWorkload::Unreadable));
        assert_eq!(holder(&[0x30, 0x82, 0xff, 0xff]), Err(NotAWorkload::Unreadable));
    }
}
