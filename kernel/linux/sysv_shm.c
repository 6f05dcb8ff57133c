// SPDX-License-Identifier: Apache-2.0
// System V shared memory: shmget(2), shmop(2), shmctl(2). A segment is a tmpfs file without a name. Each shmat opens it anew, so
// the last mapping of an attachment closes that file.
#include "sysv.h"
#include "signal_priv.h"
#include "../fs/vfs.h"
#include "../mm/vm_priv.h"

#include <linux/shm.h>
#include <asm/shmbuf.h>

#define SHMMAX_K (~0ul - (1ul << 24))       // /proc/sys/kernel/shmmax, shmall, shmmni
#define SHMMNI_K 4096u
#define CAP_IPC_LOCK_K 14
#define RLIMIT_MEMLOCK_K 8
#define MAPPED 1                    // a file's position, once shmat has succeeded
#define SHM_DEST_K 01000u           // in a mode: goes with its last attachment
#define SHM_LOCKED_K 02000u

struct segment {
    struct ipc_perm_k perm;
    struct file *file;              // keeps the memory
    u64 size;
    i64 atime, dtime, ctime;
    i32 cpid, lpid;
    u32 opens;                      // attachments with a mapping left; opens_lock
};

static struct ipc_ids ids = IPC_IDS_INIT(ids, SHMMNI_K);
static u64 all_pages;
static spinlock_t opens_lock = SPINLOCK_INIT;
static bool closed;                 // an attachment went while ids.lock was taken; opens_lock

static struct segment *segment_of(struct ipc_perm_k *p) { return container_of(p, struct segment, perm); }
static u64 pages_of(const struct segment *s) { return ALIGN_UP(s->size, PAGE_SIZE) >> PAGE_SHIFT; }

static void destroy(struct segment *s)
{
    ipc_remove(&ids, &s->perm);
    all_pages -= pages_of(s);
    file_put(s->file);
    kfree(s);
}

// An attachment ends with mm->lock held, where ids.lock must not be waited for. So whoever holds that one looks for segments that
// were removed and have lost their last attachment, before and after it lets go.
static void reap(void)
{
    spin_lock(&opens_lock);
    bool any = closed;
    closed = false;
    spin_unlock(&opens_lock);
    for (u32 n = 0; any && n < ids.size; n++) {
        struct segment *s = ids.at[n] ? segment_of(ids.at[n]) : NULL;
        if (s && (s->perm.mode & SHM_DEST_K) && !s->opens)
            destroy(s);
    }
}

static void shm_unlock(void)
{
    do {
        reap();
        mutex_unlock(&ids.lock);
    } while (closed && mutex_trylock(&ids.lock));
}

static int make_segment(const struct ipc_get *g)
{
    char name[16];
    struct mem_stats m;
    u64 pages = ALIGN_UP(g->size, PAGE_SIZE) >> PAGE_SHIFT;
    if (g->size < SHMMIN || g->size > SHMMAX_K)
        return -EINVAL;
    if (all_pages + pages < all_pages)
        return -ENOSPC;
    mem_stats(&m);
    if ((g->flags & SHM_HUGETLB) || (!(g->flags & SHM_NORESERVE) && pages > m.total / PAGE_SIZE))
        return -ENOMEM;             // no huge pages are set aside; what cannot fit at all is refused
    struct segment *s = kzalloc(sizeof(*s));
    if (!s)
        return -ENOMEM;
    snprintf(name, sizeof(name), "SYSV%08x", (u32)g->key);
    s->file = shmem_file(name, ALIGN_UP(g->size, PAGE_SIZE));
    int id = is_err(s->file) ? (int)ptr_err(s->file) : ipc_add(&ids, &s->perm, g->key, g->flags);
    if (id < 0) {
        if (!is_err(s->file))
            file_put(s->file);
        kfree(s);
        return id;
    }
    s->file->inode->ino = (u64)id;      // as maps shows it
    s->size = g->size;
    s->ctime = ipc_now();
    s->cpid = the_process->pid;
    all_pages += pages;
    return id;
}

static int segment_fits(const struct ipc_perm_k *p, u64 size)
{
    return size > container_of(p, const struct segment, perm)->size ? -EINVAL : 0;
}

long sys_shmget(struct regs *r)
{
    struct ipc_get g = { &ids, (i32)r->arg[0], (u32)r->arg[2], r->arg[1], make_segment, segment_fits };
    mutex_lock(&ids.lock);
    long id = ipc_get(&g);
    shm_unlock();
    return id;
}

// --- attaching ------------------------------------------------------------------------------------------------------------
static void shm_release(struct file *f)
{
    struct segment *s = f->priv;
    spin_lock(&opens_lock);
    if (f->pos == MAPPED) {
        s->dtime = ipc_now();
        s->lpid = the_process->pid;
    }
    s->opens--;
    closed = true;
    spin_unlock(&opens_lock);
    if (mutex_trylock(&ids.lock))
        shm_unlock();
}

static int shm_sync(struct file *f, bool data_only)
{
    (void)f, (void)data_only;
    return 0;
}

static const struct file_ops shm_ops = { .mmap = pc_mmap, .fsync = shm_sync, .release = shm_release };

// An open file of the segment, which counts as an attachment.
static struct file *open_segment(int id, u32 access, bool write)
{
    mutex_lock(&ids.lock);
    struct ipc_perm_k *p = ipc_find(&ids, id);
    int err = is_err(p) ? (int)ptr_err(p) : ipc_may(p, access);
    struct file *f = NULL;
    if (!err) {
        struct segment *s = segment_of(p);
        f = file_alloc(s->file->path, s->file->inode, &shm_ops, write ? O_RDWR : O_RDONLY);
        if (f) {
            f->priv = s;
            spin_lock(&opens_lock);
            s->opens++;
            spin_unlock(&opens_lock);
        }
    }
    shm_unlock();
    return err ? err_ptr(err) : f ? f : err_ptr(-ENOMEM);
}

static void mapped(struct file *f)
{
    struct segment *s = f->priv;
    spin_lock(&opens_lock);
    f->pos = MAPPED;
    s->atime = ipc_now();
    s->lpid = the_process->pid;
    spin_unlock(&opens_lock);
}

long sys_shmat(struct regs *r)
{
    int id = (int)r->arg[0];
    u64 addr = r->arg[1];
    u32 flags = (u32)r->arg[2], prot = flags & SHM_RDONLY ? VM_READ : VM_READ | VM_WRITE;
    if (id < 0)
        return -EINVAL;
    if (addr & ~PAGE_MASK) {
        if (!(flags & SHM_RND))
            return -EINVAL;
        addr &= PAGE_MASK;
        if (!addr && (flags & SHM_REMAP))
            return -EINVAL;
    } else if (!addr && (flags & SHM_REMAP)) {
        return -EINVAL;
    }
    if (flags & SHM_EXEC)
        prot |= VM_EXEC;
    struct file *f = open_segment(id, (flags & SHM_RDONLY ? 0444 : 0666) | (flags & SHM_EXEC ? 0111 : 0), !(flags & SHM_RDONLY));
    if (is_err(f))
        return ptr_err(f);
    u64 len = ALIGN_UP(((struct segment *)f->priv)->size, PAGE_SIZE);
    long at;
    if (addr && !(flags & SHM_REMAP) && (addr + len < addr || vm_in_use(addr, len)))
        at = -EINVAL;
    else if (addr && addr < MMAP_MIN && !capable(CAP_SYS_RAWIO))
        at = -EPERM;
    else
        at = vm_map(addr, len, prot, VMA_SHARED, f, 0, addr, false);
    if (at > 0)
        mapped(f);
    file_put(f);                    // the mapping keeps it
    return at;
}

// The attachment that begins at or above addr and whose pages lie as they did when it was made: all that is left of it goes.
long sys_shmdt(struct regs *r)
{
    u64 addr = r->arg[0], start = 0, end = 0;
    struct mm *mm = &the_process->mm;
    const struct file *f = NULL;
    if (addr & ~PAGE_MASK)
        return -EINVAL;
    rw_write_lock(&mm->lock);
    for (struct vma *v = vm_find(addr), *next; v; v = next) {
        next = vma_next(v);
        if (!v->file || v->file->ops != &shm_ops || v->start < addr || (v->start - addr) >> PAGE_SHIFT != v->pgoff)
            continue;
        if (f && (v->file != f || v->start >= end))
            continue;
        if (!f) {
            f = v->file;
            end = addr + ALIGN_UP(f->inode->size, PAGE_SIZE);
        }
        start = v->start;
        vm_unmap_locked(mm, start, v->end);
    }
    rw_write_unlock(&mm->lock);
    return f ? 0 : -EINVAL;
}

// --- shmctl(2) ----------------------------------------------------------------------------------------------------------
// Mappings of the segment, and its pages in memory.
static u64 attachments(const struct segment *s)
{
    struct mm *mm = &the_process->mm;
    u64 n = 0;
    if (!s->opens)
        return 0;
    rw_read_lock(&mm->lock);
    for (struct vma *v = vm_find(0); v; v = vma_next(v))
        n += v->file && v->file->ops == &shm_ops && v->file->priv == s;
    rw_read_unlock(&mm->lock);
    return n;
}

static u64 resident(const struct segment *s) { return s->file->inode->mapping.nr; }

static int limits(int cmd, uptr to)
{
    struct shminfo64 i = { .shmmax = SHMMAX_K, .shmmin = SHMMIN, .shmmni = SHMMNI_K, .shmseg = SHMMNI_K, .shmall = SHMMAX_K };
    struct shm_info now = { .used_ids = (int)ids.in_use, .shm_tot = all_pages };
    for (u32 n = 0; n < ids.size; n++)
        if (ids.at[n])
            now.shm_rss += resident(segment_of(ids.at[n]));
    bool bad = cmd == IPC_INFO ? copy_to_user(to, &i, sizeof(i)) : copy_to_user(to, &now, sizeof(now));
    return bad ? -EFAULT : 0;
}

static int describe(const struct ipc_perm_k *p, uptr to)
{
    const struct segment *s = container_of(p, const struct segment, perm);
    struct shmid64_ds ds = {
        .shm_segsz = s->size, .shm_atime = s->atime, .shm_dtime = s->dtime, .shm_ctime = s->ctime, .shm_cpid = s->cpid,
        .shm_lpid = s->lpid, .shm_nattch = attachments(s),
    };
    ipc_fill(&ds.shm_perm, p);
    return copy_to_user(to, &ds, sizeof(ds)) ? -EFAULT : 0;
}

// SHM_LOCK, SHM_UNLOCK. There is no swap, so a locked segment differs by its mark only.
static int other(struct ipc_perm_k *p, int cmd)
{
    if (cmd != SHM_LOCK && cmd != SHM_UNLOCK)
        return -EINVAL;
    if (!capable(CAP_IPC_LOCK_K)) {
        u32 me = current_cred()->euid;
        if (me != p->uid && me != p->cuid)
            return -EPERM;
        if (cmd == SHM_LOCK && !the_process->rlim[RLIMIT_MEMLOCK_K].soft)
            return -EPERM;
    }
    p->mode = cmd == SHM_LOCK ? p->mode | SHM_LOCKED_K : p->mode & ~SHM_LOCKED_K;
    return 0;
}

static int set(struct ipc_perm_k *p, const void *to)
{
    int err = ipc_set(p, &((const struct shmid64_ds *)to)->shm_perm);
    if (!err)
        segment_of(p)->ctime = ipc_now();
    return err;
}

static void remove(struct ipc_perm_k *p)
{
    struct segment *s = segment_of(p);
    if (s->opens) {
        p->mode |= SHM_DEST_K;        // goes with its last attachment; no key leads to it any more
        p->key = IPC_PRIVATE;
    } else {
        destroy(s);
    }
}

long sys_shmctl(struct regs *r)
{
    static const struct ipc_kind segments = {
        .ids = &ids, .stat = SHM_STAT, .stat_any = SHM_STAT_ANY, .info = SHM_INFO, .size = sizeof(struct shmid64_ds),
        .limits = limits, .describe = describe, .set = set, .remove = remove, .other = other, .unlock = shm_unlock,
    };
    return ipc_ctl(&segments, (int)r->arg[0], (int)r->arg[1], r->arg[2]);
}

static void show_shm(struct seqbuf *q)
{
    seq_printf(q, "       key      shmid perms                  size  cpid  lpid nattch   uid   gid  cuid  cgid"
                  "      atime      dtime      ctime                   rss                  swap\n");
    mutex_lock(&ids.lock);
    for (u32 n = 0; n < ids.size; n++) {
        const struct segment *s = ids.at[n] ? segment_of(ids.at[n]) : NULL;
        if (s)
            seq_printf(q, "%10d %10d  %4o %21lu %5u %5u  %5lu %5u %5u %5u %5u %10ld %10ld %10ld %21lu %21u\n", s->perm.key, s->perm.id,
                       s->perm.mode, s->size, (u32)s->cpid, (u32)s->lpid, attachments(s), s->perm.uid, s->perm.gid, s->perm.cuid,
                       s->perm.cgid, s->atime, s->dtime, s->ctime, resident(s) * PAGE_SIZE, 0u);
    }
    shm_unlock();
}

void sysv_shm_proc(void) { proc_register("/proc/sysvipc/shm", 0444, show_shm, NULL); }
