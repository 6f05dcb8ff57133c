// SPDX-License-Identifier: Apache-2.0
// TCP connections by their addresses: a hash table that grows with their number. lwIP calls it (fetch-lwip.sh), under net_lock().
#include "lwip/priv/tcp_priv.h"

#include "arch.h"
#include "kmalloc.h"
#include "lib.h"
#include "page.h"

#define FIRST_SIZE 16u
#define MAX_SIZE 16384u

static struct tcp_pcb *first_table[FIRST_SIZE];
static struct tcp_pcb **table = first_table;
static u32 size = FIRST_SIZE, count, seed;

// Ports and the low words of the addresses tell connections apart well enough; the seed keeps a client from choosing them badly.
static u32 slot_of(const ip_addr_t *remote, u16 rport, u16 lport)
{
    u32 h = seed ^ ((u32)rport << 16 | lport);
    h ^= IP_IS_V4(remote) ? ip_2_ip4(remote)->addr : ip_2_ip6(remote)->addr[3] ^ ip_2_ip6(remote)->addr[2];
    h *= 0x9e3779b1u;
    h ^= h >> 15;
    h *= 0x85ebca77u;
    return (h ^ h >> 13) & (size - 1);
}

static void insert(struct tcp_pcb *pcb)
{
    struct tcp_pcb **head = &table[slot_of(&pcb->remote_ip, pcb->remote_port, pcb->local_port)];
    pcb->hash_next = *head;
    pcb->hash_link = head;
    if (*head)
        (*head)->hash_link = &pcb->hash_next;
    *head = pcb;
}

static void grow(void)
{
    u32 old = size;
    struct tcp_pcb **from = table, **to = kmalloc(2 * old * sizeof(*to), PA_ATOMIC | PA_ZERO);
    if (!to)
        return;
    table = to;
    size = 2 * old;
    for (u32 i = 0; i < old; i++)
        for (struct tcp_pcb *p = from[i], *next; p; p = next) {
            next = p->hash_next;
            insert(p);
        }
    if (from != first_table)
        kfree(from);
}

void net_tcp_hash(struct tcp_pcb *pcb)
{
    if (!seed)
        random_bytes(&seed, sizeof(seed));
    if (count >= size && size < MAX_SIZE)
        grow();
    insert(pcb);
    count++;
}

// Of any pcb that is freed: those that never had a peer are in no list. Its addresses may be wiped already.
void net_tcp_unhash(struct tcp_pcb *pcb)
{
    net_tcp_gone(pcb);
    if (!pcb->hash_link)
        return;
    *pcb->hash_link = pcb->hash_next;
    if (pcb->hash_next)
        pcb->hash_next->hash_link = pcb->hash_link;
    pcb->hash_link = NULL;
    count--;
}

struct tcp_pcb *net_tcp_lookup(const void *remote, u16 rport, const void *local, u16 lport, bool time_wait)
{
    struct tcp_pcb *p = table[slot_of(remote, rport, lport)];
    while (p && (p->remote_port != rport || p->local_port != lport || !ip_addr_cmp(&p->remote_ip, (const ip_addr_t *)remote) ||
                 !ip_addr_cmp(&p->local_ip, (const ip_addr_t *)local)))
        p = p->hash_next;
    return p && (p->state == TIME_WAIT) == time_wait ? p : NULL;
}
