//! `clear ...`

use super::{Command, Row, row};

/// The table.
pub(super) const TABLE: &[Row] =
    &[row("clear counters", Command::ClearCounters, "count the data plane's frames from 0")];
