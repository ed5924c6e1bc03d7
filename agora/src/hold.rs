//! The hold of one process on a data folder: the whole platform on embedded databases runs once on it.

use std::{
    fs::{File, OpenOptions, TryLockError},
    io::{Read, Seek, Write},
    path::Path,
};

use anyhow::{Context, Result, bail};

/// The file that is locked. It stays, with the number of the process that held it last.
const FILE: &str = "agora.lock";

/// Lets go of the folder when it is dropped, or the process ends in whatever way.
#[derive(Debug)]
pub struct Hold(#[allow(dead_code, reason = "the lock lasts as long as the file is open")] File);

impl Hold {
    /// Takes a data folder that exists.
    ///
    /// # Errors
    /// One sentence if another process has it.
    pub fn take(folder: &Path) -> Result<Self> {
        let path = folder.join(FILE);
        let open = OpenOptions::new().read(true).write(true).create(true).truncate(false).open(&path);
        let mut file = open.with_context(|| format!("{} cannot be written", path.display()))?;
        match file.try_lock() {
            Ok(()) => {}
            Err(TryLockError::WouldBlock) => {
                let mut process = String::new();
                // For the sentence alone.
                let _ = file.read_to_string(&mut process);
                let folder = folder.display();
                bail!(
                    "the data folder {folder} is in use by another `agora up` (process {}): end that one, or name \
                     another folder with --data-dir",
                    process.trim()
                );
            }
            Err(TryLockError::Error(error)) => {
                return Err(error).with_context(|| format!("{} cannot be locked", path.display()));
            }
        }
        file.set_len(0)?;
        file.rewind()?;
        writeln!(file, "{}", std::process::id())?;
        Ok(Self(file))
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_folder_is_held_once_and_free_again_afterwards() {
        let folder = tempfile::tempdir().unwrap();
        let held = Hold::take(folder.path()).unwrap();
        let error = Hold::take(folder.path()).unwrap_err().to_string();
        assert!(error.contains(&format!("(process {})", std::process::id())), "{error}");
        drop(held);
        Hold::take(folder.path()).unwrap();
    }
}
