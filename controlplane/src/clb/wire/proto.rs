//! Messages of the load feed as protobuf has them, field by field.

use prost::{Message, Oneof};

#[derive(Clone, PartialEq, Message)]
pub struct Frame {
    #[prost(uint32, tag = "1")]
    pub version: u32,
    #[prost(uint64, tag = "2")]
    pub capabilities: u64,
    #[prost(oneof = "Body", tags = "3, 4, 5, 6")]
    pub body: Option<Body>,
}

#[derive(Clone, PartialEq, Oneof)]
pub enum Body {
    #[prost(message, tag = "3")]
    Hello(Hello),
    #[prost(message, tag = "4")]
    Update(Report),
    #[prost(message, tag = "5")]
    Ack(Ack),
    #[prost(message, tag = "6")]
    Bye(Bye),
}

#[derive(Clone, PartialEq, Message)]
pub struct Hello {
    #[prost(uint64, tag = "1")]
    pub incarnation: u64,
    #[prost(bytes = "vec", tag = "2")]
    pub address: Vec<u8>,
    #[prost(uint32, tag = "3")]
    pub hello_ms: u32,
    #[prost(uint32, tag = "4")]
    pub update_ms: u32,
    /// For version 1
    #[prost(message, optional, tag = "5")]
    pub order: Option<Order>,
    #[prost(message, optional, tag = "6")]
    pub orders: Option<Orders>,
}

/// Percentages in hundredths.
#[derive(Clone, PartialEq, Message)]
pub struct Report {
    #[prost(uint64, tag = "1")]
    pub incarnation: u64,
    #[prost(uint64, tag = "2")]
    pub count: u64,
    #[prost(uint32, tag = "3")]
    pub in_neg: u32,
    #[prost(uint32, tag = "4")]
    pub crypto: u32,
    #[prost(uint32, tag = "5")]
    pub cpu: u32,
    #[prost(uint32, tag = "6")]
    pub mem: u32,
    #[prost(uint32, tag = "7")]
    pub ike: u32,
    #[prost(uint32, tag = "8")]
    pub child: u32,
    #[prost(uint32, tag = "9")]
    pub max_session: u32,
    #[prost(uint32, tag = "10")]
    pub priority: u32,
    #[prost(uint32, tag = "11")]
    pub load_normalization: u32,
    /// 0: healthy; anything else is not
    #[prost(uint32, tag = "12")]
    pub health: u32,
    #[prost(bool, tag = "13")]
    pub draining: bool,
    #[prost(uint32, tag = "14")]
    pub to_move: u32,
    #[prost(string, tag = "15")]
    pub fqdn: String,
    /// Empty: the address is the node
    #[prost(bytes = "vec", tag = "16")]
    pub node: Vec<u8>,
}

#[derive(Clone, PartialEq, Message)]
pub struct Ack {
    #[prost(uint64, tag = "1")]
    pub seq: u64,
    #[prost(bytes = "vec", tag = "2")]
    pub primary: Vec<u8>,
    /// For version 1
    #[prost(message, optional, tag = "3")]
    pub order: Option<Order>,
    #[prost(message, repeated, tag = "4")]
    pub members: Vec<Row>,
    #[prost(message, optional, tag = "5")]
    pub rules: Option<Rules>,
    #[prost(message, optional, tag = "6")]
    pub orders: Option<Orders>,
}

#[derive(Clone, PartialEq, Message)]
pub struct Rules {
    #[prost(uint32, tag = "1")]
    pub crypto_weight: u32,
    #[prost(uint32, tag = "2")]
    pub system_weight: u32,
    #[prost(uint32, tag = "3")]
    pub overload_limit: u32,
}

#[derive(Clone, PartialEq, Message)]
pub struct Order {
    #[prost(uint64, tag = "1")]
    pub epoch: u64,
    #[prost(bool, tag = "2")]
    pub shutdown: bool,
    #[prost(bytes = "vec", repeated, tag = "3")]
    pub draining: Vec<Vec<u8>>,
}

#[derive(Clone, PartialEq, Message)]
pub struct Orders {
    #[prost(uint64, tag = "1")]
    pub shutdown_counter: u64,
    #[prost(bool, tag = "2")]
    pub shutdown: bool,
    #[prost(message, repeated, tag = "3")]
    pub drains: Vec<Drain>,
}

#[derive(Clone, PartialEq, Message)]
pub struct Drain {
    #[prost(bytes = "vec", tag = "1")]
    pub node: Vec<u8>,
    #[prost(uint64, tag = "2")]
    pub counter: u64,
    #[prost(bool, tag = "3")]
    pub on: bool,
}

#[derive(Clone, PartialEq, Message)]
pub struct Row {
    #[prost(bytes = "vec", tag = "1")]
    pub address: Vec<u8>,
    #[prost(message, optional, tag = "2")]
    pub report: Option<Report>,
    #[prost(uint32, tag = "3")]
    pub age_ms: u32,
}

#[derive(Clone, PartialEq, Message)]
pub struct Bye {
    #[prost(string, tag = "1")]
    pub reason: String,
}
