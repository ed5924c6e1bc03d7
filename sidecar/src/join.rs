//! Join tokens: the secret by which a process proves to the certificate authority which workload it is.
//!
//! A token names one identity and buys certificates for that one alone. The authority makes a file for each,
//! `<folder>/join/<workload>.token`, that only its user may read; handing the file to a process is what makes it that
//! workload.

use std::{
    collections::HashMap,
    path::{Path, PathBuf},
};

use base64::{Engine, engine::general_purpose::URL_SAFE_NO_PAD};
use sha2::{Digest, Sha256};

use crate::{
    Error,
    ca::{private_folder, read_private, write_new},
    spiffe::SpiffeId,
};

/// The random bytes in a token.
const TOKEN_BYTES: usize = 32;

/// Every token of a mesh, as its authority knows them: by their digests.
pub struct JoinTokens {
    digests: HashMap<String, [u8; 32]>,
}

impl JoinTokens {
    /// Reads the token of each workload from `folder`, and makes those that are not there yet.
    ///
    /// # Errors
    /// If a file cannot be read or written, or if others may read it.
    pub fn open(folder: &Path, trust_domain: &str, workloads: &[&str]) -> Result<Self, Error> {
        private_folder(&folder.join("join"))?;
        let mut digests = HashMap::new();
        for workload in workloads {
            SpiffeId::new(trust_domain, workload)?;
            let path = token_path(folder, workload);
            if !path.exists() {
                let secret: [u8; TOKEN_BYTES] = rand::random();
                write_new(&path, URL_SAFE_NO_PAD.encode(secret).as_bytes(), 0o600)?;
            }
            digests.insert((*workload).to_owned(), digest(read_token(&path)?.as_bytes()));
        }
        Ok(Self { digests })
    }

    /// Whether `token` is that of `workload`. Takes the same time whatever is wrong with it, and whether or not there is
    /// such a workload.
    pub(crate) fn admits(&self, workload: &str, token: &[u8]) -> bool {
        let nobody = [0; 32];
        let known = self.digests.get(workload);
        let given = digest(token);
        let difference = known
            .unwrap_or(&nobody)
            .iter()
            .zip(given)
            .fold(0, |difference, (known, given)| difference | (known ^ given));
        difference == 0 && known.is_some()
    }
}

/// Where the token of a workload lies.
pub fn token_path(folder: &Path, workload: &str) -> PathBuf {
    folder.join("join").join(format!("{workload}.token"))
}

/// Reads a token file.
pub(crate) fn read_token(path: &Path) -> Result<String, Error> {
    let token = read_private(path)?.trim().to_owned();
    if token.is_empty() {
        return Err(Error::Setting(format!("{} is empty; remove it and start the authority again", path.display())));
    }
    Ok(token)
}

fn digest(token: &[u8]) -> [u8; 32] {
    Sha256::digest(token).into()
}
