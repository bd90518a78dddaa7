/* The maps of the XDP program steer.bpf.c, which DPDK's AF_XDP driver loads and attaches, and keeps to itself. */
#include <errno.h>
#include <string.h>
#include <unistd.h>
#include <bpf/bpf.h>
#include <bpf/libbpf.h>
#include "wrapper.h"

#define MAPS_MAX 16

/* Opens the map `name` of the program `program` that is attached to a device. Returns a descriptor, or -errno; -ESRCH when
 * the program is another one, -ENOENT when it has no such map. */
int shim_xdp_map(unsigned int ifindex, const char *program, const char *name)
{
	struct bpf_prog_info info = {0};
	struct bpf_map_info map;
	__u32 id = 0, len = sizeof(info), ids[MAPS_MAX];
	int prog, rc;

	rc = bpf_xdp_query_id(ifindex, 0, &id);
	if (rc < 0)
		return rc;
	if (id == 0)
		return -ESRCH;
	prog = bpf_prog_get_fd_by_id(id);
	if (prog < 0)
		return -errno;
	info.nr_map_ids = MAPS_MAX;
	info.map_ids = (__u64)(uintptr_t)ids;
	rc = bpf_obj_get_info_by_fd(prog, &info, &len) ? -errno : 0;
	close(prog);
	if (rc < 0)
		return rc;
	if (strncmp(info.name, program, sizeof(info.name)) != 0)
		return -ESRCH;
	for (__u32 i = 0; i < info.nr_map_ids && i < MAPS_MAX; i++) {
		int fd = bpf_map_get_fd_by_id(ids[i]);

		if (fd < 0)
			return -errno;
		memset(&map, 0, sizeof(map));
		len = sizeof(map);
		if (bpf_obj_get_info_by_fd(fd, &map, &len) == 0 && strncmp(map.name, name, sizeof(map.name)) == 0)
			return fd;
		close(fd);
	}
	return -ENOENT;
}

/* Sets the value of a key; 0, or -errno. */
int shim_map_set(int map, const void *key, uint32_t value)
{
	return bpf_map_update_elem(map, key, &value, BPF_ANY) ? -errno : 0;
}

/* Removes a key; 0, also when there is none, or -errno. */
int shim_map_remove(int map, const void *key)
{
	return bpf_map_delete_elem(map, key) && errno != ENOENT ? -errno : 0;
}
