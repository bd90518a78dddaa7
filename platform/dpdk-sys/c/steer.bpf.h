/* What the two programs share: their maps, and what they look up there. */
#pragma once
#include <stddef.h>
#include <linux/bpf.h>
#include <linux/if_ether.h>
#include <linux/in.h>
#include <linux/ip.h>
#include <linux/ipv6.h>
#include <linux/udp.h>
#include <bpf/bpf_endian.h>
#include <bpf/bpf_helpers.h>

#define ADDRESSES 64

enum rule { STEER = 1, FENCE = 2 };
/* What of a MAC is fenced: what comes to it, what leaves in its name, or both. */
enum direction { IN = 1, OUT = 2 };

struct address {
	__u8 bytes[16]; /* IPv4 in the first 4, the rest 0 */
	__u32 family;   /* 4 or 6 */
};

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

/* How many MACs are fenced inwards, and how many MACs and addresses outwards: with none no frame pays for the look. */
enum fences { MACS_IN, ALL_OUT, FENCES };

struct {
	__uint(type, BPF_MAP_TYPE_ARRAY);
	__uint(max_entries, FENCES);
	__type(key, __u32);
	__type(value, __u32);
} usher_fences SEC(".maps");

/* Where each frame went, in the order of `Counts` in platform/dpdk/src/steer.rs. */
enum count { FENCED, STEERED, PASSED, UNSERVED, FENCED_OUT, COUNTS };

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

static __always_inline __u32 fences(__u32 which)
{
	__u32 *value = bpf_map_lookup_elem(&usher_fences, &which);

	return value ? *value : 0;
}

/* Whether a MAC is fenced in a direction. */
static __always_inline int mac_fenced(const void *bytes, __u32 direction)
{
	__u64 key = 0;

	__builtin_memcpy(&key, bytes, 6);
	__u32 *value = bpf_map_lookup_elem(&usher_macs, &key);
	return value && (*value & direction);
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

/* Steps over up to two VLAN tags; 0 when the frame ends inside them. */
static __always_inline int untag(void **at, void *end, __be16 *type)
{
#pragma unroll
	for (int i = 0; i < 2; i++) {
		struct vlan *vlan = *at;

		if (*type != bpf_htons(ETH_P_8021Q) && *type != bpf_htons(ETH_P_8021AD))
			break;
		if ((void *)(vlan + 1) > end)
			return 0;
		*type = vlan->inner;
		*at = vlan + 1;
	}
	return 1;
}
