//! Secrets and the ways to authenticate with them.

use std::fmt;

/// A key: shown only where the running configuration is written to a file.
#[derive(Clone, PartialEq, Eq)]
pub struct Secret(pub String);

impl fmt::Debug for Secret {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str("Secret(********)")
    }
}

/// `authentication ...`
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum Authentication {
    /// `[text] STRING`, 1-8 characters
    Text(Secret),
    /// `md5 key-string KEY [timeout SECONDS]`: after a change the key before is accepted for so long
    Md5(Secret, Option<u16>),
    /// `md5 key-chain NAME`
    KeyChain(String),
}
