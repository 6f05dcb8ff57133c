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
#define FIRST_GAP 2             // seconds between the first two edges that are compared; doubles
#define LAST_GAP 64
#define MAX_STEP 200            // parts per million that a correction may change the rate by, after the first

static struct timer next_edge;
static u64 edge_mono, edge_real, edge_tsc;      // at the last edge; 0: none yet
static u32 gap = FIRST_GAP;
static bool present;
static bool settled;            // the rate has been corrected once

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

// The mean rate between the last edge and this one. The interrupt may come late, so that a single measurement is only trusted
// within what an earlier, longer look allows.
static void correct_rate(u64 tsc, u64 real)
{
    u64 real_ns = real - edge_real, ticks = tsc - edge_tsc, rate = clock_rate();
    if (real_ns > 2 * LAST_GAP * NSEC_PER_SEC || !ticks)
        return;
    if (real_ns >> 32 >= ticks)
        return;                         // slower than 1 Hz: nonsense, and the division would overflow
    u64 mult, rest;                     // real_ns * 2^32 / ticks
    __asm__("divq %4" : "=a"(mult), "=d"(rest) : "a"(real_ns << 32), "d"(real_ns >> 32), "r"(ticks) : "cc");
    u64 diff = mult > rate ? mult - rate : rate - mult;
    u64 limit = settled ? rate / 1000000 * MAX_STEP / (gap / FIRST_GAP) : rate / 100;
    if (diff > limit)
        return;
    clock_set_rate(mult);
    settled = true;
}

static void edge_interrupt(void *arg)
{
    u64 tsc = rdtsc();
    (void)arg;
    if (!(reg(REG_C) & B_UPDATE_INT))
        return;
    reg_write(REG_B, reg(REG_B) & (u8)~B_UPDATE_INT);
    u64 real = read_once() * NSEC_PER_SEC, mono = clock_tsc_to_ns(tsc);
    if (!real)
        return;
    if (edge_tsc) {
        u64 expected = edge_real + (mono - edge_mono);
        // Stopped and continued by the host, or set by it: the wall clock follows, the rate is not touched.
        bool jumped = expected + NSEC_PER_SEC / 4 < real || real + NSEC_PER_SEC / 4 < expected;
        if (!jumped)
            correct_rate(tsc, real);
        mono = clock_tsc_to_ns(tsc);
        if (gap < LAST_GAP)
            gap *= 2;
    }
    if (!clock_was_set())
        clock_adjust_real(real - mono);
    edge_tsc = tsc;
    edge_mono = mono;
    edge_real = real;
    timer_arm(&next_edge, clock_mono_ns() + (gap - 1) * NSEC_PER_SEC + NSEC_PER_SEC / 2);
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
    timer_arm(&next_edge, clock_mono_ns() + NSEC_PER_SEC / 20);
}
