// SPDX-License-Identifier: Apache-2.0
// sources: sched/timer.c lib/rbtree.c
// flags: -DUNI_HOST_TIMER
// The timer queue: order, moving, cancelling, and that the hardware is programmed for the first deadline and no more often.
#include "test.h"
#include "sched.h"
#include "time.h"

static u64 now, programmed;
static unsigned programs;
static void (*softirq)(void);

u64 clock_mono_ns(void) { return now; }
void arch_timer_program(u64 deadline) { programmed = deadline; programs++; }
void softirq_register(int nr, void (*fn)(void)) { (void)nr; softirq = fn; }
void softirq_raise(int nr) { (void)nr; }

enum { N = 300 };
struct item {
    struct timer t;
    int fired;
};
static struct item items[N];
static u64 last;
static int fired_total;

static void record(struct timer *t)
{
    struct item *i = container_of(t, struct item, t);
    CHECK(t->deadline <= now && t->deadline >= last && !t->armed);
    last = t->deadline;
    i->fired++;
    fired_total++;
}

static void advance(u64 to)
{
    now = to;
    last = 0;
    timer_interrupt();
    softirq();
}

static void timers_fire_in_order(void)
{
    unsigned seed = 99;
    for (int i = 0; i < N; i++) {
        seed = seed * 1103515245 + 12345;
        timer_init(&items[i].t, record);
        timer_arm(&items[i].t, 1000 + (seed >> 8) % 100000);
    }
    u64 first = ~0ull;
    for (int i = 0; i < N; i++)
        first = items[i].t.deadline < first ? items[i].t.deadline : first;
    CHECK(programmed == first);
    advance(50000);
    for (int i = 0; i < N; i++)
        CHECK(items[i].fired == (items[i].t.deadline <= 50000));
    CHECK(programmed > 50000);
    advance(200000);
    CHECK(fired_total == N);
}

static void cancelled_ones_do_not_fire(void)
{
    fired_total = 0;
    for (int i = 0; i < 10; i++)
        timer_arm(&items[i].t, now + 10 + (u64)i);
    CHECK(timer_cancel(&items[3].t) && !timer_cancel(&items[3].t));
    timer_arm(&items[4].t, now + 5000);         // moves
    advance(now + 100);
    CHECK(fired_total == 8);
    advance(now + 10000);
    CHECK(fired_total == 9);
}

static void again(struct timer *t)
{
    fired_total++;
    if (fired_total < 5)
        timer_arm(t, t->deadline + 10);
}

static void a_timer_may_arm_itself(void)
{
    static struct timer t;
    fired_total = 0;
    timer_init(&t, again);
    timer_arm(&t, now + 10);
    advance(now + 1000);
    CHECK(fired_total == 5 && !t.armed);
}

static void later_deadlines_leave_the_hardware_alone(void)
{
    timer_arm(&items[0].t, now + 100);
    unsigned before = programs;
    for (int i = 1; i < 50; i++)
        timer_arm(&items[i].t, now + 100 + (u64)i);
    CHECK(programs == before);
    timer_arm(&items[60].t, now + 50);
    CHECK(programs == before + 1 && programmed == now + 50);
    advance(now + 1000);
}

int main(void)
{
    static const struct test tests[] = {
        { "timers fire in order", timers_fire_in_order },
        { "cancelled ones do not fire", cancelled_ones_do_not_fire },
        { "a timer may arm itself", a_timer_may_arm_itself },
        { "later deadlines leave the hardware alone", later_deadlines_leave_the_hardware_alone },
    };
    timers_init();
    return run_tests(tests, 4);
}
