// SPDX-License-Identifier: Apache-2.0
// lwIP's clocks. TCP's runs only while there are connections; the rest shares one tick a second, so that an idle machine sleeps.
#include "lwip/dhcp.h"
#include "lwip/etharp.h"
#include "lwip/igmp.h"
#include "lwip/ip4_frag.h"
#include "lwip/ip6_frag.h"
#include "lwip/mld6.h"
#include "lwip/nd6.h"
#include "lwip/priv/tcp_priv.h"

#include "net.h"
#include "net_priv.h"
#include "time.h"

#define MS 1000000ull

static struct timer tcp_timer, second_timer;

static void tcp_tick(struct timer *t)
{
    net_lock();
    net_reclaim();
    tcp_tmr();
    if (tcp_active_pcbs || tcp_tw_pcbs)
        timer_arm(t, clock_mono_ns() + TCP_TMR_INTERVAL * MS);
    net_unlock();
}

// lwIP calls this whenever a connection comes into being.
void tcp_timer_needed(void)
{
    if (!tcp_timer.armed && (tcp_active_pcbs || tcp_tw_pcbs))
        timer_arm(&tcp_timer, clock_mono_ns() + TCP_TMR_INTERVAL * MS);
}

static void repeat(void (*fn)(void), u32 period_ms)
{
    for (u32 ms = 0; ms < 1000; ms += period_ms)
        fn();
}

static void second_tick(struct timer *t)
{
    static u32 seconds;
    net_lock();
    net_reclaim();                            // and fills receive rings that were left empty while memory was short
    etharp_tmr();
    ip_reass_tmr();
    nd6_tmr();
    ip6_reass_tmr();
    repeat(igmp_tmr, IGMP_TMR_INTERVAL);
    repeat(mld6_tmr, MLD6_TMR_INTERVAL);
    repeat(dhcp_fine_tmr, DHCP_FINE_TIMER_MSECS);
    if (++seconds % DHCP_COARSE_TIMER_SECS == 0)
        dhcp_coarse_tmr();
    timer_arm(t, clock_mono_ns() + 1000 * MS);
    net_unlock();
}

void net_timers_start(void)
{
    tcptime_start();
    timer_init(&tcp_timer, tcp_tick);
    timer_init(&second_timer, second_tick);
    timer_arm(&second_timer, clock_mono_ns() + 1000 * MS);
}
