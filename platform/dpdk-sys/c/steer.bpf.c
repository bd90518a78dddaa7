/* Steers to the AF_XDP sockets what the data plane may answer, and fences what nobody here may.
 *
 * To the sockets go IKE_SA_INIT requests (RFC 7296 section 3.1: exchange 34, initiator flag, no response flag, responder
 * SPI 0; on port 4500 behind the non-ESP marker) and IP fragments, both only to the virtual addresses in usher_vips.
 * Frames to fenced addresses and MACs, and ARP and neighbour solicitations for them, end here. All else is the kernel's.
 */
#include <stddef.h>
#include <linux/bpf.h>
#include <linux/if_ether.h>
#include <linux/in.h>
#include <linux/ip.h>
#include <linux/ipv6.h>
#include <linux/udp.h>
#include <bpf/bpf_endian.h>
#include <bpf/bpf_helpers.h>

#define QUEUES 64
#define ADDRESSES 64
#define EXTENSION_HEADERS 6
#define OFFSET_MAX 1024

enum rule { STEER = 1, FENCE = 2 };

struct address {
	__u8 bytes[16]; /* IPv4 in the first 4, the rest 0 */
	__u32 family;   /* 4 or 6 */
};

/* The name under which DPDK's driver looks for its sockets. */
struct {
	__uint(type, BPF_MAP_TYPE_XSKMAP);
	__uint(max_entries, QUEUES);
	__type(key, __u32);
	__type(value, __u32);
} xsks_map SEC(".maps");

struct {
	__uint(type, BPF_MAP_TYPE_HASH);
	__uint(max_entries, 2 * ADDRESSES);
	__type(key, struct address);
	__type(value, __u32);
} usher_vips SEC(".maps");

struct {
	__uint(type, BPF_MAP_TYPE_HASH);
	__uint(max_entries, 2 * ADDRESSES);
	__type(key, __u64);
	__type(value, __u32);
} usher_macs SEC(".maps");

/* How many there are in usher_macs: with none, which is the rule, no frame pays for the look. */
struct {
	__uint(type, BPF_MAP_TYPE_ARRAY);
	__uint(max_entries, 1);
	__type(key, __u32);
	__type(value, __u32);
} usher_fences SEC(".maps");

enum count { FENCED, STEERED, COUNTS };

/* For whoever asks: bpftool map dump name usher_counts. */
struct {
	__uint(type, BPF_MAP_TYPE_PERCPU_ARRAY);
	__uint(max_entries, COUNTS);
	__type(key, __u32);
	__type(value, __u64);
} usher_counts SEC(".maps");

struct vlan {
	__be16 tag;
	__be16 inner;
};

static __always_inline void count(__u32 what)
{
	__u64 *value = bpf_map_lookup_elem(&usher_counts, &what);

	if (value)
		*value += 1;
}

static __always_inline int fence(void)
{
	count(FENCED);
	return XDP_DROP;
}

static __always_inline __u32 rule4(const void *bytes)
{
	struct address key = {.family = 4};

	__builtin_memcpy(key.bytes, bytes, 4);
	__u32 *rule = bpf_map_lookup_elem(&usher_vips, &key);
	return rule ? *rule : 0;
}

static __always_inline __u32 rule6(const void *bytes)
{
	struct address key = {.family = 6};

	__builtin_memcpy(key.bytes, bytes, 16);
	__u32 *rule = bpf_map_lookup_elem(&usher_vips, &key);
	return rule ? *rule : 0;
}

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

static __always_inline int steer(struct xdp_md *ctx)
{
	count(STEERED);
	return bpf_redirect_map(&xsks_map, ctx->rx_queue_index, XDP_PASS);
}

static __always_inline int v4(struct xdp_md *ctx, void *at, void *end)
{
	struct iphdr *ip = at;

	if ((void *)(ip + 1) > end || ip->ihl < 5)
		return XDP_PASS;
	__u32 rule = rule4(&ip->daddr);

	if (rule == 0)
		return XDP_PASS;
	if (rule == FENCE)
		return fence();
	/* More fragments, or an offset. */
	if (ip->frag_off & bpf_htons(0x3fff))
		return steer(ctx);
	if (ip->protocol == IPPROTO_UDP && is_request(at + ip->ihl * 4, end))
		return steer(ctx);
	return XDP_PASS;
}

static __always_inline int v6(struct xdp_md *ctx, void *at, void *end)
{
	struct ipv6hdr *ip = at;

	if ((void *)(ip + 1) > end)
		return XDP_PASS;
	__u32 rule = rule6(&ip->daddr);
	__u8 next = ip->nexthdr;
	__u32 offset = sizeof(*ip);

	if (rule == FENCE)
		return fence();
	/* A neighbour solicitation goes to a group; the address it asks for stands inside. */
	if (next == IPPROTO_ICMPV6) {
		__u8 *icmp = at + offset;

		if ((void *)(icmp + 24) <= end && icmp[0] == 135 && rule6(icmp + 8) == FENCE)
			return fence();
		return XDP_PASS;
	}
	if (rule == 0)
		return XDP_PASS;
#pragma unroll
	for (int i = 0; i < EXTENSION_HEADERS; i++) {
		__u8 *header = at + offset;

		if (next == IPPROTO_UDP)
			return is_request(header, end) ? steer(ctx) : XDP_PASS;
		if ((void *)(header + 8) > end)
			return XDP_PASS;
		if (next == IPPROTO_FRAGMENT) {
			/* Offset and the more flag; both 0 is an atomic fragment, a whole datagram. */
			if (header[2] != 0 || (header[3] & 0xf9) != 0)
				return steer(ctx);
			offset += 8;
		} else if (next == IPPROTO_HOPOPTS || next == IPPROTO_ROUTING || next == IPPROTO_DSTOPTS) {
			offset += (header[1] + 1) * 8;
		} else {
			return XDP_PASS;
		}
		next = header[0];
		if (offset > OFFSET_MAX)
			return XDP_PASS;
	}
	return XDP_PASS;
}

SEC("xdp")
int usher_steer(struct xdp_md *ctx)
{
	void *data = (void *)(long)ctx->data, *end = (void *)(long)ctx->data_end;
	struct ethhdr *eth = data;
	void *at = eth + 1;

	if (at > end)
		return XDP_PASS;
	__u32 zero = 0, *fences = bpf_map_lookup_elem(&usher_fences, &zero);

	if (fences && *fences) {
		__u64 mac = 0;

		__builtin_memcpy(&mac, eth->h_dest, 6);
		if (bpf_map_lookup_elem(&usher_macs, &mac))
			return fence();
	}
	__be16 type = eth->h_proto;

#pragma unroll
	for (int i = 0; i < 2; i++) {
		struct vlan *vlan = at;

		if (type != bpf_htons(ETH_P_8021Q) && type != bpf_htons(ETH_P_8021AD))
			break;
		if ((void *)(vlan + 1) > end)
			return XDP_PASS;
		type = vlan->inner;
		at = vlan + 1;
	}
	if (type == bpf_htons(ETH_P_IP))
		return v4(ctx, at, end);
	if (type == bpf_htons(ETH_P_IPV6))
		return v6(ctx, at, end);
	/* ARP over Ethernet for IPv4: the target's address is its last field. */
	if (type == bpf_htons(ETH_P_ARP) && at + 28 <= end && rule4(at + 24) == FENCE)
		return fence();
	return XDP_PASS;
}

char LICENSE[] SEC("license") = "Dual MIT/GPL";
