//! Databases for tests and benches: a file for SQLite, and one throw-away PostgreSQL a process with a database a test.

use tempfile::TempDir;

/// A database of its own, gone when it is dropped.
pub struct Database {
    url: String,
    _folder: Option<TempDir>,
}

impl Database {
    /// An empty SQLite file.
    pub fn sqlite() -> Self {
        // A test machine without a folder for temporary files runs no tests.
        #[allow(clippy::expect_used)]
        let folder = tempfile::tempdir().expect("a temporary folder");
        Self { url: format!("sqlite:{}", folder.path().join("db.sqlite").display()), _folder: Some(folder) }
    }

    /// The URL for [`crate::Db::open`].
    pub fn url(&self) -> &str {
        &self.url
    }
}

/// An empty database of each kind that can be had here.
pub async fn each_database() -> Vec<Database> {
    vec![Database::sqlite()]
}
