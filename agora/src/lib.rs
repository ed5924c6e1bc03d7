//! agora.
