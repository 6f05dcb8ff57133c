// SPDX-License-Identifier: Apache-2.0
// FPU state, switched lazily: the registers stay with their owner until another thread of the program touches the FPU (#NM). Layout of the XSAVE
// area: Intel SDM volume 1, chapter 13; of the signal frame: Linux's struct _fpx_sw_bytes (asm/sigcontext.h).
#include "arch.h"
#include "cpu.h"
#include "errno.h"
#include "kmalloc.h"
#include "lib.h"
#include "page.h"
#include "printk.h"
#include "sched.h"
#include "uaccess.h"

#define FXSAVE_SIZE 512
#define HEADER_SIZE 64
#define SW_RESERVED 464             // offset in the FXSAVE image
#define FP_XSTATE_MAGIC1 0x46505853u

struct sw_bytes {
    u32 magic1, extended_size;
    u64 xfeatures;
    u32 xstate_size, padding[7];
};

static u32 area_size = FXSAVE_SIZE;
static u32 mxcsr_mask = 0xffff;

static inline void ts_set(void) { write_cr0(read_cr0() | BIT(3)); }
static inline void ts_clear(void) { __asm__ volatile("clts"); }

static void save(void *area)
{
    if (cpu_features.xsave)
        __asm__ volatile("xsave64 (%0)" : : "r"(area), "a"(~0u), "d"(~0u) : "memory");
    else
        __asm__ volatile("fxsave64 (%0)" : : "r"(area) : "memory");
}

static void load(const void *area)
{
    if (cpu_features.xsave)
        __asm__ volatile("xrstor64 (%0)" : : "r"(area), "a"(~0u), "d"(~0u) : "memory");
    else
        __asm__ volatile("fxrstor64 (%0)" : : "r"(area) : "memory");
}

static void area_reset(u8 *area)
{
    memset(area, 0, area_size);
    *(u16 *)area = 0x37f;           // x87 control word
    *(u32 *)(area + 24) = 0x1f80;   // MXCSR
}

void fpu_init(void)
{
    u32 r[4];
    static u8 probe[FXSAVE_SIZE] ALIGNED(16);
    if (cpu_features.xsave) {
        cpuid(0xd, 0, r);
        // x87, SSE, AVX, and AVX-512's three only together.
        u64 want = 7 | 0xe0, have = r[0] | (u64)r[3] << 32;
        cpu_features.xcr0 = have & want;
        if ((cpu_features.xcr0 & 0xe0) != 0xe0)
            cpu_features.xcr0 &= 7;
        __asm__ volatile("xsetbv" : : "c"(0), "a"((u32)cpu_features.xcr0), "d"(0));
        cpuid(0xd, 0, r);
        area_size = r[1];
    }
    ts_clear();
    __asm__ volatile("fninit; fxsave64 (%0)" : : "r"(probe) : "memory");
    if (*(u32 *)(probe + 28))
        mxcsr_mask = *(u32 *)(probe + 28);
    cpu_features.xsave_size = area_size;
}

// The area is 64-byte aligned within its block. Before it lie a pointer to the block and how often the thread wanted the FPU of late.
#define EAGER_AFTER 3               // traps after which a thread gets its registers at once
#define EAGER_FOR 250               // times, until it has to show again that it wants them

static u64 *uses(struct thread *t) { return &((u64 *)t->fpu)[-2]; }

int fpu_alloc(struct thread *t)
{
    u8 *block = kmalloc(area_size + 64 + 16, 0);
    if (!block)
        return -ENOMEM;
    u8 *area = (u8 *)ALIGN_UP((u64)block + 16, 64ul);
    ((void **)area)[-1] = block;
    ((u64 *)area)[-2] = 0;
    area_reset(area);
    t->fpu = (struct fpu_state *)area;
    return 0;
}

void fpu_free(struct thread *t)
{
    u64 flags = irq_save();
    if (this_cpu()->fpu_owner == t)
        this_cpu()->fpu_owner = NULL;
    irq_restore(flags);
    kfree(((void **)t->fpu)[-1]);
    t->fpu = NULL;
}

// The area of the current thread has changed: the registers follow, if they are its own.
static void reload(struct thread *t)
{
    u64 flags = irq_save();
    if (this_cpu()->fpu_owner == t)
        load(t->fpu);
    irq_restore(flags);
}

void fpu_reset(struct thread *t)
{
    area_reset((u8 *)t->fpu);
    reload(t);
}

// TS is clear.
static void take_over(struct cpu *c, struct thread *t)
{
    if (c->fpu_owner)
        save(c->fpu_owner->fpu);
    load(t->fpu);
    c->fpu_owner = t;
    *uses(t) = *uses(t) < EAGER_FOR ? *uses(t) + 1 : 0;
}

// Interrupts off. Kernel threads leave everything as it is. Registers without an owner are filled at once, so that a program with
// one busy thread never traps, and TS (by which an emulator keys its translations) hardly ever changes.
void fpu_switch(struct thread *next)
{
    struct cpu *c = this_cpu();
    if (!next->fpu)
        return;
    bool closed = read_cr0() & BIT(3);
    if (c->fpu_owner && c->fpu_owner != next && *uses(next) < EAGER_AFTER) {
        if (!closed)
            ts_set();
        return;
    }
    if (closed)
        ts_clear();
    if (c->fpu_owner != next)
        take_over(c, next);
}

void fpu_not_available(void)
{
    struct cpu *c = this_cpu();
    struct thread *t = c->current;
    ts_clear();
    if (c->fpu_owner != t)
        take_over(c, t);
}

// Brings the thread's area up to date with the registers, which stay valid.
static void sync_area(struct thread *t)
{
    u64 flags = irq_save();
    if (this_cpu()->fpu_owner == t)
        save(t->fpu);
    irq_restore(flags);
}

void fpu_copy(struct thread *dst)
{
    sync_area(current());
    memcpy(dst->fpu, current()->fpu, area_size);
}

int fpu_error_code(unsigned vector)
{
    struct thread *t = current();
    sync_area(t);
    const u8 *a = (const u8 *)t->fpu;
    u32 err;
    if (vector == 16) {
        u16 cw = *(const u16 *)a, sw = *(const u16 *)(a + 2);
        err = (u32)(sw & ~cw);
    } else {
        u32 mxcsr = *(const u32 *)(a + 24);
        err = ~(mxcsr >> 7) & mxcsr;
    }
    if (err & 1)
        return 7;       // FPE_FLTINV
    if (err & 4)
        return 3;       // FPE_FLTDIV
    if (err & 8)
        return 4;       // FPE_FLTOVF
    if (err & 0x12)
        return 5;       // FPE_FLTUND
    if (err & 0x20)
        return 6;       // FPE_FLTRES
    return 0;
}

u32 fpu_xsave_size(void) { return area_size; }

int fpu_save_user(uptr dst)
{
    struct thread *t = current();
    sync_area(t);
    u8 *a = (u8 *)t->fpu;
    struct sw_bytes sw = { 0 };
    if (cpu_features.xsave) {
        sw.magic1 = FP_XSTATE_MAGIC1;
        sw.extended_size = area_size + 4;
        sw.xfeatures = cpu_features.xcr0;
        sw.xstate_size = area_size;
    }
    memcpy(a + SW_RESERVED, &sw, sizeof(sw));
    // Programs read the legacy part whatever the header says, so it is always marked as in use.
    if (cpu_features.xsave)
        *(u64 *)(a + FXSAVE_SIZE) |= 3;
    return copy_to_user(dst, a, area_size);
}

static bool header_ok(const u8 *a)
{
    const u64 *h = (const u64 *)(a + FXSAVE_SIZE);
    if (h[0] & ~cpu_features.xcr0)
        return false;
    for (int i = 1; i < 8; i++)
        if (h[i])
            return false;
    return true;
}

// A frame without the extended part (magic missing) restores the legacy registers and resets the rest, as Linux does.
int fpu_restore_user(uptr src)
{
    struct thread *t = current();
    struct sw_bytes sw;
    u8 *a = (u8 *)t->fpu, *tmp = kmalloc(area_size + 64, 0);
    if (!tmp)
        return -EFAULT;
    u8 *n = (u8 *)ALIGN_UP((u64)tmp, 64ul);
    int err = copy_from_user(n, src, FXSAVE_SIZE);
    memcpy(&sw, n + SW_RESERVED, sizeof(sw));
    bool extended = cpu_features.xsave && sw.magic1 == FP_XSTATE_MAGIC1 && sw.xstate_size == area_size;
    if (!err && extended)
        err = copy_from_user(n + FXSAVE_SIZE, src + FXSAVE_SIZE, area_size - FXSAVE_SIZE);
    else if (!err)
        memset(n + FXSAVE_SIZE, 0, area_size - FXSAVE_SIZE);
    if (!err && cpu_features.xsave && !extended)
        *(u64 *)(n + FXSAVE_SIZE) = 3;
    if (!err && cpu_features.xsave && !header_ok(n))
        err = -EINVAL;
    if (!err && (*(u32 *)(n + 24) & ~mxcsr_mask))
        err = -EINVAL;
    if (!err) {
        memcpy(a, n, area_size);
        reload(t);
    }
    kfree(tmp);
    return err;
}
