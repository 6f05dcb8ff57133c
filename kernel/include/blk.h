// SPDX-License-Identifier: Apache-2.0
// Block devices (dev/virtio_blk.c, dev/blk.c): requests of whole sectors, asynchronous with a completion, or waited for.
#ifndef UNI_BLK_H
#define UNI_BLK_H

#include "list.h"
#include "types.h"

#define SECTOR_SIZE 512u

enum blk_op { BLK_READ, BLK_WRITE, BLK_FLUSH, BLK_DISCARD, BLK_WRITE_ZEROES };

struct blk_seg {
    u64 pa;
    u32 len;                    // bytes, a multiple of 512
};

struct blk_req {
    enum blk_op op;
    u64 sector;
    u32 nr_sectors;             // discard and write zeroes
    const struct blk_seg *seg;  // read and write; lives until done
    u32 nr_seg;                 // at most blkdev->max_seg
    int status;                 // 0 or -EIO, -EOPNOTSUPP; valid in done()
    void (*done)(struct blk_req *r);   // block softirq
    void *priv;
    struct list node;
};

struct blkdev {
    char name[16];              // "vda"
    u32 major, minor;           // 254:16*n, as virtio-blk has under Linux
    u64 sectors;
    u32 max_seg, block_size;
    bool readonly, has_flush, has_discard;
    int (*submit)(struct blkdev *d, struct blk_req *r);   // queues; 0 or -errno (then done() is not called)
    struct list node;
    void *priv;
    u64 rd_bytes, wr_bytes, rd_ops, wr_ops;
    char serial[21];            // as the host gave it; may be empty
    u32 max_discard;            // sectors in one request
    void (*poll)(struct blkdev *d);   // looks for what is done without an interrupt
};

extern struct list blkdevs;                               // struct blkdev.node, in the order of their names; fixed after dev_init

void blkdev_register(struct blkdev *d);
struct blkdev *blkdev_find(const char *name);             // with or without "/dev/"
// Waits (sleeping) until the request is done; before the scheduler runs, by polling. 0 or -errno.
int blk_submit_wait(struct blkdev *d, struct blk_req *r);
// What the disks did since boot, in bytes. There is one process, so it is the process's.
struct disk_work { u64 read, written; };
struct disk_work disk_work(void);
// Convenience on direct-mapped kernel memory.
int blk_read(struct blkdev *d, u64 sector, void *buf, u32 len);
int blk_write(struct blkdev *d, u64 sector, const void *buf, u32 len);
int blk_flush(struct blkdev *d);

#endif
