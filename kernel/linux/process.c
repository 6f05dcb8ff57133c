// SPDX-License-Identifier: Apache-2.0
// The life of the one process: threads' numbers, exit, execve. execve(2), set_tid_address(2); clone(2) is in clone.c.
#include "arch.h"
#include "boot.h"
#include "errno.h"
#include "exec.h"
#include "fs.h"
#include "futex.h"
#include "itimer.h"
#include "kmalloc.h"
#include "lib.h"
#include "net.h"
#include "page.h"
#include "printk.h"
#include "process.h"
#include "signal_priv.h"
#include "syscalls.h"
#include "sysv.h"
#include "uaccess.h"
#include "../sched/sched_priv.h"

#define TID_MAX 4194304
#define ARGS_MIN 131072ul
#define ARGS_MAX 6291456ul          // three quarters of Linux's _STK_LIM
#define AT_EMPTY_PATH_K 0x1000
#define AT_SYMLINK_NOFOLLOW_K 0x100

struct process *the_process;

struct thread *process_find_thread(int tid)
{
    struct process *p = the_process;
    for (struct list *l = p->threads.next; l != &p->threads; l = l->next) {
        struct thread *t = list_entry(l, struct thread, proc_node);
        if (t->tid == tid)
            return t;
    }
    return NULL;
}

static int new_tid(struct process *p)
{
    do {
        if (++p->next_tid >= TID_MAX)
            p->next_tid = 300;
    } while (process_find_thread(p->next_tid));
    return p->next_tid;
}

void process_add_thread(struct process *p, struct thread *t)
{
    spin_lock(&p->thread_lock);
    t->tid = p->nr_threads ? new_tid(p) : p->pid;
    if (p->next_tid < t->tid)
        p->next_tid = t->tid;
    u64 flags = spin_lock_irqsave(&p->sig_lock);
    list_push(&p->threads, &t->proc_node);
    p->nr_threads++;
    spin_unlock_irqrestore(&p->sig_lock, flags);
    spin_unlock(&p->thread_lock);
}

u64 process_cpu_ns(struct process *p)
{
    spin_lock(&p->thread_lock);
    u64 ns = p->dead_cpu_ns;
    for (struct list *l = p->threads.next; l != &p->threads; l = l->next)
        ns += thread_cpu_ns(list_entry(l, struct thread, proc_node));
    spin_unlock(&p->thread_lock);
    return ns;
}

// --- the end ----------------------------------------------------------------------------------------------------------
static void close_all(void)
{
    struct process *p = the_process;
    for (u32 fd = 0; fd < p->fds.size; fd++)
        fd_close((int)fd);
}

// The last thread is gone but for its kernel part: files are closed, so that peers see the end, then the machine goes off.
static NORETURN void process_finish(struct process *p)
{
    int st = p->exit_status, sig = st & 0x7f;
    close_all();
    vm_release_files();
    if (sig) {
        const char *name = signal_name(sig);
        printk(LOG_NOTICE, "uni: %s: ended by signal %d (%s)\n", p->name, sig, name ? name : "?");
        struct kv kv[] = { { "signal", NULL, sig }, { "name", name ? name : "?", 0 } };
        control_event("exit", kv, ARRAY_SIZE(kv));
    } else {
        struct kv kv[] = { { "status", NULL, (st >> 8) & 0xff } };
        control_event("exit", kv, ARRAY_SIZE(kv));
    }
    vfs_shutdown();
    machine_off(sig ? 2 : st ? 1 : 0);
}

static void kick_others(struct process *p, struct thread *but)
{
    for (struct list *l = p->threads.next; l != &p->threads; l = l->next) {
        struct thread *t = list_entry(l, struct thread, proc_node);
        if (t == but)
            continue;
        t->interrupted = true;
        if (t->state == T_SLEEPING && t->sleep_intr)
            thread_wake(t);
    }
    waitq_wake_all(&p->stop_wait);
}

void process_thread_exit(int code)
{
    struct thread *t = current();
    struct process *p = t->proc;
    t->exit_code = code;
    if (!p->exiting) {
        futex_thread_exit(t);
        futex_pi_thread_exit(t);
        if (t->clear_child_tid && !user_write_u32(t->clear_child_tid, 0))
            futex_wake_addr(t->clear_child_tid, 1);
        if (t->sem_undos)
            sem_undo_exit(t);
    }
    spin_lock(&p->thread_lock);
    u64 flags = spin_lock_irqsave(&p->sig_lock);
    if (t->tid == p->pid)
        p->leader_status = code;
    signal_retarget(t);
    signal_queue_flush(&t->pending, ~0ull);
    bool last = p->nr_threads == 1;
    if (!last) {
        list_remove(&t->proc_node);
        p->nr_threads--;
        p->dead_cpu_ns += thread_cpu_ns(t);
        p->dead_uticks += t->uticks;
        p->dead_sticks += t->sticks;
        p->dead_nvcsw += t->nvcsw;
        p->dead_nivcsw += t->nivcsw;
        p->dead_minflt += t->minflt;
        p->dead_majflt += t->majflt;
    }
    spin_unlock_irqrestore(&p->sig_lock, flags);
    spin_unlock(&p->thread_lock);
    waitq_wake_all(&p->thread_wait);
    if (last) {
        if (!p->exiting)
            p->exit_status = p->leader_status;
        p->exiting = true;
        process_finish(p);
    }
    cred_put(t->cred);
    t->cred = NULL;
    thread_exit();
}

void process_kill(int sig)
{
    struct process *p = the_process;
    if (!p)
        return;
    u64 flags = spin_lock_irqsave(&p->sig_lock);
    if (!p->exiting) {
        p->exit_status = sig;
        p->exiting = true;
    }
    kick_others(p, NULL);
    spin_unlock_irqrestore(&p->sig_lock, flags);
}

void process_exit_group(int wait_status)
{
    struct process *p = the_process;
    u64 flags = spin_lock_irqsave(&p->sig_lock);
    if (!p->exiting) {
        p->exit_status = wait_status;
        p->exiting = true;
        kick_others(p, current());
    }
    spin_unlock_irqrestore(&p->sig_lock, flags);
    process_thread_exit(p->exit_status);
}

int process_end_other_threads(void)
{
    struct process *p = the_process;
    struct thread *me = current();
    struct waiter w;
    u64 flags = spin_lock_irqsave(&p->sig_lock);
    bool busy = p->exiting || p->exec_thread;
    if (!busy) {
        p->exec_thread = me;
        kick_others(p, me);
    }
    spin_unlock_irqrestore(&p->sig_lock, flags);
    if (busy)
        return -EAGAIN;
    waitq_prepare(&p->thread_wait, &w);
    while (p->nr_threads > 1)
        waitq_sleep(&w, NO_DEADLINE, false);
    waitq_finish(&w);
    me->tid = p->pid;               // the thread that called execve becomes the first one
    p->exec_thread = NULL;
    itimers_exec(p);
    return p->exiting ? -EAGAIN : 0;
}

long sys_exit(struct regs *r)
{
    process_thread_exit((int)(r->arg[0] & 0xff) << 8);
}

long sys_exit_group(struct regs *r)
{
    process_exit_group((int)(r->arg[0] & 0xff) << 8);
}

// --- execve -----------------------------------------------------------------------------------------------------------
static void free_strings(char **v, int n)
{
    for (int i = 0; v && i < n; i++)
        kfree(v[i]);
    kfree(v);
}

// Copies a NULL-terminated array of strings. *budget is what may still be used of the limit.
static int copy_strings(uptr array, char ***out, int *count, size_t *budget)
{
    int n = 0, cap = 16;
    char *tmp = vmalloc(ARG_STRLEN_MAX);
    char **v = kmalloc((size_t)cap * sizeof(char *), 0);
    int err = tmp && v ? 0 : -ENOMEM;
    while (!err && array) {
        u64 p;
        err = user_read_u64(array + (u64)n * 8, &p);
        if (err || !p)
            break;
        ssize_t len = strncpy_from_user(tmp, p, ARG_STRLEN_MAX);
        if (len < 0 || (size_t)len + 9 > *budget) {
            err = len == -ENAMETOOLONG || len >= 0 ? -E2BIG : (int)len;
            break;
        }
        *budget -= (size_t)len + 9;
        if (n + 2 > cap) {
            char **bigger = krealloc(v, (size_t)cap * 2 * sizeof(char *));
            if (!bigger) {
                err = -ENOMEM;
                break;
            }
            v = bigger;
            cap *= 2;
        }
        v[n] = kmalloc((size_t)len + 1, 0);
        if (!v[n]) {
            err = -ENOMEM;
            break;
        }
        memcpy(v[n++], tmp, (size_t)len + 1);
    }
    vfree(tmp);
    *out = v;
    *count = n;
    if (v)
        v[n] = NULL;
    return err;
}

static long do_exec(struct regs *r, char *path, struct file *file, uptr argv, uptr envp)
{
    struct exec_args a = { .path = path, .file = file };
    size_t budget = the_process->rlim[3].soft / 4;
    budget = MAX(MIN(budget, ARGS_MAX), ARGS_MIN);
    int err = copy_strings(argv, &a.argv, &a.argc, &budget);
    if (!err)
        err = copy_strings(envp, &a.envp, &a.envc, &budget);
    if (!err && a.argc == 0) {      // Linux 5.18: an empty argv becomes one empty string
        a.argv[0] = kstrdup("");
        a.argv[1] = NULL;
        a.argc = 1;
    }
    if (!err)
        err = process_exec(&a, r);
    if (a.file)
        file_put(a.file);
    free_strings(a.argv, a.argc);
    free_strings(a.envp, a.envc);
    kfree(a.path);
    return err;
}

static char *user_path(uptr p, int *err)
{
    char *path = kmalloc(4096, 0);
    ssize_t n = path ? strncpy_from_user(path, p, 4096) : -ENOMEM;
    *err = n < 0 ? (int)n : 0;
    if (n < 0) {
        kfree(path);
        return NULL;
    }
    return path;
}

long sys_execve(struct regs *r)
{
    int err;
    char *path = user_path(r->arg[0], &err);
    if (!path)
        return err;
    if (!*path) {
        kfree(path);
        return -ENOENT;
    }
    return do_exec(r, path, NULL, r->arg[1], r->arg[2]);
}

long sys_execveat(struct regs *r)
{
    int err, dirfd = (int)r->arg[0];
    u32 flags = (u32)r->arg[4];
    if (flags & ~(AT_EMPTY_PATH_K | AT_SYMLINK_NOFOLLOW_K))
        return -EINVAL;
    char *path = user_path(r->arg[1], &err);
    if (!path)
        return err;
    struct file *f;
    if (!*path) {
        f = flags & AT_EMPTY_PATH_K ? fd_any(dirfd) : err_ptr(-ENOENT);
        if (!f)
            f = err_ptr(-EBADF);
    } else {
        f = vfs_openat(dirfd, path, flags & AT_SYMLINK_NOFOLLOW_K ? 0400000 : 0, 0);   // O_NOFOLLOW
    }
    struct kstat st;
    err = is_err(f) ? (int)ptr_err(f) : vfs_stat(f, &st);
    if (!err && ((st.mode & 0170000) != 0100000 || !exec_permitted(&st)))
        err = -EACCES;
    if (err) {
        if (!is_err(f))
            file_put(f);
        kfree(path);
        return err;
    }
    if (!*path || (path[0] != '/' && dirfd != -100))    // the name by which the program may reopen itself
        snprintf(path, 4096, "/dev/fd/%d", dirfd);
    if (f->flags & 010000000) {                         // O_PATH: only a place so far
        file_put(f);
        f = vfs_open(path, 0, 0);
        if (is_err(f)) {
            kfree(path);
            return ptr_err(f);
        }
    }
    return do_exec(r, path, f, r->arg[2], r->arg[3]);
}

bool exec_permitted(const struct kstat *st)
{
    const struct cred *c = current_cred();
    if (capable(CAP_DAC_OVERRIDE))
        return st->mode & 0111;
    if (c->fsuid == st->uid)
        return st->mode & 0100;
    return st->mode & (cred_in_group(c, st->gid) ? 0010 : 0001);
}

long sys_set_tid_address(struct regs *r)
{
    current()->clear_child_tid = r->arg[0];
    return current()->tid;
}
