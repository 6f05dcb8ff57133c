// SPDX-License-Identifier: Apache-2.0
// /proc/net/unix (proc(5)).
#include "unix.h"
#include "lib.h"

#define ACCEPTING 0x10000                     // __SO_ACCEPTCON

static void show(struct seqbuf *s)
{
    seq_printf(s, "Num       RefCount Protocol Flags    Type St Inode Path\n");
    u64 flags = spin_lock_irqsave(&unix_lock);
    for (struct list *l = unix_all.next; l != &unix_all; l = l->next) {
        const struct unix_sock *u = list_entry(l, struct unix_sock, all);
        if (!u->sock || u->dead)
            continue;
        seq_printf(s, "%016lx: %08X %08X %08X %04X %02X %5lu", 0ul, u->refs, 0, u->state == UNIX_LISTENING ? ACCEPTING : 0, u->type,
                   u->state == UNIX_CONNECTED ? 3 : 1, socket_inode(u->sock));
        if (u->name) {
            seq_printf(s, " ");
            for (u32 i = 0; i < u->name->len && (u->name->path[i] || !u->name->inode); i++)
                seq_printf(s, "%c", u->name->path[i] ? u->name->path[i] : '@');
        }
        seq_printf(s, "\n");
    }
    spin_unlock_irqrestore(&unix_lock, flags);
}

void unix_proc_init(void)
{
    proc_register("/proc/net/unix", 0444, show, NULL);
}
