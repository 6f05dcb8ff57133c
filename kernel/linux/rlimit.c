// SPDX-License-Identifier: Apache-2.0
// Limits, usage and priorities: getrlimit(2), prlimit(2), getrusage(2), times(2), getpriority(2), ioprio_set(2).
#include "boot.h"
#include "errno.h"
#include "lib.h"
#include "page.h"
#include "printk.h"
#include "process.h"
#include "rlimit.h"
#include "syscalls.h"
#include "time.h"
#include "uaccess.h"

#define RLIM_INF (~0ull)
#define CAP_SYS_RESOURCE_K 24
#define RUSAGE_SELF_K 0
#define RUSAGE_CHILDREN_K (-1)
#define RUSAGE_THREAD_K 1

static const char *const limit_names[RLIM_NR] = {
    "cpu", "fsize", "data", "stack", "core", "rss", "nproc", "nofile", "memlock", "as", "locks", "sigpending", "msgqueue",
    "nice", "rtprio", "rttime",
};

// NAME:SOFT:HARD, the numbers decimal or "unlimited".
static bool parse_limit(const char *s, u64 *out)
{
    if (strcmp(s, "unlimited") == 0) {
        *out = RLIM_INF;
        return true;
    }
    return parse_u64(s, 10, out);
}

static void apply_limit(struct process *p, const char *spec)
{
    char buf[80];
    strlcpy(buf, spec, sizeof(buf));
    char *soft = strchr(buf, ':'), *hard = soft ? strchr(soft + 1, ':') : NULL;
    if (hard) {
        *soft++ = 0;
        *hard++ = 0;
        struct rlimit_k l;
        for (int i = 0; i < RLIM_NR; i++) {
            if (strcmp(buf, limit_names[i]) != 0)
                continue;
            if (!parse_limit(soft, &l.soft) || !parse_limit(hard, &l.hard) || l.soft > l.hard)
                break;
            p->rlim[i] = l;
            return;
        }
    }
    printk(LOG_WARNING, "uni: uni.rlimit=%s is not NAME:SOFT:HARD of a known limit; ignored\n", spec);
}

// Linux's defaults for init (include/asm-generic/resource.h), with the limits that depend on memory filled in.
void rlimits_setup(struct process *p)
{
    struct mem_stats m;
    mem_stats(&m);
    u64 threads = MAX(m.total / (8 * KSTACK_SIZE), 20);
    for (int i = 0; i < RLIM_NR; i++)
        p->rlim[i] = (struct rlimit_k){ RLIM_INF, RLIM_INF };
    p->rlim[3] = (struct rlimit_k){ 8 << 20, RLIM_INF };            // stack
    p->rlim[4] = (struct rlimit_k){ 0, RLIM_INF };                  // core
    p->rlim[6] = (struct rlimit_k){ threads, threads };             // nproc
    p->rlim[7] = (struct rlimit_k){ 1024, 1048576 };                // nofile
    p->rlim[8] = (struct rlimit_k){ 8 << 20, 8 << 20 };             // memlock
    p->rlim[11] = (struct rlimit_k){ threads, threads };            // sigpending
    p->rlim[12] = (struct rlimit_k){ 819200, 819200 };              // msgqueue
    p->rlim[13] = (struct rlimit_k){ 0, 0 };                        // nice
    p->rlim[14] = (struct rlimit_k){ 0, 0 };                        // rtprio
    for (u32 i = 0; i < boot_config.rlimit.n; i++)
        apply_limit(p, boot_config.rlimit.v[i]);
}

static long set_limit(int which, const struct rlimit_k *new)
{
    struct rlimit_k *l = &the_process->rlim[which];
    if (new->soft > new->hard)
        return -EINVAL;
    if (which == 7 && new->hard > NOFILE_MAX)
        return -EPERM;
    if (new->hard > l->hard && !process_capable(CAP_SYS_RESOURCE_K))
        return -EPERM;
    *l = *new;
    return 0;
}

long sys_getrlimit(struct regs *r)
{
    if ((u32)r->arg[0] >= RLIM_NR)
        return -EINVAL;
    return copy_to_user(r->arg[1], &the_process->rlim[(u32)r->arg[0]], sizeof(struct rlimit_k));
}

long sys_setrlimit(struct regs *r)
{
    struct rlimit_k new;
    if (copy_from_user(&new, r->arg[1], sizeof(new)))
        return -EFAULT;
    if ((u32)r->arg[0] >= RLIM_NR)
        return -EINVAL;
    return set_limit((int)r->arg[0], &new);
}

long sys_prlimit64(struct regs *r)
{
    struct rlimit_k new, old;
    int pid = (int)r->arg[0];
    u32 which = (u32)r->arg[1];
    if (which >= RLIM_NR)
        return -EINVAL;
    if (r->arg[2] && copy_from_user(&new, r->arg[2], sizeof(new)))
        return -EFAULT;
    if (pid && pid != the_process->pid && pid != current()->tid)
        return -ESRCH;
    old = the_process->rlim[which];
    if (r->arg[2]) {
        long err = set_limit((int)which, &new);
        if (err)
            return err;
    }
    return r->arg[3] ? copy_to_user(r->arg[3], &old, sizeof(old)) : 0;
}

// --- usage ------------------------------------------------------------------------------------------------------------
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
    u64 ns = 0;
    if (who != RUSAGE_SELF_K && who != RUSAGE_CHILDREN_K && who != RUSAGE_THREAD_K)
        return -EINVAL;
    memset(&u, 0, sizeof(u));
    if (who == RUSAGE_THREAD_K) {
        ns = thread_cpu_ns(current());
        add_thread(&u, current());
    } else if (who == RUSAGE_SELF_K) {
        ns = process_cpu_ns(p);
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
        u.maxrss = (i64)((p->mm.anon_pages + p->mm.file_pages) * (PAGE_SIZE / 1024));
    u.utime[0] = (i64)(ns / NSEC_PER_SEC);
    u.utime[1] = (i64)(ns % NSEC_PER_SEC / 1000);
    return copy_to_user(r->arg[1], &u, sizeof(u));
}

// Clock ticks (100 a second) since boot; all of the process's time counts as user time.
long sys_times(struct regs *r)
{
    i64 t[4] = { (i64)(process_cpu_ns(the_process) / 10000000), 0, 0, 0 };
    if (r->arg[0] && copy_to_user(r->arg[0], t, sizeof(t)))
        return -EFAULT;
    return (long)(clock_mono_ns() / 10000000);
}

// --- priorities -------------------------------------------------------------------------------------------------------
// The thread that a number means to getpriority and setpriority, thread_lock taken; NULL (no lock): none. For a process or its
// owner Linux takes every thread; here the calling one stands for them.
static struct thread *priority_target(int which, u32 who)
{
    struct process *p = the_process;
    spin_lock(&p->thread_lock);
    struct thread *t = NULL;
    if (which == 0 && who != 0)
        t = process_find_thread((int)who);
    else if (who == 0 || (which == 1 && (int)who == p->pid) || (which == 2 && who == p->uid))
        t = current();
    if (!t)
        spin_unlock(&p->thread_lock);
    return t;
}

static bool who_is_self(int which, u32 who)
{
    struct thread *t = priority_target(which, who);
    if (t)
        spin_unlock(&the_process->thread_lock);
    return t != NULL;
}

long sys_getpriority(struct regs *r)
{
    int which = (int)r->arg[0];
    if (which < 0 || which > 2)
        return -EINVAL;
    struct thread *t = priority_target(which, (u32)r->arg[1]);
    if (!t)
        return -ESRCH;
    long v = 20 - t->nice;
    spin_unlock(&the_process->thread_lock);
    return v;
}

long sys_setpriority(struct regs *r)
{
    int which = (int)r->arg[0], nice = (int)r->arg[2];
    if (which < 0 || which > 2)
        return -EINVAL;
    struct thread *t = priority_target(which, (u32)r->arg[1]);
    if (!t)
        return -ESRCH;
    nice = MAX(-20, MIN(19, nice));
    long err = nice < t->nice && !process_capable(23) ? -EACCES : 0;    // CAP_SYS_NICE
    if (!err)
        t->nice = nice;
    spin_unlock(&the_process->thread_lock);
    return err;
}

static u32 io_priority = 0;         // class none, as Linux starts with

long sys_ioprio_get(struct regs *r)
{
    if ((u32)r->arg[0] < 1 || (u32)r->arg[0] > 3)
        return -EINVAL;
    return who_is_self((int)r->arg[0] - 1, (u32)r->arg[1]) ? (long)io_priority : -ESRCH;
}

long sys_ioprio_set(struct regs *r)
{
    u32 class = (u32)r->arg[2] >> 13, data = (u32)r->arg[2] & 0x1fff;
    if ((u32)r->arg[0] < 1 || (u32)r->arg[0] > 3 || class > 3 || (class && (data & 7) != data) || (!class && data))
        return -EINVAL;
    if (!who_is_self((int)r->arg[0] - 1, (u32)r->arg[1]))
        return -ESRCH;
    io_priority = (u32)r->arg[2];
    return 0;
}
