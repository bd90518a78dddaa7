//! The IOS-style configuration: text to types ([`parse`]), types to text ([`render`]), and what keeps a
//! group or the cluster down ([`health`]); which port of the data plane an interface is ([`binding`]). `commands` holds the one table of what is understood.

pub mod binding;
mod builder;
pub mod change;
mod commands;
pub mod diag;
pub mod diff;
mod exposure;
mod grammars;
pub mod health;
pub mod masked;
mod mode;
mod model;
mod parse;
mod prompt;
mod render;
pub mod secrets;
pub mod submode;
#[cfg(test)]
mod tests;

pub use crate::types::{Authentication, Family, IfName, Prefix, Secret, is_link_local, virtual_link_local};
pub use binding::Binding;
pub use diag::{Diagnostic, Severity};
pub use exposure::exposure;
pub use model::*;
pub use parse::{Loaded, MAX_BYTES, parse};
pub(crate) use prompt::strip_prompt;
pub use render::{Keys, render};

use std::path::Path;

/// A configuration file that was not taken.
#[derive(Debug, thiserror::Error)]
pub enum LoadError {
    /// The file cannot be read
    #[error("{path}: {reason}")]
    Unreadable {
        /// The file
        path: String,
        /// Why, and what to do
        reason: String,
    },
    /// Lines that cannot be understood
    #[error("{}", shown(path, remarks))]
    Wrong {
        /// The file
        path: String,
        /// The errors, and the remarks on other lines
        remarks: Vec<Diagnostic>,
    },
}

fn shown(path: &str, remarks: &[Diagnostic]) -> String {
    let errors = remarks.iter().filter(|remark| remark.severity == Severity::Error);
    let text: String = errors.map(|remark| remark.render(path)).collect();
    format!("{text}{path}: not loaded: fix the lines above and check with `usher check {path}`")
}

/// Reads the text of a configuration file: a regular file of UTF-8 text.
///
/// # Errors
/// Why the file cannot be read.
pub fn read(path: &Path) -> Result<String, LoadError> {
    let name = path.display().to_string();
    let unreadable = |reason: String| LoadError::Unreadable { path: name.clone(), reason };
    // A pipe or a device in place of the file must not hang the daemon.
    let meta = std::fs::metadata(path)
        .map_err(|e| unreadable(format!("cannot be read: {e}; create it or name another with --config")))?;
    if !meta.is_file() {
        return Err(unreadable(
            "is not a regular file: name the configuration file with --config".to_owned(),
        ));
    }
    if meta.len() > MAX_BYTES as u64 {
        return Err(unreadable(format!(
            "has {} bytes, the most is {MAX_BYTES}: is it the right file?",
            meta.len()
        )));
    }
    let bytes = std::fs::read(path).map_err(|e| unreadable(format!("cannot be read: {e}")))?;
    String::from_utf8(bytes).map_err(|e| {
        let line = e.as_bytes()[..e.utf8_error().valid_up_to()].iter().filter(|b| **b == b'\n').count() + 1;
        unreadable(format!("line {line} is not UTF-8 text: save the file as UTF-8"))
    })
}

/// Reads a configuration file.
///
/// # Errors
/// As [`read`], or the lines that cannot be understood.
pub fn load(path: &Path) -> Result<Loaded, LoadError> {
    parse(&read(path)?).map_err(|remarks| LoadError::Wrong { path: path.display().to_string(), remarks })
}

/// As [`load`], and every interface must be one that the platform profile binds to a port.
///
/// # Errors
/// As [`load`], and the lines of interfaces that are not bound.
pub fn load_for(path: &Path, binding: &Binding) -> Result<Loaded, LoadError> {
    let loaded = load(path)?;
    let unbound = loaded.unbound(binding);
    if unbound.is_empty() {
        return Ok(loaded);
    }
    Err(LoadError::Wrong { path: path.display().to_string(), remarks: unbound })
}
