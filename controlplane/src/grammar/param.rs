//! Parameters: what they accept, their values, and how help shows them.

use super::token::Token;
use crate::types::IfName;
use std::net::{IpAddr, Ipv4Addr, Ipv6Addr};

/// Values that a parameter accepts.
#[derive(Clone, Copy, Debug, PartialEq)]
pub enum Kind {
    /// A number within these bounds, both included
    Number(u64, u64),
    /// A number of up to 16 hexadecimal digits, with or without 0x before it
    Hex,
    /// A word of at most this many characters
    Word(usize),
    /// A word that starts with a letter
    Name(usize),
    /// Everything to the end of the line, at most this many characters
    Rest(usize),
    /// An IPv4 address that a host can have
    V4,
    /// An IPv6 address that a host can have
    V6,
    /// An IPv6 address with its prefix length
    V6Prefix,
    /// An IPv4 mask in dotted form
    Mask,
    /// An IPv4 or IPv6 address that a host can have
    Address,
    /// An interface name, in one word or in two
    Interface,
}

/// The name of a parameter, what it accepts, and how help shows it.
#[derive(Clone, Copy, Debug)]
pub struct Param {
    /// As written in the syntax
    pub name: &'static str,
    /// Values that it accepts
    pub kind: Kind,
    /// Meaning, in a few words with its unit
    pub help: &'static str,
}

/// A parameter's value.
#[derive(Clone, Debug, PartialEq)]
pub(super) enum Value {
    Keyword,
    Number(u64),
    Text(String),
    Address(IpAddr),
    Prefix(IpAddr, u8),
    InterfaceType(&'static str),
    Interface(IfName),
}

/// A parameter as errors show it: `<1-100> (priority)`, `A.B.C.D (address)`.
pub(super) fn describe(param: &Param) -> String {
    format!("{} ({})", shape(param), param.help)
}

/// The number of an interface as help shows it.
pub(super) const UNIT: &str = "0/0/0";

/// The shape of its values as help shows it.
pub(super) fn shape(param: &Param) -> String {
    match param.kind {
        Kind::Number(low, high) => format!("<{low}-{high}>"),
        Kind::Hex => "HEX".to_owned(),
        Kind::Word(_) | Kind::Name(_) => "WORD".to_owned(),
        Kind::Rest(_) => "LINE".to_owned(),
        Kind::V4 | Kind::Mask => "A.B.C.D".to_owned(),
        Kind::V6 => "X:X:X:X::X".to_owned(),
        Kind::V6Prefix => "X:X:X:X::X/<0-128>".to_owned(),
        Kind::Address => "A.B.C.D or X:X:X:X::X".to_owned(),
        Kind::Interface => "TenGigabitEthernet0/0/0".to_owned(),
    }
}

/// Reads a word, or the rest of the line from it on, as a parameter takes it.
pub(super) fn read(param: &Param, token: Token<'_>, line: &str) -> Result<Value, String> {
    let text = token.text;
    match param.kind {
        Kind::Number(low, high) => {
            let digits = text.len() <= 12 && text.bytes().all(|b| b.is_ascii_digit());
            match text.parse::<u64>() {
                Ok(n) if digits && (low..=high).contains(&n) => Ok(Value::Number(n)),
                Ok(n) => Err(format!("{n} is out of range: the {} is {low} to {high}", param.help)),
                Err(_) => Err(format!("\"{text}\" is not a number: the {} is {low} to {high}", param.help)),
            }
        }
        Kind::Hex => {
            let digits = text.strip_prefix("0x").unwrap_or(text);
            let number = (1..=16).contains(&digits.len()) && digits.bytes().all(|b| b.is_ascii_hexdigit());
            let wrong = || format!("\"{text}\" is not a hexadecimal number: the {}", param.help);
            u64::from_str_radix(digits, 16).ok().filter(|_| number).map(Value::Number).ok_or_else(wrong)
        }
        Kind::Word(most) => printable(text, most, param.help).map(Value::Text),
        Kind::Name(most) if text.starts_with(char::is_alphabetic) => {
            printable(text, most, param.help).map(Value::Text)
        }
        Kind::Name(_) => Err(format!("\"{text}\" does not start with a letter")),
        Kind::Rest(most) => printable(line[token.byte..].trim_end(), most, param.help).map(Value::Text),
        Kind::V4 => v4(text).map(|a| Value::Address(a.into())),
        Kind::V6 => v6(text).map(|a| Value::Address(a.into())),
        Kind::Address if text.contains(':') => v6(text).map(|a| Value::Address(a.into())),
        Kind::Address => v4(text).map(|a| Value::Address(a.into())),
        Kind::V6Prefix => {
            let (address, length) = text
                .split_once('/')
                .ok_or_else(|| format!("\"{text}\" has no prefix length: write it as {text}/64"))?;
            let address = v6(address)?;
            match length.parse::<u8>() {
                Ok(length @ 1..=128) => Ok(Value::Prefix(address.into(), length)),
                _ => Err(format!("\"/{length}\" is not a prefix length of IPv6: it is 1 to 128")),
            }
        }
        Kind::Mask => {
            let mask: Ipv4Addr =
                text.parse().map_err(|_| format!("\"{text}\" is not a mask: write it as 255.255.255.0"))?;
            let bits = u32::from(mask);
            if bits.leading_ones() + bits.trailing_zeros() < 32 || bits == 0 {
                return Err(format!(
                    "\"{text}\" is not a mask: its ones must come first and be at least one"
                ));
            }
            Ok(Value::Number(u64::from(bits.leading_ones())))
        }
        Kind::Interface => IfName::parse(text).map(Value::Interface),
    }
}

fn printable(text: &str, most: usize, what: &str) -> Result<String, String> {
    let length = text.chars().count();
    if length > most {
        return Err(format!("the {what} has {length} characters: {most} are allowed"));
    }
    if text.chars().any(char::is_control) {
        return Err(format!("the {what} holds a control character: type it again"));
    }
    Ok(text.to_owned())
}

fn v4(text: &str) -> Result<Ipv4Addr, String> {
    let address: Ipv4Addr =
        text.parse().map_err(|_| format!("\"{text}\" is not an IPv4 address: write it as 10.0.0.1"))?;
    let first = address.octets()[0];
    if first == 0 || address.is_loopback() || first >= 224 {
        return Err(format!("{address} is not a host's address: use a unicast address"));
    }
    Ok(address)
}

fn v6(text: &str) -> Result<Ipv6Addr, String> {
    let address: Ipv6Addr =
        text.parse().map_err(|_| format!("\"{text}\" is not an IPv6 address: write it as 2001:DB8::1"))?;
    if address.is_unspecified()
        || address.is_loopback()
        || address.is_multicast()
        || address.to_ipv4_mapped().is_some()
    {
        return Err(format!("{address} is not a host's address: use a unicast address"));
    }
    Ok(address)
}
