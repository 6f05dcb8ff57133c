// SPDX-License-Identifier: Apache-2.0
// Acting on signals on the way back to the program: handlers, default actions, restarting of interrupted calls.
#include "boot.h"
#include "crash.h"
#include "errno.h"
#include "itimer.h"
#include "lib.h"
#include "printk.h"
#include "process.h"
#include "signal_priv.h"

void signal_fault(int sig, int code, uptr addr, struct regs *r)
{
    struct siginfo_k info = { .signo = sig, .code = code };
    info.fault.addr = addr;
    current()->regs = r;
    if (!current()->proc)
        panic_regs(r, "fault in a kernel thread");
    signal_force(sig, &info);
}

// A crash is told on the console and on the control port before the machine ends.
void signal_fatal(int sig, const struct siginfo_k *info, struct regs *r)
{
    struct process *p = the_process;
    static bool told;               // several threads may crash at once; the first one's report is the one that matters
    if ((SIG_CORE & SIGBIT(sig)) && !p->exiting && !told) {
        told = true;
        char rip[20], addr[20];
        bool fault = (SIG_SYNCHRONOUS & SIGBIT(sig)) && info->code > 0 && info->code != SI_KERNEL_K;
        snprintf(rip, sizeof(rip), "0x%lx", (unsigned long)r->rip);
        snprintf(addr, sizeof(addr), "0x%lx", (unsigned long)(fault ? info->fault.addr : 0));
        printk(LOG_ERR, "uni: %s: killed by %s (code %d), address %s\n", p->name, signal_name(sig), info->code, addr);
        print_regs(r);
        crash_backtrace(r);
        struct kv kv[] = { { "signal", NULL, sig }, { "rip", rip, 0 }, { "addr", addr, 0 } };
        control_event("crash", kv, ARRAY_SIZE(kv));
    }
    process_exit_group(sig);
}

enum restart { RESTART_NO, RESTART_SAME, RESTART_BLOCK };

static enum restart restart_kind(long rax, bool handler, bool sa_restart)
{
    switch (-rax) {
    case ERESTARTNOINTR:
        return RESTART_SAME;
    case ERESTARTSYS:
        return !handler || sa_restart ? RESTART_SAME : RESTART_NO;
    case ERESTARTNOHAND:
        return handler ? RESTART_NO : RESTART_SAME;
    default:
        return handler ? RESTART_NO : RESTART_BLOCK;
    }
}

// An interrupted system call is either run again or reports EINTR. Both `syscall` and `int 0x80` are two bytes long.
static void fix_restart(struct regs *r, bool handler, bool sa_restart)
{
    long rax = (long)r->rax;
    bool interrupted = rax == -ERESTARTSYS || rax == -ERESTARTNOINTR || rax == -ERESTARTNOHAND || rax == -ERESTART_RESTARTBLOCK;
    if ((i64)r->orig_rax < 0 || !interrupted)
        return;
    enum restart k = restart_kind(rax, handler, sa_restart);
    if (k == RESTART_NO) {
        r->rax = (u64)-EINTR;
    } else {
        r->rax = k == RESTART_BLOCK ? 219 : r->orig_rax;    // 219: restart_syscall
        r->rip -= 2;
        r->rcx = r->rip;                                    // what sysret returns to
    }
    r->orig_rax = ~0ull;
}

static void stop_process(struct process *p)
{
    u64 flags = spin_lock_irqsave(&p->sig_lock);
    p->stopped = true;
    for (struct list *l = p->threads.next; l != &p->threads; l = l->next) {
        struct thread *t = list_entry(l, struct thread, proc_node);
        t->interrupted = true;
        if (t->state == T_SLEEPING && t->sleep_intr)
            thread_wake(t);
    }
    spin_unlock_irqrestore(&p->sig_lock, flags);
}

static void wait_while_stopped(struct process *p)
{
    struct waiter w;
    waitq_prepare(&p->stop_wait, &w);
    while (p->stopped && !p->exiting)
        waitq_sleep(&w, NO_DEADLINE, false);
    waitq_finish(&w);
}

// Takes one signal. Returns false when there is none left, or a handler could not be set up any further.
static bool deliver_one(struct thread *t, struct regs *r)
{
    struct process *p = t->proc;
    struct siginfo_k info;
    u64 flags = spin_lock_irqsave(&p->sig_lock);
    int sig = signal_dequeue_locked(t, ~t->sigmask, &info);
    struct sigaction_k act = { 0 };
    if (sig) {
        act = p->actions[sig - 1];
        if (act.handler > SIG_HANDLER_IGN && (act.flags & SA_RESETHAND_K))
            p->actions[sig - 1].handler = SIG_HANDLER_DFL;
    }
    spin_unlock_irqrestore(&p->sig_lock, flags);
    if (!sig)
        return false;
    if (info.code == SI_TIMER_K)
        posix_timer_delivered(&info);
    if (act.handler == SIG_HANDLER_IGN)
        return true;
    if (act.handler == SIG_HANDLER_DFL) {
        if (SIG_DEFAULT_IGNORED & SIGBIT(sig))
            return true;
        if (SIG_STOPS & SIGBIT(sig)) {
            stop_process(p);
            wait_while_stopped(p);
            return true;
        }
        signal_fatal(sig, &info, r);
    }
    fix_restart(r, true, act.flags & SA_RESTART_K);
    sigset_k old = t->restore_mask ? t->saved_mask : t->sigmask;
    t->restore_mask = false;
    if (sigframe_setup(r, sig, &act, &info, old)) {
        if (sig == SIG_SEGV)        // no stack for its own handler
            p->actions[SIG_SEGV - 1].handler = SIG_HANDLER_DFL;
        signal_force(SIG_SEGV, NULL);
        return true;
    }
    signal_set_mask(t->sigmask | act.mask | (act.flags & SA_NODEFER_K ? 0 : SIGBIT(sig)));
    return true;
}

void signal_deliver(struct regs *r)
{
    struct thread *t = current();
    struct process *p = t->proc;
    if (!p) {
        t->interrupted = false;
        return;
    }
    do {
        t->interrupted = false;
        if (unlikely(p->exiting || (p->exec_thread && p->exec_thread != t)))
            process_thread_exit(p->exit_status);
        if (t->cpu_timers)
            cpu_timers_check(t);
        if (unlikely(p->rlim[RLIMIT_CPU_K].soft != ~0ull))
            rlimit_cpu_check(p);
        if (p->stopped)
            wait_while_stopped(p);
        while (deliver_one(t, r))
            ;
    } while (t->interrupted && signal_pending(t));
    fix_restart(r, false, false);
    if (t->restore_mask) {
        t->restore_mask = false;
        signal_set_mask(t->saved_mask);
    }
}
