// SPDX-License-Identifier: Apache-2.0
// What fs/ needs from the rest of the kernel, on the host: one thread, memory from malloc, a disk in memory.
#include "host.h"

#include "arch.h"
#include "errno.h"
#include "blk.h"
#include "boot.h"
#include "fs.h"
#include "kmalloc.h"
#include "lib.h"
#include "page.h"
#include "printk.h"
#include "process.h"
#include "vm.h"

struct process *the_process;
struct boot_config boot_config;

// --- Memory
void *kmalloc(size_t size, unsigned flags) { return host_starves() ? NULL : host_alloc(size, flags & PA_ZERO); }
void *kzalloc(size_t size) { return kmalloc(size, PA_ZERO); }
void *krealloc(void *p, size_t size) { return host_starves() ? NULL : host_realloc(p, size); }
void kfree(void *p) { host_free(p); }
void *vmalloc(size_t size) { return kmalloc(size, 0); }
void vfree(void *p) { host_free(p); }

char *kstrdup(const char *s)
{
    size_t n = strlen(s) + 1;
    char *p = kmalloc(n, 0);
    if (p)
        memcpy(p, s, n);
    return p;
}

struct host_page {
    struct page p;
    void *va;
};

struct page *page_alloc(unsigned order, unsigned flags)
{
    struct host_page *h = host_starves() ? NULL : host_alloc(sizeof(*h), 1);
    if (!h)
        return NULL;
    h->va = host_pages(PAGE_SIZE << order);
    memset(h->va, flags & PA_ZERO ? 0 : 0xa5, PAGE_SIZE << order);
    h->p.refs = 1;
    return &h->p;
}

void page_get(struct page *p) { p->refs++; }

void page_put(struct page *p)
{
    struct host_page *h = container_of(p, struct host_page, p);
    if (!p->refs)
        host_fail("a page is freed twice");
    if (--p->refs)
        return;
    host_free(h->va);
    host_free(h);
}

u64 page_pa(const struct page *p) { return (u64)container_of(p, struct host_page, p)->va - DIRECT_MAP; }
void shrinker_register(struct shrinker *s) { (void)s; }
void mem_account_cache(long pages) { (void)pages; }
void random_bytes(void *buf, size_t n) { memset(buf, 0x5a, n); }
void mem_stats(struct mem_stats *out) { *out = (struct mem_stats){ .total = 64ul << 20, .free = 32ul << 20 }; }
void vm_unmap_file_pages(struct inode *i, u64 first, u64 n) { (void)i, (void)first, (void)n; }
void vm_clean_file_pages(struct inode *i, u64 first, u64 n) { (void)i, (void)first, (void)n; }

// --- One thread
void waitq_init(struct waitq *q) { list_init(&q->waiters); }
void waitq_prepare(struct waitq *q, struct waiter *w) { (void)q, (void)w; }
void waitq_finish(struct waiter *w) { (void)w; }
void waitq_wake_all(struct waitq *q) { (void)q; }

int waitq_sleep(struct waiter *w, u64 deadline, bool interruptible)
{
    (void)w, (void)deadline, (void)interruptible;
    host_fail("the only thread goes to sleep");
}

void mutex_init(struct mutex *m) { m->owner = NULL; }

void mutex_lock(struct mutex *m)
{
    if (m->owner)
        host_fail("a mutex is taken twice");
    m->owner = (struct thread *)1;
}

void mutex_unlock(struct mutex *m)
{
    if (!m->owner)
        host_fail("a mutex is given back that nobody holds");
    m->owner = NULL;
}

struct thread *kthread_create(const char *name, void (*fn)(void *), void *arg)
{
    (void)name, (void)fn, (void)arg;
    return (struct thread *)1;
}

int signal_thread(struct thread *t, int sig, const struct siginfo_k *info)
{
    (void)t, (void)sig, (void)info;
    return 0;
}

struct file *fd_any(int fd)
{
    (void)fd;
    return NULL;
}

u64 clock_real_ns(void) { return host_now(); }
u64 clock_mono_ns(void) { return host_now(); }
void locks_release(struct file *f);
void locks_release(struct file *f) { (void)f; }
void epoll_file_released(struct file *f);
void epoll_file_released(struct file *f) { (void)f; }
void fasync_file_released(struct file *f);
void fasync_file_released(struct file *f) { (void)f; }
size_t net_resolv_conf(char *buf, size_t size);
size_t net_resolv_conf(char *buf, size_t size)
{
    (void)buf, (void)size;
    return 0;
}
const struct file_ops blkdev_file_ops;

// --- Iterators over kernel memory
void iter_kernel(struct iter *it, void *buf, u64 len) { *it = (struct iter){ .kbuf = buf, .left = len }; }

size_t iter_put(struct iter *it, const void *src, size_t n)
{
    n = MIN(n, it->left);
    memcpy(it->kbuf, src, n);
    it->kbuf += n;
    it->left -= n;
    return n;
}

size_t iter_get(struct iter *it, void *dst, size_t n)
{
    n = MIN(n, it->left);
    memcpy(dst, it->kbuf, n);
    it->kbuf += n;
    it->left -= n;
    return n;
}

size_t iter_zero(struct iter *it, size_t n)
{
    n = MIN(n, it->left);
    memset(it->kbuf, 0, n);
    it->kbuf += n;
    it->left -= n;
    return n;
}

// --- Text
void printk(int level, const char *fmt, ...)
{
    va_list ap;
    (void)level;
    va_start(ap, fmt);
    host_log(fmt, ap);
    va_end(ap);
}

size_t strlcpy(char *dst, const char *src, size_t size)
{
    size_t n = strlen(src);
    if (size) {
        memcpy(dst, src, MIN(n, size - 1));
        dst[MIN(n, size - 1)] = 0;
    }
    return n;
}

bool parse_u64(const char *s, unsigned base, u64 *out)
{
    *out = 0;
    for (; *s >= '0' && *s < '0' + (int)base; s++)
        *out = *out * base + (u64)(*s - '0');
    return !*s;
}

// --- Disk
static int transfer(struct blkdev *d, struct blk_req *r)
{
    u64 off = r->sector * SECTOR_SIZE;
    (void)d;
    for (u32 n = 0; n < r->nr_seg; n++) {
        if (host_disk_rw(r->op == BLK_WRITE, off, pa_to_va(r->seg[n].pa), r->seg[n].len))
            return -EIO;
        off += r->seg[n].len;
    }
    return 0;
}

static int submit(struct blkdev *d, struct blk_req *r)
{
    r->status = transfer(d, r);
    if (r->done)
        r->done(r);
    return 0;
}

int blk_submit_wait(struct blkdev *d, struct blk_req *r) { return transfer(d, r); }

int blk_read(struct blkdev *d, u64 sector, void *buf, u32 len)
{
    (void)d;
    return host_disk_rw(0, sector * SECTOR_SIZE, buf, len) ? -EIO : 0;
}

int blk_write(struct blkdev *d, u64 sector, const void *buf, u32 len)
{
    (void)d;
    return host_disk_rw(1, sector * SECTOR_SIZE, (void *)buf, len) ? -EIO : 0;
}

int blk_flush(struct blkdev *d)
{
    (void)d;
    return 0;
}

struct blkdev host_blkdev = { .name = "vda", .major = 254, .max_seg = 32, .block_size = 512, .submit = submit };
struct blkdev *blkdev_find(const char *name)
{
    (void)name;
    return &host_blkdev;
}

// --- File systems that are not tested here
struct superblock *procfs_mount(void);
struct superblock *sysfs_mount(void);
void proc_init(void);
void memdev_init(void);
void memdev_populate(struct inode *dir);
struct superblock *procfs_mount(void) { return NULL; }
struct superblock *sysfs_mount(void) { return NULL; }
void proc_init(void) {}
void memdev_init(void) {}
void memdev_populate(struct inode *dir) { (void)dir; }

static const struct cred root;

const struct cred *current_cred(void) { return &root; }
bool capable(int cap) { return cap >= 0; }

bool cred_in_group(const struct cred *c, u32 gid)
{
    (void)c, (void)gid;
    return false;
}

u32 notify_watches;
struct path;
void notify_path(struct path *p, u32 mask);
void notify_inode(struct inode *i, u32 mask, u32 cookie, const char *name);
u32 notify_cookie(void);
void notify_path(struct path *p, u32 mask) { (void)p, (void)mask; }
void notify_inode(struct inode *i, u32 mask, u32 cookie, const char *name) { (void)i, (void)mask, (void)cookie, (void)name; }
u32 notify_cookie(void) { return 1; }

u32 inode_seals(const struct inode *i)
{
    (void)i;
    return 0;
}

bool any_file(bool (*is)(const struct file *f, const void *arg), const void *arg)
{
    (void)is, (void)arg;
    return false;
}
