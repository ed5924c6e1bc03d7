//! The certificate authority of a mesh: one root key, and short-lived certificates for workloads.
//!
//! A workload makes its own key and sends a signing request; only the request's public key is taken from it, everything
//! else in the certificate is decided here. So a request cannot ask for more than its sender may have.

use std::{
    fs,
    io::Write,
    os::unix::fs::{DirBuilderExt, OpenOptionsExt, PermissionsExt},
    path::Path,
    sync::Arc,
    time::{Duration, SystemTime},
};

use rcgen::{
    BasicConstraints, CertificateParams, CertificateSigningRequestParams, DistinguishedName, DnType,
    ExtendedKeyUsagePurpose, IsCa, Issuer, KeyPair, KeyUsagePurpose, PKCS_ECDSA_P256_SHA256, SanType,
};
use rustls::{
    RootCertStore,
    pki_types::{CertificateDer, CertificateSigningRequestDer, pem::PemObject},
};

use crate::{Error, spiffe::SpiffeId};

/// The workload name of the authority itself, as joiners know it.
pub const AUTHORITY: &str = "ca";

/// How long a workload's certificate lives unless it is said otherwise.
pub const DEFAULT_LIFETIME: Duration = Duration::from_secs(24 * 60 * 60);

/// The shortest lifetime. Certificates count in seconds, and half of this must suffice to renew.
const MIN_LIFETIME: Duration = Duration::from_secs(2);
/// How long a root lives. Replacing it means that everyone joins anew.
const ROOT_LIFETIME: Duration = Duration::from_secs(10 * 365 * 24 * 60 * 60);
/// How far the clocks of two machines may differ: certificates are valid from this long before they are issued.
const CLOCK_SKEW: Duration = Duration::from_secs(60);

const ROOT_FILE: &str = "ca.pem";
const KEY_FILE: &str = "ca-key.pem";

/// A certificate authority, in memory or kept in a folder.
pub struct LocalCa {
    issuer: Issuer<'static, KeyPair>,
    root: CertificateDer<'static>,
    root_pem: String,
    trust_domain: String,
    lifetime: Duration,
}

/// A certificate as the authority hands it out.
pub struct Issued {
    /// The workload's certificate, then whatever leads to the root (today nothing).
    pub chain: Vec<CertificateDer<'static>>,
}

impl LocalCa {
    /// A new authority whose root exists in this process alone. Certificates live for `lifetime`.
    ///
    /// # Errors
    /// If the trust domain is no name, or the lifetime is below two seconds.
    pub fn new(trust_domain: &str, lifetime: Duration) -> Result<Self, Error> {
        let (key, root_pem) = make_root(trust_domain)?;
        Self::from_parts(trust_domain, lifetime, key, root_pem)
    }

    /// The authority kept in `folder`, made there if there is none: `ca.pem` (for everyone) and `ca-key.pem` (for this
    /// user alone).
    ///
    /// # Errors
    /// If a file cannot be read or written, is malformed, or if the key may be read by others.
    pub fn open(folder: &Path, trust_domain: &str, lifetime: Duration) -> Result<Self, Error> {
        private_folder(folder)?;
        let (root_file, key_file) = (folder.join(ROOT_FILE), folder.join(KEY_FILE));
        if !key_file.exists() {
            let (key, root_pem) = make_root(trust_domain)?;
            // The root first: a crash between the two leaves a root without a key, which the next start replaces.
            write_new(&root_file, root_pem.as_bytes(), 0o644)?;
            write_new(&key_file, key.serialize_pem().as_bytes(), 0o600)?;
        }
        let key = KeyPair::from_pem(&read_private(&key_file)?)?;
        let root_pem = read(&root_file)?;
        Self::from_parts(trust_domain, lifetime, key, root_pem)
    }

    fn from_parts(trust_domain: &str, lifetime: Duration, key: KeyPair, root_pem: String) -> Result<Self, Error> {
        SpiffeId::new(trust_domain, AUTHORITY)?;
        if lifetime < MIN_LIFETIME {
            return Err(Error::Setting(format!("certificates must live for at least {MIN_LIFETIME:?}")));
        }
        let root = CertificateDer::from_pem_slice(root_pem.as_bytes())
            .map_err(|error| Error::Certificate(format!("the root certificate cannot be read: {error}")))?;
        let issuer = Issuer::from_ca_cert_der(&root, key)?;
        Ok(Self { issuer, root, root_pem, trust_domain: trust_domain.to_owned(), lifetime })
    }

    /// The mesh that this authority speaks for.
    pub fn trust_domain(&self) -> &str {
        &self.trust_domain
    }

    /// The root certificate, as a PEM text that joiners pin.
    pub fn root_pem(&self) -> &str {
        &self.root_pem
    }

    /// The root, as TLS wants it.
    pub fn roots(&self) -> Result<Arc<RootCertStore>, Error> {
        let mut roots = RootCertStore::empty();
        roots.add(self.root.clone())?;
        Ok(Arc::new(roots))
    }

    /// Issues a certificate for `workload` on the key of a signing request (PKCS #10, DER). The request proves that its
    /// sender holds the key; nothing else of it is looked at.
    ///
    /// # Errors
    /// If the request is malformed, is not signed by its own key, or has a key that is not ECDSA P-256.
    pub fn issue(&self, workload: &str, request: &[u8]) -> Result<Issued, Error> {
        let id = SpiffeId::new(&self.trust_domain, workload)?;
        let request = CertificateSigningRequestParams::from_der(&CertificateSigningRequestDer::from(request))
            .map_err(|error| Error::Refused(format!("the signing request cannot be used: {error}")))?;
        if request.public_key.algorithm() != &PKCS_ECDSA_P256_SHA256 {
            return Err(Error::Refused("the key of the signing request is not ECDSA P-256".into()));
        }
        let now = SystemTime::now();
        let mut params = CertificateParams::default();
        params.not_before = (now - CLOCK_SKEW).into();
        params.not_after = (now + self.lifetime).into();
        params.distinguished_name = named(workload);
        params.subject_alt_names = vec![SanType::URI(id.to_string().try_into()?)];
        params.is_ca = IsCa::ExplicitNoCa;
        params.key_usages = vec![KeyUsagePurpose::DigitalSignature];
        params.extended_key_usages = vec![ExtendedKeyUsagePurpose::ClientAuth, ExtendedKeyUsagePurpose::ServerAuth];
        params.use_authority_key_identifier_extension = true;
        let certificate = params.signed_by(&request.public_key, &self.issuer)?;
        Ok(Issued { chain: vec![certificate.der().clone()] })
    }
}

fn make_root(trust_domain: &str) -> Result<(KeyPair, String), Error> {
    let key = KeyPair::generate_for(&PKCS_ECDSA_P256_SHA256)?;
    let now = SystemTime::now();
    let mut params = CertificateParams::default();
    params.not_before = (now - CLOCK_SKEW).into();
    params.not_after = (now + ROOT_LIFETIME).into();
    params.distinguished_name = named(&format!("{trust_domain} root"));
    params.is_ca = IsCa::Ca(BasicConstraints::Constrained(0));
    params.key_usages = vec![KeyUsagePurpose::KeyCertSign, KeyUsagePurpose::CrlSign];
    let root_pem = params.self_signed(&key)?.pem();
    Ok((key, root_pem))
}

fn named(common_name: &str) -> DistinguishedName {
    let mut name = DistinguishedName::new();
    name.push(DnType::CommonName, common_name);
    name
}

/// Makes a folder that only this user may enter, unless it is there.
pub(crate) fn private_folder(folder: &Path) -> Result<(), Error> {
    fs::DirBuilder::new()
        .recursive(true)
        .mode(0o700)
        .create(folder)
        .map_err(|error| Error::io(format!("cannot make the folder {}", folder.display()), error))
}

/// Writes a file with these permissions from the start, replacing an old one in one step.
pub(crate) fn write_new(path: &Path, content: &[u8], mode: u32) -> Result<(), Error> {
    let failed = |error| Error::io(format!("cannot write {}", path.display()), error);
    let next = path.with_extension("next");
    let _ = fs::remove_file(&next);
    let mut file = fs::OpenOptions::new().write(true).create_new(true).mode(mode).open(&next).map_err(failed)?;
    file.write_all(content).map_err(failed)?;
    file.sync_all().map_err(failed)?;
    fs::rename(&next, path).map_err(failed)
}

pub(crate) fn read(path: &Path) -> Result<String, Error> {
    fs::read_to_string(path).map_err(|error| Error::io(format!("cannot read {}", path.display()), error))
}

/// Reads a secret, and refuses one that others may read too.
pub(crate) fn read_private(path: &Path) -> Result<String, Error> {
    let metadata = fs::metadata(path).map_err(|error| Error::io(format!("cannot read {}", path.display()), error))?;
    let mode = metadata.permissions().mode() & 0o777;
    if mode & 0o077 != 0 {
        return Err(Error::Setting(format!(
            "{} may be read by other users (mode {mode:o}); run `chmod 600 {}`",
            path.display(),
            path.display()
        )));
    }
    read(path)
}
