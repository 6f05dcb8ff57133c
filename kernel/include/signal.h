// SPDX-License-Identifier: Apache-2.0
// Signals: Linux's x86-64 ABI (linux/signal.c, linux/sigframe.c). Numbers and layouts: asm/signal.h, asm/siginfo.h.
#ifndef UNI_SIGNAL_H
#define UNI_SIGNAL_H

#include "list.h"
#include "types.h"

typedef u64 sigset_k;                           // bit n-1: signal n, as the kernel ABI has it (8 bytes)
#define SIGBIT(n) (1ull << ((n)-1))

struct regs;
struct thread;
struct process;

struct siginfo_k {                              // 128 bytes, as in userspace
    i32 signo, err, code, pad;
    union {
        struct { i32 pid; u32 uid; u64 value; } kill;
        struct { i32 timerid, overrun; u64 value; } timer;
        struct { uptr addr; i16 addr_lsb; } fault;
        struct { i32 pid; u32 uid; i32 status; i64 utime, stime; } chld;
        struct { i64 band; i32 fd; } poll;
        u8 raw[112];
    };
};

struct sigqueue {                               // pending signals: a bit each, and the queued siginfos in their order
    sigset_k set;
    struct list infos;
};

struct sigaction_k {                            // struct kernel_sigaction
    uptr handler;
    u64 flags;
    uptr restorer;
    sigset_k mask;
};

struct sigaltstack_k {
    uptr sp;
    i32 flags, pad;
    u64 size;
};

// Sends to the process (any thread takes it) or to one thread. info NULL: SI_KERNEL. From any context.
int signal_process(struct process *p, int sig, const struct siginfo_k *info);
bool signal_ignored(struct process *p, struct thread *t, int sig);     // sent now it would be dropped; t NULL: to the process
int signal_thread(struct thread *t, int sig, const struct siginfo_k *info);
// A fault of the program itself: delivered at once, kills when blocked or ignored.
void signal_fault(int sig, int code, uptr addr, struct regs *r);
bool signal_pending(const struct thread *t);
sigset_k signal_pending_set(const struct thread *t);   // own and shared, blocked or not
// On the way back to the program, when thread->interrupted: delivers, restarts or ends. Called by entry.S's C part.
void signal_deliver(struct regs *r);

#endif
