// SPDX-License-Identifier: Apache-2.0
// sources: dev/virtio.c mm/page.c mm/kmalloc.c lib/string.c
// The virtqueue against devices that keep to the specification and devices that do not.
#include "test.h"
#include <stdarg.h>
#include <stdlib.h>
#include <string.h>
#include "errno.h"
#include "ram.h"
#include "virtio.h"

void panic(const char *fmt, ...) __attribute__((noreturn));
void panic(const char *fmt, ...) { printf("panic: %s\n", fmt); abort(); }
void printk(int level, const char *fmt, ...);
void printk(int level, const char *fmt, ...) { (void)level; (void)fmt; }

int virtio_blk_probe(struct virtio_dev *d) { (void)d; return -ENODEV; }
int virtio_net_probe(struct virtio_dev *d) { (void)d; return -ENODEV; }
int virtio_rng_probe(struct virtio_dev *d) { (void)d; return -ENODEV; }
int virtio_console_probe(struct virtio_dev *d) { (void)d; return -ENODEV; }
int virtio_balloon_probe(struct virtio_dev *d) { (void)d; return -ENODEV; }
void virtio_mmio_scan(void) { }
void virtio_pci_scan(void) { }

// --- The device's side ------------------------------------------------------------------------------------------------------

static u64 offered;
static u8 status;
static u32 notified;

static u64 get_features(struct virtio_dev *d) { (void)d; return offered; }
static void set_features(struct virtio_dev *d, u64 f) { (void)d; (void)f; }
static u8 get_status(struct virtio_dev *d) { (void)d; return status; }
static void set_status(struct virtio_dev *d, u8 s) { (void)d; status = s; }
static u16 queue_max(struct virtio_dev *d, u16 index) { (void)d; return index == 0 ? 64 : 0; }
static int queue_setup(struct virtio_dev *d, struct virtq *q) { (void)d; q->notify = &notified; return 0; }

static const struct virtio_transport transport = {
    .get_features = get_features, .set_features = set_features, .get_status = get_status, .set_status = set_status,
    .queue_max = queue_max, .queue_setup = queue_setup,
};

static struct virtio_dev device;

static struct virtq *fresh(u64 features)
{
    static int once;
    if (!once++) {
        mem_ranges[0] = (struct mem_range){ 0x100000, 0x7ff000 };
        nr_mem_ranges = 1;
        mem_top = 0x7ff000;
        page_init();
        kmalloc_init();
    }
    memset(&device, 0, sizeof(device));
    device.t = &transport;
    offered = BIT(VIRTIO_F_VERSION_1) | features;
    CHECK(virtio_negotiate(&device, 0) == 0);
    return virtio_queue(&device, 0, 16, NULL);
}

static void complete(struct virtq *q, u32 id, u32 len)
{
    q->used->ring[q->used->idx & (q->size - 1)] = (struct vring_used_elem){ id, len };
    q->used->idx++;
}

static u16 last_head(const struct virtq *q) { return q->avail->ring[(q->avail->idx - 1) & (q->size - 1)]; }

static int token[64];

static void a_request_comes_back(void)
{
    struct virtq *q = fresh(0);
    struct virtq_buf b[3] = { { 0x1000, 16 }, { 0x2000, 512 }, { 0x3000, 1 } };
    u32 len = 0;
    CHECK(virtq_add(q, b, 1, 2, &token[0]) == 0);
    u16 head = last_head(q);
    CHECK(q->desc[head].addr == 0x1000 && q->desc[head].len == 16 && q->desc[head].flags == 1);
    CHECK(q->desc[q->desc[head].next].flags == 3);
    CHECK(q->nr_free == 13 && virtq_get(q, &len) == NULL);
    complete(q, head, 513);
    CHECK(virtq_get(q, &len) == &token[0] && len == 513 && q->nr_free == 16);
    CHECK(virtq_get(q, &len) == NULL && !q->broken);
}

static void a_full_queue_says_so_and_recovers(void)
{
    struct virtq *q = fresh(0);
    struct virtq_buf b = { 0x1000, 64 };
    for (int i = 0; i < 16; i++)
        CHECK(virtq_add(q, &b, 0, 1, &token[i]) == 0);
    CHECK(virtq_add(q, &b, 0, 1, &token[16]) == -ENOSPC);
    for (int i = 15; i >= 0; i--)                          // in another order than they came
        complete(q, (u32)i, 1);
    for (int i = 0; i < 16; i++)
        CHECK(virtq_get(q, NULL) != NULL);
    CHECK(q->nr_free == 16 && virtq_add(q, &b, 0, 1, &token[0]) == 0);
}

static void long_chains_go_through_a_table(void)
{
    struct virtq *q = fresh(BIT(VIRTIO_F_INDIRECT_DESC));
    struct virtq_buf b[40];
    for (int i = 0; i < 40; i++)
        b[i] = (struct virtq_buf){ (u64)i << 12, 4096 };
    CHECK(virtq_add(q, b, 20, 20, &token[0]) == 0 && q->nr_free == 15);
    u16 head = last_head(q);
    CHECK(q->desc[head].flags == 4 && q->desc[head].len == 40 * 16);
    const struct vring_desc *t = pa_to_va(q->desc[head].addr);
    CHECK(t[19].flags == 1 && t[20].flags == 3 && t[39].flags == 2);
    complete(q, head, 20 * 4096);
    CHECK(virtq_get(q, NULL) == &token[0] && q->nr_free == 16);
    CHECK(virtq_add(fresh(0), b, 20, 20, &token[0]) == -ENOSPC);
}

static void lies_break_the_queue(void)
{
    struct virtq_buf b = { 0x1000, 64 };
    u32 len;
    struct virtq *q = fresh(0);
    virtq_add(q, &b, 0, 1, &token[0]);
    complete(q, 99, 1);                                    // no such descriptor
    CHECK(virtq_get(q, &len) == NULL && q->broken);
    CHECK(virtq_add(q, &b, 0, 1, &token[1]) == -EIO);
    CHECK(virtq_drop(q) == &token[0] && virtq_drop(q) == NULL);

    q = fresh(0);
    virtq_add(q, &b, 0, 1, &token[0]);
    complete(q, last_head(q), 65);                         // more than the buffers hold
    CHECK(virtq_get(q, &len) == NULL && q->broken);

    q = fresh(0);
    virtq_add(q, &b, 0, 1, &token[0]);
    complete(q, last_head(q), 1);
    complete(q, last_head(q), 1);                          // twice
    CHECK(virtq_get(q, &len) == &token[0] && virtq_get(q, &len) == NULL && q->broken);

    q = fresh(0);
    virtq_add(q, &b, 0, 1, &token[0]);
    q->used->idx = 40000;                                  // far ahead
    CHECK(virtq_get(q, &len) == NULL && q->broken);
}

static void notifications_come_when_they_are_wanted(void)
{
    struct virtq_buf b = { 0x1000, 64 };
    struct virtq *q = fresh(BIT(VIRTIO_F_EVENT_IDX));
    u16 *avail_event = (u16 *)&q->used->ring[q->size], *used_event = &q->avail->ring[q->size];
    notified = 77;
    *avail_event = 1;                                      // after the second
    virtq_add(q, &b, 0, 1, &token[0]);
    virtq_kick(q);
    CHECK(notified == 77);
    virtq_add(q, &b, 0, 1, &token[1]);
    virtq_kick(q);
    CHECK(notified == 0);
    CHECK(virtq_cb_enable(q) && *used_event == 0);
    complete(q, 0, 1);
    CHECK(!virtq_cb_enable(q));
    virtq_cb_disable(q);
    CHECK((u16)(*used_event + 1) == q->last_used);
}

// Whatever a device writes, descriptors are neither lost nor given out twice while the queue is whole.
static void a_random_device_does_no_harm(void)
{
    struct virtq_buf b[6] = { { 0x1000, 64 }, { 0x2000, 64 }, { 0x3000, 64 }, { 0x4000, 64 }, { 0x5000, 64 }, { 0x6000, 64 } };
    for (unsigned seed = 0; seed < 300; seed++) {
        struct virtq *q = fresh(seed & 1 ? BIT(VIRTIO_F_EVENT_IDX) | BIT(VIRTIO_F_INDIRECT_DESC) : 0);
        srand(seed);
        for (int step = 0; step < 200 && !q->broken; step++) {
            unsigned out = (unsigned)rand() % 3, in = 1 + (unsigned)rand() % 3;
            if (rand() % 2)
                virtq_add(q, b, out, in, &token[rand() % 64]);
            else if (rand() % 40 == 0)
                complete(q, (u32)rand(), (u32)rand());
            else if (q->avail->idx != q->used->idx)
                complete(q, q->avail->ring[q->used->idx & (q->size - 1)], (u32)rand() % 65);
            while (rand() % 2 && virtq_get(q, NULL))
                ;
            unsigned held = 0;
            for (u16 i = 0; i < q->size; i++)
                held += q->chain[i].token ? q->chain[i].count : 0;
            CHECK(held + q->nr_free == q->size);
        }
        while (virtq_drop(q))
            ;
    }
}

TESTS({ "a_request_comes_back", a_request_comes_back }, { "a_full_queue_says_so_and_recovers", a_full_queue_says_so_and_recovers },
      { "long_chains_go_through_a_table", long_chains_go_through_a_table }, { "lies_break_the_queue", lies_break_the_queue },
      { "notifications_come_when_they_are_wanted", notifications_come_when_they_are_wanted },
      { "a_random_device_does_no_harm", a_random_device_does_no_harm })
