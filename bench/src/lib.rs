//! The load generator's parts, which the micro-benchmarks share: requests, the check of answers, the gun, the search for
//! the rate without loss, reports.
//!
//! * [`request`] builds IKE_SA_INIT requests as templates, [`answer`] checks what comes back.
//! * [`gun`] sends and keeps the accounts, [`search`] finds the highest rate without loss, [`report`] tells.
//! * [`stages`] are the packet path's, for callgrind and the wall clock. [`lab`] and [`plot`] serve `compare`, which is `make bench`.
#![forbid(unsafe_code)]

pub mod answer;
pub mod gun;
pub mod lab;
pub mod plot;
pub mod report;
pub mod request;
pub mod search;
pub mod stages;
