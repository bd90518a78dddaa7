//! `platform::wire` needs nothing but `core`: it is compiled here as a crate of its own, without `std` and `alloc`.

use std::path::Path;
use std::process::Command;

#[test]
fn wire_compiles_without_std() {
    let folder = tempfile::tempdir().unwrap();
    let wire = Path::new(env!("CARGO_MANIFEST_DIR")).join("src/wire/mod.rs");
    let source = folder.path().join("wire_only.rs");
    std::fs::write(&source, format!("#![no_std]\n#[path = {wire:?}]\npub mod wire;\n")).unwrap();
    let rustc = std::env::var_os("RUSTC").unwrap_or_else(|| "rustc".into());
    let out = Command::new(rustc)
        .args(["--edition", "2024", "--crate-type", "rlib", "--emit", "metadata", "--out-dir"])
        .arg(folder.path())
        .arg(&source)
        .output()
        .unwrap();
    assert!(out.status.success(), "{}", String::from_utf8_lossy(&out.stderr));
}
