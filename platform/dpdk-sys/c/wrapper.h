/* What the crate `dpdk` sees of DPDK: the headers, typed constants for macros that bindgen skips, and the shim. */
#pragma once
#include <stddef.h>
#include <stdint.h>
#include <sys/types.h>
#include <rte_config.h>
#include <rte_cycles.h>
#include <rte_dev.h>
#include <rte_eal.h>
#include <rte_errno.h>
#include <rte_ethdev.h>
#include <rte_lcore.h>
#include <rte_log.h>
#include <rte_mbuf.h>
#include <rte_mempool.h>
#include <rte_version.h>

#define U64(name) static const uint64_t SHIM_##name = RTE_##name
U64(ETH_RSS_IPV4);
U64(ETH_RSS_FRAG_IPV4);
U64(ETH_RSS_NONFRAG_IPV4_TCP);
U64(ETH_RSS_NONFRAG_IPV4_UDP);
U64(ETH_RSS_NONFRAG_IPV4_OTHER);
U64(ETH_RSS_IPV6);
U64(ETH_RSS_IPV6_EX);
U64(ETH_RSS_FRAG_IPV6);
U64(ETH_RSS_NONFRAG_IPV6_TCP);
U64(ETH_RSS_NONFRAG_IPV6_UDP);
U64(ETH_RSS_NONFRAG_IPV6_OTHER);
U64(ETH_RX_OFFLOAD_IPV4_CKSUM);
U64(ETH_RX_OFFLOAD_UDP_CKSUM);
U64(ETH_RX_OFFLOAD_SCATTER);
U64(ETH_TX_OFFLOAD_IPV4_CKSUM);
U64(ETH_TX_OFFLOAD_UDP_CKSUM);
U64(ETH_TX_OFFLOAD_MULTI_SEGS);
U64(ETH_DEV_NO_OWNER);
U64(MBUF_F_RX_IP_CKSUM_MASK);
U64(MBUF_F_RX_IP_CKSUM_BAD);
U64(MBUF_F_RX_IP_CKSUM_GOOD);
U64(MBUF_F_RX_L4_CKSUM_MASK);
U64(MBUF_F_RX_L4_CKSUM_BAD);
U64(MBUF_F_RX_L4_CKSUM_GOOD);
U64(MBUF_F_TX_IP_CKSUM);
U64(MBUF_F_TX_UDP_CKSUM);
U64(MBUF_F_TX_IPV4);
U64(MBUF_F_TX_IPV6);
U64(MBUF_F_TX_OFFLOAD_MASK);
#undef U64

static const uint32_t SHIM_ETH_MQ_RX_NONE = RTE_ETH_MQ_RX_NONE;
static const uint32_t SHIM_ETH_MQ_RX_RSS = RTE_ETH_MQ_RX_RSS;
static const uint32_t SHIM_LCORE_ID_ANY = LCORE_ID_ANY;
static const uint16_t SHIM_MAX_ETHPORTS = RTE_MAX_ETHPORTS;
static const uint16_t SHIM_PKTMBUF_HEADROOM = RTE_PKTMBUF_HEADROOM;
/* The words of the mbuf inside anonymous unions, whose generated names move between releases. */
static const size_t SHIM_MBUF_TX_OFFLOAD = offsetof(struct rte_mbuf, tx_offload);

uint16_t shim_rx_burst(uint16_t port, uint16_t queue, struct rte_mbuf **mbufs, uint16_t room);
uint16_t shim_tx_burst(uint16_t port, uint16_t queue, struct rte_mbuf **mbufs, uint16_t count);
struct rte_mbuf *shim_pktmbuf_alloc(struct rte_mempool *pool);
int shim_pktmbuf_alloc_bulk(struct rte_mempool *pool, struct rte_mbuf **mbufs, uint32_t count);
void shim_pktmbuf_free(struct rte_mbuf *mbuf);
int shim_pktmbuf_linearize(struct rte_mbuf *mbuf);
void shim_mempool_flush_cache(struct rte_mempool *pool);
uint32_t shim_lcore_id(void);
int shim_errno(void);
uint64_t shim_rdtsc(void);
int shim_log_to(ssize_t (*write)(void *cookie, const char *text, size_t len));

enum shim_bond { SHIM_BOND_LACP, SHIM_BOND_ACTIVE_BACKUP, SHIM_BOND_BALANCE };
enum shim_member { SHIM_MEMBER_DOWN, SHIM_MEMBER_NEGOTIATING, SHIM_MEMBER_STANDBY, SHIM_MEMBER_ACTIVE };
int shim_bond_create(const char *name, enum shim_bond mode, uint8_t socket);
int shim_bond_add(uint16_t bond, uint16_t member);
enum shim_member shim_bond_member(uint16_t bond, uint16_t member);

int shim_xdp_attached(unsigned int ifindex, uint32_t *id, uint32_t *mode);
int shim_xdp_sockets(uint32_t *copying, uint32_t *zero_copy);
int shim_xdp_descriptors(int *fds, int room);
int shim_xdp_replace(unsigned int ifindex, int prog);
int shim_xdp_detach(unsigned int ifindex, const char *program);
int shim_channels(const char *name, uint32_t *combined, uint32_t *rx);
int shim_xdp_map(int prog, const char *program, const char *name);
int shim_bpf_load(const void *bytes, size_t len, int maps_of, const char *program);
int shim_bpf_run(int prog, const void *frame, uint32_t len, int *verdict);
int shim_egress_attach(unsigned int ifindex, int prog, const char *program);
int shim_egress_detach(unsigned int ifindex);
int shim_map_set(int map, const void *key, uint32_t value);
int shim_map_remove(int map, const void *key);
int shim_map_sum(int map, uint32_t index, uint64_t *sum);
int shim_flow_isolate(uint16_t port, char *why, size_t room);
void *shim_flow_add(uint16_t port, uint8_t family, const uint8_t *address, uint16_t udp, uint16_t queues, int *rc,
		    char *why, size_t room);
int shim_flow_remove(uint16_t port, void *flow);
