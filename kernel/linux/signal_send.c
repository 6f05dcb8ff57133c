// SPDX-License-Identifier: Apache-2.0
// Sending and taking signals: the queues, who is woken, what is dropped. POSIX and signal(7).
#include "errno.h"
#include "itimer.h"
#include "kmalloc.h"
#include "lib.h"
#include "page.h"
#include "process.h"
#include "signal_priv.h"

#define QUEUED_MAX 65536u        // of the whole process, whatever RLIMIT_SIGPENDING says, for the memory's sake

// A queued signal with its information.
struct sigq {
    struct list node;
    struct siginfo_k info;
};

static u32 nr_queued;           // sig_lock

static const char *const names[] = {
    "", "SIGHUP", "SIGINT", "SIGQUIT", "SIGILL", "SIGTRAP", "SIGABRT", "SIGBUS", "SIGFPE", "SIGKILL", "SIGUSR1", "SIGSEGV",
    "SIGUSR2", "SIGPIPE", "SIGALRM", "SIGTERM", "SIGSTKFLT", "SIGCHLD", "SIGCONT", "SIGSTOP", "SIGTSTP", "SIGTTIN",
    "SIGTTOU", "SIGURG", "SIGXCPU", "SIGXFSZ", "SIGVTALRM", "SIGPROF", "SIGWINCH", "SIGIO", "SIGPWR", "SIGSYS",
};

const char *signal_name(int sig)
{
    if (sig > 0 && sig < (int)ARRAY_SIZE(names))
        return names[sig];
    return sig >= SIG_RTMIN && sig <= SIG_MAX ? "real-time signal" : NULL;
}

void signal_queue_init(struct sigqueue *q)
{
    q->set = 0;
    list_init(&q->infos);
}

// Forgets the pending signals of `set`. sig_lock held.
void signal_queue_flush(struct sigqueue *q, sigset_k set)
{
    q->set &= ~set;
    for (struct list *l = q->infos.next, *next; l != &q->infos; l = next) {
        next = l->next;
        struct sigq *s = list_entry(l, struct sigq, node);
        if (set & SIGBIT(s->info.signo)) {
            list_remove(l);
            kfree(s);
            nr_queued--;
        }
    }
}

sigset_k signal_pending_set(const struct thread *t)
{
    return t->pending.set | (t->proc ? t->proc->pending.set : 0);
}

bool signal_pending(const struct thread *t)
{
    const struct process *p = t->proc;
    if (!p)
        return false;
    return (signal_pending_set(t) & ~t->sigmask) || p->exiting || (p->exec_thread && p->exec_thread != t) || p->stopped;
}

static bool dropped(const struct process *p, const struct thread *t, int sig)
{
    sigset_k kept = t ? t->sigmask | t->sigwait : 0;
    if (kept & SIGBIT(sig))
        return false;
    uptr h = p->actions[sig - 1].handler;
    return h == SIG_HANDLER_IGN || (h == SIG_HANDLER_DFL && (SIG_DEFAULT_IGNORED & SIGBIT(sig)));
}

bool signal_ignored(struct process *p, struct thread *t, int sig)
{
    u64 flags = spin_lock_irqsave(&p->sig_lock);
    if (!t && !list_empty(&p->threads))
        t = list_entry(p->threads.next, struct thread, proc_node);
    bool ignored = dropped(p, t, sig);
    spin_unlock_irqrestore(&p->sig_lock, flags);
    return ignored;
}

static void notify(struct thread *t)
{
    t->interrupted = true;
    if (t->state == T_SLEEPING && t->sleep_intr)
        thread_wake(t);
}

static bool wants(const struct thread *t, int sig)
{
    return !(t->sigmask & SIGBIT(sig)) || (t->sigwait & SIGBIT(sig));
}

// Of the threads that take the signal, the current one is the cheapest and the first thread the usual one (Linux's complete_signal).
static void notify_process(struct process *p, int sig)
{
    struct thread *cur = current();
    if (cur->proc == p && wants(cur, sig) && cur->state != T_DEAD) {
        notify(cur);
        return;
    }
    for (struct list *l = p->threads.next; l != &p->threads; l = l->next) {
        struct thread *t = list_entry(l, struct thread, proc_node);
        if (wants(t, sig)) {
            notify(t);
            return;
        }
    }
}

static void notify_all(struct process *p)
{
    for (struct list *l = p->threads.next; l != &p->threads; l = l->next)
        notify(list_entry(l, struct thread, proc_node));
}

// Stop signals and SIGCONT cancel each other while they are still pending.
static void cancel_opposites(struct process *p, int sig)
{
    sigset_k gone = 0;
    if (sig == SIG_CONT)
        gone = SIG_STOPS;
    else if (SIG_STOPS & SIGBIT(sig))
        gone = SIGBIT(SIG_CONT);
    if (gone) {
        signal_queue_flush(&p->pending, gone);
        for (struct list *l = p->threads.next; l != &p->threads; l = l->next)
            signal_queue_flush(&list_entry(l, struct thread, proc_node)->pending, gone);
    }
    if ((sig == SIG_CONT || sig == SIG_KILL) && p->stopped) {
        p->stopped = false;
        waitq_wake_all(&p->stop_wait);
    }
}

static int enqueue(struct sigqueue *q, int sig, const struct siginfo_k *info)
{
    if (sig < SIG_RTMIN && (q->set & SIGBIT(sig)))
        return 0;               // a standard signal is pending once
    // RLIMIT_SIGPENDING is for what programs queue: kill(2) of a standard signal and the kernel's own always find room.
    bool free = !info || info->code == SI_TIMER_K || (sig < SIG_RTMIN && info->code >= 0);
    bool room = nr_queued < QUEUED_MAX && (free || nr_queued < the_process->rlim[RLIMIT_SIGPENDING_K].soft);
    struct sigq *s = room ? kmalloc(sizeof(*s), PA_ATOMIC) : NULL;
    if (!s) {
        // sigqueue(3) reports it; for a standard signal the bit suffices.
        if (sig >= SIG_RTMIN && info && info->code != SI_USER_K)
            return -EAGAIN;
        q->set |= SIGBIT(sig);
        return 0;
    }
    memset(&s->info, 0, sizeof(s->info));
    if (info)
        s->info = *info;
    else
        s->info.code = SI_KERNEL_K;
    s->info.signo = sig;
    nr_queued++;
    list_push(&q->infos, &s->node);
    q->set |= SIGBIT(sig);
    return 0;
}

static int send(struct process *p, struct thread *t, int sig, const struct siginfo_k *info)
{
    if (sig < 1 || sig > SIG_MAX)
        return -EINVAL;
    u64 flags = spin_lock_irqsave(&p->sig_lock);
    int err = 0;
    cancel_opposites(p, sig);
    // A signal to the process is judged by its first thread's mask, as in Linux.
    struct thread *judge = t;
    if (!judge && !list_empty(&p->threads))
        judge = list_entry(p->threads.next, struct thread, proc_node);
    if (!dropped(p, judge, sig)) {
        err = enqueue(t ? &t->pending : &p->pending, sig, info);
        if (!err && t && wants(t, sig))
            notify(t);
        else if (!err && !t)
            notify_process(p, sig);
        if (sig == SIG_KILL)
            notify_all(p);
    }
    spin_unlock_irqrestore(&p->sig_lock, flags);
    waitq_wake(&p->signal_wait, 0);
    return err;
}

int signal_process(struct process *p, int sig, const struct siginfo_k *info)
{
    return send(p, NULL, sig, info);
}

int signal_thread(struct thread *t, int sig, const struct siginfo_k *info)
{
    return t->proc ? send(t->proc, t, sig, info) : -ESRCH;
}

static int lowest(sigset_k set)
{
    // Faults of the instruction itself go first, so that their context is that of the instruction.
    if (set & SIG_SYNCHRONOUS)
        set &= SIG_SYNCHRONOUS;
    return __builtin_ctzll(set) + 1;
}

static void collect(struct sigqueue *q, int sig, struct siginfo_k *info)
{
    struct sigq *found = NULL;
    bool more = false;
    for (struct list *l = q->infos.next; l != &q->infos; l = l->next) {
        struct sigq *s = list_entry(l, struct sigq, node);
        if (s->info.signo != sig)
            continue;
        more = found != NULL;
        if (more)
            break;
        found = s;
    }
    if (!more)
        q->set &= ~SIGBIT(sig);
    memset(info, 0, sizeof(*info));
    info->signo = sig;
    if (found) {
        *info = found->info;
        list_remove(&found->node);
        kfree(found);
        nr_queued--;
    }
}

int signal_dequeue_locked(struct thread *t, sigset_k set, struct siginfo_k *info)
{
    struct sigqueue *q = &t->pending;
    if (!(q->set & set))
        q = &t->proc->pending;
    if (!(q->set & set))
        return 0;
    int sig = lowest(q->set & set);
    collect(q, sig, info);
    return sig;
}

int signal_dequeue(struct thread *t, sigset_k set, struct siginfo_k *info)
{
    u64 flags = spin_lock_irqsave(&t->proc->sig_lock);
    int sig = signal_dequeue_locked(t, set, info);
    spin_unlock_irqrestore(&t->proc->sig_lock, flags);
    if (sig && info->code == SI_TIMER_K)
        posix_timer_delivered(info);
    return sig;
}

void signal_retarget(struct thread *leaving)
{
    struct process *p = leaving->proc;
    sigset_k set = p->pending.set;
    for (int sig = 1; set; sig++, set >>= 1) {
        if (!(set & 1))
            continue;
        for (struct list *l = p->threads.next; l != &p->threads; l = l->next) {
            struct thread *t = list_entry(l, struct thread, proc_node);
            if (t != leaving && wants(t, sig)) {
                notify(t);
                break;
            }
        }
    }
}

void signal_set_mask(sigset_k mask)
{
    struct thread *t = current();
    struct process *p = t->proc;
    u64 flags = spin_lock_irqsave(&p->sig_lock);
    sigset_k newly = mask & ~t->sigmask & ~SIG_UNMASKABLE;
    t->sigmask = mask & ~SIG_UNMASKABLE;
    if (newly & p->pending.set)
        signal_retarget(t);
    if (signal_pending_set(t) & ~t->sigmask)
        t->interrupted = true;
    spin_unlock_irqrestore(&p->sig_lock, flags);
}

void signal_exec(struct process *p)
{
    u64 flags = spin_lock_irqsave(&p->sig_lock);
    for (int i = 0; i < SIG_MAX; i++) {
        if (p->actions[i].handler != SIG_HANDLER_IGN)
            p->actions[i].handler = SIG_HANDLER_DFL;
        p->actions[i].flags = 0;
        p->actions[i].restorer = 0;
        p->actions[i].mask = 0;
    }
    spin_unlock_irqrestore(&p->sig_lock, flags);
}

void signal_force(int sig, const struct siginfo_k *info)
{
    struct thread *t = current();
    struct process *p = t->proc;
    u64 flags = spin_lock_irqsave(&p->sig_lock);
    struct sigaction_k *a = &p->actions[sig - 1];
    if ((t->sigmask & SIGBIT(sig)) || a->handler == SIG_HANDLER_IGN) {
        a->handler = SIG_HANDLER_DFL;       // nobody can handle it: it kills
        t->sigmask &= ~SIGBIT(sig);
    }
    if (t->pending.set & SIGBIT(sig))
        signal_queue_flush(&t->pending, SIGBIT(sig));
    enqueue(&t->pending, sig, info);
    t->interrupted = true;
    spin_unlock_irqrestore(&p->sig_lock, flags);
}
