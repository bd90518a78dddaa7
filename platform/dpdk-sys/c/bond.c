/* DPDK's bonding driver, whose library is linked: what it tells of a bond has no other way out. DPDK 23.11 calls a slave a member. */
#include <errno.h>
#include <rte_eth_bond.h>
#include <rte_eth_bond_8023ad.h>
#include "wrapper.h"

#if RTE_VERSION >= RTE_VERSION_NUM(23, 11, 0, 0)
#define member_add rte_eth_bond_member_add
#define active_members rte_eth_bond_active_members_get
#define lacp_info rte_eth_bond_8023ad_member_info
#else
#define member_add rte_eth_bond_slave_add
#define active_members rte_eth_bond_active_slaves_get
#define lacp_info rte_eth_bond_8023ad_slave_info
#endif

/* A bond without members, flows spread by addresses and ports; its port's number, or -errno. */
int shim_bond_create(const char *name, enum shim_bond mode, uint8_t socket)
{
	static const uint8_t modes[] = {
		[SHIM_BOND_LACP] = BONDING_MODE_8023AD,
		[SHIM_BOND_ACTIVE_BACKUP] = BONDING_MODE_ACTIVE_BACKUP,
		[SHIM_BOND_BALANCE] = BONDING_MODE_BALANCE,
	};
	int port = rte_eth_bond_create(name, modes[mode], socket);

	if (port >= 0 && rte_eth_bond_xmit_policy_set(port, BALANCE_XMIT_POLICY_LAYER34))
		return -EINVAL;
	return port;
}

int shim_bond_add(uint16_t bond, uint16_t member)
{
	return member_add(bond, member);
}

/* What a member does. */
enum shim_member shim_bond_member(uint16_t bond, uint16_t member)
{
	uint16_t active[RTE_MAX_ETHPORTS];
	int count = active_members(bond, active, RTE_MAX_ETHPORTS), found = 0;
	const uint8_t agreed = STATE_COLLECTING | STATE_DISTRIBUTING;
	struct lacp_info info;

	for (int i = 0; i < count; i++)
		found |= active[i] == member;
	if (!found)
		return SHIM_MEMBER_DOWN;
	switch (rte_eth_bond_mode_get(bond)) {
	case BONDING_MODE_8023AD:
		if (lacp_info(bond, member, &info) || (info.actor_state & agreed) != agreed)
			return SHIM_MEMBER_NEGOTIATING;
		return SHIM_MEMBER_ACTIVE;
	case BONDING_MODE_ACTIVE_BACKUP:
		return rte_eth_bond_primary_get(bond) == member ? SHIM_MEMBER_ACTIVE : SHIM_MEMBER_STANDBY;
	default:
		return SHIM_MEMBER_ACTIVE;
	}
}
