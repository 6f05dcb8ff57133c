// SPDX-License-Identifier: Apache-2.0
// Entropy device (Virtio 1.2, section 5.4): one request at boot and another every hour;
// what comes goes into the kernel's generator and is never used alone.
#include "arch.h"
#include "errno.h"
#include "kmalloc.h"
#include "lib.h"
#include "page.h"
#include "time.h"
#include "virtio.h"

#define RNG_BYTES 64
#define RNG_PERIOD_NS (3600 * NSEC_PER_SEC)

struct rng {
    struct virtq *q;
    u8 *buf;
    struct timer timer;
};

static void rng_request(struct rng *r)
{
    struct virtq_buf b = { va_to_pa(r->buf), RNG_BYTES };
    if (r->q->nr_free < r->q->size)           // the host still owes the last
        return;
    if (virtq_add(r->q, &b, 0, 1, r) == 0)
        virtq_kick(r->q);
}

static void rng_done(struct virtq *q)
{
    struct rng *r = q->priv;
    u32 len;
    do {
        while (virtq_get(q, &len)) {
            random_mix(r->buf, len);
            memset(r->buf, 0, RNG_BYTES);
        }
    } while (!virtq_cb_enable(q) && !q->broken);
}

static void rng_timer(struct timer *t)
{
    struct rng *r = container_of(t, struct rng, timer);
    u64 flags = irq_save();
    rng_request(r);
    irq_restore(flags);
    timer_arm(t, clock_mono_ns() + RNG_PERIOD_NS);
}

int virtio_rng_probe(struct virtio_dev *d)
{
    int err = virtio_negotiate(d, 0);
    if (err)
        return err;
    struct rng *r = kzalloc(sizeof(*r));
    if (!r)
        return -ENOMEM;
    r->buf = kzalloc(RNG_BYTES);
    r->q = virtio_queue(d, 0, 4, rng_done);
    if (!r->buf || !r->q) {
        kfree(r->buf);
        kfree(r);
        return -ENOMEM;
    }
    r->q->priv = r;
    timer_init(&r->timer, rng_timer);
    err = virtio_ready(d);
    if (err)
        return err;
    rng_request(r);
    timer_arm(&r->timer, clock_mono_ns() + RNG_PERIOD_NS);
    return 0;
}
