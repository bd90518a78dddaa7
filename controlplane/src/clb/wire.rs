//! Messages between the nodes of a cluster: protobuf messages, one a frame.
//!
//! | frame | field |
//! |---|---|
//! | 1 | version of the sender |
//! | 2 | its capabilities, one a bit |
//! | 3 | Hello: member to primary, at every `secondary hello` |
//! | 4 | Update: member to primary, at every `secondary update` |
//! | 5 | Ack: primary to member, with the table of all members |
//! | 6 | Bye: either, before it closes |
//!
//! A later version only adds: a field that this one does not know is skipped, a body that it does not know is counted
//! and skipped, and the connection stays, so that nodes can be upgraded one by one. What is known is checked: a value
//! out of its range closes the connection.
//!
//! Version 2 carries orders as registers ([`super::orders`]). For nodes of version 1 the same is repeated in their form, in
//! which one set of orders with one epoch replaces another; their own orders are not taken, which the log names.

mod proto;

use super::load::Rules;
use super::member::{Health, Load, Percent, Report};
use super::orders::{MAX_COUNTER, MAX_DRAINS, Orders, Register};
use prost::Message as _;
use prost::encoding::{WireType, encode_key, encode_varint};
use proto::Body;
use std::collections::BTreeMap;
use std::net::{IpAddr, Ipv4Addr, Ipv6Addr};
use std::sync::{Arc, OnceLock};

/// The version that this node sends in every frame.
pub const VERSION: u32 = 2;
/// Capabilities of this node; none is defined yet.
pub const CAPABILITIES: u64 = 0;
/// Members in an acknowledgement, at most: the greatest `max-nodes`.
pub const MAX_MEMBERS: usize = 64;
/// Longest FQDN and longest reason of a Bye, in bytes.
pub const MAX_TEXT: usize = 255;
/// Range of `secondary hello`, in milliseconds.
const HELLO_MS: (u64, u64) = (100, 30_000);
/// Range of `secondary update`, in milliseconds.
const UPDATE_MS: (u64, u64) = (100, 60_000);
/// Range of `secondary max-session`.
const MAX_SESSION: (u64, u64) = (1, 1_000_000);
/// Range of `primary overload-limit`, percent.
const OVERLOAD_LIMIT: (u64, u64) = (50, 99);
/// Most SAs of one kind that a member can report: a hundred times the greatest `max-session` is no gateway.
const MAX_SAS: u64 = 100_000_000;
/// Greatest incarnation and count: milliseconds up to the year 10889.
const MAX_VERSION: u64 = (1 << 48) - 1;
/// Greatest age of a row: the greatest `holdtime`, as only living members are listed.
const MAX_AGE_MS: u64 = 120_000;

/// Why a frame is not understood, or may not be sent.
#[derive(Clone, Debug, PartialEq, Eq, thiserror::Error)]
pub enum WireError {
    /// No protobuf
    #[error("the frame is no protobuf message of this protocol ({0})")]
    Undecodable(String),
    /// A number out of its range
    #[error("{field} is {value}, not {least} to {most}")]
    Range {
        /// Which field
        field: &'static str,
        /// Its value
        value: u64,
        /// Least value
        least: u64,
        /// Greatest value
        most: u64,
    },
    /// An address of neither 4 nor 16 bytes
    #[error("{field} has {length} bytes, not 4 or 16")]
    Address {
        /// Which field
        field: &'static str,
        /// Its bytes
        length: usize,
    },
    /// An address that no node can have
    #[error("{field} is {address}, which is no host's")]
    NoHost {
        /// Which field
        field: &'static str,
        /// Its value
        address: IpAddr,
    },
    /// A text that is too long, or that could steer a terminal
    #[error("{field} is not a text of at most {MAX_TEXT} bytes without control characters")]
    Text {
        /// Which field
        field: &'static str,
    },
    /// A message that is there only as a whole
    #[error("{field} is missing")]
    Missing {
        /// Which field
        field: &'static str,
    },
}

/// A member presents itself, first of all and then as a keepalive.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Hello {
    /// When the member's usherd started, in its own count
    pub incarnation: u64,
    /// The address that it believes it connects from; [`super::feed::Client`] fills it in
    pub address: IpAddr,
    /// `secondary hello`, milliseconds
    pub hello_ms: u32,
    /// `secondary update`, milliseconds
    pub update_ms: u32,
    /// The orders that it knows, so that a primary that starts cold learns them; `None` from a node of version 1
    pub orders: Option<Orders>,
}

/// One row of the member table: address, last report, milliseconds since it was heard.
pub type Row = (IpAddr, Report, u32);

/// The member table as an acknowledgement carries it. Clones share one table, and its encoding is made once however
/// many members it is sent to.
#[derive(Clone, Debug, Default)]
pub struct Members(Arc<Table>);

#[derive(Debug, Default)]
struct Table {
    rows: Vec<Row>,
    encoded: OnceLock<Result<Vec<u8>, WireError>>,
}

impl From<Vec<Row>> for Members {
    fn from(rows: Vec<Row>) -> Members {
        Members(Arc::new(Table { rows, encoded: OnceLock::new() }))
    }
}

impl std::ops::Deref for Members {
    type Target = [Row];
    fn deref(&self) -> &[Row] {
        &self.0.rows
    }
}

impl PartialEq for Members {
    fn eq(&self, other: &Members) -> bool {
        self.0.rows == other.0.rows
    }
}

impl Eq for Members {}

impl Members {
    /// The rows as repeated fields of an acknowledgement, where they can be read where it goes.
    fn encoded(&self) -> Result<&[u8], WireError> {
        let encode = || {
            count("members", self.len())?;
            self.iter().try_for_each(|(_, report, _)| check(report))?;
            let members = self.iter().map(proto::Row::from).collect();
            Ok(proto::Ack { members, ..proto::Ack::default() }.encode_to_vec())
        };
        self.0.encoded.get_or_init(encode).as_deref().map_err(Clone::clone)
    }
}

/// The primary has heard a Hello or an Update.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Ack {
    /// The count of the last report that it has of this member (`Report::version.1`); 0 before the first
    pub seq: u64,
    /// The primary's own address
    pub primary: IpAddr,
    /// Orders of the operator; `None` from a node of version 1
    pub orders: Option<Orders>,
    /// Rules for composite loads
    pub rules: Rules,
    /// All members, the primary included, at most [`MAX_MEMBERS`]
    pub members: Members,
}

/// Content of a frame.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum Message {
    /// Member to primary
    Hello(Hello),
    /// Member to primary
    Update(Report),
    /// Primary to member
    Ack(Ack),
    /// Either, before it closes
    Bye {
        /// Why, at most [`MAX_TEXT`] bytes
        reason: String,
    },
}

/// A frame as it was read.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Parsed {
    /// The sender's version
    pub version: u32,
    /// Capabilities of the sender
    pub capabilities: u64,
    /// Body; `None`: a body that only a later version knows
    pub message: Option<Message>,
}

fn octets(address: IpAddr) -> Vec<u8> {
    match address {
        IpAddr::V4(address) => address.octets().to_vec(),
        IpAddr::V6(address) => address.octets().to_vec(),
    }
}

fn address(field: &'static str, bytes: &[u8]) -> Result<IpAddr, WireError> {
    let v4 = <[u8; 4]>::try_from(bytes).map(|bytes| IpAddr::V4(Ipv4Addr::from(bytes)));
    let v6 = || <[u8; 16]>::try_from(bytes).map(|bytes| IpAddr::V6(Ipv6Addr::from(bytes)));
    let address = v4.or_else(|_| v6()).map_err(|_| WireError::Address { field, length: bytes.len() })?;
    let host =
        !address.is_unspecified() && !address.is_multicast() && address != IpAddr::V4(Ipv4Addr::BROADCAST);
    host.then_some(address).ok_or(WireError::NoHost { field, address })
}

fn within(field: &'static str, value: u64, least: u64, most: u64) -> Result<u64, WireError> {
    if (least..=most).contains(&value) {
        Ok(value)
    } else {
        Err(WireError::Range { field, value, least, most })
    }
}

fn percent(field: &'static str, hundredths: u32) -> Result<Percent, WireError> {
    let most = u64::from(Percent::FULL.as_hundredths());
    within(field, u64::from(hundredths), 0, most).map(Percent::hundredths)
}

fn hundred(field: &'static str, value: u32) -> Result<u8, WireError> {
    within(field, u64::from(value), 1, 100).map(|value| value as u8)
}

fn text<'a>(field: &'static str, text: &'a str) -> Result<&'a str, WireError> {
    let good = text.len() <= MAX_TEXT && !text.chars().any(char::is_control);
    good.then_some(text).ok_or(WireError::Text { field })
}

fn ranged(field: &'static str, value: u32, (least, most): (u64, u64)) -> Result<u32, WireError> {
    within(field, u64::from(value), least, most).map(|_| value)
}

fn version(field: &'static str, value: u64) -> Result<u64, WireError> {
    within(field, value, 0, MAX_VERSION)
}

fn count(field: &'static str, rows: usize) -> Result<(), WireError> {
    within(field, rows as u64, 0, MAX_MEMBERS as u64).map(|_| ())
}

impl From<&Report> for proto::Report {
    fn from(report: &Report) -> proto::Report {
        let hundredths = |percent: Percent| u32::from(percent.as_hundredths());
        proto::Report {
            incarnation: report.version.0,
            count: report.version.1,
            in_neg: hundredths(report.load.in_neg),
            crypto: hundredths(report.load.crypto),
            cpu: hundredths(report.load.cpu),
            mem: hundredths(report.load.mem),
            ike: report.ike,
            child: report.child,
            max_session: report.max_session,
            priority: u32::from(report.priority),
            load_normalization: u32::from(report.load_normalization),
            health: u32::from(report.health != Health::Healthy),
            draining: report.draining,
            to_move: report.to_move,
            fqdn: report.fqdn.clone(),
            node: report.node.map(octets).unwrap_or_default(),
        }
    }
}

impl TryFrom<proto::Report> for Report {
    type Error = WireError;

    fn try_from(report: proto::Report) -> Result<Report, WireError> {
        let node = (!report.node.is_empty()).then(|| address("a member's node", &report.node)).transpose()?;
        let report = Report {
            version: (report.incarnation, report.count),
            load: Load {
                in_neg: percent("in-neg", report.in_neg)?,
                crypto: percent("crypto", report.crypto)?,
                cpu: percent("cpu", report.cpu)?,
                mem: percent("mem", report.mem)?,
            },
            ike: report.ike,
            child: report.child,
            max_session: report.max_session,
            priority: hundred("priority", report.priority)?,
            load_normalization: hundred("load-normalization", report.load_normalization)?,
            // A state that only a later version knows is no reason to send clients there.
            health: if report.health == 0 { Health::Healthy } else { Health::Unhealthy },
            draining: report.draining,
            to_move: report.to_move,
            fqdn: report.fqdn,
            node,
        };
        check(&report)?;
        Ok(report)
    }
}

/// Returns whether a report is readable where it goes.
fn check(report: &Report) -> Result<(), WireError> {
    version("incarnation", report.version.0)?;
    version("count", report.version.1)?;
    ranged("IKE SAs", report.ike, (0, MAX_SAS))?;
    ranged("IPsec SAs", report.child, (0, MAX_SAS))?;
    ranged("max-session", report.max_session, MAX_SESSION)?;
    ranged("sessions to move", report.to_move, (0, MAX_SAS))?;
    hundred("priority", u32::from(report.priority))?;
    hundred("load-normalization", u32::from(report.load_normalization))?;
    text("fqdn", &report.fqdn).map(|_| ())
}

impl From<&Row> for proto::Row {
    fn from((address, report, age_ms): &Row) -> proto::Row {
        proto::Row { address: octets(*address), report: Some(report.into()), age_ms: *age_ms }
    }
}

impl TryFrom<proto::Row> for Row {
    type Error = WireError;

    fn try_from(row: proto::Row) -> Result<Row, WireError> {
        let report = row.report.ok_or(WireError::Missing { field: "a member's report" })?;
        let age_ms = ranged("a member's age", row.age_ms, (0, MAX_AGE_MS))?;
        Ok((address("a member's address", &row.address)?, report.try_into()?, age_ms))
    }
}

/// The orders in the form of version 1. Its epoch grows with every order, so that the later set replaces the earlier one.
impl From<&Orders> for proto::Order {
    fn from(orders: &Orders) -> proto::Order {
        let draining = orders.draining().map(octets).collect();
        proto::Order { epoch: orders.total(), shutdown: orders.is_shutdown(), draining }
    }
}

impl From<&Orders> for proto::Orders {
    fn from(orders: &Orders) -> proto::Orders {
        let drain = |(node, register): (&IpAddr, &Register)| proto::Drain {
            node: octets(*node),
            counter: register.counter,
            on: register.on,
        };
        proto::Orders {
            shutdown_counter: orders.shutdown().counter,
            shutdown: orders.is_shutdown(),
            drains: orders.drains().iter().map(drain).collect(),
        }
    }
}

impl TryFrom<proto::Orders> for Orders {
    type Error = WireError;

    fn try_from(orders: proto::Orders) -> Result<Orders, WireError> {
        within("drains", orders.drains.len() as u64, 0, MAX_DRAINS as u64)?;
        let counter = |value| within("an order's counter", value, 0, MAX_COUNTER);
        let drain = |drain: proto::Drain| {
            let register = Register { counter: counter(drain.counter)?, on: drain.on };
            Ok((address("a drain's node", &drain.node)?, register))
        };
        let drains = orders.drains.into_iter().map(drain).collect::<Result<BTreeMap<_, _>, WireError>>()?;
        let shutdown = Register { counter: counter(orders.shutdown_counter)?, on: orders.shutdown };
        Ok(Orders::new(shutdown, drains))
    }
}

impl From<&Rules> for proto::Rules {
    fn from(rules: &Rules) -> proto::Rules {
        proto::Rules {
            crypto_weight: rules.crypto_weight.into(),
            system_weight: rules.system_weight.into(),
            overload_limit: rules.overload_limit.into(),
        }
    }
}

impl TryFrom<proto::Rules> for Rules {
    type Error = WireError;

    fn try_from(rules: proto::Rules) -> Result<Rules, WireError> {
        let share = |field, value: u32| within(field, value.into(), 0, 100).map(|value| value as u8);
        Ok(Rules {
            crypto_weight: share("crypto-load weight", rules.crypto_weight)?,
            system_weight: share("system-load weight", rules.system_weight)?,
            overload_limit: ranged("overload-limit", rules.overload_limit, OVERLOAD_LIMIT)? as u8,
        })
    }
}

impl TryFrom<Body> for Message {
    type Error = WireError;

    fn try_from(body: Body) -> Result<Message, WireError> {
        Ok(match body {
            Body::Hello(hello) => Message::Hello(Hello {
                incarnation: version("incarnation", hello.incarnation)?,
                address: address("the hello's address", &hello.address)?,
                hello_ms: ranged("hello", hello.hello_ms, HELLO_MS)?,
                update_ms: ranged("update", hello.update_ms, UPDATE_MS)?,
                orders: hello.orders.map(Orders::try_from).transpose()?,
            }),
            Body::Update(report) => Message::Update(report.try_into()?),
            Body::Ack(ack) => {
                count("members", ack.members.len())?;
                let rows = ack.members.into_iter().map(Row::try_from).collect::<Result<Vec<_>, _>>()?;
                Message::Ack(Ack {
                    seq: version("the acknowledged count", ack.seq)?,
                    primary: address("the primary's address", &ack.primary)?,
                    orders: ack.orders.map(Orders::try_from).transpose()?,
                    rules: ack.rules.ok_or(WireError::Missing { field: "the rules" })?.try_into()?,
                    members: rows.into(),
                })
            }
            Body::Bye(bye) => Message::Bye { reason: text("the reason", &bye.reason)?.to_owned() },
        })
    }
}

/// Reads one frame.
///
/// # Errors
/// When it is no message of this protocol, or a value of it is out of its range.
pub fn parse(frame: &[u8]) -> Result<Parsed, WireError> {
    let frame = proto::Frame::decode(frame).map_err(|error| WireError::Undecodable(error.to_string()))?;
    let message = frame.body.map(Message::try_from).transpose()?;
    Ok(Parsed { version: frame.version, capabilities: frame.capabilities, message })
}

impl Message {
    /// Appends the frame to `out`: at most 32,000 bytes.
    ///
    /// # Errors
    /// When a value is out of the range in which [`parse`] takes it; nothing is appended then.
    pub fn emit(&self, out: &mut Vec<u8>) -> Result<(), WireError> {
        let frame = |body| proto::Frame { version: VERSION, capabilities: CAPABILITIES, body };
        let body = match self {
            Message::Hello(hello) => Body::Hello(proto::Hello {
                incarnation: version("incarnation", hello.incarnation)?,
                address: octets(hello.address),
                hello_ms: ranged("hello", hello.hello_ms, HELLO_MS)?,
                update_ms: ranged("update", hello.update_ms, UPDATE_MS)?,
                order: hello.orders.as_ref().map(Into::into),
                orders: hello.orders.as_ref().map(Into::into),
            }),
            Message::Update(report) => {
                check(report)?;
                Body::Update(report.into())
            }
            Message::Ack(ack) => {
                let rows = ack.members.encoded()?;
                let head = proto::Ack {
                    seq: ack.seq,
                    primary: octets(ack.primary),
                    order: ack.orders.as_ref().map(Into::into),
                    members: Vec::new(),
                    rules: Some((&ack.rules).into()),
                    orders: ack.orders.as_ref().map(Into::into),
                };
                // The fields of a message in any order are the message: the table's own are the same for every member.
                out.extend_from_slice(&frame(None).encode_to_vec());
                encode_key(5, WireType::LengthDelimited, out);
                encode_varint((head.encoded_len() + rows.len()) as u64, out);
                out.extend_from_slice(&head.encode_to_vec());
                out.extend_from_slice(rows);
                return Ok(());
            }
            Message::Bye { reason } => {
                Body::Bye(proto::Bye { reason: text("the reason", reason)?.to_owned() })
            }
        };
        out.extend_from_slice(&frame(Some(body)).encode_to_vec());
        Ok(())
    }
}

#[cfg(test)]
mod tests;
