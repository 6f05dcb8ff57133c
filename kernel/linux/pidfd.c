// SPDX-License-Identifier: Apache-2.0
// A file that stands for the process, pidfd_open(2): it never becomes readable, because nobody outlives the process. And waiting for
// children, of which there are none; tracing, for which there is nobody.
#include "errno.h"
#include "fs.h"
#include "lib.h"
#include "process.h"
#include "signal_priv.h"
#include "syscalls.h"
#include "uaccess.h"

static u32 pidfd_poll(struct file *f, struct poll_table *pt)
{
    (void)f;
    (void)pt;
    return 0;
}

static void pidfd_info(struct file *f, struct seqbuf *s)
{
    (void)f;
    seq_printf(s, "Pid:\t%d\nNSpid:\t%d\n", the_process->pid, the_process->pid);
}

static const struct file_ops pidfd_ops = { .poll = pidfd_poll, .info = pidfd_info };

long sys_pidfd_open(struct regs *r)
{
    int pid = (int)r->arg[0];
    u32 flags = (u32)r->arg[1];
    if (flags & ~04000u)            // PIDFD_NONBLOCK
        return -EINVAL;
    if (pid <= 0)
        return -EINVAL;
    if (pid != the_process->pid) {
        spin_lock(&the_process->thread_lock);
        bool thread = process_find_thread(pid) != NULL;
        spin_unlock(&the_process->thread_lock);
        return thread ? -ENOENT : -ESRCH;
    }
    struct file *f = anon_file(&pidfd_ops, NULL, 2 | flags, 0600, "anon_inode:[pidfd]");
    if (is_err(f))
        return ptr_err(f);
    int fd = fd_install(f, 0, true);
    if (fd < 0)
        file_put(f);
    return fd;
}

// The directory /proc/1 stands for the process as well, as it did before pidfd_open existed.
static bool stands_for_process(struct file *f)
{
    char path[16];
    if (f->ops == &pidfd_ops)
        return true;
    return f->path && path_string(f->path, path, sizeof(path)) > 0 && strcmp(path, "/proc/1") == 0;
}

long sys_pidfd_send_signal(struct regs *r)
{
    struct siginfo_k info;
    int sig = (int)r->arg[1];
    if (r->arg[3])
        return -EINVAL;
    struct file *f = fd_get((int)r->arg[0]);
    if (!f)
        return -EBADF;
    bool ok = stands_for_process(f);
    file_put(f);
    if (!ok)
        return -EBADF;
    if (r->arg[2]) {
        if (copy_from_user(&info, r->arg[2], sizeof(info)))
            return -EFAULT;
        if (info.signo != sig)
            return -EINVAL;
    } else {
        info_user(&info, sig, SI_USER_K);
    }
    return send_to_process(sig, &info);
}

long sys_pidfd_getfd(struct regs *r)
{
    struct file *f = r->arg[2] ? NULL : fd_get((int)r->arg[0]);
    if (!f)
        return r->arg[2] ? -EINVAL : -EBADF;
    bool ok = f->ops == &pidfd_ops;
    file_put(f);
    f = ok ? fd_any((int)r->arg[1]) : NULL;
    if (!f)
        return -EBADF;
    int fd = fd_install(f, 0, true);
    if (fd < 0)
        file_put(f);
    return fd;
}

// --- waiting ------------------------------------------------------------------------------------------------------------
#define WAIT4_OPTIONS 0xe000000bu       // WNOHANG, WUNTRACED, WCONTINUED, __WNOTHREAD, __WALL, __WCLONE
#define WAITID_OPTIONS 0xe100000fu      // and WEXITED, WNOWAIT
#define WAITID_EVENTS 0xeu
enum { P_ALL_K, P_PID_K, P_PGID_K, P_PIDFD_K };

long sys_wait4(struct regs *r)
{
    if ((u32)r->arg[2] & ~WAIT4_OPTIONS)
        return -EINVAL;
    return (int)r->arg[0] == (int)0x80000000 ? -ESRCH : -ECHILD;
}

long sys_waitid(struct regs *r)
{
    u32 options = (u32)r->arg[3], which = (u32)r->arg[0];
    int id = (int)r->arg[1];
    if ((options & ~WAITID_OPTIONS) || !(options & WAITID_EVENTS) || which > P_PIDFD_K)
        return -EINVAL;
    if ((which == P_PID_K && id <= 0) || ((which == P_PGID_K || which == P_PIDFD_K) && id < 0))
        return -EINVAL;
    struct file *f = which == P_PIDFD_K ? fd_get(id) : NULL;
    bool bad = which == P_PIDFD_K && (!f || f->ops != &pidfd_ops);
    if (f)
        file_put(f);
    return bad ? -EBADF : -ECHILD;
}

// --- tracing ------------------------------------------------------------------------------------------------------------
enum { PTRACE_TRACEME_K = 0, PTRACE_ATTACH_K = 16, PTRACE_SEIZE_K = 0x4206 };

// Nobody traces its own threads (EPERM), and nothing else is there (ESRCH).
long sys_ptrace(struct regs *r)
{
    u64 request = r->arg[0];
    if (request == PTRACE_TRACEME_K)
        return -EPERM;
    spin_lock(&the_process->thread_lock);
    bool own = process_find_thread((int)r->arg[1]) != NULL;
    spin_unlock(&the_process->thread_lock);
    return own && (request == PTRACE_ATTACH_K || request == PTRACE_SEIZE_K) ? -EPERM : -ESRCH;
}
