/* Steers to the AF_XDP sockets what the data plane may answer, and fences what nobody here may.
 *
 * To the sockets go IKE_SA_INIT requests (RFC 7296 section 3.1: exchange 34, initiator flag, no response flag, responder
 * SPI 0; on port 4500 behind the non-ESP marker) and IP fragments, both only to the virtual addresses in usher_vips.
 * Frames to fenced addresses and MACs, and ARP and neighbour solicitations for them, end here. All else is the kernel's.
 * A socket takes frames of its own receive queue only: which worker gets a request is the NIC's RSS to say.
 */
#include "steer.bpf.h"

#define QUEUES 64
#define EXTENSION_HEADERS 6
#define OFFSET_MAX 1024

enum way { KERNEL, SOCKET, NOWHERE };

/* The name under which DPDK's driver looks for its sockets. */
struct {
	__uint(type, BPF_MAP_TYPE_XSKMAP);
	__uint(max_entries, QUEUES);
	__type(key, __u32);
	__type(value, __u32);
} xsks_map SEC(".maps");

/* Whether a UDP datagram at `udp` is an IKE_SA_INIT request. */
static __always_inline int is_request(void *udp, void *end)
{
	struct udphdr *header = udp;
	__u8 *ike = udp + sizeof(*header);

	if ((void *)(header + 1) > end)
		return 0;
	if (header->dest == bpf_htons(4500)) {
		if ((void *)(ike + 4) > end || *(__u32 *)ike != 0)
			return 0;
		ike += 4;
	} else if (header->dest != bpf_htons(500)) {
		return 0;
	}
	if ((void *)(ike + 28) > end)
		return 0;
	/* An address of 2 mod 4: the words are read as the compiler sees fit, byte by byte where it must. */
	__u64 responder;

	__builtin_memcpy(&responder, ike + 8, 8);
	return responder == 0 && ike[18] == 34 && (ike[19] & 0x28) == 0x08;
}

static __always_inline int v4(void *at, void *end)
{
	struct iphdr *ip = at;

	if ((void *)(ip + 1) > end || ip->ihl < 5)
		return KERNEL;
	__u32 rule = rule4(&ip->daddr);

	if (rule == 0)
		return KERNEL;
	if (rule == FENCE)
		return NOWHERE;
	/* More fragments, or an offset. */
	if (ip->frag_off & bpf_htons(0x3fff))
		return SOCKET;
	if (ip->protocol == IPPROTO_UDP && is_request(at + ip->ihl * 4, end))
		return SOCKET;
	return KERNEL;
}

static __always_inline int v6(void *at, void *end)
{
	struct ipv6hdr *ip = at;

	if ((void *)(ip + 1) > end)
		return KERNEL;
	__u32 rule = rule6(&ip->daddr);
	__u8 next = ip->nexthdr;
	__u32 offset = sizeof(*ip);

	if (rule == FENCE)
		return NOWHERE;
	/* A neighbour solicitation goes to a group; the address it asks for stands inside. */
	if (next == IPPROTO_ICMPV6) {
		__u8 *icmp = at + offset;

		if ((void *)(icmp + 24) <= end && icmp[0] == 135 && rule6(icmp + 8) == FENCE)
			return NOWHERE;
		return KERNEL;
	}
	if (rule == 0)
		return KERNEL;
#pragma unroll
	for (int i = 0; i < EXTENSION_HEADERS; i++) {
		__u8 *header = at + offset;

		if (next == IPPROTO_UDP)
			return is_request(header, end) ? SOCKET : KERNEL;
		if ((void *)(header + 8) > end)
			return KERNEL;
		if (next == IPPROTO_FRAGMENT) {
			/* Offset and the more flag; both 0 is an atomic fragment, a whole datagram. */
			if (header[2] != 0 || (header[3] & 0xf9) != 0)
				return SOCKET;
			offset += 8;
		} else if (next == IPPROTO_HOPOPTS || next == IPPROTO_ROUTING || next == IPPROTO_DSTOPTS) {
			offset += (header[1] + 1) * 8;
		} else {
			return KERNEL;
		}
		next = header[0];
		if (offset > OFFSET_MAX)
			return KERNEL;
	}
	return KERNEL;
}

static __always_inline int way(void *data, void *end)
{
	struct ethhdr *eth = data;
	void *at = eth + 1;

	if (at > end)
		return KERNEL;
	if (fences(MACS_IN) && mac_fenced(eth->h_dest, IN))
		return NOWHERE;
	__be16 type = eth->h_proto;

	if (!untag(&at, end, &type))
		return KERNEL;
	if (type == bpf_htons(ETH_P_IP))
		return v4(at, end);
	if (type == bpf_htons(ETH_P_IPV6))
		return v6(at, end);
	/* ARP over Ethernet for IPv4: the target's address is its last field. */
	if (type == bpf_htons(ETH_P_ARP) && at + 28 <= end && rule4(at + 24) == FENCE)
		return NOWHERE;
	return KERNEL;
}

SEC("xdp")
int usher_steer(struct xdp_md *ctx)
{
	switch (way((void *)(long)ctx->data, (void *)(long)ctx->data_end)) {
	case NOWHERE:
		count(FENCED);
		return XDP_DROP;
	case SOCKET:
		/* A queue without a socket leaves its frames to the kernel. */
		if (bpf_redirect_map(&xsks_map, ctx->rx_queue_index, XDP_PASS) == XDP_REDIRECT) {
			count(STEERED);
			return XDP_REDIRECT;
		}
		count(UNSERVED);
		return XDP_PASS;
	default:
		count(PASSED);
		return XDP_PASS;
	}
}

char LICENSE[] SEC("license") = "Dual MIT/GPL";
