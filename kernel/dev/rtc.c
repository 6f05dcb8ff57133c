// SPDX-License-Identifier: Apache-2.0
// The MC146818 clock: whole seconds at boot, then the exact wall clock at the second's edge, and from the distance of two edges
// the true rate of the TSC, because the RTC follows the host's disciplined clock. Registers: Motorola MC146818A data sheet.
#include "rtc.h"
#include "arch.h"
#include "printk.h"
#include "spinlock.h"
#include "time.h"

enum { REG_A = 10, REG_B = 11, REG_C = 12, B_24H = 2, B_BINARY = 4, B_UPDATE_INT = 16 };
#define RTC_GSI 8
// Seconds between looks. The measurement at boot is good to some 100 ppm; with interrupts that come milliseconds late, the RTC knows
// better only after about a minute.
#define GAP 64
#define MAX_LATE (20 * 1000000ull)      // ns

static struct timer next_edge;
static u64 anchor_mono, anchor_real, anchor_tsc;      // at the first edge, or the first after a jump; 0: none yet
static bool present;

static u8 reg(u8 n)
{
    outb(0x70, n | 0x80);
    return inb(0x71);
}

static void reg_write(u8 n, u8 v)
{
    outb(0x70, n | 0x80);
    outb(0x71, v);
}

static u32 number(u8 n, bool binary) { u8 v = reg(n); return binary ? v : (v >> 4) * 10u + (v & 15); }

// Days since 1970-01-01 of a date in the Gregorian calendar.
static u64 days(u32 y, u32 m, u32 d)
{
    y -= m <= 2;
    u32 era = y / 400, yoe = y - era * 400, doy = (153 * (m + (m > 2 ? -3u : 9u)) + 2) / 5 + d - 1;
    return (u64)era * 146097 + yoe * 365 + yoe / 4 - yoe / 100 + doy - 719468;
}

static u64 read_once(void)
{
    u8 b = reg(REG_B);
    bool bin = b & B_BINARY;
    u32 s = number(0, bin), mi = number(2, bin), d = number(7, bin), mo = number(8, bin), y = number(9, bin);
    u8 raw = reg(4);
    u32 h = bin ? raw & 0x7f : ((raw >> 4 & 7) * 10u + (raw & 15));
    if (!(b & B_24H)) {
        h %= 12;
        if (raw & 0x80)
            h += 12;
    }
    u32 century = number(0x32, bin);
    y += century >= 19 && century <= 29 ? century * 100 : 2000;
    if (mo < 1 || mo > 12 || d < 1 || d > 31)
        return 0;
    return days(y, mo, d) * 86400 + h * 3600 + mi * 60 + s;
}

// Each access leaves the virtual machine, so as few as can be: outside an update all fields are steady for at least 244 us, and the
// seconds tell whether an update came in between.
u64 rtc_read_seconds(void)
{
    if (reg(REG_A) == 0xff && reg(REG_B) == 0xff)
        return 0;
    for (int tries = 0; tries < 100; tries++) {
        for (int i = 0; i < 100000 && (reg(REG_A) & 0x80); i++)
            ;
        u8 before = reg(0);
        u64 t = read_once();
        if (reg(0) == before) {
            present = t != 0;
            return t;
        }
    }
    return 0;
}

// The mean rate since the anchor. An interrupt may come late, which matters less the longer that is ago; a rate that differs by
// more than lateness explains is not believed.
static void correct_rate(u64 tsc, u64 real)
{
    u64 real_ns = real - anchor_real, ticks = tsc - anchor_tsc, rate = clock_rate();
    if (!ticks || real_ns >> 32 >= ticks)
        return;                         // slower than 1 Hz: nonsense, and the division would overflow
    u64 mult, rest;                     // real_ns * 2^32 / ticks
    __asm__("divq %4" : "=a"(mult), "=d"(rest) : "a"(real_ns << 32), "d"(real_ns >> 32), "r"(ticks) : "cc");
    u64 diff = mult > rate ? mult - rate : rate - mult;
    if (diff < rate / (real_ns / MAX_LATE + 1))
        clock_set_rate(mult);
}

static void edge_interrupt(void *arg)
{
    u64 tsc = rdtsc();
    bool jumped = true;             // the first edge
    (void)arg;
    if (!(reg(REG_C) & B_UPDATE_INT))
        return;
    reg_write(REG_B, reg(REG_B) & (u8)~B_UPDATE_INT);
    u64 real = read_once() * NSEC_PER_SEC, mono = clock_tsc_to_ns(tsc);
    if (!real)
        return;
    if (anchor_tsc) {
        u64 expected = anchor_real + (mono - anchor_mono);
        // Stopped and continued by the host, or set by it: the wall clock follows, the rate is not touched.
        jumped = expected + NSEC_PER_SEC / 4 < real || real + NSEC_PER_SEC / 4 < expected;
        if (!jumped)
            correct_rate(tsc, real);
        mono = clock_tsc_to_ns(tsc);
    }
    // The first edge sets the wall clock; later ones only when it is off by more than a late interrupt explains.
    u64 off = real - mono, now = clock_real_offset();
    if (!clock_was_set() && (jumped || off - now + MAX_LATE > 2 * MAX_LATE))
        clock_adjust_real(off);
    if (jumped) {
        anchor_tsc = tsc;
        anchor_mono = mono;
        anchor_real = real;
    }
    timer_arm(&next_edge, clock_mono_ns() + (GAP - 1) * NSEC_PER_SEC + NSEC_PER_SEC / 2);
}

static void ask_for_edge(struct timer *t)
{
    (void)t;
    u64 flags = irq_save();
    (void)reg(REG_C);
    reg_write(REG_B, reg(REG_B) | B_UPDATE_INT);
    irq_restore(flags);
}

void rtc_start(void)
{
    timer_init(&next_edge, ask_for_edge);
    if (!present || irq_register(RTC_GSI, false, edge_interrupt, NULL))
        return;
    // Not at once: the program shall start first.
    timer_arm(&next_edge, clock_mono_ns() + NSEC_PER_SEC / 4);
}
