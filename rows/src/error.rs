//! What can go wrong with a stream: it is not what the protocol allows, or the server itself reports an error.

use std::fmt;

#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Side {
    MySql,
    Postgres,
}

#[derive(Clone, Debug, PartialEq, Eq)]
pub enum Error {
    /// The bytes (or the plan) make no sense; the stream cannot be read on.
    Malformed(String),
    /// The server's own error: MySQL's number or PostgreSQL's SQLSTATE, and its message.
    Server { side: Side, code: String, message: String },
}

pub type Result<T> = std::result::Result<T, Error>;

pub fn malformed<T>(message: impl Into<String>) -> Result<T> {
    Err(Error::Malformed(message.into()))
}

impl fmt::Display for Error {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Error::Malformed(message) => f.write_str(message),
            Error::Server { code, message, .. } => write!(f, "{code}: {message}"),
        }
    }
}
