//! The management API: requests to usherd and its replies, one JSON value per line over a Unix socket. The daemon
//! serves it ([`crate::daemon`]), `usher` speaks it ([`crate::cli`]); neither imports the other.
//!
//! Fields are only added, and those added later have defaults: clients and daemons of different ages understand each
//! other. What cannot be expressed that way raises [`VERSION`].

use crate::config::Diagnostic;
use serde::{Deserialize, Serialize};
use std::path::{Path, PathBuf};

/// The version of the requests and replies here.
pub const VERSION: u32 = 1;

/// The socket of the usherd of this run directory.
#[must_use]
pub fn socket(run_dir: &Path) -> PathBuf {
    run_dir.join("usherd.sock")
}

/// Members of this group may read.
pub const READERS: &str = "usher";
/// Members of this group may change something.
pub const ADMINISTRATORS: &str = "usher-admin";

/// Lines of configuration in one request.
pub const MAX_LINES: usize = 50_000;

/// Reads lines, and gives up at one too many instead of making room for them.
fn lines<'de, D: serde::Deserializer<'de>>(deserializer: D) -> Result<Vec<String>, D::Error> {
    struct Lines;

    impl<'de> serde::de::Visitor<'de> for Lines {
        type Value = Vec<String>;

        fn expecting(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
            f.write_str("lines of configuration")
        }

        fn visit_seq<A: serde::de::SeqAccess<'de>>(self, mut sequence: A) -> Result<Vec<String>, A::Error> {
            let mut lines = Vec::new();
            while let Some(line) = sequence.next_element()? {
                if lines.len() == MAX_LINES {
                    return Err(serde::de::Error::custom(format_args!(
                        "more than {MAX_LINES} lines at once: divide the change"
                    )));
                }
                lines.push(line);
            }
            Ok(lines)
        }
    }

    deserializer.deserialize_seq(Lines)
}

fn first_version() -> u32 {
    1
}

/// A request.
#[derive(Clone, Serialize, Deserialize)]
pub struct Request {
    /// The version that the client speaks; the first clients did not name it
    #[serde(default = "first_version")]
    pub version: u32,
    /// As typed at the prompt: `show crypto ikev2 cluster`
    #[serde(default)]
    pub command: String,
    /// Answer with a value instead of text
    #[serde(default)]
    pub json: bool,
    /// Lines of configuration in place of `command`
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub configure: Option<Configure>,
    /// The password of `enable`
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub password: Option<String>,
}

/// Without the password and the lines, which may hold keys.
impl std::fmt::Debug for Request {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.debug_struct("Request")
            .field("version", &self.version)
            .field("json", &self.json)
            .finish_non_exhaustive()
    }
}

impl Default for Request {
    fn default() -> Request {
        Request { version: VERSION, command: String::new(), json: false, configure: None, password: None }
    }
}

/// Lines of configuration: all of them are taken, or none.
#[derive(Clone, Default, Serialize, Deserialize)]
pub struct Configure {
    /// The lines that lead to the submode that they belong to, as the last reply gave them
    #[serde(default, deserialize_with = "lines")]
    pub place: Vec<String>,
    /// The lines, at most [`MAX_LINES`]
    #[serde(deserialize_with = "lines")]
    pub lines: Vec<String>,
    /// They are a whole configuration, to replace the running one
    #[serde(default)]
    pub replace: bool,
    /// Only report what would change
    #[serde(default)]
    pub dry_run: bool,
}

/// The result of lines of configuration.
#[derive(Clone, Debug, Default, PartialEq, Serialize, Deserialize)]
pub struct Configured {
    /// The lines that lead to the submode of the next line
    pub place: Vec<String>,
    /// The session has ended
    pub ended: bool,
    /// Remarks on the lines, which are numbered from 1; with an error none was taken
    pub remarks: Vec<Diagnostic>,
    /// Difference to the running configuration, in the form of `diff -u`, keys masked
    pub diff: String,
    /// `hostname`, for the prompt
    pub hostname: Option<String>,
}

/// The kind of a refusal, for programs; the text beside it is for people.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "kebab-case")]
pub enum Code {
    /// The request or its command is not understood
    Invalid,
    /// The request is larger than this client may send
    TooLarge,
    /// Too many clients or large requests at once: try again
    Busy,
    /// Only administrators may do this
    NotAdministrator,
    /// The session has to give the password of `enable` first
    PasswordNeeded,
    /// The password of `enable` is wrong
    WrongPassword,
    /// A code of a later version
    #[serde(other)]
    Other,
}

/// A reply: an answer, an error, or the result of lines of configuration.
#[derive(Clone, Debug, Default, Serialize, Deserialize)]
pub struct Reply {
    /// The answer as text
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub text: Option<String>,
    /// The answer as a value
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub json: Option<serde_json::Value>,
    /// Why there is no answer
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub error: Option<String>,
    /// The kind of the refusal, or what is needed next
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub code: Option<Code>,
    /// The result of lines of configuration
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub configured: Option<Box<Configured>>,
}

impl Reply {
    /// An answer that is text in either form.
    #[must_use]
    pub fn text(json: bool, text: &str) -> Reply {
        match json {
            true => Reply { json: Some(serde_json::json!(text)), ..Reply::default() },
            false => Reply { text: Some(text.to_owned()), ..Reply::default() },
        }
    }

    /// A refusal.
    #[must_use]
    pub fn error(message: impl Into<String>) -> Reply {
        Reply { error: Some(message.into()), ..Reply::default() }
    }

    /// A refusal of this kind.
    #[must_use]
    pub fn refusal(code: Code, message: impl Into<String>) -> Reply {
        Reply { code: Some(code), ..Reply::error(message) }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn clients_and_daemons_of_other_ages_are_understood() {
        let old: Request = serde_json::from_str("{\"command\":\"show version\"}").unwrap();
        assert_eq!((old.version, old.command.as_str(), old.json), (1, "show version", false));
        let configure: Request =
            serde_json::from_str("{\"configure\":{\"lines\":[\"hostname a\"]}}").unwrap();
        assert!(
            configure.configure.is_some_and(|configure| !configure.replace && configure.place.is_empty())
        );
        let newer: Reply =
            serde_json::from_str("{\"error\":\"no\",\"code\":\"something-new\",\"more\":[1]}").unwrap();
        assert_eq!(newer.code, Some(Code::Other));
        assert_eq!(serde_json::to_string(&Reply::text(false, "a")).unwrap(), "{\"text\":\"a\"}");
        let request = Request { password: Some("swordfish".to_owned()), ..Request::default() };
        assert!(!format!("{request:?}").contains("swordfish"));
        assert!(serde_json::to_string(&Request::default()).unwrap().contains("\"version\":1"));
    }
}
