//! What EAL refuses.

use dpdk::{Eal, EalError};

#[test]
fn a_refusal_says_why_and_eal_starts_once() {
    assert!(matches!(Eal::init(&["--no-huge\0"]), Err(EalError::NulInArgument { .. })));
    let args = ["--no-huge", "--in-memory", "--no-pci", "--file-prefix=usher-refusal"];
    let err = Eal::init(&args).err().expect("the two options exclude each other").to_string();
    assert!(err.contains("--in-memory") && err.contains("--no-huge"), "the arguments: {err}");
    assert!(err.contains("EAL:"), "what EAL said: {err}");
    assert!(matches!(Eal::init(&args), Err(EalError::AlreadyStarted)));
}
