// SPDX-License-Identifier: Apache-2.0
// The system calls about signals: signal(7), sigaction(2), sigaltstack(2), sigwaitinfo(2).
#include "errno.h"
#include "fs.h"
#include "lib.h"
#include "process.h"
#include "signal_priv.h"
#include "syscalls.h"
#include "time.h"
#include "uaccess.h"

#define SIGSET_SIZE 8
#define SUPPORTED_FLAGS 0xdc000007ul    // what is kept of sa_flags: all of UAPI_SA_FLAGS on x86-64

long sys_rt_sigaction(struct regs *r)
{
    struct process *p = the_process;
    int sig = (int)r->arg[0];
    struct sigaction_k new = { 0 }, old;
    if (r->arg[3] != SIGSET_SIZE)
        return -EINVAL;
    if (r->arg[1] && copy_from_user(&new, r->arg[1], sizeof(new)))
        return -EFAULT;
    if (sig < 1 || sig > SIG_MAX || (r->arg[1] && (SIG_UNMASKABLE & SIGBIT(sig))))
        return -EINVAL;
    u64 flags = spin_lock_irqsave(&p->sig_lock);
    old = p->actions[sig - 1];
    if (r->arg[1]) {
        new.mask &= ~SIG_UNMASKABLE;
        new.flags &= SUPPORTED_FLAGS;
        p->actions[sig - 1] = new;
        // POSIX: ignoring a signal forgets a pending one.
        if (new.handler == SIG_HANDLER_IGN || (new.handler == SIG_HANDLER_DFL && (SIG_DEFAULT_IGNORED & SIGBIT(sig)))) {
            signal_queue_flush(&p->pending, SIGBIT(sig));
            for (struct list *l = p->threads.next; l != &p->threads; l = l->next)
                signal_queue_flush(&list_entry(l, struct thread, proc_node)->pending, SIGBIT(sig));
        }
    }
    spin_unlock_irqrestore(&p->sig_lock, flags);
    if (r->arg[2] && copy_to_user(r->arg[2], &old, sizeof(old)))
        return -EFAULT;
    return 0;
}

long sys_rt_sigprocmask(struct regs *r)
{
    struct thread *t = current();
    sigset_k set, old = t->sigmask;
    if (r->arg[3] != SIGSET_SIZE)
        return -EINVAL;
    if (r->arg[1]) {
        if (copy_from_user(&set, r->arg[1], sizeof(set)))
            return -EFAULT;
        switch ((int)r->arg[0]) {
        case 0:     // SIG_BLOCK
            set |= old;
            break;
        case 1:     // SIG_UNBLOCK
            set = old & ~set;
            break;
        case 2:     // SIG_SETMASK
            break;
        default:
            return -EINVAL;
        }
        signal_set_mask(set);
    }
    if (r->arg[2] && copy_to_user(r->arg[2], &old, sizeof(old)))
        return -EFAULT;
    return 0;
}

long sys_rt_sigpending(struct regs *r)
{
    if (r->arg[1] > SIGSET_SIZE)
        return -EINVAL;
    sigset_k set = signal_pending_set(current()) & current()->sigmask;
    return copy_to_user(r->arg[0], &set, r->arg[1]);
}

int signal_temp_mask(uptr set, u64 size)
{
    struct thread *t = current();
    sigset_k mask;
    if (!set)
        return 0;
    if (size != SIGSET_SIZE)
        return -EINVAL;
    if (copy_from_user(&mask, set, sizeof(mask)))
        return -EFAULT;
    t->saved_mask = t->sigmask;
    t->restore_mask = true;
    signal_set_mask(mask);
    return 0;
}

void signal_temp_mask_end(long result)
{
    struct thread *t = current();
    if (!t->restore_mask)
        return;
    bool interrupted = result == -EINTR || (result <= -ERESTARTSYS && result >= -ERESTART_RESTARTBLOCK);
    if (interrupted && signal_pending(t))
        return;                     // signal_deliver puts it back, after the handler has seen the temporary one
    t->restore_mask = false;
    signal_set_mask(t->saved_mask);
}

long sys_rt_sigsuspend(struct regs *r)
{
    if (r->arg[1] != SIGSET_SIZE)
        return -EINVAL;
    sigset_k mask;
    if (copy_from_user(&mask, r->arg[0], sizeof(mask)))
        return -EFAULT;
    int err = signal_temp_mask(r->arg[0], r->arg[1]);
    if (err)
        return err;
    sleep_until(NO_DEADLINE, true);
    current()->interrupted = true;
    return -ERESTARTNOHAND;
}

long sys_pause(struct regs *r)
{
    (void)r;
    sleep_until(NO_DEADLINE, true);
    return -ERESTARTNOHAND;
}

long sys_rt_sigtimedwait(struct regs *r)
{
    struct thread *t = current();
    struct siginfo_k info;
    sigset_k set;
    u64 ns = NO_DEADLINE;
    if (r->arg[3] != SIGSET_SIZE)
        return -EINVAL;
    if (copy_from_user(&set, r->arg[0], sizeof(set)))
        return -EFAULT;
    if (r->arg[2]) {
        int err = timespec_from_user(r->arg[2], &ns);
        if (err)
            return err;
    }
    set &= ~SIG_UNMASKABLE;
    u64 deadline = r->arg[2] ? deadline_after(ns) : NO_DEADLINE;
    t->sigwait = set;
    int sig = signal_dequeue(t, set, &info);
    long err = -EAGAIN;
    // A wake-up for another signal ends the wait: EINTR, as on Linux.
    while (!sig && ns) {
        err = sleep_signal(deadline, set);
        sig = signal_dequeue(t, set, &info);
        if (err)
            break;
    }
    t->sigwait = 0;
    if (!sig)
        return err == -ETIMEDOUT ? -EAGAIN : err == -ERESTARTSYS ? -EINTR : err;
    if (signal_pending(t))
        t->interrupted = true;
    if (r->arg[1] && copy_to_user(r->arg[1], &info, sizeof(info)))
        return -EFAULT;
    return sig;
}

int altstack_set(struct thread *t, const struct sigaltstack_k *ss, u64 sp)
{
    u32 mode = (u32)ss->flags & ~SS_AUTODISARM_K;
    if (on_altstack(t, sp))
        return -EPERM;
    if (mode != SS_DISABLE_K && mode != SS_ONSTACK_K && mode != 0)
        return -EINVAL;
    if (mode == SS_DISABLE_K) {
        t->altstack = (struct sigaltstack_k){ .flags = ss->flags };
        return 0;
    }
    if (ss->size < 2048)            // MINSIGSTKSZ
        return -ENOMEM;
    t->altstack = *ss;
    return 0;
}

long sys_sigaltstack(struct regs *r)
{
    struct thread *t = current();
    struct sigaltstack_k new, old = t->altstack;
    old.pad = 0;
    old.flags &= ~SS_ONSTACK_K;     // given is not in use
    if (!old.size)
        old.flags = (i32)(SS_DISABLE_K | ((u32)old.flags & SS_AUTODISARM_K));
    else if (on_altstack(t, r->rsp))
        old.flags |= SS_ONSTACK_K;
    if (r->arg[0]) {
        if (copy_from_user(&new, r->arg[0], sizeof(new)))
            return -EFAULT;
        int err = altstack_set(t, &new, r->rsp);
        if (err)
            return err;
    }
    if (r->arg[1] && copy_to_user(r->arg[1], &old, sizeof(old)))
        return -EFAULT;
    return 0;
}

void info_user(struct siginfo_k *info, int sig, int code)
{
    memset(info, 0, sizeof(*info));
    info->signo = sig;
    info->code = code;
    info->kill.pid = the_process->pid;
    info->kill.uid = current_cred()->uid;
}

// Signal 0 only asks whether the target is there.
long send_to_process(int sig, const struct siginfo_k *info)
{
    if (sig < 0 || sig > SIG_MAX)
        return -EINVAL;
    return sig ? signal_process(the_process, sig, info) : 0;
}

long sys_kill(struct regs *r)
{
    int pid = (int)r->arg[0], sig = (int)r->arg[1];
    struct siginfo_k info;
    info_user(&info, sig, SI_USER_K);
    if (sig < 0 || sig > SIG_MAX)
        return -EINVAL;
    // 0 and -1: the own group, everybody (but oneself, and there is nobody else); the group's number is the process's.
    if (pid == -1 || pid == (int)0x80000000)
        return -ESRCH;
    int self = the_process->pid;
    bool thread = false;
    if (pid > 0 && pid != self) {
        spin_lock(&the_process->thread_lock);
        thread = process_find_thread(pid) != NULL;      // Linux takes any thread's number for the process
        spin_unlock(&the_process->thread_lock);
    }
    if (pid != 0 && pid != self && pid != -self && !thread)
        return -ESRCH;
    return send_to_process(sig, &info);
}

static long send_to_thread(int tgid, int tid, int sig, const struct siginfo_k *info)
{
    struct process *p = the_process;
    if (sig < 0 || sig > SIG_MAX)
        return -EINVAL;
    if (tgid != -1 && tgid != p->pid)
        return -ESRCH;
    spin_lock(&p->thread_lock);
    struct thread *t = process_find_thread(tid);
    long err = t ? 0 : -ESRCH;
    if (t && sig)
        err = signal_thread(t, sig, info);
    spin_unlock(&p->thread_lock);
    return err;
}

long sys_tkill(struct regs *r)
{
    struct siginfo_k info;
    if ((int)r->arg[0] <= 0)
        return -EINVAL;
    info_user(&info, (int)r->arg[1], SI_TKILL_K);
    return send_to_thread(-1, (int)r->arg[0], (int)r->arg[1], &info);
}

long sys_tgkill(struct regs *r)
{
    struct siginfo_k info;
    if ((int)r->arg[0] <= 0 || (int)r->arg[1] <= 0)
        return -EINVAL;
    info_user(&info, (int)r->arg[2], SI_TKILL_K);
    return send_to_thread((int)r->arg[0], (int)r->arg[1], (int)r->arg[2], &info);
}

long sys_rt_sigqueueinfo(struct regs *r)
{
    struct siginfo_k info;
    if (copy_from_user(&info, r->arg[2], sizeof(info)))
        return -EFAULT;
    info.signo = (int)r->arg[1];
    // Only to oneself may a code be used that the kernel itself uses: there is only oneself.
    if ((int)r->arg[0] != the_process->pid)
        return -ESRCH;
    return send_to_process((int)r->arg[1], &info);
}

long sys_rt_tgsigqueueinfo(struct regs *r)
{
    struct siginfo_k info;
    if (copy_from_user(&info, r->arg[3], sizeof(info)))
        return -EFAULT;
    if ((int)r->arg[0] <= 0 || (int)r->arg[1] <= 0)
        return -EINVAL;
    info.signo = (int)r->arg[2];
    return send_to_thread((int)r->arg[0], (int)r->arg[1], (int)r->arg[2], &info);
}

long sys_restart_syscall(struct regs *r)
{
    (void)r;
    struct thread *t = current();
    long (*fn)(struct thread *) = t->restart_fn;
    if (!fn)
        return -EINTR;
    t->restart_fn = NULL;
    return fn(t);
}
