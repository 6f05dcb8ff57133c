// SPDX-License-Identifier: Apache-2.0
// What the process used: getrusage(2), times(2), user and system time.
#include "blk.h"
#include "errno.h"
#include "lib.h"
#include "process.h"
#include "syscalls.h"
#include "signal_priv.h"
#include "time.h"
#include "uaccess.h"

#define RUSAGE_SELF_K 0
#define RUSAGE_CHILDREN_K (-1)
#define RUSAGE_THREAD_K 1

// thread_lock is held.
static void sum_ticks(struct process *p, u64 *user, u64 *system)
{
    *user = p->dead_uticks;
    *system = p->dead_sticks;
    for (struct list *l = p->threads.next; l != &p->threads; l = l->next) {
        const struct thread *t = list_entry(l, struct thread, proc_node);
        *user += t->uticks;
        *system += t->sticks;
    }
}

// The rule of Linux's cputime_adjust(): without samples of one kind all of the time is of the other, and neither ever goes back.
static struct cputime divide(u64 total, u64 user, u64 system, struct cputime_prev *shown)
{
    u64 s = !system ? 0 : !user ? total : total / (user + system) * system;
    s = MAX(s, shown->system);
    u64 u = total > s ? total - s : 0;
    if (u < shown->user) {
        u = shown->user;
        s = total > u ? total - u : s;
    }
    shown->system = MAX(s, shown->system);
    shown->user = u;
    return (struct cputime){ shown->user, shown->system };
}

struct cputime cputime_of(struct process *p, struct thread *t)
{
    u64 user, system, total = t ? thread_cpu_ns(t) : process_cpu_ns(p);
    if (t)
        return divide(total, t->uticks, t->sticks, &t->shown);
    spin_lock(&p->thread_lock);
    sum_ticks(p, &user, &system);
    struct cputime c = divide(total, user, system, &p->shown);
    spin_unlock(&p->thread_lock);
    return c;
}

// setrlimit(2), RLIMIT_CPU: SIGXCPU at the soft limit and each second after it, SIGKILL at the hard one.
void rlimit_cpu_check(struct process *p)
{
    struct rlimit_k *l = &p->rlim[RLIMIT_CPU_K];
    u64 seconds = process_cpu_ns(p) / NSEC_PER_SEC;
    if (seconds >= l->hard) {
        signal_process(p, SIG_KILL, NULL);
    } else if (seconds >= MAX(l->soft, 1ul)) {
        l->soft++;
        signal_process(p, SIG_XCPU, NULL);
    }
}

struct rusage_k {
    i64 utime[2], stime[2];         // seconds, microseconds
    i64 maxrss, ixrss, idrss, isrss, minflt, majflt, nswap, inblock, oublock, msgsnd, msgrcv, nsignals, nvcsw, nivcsw;
};

static void add_thread(struct rusage_k *u, const struct thread *t)
{
    u->minflt += (i64)t->minflt;
    u->majflt += (i64)t->majflt;
    u->nvcsw += (i64)t->nvcsw;
    u->nivcsw += (i64)t->nivcsw;
}

long sys_getrusage(struct regs *r)
{
    struct process *p = the_process;
    struct rusage_k u;
    int who = (int)r->arg[0];
    struct cputime c = { 0 };
    if (who != RUSAGE_SELF_K && who != RUSAGE_CHILDREN_K && who != RUSAGE_THREAD_K)
        return -EINVAL;
    memset(&u, 0, sizeof(u));
    if (who == RUSAGE_THREAD_K) {
        c = cputime_of(p, current());
        add_thread(&u, current());
    } else if (who == RUSAGE_SELF_K) {
        c = cputime_of(p, NULL);
        spin_lock(&p->thread_lock);
        u.minflt = (i64)p->dead_minflt;
        u.majflt = (i64)p->dead_majflt;
        u.nvcsw = (i64)p->dead_nvcsw;
        u.nivcsw = (i64)p->dead_nivcsw;
        for (struct list *l = p->threads.next; l != &p->threads; l = l->next)
            add_thread(&u, list_entry(l, struct thread, proc_node));
        spin_unlock(&p->thread_lock);
    }
    if (who != RUSAGE_CHILDREN_K)
        u.maxrss = (i64)(vm_peak(&p->mm) * (PAGE_SIZE / 1024));
    if (who == RUSAGE_SELF_K) {
        struct disk_work d = disk_work();
        u.inblock = (i64)(d.read / 512);
        u.oublock = (i64)(d.written / 512);
    }
    u.utime[0] = (i64)(c.user / NSEC_PER_SEC);
    u.utime[1] = (i64)(c.user % NSEC_PER_SEC / 1000);
    u.stime[0] = (i64)(c.system / NSEC_PER_SEC);
    u.stime[1] = (i64)(c.system % NSEC_PER_SEC / 1000);
    return copy_to_user(r->arg[1], &u, sizeof(u));
}

// Clock ticks (100 a second) since boot.
long sys_times(struct regs *r)
{
    struct cputime c = cputime_of(the_process, NULL);
    i64 t[4] = { (i64)(c.user / 10000000), (i64)(c.system / 10000000), 0, 0 };
    if (r->arg[0] && copy_to_user(r->arg[0], t, sizeof(t)))
        return -EFAULT;
    return (long)(clock_mono_ns() / 10000000);
}
