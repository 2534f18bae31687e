//! What keeps the whole server from starting: the operator's own word that cannot be kept, or nothing to
//! serve. What is wrong with one folder fails that model alone.

/// Why the server does not start. The message is for the operator.
#[derive(Debug, thiserror::Error)]
#[error("{0}")]
pub struct StartError(pub String);
