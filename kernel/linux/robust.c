// SPDX-License-Identifier: Apache-2.0
// Robust lists: what a thread's locks say when it ends holding them (Documentation/locking/robust-futex-ABI).
#include "errno.h"
#include "futex.h"
#include "process.h"
#include "syscalls.h"
#include "uaccess.h"

#define ROBUST_LIMIT 2048

long sys_set_robust_list(struct regs *r)
{
    if (r->arg[1] != 24)            // sizeof(struct robust_list_head)
        return -EINVAL;
    current()->robust_list = r->arg[0];
    current()->robust_len = r->arg[1];
    return 0;
}

long sys_get_robust_list(struct regs *r)
{
    struct process *p = the_process;
    int tid = (int)r->arg[0];
    spin_lock(&p->thread_lock);
    struct thread *t = tid ? process_find_thread(tid) : current();
    u64 head = t ? t->robust_list : 0;
    spin_unlock(&p->thread_lock);
    if (!t)
        return -ESRCH;
    u64 len = 24;
    if (copy_to_user(r->arg[2], &len, sizeof(len)) || copy_to_user(r->arg[1], &head, sizeof(head)))
        return -EFAULT;
    return 0;
}

// The owner of the lock at addr is dying: marks the word and wakes one waiter.
static void owner_died(uptr addr, u32 tid, bool pi, bool pending)
{
    u32 val, seen;
    if ((addr & 3) || user_read_u32(addr, &val))
        return;
    // It died between unlocking in user space and the wake-up call.
    if (pending && !pi && !(val & FUTEX_TID_MASK)) {
        futex_wake_addr(addr, 1);
        return;
    }
    while ((val & FUTEX_TID_MASK) == tid) {
        u32 new = (val & FUTEX_WAITERS) | FUTEX_OWNER_DIED;
        if (user_cmpxchg_u32(addr, val, new, &seen))
            return;
        if (seen == val) {
            if (!pi && (val & FUTEX_WAITERS))
                futex_wake_addr(addr, 1);
            return;
        }
        val = seen;
    }
}

void futex_thread_exit(struct thread *t)
{
    u64 head = t->robust_list, entry, next, pending;
    u64 offset;
    if (!head)
        return;
    t->robust_list = 0;
    if (user_read_u64(head, &entry) || user_read_u64(head + 8, &offset) || user_read_u64(head + 16, &pending))
        return;
    // Bit 0 of an entry marks a priority-inheritance lock.
    for (int limit = ROBUST_LIMIT; (entry & ~1ul) != head && limit; limit--) {
        bool more = !user_read_u64(entry & ~1ul, &next);
        if ((entry & ~1ul) != (pending & ~1ul))
            owner_died((entry & ~1ul) + offset, (u32)t->tid, entry & 1, false);
        if (!more)
            return;
        entry = next;
    }
    if (pending & ~1ul)
        owner_died((pending & ~1ul) + offset, (u32)t->tid, pending & 1, true);
}
