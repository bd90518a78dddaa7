/* rte_flow rules of a port that the kernel keeps (mlx5): what the XDP program of steer.bpf.c does, as far as a NIC can tell. It
 * matches ports and addresses, not what an IKE message is: later messages to the two ports come too, and go back. */
#include <errno.h>
#include <stdio.h>
#include <string.h>
#include <rte_flow.h>
#include "wrapper.h"

/* From now on the port receives what rules say, and all else stays with the kernel. Before the port is configured. */
int shim_flow_isolate(uint16_t port, char *why, size_t room)
{
	struct rte_flow_error error = {0};
	int rc = rte_flow_isolate(port, 1, &error);

	snprintf(why, room, "%s", error.message ? error.message : "");
	return rc;
}

/* One rule for frames to an address: datagrams to a UDP port (`udp`, host order), or its fragments (`udp` 0), spread over the
 * first `queues` queues; with no queue all frames to it are dropped. The driver's words go into `why`. Returns the rule, or
 * NULL with the error number in `rc`. */
void *shim_flow_add(uint16_t port, uint8_t family, const uint8_t *address, uint16_t udp, uint16_t queues, int *rc,
		    char *why, size_t room)
{
	struct rte_flow_attr attr = {.ingress = 1};
	struct rte_flow_item_ipv4 v4 = {0}, v4_last = {0}, v4_mask = {.hdr.dst_addr = RTE_BE32(0xffffffff)};
	struct rte_flow_item_ipv6 v6 = {0}, v6_mask = {0};
	struct rte_flow_item_udp to = {.hdr.dst_port = rte_cpu_to_be_16(udp)};
	struct rte_flow_item_udp to_mask = {.hdr.dst_port = RTE_BE16(0xffff)};
	struct rte_flow_item pattern[4] = {{.type = RTE_FLOW_ITEM_TYPE_ETH}};
	uint16_t all[RTE_MAX_QUEUES_PER_PORT];
	/* Whole datagrams by addresses and ports, fragments by addresses, as on an owned port. */
	struct rte_flow_action_rss rss = {
		.types = family == 4 ? (udp ? RTE_ETH_RSS_NONFRAG_IPV4_UDP : RTE_ETH_RSS_FRAG_IPV4) :
				       (udp ? RTE_ETH_RSS_NONFRAG_IPV6_UDP : RTE_ETH_RSS_FRAG_IPV6),
		.queue_num = queues,
		.queue = all,
	};
	struct rte_flow_action actions[2] = {{.type = RTE_FLOW_ACTION_TYPE_DROP}, {.type = RTE_FLOW_ACTION_TYPE_END}};
	struct rte_flow_error error = {0};
	int items = 1, fragments = queues != 0 && udp == 0;

	if (queues > RTE_DIM(all)) {
		*rc = -EINVAL;
		return NULL;
	}
	for (uint16_t i = 0; i < queues; i++)
		all[i] = i;
	if (queues != 0)
		actions[0] = (struct rte_flow_action){.type = RTE_FLOW_ACTION_TYPE_RSS, .conf = &rss};
	if (family == 4) {
		memcpy(&v4.hdr.dst_addr, address, 4);
		v4_last = v4;
		if (fragments) {
			/* From "offset 1" to "all offsets, more fragments". */
			v4.hdr.fragment_offset = RTE_BE16(1);
			v4_last.hdr.fragment_offset = RTE_BE16(0x3fff);
			v4_mask.hdr.fragment_offset = RTE_BE16(0x3fff);
		}
		pattern[items++] = (struct rte_flow_item){
			.type = RTE_FLOW_ITEM_TYPE_IPV4, .spec = &v4, .last = fragments ? &v4_last : NULL, .mask = &v4_mask};
	} else {
		memcpy(v6.hdr.dst_addr, address, 16);
		memset(v6_mask.hdr.dst_addr, 0xff, 16);
		v6.has_frag_ext = v6_mask.has_frag_ext = fragments;
		pattern[items++] =
			(struct rte_flow_item){.type = RTE_FLOW_ITEM_TYPE_IPV6, .spec = &v6, .mask = &v6_mask};
	}
	if (udp != 0)
		pattern[items++] = (struct rte_flow_item){.type = RTE_FLOW_ITEM_TYPE_UDP, .spec = &to, .mask = &to_mask};
	pattern[items] = (struct rte_flow_item){.type = RTE_FLOW_ITEM_TYPE_END};

	struct rte_flow *flow = rte_flow_create(port, &attr, pattern, actions, &error);

	*rc = flow == NULL ? -rte_errno : 0;
	snprintf(why, room, "%s", error.message ? error.message : "");
	return flow;
}

int shim_flow_remove(uint16_t port, void *flow)
{
	struct rte_flow_error error = {0};

	return rte_flow_destroy(port, flow, &error);
}
