// SPDX-License-Identifier: Apache-2.0
// Nothing to run. Before the processor is halted it looks for a moment at the queues of the devices itself, where that pays: to wake it
// takes an emulator or a hypervisor longer than many a client takes for its next request. It does not pay on a host that has no processor
// to spare: a look that found nothing counts as four that paid, and one during which the host ran something else ends them for a time that
// doubles. An idle machine does not look at all.
#include "arch.h"
#include "lib.h"
#include "sched_priv.h"
#include "time.h"
#include "virtio.h"

#define LOOK_NS 60000ull
#define SHORT_NS 100000ull          // a sleep after which a look might have been enough
#define STOLEN_NS 30000ull          // between two looks at the clock: the host has others to run
#define WORTH_MAX 32
#define LOSS 4                      // a look in vain costs more than one that paid is worth
#define REST_MIN 128u
#define REST_MAX 16384u

// Of the one processor that takes the devices' interrupts.
static bool brisk;                  // the last thing to happen came soon
static int worth = LOSS;            // what looking has been good for of late
static u32 looks, rest, left;       // since it was taken up again; short sleeps from one end of it to the next try, and how many are left

// Sooner or later than the last time, as it was good for long or was not.
static void take_rest(void)
{
    rest = looks > REST_MIN ? REST_MIN : MIN(MAX(rest, REST_MIN) * 2, REST_MAX);
    left = rest;
    looks = 0;
    worth = LOSS;
    brisk = false;
}

static void look(struct cpu *c)
{
    u64 last = clock_mono_ns(), end = last + LOOK_NS;
    bool found = false, stolen = false;
    virtio_watch(true);
    irq_enable();
    while (!found && last < end) {
        found = *(volatile u32 *)&c->nr_running || virtio_watched();
        u64 now = clock_mono_ns();
        stolen |= now - last > STOLEN_NS;
        last = now;
    }
    bh_disable();
    virtio_watch(false);
    bh_enable();
    looks++;
    brisk = found;
    worth = found ? MIN(worth + 1, WORTH_MAX) : worth - LOSS;
    if (stolen || worth <= 0)
        take_rest();
}

// Until there may be something to run. Called with interrupts off, returns with them on.
void idle_wait(struct cpu *c)
{
    if (brisk) {
        look(c);
        return;
    }
    u64 from = clock_mono_ns();
    cpu_idle();
    if (clock_mono_ns() - from >= SHORT_NS)
        return;
    brisk = left == 0;
    left -= !brisk;
}
