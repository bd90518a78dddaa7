//! Usher's control plane: configuration, roles, the snapshot for the data plane, and the operator's commands.
#![forbid(unsafe_code)]

pub mod api;
pub mod clb;
pub mod cli;
pub mod config;
pub mod daemon;
pub mod exec;
pub mod files;
pub mod grammar;
pub mod hsrp;
mod limits;
pub mod load;
pub mod logging;
pub mod net;
pub mod publish;
pub mod show;
pub mod state;
pub mod types;
