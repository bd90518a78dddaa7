/* The fence of what the kernel sends on a port that it keeps: nothing leaves in the name of a virtual MAC that this node
 * has given up, nor, while an address is fenced, to or from its virtual MAC or as ARP or neighbour discovery about it. All
 * else goes on to the filters behind. It looks into the maps of usher_steer, which are handed to it when it is loaded.
 * Answers of the workers do not come by here: AF_XDP sends beside the kernel's queues.
 */
#include <linux/pkt_cls.h>
#include "steer.bpf.h"

static __always_inline int arp(void *at, void *end)
{
	/* Sender and target, over Ethernet for IPv4. */
	return at + 28 <= end && (rule4(at + 14) == FENCE || rule4(at + 24) == FENCE);
}

static __always_inline int neighbour(void *at, void *end)
{
	struct ipv6hdr *ip = at;
	__u8 *icmp = at + sizeof(*ip);

	return (void *)(icmp + 24) <= end && ip->nexthdr == IPPROTO_ICMPV6 && (icmp[0] == 135 || icmp[0] == 136) &&
	       rule6(icmp + 8) == FENCE;
}

static __always_inline int fenced(void *data, void *end)
{
	struct ethhdr *eth = data;
	void *at = eth + 1;

	if (at > end)
		return 0;
	if (mac_fenced(eth->h_source, OUT) || mac_fenced(eth->h_dest, IN))
		return 1;
	__be16 type = eth->h_proto;

	if (!untag(&at, end, &type))
		return 0;
	if (type == bpf_htons(ETH_P_ARP))
		return arp(at, end);
	return type == bpf_htons(ETH_P_IPV6) && neighbour(at, end);
}

SEC("tc")
int usher_egress(struct __sk_buff *skb)
{
	if (fences(ALL_OUT) == 0 || !fenced((void *)(long)skb->data, (void *)(long)skb->data_end))
		return TC_ACT_UNSPEC;
	count(FENCED_OUT);
	return TC_ACT_SHOT;
}

char LICENSE[] SEC("license") = "Dual MIT/GPL";
