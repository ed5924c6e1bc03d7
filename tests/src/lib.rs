//! platform-tests.
