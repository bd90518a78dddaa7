//! The configuration commands: these tables alone define what is understood, where, and what it does. One file per subject.

mod cluster;
mod command;
mod crypto;
mod interface;
mod key_chain;
mod params;
mod session;
mod standby;
mod values;

use std::sync::LazyLock;

pub(super) use command::{Command, Effect};
pub(super) use params::{PARAMS, SECRETS};

/// All commands, in the order in which the manual lists them.
pub(super) static COMMANDS: LazyLock<Vec<&'static Command>> = LazyLock::new(|| {
    let tables =
        [session::TABLE, interface::TABLE, standby::TABLE, key_chain::TABLE, cluster::TABLE, crypto::TABLE];
    tables.into_iter().flatten().collect()
});
