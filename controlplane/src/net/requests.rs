//! Requests to the kernel over rtnetlink, each bounded in time.

use super::{MODE, NetError, PATIENCE};
use crate::types::{IfIndex, Prefix, is_link_local};
use futures_util::TryStreamExt as _;
use rtnetlink::packet_route::AddressFamily;
use rtnetlink::packet_route::address::{AddressAttribute, AddressFlags, AddressHeaderFlags, AddressMessage};
use rtnetlink::packet_route::link::LinkMessage;
use rtnetlink::packet_route::route::{RouteAttribute, RouteMessage};
use rtnetlink::{Handle, LinkMacVlan, LinkUnspec};
use std::net::IpAddr;

/// The way to the kernel.
pub(super) struct Requests {
    handle: Handle,
}

impl Requests {
    /// Opens a netlink socket and serves it from the running tokio runtime.
    ///
    /// # Errors
    /// When the kernel gives no socket.
    pub fn open() -> Result<Requests, NetError> {
        // Strict: the kernel sends only the routes that are asked for.
        let (connection, handle, _) =
            rtnetlink::new_connection_with_strict_check().map_err(NetError::Socket)?;
        tokio::spawn(connection);
        Ok(Requests { handle })
    }

    /// Carries a request out; a socket that has failed is opened anew for the next one.
    async fn bounded<T>(
        &mut self,
        device: &str,
        step: &'static str,
        request: impl Future<Output = Result<T, rtnetlink::Error>>,
    ) -> Result<T, NetError> {
        match tokio::time::timeout(PATIENCE, request).await {
            Ok(Ok(answer)) => Ok(answer),
            Ok(Err(rtnetlink::Error::NetlinkError(error))) => Err(refusal(device, step, &error.to_io())),
            Ok(Err(error)) => {
                self.handle = Requests::open()?.handle;
                let reason = format!("{error}: trying again over another socket");
                Err(NetError::Refused { device: device.to_owned(), step, reason })
            }
            Err(_) => Err(NetError::Late { device: device.to_owned(), step }),
        }
    }

    /// All links.
    pub async fn links(&mut self) -> Result<Vec<LinkMessage>, NetError> {
        let request = self.handle.link().get().execute().try_collect();
        self.bounded("devices", "list links", request).await
    }

    /// All addresses.
    pub async fn addresses(&mut self) -> Result<Vec<AddressMessage>, NetError> {
        let request = self.handle.address().get().execute().try_collect();
        self.bounded("devices", "list addresses", request).await
    }

    /// The routes over a device, of one family, in all tables.
    pub async fn routes(
        &mut self,
        device: &str,
        index: IfIndex,
        family: AddressFamily,
    ) -> Result<Vec<RouteMessage>, NetError> {
        let mut message = RouteMessage::default();
        message.header.address_family = family;
        message.attributes.push(RouteAttribute::Oif(index.get()));
        let request = self.handle.route().get(message).execute().try_collect();
        self.bounded(device, "list routes", request).await
    }

    /// Makes a macvlan over the device of index `parent`.
    pub async fn create_macvlan(
        &mut self,
        device: &str,
        parent: IfIndex,
        mac: [u8; 6],
    ) -> Result<(), NetError> {
        let message = LinkMacVlan::new(device, parent.get(), MODE).address(mac.to_vec()).build();
        let request = self.handle.link().add(message).execute();
        self.bounded(device, "create", request).await
    }

    /// Deletes a device.
    pub async fn delete(&mut self, device: &str, index: IfIndex) -> Result<(), NetError> {
        let request = self.handle.link().del(index.get()).execute();
        self.bounded(device, "delete", request).await
    }

    /// Sets MAC and MTU where they are given, and the device up where asked to.
    pub async fn set_link(
        &mut self,
        device: &str,
        index: IfIndex,
        mac: Option<[u8; 6]>,
        mtu: Option<u32>,
        up: bool,
    ) -> Result<(), NetError> {
        let mut message = LinkUnspec::new_with_index(index.get());
        if let Some(mac) = mac {
            message = message.address(mac.to_vec());
        }
        if let Some(mtu) = mtu {
            message = message.mtu(mtu);
        }
        if up {
            message = message.up();
        }
        let request = self.handle.link().set(message.build()).execute();
        let step = match (mac, mtu) {
            (Some(_), _) => "set the MAC address",
            (None, Some(_)) => "set the MTU",
            (None, None) => "set up",
        };
        self.bounded(device, step, request).await
    }

    /// Adds an address. A `quiet` one is used at once, without a search for duplicates, and adds no route of its own.
    pub async fn add_address(
        &mut self,
        device: &str,
        index: IfIndex,
        prefix: Prefix,
        quiet: bool,
    ) -> Result<(), NetError> {
        let mut request = self.handle.address().add(index.get(), prefix.address, prefix.length).replace();
        if quiet {
            // What comes to a link-local address is answered on its own device: without the prefix there is no way back.
            let flags = match is_link_local(&prefix.address) {
                true => AddressFlags::Nodad,
                false => AddressFlags::Nodad | AddressFlags::Noprefixroute,
            };
            let message = request.message_mut();
            message.header.flags = AddressHeaderFlags::Nodad;
            message.attributes.push(AddressAttribute::Flags(flags));
        }
        let request = request.execute();
        self.bounded(device, "add an address", request).await
    }

    /// Deletes an address; one that is not there is no error.
    pub async fn delete_address(
        &mut self,
        device: &str,
        index: IfIndex,
        prefix: Prefix,
    ) -> Result<(), NetError> {
        let mut message = AddressMessage::default();
        message.header.family = match prefix.address {
            IpAddr::V4(_) => AddressFamily::Inet,
            IpAddr::V6(_) => AddressFamily::Inet6,
        };
        message.header.prefix_len = prefix.length;
        message.header.index = index.get();
        message.attributes =
            vec![AddressAttribute::Local(prefix.address), AddressAttribute::Address(prefix.address)];
        let request = self.handle.address().del(message).execute();
        let request = async {
            match request.await {
                // It went with its primary, or somebody was faster.
                Err(rtnetlink::Error::NetlinkError(error)) if error.raw_code() == -EADDRNOTAVAIL => Ok(()),
                other => other,
            }
        };
        self.bounded(device, "delete an address", request).await
    }

    /// Adds a route; false when there is one to that destination already.
    pub async fn add_route(&mut self, device: &str, message: RouteMessage) -> Result<bool, NetError> {
        let request = self.handle.route().add(message).execute();
        let request = async {
            match request.await {
                Err(rtnetlink::Error::NetlinkError(error)) if error.raw_code() == -EEXIST => Ok(false),
                other => other.map(|()| true),
            }
        };
        self.bounded(device, "put a route back", request).await
    }
}

const EADDRNOTAVAIL: i32 = rustix::io::Errno::ADDRNOTAVAIL.raw_os_error();
const EEXIST: i32 = rustix::io::Errno::EXIST.raw_os_error();

/// A refusal with the remedy for its kind.
fn refusal(device: &str, step: &'static str, error: &std::io::Error) -> NetError {
    use rustix::io::Errno;
    let text = error.to_string();
    let reason = text.split(" (os error").next().unwrap_or_default();
    let code = error.raw_os_error().map(Errno::from_raw_os_error);
    let remedy = match code {
        Some(Errno::PERM | Errno::ACCESS) => {
            "usherd needs CAP_NET_ADMIN, and for IPv6 net.ipv6.conf.*.disable_ipv6 must be 0"
        }
        Some(Errno::BUSY | Errno::ADDRINUSE) => "see with `ip -d link` which device has this MAC address",
        Some(Errno::NODEV | Errno::NXIO) => {
            return NetError::Missing { device: device.to_owned(), remedy: "it has just gone" };
        }
        Some(Errno::OPNOTSUPP) => "see with `modprobe macvlan` whether the kernel has it",
        Some(Errno::NETUNREACH | Errno::HOSTUNREACH) => "no address of the device reaches the gateway",
        Some(Errno::NOMEM | Errno::NOBUFS) => "the kernel is short of memory",
        _ => "see `ip -d link show` and the kernel's log",
    };
    NetError::Refused { device: device.to_owned(), step, reason: format!("{reason}: {remedy}") }
}
