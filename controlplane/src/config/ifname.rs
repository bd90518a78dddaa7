//! Interface names as IOS writes them: `TenGigabitEthernet0/0/0`, `Gi 0/0/0`, `te0/0/11`.

use std::fmt;

/// The interface types known, each with the short form that `show` uses.
const TYPES: &[(&str, &str)] = &[
    ("Ethernet", "Et"),
    ("FastEthernet", "Fa"),
    ("FiveGigabitEthernet", "Fi"),
    ("FortyGigabitEthernet", "Fo"),
    ("GigabitEthernet", "Gi"),
    ("HundredGigE", "Hu"),
    ("Loopback", "Lo"),
    ("Port-channel", "Po"),
    ("TenGigabitEthernet", "Te"),
    ("Tunnel", "Tu"),
    ("TwentyFiveGigE", "Twe"),
    ("TwoGigabitEthernet", "Tw"),
    ("Vlan", "Vl"),
];

/// An interface name in its full form. Ordered by type, then by number.
#[derive(Clone, Debug, PartialEq, Eq, Hash, PartialOrd, Ord)]
pub struct IfName {
    kind: &'static str,
    unit: Vec<u32>,
}

impl IfName {
    /// Reads a name such as `Te0/0/0`, `TenGigabitEthernet0/0/0` or `ten 0/0/0`, in any case.
    ///
    /// # Errors
    /// Says what is wrong with the name, for the operator.
    pub fn parse(text: &str) -> Result<IfName, String> {
        let text = text.trim();
        let digits = text.find(|c: char| c.is_ascii_digit()).ok_or_else(|| {
            format!("\"{text}\" has no interface number: write it as TenGigabitEthernet0/0/0")
        })?;
        IfName::from_parts(text[..digits].trim_end(), &text[digits..])
    }

    /// Puts a name together from its type, full or abbreviated, and its number.
    ///
    /// # Errors
    /// As [`IfName::parse`].
    pub fn from_parts(kind: &str, unit: &str) -> Result<IfName, String> {
        Ok(IfName { kind: kind_of(kind)?, unit: unit_of(unit)? })
    }

    /// The short form that tables use: `Te0/0/0`.
    #[must_use]
    pub fn short(&self) -> String {
        let short = TYPES.iter().find(|(full, _)| *full == self.kind).map_or(self.kind, |(_, short)| short);
        format!("{short}{}", self.number())
    }

    fn number(&self) -> String {
        let parts: Vec<String> = self.unit.iter().map(u32::to_string).collect();
        parts.join("/")
    }
}

impl fmt::Display for IfName {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "{}{}", self.kind, self.number())
    }
}

/// Whether `text` could be an interface type: for telling `interface Gi 0/0/0` from a misspelled name.
pub(crate) fn kind_of(text: &str) -> Result<&'static str, String> {
    let same = |name: &str| name.eq_ignore_ascii_case(text);
    if let Some((full, _)) = TYPES.iter().find(|(full, short)| same(full) || same(short)) {
        return Ok(full);
    }
    let starts = |name: &str| {
        !text.is_empty() && name.get(..text.len()).is_some_and(|head| head.eq_ignore_ascii_case(text))
    };
    let found: Vec<&str> = TYPES.iter().map(|(full, _)| *full).filter(|full| starts(full)).collect();
    match found[..] {
        [one] => Ok(one),
        [] => Err(format!("\"{text}\" is not an interface type: use one of {}", names())),
        _ => Err(format!("\"{text}\" is ambiguous: it could be {}", found.join(", "))),
    }
}

/// Reads `0/0/0`: one to four numbers.
pub(crate) fn unit_of(text: &str) -> Result<Vec<u32>, String> {
    if text.contains('.') {
        return Err(format!(
            "\"{text}\" is a subinterface, which is not supported: name the interface itself"
        ));
    }
    let parts: Option<Vec<u32>> = text.split('/').map(number).collect();
    parts
        .filter(|parts| parts.len() <= 4)
        .ok_or_else(|| format!("\"{text}\" is not an interface number: write it as 0/0/0"))
}

fn number(part: &str) -> Option<u32> {
    let digits = !part.is_empty() && part.len() <= 5 && part.bytes().all(|b| b.is_ascii_digit());
    if digits { part.parse().ok() } else { None }
}

fn names() -> String {
    let names: Vec<&str> = TYPES.iter().map(|(full, _)| *full).collect();
    names.join(", ")
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn names_are_read_as_ios_reads_them() {
        for (text, full) in [
            ("TenGigabitEthernet0/0/11", "TenGigabitEthernet0/0/11"),
            ("te0/0/0", "TenGigabitEthernet0/0/0"),
            ("Te 0/0/0", "TenGigabitEthernet0/0/0"),
            ("Gi0/0/1", "GigabitEthernet0/0/1"),
            ("gig 0/1", "GigabitEthernet0/1"),
            ("Tw1", "TwoGigabitEthernet1"),
            ("twe1", "TwentyFiveGigE1"),
            ("vlan10", "Vlan10"),
        ] {
            assert_eq!(IfName::parse(text).map(|n| n.to_string()), Ok(full.to_owned()), "{text}");
        }
        assert_eq!(IfName::parse("Vlan10").unwrap().short(), "Vl10");
    }

    #[test]
    fn what_is_no_name_says_why() {
        assert!(IfName::parse("T0/0").unwrap_err().contains("ambiguous"));
        assert!(IfName::parse("eth").unwrap_err().contains("no interface number"));
        assert!(IfName::parse("Foo0/0").unwrap_err().contains("not an interface type"));
        assert!(IfName::parse("Te0/0/0.100").unwrap_err().contains("subinterface"));
        assert!(IfName::parse("Te0//0").is_err());
        assert!(IfName::parse("Te1/2/3/4/5").is_err());
        assert!(IfName::parse("Te999999").is_err());
        assert!(IfName::parse("ü1").is_err());
    }
}
