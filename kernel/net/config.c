// SPDX-License-Identifier: Apache-2.0
// Addresses: `ip=` as Linux's Documentation/admin-guide/nfs/nfsroot.rst has it (CLIENT:SERVER:GW:MASK:HOST:DEV:AUTOCONF:DNS0:DNS1),
// IPv6 in brackets; DHCP; the resolver's file.
#include "lwip/dhcp.h"
#include "lwip/ip.h"
#include "lwip/netif.h"
#include "lwip/prot/nd6.h"

#include "arch.h"
#include "boot.h"
#include "errno.h"
#include "fs.h"
#include "lib.h"
#include "net.h"
#include "net_priv.h"
#include "printk.h"
#include "sched.h"
#include "time.h"

#define NR_FIELDS 9
#define FIELD_SIZE 64
enum { F_CLIENT, F_SERVER, F_GW, F_MASK, F_HOST, F_DEV, F_AUTOCONF, F_DNS0, F_DNS1 };
#define DHCP_WAIT_NS (15 * NSEC_PER_SEC)
#define NR_DNS 4

struct ip_config {
    char field[NR_FIELDS][FIELD_SIZE];
};

static ip_addr_t dhcp_dns[NR_DNS], static_dns[NR_DNS];
static u32 nr_static_dns;
static bool booted;
static struct waitq dns_changed = WAITQ_INIT(dns_changed);
static bool dns_dirty;

// Fields end at ':' outside brackets. False when one is too long.
static bool split(const char *s, struct ip_config *c)
{
    memset(c, 0, sizeof(*c));
    unsigned field = 0, n = 0;
    bool bracket = false;
    for (; *s; s++) {
        if (*s == '[' || *s == ']') {
            bracket = *s == '[';
        } else if (*s == ':' && !bracket) {
            n = 0;
            if (++field == NR_FIELDS)
                return true;
        } else {
            if (n + 1 >= FIELD_SIZE)
                return false;
            c->field[field][n++] = *s;
        }
    }
    return true;
}

static struct netdev *find_dev(const char *name)
{
    for (struct list *n = netdevs.next; n != &netdevs; n = n->next) {
        struct netdev *d = list_entry(n, struct netdev, node);
        if (d->netif && strcmp(d->name, name) == 0)
            return d;
    }
    return NULL;
}

static struct netdev *nth_dev(u32 i)
{
    for (struct list *n = netdevs.next; n != &netdevs; n = n->next)
        if (i-- == 0)
            return list_entry(n, struct netdev, node);
    return NULL;
}

static void add_dns(const char *s)
{
    ip_addr_t a;
    if (*s && nr_static_dns < NR_DNS && ipaddr_aton(s, &a))
        static_dns[nr_static_dns++] = a;
}

// The class of an address, where no mask is given, as Linux's ic_defaults does.
static void default_mask(const ip4_addr_t *a, ip4_addr_t *mask)
{
    u8 first = ip4_addr1(a);
    IP4_ADDR(mask, 255, first < 128 ? 0 : 255, first < 192 ? 0 : 255, 0);
}

static bool set_ipv4(struct netif *n, const struct ip_config *c)
{
    ip4_addr_t addr, gw = { 0 }, mask;
    if (!ip4addr_aton(c->field[F_CLIENT], &addr))
        return false;
    const char *m = c->field[F_MASK];
    u64 prefix;
    if (*m == '/' ? parse_u64(m + 1, 10, &prefix) : (!strchr(m, '.') && parse_u64(m, 10, &prefix))) {
        if (prefix > 32)
            return false;
        mask.addr = prefix ? lwip_htonl(0xffffffffu << (32 - prefix)) : 0;
    } else if (!*m) {
        default_mask(&addr, &mask);
    } else if (!ip4addr_aton(m, &mask)) {
        return false;
    }
    if (c->field[F_GW][0] && !ip4addr_aton(c->field[F_GW], &gw))
        return false;
    netif_set_addr(n, &addr, &mask, &gw);
    if (gw.addr && (!netif_default || ip4_addr_isany_val(*netif_ip4_gw(netif_default))))
        netif_set_default(n);
    return true;
}

#define MAX_GATEWAYS6 4

// Static IPv6 routers, one an interface; set once at boot, before packets leave. lwIP itself knows advertised ones only.
static struct gateway6 {
    const struct netif *netif;
    ip6_addr_t addr;
} gateways6[MAX_GATEWAYS6];

const ip6_addr_t *net_hook_gateway6(const struct netif *n, const ip6_addr_t *dest)
{
    (void)dest;
    for (unsigned i = 0; i < MAX_GATEWAYS6 && gateways6[i].netif; i++)
        if (gateways6[i].netif == n)
            return &gateways6[i].addr;
    return NULL;                              // whoever advertises itself
}

static bool set_gateway6(struct netif *n, const char *text)
{
    unsigned i = 0;
    while (i < MAX_GATEWAYS6 && gateways6[i].netif && gateways6[i].netif != n)
        i++;
    if (i == MAX_GATEWAYS6 || !ip6addr_aton(text, &gateways6[i].addr))
        return false;
    ip6_addr_assign_zone(&gateways6[i].addr, IP6_UNICAST, n);
    gateways6[i].netif = n;
    if (!netif_default || (ip4_addr_isany_val(*netif_ip4_gw(netif_default)) && !net_hook_gateway6(netif_default, NULL)))
        netif_set_default(n);
    return true;
}

static bool set_ipv6(struct netif *n, const struct ip_config *c)
{
    ip6_addr_t addr;
    s8_t index;
    if (!ip6addr_aton(c->field[F_CLIENT], &addr))
        return false;
    ip6_addr_assign_zone(&addr, IP6_UNICAST, n);
    if (netif_add_ip6_address(n, &addr, &index) != ERR_OK)
        return false;
    netif_ip6_addr_set_state(n, index, IP6_ADDR_PREFERRED);
    nd6_send_na(n, netif_ip6_addr(n, index), ND6_FLAG_OVERRIDE | ND6_TO_ALL_NODES);
    return !c->field[F_GW][0] || set_gateway6(n, c->field[F_GW]);
}

static void start_dhcp(struct netif *n)
{
    n->hostname = boot_config.hostname;
    if (dhcp_start(n) != ERR_OK)
        printk(LOG_ERR, "eth%u: DHCP cannot start: out of memory\n", n->num);
}

static bool wants_dhcp(const struct ip_config *c)
{
    static const char *const words[] = { "dhcp", "on", "any", "both" };
    const char *w = c->field[F_AUTOCONF][0] ? c->field[F_AUTOCONF] : c->field[F_CLIENT];
    for (size_t i = 0; i < ARRAY_SIZE(words); i++)
        if (strcmp(w, words[i]) == 0)
            return true;
    return false;
}

static void configure(const char *text, u32 index)
{
    struct ip_config c;
    if (!split(text, &c)) {
        printk(LOG_ERR, "ip=%s: a field is too long\n", text);
        return;
    }
    if (strcmp(c.field[F_CLIENT], "off") == 0 || strcmp(c.field[F_CLIENT], "none") == 0)
        return;
    struct netdev *d = c.field[F_DEV][0] ? find_dev(c.field[F_DEV]) : nth_dev(index);
    if (!d || !d->netif) {
        printk(LOG_ERR, "ip=%s: there is no such interface\n", text);
        return;
    }
    add_dns(c.field[F_DNS0]);
    add_dns(c.field[F_DNS1]);
    if (wants_dhcp(&c))
        start_dhcp(d->netif);
    else if (!(strchr(c.field[F_CLIENT], ':') ? set_ipv6(d->netif, &c) : set_ipv4(d->netif, &c)))
        printk(LOG_ERR, "ip=%s: not an address, mask or gateway\n", text);
}

static bool dhcp_pending(void)
{
    for (struct netif *n = netif_list; n; n = n->next)
        if (netif_dhcp_data(n) && !dhcp_supplied_address(n))
            return true;
    return false;
}

// As Linux does with ip=dhcp: the program starts with its address.
static void wait_for_dhcp(void)
{
    u64 end = clock_mono_ns() + DHCP_WAIT_NS;
    while (dhcp_pending() && clock_mono_ns() < end)
        sleep_until(clock_mono_ns() + 2000000, false);
    if (dhcp_pending())
        printk(LOG_WARNING, "DHCP: no answer yet; the program starts without an address\n");
}

static void report(void)
{
    for (struct list *l = netdevs.next; l != &netdevs; l = l->next) {
        struct netdev *d = list_entry(l, struct netdev, node);
        struct netif *n = d->netif;
        char a[16], g[16];
        if (!n || ip4_addr_isany_val(*netif_ip4_addr(n)))
            continue;
        ip4addr_ntoa_r(netif_ip4_addr(n), a, sizeof(a));
        ip4addr_ntoa_r(netif_ip4_gw(n), g, sizeof(g));
        printk(LOG_INFO, "%s: address %s, gateway %s%s\n", d->name, a, g, netif_dhcp_data(n) ? " (DHCP)" : "");
    }
}

// --- Resolver -------------------------------------------------------------------------------------------------------------

void dns_setserver(u8 i, const void *addr)
{
    static const ip_addr_t none;
    const ip_addr_t *a = addr ? addr : &none;
    if (i >= NR_DNS || ip_addr_cmp(&dhcp_dns[i], a))
        return;
    dhcp_dns[i] = *a;
    if (booted && !ip_addr_isany(a)) {
        dns_dirty = true;
        waitq_wake_all(&dns_changed);
    }
}

static size_t put_server(char *buf, size_t size, size_t at, const ip_addr_t *a)
{
    char text[IPADDR_STRLEN_MAX];
    if (ip_addr_isany(a) || at >= size || !ipaddr_ntoa_r(a, text, sizeof(text)))
        return at;
    return at + (size_t)snprintf(buf + at, size - at, "nameserver %s\n", text);
}

size_t net_resolv_conf(char *buf, size_t size)
{
    size_t at = 0;
    for (u32 i = 0; i < boot_config.search.n && at < size; i++)
        at += (size_t)snprintf(buf + at, size - at, "%s%s", i ? " " : "search ", boot_config.search.v[i]);
    if (at && at < size)
        at += (size_t)snprintf(buf + at, size - at, "\n");
    for (u32 i = 0; i < boot_config.dns.n && at < size; i++)
        at += (size_t)snprintf(buf + at, size - at, "nameserver %s\n", boot_config.dns.v[i]);
    for (u32 i = 0; i < nr_static_dns; i++)
        at = put_server(buf, size, at, &static_dns[i]);
    for (u32 i = 0; i < NR_DNS; i++)
        at = put_server(buf, size, at, &dhcp_dns[i]);
    return MIN(at, size - 1);
}

// A lease renewed with other name servers changes the file; writing sleeps, so a thread does it.
static void resolv_thread(void *arg)
{
    (void)arg;
    for (;;) {
        struct waiter w;
        waitq_prepare(&dns_changed, &w);
        while (!dns_dirty)
            waitq_sleep(&w, NO_DEADLINE, false);
        waitq_finish(&w);
        dns_dirty = false;
        char text[512];
        size_t n = net_resolv_conf(text, sizeof(text));
        vfs_write_file("/etc/resolv.conf", text, n, 0644, 0, 0);
    }
}

void net_configure(void)
{
    net_lock();
    for (u32 i = 0; i < boot_config.ip.n; i++)
        configure(boot_config.ip.v[i], i);
    if (!netif_default && !list_empty(&netdevs))
        netif_set_default(list_entry(netdevs.next, struct netdev, node)->netif);
    bool dhcp = dhcp_pending();
    net_unlock();
    if (dhcp)
        wait_for_dhcp();
    booted = true;
    report();
    if (dhcp && !kthread_create("resolv", resolv_thread, NULL))
        printk(LOG_WARNING, "DHCP: no memory for the thread that keeps /etc/resolv.conf\n");
}
