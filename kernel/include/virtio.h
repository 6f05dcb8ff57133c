// SPDX-License-Identifier: Apache-2.0
// Virtio 1.x: the core that drivers use (dev/virtio.c), below it the transports (dev/virtio_mmio.c, dev/virtio_pci.c).
// The device is not trusted: every index and length that it writes is checked before use.
#ifndef UNI_VIRTIO_H
#define UNI_VIRTIO_H

#include "list.h"
#include "spinlock.h"
#include "types.h"

// Virtio 1.2, section 5: device types.
enum { VIRTIO_ID_NET = 1, VIRTIO_ID_BLOCK = 2, VIRTIO_ID_CONSOLE = 3, VIRTIO_ID_RNG = 4, VIRTIO_ID_BALLOON = 5 };

// Section 6: feature bits that belong to no device type.
#define VIRTIO_F_INDIRECT_DESC 28
#define VIRTIO_F_EVENT_IDX 29
#define VIRTIO_F_VERSION_1 32

// Section 2.1: device status.
enum { VIRTIO_S_ACK = 1, VIRTIO_S_DRIVER = 2, VIRTIO_S_DRIVER_OK = 4, VIRTIO_S_FEATURES_OK = 8, VIRTIO_S_NEEDS_RESET = 64,
       VIRTIO_S_FAILED = 128 };

struct virtio_dev;
struct virtq;

struct virtio_transport {
    void (*describe)(const struct virtio_dev *d, char *buf, size_t size);   // where it is, for messages
    u64 (*get_features)(struct virtio_dev *d);
    void (*set_features)(struct virtio_dev *d, u64 f);
    u8 (*get_status)(struct virtio_dev *d);
    void (*set_status)(struct virtio_dev *d, u8 s);             // 0 resets, and returns when the reset is done
    void (*read_config)(struct virtio_dev *d, u32 off, void *buf, u32 len);
    void (*write_config)(struct virtio_dev *d, u32 off, const void *buf, u32 len);
    u32 (*config_generation)(struct virtio_dev *d);
    u16 (*queue_max)(struct virtio_dev *d, u16 index);          // 0: no such queue
    int (*queue_setup)(struct virtio_dev *d, struct virtq *q);  // tells the addresses, sets q->notify
    int (*irq_setup)(struct virtio_dev *d);                     // interrupts go to virtio_interrupt()
};

struct virtio_driver {
    u32 id;
    const char *name;
    int (*probe)(struct virtio_dev *d);       // 0, or -errno: the device is reset and left alone
};

#define VIRTIO_MAX_QUEUES 4

struct virtio_dev {
    u32 id;
    const struct virtio_transport *t;
    u64 features;                             // negotiated
    struct virtq *queue[VIRTIO_MAX_QUEUES];
    u32 nr_queues;
    void (*config_changed)(struct virtio_dev *d);   // interrupt context; may be NULL
    void *priv;                               // of the driver
    // Of the transport.
    volatile u8 *regs;
    volatile u8 *common, *isr, *config, *notify_base;
    u32 config_len, notify_mul, notify_len;
    u32 irq;
    u64 pa;                                   // of the registers, MMIO only
    char where[24];                           // for messages: "virtio-mmio 0xfeb00e00"; made when one is due
};

// Layouts of section 2.7, little endian like the CPU.
struct vring_desc {
    u64 addr;
    u32 len;
    u16 flags, next;
};
struct vring_avail {
    u16 flags, idx, ring[];                   // then used_event
};
struct vring_used_elem {
    u32 id, len;
};
struct vring_used {
    u16 flags, idx;
    struct vring_used_elem ring[];            // then avail_event
};

// What the driver remembers of a chain in flight, by its head: never read back from memory the device can write.
struct virtq_chain {
    void *token;                              // NULL: not in flight
    struct vring_desc *indirect;
    u32 in_len;                               // bytes the device may write
    u16 count;                                // descriptors of the table it takes
};

struct virtq {
    struct virtio_dev *dev;
    u16 index, size;                          // a power of two
    u16 free_head, nr_free;
    u16 avail_idx, kicked_idx, last_used;
    bool event_idx, indirect, broken;
    u32 order;                                // of the pages that hold the rings
    struct vring_desc *desc;
    struct vring_avail *avail;
    struct vring_used *used;
    u16 *next;                                // free list and chains; ours, the device cannot write it
    struct virtq_chain *chain;
    volatile void *notify;
    bool notify16;
    void (*callback)(struct virtq *q);        // interrupt context
    void *priv;
};

struct virtq_buf {
    u64 pa;
    u32 len;
};

// --- For drivers ------------------------------------------------------------------------------------------------------
// Start of probe: `wanted` of what the device offers (VERSION_1 must be there) into d->features. 0 or -ENODEV.
int virtio_negotiate(struct virtio_dev *d, u64 wanted);
static inline bool virtio_has(const struct virtio_dev *d, unsigned bit) { return d->features & BIT(bit); }
// size 0: as large as the device allows; otherwise at most that (a power of two). NULL when out of memory or there is no such queue.
struct virtq *virtio_queue(struct virtio_dev *d, u16 index, u16 size, void (*callback)(struct virtq *));
int virtio_ready(struct virtio_dev *d);       // DRIVER_OK: from now on the device may use its queues
// Reads `len` bytes of configuration at one generation.
void virtio_config(struct virtio_dev *d, u32 off, void *buf, u32 len);

// The caller serializes access to a queue. First `out` buffers that the device reads, then `in` that it writes.
int virtq_add(struct virtq *q, const struct virtq_buf *b, unsigned out, unsigned in, void *token);   // -ENOSPC, -EIO (broken)
void virtq_kick(struct virtq *q);             // one notification for all that was added, where the device wants one
void *virtq_get(struct virtq *q, u32 *len);   // the next one done, NULL: none; *len: bytes written, checked against the buffers
bool virtq_pending(const struct virtq *q);
void virtq_cb_disable(struct virtq *q);
bool virtq_cb_enable(struct virtq *q);        // false: something is there already, call virtq_get again
// Asks for an interrupt only when about three quarters of what is in flight are done. As virtq_cb_enable.
bool virtq_cb_delayed(struct virtq *q);
void virtq_watch(struct virtq *q);            // an idle processor may look at it for a while instead of taking its interrupts (sched/idle.c)
void *virtq_drop(struct virtq *q);            // of a broken queue: takes back one token after the other

// --- For transports and dev_init ------------------------------------------------------------------------------------------
void virtio_register(struct virtio_dev *d);   // finds the driver and probes
void virtio_watch(bool begins);               // softirqs off at the end: callbacks of what came last
bool virtio_watched(void);                    // one of them has something
bool virtio_interrupt(struct virtio_dev *d);  // true: a queue had something
void virtio_mmio_scan(void);
void virtio_pci_scan(void);
void dev_init(void);                          // every device; after softirqs and timers

int virtio_blk_probe(struct virtio_dev *d);
int virtio_net_probe(struct virtio_dev *d);
int virtio_rng_probe(struct virtio_dev *d);
int virtio_console_probe(struct virtio_dev *d);
int virtio_balloon_probe(struct virtio_dev *d);

#endif
