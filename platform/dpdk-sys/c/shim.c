/* One out-of-line symbol for each static inline (or macro) of DPDK that Rust needs, and the stream for its logs. */
#define _GNU_SOURCE
#include <stdio.h>
#include "wrapper.h"

uint16_t shim_rx_burst(uint16_t port, uint16_t queue, struct rte_mbuf **mbufs, uint16_t room)
{
	return rte_eth_rx_burst(port, queue, mbufs, room);
}

uint16_t shim_tx_burst(uint16_t port, uint16_t queue, struct rte_mbuf **mbufs, uint16_t count)
{
	return rte_eth_tx_burst(port, queue, mbufs, count);
}

struct rte_mbuf *shim_pktmbuf_alloc(struct rte_mempool *pool)
{
	return rte_pktmbuf_alloc(pool);
}

int shim_pktmbuf_alloc_bulk(struct rte_mempool *pool, struct rte_mbuf **mbufs, uint32_t count)
{
	return rte_pktmbuf_alloc_bulk(pool, mbufs, count);
}

void shim_pktmbuf_free(struct rte_mbuf *mbuf)
{
	rte_pktmbuf_free(mbuf);
}

int shim_pktmbuf_linearize(struct rte_mbuf *mbuf)
{
	return rte_pktmbuf_linearize(mbuf);
}

/* Gives the calling thread's cache back to the pool; does nothing on a thread without one. */
void shim_mempool_flush_cache(struct rte_mempool *pool)
{
	rte_mempool_cache_flush(NULL, pool);
}

uint32_t shim_lcore_id(void)
{
	return rte_lcore_id();
}

int shim_errno(void)
{
	return rte_errno;
}

uint64_t shim_rdtsc(void)
{
	return rte_rdtsc();
}

/* Sends every log line of EAL and the drivers to `write`, on the thread that logs. */
int shim_log_to(ssize_t (*write)(void *, const char *, size_t))
{
	FILE *stream = fopencookie(NULL, "w", (cookie_io_functions_t){.write = write});

	return stream == NULL ? -1 : rte_openlog_stream(stream);
}
