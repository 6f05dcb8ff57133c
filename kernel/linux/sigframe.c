// SPDX-License-Identifier: Apache-2.0
// The frame a signal handler runs on, and the way back. Layout: Linux's asm/sigcontext.h, asm/ucontext.h (struct rt_sigframe),
// which unwinders, Go and sanitizers read and change.
#include "arch.h"
#include "errno.h"
#include "lib.h"
#include "process.h"
#include "signal_priv.h"
#include "syscalls.h"
#include "uaccess.h"

#define UC_FP_XSTATE_K 1ul          // fpstate is an XSAVE image
#define UC_SIGCONTEXT_SS_K 2ul
#define UC_STRICT_RESTORE_SS_K 4ul
#define RED_ZONE 128
#define XSTATE_MAGIC2_SIZE 4
// The flags that a program may set by sigreturn: AC, OF, DF, TF, SF, ZF, AF, PF, CF, RF.
#define USER_FLAGS 0x50dd5ul
#define FLAGS_FIXED 0x202ul
#define HANDLER_CLEARS 0x10500ul    // RF, DF, TF

// struct sigcontext.
struct sigcontext_k {
    u64 r8, r9, r10, r11, r12, r13, r14, r15, rdi, rsi, rbp, rbx, rdx, rax, rcx, rsp, rip, flags;
    u16 cs, gs, fs, ss;
    u64 err, trapno, oldmask, cr2, fpstate, reserved[8];
};

struct ucontext_k {
    u64 flags, link;
    struct sigaltstack_k stack;
    struct sigcontext_k mc;
    sigset_k sigmask;
};

struct rt_sigframe {
    uptr pretcode;                  // the handler's return address: the C library's restorer
    struct ucontext_k uc;
    struct siginfo_k info;
};

_Static_assert(sizeof(struct sigcontext_k) == 256, "sigcontext");
_Static_assert(sizeof(struct rt_sigframe) == 440, "rt_sigframe");
_Static_assert(sizeof(struct siginfo_k) == 128, "siginfo");

bool on_altstack(const struct thread *t, u64 sp)
{
    const struct sigaltstack_k *s = &t->altstack;
    // An auto-disarmed stack is never "in use": that is its point.
    if (s->flags & SS_AUTODISARM_K)
        return false;
    return s->size && sp > s->sp && sp - s->sp <= s->size;
}

static void save_context(struct ucontext_k *uc, const struct regs *r, const struct thread *t, sigset_k mask, u64 fpstate)
{
    struct sigcontext_k *m = &uc->mc;
    uc->flags = UC_FP_XSTATE_K | UC_SIGCONTEXT_SS_K | UC_STRICT_RESTORE_SS_K;
    uc->stack = t->altstack;
    uc->stack.pad = 0;
    m->r8 = r->r8, m->r9 = r->r9, m->r10 = r->r10, m->r11 = r->r11;
    m->r12 = r->r12, m->r13 = r->r13, m->r14 = r->r14, m->r15 = r->r15;
    m->rdi = r->rdi, m->rsi = r->rsi, m->rbp = r->rbp, m->rbx = r->rbx;
    m->rdx = r->rdx, m->rax = r->rax, m->rcx = r->rcx, m->rsp = r->rsp;
    m->rip = r->rip, m->flags = r->rflags;
    m->cs = (u16)r->cs, m->ss = (u16)r->ss;
    m->err = t->trap_error, m->trapno = t->trap_nr, m->cr2 = t->trap_addr;
    m->oldmask = mask;
    m->fpstate = fpstate;
    uc->sigmask = mask;
}

// Where the frame goes; 0 when the alternate stack is full.
static u64 frame_place(const struct thread *t, const struct regs *r, const struct sigaction_k *act, u64 *fpstate)
{
    u64 sp = r->rsp - RED_ZONE;
    bool nested = on_altstack(t, r->rsp);
    bool enter = (act->flags & SA_ONSTACK_K) && t->altstack.size && !nested;
    if (enter)
        sp = t->altstack.sp + t->altstack.size;
    u64 top = sp;
    sp = ALIGN_DOWN(sp - fpu_xsave_size() - XSTATE_MAGIC2_SIZE, 64);
    *fpstate = sp;
    sp = ALIGN_DOWN(sp - sizeof(struct rt_sigframe), 16) - 8;
    if (sp > top || !user_range_ok(sp, top - sp))
        return 0;
    if ((nested || enter) && (sp <= t->altstack.sp || sp - t->altstack.sp > t->altstack.size))
        return 0;
    return sp;
}

int sigframe_setup(struct regs *r, int sig, const struct sigaction_k *act, const struct siginfo_k *info, sigset_k mask)
{
    struct thread *t = current();
    struct rt_sigframe f;
    u64 fpstate;
    if (!(act->flags & SA_RESTORER_K))
        return -EFAULT;             // x86-64 has no other way back
    u64 sp = frame_place(t, r, act, &fpstate);
    if (!sp || fpu_save_user(fpstate))
        return -EFAULT;
    memset(&f, 0, sizeof(f));
    f.pretcode = act->restorer;
    save_context(&f.uc, r, t, mask, fpstate);
    f.info = *info;
    if (copy_to_user(sp, &f, sizeof(f)))
        return -EFAULT;
    if (t->altstack.flags & SS_AUTODISARM_K) {
        memset(&t->altstack, 0, sizeof(t->altstack));
        t->altstack.flags = SS_DISABLE_K;
    }
    r->rdi = (u64)sig;
    r->rsi = sp + offsetof(struct rt_sigframe, info);
    r->rdx = sp + offsetof(struct rt_sigframe, uc);
    r->rax = 0;
    r->rsp = sp;
    r->rip = r->rcx = act->handler;
    r->rflags &= ~HANDLER_CLEARS;
    r->r11 = r->rflags;
    r->cs = 0x33;
    r->ss = 0x2b;
    r->orig_rax = ~0ull;
    if (act->handler >= USER_MAX)   // the CPU must not see a return address that is none
        return -EFAULT;
    return 0;
}

static void load_context(struct regs *r, const struct sigcontext_k *m)
{
    r->r8 = m->r8, r->r9 = m->r9, r->r10 = m->r10, r->r11 = m->r11;
    r->r12 = m->r12, r->r13 = m->r13, r->r14 = m->r14, r->r15 = m->r15;
    r->rdi = m->rdi, r->rsi = m->rsi, r->rbp = m->rbp, r->rbx = m->rbx;
    r->rdx = m->rdx, r->rax = m->rax, r->rcx = m->rcx, r->rsp = m->rsp;
    r->rip = m->rip;
    r->rflags = (m->flags & USER_FLAGS) | FLAGS_FIXED;
    r->cs = 0x33;                   // only 64-bit code and the flat data segment exist here
    r->ss = 0x2b;
    r->orig_rax = ~0ull;            // whatever call was interrupted, it is not restarted from here
}

// The stack setting of a frame; errors do not matter here (Linux ignores them too).
static void restore_altstack(const struct sigaltstack_k *s, u64 sp)
{
    altstack_set(current(), s, sp);
}

long sys_rt_sigreturn(struct regs *r)
{
    struct rt_sigframe f;
    struct thread *t = current();
    if (copy_from_user(&f, r->rsp - 8, sizeof(f)))
        goto bad;
    signal_set_mask(f.uc.sigmask);
    load_context(r, &f.uc.mc);
    if (f.uc.mc.cs != 0x33)
        goto bad;
    if (f.uc.mc.fpstate) {
        if (fpu_restore_user(f.uc.mc.fpstate))
            goto bad;
    } else {
        fpu_reset(t);
    }
    restore_altstack(&f.uc.stack, r->rsp);
    if (r->rip < USER_MAX)
        return (long)r->rax;
    t->trap_nr = 13;                // general protection: what the return would have run into
    t->trap_error = 0;
bad:
    // The frame is broken, or there is no such place to go on at: a handler may look at what came of it. The CPU never sees it, because
    // the signal either has a handler by then or ends the program.
    r->orig_rax = ~0ull;
    signal_force(SIG_SEGV, NULL);
    return (long)r->rax;
}
