// SPDX-License-Identifier: Apache-2.0
// Threads, waiting, sleeping locks and deferred interrupt work (sched/). The kernel itself is never preempted: a thread
// runs until it sleeps or returns to the program. Written for several CPUs: each has its own run queue.
#ifndef UNI_SCHED_H
#define UNI_SCHED_H

#include "list.h"
#include "rbtree.h"
#include "regs.h"
#include "signal.h"
#include "spinlock.h"
#include "types.h"

struct process;
struct fpu_state;

enum thread_state { T_RUNNABLE, T_RUNNING, T_SLEEPING, T_STOPPED, T_DEAD };

#define KSTACK_SIZE 8192ul      // one guard page below each; -Wframe-larger-than keeps functions honest

struct thread {
    u64 ksp;                    // offset 0: saved kernel stack pointer (arch/x86_64/switch.S)
    u64 kstack_top;             // offset 8
    void *kstack;               // what vmalloc gave; NULL for the boot stack
    u64 fs_base, gs_base;       // the program's TLS
    struct fpu_state *fpu;      // XSAVE area; NULL for kernel threads
    enum thread_state state;    // run queue lock
    int cpu;
    i32 nice;
    u64 affinity;
    struct list run_node;       // run queue
    u64 slice_end;              // ns, monotonic
    u64 cpu_ns;                 // time on the CPU up to run_since; thread_cpu_ns() adds what has passed since
    u64 run_since;              // ns, monotonic
    u64 last_burst;             // ns it ran before it last left the CPU
    u64 nvcsw, nivcsw;          // voluntary and forced switches
    u64 minflt, majflt;         // mm/fault.c counts
    bool sleep_intr;            // sleeping and a signal may end it
    bool preempted;             // was put back on the run queue by the slice's end
    struct process *proc;       // NULL: kernel thread
    struct list proc_node;      // process->threads
    int tid;
    char name[16];
    struct regs *regs;          // the program's registers while in the kernel
    // Signals (signal.h), under process->sig_lock
    sigset_k sigmask, saved_mask;
    bool restore_mask;          // sigsuspend, ppoll, ...: saved_mask comes back after delivery
    struct sigqueue pending;
    struct sigaltstack_k altstack;
    sigset_k sigwait;           // sigtimedwait: signals that wake it although they are blocked
    u64 trap_nr, trap_error, trap_addr;         // of the last fault (arch sets them), for signal frames
    volatile bool interrupted;  // a signal (or exit) is pending: interruptible sleeps end, user return takes the slow path
    volatile bool resched;      // the slice is over
    // Linux's per-thread registrations
    uptr clear_child_tid, robust_list;
    u64 robust_len;
    uptr rseq;
    // restart_syscall(2)
    long (*restart_fn)(struct thread *);
    u64 restart_arg[4];
    void *wait_data;            // of the sleeping subsystem
    u32 sched_policy, sched_prio;
    u32 prio, pi_prio;          // what the run queue goes by: 0, or 1..99 for real time; and what waiters for its locks lend it
    bool reset_on_fork;         // SCHED_RESET_ON_FORK
    u32 uticks, sticks;         // samples that found it in the program, in the kernel
    struct cputime_prev { u64 user, system; } shown;    // what was reported last: never goes back
    u64 timer_slack;
    int exit_code;              // wait status
    struct cred *cred;          // NULL: a thread of the kernel's own
    struct sem_undo_list *sem_undos;    // linux/sysv_sem.c
    bool cpu_timers;            // a CPU-time timer may have to be checked at the next tick
};

// --- Per CPU ------------------------------------------------------------------------------------------------------
struct cpu {
    struct thread *current;     // offset 0: %gs:0
    u64 user_rsp;               // offset 8: scratch of the system call entry
    u64 kstack_top;             // offset 16: of the current thread
    struct cpu *self;           // offset 24
    u32 bh_count, irq_count;    // offsets 32, 36
    u32 softirq_pending;
    int id;
    struct thread *idle;
    spinlock_t rq_lock;         // guards the run queue below
    struct list rq;
    struct list rt_rq;          // real-time threads, the highest priority first
    u32 nr_running;             // on both
    u64 rt_period, rt_used;     // ns: start of the present period, real-time threads' share of it
    bool irq_from_user;         // the last timer interrupt came while the program ran
    struct thread *fpu_owner;   // whose FPU state the registers hold
    struct thread *dead;        // a thread whose stack waits to be freed
};

enum { POLICY_OTHER = 0, POLICY_FIFO = 1, POLICY_RR = 2, POLICY_BATCH = 3, POLICY_IDLE = 5 };
#define RR_SLICE_NS (100 * 1000000ull)
static inline bool policy_realtime(u32 policy) { return policy == POLICY_FIFO || policy == POLICY_RR; }

extern struct cpu cpus[NR_CPUS];        // sched/thread.c; arch points each CPU's GS base at its own before anything else runs

// With one CPU its place is known when the kernel is linked; GS points there too, for entry.S.
static inline struct cpu *this_cpu(void)
{
    _Static_assert(NR_CPUS == 1, "more CPUs find their own by %gs:24");
    return &cpus[0];
}

static inline struct thread *current(void)
{
    struct thread *t;
    __asm__ volatile("movq %%gs:0, %0" : "=r"(t));
    return t;
}

// arch_switch is called with interrupts off. A new thread starts with interrupts off in arch's trampoline, which enables them
// (sti before fn(arg); iretq for the program), so nothing has to be called on the way in.
void sched_init(void);          // the boot stack becomes the idle thread
void sched_idle_loop(void) NORETURN;   // boot/main.c ends here
u64 thread_cpu_ns(const struct thread *t);      // CPU time used until now
void thread_free(struct thread *t);             // one that never ran
struct thread *kthread_create(const char *name, void (*fn)(void *), void *arg);   // runnable; NULL when out of memory
struct thread *thread_create_user(struct process *p, const struct regs *regs);     // not yet runnable
void thread_wake(struct thread *t);             // from any context
void thread_yield(void);
void sched_set_prio(struct thread *t);          // after a change of sched_policy, sched_prio or pi_prio
void schedule(void);                            // gives the CPU away; the caller has set its state
void thread_exit(void) NORETURN;                // the end of the current thread; its stack is freed by the next one
bool sched_others_runnable(void);
void sched_arm_tick(u64 ns);                    // the current thread's CPU-time timers want to be looked at soon
void sched_tick(void);                          // the slice timer's end (softirq)

// --- Waiting ---------------------------------------------------------------------------------------------------
// A queue of waiters. A waiter is usually a thread; with `fn` set it is a callback (epoll), called with the queue's lock held.
struct waitq {
    spinlock_t lock;            // taken with interrupts off: wake-ups come from interrupts too
    struct list waiters;
};

struct waiter {
    struct list node;
    struct thread *thread;
    bool (*fn)(struct waiter *w, u32 events);   // returns true when it consumed an exclusive wake-up
    struct waitq *queue;
    u32 events;                                 // poll events this waiter cares for; 0 = all
    bool exclusive;                             // wake-one semantics
    bool woken;
};

#define WAITQ_INIT(name) { SPINLOCK_INIT, LIST_INIT((name).waiters) }
void waitq_init(struct waitq *q);
void waitq_add(struct waitq *q, struct waiter *w);        // w->thread/fn already set
void waitq_del(struct waiter *w);                         // harmless when it is on no queue
void waitq_wake_n(struct waitq *q, u32 events, unsigned n);
// All that are not exclusive and one that is; 0 = any event. Mostly nobody waits.
static inline void waitq_wake(struct waitq *q, u32 events)
{
    if (!list_empty(&q->waiters))
        waitq_wake_n(q, events, 1);
}
void waitq_wake_all(struct waitq *q);

// The pattern, which has no lost wake-ups because prepare comes before the test:
//     struct waiter w;
//     waitq_prepare(&q, &w);
//     while (!condition) {
//         err = waitq_sleep(&w, deadline, true);   // 0 woken, -ETIMEDOUT, -ERESTARTSYS (signal)
//         if (err) break;
//     }
//     waitq_finish(&w);
#define NO_DEADLINE (~0ull)
#define WALL_DEADLINE (1ull << 63)      // with this bit the rest is a time of the wall clock, which may be set meanwhile
void wall_sleepers_clock_set(void);
void waitq_prepare(struct waitq *q, struct waiter *w);
int waitq_sleep(struct waiter *w, u64 deadline_ns, bool interruptible);   // monotonic ns; re-armed when it returns
void waitq_finish(struct waiter *w);
// Until a signal of `set` is pending (0; t->sigwait is already set), any other deliverable one (-ERESTARTSYS) or the deadline (-ETIMEDOUT).
int sleep_signal(u64 deadline_ns, sigset_k set);
int sleep_flag(volatile bool *flag, u64 deadline_ns);   // until somebody sets *flag and wakes the thread: 0, -ETIMEDOUT, -ERESTARTSYS
int sleep_until(u64 deadline_ns, bool interruptible);                      // 0 at the deadline, -ERESTARTSYS

struct mutex {
    spinlock_t lock;
    struct thread *owner;
    struct list waiters;
};
#define MUTEX_INIT(name) { SPINLOCK_INIT, NULL, LIST_INIT((name).waiters) }
void mutex_init(struct mutex *m);
void mutex_lock(struct mutex *m);
bool mutex_trylock(struct mutex *m);
void mutex_unlock(struct mutex *m);

struct rwlock {                 // many readers or one writer; writers do not starve
    spinlock_t lock;
    int readers;                // -1: a writer
    struct list waiters;
};
void rw_init(struct rwlock *l);
void rw_read_lock(struct rwlock *l);
void rw_read_unlock(struct rwlock *l);
void rw_write_lock(struct rwlock *l);
void rw_write_unlock(struct rwlock *l);

// --- Soft interrupts: work that interrupt handlers leave for a moment when interrupts are on again. ---------------
// They run at the end of the outermost interrupt, or at bh_enable(), on the current stack, never nested, and must not sleep.
// Raised outside an interrupt and outside bh_disable(), they run in the thread ksoftirqd.
enum { SOFTIRQ_TIMER, SOFTIRQ_NET, SOFTIRQ_BLOCK, SOFTIRQ_CONSOLE, SOFTIRQ_NR };
void softirq_init(void);        // after sched_init
void softirq_register(int nr, void (*fn)(void));
void softirq_raise(int nr);
void softirq_run(void);         // arch: at the end of an interrupt, when bh_count is 0
void bh_disable(void);
void bh_enable(void);           // runs what is pending when this was the outermost

#endif
