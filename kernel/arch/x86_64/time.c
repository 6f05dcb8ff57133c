// SPDX-License-Identifier: Apache-2.0
// Clocks: the TSC, measured against the local APIC's timer (which every hypervisor of interest runs at 1 GHz), later corrected
// by the second's edges of the RTC, which is also where the wall clock comes from. The event timer is the APIC's, one shot.
#include "time.h"
#include "arch.h"
#include "boot.h"
#include "bootinfo.h"
#include "cpu.h"
#include "lib.h"
#include "page.h"
#include "printk.h"
#include "rtc.h"
#include "sched.h"
#include "spinlock.h"

enum { LAPIC_TIMER_INIT = 0x380, LAPIC_TIMER_NOW = 0x390, LAPIC_TIMER_DIV = 0x3e0, DIV_1 = 0xb, DIV_128 = 0xa };
#define CALIBRATE_NS 200000u

// mono = base_ns + ((tsc - base_tsc) * mult >> 32), real = mono + real_offset. Written with interrupts off.
static struct {
    u64 base_tsc, base_ns, mult, real_offset;
} clk;

// The same for the vDSO, read only, in the form that takes it the fewest instructions: see include/time.h.
static union {
    struct clock_page c;
    u8 page[PAGE_SIZE];
} shared ALIGNED(4096);

#define REAL_CLOCKS (BIT(0) | BIT(5) | BIT(11))                 // REALTIME, REALTIME_COARSE, TAI
#define MONO_CLOCKS (BIT(1) | BIT(4) | BIT(6) | BIT(7))         // MONOTONIC, _RAW, _COARSE, BOOTTIME

static u64 timer_deadline = NO_DEADLINE;    // what the hardware is set to; interrupts off
static u32 timer_div;

static u64 mul_shift(u64 delta, u64 mult) { return (u64)(((unsigned __int128)delta * mult) >> 32); }

// Also for a reading from before the last change of the rate.
u64 clock_tsc_to_ns(u64 tsc)
{
    if (unlikely(tsc < clk.base_tsc))
        return clk.base_ns - mul_shift(clk.base_tsc - tsc, clk.mult);
    return clk.base_ns + mul_shift(tsc - clk.base_tsc, clk.mult);
}

u64 clock_mono_ns(void) { return clock_tsc_to_ns(rdtsc()); }
u64 clock_real_offset(void) { return clk.real_offset; }
u64 clock_real_ns(void) { return clock_mono_ns() + clk.real_offset; }
u64 clock_page_pa(void) { return kernel_pa(&shared); }
u64 boot_usec(void) { return clk.mult ? mul_shift(rdtsc() - boot_config.boot_tsc, clk.mult) / 1000 : 0; }

static u64 write_begin(void)
{
    u64 flags = irq_save();
    __atomic_store_n(&shared.c.seq, shared.c.seq + 1, __ATOMIC_RELAXED);
    __atomic_thread_fence(__ATOMIC_RELEASE);
    return flags;
}

static void publish(void)
{
    shared.c.base_tsc = clk.base_tsc << VDSO_TSC_SHIFT;
    shared.c.mult = clk.mult << (32 - VDSO_TSC_SHIFT);
    for (unsigned i = 0; i <= VDSO_CLOCKS; i++)
        shared.c.base[i] = BIT(i) & REAL_CLOCKS ? clk.base_ns + clk.real_offset : BIT(i) & MONO_CLOCKS ? clk.base_ns : VDSO_NO_CLOCK;
}

static void write_end(u64 flags)
{
    publish();
    __atomic_store_n(&shared.c.seq, shared.c.seq + 1, __ATOMIC_RELEASE);
    irq_restore(flags);
}

static bool set_by_program;

void clock_adjust_real(u64 offset)
{
    u64 flags = write_begin();
    clk.real_offset = offset;
    write_end(flags);
}

void clock_set_real_ns(u64 ns)
{
    set_by_program = true;
    clock_adjust_real(ns - clock_mono_ns());
}

bool clock_was_set(void) { return set_by_program; }

// A new rate from now on, without a jump.
void clock_set_rate(u64 mult)
{
    u64 flags = write_begin();
    u64 tsc = rdtsc();
    clk.base_ns = clock_tsc_to_ns(tsc);
    clk.base_tsc = tsc;
    clk.mult = mult;
    write_end(flags);
}

u64 clock_rate(void) { return clk.mult; }

static void timer_set(u32 div, u32 count)
{
    if (div != timer_div) {
        lapic_write(LAPIC_TIMER_DIV, div);
        timer_div = div;
    }
    lapic_write(LAPIC_TIMER_INIT, count);
}

struct sample {
    u64 tsc;
    u32 count;
};

// One reading of both clocks; of several, the one that took least time.
static struct sample sample(void)
{
    struct sample best = { 0, 0 };
    u64 best_cost = ~0ull;
    for (int i = 0; i < 8; i++) {
        u64 a = rdtsc();
        u32 n = lapic_read(LAPIC_TIMER_NOW);
        u64 b = rdtsc();
        if (b - a < best_cost) {
            best_cost = b - a;
            best = (struct sample){ a + (b - a) / 2, n };
        }
    }
    return best;
}

// The counter is started early and first looked at when the boot has got somewhere, so that nothing waits for it; it then runs on
// until somebody needs the timer, and the second look over that longer time is the better one.
static struct sample calibration_start;
static bool calibrating;

static u64 rate_since(const struct sample *s, const struct sample *e)
{
    return ((u64)(s->count - e->count) << 32) / (e->tsc - s->tsc);
}

static u64 calibrate(void)
{
    struct sample e;
    do {
        e = sample();
    } while (calibration_start.count - e.count < CALIBRATE_NS);
    calibrating = true;
    return rate_since(&calibration_start, &e);
}

// Interrupts off, just before the timer is set for the first time.
static void calibrate_again(void)
{
    struct sample e = sample();
    calibrating = false;
    u32 ns = calibration_start.count - e.count;
    if (e.count && ns > CALIBRATE_NS)       // 0: it ran out, after 4.3 s
        clock_set_rate(rate_since(&calibration_start, &e));
}

// A hardware access costs more than an interrupt too many now and then: a later deadline than the one set is left to the
// handler, which programs the next one anyway.
void arch_timer_program(u64 deadline_ns)
{
    u64 flags = irq_save();
    if (unlikely(calibrating))
        calibrate_again();
    if (deadline_ns < timer_deadline) {
        u64 now = clock_mono_ns();
        u64 delta = deadline_ns > now ? deadline_ns - now : 1;
        if (delta < BIT(32)) {
            timer_set(DIV_1, (u32)delta);
        } else {
            delta = MIN(delta / 128, BIT(32) - 1);
            timer_set(DIV_128, (u32)delta);
        }
        timer_deadline = deadline_ns;
    }
    irq_restore(flags);
}

void arch_timer_fired(void) { timer_deadline = NO_DEADLINE; }

// kHz of the TSC by CPUID: 0x15 (crystal ratio), 0x40000010 (VMware's leaf, which KVM offers too); 0 when neither tells.
static u64 tsc_khz_cpuid(void)
{
    u32 r[4];
    cpuid(0, 0, r);
    if (r[0] >= 0x15) {
        cpuid(0x15, 0, r);
        if (r[0] && r[1] && r[2])
            return (u64)r[2] * r[1] / r[0] / 1000;
    }
    cpuid(0x40000000, 0, r);
    if (r[0] >= 0x40000010 && r[0] < 0x40010000) {
        cpuid(0x40000010, 0, r);
        return r[0];
    }
    return 0;
}

// KVM's clock page (Documentation/virt/kvm/x86/msr.rst) tells the rate exactly; reading it once is enough with a steady TSC.
struct pvclock {
    u32 version, pad;
    u64 tsc, system_time;
    u32 mul;
    i8 shift;
    u8 flags, pad2[2];
};
struct pvwall {
    u32 version, sec, nsec;
};
static volatile struct pvclock pvclock ALIGNED(64);
static volatile struct pvwall pvwall ALIGNED(64);

static bool kvm_clock(void)
{
    u32 r[4];
    cpuid(0x40000000, 0, r);
    if (r[1] != 0x4b4d564b)             // "KVMK"
        return false;
    cpuid(0x40000001, 0, r);
    return r[0] & 8;                    // KVM_FEATURE_CLOCKSOURCE2
}

// The TSC's rate; and, because KVM knows it exactly, the wall clock: *real is nanoseconds since 1970 at TSC *at.
static u64 rate_kvm(u64 *real, u64 *at)
{
    if (!kvm_clock())
        return 0;
    wrmsr(MSR_KVM_SYSTEM_TIME, kernel_pa((const void *)&pvclock) | 1);
    u64 mult = pvclock.mul;
    mult = pvclock.shift >= 0 ? mult << pvclock.shift : mult >> -pvclock.shift;
    *at = pvclock.tsc;
    u64 since_boot = pvclock.system_time;
    wrmsr(MSR_KVM_SYSTEM_TIME, 0);
    wrmsr(MSR_KVM_WALL_CLOCK, kernel_pa((const void *)&pvwall));
    if (pvwall.sec && !(pvwall.version & 1))
        *real = pvwall.sec * NSEC_PER_SEC + pvwall.nsec + since_boot;
    return mult;
}

static u64 kvm_real, kvm_at;

void time_start(void)
{
    u64 khz = tsc_khz_cpuid();
    clk.mult = rate_kvm(&kvm_real, &kvm_at);
    if (!clk.mult && khz)
        clk.mult = (1000000ull << 32) / khz;
    timer_set(DIV_1, clk.mult ? 0 : ~0u);
    if (!clk.mult)
        calibration_start = sample();
}

void time_init(void)
{
    if (!clk.mult)
        clk.mult = calibrate();
    clk.base_tsc = boot_config.boot_tsc;
    if (kvm_real)
        clk.real_offset = kvm_real - clock_tsc_to_ns(kvm_at);
    else
        clk.real_offset = rtc_read_seconds() * NSEC_PER_SEC - clock_mono_ns();
    publish();
}
