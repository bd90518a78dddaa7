/* The XDP program steer.bpf.c and its maps. DPDK's AF_XDP driver loads and attaches it and keeps the maps to itself: they are
 * found again through the device. And egress.bpf.c, which is loaded and attached here and shares those maps. Every function
 * returns a descriptor or a value, or -errno. */
#include <dirent.h>
#include <errno.h>
#include <fcntl.h>
#include <linux/ethtool.h>
#include <linux/if_link.h>
#include <linux/if_xdp.h>
#include <linux/sockios.h>
#include <net/if.h>
#include <stdlib.h>
#include <string.h>
#include <sys/ioctl.h>
#include <sys/socket.h>
#include <unistd.h>
#include <bpf/bpf.h>
#include <bpf/libbpf.h>
#include "wrapper.h"

#define MAPS_MAX 16

/* Where the filter egress.bpf.c stands in the list of its hook; no other program has a reason to choose these. */
#define EGRESS_PRIORITY 0x5553
#define EGRESS_HANDLE 1

/* The program that is attached to a device, and how (XDP_ATTACHED_DRV and so on); -ENOENT when there is none. */
int shim_xdp_attached(unsigned int ifindex, uint32_t *id, uint32_t *mode)
{
	LIBBPF_OPTS(bpf_xdp_query_opts, opts);
	int rc = bpf_xdp_query(ifindex, 0, &opts);

	if (rc < 0)
		return rc;
	*mode = opts.attach_mode;
	*id = opts.prog_id;
	if (*id == 0)
		return -ENOENT;
	rc = bpf_prog_get_fd_by_id(*id);
	return rc < 0 ? -errno : rc;
}

/* The flag that names the mode in which a program is attached; 0: the kernel's choice. */
static uint32_t mode_flag(uint8_t attached)
{
	switch (attached) {
	case XDP_ATTACHED_DRV:
		return XDP_FLAGS_DRV_MODE;
	case XDP_ATTACHED_SKB:
		return XDP_FLAGS_SKB_MODE;
	case XDP_ATTACHED_HW:
		return XDP_FLAGS_HW_MODE;
	default:
		return 0;
	}
}

/* Puts a program in the place of the one that is attached to a device, in the same mode; -ENOENT when there is none. */
int shim_xdp_replace(unsigned int ifindex, int prog)
{
	LIBBPF_OPTS(bpf_xdp_query_opts, query);
	LIBBPF_OPTS(bpf_xdp_attach_opts, opts);
	int rc = bpf_xdp_query(ifindex, 0, &query);

	if (rc < 0)
		return rc;
	if (query.prog_id == 0)
		return -ENOENT;
	opts.old_prog_fd = bpf_prog_get_fd_by_id(query.prog_id);
	if (opts.old_prog_fd < 0)
		return -errno;
	rc = bpf_xdp_attach(ifindex, prog, mode_flag(query.attach_mode), &opts);
	close(opts.old_prog_fd);
	return rc;
}

/* Takes a program of the name `program` off a device. That there is none is no error; -EEXIST when another one is there. */
int shim_xdp_detach(unsigned int ifindex, const char *program)
{
	LIBBPF_OPTS(bpf_xdp_query_opts, query);
	LIBBPF_OPTS(bpf_xdp_attach_opts, opts);
	struct bpf_prog_info info = {0};
	__u32 len = sizeof(info);
	int rc = bpf_xdp_query(ifindex, 0, &query);

	if (rc < 0 || query.prog_id == 0)
		return rc;
	opts.old_prog_fd = bpf_prog_get_fd_by_id(query.prog_id);
	if (opts.old_prog_fd < 0)
		return -errno;
	if (bpf_obj_get_info_by_fd(opts.old_prog_fd, &info, &len))
		rc = -errno;
	else if (strncmp(info.name, program, sizeof(info.name)) != 0)
		rc = -EEXIST;
	else
		rc = bpf_xdp_detach(ifindex, mode_flag(query.attach_mode), &opts);
	close(opts.old_prog_fd);
	return rc;
}

/* The channels of a device: queues that come in pairs, and those that only receive. A driver that does not tell has none. */
int shim_channels(const char *name, uint32_t *combined, uint32_t *rx)
{
	struct ethtool_channels channels = {.cmd = ETHTOOL_GCHANNELS};
	struct ifreq request = {.ifr_data = (void *)&channels};
	int fd = socket(AF_INET, SOCK_DGRAM | SOCK_CLOEXEC, 0);
	int rc;

	*combined = *rx = 0;
	if (fd < 0)
		return -errno;
	strncpy(request.ifr_name, name, sizeof(request.ifr_name) - 1);
	rc = ioctl(fd, SIOCETHTOOL, &request) && errno != EOPNOTSUPP ? -errno : 0;
	close(fd);
	*combined = channels.max_combined;
	*rx = channels.rx_count;
	return rc;
}

/* The AF_XDP sockets of this process, at most `room` descriptors; how many there are. */
int shim_xdp_descriptors(int *fds, int room)
{
	DIR *dir = opendir("/proc/self/fd");
	struct dirent *entry;
	int count = 0;

	if (dir == NULL)
		return -errno;
	while ((entry = readdir(dir)) != NULL && count < room) {
		int fd = atoi(entry->d_name), domain = 0;
		socklen_t len = sizeof(domain);

		/* On a descriptor that is no socket it fails. */
		if (getsockopt(fd, SOL_SOCKET, SO_DOMAIN, &domain, &len) == 0 && domain == AF_XDP)
			fds[count++] = fd;
	}
	closedir(dir);
	return count;
}

/* How many of them there are whose frames the kernel copies, and where the NIC writes into ours. */
int shim_xdp_sockets(uint32_t *copying, uint32_t *zero_copy)
{
	int fds[1024], count = shim_xdp_descriptors(fds, 1024);

	*copying = *zero_copy = 0;
	for (int i = 0; i < count; i++) {
		struct xdp_options options = {0};
		socklen_t len = sizeof(options);

		if (getsockopt(fds[i], SOL_XDP, XDP_OPTIONS, &options, &len) == 0)
			++*(options.flags & XDP_OPTIONS_ZEROCOPY ? zero_copy : copying);
	}
	return count < 0 ? count : 0;
}

/* Loads the first program of an object without attaching it. Its maps are those of `maps_of` where the names are the same; no
 * program: its own. */
int shim_bpf_load(const void *bytes, size_t len, int maps_of, const char *program)
{
	struct bpf_object *object = bpf_object__open_mem(bytes, len, NULL);
	struct bpf_map *map;
	int rc = 0;

	if (object == NULL)
		return -errno;
	if (maps_of >= 0) {
		bpf_object__for_each_map(map, object) {
			int fd;

			/* Its constants are its own. Their map is named by where the object lies in memory: it may look like the other's. */
			if (bpf_map__is_internal(map))
				continue;
			fd = shim_xdp_map(maps_of, program, bpf_map__name(map));
			rc = fd < 0 ? fd : bpf_map__reuse_fd(map, fd);
			if (fd >= 0)
				close(fd);
			if (rc)
				break;
		}
	}
	if (rc == 0)
		rc = bpf_object__load(object);
	if (rc == 0) {
		rc = fcntl(bpf_program__fd(bpf_object__next_program(object, NULL)), F_DUPFD_CLOEXEC, 0);
		if (rc < 0)
			rc = -errno;
	}
	bpf_object__close(object);
	return rc;
}

/* Puts a program of the name `program` on what leaves a device. One of that name that a predecessor left is replaced; -EEXIST
 * when somebody else's stands in its place. */
int shim_egress_attach(unsigned int ifindex, int prog, const char *program)
{
	LIBBPF_OPTS(bpf_tc_hook, hook, .ifindex = ifindex, .attach_point = BPF_TC_EGRESS);
	LIBBPF_OPTS(bpf_tc_opts, old, .handle = EGRESS_HANDLE, .priority = EGRESS_PRIORITY);
	LIBBPF_OPTS(bpf_tc_opts, opts, .handle = EGRESS_HANDLE, .priority = EGRESS_PRIORITY, .prog_fd = prog);
	int rc = bpf_tc_hook_create(&hook);

	if (rc && rc != -EEXIST)
		return rc;
	if (bpf_tc_query(&hook, &old) == 0) {
		struct bpf_prog_info info = {0};
		__u32 len = sizeof(info);
		int fd = bpf_prog_get_fd_by_id(old.prog_id);

		rc = fd < 0 ? -errno : bpf_obj_get_info_by_fd(fd, &info, &len) ? -errno : 0;
		if (fd >= 0)
			close(fd);
		if (rc)
			return rc;
		if (strncmp(info.name, program, sizeof(info.name)) != 0)
			return -EEXIST;
		opts.flags = BPF_TC_F_REPLACE;
	}
	return bpf_tc_attach(&hook, &opts);
}

/* Takes it off again. The hook itself stays: others may have come to it. */
int shim_egress_detach(unsigned int ifindex)
{
	LIBBPF_OPTS(bpf_tc_hook, hook, .ifindex = ifindex, .attach_point = BPF_TC_EGRESS);
	LIBBPF_OPTS(bpf_tc_opts, opts, .handle = EGRESS_HANDLE, .priority = EGRESS_PRIORITY);

	return bpf_tc_detach(&hook, &opts);
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

/* What the program says of a frame (XDP_DROP, TC_ACT_SHOT and so on), run in the kernel without a device. */
int shim_bpf_run(int prog, const void *frame, uint32_t len, int *verdict)
{
	LIBBPF_OPTS(bpf_test_run_opts, opts, .data_in = frame, .data_size_in = len, .repeat = 1);

	if (bpf_prog_test_run_opts(prog, &opts))
		return -errno;
	*verdict = opts.retval;
	return 0;
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
