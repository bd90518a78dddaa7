//! `usher`, the operator's command: shell, one-shot and batch over one table of commands.

pub mod check;
pub mod client;
pub mod completion;
pub mod editor;
pub mod filter;
pub mod history;
pub mod manual;
mod offers;
pub mod platform;
pub mod shell;
pub mod terminal;
pub mod top;
