// SPDX-License-Identifier: Apache-2.0
// Console device (Virtio 1.2, section 5.3), port 0 only: /dev/console where the command line says console=hvc0.
#include "boot.h"
#include "errno.h"
#include "kmalloc.h"
#include "lib.h"
#include "page.h"
#include "spinlock.h"
#include "tty.h"
#include "virtio.h"

#define F_SIZE 0
#define TX_BUFS 8
#define TX_SIZE 1024u
#define RX_BUFS 4
#define RX_SIZE 256u

struct chunk {                  // one buffer, in the direct map
    struct chunk *next;
    u32 len, at;                // receive: bytes there are, bytes taken
    char data[];
};

struct vcon {
    struct tty_port port;
    struct virtio_dev *dev;
    struct virtq *rx, *tx;
    spinlock_t lock;            // guards all below and both queues; taken with interrupts off
    struct chunk *tx_free;
    struct chunk *reading;      // partly read
};

static void give(struct vcon *c, struct chunk *b)
{
    struct virtq_buf vb = { va_to_pa(b->data), RX_SIZE };
    if (virtq_add(c->rx, &vb, 0, 1, b))
        kfree(b);
}

static void reclaim(struct vcon *c)
{
    struct chunk *b;
    while ((b = virtq_get(c->tx, NULL))) {
        b->next = c->tx_free;
        c->tx_free = b;
    }
}

static size_t vcon_write(struct tty_port *p, const char *buf, size_t n)
{
    struct vcon *c = p->priv;
    size_t done = 0;
    u64 flags = spin_lock_irqsave(&c->lock);
    reclaim(c);
    while (done < n && c->tx_free) {
        struct chunk *b = c->tx_free;
        u32 len = (u32)MIN(n - done, (size_t)TX_SIZE);
        memcpy(b->data, buf + done, len);
        struct virtq_buf vb = { va_to_pa(b->data), len };
        if (virtq_add(c->tx, &vb, 1, 0, b))
            break;
        c->tx_free = b->next;
        done += len;
    }
    virtq_kick(c->tx);
    spin_unlock_irqrestore(&c->lock, flags);
    return done;
}

static void vcon_want_room(struct tty_port *p)
{
    struct vcon *c = p->priv;
    u64 flags = spin_lock_irqsave(&c->lock);
    bool now = !virtq_cb_enable(c->tx) || c->tx_free;
    spin_unlock_irqrestore(&c->lock, flags);
    if (now)
        tty_write_ready();
}

static int vcon_read(struct tty_port *p)
{
    struct vcon *c = p->priv;
    int byte = -1;
    u64 flags = spin_lock_irqsave(&c->lock);
    struct chunk *b = c->reading;
    while (!b || b->at >= b->len) {
        if (b) {
            give(c, b);
            virtq_kick(c->rx);
        }
        u32 len = 0;
        b = virtq_get(c->rx, &len);
        if (!b && virtq_cb_enable(c->rx))
            break;
        if (b) {
            b->len = len;
            b->at = 0;
        } else if (c->rx->broken) {
            break;
        }
    }
    c->reading = b;
    if (b)
        byte = (u8)b->data[b->at++];
    spin_unlock_irqrestore(&c->lock, flags);
    return byte;
}

static void rx_interrupt(struct virtq *q)
{
    virtq_cb_disable(q);
    tty_receive_ready();
}

static void tx_interrupt(struct virtq *q)
{
    virtq_cb_disable(q);
    tty_write_ready();
}

static void size_changed(struct virtio_dev *d)
{
    u16 size[2];                              // columns, rows
    if (!virtio_has(d, F_SIZE))
        return;
    virtio_config(d, 0, size, sizeof(size));
    if (size[0] && size[1])
        tty_set_winsize(size[1], size[0]);
}

static int make_buffers(struct vcon *c)
{
    for (int i = 0; i < TX_BUFS; i++) {
        struct chunk *b = kmalloc(sizeof(*b) + TX_SIZE, 0);
        if (!b)
            return -ENOMEM;
        b->next = c->tx_free;
        c->tx_free = b;
    }
    for (int i = 0; i < RX_BUFS; i++) {
        struct chunk *b = kmalloc(sizeof(*b) + RX_SIZE, 0);
        if (!b)
            return -ENOMEM;
        give(c, b);
    }
    return 0;
}

int virtio_console_probe(struct virtio_dev *d)
{
    int err = virtio_negotiate(d, BIT(F_SIZE));
    if (err)
        return err;
    struct vcon *c = kzalloc(sizeof(*c));
    if (!c)
        return -ENOMEM;
    c->dev = d;
    c->rx = virtio_queue(d, 0, 16, rx_interrupt);
    c->tx = virtio_queue(d, 1, 16, tx_interrupt);
    if (!c->rx || !c->tx || make_buffers(c))
        return -ENOMEM;
    c->port = (struct tty_port){ vcon_write, vcon_want_room, vcon_read, c };
    virtq_cb_disable(c->tx);
    err = virtio_ready(d);
    if (err)
        return err;
    virtq_kick(c->rx);
    d->config_changed = size_changed;
    if (boot_config.console && strcmp(boot_config.console, "hvc0") == 0) {
        tty_set_port(&c->port);
        size_changed(d);
    }
    return 0;
}
