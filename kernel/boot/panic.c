// SPDX-License-Identifier: Apache-2.0
// Last words: registers, a backtrace with names, the report on the control port, power off.
#include "arch.h"
#include "boot.h"
#include "bootinfo.h"
#include "ksyms.h"
#include "lib.h"
#include "page.h"
#include "printk.h"
#include "regs.h"

// Made by scripts/ksyms.py out of the first link. Weak: absent there.
extern const u32 ksyms_count WEAK;
extern const u16 ksyms_step[] WEAK;
extern const u8 ksyms_pairs[][2] WEAK;
extern const u8 ksyms_names[] WEAK;

const char *symbol_name(u64 addr, u64 *offset)
{
    static char name[64];
    if (addr < (u64)text_start || addr >= (u64)text_end || !&ksyms_count)
        return NULL;
    const struct ksyms table = { ksyms_count, ksyms_step, ksyms_pairs, ksyms_names };
    u32 off = (u32)(addr - (u64)text_start), start;
    if (!ksyms_find(&table, off, &start, name, sizeof(name)))
        return NULL;
    *offset = off - start;
    return name;
}

void print_regs(const struct regs *r)
{
    printk(LOG_EMERG, "uni: rip %016lx  rsp %016lx  rflags %08lx  cs %02lx  error %lx\n", r->rip, r->rsp, r->rflags, r->cs, r->error);
    printk(LOG_EMERG, "uni: rax %016lx  rbx %016lx  rcx %016lx  rdx %016lx\n", r->rax, r->rbx, r->rcx, r->rdx);
    printk(LOG_EMERG, "uni: rsi %016lx  rdi %016lx  rbp %016lx  r8  %016lx\n", r->rsi, r->rdi, r->rbp, r->r8);
    printk(LOG_EMERG, "uni: r9  %016lx  r10 %016lx  r11 %016lx  r12 %016lx\n", r->r9, r->r10, r->r11, r->r12);
    printk(LOG_EMERG, "uni: r13 %016lx  r14 %016lx  r15 %016lx\n", r->r13, r->r14, r->r15);
}

// `back` is 1 for a return address: behind the last call of a function that never returns, the next one begins.
static void print_frame(u64 rip, u64 back)
{
    u64 off;
    const char *name = symbol_name(rip - back, &off);
    if (name)
        printk(LOG_EMERG, "uni:   %016lx %s+0x%lx\n", rip, name, off + back);
    else
        printk(LOG_EMERG, "uni:   %016lx\n", rip);
}

// A frame pointer is followed only while it points into mapped, writable kernel memory and goes upward.
static bool frame_ok(u64 rbp)
{
    int level;
    if ((rbp & 7) || rbp < DIRECT_MAP)
        return false;
    u64 *e = pt_lookup(rbp, &level), *e2 = pt_lookup(rbp + 8, &level);
    return e && e2 && (*e & PTE_P) && (*e2 & PTE_P);
}

void print_backtrace(u64 rip, u64 rbp)
{
    printk(LOG_EMERG, "uni: backtrace:\n");
    if (rip)
        print_frame(rip, 0);
    for (int i = 0; i < 24 && frame_ok(rbp); i++) {
        const u64 *f = (const u64 *)rbp;
        if (f[1] < (u64)text_start || f[1] >= (u64)text_end)
            return;
        print_frame(f[1], 1);
        if (f[0] <= rbp)
            return;
        rbp = f[0];
    }
}

static NORETURN void die(const char *reason, u64 rip)
{
    u64 off = 0;
    char addr[20];
    const char *name = symbol_name(rip, &off);
    snprintf(addr, sizeof(addr), "0x%lx", rip);
    struct kv kv[] = { { "reason", reason, 0 }, { "rip", addr, 0 }, { "symbol", name ? name : "?", 0 } };
    control_event("panic", kv, ARRAY_SIZE(kv));
    machine_off(3);
}

static bool again(void)
{
    static bool dying;
    irq_disable();
    if (dying)
        return true;
    dying = true;
    return false;
}

void panic(const char *fmt, ...)
{
    char msg[200];
    va_list ap;
    if (again())
        machine_off(3);
    va_start(ap, fmt);
    vsnprintf(msg, sizeof(msg), fmt, ap);
    va_end(ap);
    u64 rip = (u64)__builtin_return_address(0);
    printk(LOG_EMERG, "uni: kernel panic: %s\n", msg);
    print_backtrace(0, (u64)__builtin_frame_address(0));
    die(msg, rip);
}

void panic_regs(const struct regs *r, const char *fmt, ...)
{
    char msg[200];
    va_list ap;
    if (again())
        machine_off(3);
    va_start(ap, fmt);
    vsnprintf(msg, sizeof(msg), fmt, ap);
    va_end(ap);
    printk(LOG_EMERG, "uni: kernel panic: %s\n", msg);
    print_regs(r);
    print_backtrace(r->rip, r->rbp);
    die(msg, r->rip);
}
