//! Why a frame's way ended: one enum value = one counter = one row of `show dataplane counters`.

use platform::snapshot::CounterName;

/// What becomes of a frame.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Action {
    /// Answered in place with a REDIRECT.
    Answer,
    /// Handed to the kernel's side (or, from there, to the wire).
    Pass,
    /// Ended here.
    Drop,
    /// An event beside the frame's own verdict; not part of the sum over all frames.
    Info,
}

impl Action {
    /// The word of `show` and of JSON.
    pub const fn name(self) -> &'static str {
        match self {
            Action::Answer => "answer",
            Action::Pass => "pass",
            Action::Drop => "drop",
            Action::Info => "info",
        }
    }
}

macro_rules! reasons {
    ($($variant:ident, $name:literal, $action:ident, $help:literal;)*) => {
        /// The reasons, in the order of `show`.
        #[derive(Debug, Clone, Copy, PartialEq, Eq)]
        #[repr(u8)]
        pub enum Reason { $(#[doc = $help] $variant,)* }

        impl Reason {
            /// Every reason; the position is the counter's index.
            pub const ALL: &[Reason] = &[$(Reason::$variant,)*];
            /// How many there are.
            pub const COUNT: usize = Self::ALL.len();

            /// Name, action and help of every counter, by index.
            pub const COUNTERS: &[CounterName<'static>] = &[
                $(CounterName { name: $name, action: Action::$action.name(), help: $help },)*
            ];

            /// What becomes of the frame.
            pub const fn action(self) -> Action {
                match self { $(Reason::$variant => Action::$action,)* }
            }
        }
    };
}

reasons! {
    Redirected, "redirected", Answer, "redirected to a gateway";
    RedirectedSelf, "redirected_self", Answer, "redirected to this node's own address: its own turn";
    LoopSuspect, "loop_suspect", Answer, "REDIRECTED_FROM names a virtual address of ours: sent to this node's own address";

    Arp, "arp", Pass, "ARP";
    NeighbourDiscovery, "neighbour_discovery", Pass, "IPv6 neighbour discovery";
    Hsrp, "hsrp", Pass, "HSRP hello";
    Clb, "clb", Pass, "load feed of the cluster (TCP 2012, or its `port`) to a virtual address";
    OtherEthertype, "other_ethertype", Pass, "neither IP nor ARP, or more than two VLAN tags";
    GroupAddress, "group_address", Pass, "multicast or broadcast";
    OtherAddress, "other_address", Pass, "to an address that is no virtual address of ours";
    OtherVlan, "other_vlan", Pass, "to a virtual address of the port, but not in the VLAN of its interface";
    OtherProtocol, "other_protocol", Pass, "to a virtual address, but not UDP";
    OtherPort, "other_port", Pass, "to a virtual address, but neither UDP 500 nor 4500";
    Keepalive, "keepalive", Pass, "NAT keepalive on 4500";
    EspInUdp, "esp_in_udp", Pass, "ESP in UDP on 4500";
    OtherVersion, "other_version", Pass, "IKE of another major version than 2";
    LaterExchange, "later_exchange", Pass, "IKEv2, but not IKE_SA_INIT";
    NotARequest, "not_a_request", Pass, "IKE_SA_INIT with the response flag or without the initiator flag";
    ResponderSpi, "responder_spi", Pass, "IKE_SA_INIT with a responder SPI";
    MessageId, "message_id", Pass, "IKE_SA_INIT with a message id other than 0";
    CriticalPayload, "critical_payload", Pass, "an unknown payload marked critical: the local daemon says so (RFC 7296 section 2.5)";
    Incomplete, "incomplete", Pass, "IKE_SA_INIT without SA, KE or nonce";
    Unsignalled, "unsignalled", Pass, "neither REDIRECT_SUPPORTED nor REDIRECTED_FROM: must not be redirected (RFC 5685 section 3)";
    SourceRouted, "source_routed", Pass, "IPv4 source route or IPv6 routing header with segments left";
    AnswerTooLong, "answer_too_long", Pass, "the answer would be longer than the request";
    RedirectOff, "redirect_off", Pass, "`crypto ikev2 redirect gateway init` is not in force";
    GroupInactive, "group_inactive", Pass, "the address's group is not active here";
    LeaseExpired, "lease_expired", Pass, "the lease ended and no peer is known: usherd does not run";
    NoGateway, "no_gateway", Pass, "no gateway may be chosen";
    GatewayRefused, "gateway_refused", Pass, "the gateway chosen is the address asked, the client's own or not unicast";
    HopsSpent, "hops_spent", Pass, "to a member that sheds load, from a client that another gateway redirected already: served here";
    FragmentTimeout, "fragment_timeout", Pass, "the other half of a fragmented datagram did not come in time";
    FragmentEvicted, "fragment_evicted", Pass, "a held fragment gave way to a newer one";
    FragmentOther, "fragment_other", Pass, "a fragment that is no half of a pair";
    Scattered, "scattered", Pass, "a frame that does not fit one buffer";
    NoSocket, "no_socket", Pass, "for a worker, but on a queue of a bifurcated port that has none: left to the kernel (`queues`)";
    FromKernel, "from_kernel", Pass, "from the kernel's side to the wire";

    ForeignMac, "foreign_mac", Drop, "the destination MAC is not ours";
    BadEthernet, "bad_ethernet", Drop, "the frame ends inside its header";
    BadIp, "bad_ip", Drop, "an IP header whose lengths or extension headers contradict each other";
    BadIpChecksum, "bad_ip_checksum", Drop, "wrong IPv4 header checksum";
    BadUdp, "bad_udp", Drop, "a UDP length that is not the IP payload's";
    BadUdpChecksum, "bad_udp_checksum", Drop, "wrong UDP checksum, or none over IPv6";
    BadIke, "bad_ike", Drop, "an IKE length that is not the UDP payload's, or a payload chain that does not end there";
    BadPayload, "bad_payload", Drop, "a payload whose length is under 4 or beyond the end, or an unreadable notify";
    BadNonce, "bad_nonce", Drop, "a nonce outside 16-256 bytes, or two (RFC 7296 section 3.9)";
    ZeroSpi, "zero_spi", Drop, "initiator SPI 0 (RFC 7296 section 3.1)";
    FragmentOverlap, "fragment_overlap", Drop, "overlapping fragments (RFC 5722)";
    Fenced, "fenced", Drop, "the group's lease ended while a peer is known: another node may be active";
    FencedOut, "fenced_out", Drop, "from the kernel in the name of a virtual address that is fenced or given up";
    NotRelayed, "not_relayed", Drop, "the kernel sent on the exception device of a bifurcated port, whose way out is the port itself";
    NoTagRoom, "no_tag_room", Drop, "from the kernel's side of a VLAN, in a buffer without room for its tag";
    AnswerLimit, "answer_limit", Drop, "over the limit of answers to one source prefix";
    PolicedHsrp, "policed_hsrp", Drop, "over the rate of class hsrp";
    PolicedClb, "policed_clb", Drop, "over the rate of class clb";
    PolicedArpNd, "policed_arp_nd", Drop, "over the rate of class arp_nd";
    PolicedIke, "policed_ike", Drop, "over the rate of class ike";
    PolicedSession, "policed_session", Drop, "over the rate of class session";
    PolicedVipOther, "policed_vip_other", Drop, "over the rate of class vip_other";
    PolicedRest, "policed_rest", Drop, "over the rate of class rest";

    FragmentHeld, "fragment_held", Info, "a fragment that waited for its other half";
    FragmentJoined, "fragment_joined", Info, "a held fragment whose datagram was answered";
    ExceptionFull, "exception_full", Info, "passed on, but the exception device's queue was full: lost";
    NoException, "no_exception", Info, "passed on, but the port has no exception device: lost";
    PortFull, "port_full", Info, "to be sent, but the port's queue was full: lost";
}

impl Reason {
    /// The counter's index.
    #[inline(always)]
    pub const fn index(self) -> usize {
        self as usize
    }

    /// The counter's name.
    pub const fn name(self) -> &'static str {
        Self::COUNTERS[self as usize].name
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn every_reason_has_a_name_of_its_own_and_its_own_index() {
        for (index, reason) in Reason::ALL.iter().enumerate() {
            assert_eq!(reason.index(), index);
            let same = Reason::ALL.iter().filter(|other| other.name() == reason.name()).count();
            assert_eq!(same, 1, "{}", reason.name());
            assert_eq!(reason.action().name(), Reason::COUNTERS[index].action);
        }
    }
}
