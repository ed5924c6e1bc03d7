//! What can go wrong while a sidecar starts, joins or connects. Calls are answered with gRPC statuses instead: see
//! [`crate::reply`].

use std::io;

/// Why a sidecar, an identity or a certificate authority cannot do what it was asked.
#[derive(Debug, thiserror::Error)]
pub enum Error {
    /// A file, socket or listener cannot be used.
    #[error("{what}: {source}")]
    Io {
        /// What was being done, with the path or address.
        what: String,
        /// What the system said.
        source: io::Error,
    },
    /// A key or certificate cannot be made or read.
    #[error("{0}")]
    Certificate(String),
    /// The certificate authority understood and said no. A repeat is pointless until someone changes something.
    #[error("the certificate authority refused: {0}")]
    Refused(String),
    /// A setting makes no sense.
    #[error("{0}")]
    Setting(String),
}

impl Error {
    /// An I/O error with what was being done.
    pub(crate) fn io(what: impl Into<String>, source: io::Error) -> Self {
        Self::Io { what: what.into(), source }
    }
}

impl From<rcgen::Error> for Error {
    fn from(error: rcgen::Error) -> Self {
        Self::Certificate(error.to_string())
    }
}

impl From<rustls::Error> for Error {
    fn from(error: rustls::Error) -> Self {
        Self::Certificate(error.to_string())
    }
}
