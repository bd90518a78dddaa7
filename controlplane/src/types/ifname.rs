//! Interface names as IOS writes them: `TenGigabitEthernet0/0/0`, `Gi 0/0/0`, `te0/0/11`, `Te0/0/0.100`.

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

/// Types whose frames have no VLAN tags.
const UNTAGGED: [&str; 3] = ["Loopback", "Tunnel", "Vlan"];

/// An interface name in its full form. Ordered by type, then by number; subinterfaces follow their interface.
#[derive(Clone, Debug, PartialEq, Eq, Hash, PartialOrd, Ord)]
pub struct IfName {
    kind: &'static str,
    unit: Vec<u32>,
    /// Of a subinterface: any number, which says nothing about its VLAN
    sub: Option<u32>,
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
        let (kind, (unit, sub)) = (kind_of(kind)?, unit_of(unit)?);
        match sub {
            Some(_) if UNTAGGED.contains(&kind) => Err(format!(
                "{kind} has no subinterfaces: its frames have no VLAN tags; name the interface itself"
            )),
            _ => Ok(IfName { kind, unit, sub }),
        }
    }

    /// The interface that this is a subinterface of; `None` of an interface itself.
    #[must_use]
    pub fn parent(&self) -> Option<IfName> {
        self.sub.map(|_| IfName { sub: None, ..self.clone() })
    }

    /// Its subinterface of this number, 1 to 4294967295.
    #[must_use]
    pub fn subinterface(&self, number: u32) -> IfName {
        IfName { sub: Some(number), ..self.clone() }
    }

    /// The short form that tables use: `Te0/0/0`.
    #[must_use]
    pub fn short(&self) -> String {
        let short = TYPES.iter().find(|(full, _)| *full == self.kind).map_or(self.kind, |(_, short)| short);
        format!("{short}{}", self.number())
    }

    fn number(&self) -> String {
        let parts: Vec<String> = self.unit.iter().map(u32::to_string).collect();
        let sub = self.sub.map_or(String::new(), |sub| format!(".{sub}"));
        parts.join("/") + &sub
    }
}

impl fmt::Display for IfName {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "{}{}", self.kind, self.number())
    }
}

/// Returns whether `text` could be an interface type: for telling `interface Gi 0/0/0` from a misspelled name.
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

/// Reads `0/0/0`, one to four numbers, or `0/0/0.100` with that of a subinterface.
pub(crate) fn unit_of(text: &str) -> Result<(Vec<u32>, Option<u32>), String> {
    let (unit, sub) = text.split_once('.').map_or((text, None), |(unit, sub)| (unit, Some(sub)));
    let sub =
        match sub {
            None => None,
            Some(sub) if sub.len() <= 10 && !sub.is_empty() && sub.bytes().all(|b| b.is_ascii_digit()) => {
                let number = sub.parse().ok().filter(|number| *number > 0);
                Some(number.ok_or_else(|| {
                    format!("\"{text}\": the number of a subinterface is 1 to {}", u32::MAX)
                })?)
            }
            Some(_) => return Err(format!("\"{text}\" is not a subinterface: write it as {unit}.100")),
        };
    let parts: Option<Vec<u32>> = unit.split('/').map(number).collect();
    let parts = parts.filter(|parts| parts.len() <= 4);
    let parts = parts.ok_or_else(|| format!("\"{text}\" is not an interface number: write it as 0/0/0"))?;
    Ok((parts, sub))
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
            ("te0/0/0.100", "TenGigabitEthernet0/0/0.100"),
            ("Po 1.4294967295", "Port-channel1.4294967295"),
        ] {
            assert_eq!(IfName::parse(text).map(|n| n.to_string()), Ok(full.to_owned()), "{text}");
        }
        assert_eq!(IfName::parse("Vlan10").unwrap().short(), "Vl10");
    }

    #[test]
    fn a_subinterface_knows_its_interface_and_follows_it() {
        let [port, sub, next] = ["Te0/0/0", "Te0/0/0.7", "Te0/0/1"].map(|name| IfName::parse(name).unwrap());
        assert_eq!((sub.parent(), port.parent()), (Some(port.clone()), None));
        assert_eq!((port.subinterface(7), sub.short()), (sub.clone(), "Te0/0/0.7".to_owned()));
        assert!(port < sub && sub < next);
    }

    #[test]
    fn what_is_no_name_says_why() {
        assert!(IfName::parse("T0/0").unwrap_err().contains("ambiguous"));
        assert!(IfName::parse("eth").unwrap_err().contains("no interface number"));
        assert!(IfName::parse("Foo0/0").unwrap_err().contains("not an interface type"));
        for wrong in
            ["Te0/0/0.", "Te0/0/0.0", "Te0/0/0.4294967296", "Te0/0/0.1.2", "Te0/0/0.-1", "Te.1", "Lo0.1"]
        {
            assert!(IfName::parse(wrong).is_err(), "{wrong}");
        }
        assert!(IfName::parse("Te0/0/0.0").unwrap_err().contains("1 to 4294967295"));
        assert!(IfName::parse("Vlan7.1").unwrap_err().contains("Vlan has no subinterfaces"));
        assert!(IfName::parse("Te0//0").is_err());
        assert!(IfName::parse("Te1/2/3/4/5").is_err());
        assert!(IfName::parse("Te999999").is_err());
        assert!(IfName::parse("ü1").is_err());
    }
}
