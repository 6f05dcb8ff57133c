// SPDX-License-Identifier: Apache-2.0
// Exceptions: the program's become signals (numbers and codes as Linux's arch/x86 gives them, asm-generic/siginfo.h), the
// kernel's own are either an access to user memory with a way out (ex_table) or the end.
#include "arch.h"
#include "boot.h"
#include "cpu.h"
#include "errno.h"
#include "printk.h"
#include "process.h"
#include "sched.h"
#include "uaccess.h"
#include "vm.h"

enum { SIGILL = 4, SIGTRAP = 5, SIGBUS = 7, SIGFPE = 8, SIGSEGV = 11 };
enum { SI_KERNEL = 0x80, SEGV_MAPERR = 1, SEGV_ACCERR = 2, BUS_ADRALN = 1, BUS_ADRERR = 2, ILL_ILLOPN = 2, TRAP_TRACE = 2 };

static const char *const trap_names[] = {
    "division error", "debug exception", "NMI", "breakpoint", "overflow", "bound range exceeded", "invalid opcode",
    "device not available", "double fault", "exception 9", "invalid TSS", "segment not present", "stack segment fault",
    "general protection fault", "page fault", "exception 15", "x87 error", "alignment check", "machine check", "SIMD error",
};

struct ex_entry {
    i32 from, to;               // each relative to its own place
};
extern const struct ex_entry ex_table_start[], ex_table_end[];

u64 ex_table_find(u64 rip)
{
    for (const struct ex_entry *e = ex_table_start; e < ex_table_end; e++)
        if ((u64)&e->from + (u64)(i64)e->from == rip)
            return (u64)&e->to + (u64)(i64)e->to;
    return 0;
}

static const char *trap_name(u32 v) { return v < sizeof(trap_names) / sizeof(*trap_names) ? trap_names[v] : "exception"; }

static void program_fault(struct regs *r, u32 vector, int sig, int code, u64 addr)
{
    struct thread *t = current();
    t->trap_nr = vector;
    // As Linux, which does not tell programs whether an address of the kernel's is mapped.
    t->trap_error = vector == 14 && addr >= USER_MAX ? r->error | 1 : r->error;
    if (vector == 14)
        t->trap_addr = addr;
    signal_fault(sig, code, addr, r);
}

static void user_page_fault(struct regs *r, u64 addr)
{
    int err = addr < USER_MAX ? vm_fault(addr, (u32)r->error) : -EFAULT;
    if (err == 0)
        return;
    if (err == -ENOMEM)
        return;                 // vm_fault has reported it and the process is ending
    if (err == -EIO)
        program_fault(r, 14, SIGBUS, BUS_ADRERR, addr);
    else
        program_fault(r, 14, SIGSEGV, err == -EACCES ? SEGV_ACCERR : SEGV_MAPERR, addr);
}

static void kernel_page_fault(struct regs *r, u64 addr)
{
    u64 fix = ex_table_find(r->rip);
    if (!fix || addr >= USER_MAX || (r->error & 16))
        panic_regs(r, "page fault in the kernel at address 0x%lx", addr);
    if (the_process && vm_fault(addr, (u32)r->error) == 0)
        return;
    r->rip = fix;
}

static void page_fault(struct regs *r)
{
    u64 addr = read_cr2();
    if (r->rflags & BIT(9))
        irq_enable();
    if (regs_user(r)) {
        current()->regs = r;
        user_page_fault(r, addr);
    } else {
        kernel_page_fault(r, addr);
        irq_disable();
    }
}

static void user_trap(struct regs *r, u32 vector)
{
    irq_enable();
    current()->regs = r;
    switch (vector) {
    case 0:
        program_fault(r, vector, SIGFPE, 1, r->rip);                // FPE_INTDIV
        break;
    case 1:
        program_fault(r, vector, SIGTRAP, TRAP_TRACE, r->rip);
        break;
    case 3:
        program_fault(r, vector, SIGTRAP, SI_KERNEL, 0);
        break;
    case 6:
        program_fault(r, vector, SIGILL, ILL_ILLOPN, r->rip);
        break;
    case 11:
    case 12:
        program_fault(r, vector, SIGBUS, SI_KERNEL, 0);
        break;
    case 16:
    case 19:
        program_fault(r, vector, SIGFPE, fpu_error_code(vector), r->rip);
        break;
    case 17:
        program_fault(r, vector, SIGBUS, BUS_ADRALN, 0);
        break;
    default:
        program_fault(r, vector, SIGSEGV, SI_KERNEL, 0);
    }
}

void trap_dispatch(struct regs *r, u32 vector)
{
    if (vector == 14) {
        page_fault(r);
    } else if (vector == 7) {
        if (!regs_user(r))
            panic_regs(r, "the kernel used the FPU");
        fpu_not_available();
    } else if (regs_user(r)) {
        user_trap(r, vector);
    } else {
        u64 fix = ex_table_find(r->rip);
        if (!fix)
            panic_regs(r, "%s in the kernel, error code 0x%lx", trap_name(vector), r->error);
        r->rip = fix;
    }
}

// NMI: the host asks for a look inside. Double fault: nearly always the kernel stack ran into its guard page.
void trap_paranoid(struct regs *r, u32 vector)
{
    if (vector != 2)
        panic_regs(r, vector == 8 ? "double fault (kernel stack overflow?), address 0x%lx" : "machine check, address 0x%lx", read_cr2());
    printk(LOG_EMERG, "uni: NMI\n");
    print_regs(r);
    if (!regs_user(r))
        print_backtrace(r->rip, r->rbp);
}

// The work before the program runs again. Interrupts are off at entry and exit.
void user_return(struct regs *r)
{
    struct thread *t = current();
    while (t->interrupted || t->resched || r->rip >> 47) {
        irq_enable();
        t->regs = r;
        if (t->resched)
            schedule();
        if (t->interrupted)
            signal_deliver(r);
        else if (r->rip >> 47)
            program_fault(r, 13, SIGSEGV, SI_KERNEL, 0);
        irq_disable();
    }
    // What signal contexts and ptrace-like writes may have put there: only the program's own flags, interrupts on.
    r->rflags = (r->rflags & 0x240dd5) | 0x202;
    r->cs = USER_CS;
    r->ss = USER_DS;
}
