// SPDX-License-Identifier: Apache-2.0
// sched(7): policies, priorities; sched_setaffinity(2), getcpu(2), membarrier(2).
#include "errno.h"
#include "lib.h"
#include "process.h"
#include "rlimit.h"
#include "syscalls.h"
#include "time.h"
#include "uaccess.h"

#define RESET_ON_FORK 0x40000000u
#define KEEP_POLICY 0x08u           // SCHED_FLAG_KEEP_POLICY, SCHED_FLAG_KEEP_PARAMS
#define KEEP_PARAMS 0x10u

// thread_lock is taken; the caller releases it. NULL (and no lock): no such thread.
static struct thread *target(int tid)
{
    struct process *p = the_process;
    spin_lock(&p->thread_lock);
    struct thread *t = tid ? process_find_thread(tid) : current();
    if (!t)
        spin_unlock(&p->thread_lock);
    return t;
}

static void done(void)
{
    spin_unlock(&the_process->thread_lock);
}

long sys_sched_yield(struct regs *r)
{
    (void)r;
    thread_yield();
    return 0;
}

static long check_policy(u32 policy, int prio)
{
    if (policy > POLICY_IDLE || policy == 4)
        return -EINVAL;
    return policy_realtime(policy) ? (prio < 1 || prio > 99 ? -EINVAL : 0) : prio ? -EINVAL : 0;
}

// Linux, user_check_sched_setscheduler(): what may be done without CAP_SYS_NICE.
static bool may_change(const struct thread *t, u32 policy, u32 prio, bool reset)
{
    u64 limit = the_process->rlim[RLIMIT_RTPRIO_K].soft;
    if (capable(CAP_SYS_NICE_K))
        return true;
    if (policy_realtime(policy) && ((policy != t->sched_policy && !limit) || (prio > t->sched_prio && prio > limit)))
        return false;
    if (t->sched_policy == POLICY_IDLE && policy != POLICY_IDLE && !may_renice(20, t->nice))
        return false;
    return reset || !t->reset_on_fork;
}

// nice NULL: stays.
static long set_policy(int tid, u32 policy, int prio, bool reset, const int *nice)
{
    struct thread *t = target(tid);
    if (!t)
        return -ESRCH;
    long err = check_policy(policy, prio);
    if (!err && (!may_change(t, policy, (u32)prio, reset) || (nice && !may_renice(t->nice, *nice))))
        err = -EPERM;
    if (!err) {
        t->sched_policy = policy;
        t->sched_prio = (u32)prio;
        t->reset_on_fork = reset;
        if (nice)
            t->nice = *nice;
        sched_set_prio(t);
    }
    done();
    return err;
}

long sys_sched_setscheduler(struct regs *r)
{
    u32 prio;
    if ((int)r->arg[1] < 0 || !r->arg[2])
        return -EINVAL;
    if (user_read_u32(r->arg[2], &prio))
        return -EFAULT;
    if ((int)r->arg[0] < 0)
        return -EINVAL;
    return set_policy((int)r->arg[0], (u32)r->arg[1] & ~RESET_ON_FORK, (int)prio, r->arg[1] & RESET_ON_FORK, NULL);
}

long sys_sched_setparam(struct regs *r)
{
    u32 prio;
    if (!r->arg[1] || (int)r->arg[0] < 0)
        return -EINVAL;
    if (user_read_u32(r->arg[1], &prio))
        return -EFAULT;
    struct thread *t = target((int)r->arg[0]);
    if (!t)
        return -ESRCH;
    u32 policy = t->sched_policy;
    bool reset = t->reset_on_fork;
    done();
    return set_policy((int)r->arg[0], policy, (int)prio, reset, NULL);
}

long sys_sched_getparam(struct regs *r)
{
    if ((int)r->arg[0] < 0 || !r->arg[1])
        return -EINVAL;
    struct thread *t = target((int)r->arg[0]);
    if (!t)
        return -ESRCH;
    u32 prio = t->sched_prio;
    done();
    return user_write_u32(r->arg[1], prio);
}

long sys_sched_getscheduler(struct regs *r)
{
    if ((int)r->arg[0] < 0)
        return -EINVAL;
    struct thread *t = target((int)r->arg[0]);
    if (!t)
        return -ESRCH;
    long policy = t->sched_policy | (t->reset_on_fork ? RESET_ON_FORK : 0);
    done();
    return policy;
}

long sys_sched_get_priority_max(struct regs *r)
{
    u32 p = (u32)r->arg[0];
    return p > 6 || p == 4 ? -EINVAL : policy_realtime(p) ? 99 : 0;
}

long sys_sched_get_priority_min(struct regs *r)
{
    u32 p = (u32)r->arg[0];
    return p > 6 || p == 4 ? -EINVAL : policy_realtime(p) ? 1 : 0;
}

long sys_sched_rr_get_interval(struct regs *r)
{
    if ((int)r->arg[0] < 0)
        return -EINVAL;
    struct thread *t = target((int)r->arg[0]);
    if (!t)
        return -ESRCH;
    u64 ns = t->sched_policy == POLICY_RR ? RR_SLICE_NS : t->sched_policy == POLICY_FIFO ? 0 : 4000000;
    done();
    return timespec_to_user(r->arg[1], ns);
}

// struct sched_attr (sched_setattr(2)), version 0.
struct sched_attr_k {
    u32 size, policy;
    u64 flags;
    i32 nice;
    u32 priority;
    u64 runtime, deadline, period;
};

long sys_sched_setattr(struct regs *r)
{
    struct sched_attr_k a;
    if (!r->arg[1] || (int)r->arg[0] < 0 || r->arg[2])
        return -EINVAL;
    u32 size;
    if (user_read_u32(r->arg[1], &size))
        return -EFAULT;
    size = size ? size : sizeof(a);
    if (size < sizeof(a) || size > PAGE_SIZE) {
        (void)user_write_u32(r->arg[1], sizeof(a));
        return -E2BIG;
    }
    if (copy_from_user(&a, r->arg[1], sizeof(a)))
        return -EFAULT;
    int err = user_tail_zero(r->arg[1], sizeof(a), size);
    if (err)
        return err;
    if ((i32)a.policy < 0 || (a.flags & ~0x7full))
        return -EINVAL;
    struct thread *t = target((int)r->arg[0]);
    if (!t)
        return -ESRCH;
    u32 policy = a.flags & KEEP_POLICY ? t->sched_policy : a.policy, prio = a.flags & KEEP_PARAMS ? t->sched_prio : a.priority;
    int nice = a.flags & KEEP_PARAMS ? t->nice : MAX(-20, MIN(19, a.nice));
    done();
    if (policy == 6)                // SCHED_DEADLINE: there is no admission control
        return -EPERM;
    return set_policy((int)r->arg[0], policy, (int)prio, a.flags & 1, policy_realtime(policy) ? NULL : &nice);
}

long sys_sched_getattr(struct regs *r)
{
    struct sched_attr_k a;
    u32 size = (u32)r->arg[2];
    if (!r->arg[1] || (int)r->arg[0] < 0 || size < sizeof(a) || size > PAGE_SIZE || r->arg[3])
        return -EINVAL;
    struct thread *t = target((int)r->arg[0]);
    if (!t)
        return -ESRCH;
    memset(&a, 0, sizeof(a));
    a.size = sizeof(a);
    a.policy = t->sched_policy;
    a.flags = t->reset_on_fork;
    a.nice = policy_realtime(a.policy) ? 0 : t->nice;
    a.priority = t->sched_prio;
    done();
    return copy_to_user(r->arg[1], &a, sizeof(a));
}

// The mask has room for 64 CPUs.
long sys_sched_setaffinity(struct regs *r)
{
    u64 mask = 0;
    if (copy_from_user(&mask, r->arg[2], MIN(r->arg[1], sizeof(mask))))
        return -EFAULT;
    struct thread *t = target((int)r->arg[0]);
    if (!t)
        return -ESRCH;
    u64 have = NR_CPUS == 64 ? ~0ull : BIT(NR_CPUS) - 1;
    long err = mask & have ? 0 : -EINVAL;
    if (!err)
        t->affinity = mask & have;
    done();
    return err;
}

long sys_sched_getaffinity(struct regs *r)
{
    if (r->arg[1] < sizeof(u64) || (r->arg[1] & 7))
        return -EINVAL;
    struct thread *t = target((int)r->arg[0]);
    if (!t)
        return -ESRCH;
    u64 have = NR_CPUS == 64 ? ~0ull : BIT(NR_CPUS) - 1, mask = t->affinity & have;
    done();
    return copy_to_user(r->arg[2], &mask, sizeof(mask)) ? -EFAULT : (long)sizeof(mask);
}

long sys_getcpu(struct regs *r)
{
    if (r->arg[0] && user_write_u32(r->arg[0], (u32)this_cpu()->id))
        return -EFAULT;
    if (r->arg[1] && user_write_u32(r->arg[1], 0))
        return -EFAULT;
    return 0;
}

// With one CPU every switch is a barrier already; what counts is that registration is remembered and checked.
long sys_membarrier(struct regs *r)
{
    static u32 registered;
    u32 cmd = (u32)r->arg[0];
    const u32 supported = 1 | 2 | 4 | 8 | 16 | 32 | 64;     // GLOBAL ... REGISTER_PRIVATE_EXPEDITED_SYNC_CORE
    if (r->arg[1])
        return -EINVAL;
    if (cmd == 0)
        return supported;
    if (!(supported & cmd) || (cmd & (cmd - 1)))
        return -EINVAL;
    if (cmd == 4 || cmd == 16 || cmd == 64)
        registered |= cmd;
    if ((cmd == 8 && !(registered & 16)) || (cmd == 32 && !(registered & 64)))
        return -EPERM;
    __atomic_thread_fence(__ATOMIC_SEQ_CST);
    return 0;
}
