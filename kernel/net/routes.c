// SPDX-License-Identifier: Apache-2.0
// Static IPv4 routes besides the interfaces' own networks and the default one, which lwIP knows itself; under net_lock().
#include "lib.h"
#include "net_priv.h"

struct route4 net_routes4[MAX_ROUTES4];
u32 net_nr_routes4;

// The longest that fits; `n` NULL: through any interface that is up.
static const struct route4 *best(const struct netif *n, u32 dest)
{
    const struct route4 *found = NULL;
    for (const struct route4 *r = net_routes4; r < net_routes4 + net_nr_routes4; r++)
        if ((dest & r->mask) == r->net && (n ? r->n == n : netif_is_up(r->n)) && (!found || lwip_ntohl(r->mask) > lwip_ntohl(found->mask)))
            found = r;
    return found;
}

struct netif *net_hook_route4(const ip4_addr_t *dest)
{
    const struct route4 *r = best(NULL, dest->addr);
    return r ? r->n : NULL;
}

const ip4_addr_t *net_hook_gateway4(const struct netif *n, const ip4_addr_t *dest)
{
    const struct route4 *r = best(n, dest->addr);
    return !r ? NULL : r->gw.addr ? &r->gw : dest;
}
