// SPDX-License-Identifier: Apache-2.0
// Network device (Virtio 1.2, section 5.1): receive buffers are pbufs of their own, handed up without a copy; sent frames are
// taken back in batches; one notification for a batch each way.
#include "lwip/pbuf.h"

#include "arch.h"
#include "errno.h"
#include "kmalloc.h"
#include "lib.h"
#include "net.h"
#include "page.h"
#include "printk.h"
#include "sched.h"
#include "virtio.h"

// Section 5.1.3: feature bits.
enum { F_CSUM = 0, F_GUEST_CSUM = 1, F_MTU = 3, F_MAC = 5, F_GUEST_TSO4 = 7, F_GUEST_TSO6 = 8, F_HOST_TSO4 = 11, F_MRG_RXBUF = 15, F_STATUS = 16 };
enum { C_MAC = 0, C_MTU = 10 };
enum { HDR_NEEDS_CSUM = 1, HDR_DATA_VALID = 2, GSO_TCPV4 = 1 };

// Section 5.1.6; always with num_buffers in virtio 1.x.
struct net_hdr {
    u8 flags, gso_type;
    u16 hdr_len, gso_size, csum_start, csum_offset, num_buffers;
};

#define RX_BUF 2048                           // one heap block: the pbuf, then what the device writes
#define RX_LEAST 36                           // buffers that wait at first: the longest frame (64 KiB in parts) must find room, or
                                              // the host waits for more and we for it
#define RX_SHORT 8                            // the same where the host cuts what it hands over into packets of 9000 bytes at most
#define FREE_MAX 64
#define TX_LATE 1024u                         // as Linux's txqueuelen; a power of two
#define MAX_FRAGS 16
#define CSUM_TCP 16
#define CSUM_UDP 6

struct rx_buf {
    struct pbuf_custom pc;
    struct vnet *dev;
    struct rx_buf *next;                      // in the list of spare ones
    u8 data[] ALIGNED(16);
};
#define RX_ROOM (RX_BUF - offsetof(struct rx_buf, data))
_Static_assert(RX_LEAST * RX_ROOM >= 65536 + 64, "a frame of 64 KiB with its headers fits");

struct vnet {
    struct netdev dev;
    struct virtio_dev *v;
    struct virtq *rx, *tx;                    // under net_lock(); only the callbacks run outside
    struct rx_buf *spare;
    u32 nr_spare;
    u16 rx_target, rx_max;                    // buffers that wait; doubles, up to rx_max, when half of them were used at once
    struct pbuf **late;                       // frames that found the transmit ring full, a ring of TX_LATE; NULL: never yet
    u32 late_at, nr_late;
    struct net_hdr *no_offload;               // all zero; for frames without room for a header of their own
    struct pbuf *partial;                     // a frame of several buffers, as far as it has come
    u32 parts_left;
};

static void rx_free(struct pbuf *p)
{
    struct rx_buf *b = container_of(container_of(p, struct pbuf_custom, pbuf), struct rx_buf, pc);
    struct vnet *n = b->dev;
    if (n->nr_spare >= FREE_MAX) {
        kfree(b);
        return;
    }
    b->next = n->spare;
    n->spare = b;
    n->nr_spare++;
}

static struct rx_buf *rx_alloc(struct vnet *n)
{
    struct rx_buf *b = n->spare;
    if (b) {
        n->spare = b->next;
        n->nr_spare--;
        return b;
    }
    b = kmalloc(RX_BUF, PA_ATOMIC);
    if (b)
        b->dev = n;
    return b;
}

static void refill(struct vnet *n)
{
    while (n->rx->nr_free > n->rx->size - n->rx_target) {
        struct rx_buf *b = rx_alloc(n);
        if (!b)
            break;
        struct virtq_buf vb = { va_to_pa(b->data), RX_ROOM };
        if (virtq_add(n->rx, &vb, 0, 1, b)) {
            kfree(b);
            break;
        }
    }
    virtq_kick(n->rx);
}

static struct pbuf *as_pbuf(struct rx_buf *b, u32 off, u32 len)
{
    b->pc.custom_free_function = rx_free;
    return pbuf_alloced_custom(PBUF_RAW, (u16)len, PBUF_REF, &b->pc, b->data + off, (u16)(RX_ROOM - off));
}

static void finish(struct vnet *n)
{
    struct pbuf *p = n->partial;
    n->partial = NULL;
    net_receive(&n->dev, p);
}

static void drop(struct vnet *n, struct rx_buf *b)
{
    n->dev.rx_dropped++;
    rx_free(&b->pc.pbuf);
}

// A buffer that came back: the start of a frame, or the next part of one (section 5.1.6.4).
static void receive(struct vnet *n, struct rx_buf *b, u32 len)
{
    if (n->parts_left > 0) {
        n->parts_left--;
        struct pbuf *p = len ? as_pbuf(b, 0, len) : NULL;
        if (p && n->partial && n->partial->tot_len + len <= 0xffff) {
            pbuf_cat(n->partial, p);
        } else {                              // more than a pbuf counts: the frame is lost as a whole
            drop(n, b);
            if (n->partial)
                pbuf_free(n->partial);
            n->partial = NULL;
        }
        if (n->parts_left == 0 && n->partial)
            finish(n);
        return;
    }
    const struct net_hdr *h = (const struct net_hdr *)b->data;
    if (len <= sizeof(*h) + 14) {
        drop(n, b);
        return;
    }
    n->dev.csum_ok = h->flags & (HDR_NEEDS_CSUM | HDR_DATA_VALID);
    n->parts_left = virtio_has(n->v, F_MRG_RXBUF) && h->num_buffers > 1 ? h->num_buffers - 1u : 0;
    n->partial = as_pbuf(b, sizeof(*h), len - sizeof(*h));
    if (n->parts_left == 0)
        finish(n);
}

static void reclaim(struct vnet *n)
{
    struct pbuf *p;
    while ((p = virtq_get(n->tx, NULL)))
        pbuf_free(p);
}

static bool tx_full(const struct vnet *n) { return n->tx->nr_free <= MAX_FRAGS + 1; }

static void send_late(struct vnet *n);

static void poll(struct netdev *d)
{
    struct vnet *n = d->priv;
    u32 len;
    reclaim(n);                               // first: TCP cannot send again what the device seems to be reading still
    send_late(n);
    do {
        struct rx_buf *b;
        virtq_cb_disable(n->rx);
        while ((b = virtq_get(n->rx, &len))) {
            receive(n, b, len);
            if (n->rx->size - n->rx->nr_free <= n->rx_target / 2) {
                n->rx_target = (u16)MIN(n->rx_target * 2u, n->rx_max);
                refill(n);
            }
        }
        refill(n);
    } while (!virtq_cb_enable(n->rx) && !n->rx->broken);
}

// The checksum's place for the device to fill in: lwIP left it 0, the device sums from csum_start on, so it must hold the
// pseudo header's sum (section 5.1.6.2).
static void offer_csum(const struct vnet *n, struct net_hdr *h, struct pbuf *p)
{
    u8 *f = p->payload;
    u32 ip = 14, proto, l4, alen, addr;
    if (p->len < 54)
        return;
    if (f[12] == 0x08 && f[13] == 0x00) {
        if ((f[20] & 0x3f) || f[21])              // a fragment has its sum already
            return;
        proto = f[23], l4 = ip + (f[14] & 15) * 4u, addr = 26, alen = 8;
    } else if (f[12] == 0x86 && f[13] == 0xdd) {
        proto = f[20], l4 = ip + 40, addr = 22, alen = 32;
    } else {
        return;
    }
    u32 off = proto == 6 ? CSUM_TCP : proto == 17 ? CSUM_UDP : 0;
    if (!off || l4 + off + 2 > p->len || f[l4 + off] || f[l4 + off + 1])
        return;
    u32 sum = proto + (u32)(p->tot_len - l4);
    for (u32 i = 0; i < alen; i += 2)
        sum += (u32)f[addr + i] << 8 | f[addr + i + 1];
    sum = (sum & 0xffff) + (sum >> 16);
    sum = (sum & 0xffff) + (sum >> 16);
    f[l4 + off] = (u8)(sum >> 8);
    f[l4 + off + 1] = (u8)sum;
    h->flags = HDR_NEEDS_CSUM;
    h->csum_start = (u16)l4;
    h->csum_offset = (u16)off;
    // Longer than the interface takes: TCP made it so because the device cuts it (linux/inet_tcp.c, offload_segments).
    if (n->dev.tso && p->tot_len > n->dev.mtu + 14u && proto == 6) {
        h->gso_type = GSO_TCPV4;
        h->hdr_len = (u16)(l4 + (f[l4 + 12] >> 4) * 4u);
        h->gso_size = (u16)(n->dev.mtu + 14 - h->hdr_len);
    }
}

// In front of the frame when the pbuf has room there that nobody else sees; else NULL.
static struct net_hdr *own_header(struct pbuf *p)
{
    u8 *at = (u8 *)p->payload - sizeof(struct net_hdr);
    if (!(p->type_internal & PBUF_TYPE_FLAG_STRUCT_DATA_CONTIGUOUS) || p->flags & PBUF_FLAG_IS_CUSTOM)
        return NULL;
    return at >= (u8 *)p + LWIP_MEM_ALIGN_SIZE(sizeof(struct pbuf)) ? (struct net_hdr *)at : NULL;
}

static int gather(struct vnet *n, struct pbuf *p, struct virtq_buf *b)
{
    int k = 0;
    struct net_hdr *h = own_header(p);
    if (h) {
        memset(h, 0, sizeof(*h));
        if (n->dev.tx_csum)
            offer_csum(n, h, p);
        b[k++] = (struct virtq_buf){ va_to_pa(h), sizeof(*h) + p->len };
    } else {
        b[k++] = (struct virtq_buf){ va_to_pa(n->no_offload), sizeof(*h) };
        b[k++] = (struct virtq_buf){ va_to_pa(p->payload), p->len };
    }
    for (p = p->next; p; p = p->next) {
        if (k == MAX_FRAGS)
            return -1;
        if (p->len)
            b[k++] = (struct virtq_buf){ va_to_pa(p->payload), p->len };
    }
    return k;
}

// Takes over the reference to p. False: it is lost.
static bool put(struct vnet *n, struct pbuf *p)
{
    struct virtq_buf b[MAX_FRAGS + 1];
    int k = !own_header(p) && n->dev.tx_csum ? -1 : gather(n, p, b);
    if (k < 0) {                              // too many pieces, or no room for the offload's header: one new buffer
        struct pbuf *copy = pbuf_clone(PBUF_LINK, PBUF_RAM, p);
        pbuf_free(p);
        if (!copy)
            return false;
        p = copy;
        k = gather(n, p, b);
    }
    if (virtq_add(n->tx, b, (unsigned)k, 0, p) == 0)
        return true;
    pbuf_free(p);
    return false;
}

// A burst that the ring does not hold waits, as in Linux's queue of a device; the device tells when there is room again.
static int defer(struct vnet *n, struct pbuf *p)
{
    virtq_kick(n->tx);
    if (!n->late)
        n->late = kmalloc(TX_LATE * sizeof(*n->late), PA_ATOMIC);
    if (!n->late || n->nr_late == TX_LATE)
        return -ENOBUFS;
    pbuf_ref(p);
    n->late[(n->late_at + n->nr_late++) % TX_LATE] = p;
    if (n->nr_late == 1 && !virtq_cb_enable(n->tx))
        softirq_raise(SOFTIRQ_NET);           // it has taken some meanwhile
    return 0;
}

static void send_late(struct vnet *n)
{
    if (likely(!n->nr_late))
        return;
    for (;;) {
        virtq_cb_disable(n->tx);
        while (n->nr_late && !tx_full(n)) {
            struct pbuf *p = n->late[n->late_at++ % TX_LATE];
            n->nr_late--;
            n->dev.tx_dropped += !put(n, p);
        }
        virtq_kick(n->tx);
        if (!n->nr_late || virtq_cb_enable(n->tx) || n->tx->broken)
            return;
        reclaim(n);
    }
}

static int xmit(struct netdev *d, struct pbuf *p)
{
    struct vnet *n = d->priv;
    if (n->tx->nr_free < n->tx->size / 2)
        reclaim(n);
    if (unlikely(n->nr_late || tx_full(n)))
        return defer(n, p);
    pbuf_ref(p);
    return put(n, p) ? 0 : -ENOBUFS;
}

static void kick(struct netdev *d)
{
    struct vnet *n = d->priv;
    virtq_kick(n->tx);
}

static void interrupt(struct virtq *q)
{
    virtq_cb_disable(q);
    softirq_raise(SOFTIRQ_NET);
}

static u16 ring_size(u64 mb)
{
    return mb < 48 ? 64 : mb < 200 ? 128 : 256;
}

static int set_up(struct vnet *n, struct virtio_dev *d)
{
    struct mem_stats m;
    mem_stats(&m);
    u64 mb = m.total >> 20;
    u16 size = ring_size(mb);
    n->rx = virtio_queue(d, 0, size, interrupt);
    n->tx = virtio_queue(d, 1, size, interrupt);
    n->no_offload = kzalloc(sizeof(*n->no_offload));
    if (!n->rx || !n->tx || !n->no_offload)
        return -ENOMEM;
    virtq_cb_disable(n->tx);                  // sent frames are taken back on the way
    n->dev.mtu = 1500;
    if (virtio_has(d, F_MTU)) {
        u16 mtu;
        virtio_config(d, C_MTU, &mtu, sizeof(mtu));
        if (mtu >= 576 && (mtu <= 1500 || virtio_has(d, F_MRG_RXBUF)))
            n->dev.mtu = mtu;
    }
    bool cut = !virtio_has(d, F_GUEST_TSO4) && !virtio_has(d, F_GUEST_TSO6) && n->dev.mtu <= 9000;
    n->rx_target = MIN(cut ? RX_SHORT : RX_LEAST, n->rx->size);
    n->rx_max = mb < 12 ? MIN(RX_LEAST, n->rx->size) : n->rx->size;
    if (virtio_has(d, F_MAC)) {
        virtio_config(d, C_MAC, n->dev.mac, sizeof(n->dev.mac));
    } else {
        random_bytes(n->dev.mac, sizeof(n->dev.mac));
        n->dev.mac[0] = (u8)((n->dev.mac[0] & ~1) | 2);      // unicast, locally administered
    }
    n->dev.tx_csum = virtio_has(d, F_CSUM);
    n->dev.tso = n->dev.tx_csum && virtio_has(d, F_HOST_TSO4) && n->dev.mtu >= 1280;
    n->dev.xmit = xmit;
    n->dev.poll = poll;
    n->dev.kick = kick;
    n->dev.priv = n;
    return virtio_ready(d);
}

int virtio_net_probe(struct virtio_dev *d)
{
    u64 wanted = BIT(F_CSUM) | BIT(F_GUEST_CSUM) | BIT(F_MTU) | BIT(F_MAC) | BIT(F_MRG_RXBUF) | BIT(F_HOST_TSO4);
    // Long frames only come in when they may be spread over several buffers.
    u64 needed = BIT(F_MRG_RXBUF) | BIT(F_GUEST_CSUM);
    if ((d->t->get_features(d) & needed) == needed)
        wanted |= BIT(F_GUEST_TSO4) | BIT(F_GUEST_TSO6);
    int err = virtio_negotiate(d, wanted);
    if (err)
        return err;
    struct vnet *n = kzalloc(sizeof(*n));
    if (!n)
        return -ENOMEM;
    n->v = d;
    err = set_up(n, d);
    if (err) {
        kfree(n->no_offload);
        kfree(n);
        return err;
    }
    virtq_watch(n->rx);
    netdev_register(&n->dev);
    softirq_raise(SOFTIRQ_NET);
    return 0;
}
