/* The XDP program steer.bpf.c and its maps. DPDK's AF_XDP driver loads and attaches it and keeps the maps to itself: they are
 * found again through the device. Every function returns a descriptor or a value, or -errno. */
#include <errno.h>
#include <fcntl.h>
#include <stdlib.h>
#include <string.h>
#include <unistd.h>
#include <bpf/bpf.h>
#include <bpf/libbpf.h>
#include "wrapper.h"

#define MAPS_MAX 16

/* The program that is attached to a device; -ENOENT when there is none. */
int shim_xdp_attached(unsigned int ifindex)
{
	__u32 id = 0;
	int rc = bpf_xdp_query_id(ifindex, 0, &id);

	if (rc < 0)
		return rc;
	if (id == 0)
		return -ENOENT;
	rc = bpf_prog_get_fd_by_id(id);
	return rc < 0 ? -errno : rc;
}

/* Loads the first program of an object without attaching it. */
int shim_xdp_load(const void *bytes, size_t len)
{
	struct bpf_object *object = bpf_object__open_mem(bytes, len, NULL);
	int rc;

	if (object == NULL)
		return -errno;
	rc = bpf_object__load(object);
	if (rc == 0) {
		rc = fcntl(bpf_program__fd(bpf_object__next_program(object, NULL)), F_DUPFD_CLOEXEC, 0);
		if (rc < 0)
			rc = -errno;
	}
	bpf_object__close(object);
	return rc;
}

/* A map of a program; -ESRCH when the program has another name, -ENOENT when it has no such map. */
int shim_xdp_map(int prog, const char *program, const char *name)
{
	struct bpf_prog_info info = {0};
	struct bpf_map_info map;
	__u32 len = sizeof(info), ids[MAPS_MAX];

	info.nr_map_ids = MAPS_MAX;
	info.map_ids = (__u64)(uintptr_t)ids;
	if (bpf_obj_get_info_by_fd(prog, &info, &len))
		return -errno;
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

/* What the program says of a frame (XDP_DROP and so on), run in the kernel without a device. */
int shim_xdp_run(int prog, const void *frame, uint32_t len)
{
	LIBBPF_OPTS(bpf_test_run_opts, opts, .data_in = frame, .data_size_in = len, .repeat = 1);

	return bpf_prog_test_run_opts(prog, &opts) ? -errno : (int)opts.retval;
}

/* Sets the value of a key. */
int shim_map_set(int map, const void *key, uint32_t value)
{
	return bpf_map_update_elem(map, key, &value, BPF_ANY) ? -errno : 0;
}

/* Removes a key; that there is none is no error. */
int shim_map_remove(int map, const void *key)
{
	return bpf_map_delete_elem(map, key) && errno != ENOENT ? -errno : 0;
}

/* The sum over all cores of a counter. */
int shim_map_sum(int map, uint32_t index, uint64_t *sum)
{
	int cores = libbpf_num_possible_cpus();
	uint64_t *values = cores > 0 ? calloc(cores, sizeof(*values)) : NULL;
	int rc;

	if (values == NULL)
		return -ENOMEM;
	rc = bpf_map_lookup_elem(map, &index, values) ? -errno : 0;
	*sum = 0;
	for (int i = 0; rc == 0 && i < cores; i++)
		*sum += values[i];
	free(values);
	return rc;
}
