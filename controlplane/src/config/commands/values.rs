//! Values that the parameters of a line give.

use crate::config::builder::{Builder, Fault};
use crate::config::model::IndexedKey;
use crate::grammar::Matched;
use crate::types::{Prefix, Secret};
use std::collections::BTreeMap;
use std::net::IpAddr;

/// Returns the value that a line gives; none in its `no` form.
pub(super) fn set<T>(no: bool, value: Option<T>) -> Option<T> {
    if no { None } else { value }
}

/// Adds a value that the list does not have yet.
pub(super) fn add<T: PartialEq>(list: &mut Vec<T>, value: T) {
    if !list.contains(&value) {
        list.push(value);
    }
}

pub(super) fn number<T: TryFrom<u64>>(m: &Matched, name: &'static str) -> Result<T, Fault> {
    m.number(name).ok_or_else(|| Fault::at(name, "the number is missing".to_owned()))
}

pub(super) fn address(m: &Matched, name: &'static str) -> Result<IpAddr, Fault> {
    m.address(name).ok_or_else(|| Fault::at(name, "the address is missing".to_owned()))
}

pub(super) fn prefix6(m: &Matched) -> Result<Prefix, Fault> {
    let (address, length) =
        m.prefix("PREFIX6").ok_or_else(|| Fault::at("PREFIX6", "the address is missing".to_owned()))?;
    Ok(Prefix { address, length })
}

/// Returns the secret that a line gives.
pub(super) fn secret(name: &'static str, key: String) -> Result<Secret, Fault> {
    if key.chars().all(|c| c == '*') {
        return Err(Fault::at(
            name,
            "this is a key as `show` masks it: give the key itself, or copy the line from the file"
                .to_owned(),
        ));
    }
    Ok(Secret(key))
}

/// One of two keys, of which one is active; the other one `stays` in another use.
pub(super) fn indexed_key(
    b: &mut Builder,
    m: &Matched,
    no: bool,
    keys: impl Fn(&mut Builder) -> Result<&mut BTreeMap<u8, IndexedKey>, Fault>,
    stays: &str,
) -> Result<(), Fault> {
    let index: u8 = number(m, "KEYINDEX")?;
    if no {
        keys(b)?.remove(&index);
        return Ok(());
    }
    let (name, key) = match m.text("KEY") {
        Some(key) => ("KEY", key),
        None => ("ACTIVEKEY", m.text("ACTIVEKEY").unwrap_or_default()),
    };
    let key = secret(name, key)?;
    let active = m.has("active");
    let other = 3 - index;
    if active && let Some(before) = keys(b)?.get_mut(&other).filter(|key| key.active) {
        before.active = false;
        b.warn(m.column("active"), format!("key {index} is the active one now, key {other} {stays}"));
    }
    keys(b)?.insert(index, IndexedKey { key, active });
    Ok(())
}
