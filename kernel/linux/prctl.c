// SPDX-License-Identifier: Apache-2.0
// prctl(2), arch_prctl(2), personality(2) and the calls that a single process on a single machine refuses.
#include <linux/prctl.h>
#include "arch.h"
#include "errno.h"
#include "fs.h"
#include "lib.h"
#include "process.h"
#include "rlimit.h"
#include "syscalls.h"
#include "uaccess.h"

#define ARCH_SET_GS_K 0x1001
#define ARCH_SET_FS_K 0x1002
#define ARCH_GET_FS_K 0x1003
#define ARCH_GET_GS_K 0x1004

static u32 pdeathsig, personality_flags;
static bool subreaper;

enum { SECURE_KEEP_CAPS = 16, SECURE_KEEP_CAPS_LOCKED = 32, SECURE_NO_AMBIENT_RAISE = 64 };     // securebits, capabilities(7)

static long prctl_name(u64 op, uptr p)
{
    char name[16] = { 0 };
    struct thread *t = current();
    if (op == PR_GET_NAME)
        return copy_to_user(p, t->name, sizeof(t->name));
    ssize_t n = strncpy_from_user(name, p, sizeof(name));
    if (n < 0 && n != -ENAMETOOLONG)
        return n;
    if (n < 0 && copy_from_user(name, p, sizeof(name) - 1))
        return -EFAULT;
    name[15] = 0;
    memset(t->name, 0, sizeof(t->name));
    strlcpy(t->name, name, sizeof(t->name));
    if (t->tid == the_process->pid)
        strlcpy(the_process->name, name, sizeof(the_process->name));
    return 0;
}

static long prctl_ambient(u64 op, u64 cap)
{
    const struct cred *now = current_cred();
    if (op == PR_CAP_AMBIENT_CLEAR_ALL ? cap : cap > 40)
        return -EINVAL;
    if (op == PR_CAP_AMBIENT_IS_SET)
        return (now->ambient & BIT(cap)) != 0;
    if (op != PR_CAP_AMBIENT_RAISE && op != PR_CAP_AMBIENT_LOWER && op != PR_CAP_AMBIENT_CLEAR_ALL)
        return -EINVAL;
    if (op == PR_CAP_AMBIENT_RAISE && (!(now->permitted & now->inheritable & BIT(cap)) || (now->securebits & SECURE_NO_AMBIENT_RAISE)))
        return -EPERM;
    struct cred *c = cred_edit();
    if (!c)
        return -ENOMEM;
    c->ambient = op == PR_CAP_AMBIENT_RAISE ? c->ambient | BIT(cap) : op == PR_CAP_AMBIENT_LOWER ? c->ambient & ~BIT(cap) : 0;
    return 0;
}

static long prctl_caps(u64 op, u64 arg)
{
    const struct cred *now = current_cred();
    struct cred *c;
    switch (op) {
    case PR_CAPBSET_READ:
        return arg > 40 ? -EINVAL : (now->bounding & BIT(arg)) != 0;
    case PR_CAPBSET_DROP:
        if (!capable(8))            // CAP_SETPCAP
            return -EPERM;
        if (arg > 40)
            return -EINVAL;
        if (!(c = cred_edit()))
            return -ENOMEM;
        c->bounding &= ~BIT(arg);
        return 0;
    case PR_SET_KEEPCAPS:
        if (arg > 1)
            return -EINVAL;
        if (now->securebits & SECURE_KEEP_CAPS_LOCKED)
            return -EPERM;
        if (!(c = cred_edit()))
            return -ENOMEM;
        c->securebits = (u8)(arg ? c->securebits | SECURE_KEEP_CAPS : c->securebits & ~SECURE_KEEP_CAPS);
        return 0;
    case PR_GET_KEEPCAPS:
        return (now->securebits & SECURE_KEEP_CAPS) != 0;
    case PR_SET_SECUREBITS:
        return securebits_set((u32)arg);
    default:                        // PR_GET_SECUREBITS
        return now->securebits;
    }
}

static long prctl_no_new_privs(const struct regs *r)
{
    struct cred *c;
    if (r->arg[1] != 1 || r->arg[2] || r->arg[3] || r->arg[4])
        return -EINVAL;
    if (!(c = cred_edit()))
        return -ENOMEM;
    c->no_new_privs = true;
    return 0;
}

// About memory errors, huge pages, counters and clocks, of which there is little here: what was set is shown again.
static long prctl_machine(const struct regs *r)
{
    static bool no_huge_pages;
    static u8 memory_errors = PR_MCE_KILL_DEFAULT;
    u64 a = r->arg[1], b = r->arg[2], rest = r->arg[3] | r->arg[4];
    switch ((u32)r->arg[0]) {
    case PR_SET_THP_DISABLE:
        if (b || rest)
            return -EINVAL;
        no_huge_pages = a;
        return 0;
    case PR_GET_THP_DISABLE:
        return a || b || rest ? -EINVAL : no_huge_pages;
    case PR_TASK_PERF_EVENTS_DISABLE:
    case PR_TASK_PERF_EVENTS_ENABLE:
        return 0;
    case PR_GET_TIMING:
        return PR_TIMING_STATISTICAL;
    case PR_SET_TIMING:
        return a == PR_TIMING_STATISTICAL ? 0 : -EINVAL;
    case PR_GET_TSC:
        return user_write_u32(a, PR_TSC_ENABLE);
    case PR_SET_TSC:
        return a == PR_TSC_ENABLE ? 0 : -EINVAL;
    case PR_MCE_KILL:
        if (rest || (a == PR_MCE_KILL_CLEAR ? b != 0 : a != PR_MCE_KILL_SET || b > PR_MCE_KILL_DEFAULT))
            return -EINVAL;
        memory_errors = a == PR_MCE_KILL_CLEAR ? PR_MCE_KILL_DEFAULT : (u8)b;
        return 0;
    case PR_MCE_KILL_GET:
        return a || b || rest ? -EINVAL : memory_errors;
    default:
        return -EINVAL;
    }
}

long sys_prctl(struct regs *r)
{
    struct process *p = the_process;
    u64 op = (u32)r->arg[0], a = r->arg[1];
    switch (op) {
    case PR_SET_NAME:
    case PR_GET_NAME:
        return prctl_name(op, a);
    case PR_SET_PDEATHSIG:
        if (a > 64)
            return -EINVAL;
        pdeathsig = (u32)a;
        return 0;
    case PR_GET_PDEATHSIG:
        return user_write_u32(a, pdeathsig);
    case PR_GET_DUMPABLE:
        return p->dumpable;
    case PR_SET_DUMPABLE:
        if (a > 1)
            return -EINVAL;
        p->dumpable = a;
        return 0;
    case PR_CAPBSET_READ:
    case PR_CAPBSET_DROP:
    case PR_GET_KEEPCAPS:
    case PR_SET_KEEPCAPS:
    case PR_GET_SECUREBITS:
    case PR_SET_SECUREBITS:
        return prctl_caps(op, a);
    case PR_CAP_AMBIENT:
        if (r->arg[3] || r->arg[4])
            return -EINVAL;
        return prctl_ambient(a, r->arg[2]);
    case PR_SET_NO_NEW_PRIVS:
        return prctl_no_new_privs(r);
    case PR_GET_NO_NEW_PRIVS:
        return a || r->arg[2] || r->arg[3] || r->arg[4] ? -EINVAL : current_cred()->no_new_privs;
    case PR_SET_TIMERSLACK:
        current()->timer_slack = a ? a : 50000;
        return 0;
    case PR_GET_TIMERSLACK:
        return (long)current()->timer_slack;
    case PR_SET_CHILD_SUBREAPER:
        subreaper = a;
        return 0;
    case PR_GET_CHILD_SUBREAPER:
        return user_write_u32(a, subreaper);
    case PR_GET_TID_ADDRESS:
        return copy_to_user(a, &current()->clear_child_tid, sizeof(u64));
    case PR_GET_SECCOMP:
        return 0;
    default:
        return prctl_machine(r);
    }
}

long sys_arch_prctl(struct regs *r)
{
    u64 v = r->arg[1];
    switch ((u32)r->arg[0]) {
    case ARCH_SET_FS_K:
        if (v >= USER_MAX)
            return -EPERM;
        set_fs_base(v);
        return 0;
    case ARCH_SET_GS_K:
        if (v >= USER_MAX)
            return -EPERM;
        set_user_gs_base(v);
        return 0;
    case ARCH_GET_FS_K:
        v = get_fs_base();
        return copy_to_user(r->arg[1], &v, sizeof(v));
    case ARCH_GET_GS_K:
        v = get_user_gs_base();
        return copy_to_user(r->arg[1], &v, sizeof(v));
    default:
        return -EINVAL;
    }
}

long sys_personality(struct regs *r)
{
    u32 old = personality_flags, new = (u32)r->arg[0];
    if (new != ~0u)
        personality_flags = new;
    return old;
}

// glibc falls back quietly; a critical section could never be restarted without support at every preemption.
long sys_rseq(struct regs *r)
{
    (void)r;
    return -ENOSYS;
}

// A filter that is accepted but not applied would be a lie.
long sys_seccomp(struct regs *r)
{
    u32 op = (u32)r->arg[0];
    if (op > 3)
        return -EINVAL;
    return op == 2 ? -EOPNOTSUPP : -EINVAL;
}

long sys_kcmp(struct regs *r)
{
    int type = (int)r->arg[2];
    spin_lock(&the_process->thread_lock);
    bool known = process_find_thread((int)r->arg[0]) && process_find_thread((int)r->arg[1]);
    spin_unlock(&the_process->thread_lock);
    if (!known)
        return -ESRCH;
    if (type < 0 || type > 7)
        return -EINVAL;
    if (type != 0)                  // VM, FILES, FS, SIGHAND, IO, SYSVSEM: threads share everything
        return type == 7 ? -EOPNOTSUPP : 0;
    struct file *a = fd_any((int)r->arg[3]), *b = fd_any((int)r->arg[4]);
    long v = !a || !b ? -EBADF : a == b ? 0 : a < b ? 1 : 2;
    if (a)
        file_put(a);
    if (b)
        file_put(b);
    return v;
}

long sys_unshare(struct regs *r)
{
    // Threads share by nature here; flags that ask for nothing new succeed.
    u32 flags = (u32)r->arg[0];
    if (flags & ~0x7e0786ffu)
        return -EINVAL;
    return flags ? -EINVAL : 0;
}

long sys_setns(struct regs *r)
{
    struct file *f = fd_get((int)r->arg[0]);
    if (!f)
        return -EBADF;
    file_put(f);
    return -EINVAL;
}

long sys_vhangup(struct regs *r)
{
    (void)r;
    return capable(26) ? 0 : -EPERM;        // CAP_SYS_TTY_CONFIG
}
