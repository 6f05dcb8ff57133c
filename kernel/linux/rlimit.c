// SPDX-License-Identifier: Apache-2.0
// Limits and priorities: getrlimit(2), prlimit(2), getpriority(2), ioprio_set(2).
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
    if (new->hard > l->hard && !capable(CAP_SYS_RESOURCE_K))
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

// --- priorities -------------------------------------------------------------------------------------------------------
// Does a number mean this thread to getpriority and setpriority? PRIO_PROCESS means single threads on Linux, whatever POSIX says; the
// group and the user mean all of them.
static bool priority_means(const struct thread *t, int which, u32 who)
{
    const struct process *p = the_process;
    if (which == 0)
        return who ? t->tid == (int)who : t == current();
    return which == 1 ? !who || (int)who == p->pid : !who || (t->cred && who == t->cred->uid);
}

static bool who_is_self(int which, u32 who)
{
    struct process *p = the_process;
    bool found = false;
    spin_lock(&p->thread_lock);
    for (struct list *l = p->threads.next; l != &p->threads; l = l->next)
        found |= priority_means(list_entry(l, struct thread, proc_node), which, who);
    spin_unlock(&p->thread_lock);
    return found;
}

long sys_getpriority(struct regs *r)
{
    struct process *p = the_process;
    int which = (int)r->arg[0];
    long best = -ESRCH;
    if (which < 0 || which > 2)
        return -EINVAL;
    spin_lock(&p->thread_lock);
    for (struct list *l = p->threads.next; l != &p->threads; l = l->next) {
        const struct thread *t = list_entry(l, struct thread, proc_node);
        if (priority_means(t, which, (u32)r->arg[1]))
            best = MAX(best, 20 - t->nice);
    }
    spin_unlock(&p->thread_lock);
    return best;
}

bool may_renice(int from, int to)
{
    return to >= from || capable(CAP_SYS_NICE_K) || (u64)(20 - to) <= the_process->rlim[RLIMIT_NICE_K].soft;
}

long sys_setpriority(struct regs *r)
{
    struct process *p = the_process;
    int which = (int)r->arg[0], nice = MAX(-20, MIN(19, (int)r->arg[2]));
    long err = -ESRCH;
    if (which < 0 || which > 2)
        return -EINVAL;
    spin_lock(&p->thread_lock);
    for (struct list *l = p->threads.next; l != &p->threads; l = l->next) {
        struct thread *t = list_entry(l, struct thread, proc_node);
        if (!priority_means(t, which, (u32)r->arg[1]))
            continue;
        if (may_renice(t->nice, nice)) {
            t->nice = nice;
            err = err == -ESRCH ? 0 : err;
        } else {
            err = -EACCES;
        }
    }
    spin_unlock(&p->thread_lock);
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
