// SPDX-License-Identifier: Apache-2.0
// Between the files of linux/ that deal with signals.
#ifndef UNI_SIGNAL_PRIV_H
#define UNI_SIGNAL_PRIV_H

#include "signal.h"
#include "process.h"
#include "sched.h"

enum {
    SIG_HUP = 1, SIG_INT = 2, SIG_QUIT = 3, SIG_ILL = 4, SIG_TRAP = 5, SIG_ABRT = 6, SIG_BUS = 7, SIG_FPE = 8, SIG_KILL = 9,
    SIG_USR1 = 10, SIG_SEGV = 11, SIG_USR2 = 12, SIG_PIPE = 13, SIG_ALRM = 14, SIG_TERM = 15, SIG_STKFLT = 16, SIG_CHLD = 17,
    SIG_CONT = 18, SIG_STOP = 19, SIG_TSTP = 20, SIG_TTIN = 21, SIG_TTOU = 22, SIG_URG = 23, SIG_XCPU = 24, SIG_XFSZ = 25,
    SIG_VTALRM = 26, SIG_PROF = 27, SIG_WINCH = 28, SIG_IO = 29, SIG_PWR = 30, SIG_SYS = 31, SIG_RTMIN = 32, SIG_MAX = 64,
};
#define SIG_HANDLER_DFL 0ul
#define SIG_HANDLER_IGN 1ul
#define SA_NOCLDSTOP_K 1ul
#define SA_SIGINFO_K 4ul
#define SA_ONSTACK_K 0x08000000ul
#define SA_RESTART_K 0x10000000ul
#define SA_NODEFER_K 0x40000000ul
#define SA_RESETHAND_K 0x80000000ul
#define SA_RESTORER_K 0x04000000ul
#define SS_ONSTACK_K 1
#define SS_DISABLE_K 2
#define SS_AUTODISARM_K (1u << 31)
#define SI_USER_K 0
#define SI_KERNEL_K 0x80
#define SI_QUEUE_K (-1)
#define SI_TIMER_K (-2)
#define SI_TKILL_K (-6)
#define SIG_UNMASKABLE (SIGBIT(SIG_KILL) | SIGBIT(SIG_STOP))
#define SIG_SYNCHRONOUS (SIGBIT(SIG_SEGV) | SIGBIT(SIG_BUS) | SIGBIT(SIG_ILL) | SIGBIT(SIG_TRAP) | SIGBIT(SIG_FPE) | SIGBIT(SIG_SYS))
#define SIG_STOPS (SIGBIT(SIG_STOP) | SIGBIT(SIG_TSTP) | SIGBIT(SIG_TTIN) | SIGBIT(SIG_TTOU))
#define SIG_DEFAULT_IGNORED (SIGBIT(SIG_CHLD) | SIGBIT(SIG_CONT) | SIGBIT(SIG_URG) | SIGBIT(SIG_WINCH))
#define SIG_CORE (SIG_SYNCHRONOUS | SIGBIT(SIG_QUIT) | SIGBIT(SIG_ABRT) | SIGBIT(SIG_XCPU) | SIGBIT(SIG_XFSZ))

// Takes the next signal of `set` out of the thread's or the process's queue; 0 when there is none. sig_lock held.
int signal_dequeue_locked(struct thread *t, sigset_k set, struct siginfo_k *info);
int signal_dequeue(struct thread *t, sigset_k set, struct siginfo_k *info);
void signal_set_mask(sigset_k mask);                   // of the current thread
// ppoll and relatives: mask for the duration of the call. uptr 0: none. -EINVAL, -EFAULT.
int signal_temp_mask(uptr set, u64 size);
void signal_temp_mask_end(long result);                // puts the old one back unless a signal is about to be delivered
void signal_exec(struct process *p);                   // execve: handlers become default
void signal_queue_init(struct sigqueue *q);
void signal_queue_flush(struct sigqueue *q, sigset_k set);
void signal_retarget(struct thread *leaving);          // shared signals that it was to take: others look
void signal_force(int sig, const struct siginfo_k *info);   // to the current thread; cannot be blocked or ignored
int sigframe_setup(struct regs *r, int sig, const struct sigaction_k *act, const struct siginfo_k *info, sigset_k mask);
bool on_altstack(const struct thread *t, u64 sp);
int altstack_set(struct thread *t, const struct sigaltstack_k *ss, u64 sp);
void signal_fatal(int sig, const struct siginfo_k *info, struct regs *r) NORETURN;

// linux/signal.c, for linux/pidfd.c.
void info_user(struct siginfo_k *info, int sig, int code);
long send_to_process(int sig, const struct siginfo_k *info);

#endif
