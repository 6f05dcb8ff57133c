// SPDX-License-Identifier: Apache-2.0
// New threads, and the refusal of new processes: clone(2), clone3(2), fork(2), vfork(2).
#include "arch.h"
#include "errno.h"
#include "itimer.h"
#include "lib.h"
#include "page.h"
#include "process.h"
#include "signal_priv.h"
#include "syscalls.h"
#include "sysv.h"
#include "uaccess.h"
#include "../sched/sched_priv.h"

#define CAP_SYS_RESOURCE_K 24

enum {
    CLONE_VM_K = 0x100, CLONE_FS_K = 0x200, CLONE_FILES_K = 0x400, CLONE_SIGHAND_K = 0x800, CLONE_PIDFD_K = 0x1000,
    CLONE_VFORK_K = 0x4000, CLONE_THREAD_K = 0x10000, CLONE_SYSVSEM_K = 0x40000, CLONE_SETTLS_K = 0x80000,
    CLONE_PARENT_SETTID_K = 0x100000, CLONE_CHILD_CLEARTID_K = 0x200000, CLONE_CHILD_SETTID_K = 0x1000000,
};
#define CLONE_CLEAR_SIGHAND_K 0x100000000ull
#define CLONE_INTO_CGROUP_K 0x200000000ull
#define CLONE_NEWTIME_K 0x80ull
#define CLONE_NAMESPACES 0x7e020000ull      // NEWNS, NEWCGROUP, NEWUTS, NEWIPC, NEWUSER, NEWPID, NEWNET

struct clone_request {              // struct clone_args of clone3(2)
    u64 flags, pidfd, child_tid, parent_tid, exit_signal, stack, stack_size, tls, set_tid, set_tid_size, cgroup;
};

static long no_processes(const char *call)
{
    syscall_unsupported(call, "this machine runs one process; use threads, or start a second VM (posix_spawn and system(3) need fork too)");
    return -ENOSYS;
}

// Kernel stacks may take an eighth of the memory (Linux's threads-max).
static u64 threads_max(void)
{
    static u64 max;
    if (!max) {
        struct mem_stats m;
        mem_stats(&m);
        max = MAX(m.total / (8 * KSTACK_SIZE), 20ul);
    }
    return max;
}

static long do_clone(const struct clone_request *c, struct regs *r)
{
    struct process *p = the_process;
    struct thread *me = current();
    u64 fl = c->flags;
    if ((fl & CLONE_THREAD_K) && !(fl & CLONE_SIGHAND_K))
        return -EINVAL;
    if ((fl & CLONE_SIGHAND_K) && !(fl & CLONE_VM_K))
        return -EINVAL;
    if (fl & (CLONE_NAMESPACES | CLONE_NEWTIME_K | CLONE_INTO_CGROUP_K) || c->set_tid_size)
        return -EINVAL;
    if ((fl & CLONE_PIDFD_K) && (fl & CLONE_THREAD_K))
        return -EINVAL;
    if (!(fl & CLONE_VM_K))
        return no_processes("fork");
    if (!(fl & CLONE_THREAD_K))
        return no_processes(fl & CLONE_VFORK_K ? "vfork" : "clone without CLONE_THREAD");
    if (p->nr_threads >= threads_max() || (p->nr_threads >= p->rlim[6].soft && !capable(CAP_SYS_RESOURCE_K)))   // RLIMIT_NPROC
        return -EAGAIN;
    struct regs child = *r;
    child.rax = 0;
    child.orig_rax = ~0ull;
    if (c->stack)
        child.rsp = c->stack + c->stack_size;
    struct thread *t = thread_create_user(p, &child);
    if (!t)
        return -EAGAIN;
    fpu_copy(t);
    t->fs_base = fl & CLONE_SETTLS_K ? c->tls : get_fs_base();
    t->gs_base = get_user_gs_base();
    t->sigmask = me->sigmask;
    t->altstack.flags = SS_DISABLE_K;
    if (!me->reset_on_fork) {
        t->nice = me->nice;
        t->sched_policy = me->sched_policy;
        t->sched_prio = me->sched_prio;
    } else if (!policy_realtime(me->sched_policy)) {
        t->sched_policy = me->sched_policy;
        t->nice = MAX(me->nice, 0);
    }
    sched_set_prio(t);
    t->affinity = me->affinity;
    t->timer_slack = me->timer_slack;
    memcpy(t->name, me->name, sizeof(t->name));
    if (fl & CLONE_CHILD_CLEARTID_K)
        t->clear_child_tid = c->child_tid;
    if ((fl & CLONE_SETTLS_K) && c->tls >= USER_MAX) {
        thread_free(t);
        return -EPERM;
    }
    if ((fl & CLONE_SYSVSEM_K) && sem_undo_share(me, t)) {
        thread_free(t);
        return -ENOMEM;
    }
    t->cred = cred_get(me->cred);
    process_add_thread(p, t);
    cpu_timers_new_thread(t);
    int tid = t->tid;
    // A bad address for the number is not an error once the thread exists (Linux ignores it as well).
    if (fl & CLONE_PARENT_SETTID_K)
        (void)user_write_u32(c->parent_tid, (u32)tid);
    if (fl & CLONE_CHILD_SETTID_K)
        (void)user_write_u32(c->child_tid, (u32)tid);
    if (p->exiting || p->exec_thread)
        t->interrupted = true;      // born into the end: it leaves at once
    sched_add(t);
    return tid;
}

long sys_clone(struct regs *r)
{
    struct clone_request c = {
        .flags = (u32)r->arg[0] & ~0xffu, .exit_signal = r->arg[0] & 0xff, .stack = r->arg[1],
        .parent_tid = r->arg[2], .pidfd = r->arg[2], .child_tid = r->arg[3], .tls = r->arg[4],
    };
    if ((c.flags & CLONE_PIDFD_K) && (c.flags & CLONE_PARENT_SETTID_K))
        return -EINVAL;
    return do_clone(&c, r);
}

long sys_clone3(struct regs *r)
{
    struct clone_request c = { 0 };
    u64 size = r->arg[1];
    if (size > PAGE_SIZE)
        return -E2BIG;
    if (size < 64)                  // CLONE_ARGS_SIZE_VER0
        return -EINVAL;
    if (copy_from_user(&c, r->arg[0], MIN(size, sizeof(c))))
        return -EFAULT;
    int err = user_tail_zero(r->arg[0], sizeof(c), size);
    if (err)
        return err;
    if ((c.flags & 0xff & ~CLONE_NEWTIME_K) || c.exit_signal > 64 || (c.flags >> 34))
        return -EINVAL;
    if (!c.stack != !c.stack_size)
        return -EINVAL;
    if ((c.flags & CLONE_THREAD_K) && c.exit_signal)
        return -EINVAL;
    if ((c.flags & CLONE_CLEAR_SIGHAND_K) && (c.flags & CLONE_SIGHAND_K))
        return -EINVAL;
    return do_clone(&c, r);
}

long sys_fork(struct regs *r)
{
    (void)r;
    return no_processes("fork");
}

long sys_vfork(struct regs *r)
{
    (void)r;
    return no_processes("vfork");
}
