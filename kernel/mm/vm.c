// SPDX-License-Identifier: Apache-2.0
// The areas of the program's address space: finding room, mapping, unmapping, splitting, merging.
#include "vm.h"
#include "errno.h"
#include "fs.h"
#include "kmalloc.h"
#include "lib.h"
#include "page.h"
#include "process.h"
#include "spinlock.h"
#include "uaccess.h"
#include "vm_priv.h"

enum { RLIMIT_DATA = 2, RLIMIT_STACK = 3, RLIMIT_AS = 9 };

// The tree changes only with mm->lock held for writing and, for the moment of the change, this lock; either is enough to read it.
spinlock_t vm_tree_lock = SPINLOCK_INIT;
#define AREAS_MAX 65530u             // /proc/sys/vm/max_map_count

static struct vma *last_found;      // cache of vm_find; NULL after every change of the tree

static inline struct vma *node_vma(struct rbnode *n) { return n ? container_of(n, struct vma, node) : NULL; }
struct vma *vma_next(struct vma *v) { return node_vma(rb_next(&v->node)); }
struct vma *vma_prev(struct vma *v) { return node_vma(rb_prev(&v->node)); }
static struct mm *the_mm(void) { return &the_process->mm; }

struct vma *vm_find(u64 addr)
{
    struct vma *v = last_found, *best = NULL;
    if (v && addr >= v->start && addr < v->end)
        return v;
    for (struct rbnode *n = the_mm()->vmas.root; n;) {
        v = node_vma(n);
        if (addr < v->end) {
            best = v;
            if (addr >= v->start)
                break;
            n = n->left;
        } else {
            n = n->right;
        }
    }
    if (best && addr >= best->start)
        last_found = best;
    return best;
}

static void tree_insert(struct mm *mm, struct vma *v)
{
    struct rbnode **link = &mm->vmas.root, *parent = NULL;
    spin_lock(&vm_tree_lock);
    while (*link) {
        parent = *link;
        link = v->start < node_vma(parent)->start ? &parent->left : &parent->right;
    }
    rb_insert(&mm->vmas, &v->node, parent, link);
    mm->nr_areas++;
    last_found = NULL;
    spin_unlock(&vm_tree_lock);
}

static void tree_erase(struct mm *mm, struct vma *v)
{
    spin_lock(&vm_tree_lock);
    rb_erase(&mm->vmas, &v->node);
    mm->nr_areas--;
    last_found = NULL;
    spin_unlock(&vm_tree_lock);
}

void vma_set_start(struct vma *v, u64 start)
{
    spin_lock(&vm_tree_lock);
    v->start = start;
    last_found = NULL;
    spin_unlock(&vm_tree_lock);
}

static void vma_set_end(struct vma *v, u64 end)
{
    spin_lock(&vm_tree_lock);
    v->end = end;
    last_found = NULL;
    spin_unlock(&vm_tree_lock);
}

static void vma_free(struct vma *v)
{
    if (v->file)
        file_put(v->file);
    kfree(v);
}

bool vm_overlaps(u64 start, u64 end)
{
    struct vma *v = vm_find(start);
    return v && v->start < end;
}

int vm_split(struct mm *mm, u64 addr)
{
    struct vma *v = vm_find(addr);
    if (!v || v->start >= addr)
        return 0;
    struct vma *upper = mm->nr_areas < AREAS_MAX ? kmalloc(sizeof(*upper), 0) : NULL;
    if (!upper)
        return -ENOMEM;
    *upper = *v;
    upper->start = addr;
    if (v->file) {
        file_get(v->file);
        upper->pgoff += (addr - v->start) >> PAGE_SHIFT;
    }
    vma_set_end(v, addr);
    tree_insert(mm, upper);
    return 0;
}

static bool mergeable(const struct vma *a, const struct vma *b)
{
    return a->end == b->start && a->prot == b->prot && a->flags == b->flags && a->file == b->file && a->name == b->name &&
           !(a->flags & (VMA_SPECIAL | VMA_STACK)) && (!a->file || a->pgoff + ((a->end - a->start) >> PAGE_SHIFT) == b->pgoff);
}

void vm_merge_around(struct mm *mm, u64 start, u64 end)
{
    struct vma *v = vm_find(start ? start - 1 : 0);
    while (v && v->start <= end) {
        struct vma *next = vma_next(v);
        if (next && mergeable(v, next)) {
            u64 to = next->end;
            tree_erase(mm, next);
            vma_free(next);
            vma_set_end(v, to);
        } else {
            v = next;
        }
    }
}

// Below a stack a gap stays free, so that it never grows into its neighbor unnoticed.
static u64 vma_low(const struct vma *v)
{
    return v->flags & (VMA_STACK | VMA_GROWSDOWN) ? v->start - MIN(v->start, STACK_GAP) : v->start;
}

static bool hint_free(u64 hint, u64 len)
{
    if (hint < MMAP_MIN || hint > USER_MAX - len)
        return false;
    struct vma *v = vm_find(hint);
    return !v || vma_low(v) >= hint + len;
}

// The highest gap of that size below `top`, or 0. Remembers where it was, and the largest of the gaps passed over.
static u64 gap_below(struct mm *mm, u64 top, u64 len)
{
    struct vma *v = vm_find(top);
    v = v ? v : node_vma(rb_last(&mm->vmas));
    while (v && v->start >= top)
        v = vma_prev(v);
    for (; v; v = vma_prev(v)) {
        u64 room = v->end < top ? top - v->end : 0;
        if (room >= len)
            break;
        mm->gap_passed = MAX(mm->gap_passed, room);
        top = MIN(top, vma_low(v));
    }
    if (top < len || top - len < MMAP_MIN)
        return 0;
    mm->gap_from = top - len;
    return top - len;
}

// The lowest gap from `at` on that ends before `end`.
static long gap_above(u64 at, u64 end, u64 len)
{
    while (len <= end && at <= end - len) {
        struct vma *v = vm_find(at);
        if (!v || vma_low(v) >= at + len)
            return (long)at;
        at = v->end;
    }
    return -ENOMEM;
}

// For MAP_32BIT, where Linux looks too.
static long gap_low(u64 hint, u64 len)
{
    const u64 from = 1ull << 30, end = 2 * from;
    return hint && hint <= end && len <= end - hint && hint_free(hint, len) ? (long)hint : gap_above(from, end, len);
}

// The highest gap below mmap_top; above it when there is none. No gap above gap_from is larger than gap_passed, so most searches
// begin where the last one ended, however many areas there are.
long vm_gap(struct mm *mm, u64 hint, u64 len)
{
    if (len > USER_MAX)
        return -ENOMEM;
    if (hint && hint_free(hint, len))
        return (long)hint;
    u64 at = len > mm->gap_passed && mm->gap_from ? gap_below(mm, mm->gap_from, len) : 0;
    if (!at) {
        mm->gap_passed = 0;
        at = gap_below(mm, mm->mmap_top, len);
    }
    if (at)
        return (long)at;
    return gap_above(mm->mmap_top, USER_MAX, len);
}

// [start, high) has become free: the next search must see it.
static void gap_opened(struct mm *mm, u64 high)
{
    if (high > mm->gap_from)
        mm->gap_from = MIN(high, mm->mmap_top);
}

int vm_may_grow(struct mm *mm, u64 pages, u32 prot, u32 flags, bool file)
{
    const struct rlimit_k *l = the_process->rlim;
    struct mem_stats m;
    if (l[RLIMIT_AS].soft != ~0ull && (mm->total_pages + pages) * PAGE_SIZE > l[RLIMIT_AS].soft)
        return -ENOMEM;
    if (file || !(prot & VM_WRITE) || (flags & (VMA_SHARED | VMA_STACK)))
        return 0;
    if (l[RLIMIT_DATA].soft != ~0ull && (mm->data_pages + pages) * PAGE_SIZE > l[RLIMIT_DATA].soft)
        return -ENOMEM;
    // As Linux's heuristic overcommit: what cannot possibly fit is refused.
    mem_stats(&m);
    return !(flags & VMA_NORESERVE) && pages > m.total / PAGE_SIZE ? -ENOMEM : 0;
}

static bool is_data(const struct vma *v) { return (v->prot & VM_WRITE) && !(v->flags & (VMA_SHARED | VMA_STACK)); }

void vm_account(struct mm *mm, const struct vma *v, i64 pages)
{
    mm->total_pages += (u64)pages;
    if (is_data(v))
        mm->data_pages += (u64)pages;
    if (v->flags & VMA_LOCKED)
        mm->locked_pages += (u64)pages;
}

void vm_unmap_locked(struct mm *mm, u64 start, u64 end)
{
    struct vma *v = vm_find(start);
    u64 low = v ? vma_prev(v) ? vma_prev(v)->end : 0 : 0;
    bool any = false;
    while (v && v->start < end) {
        struct vma *next = vma_next(v);
        vm_account(mm, v, -(i64)((v->end - v->start) >> PAGE_SHIFT));
        pte_zap(mm, v->start, v->end);
        tree_erase(mm, v);
        vma_free(v);
        v = next;
        any = true;
    }
    if (any)
        gap_opened(mm, v ? vma_low(v) : mm->mmap_top);
    // Page tables go back only where a whole one can be empty: with the gap to the neighbors.
    u64 high = v ? v->start : USER_MAX;
    if (any && ALIGN_UP(low, BIT(21)) + BIT(21) <= high)
        pt_free_range(MAX(low, ALIGN_DOWN(start, BIT(21))), MIN(high, ALIGN_UP(end, BIT(21))));
}

static int unmap_checked(struct mm *mm, u64 start, u64 end)
{
    int err = vm_split(mm, start);
    if (!err)
        err = vm_split(mm, end);
    if (!err)
        vm_unmap_locked(mm, start, end);
    return err;
}

// The file's own part: permission and kind. An operation may turn the area into an anonymous one (/dev/zero) by clearing v->file.
static int map_file(struct vma *v)
{
    struct file *f = v->file;
    if (!f->ops->mmap)
        return -ENODEV;
    file_get(f);
    int err = f->ops->mmap(f, v);
    if (err || !v->file)
        file_put(f);
    if (!v->file)
        v->pgoff = 0;
    return err;
}

// One more page range directly behind an area of the same kind needs no new structure.
static bool extend_previous(struct mm *mm, const struct vma *like)
{
    if (like->file)
        return false;
    struct vma *p = like->start ? vm_find(like->start - 1) : NULL;
    if (!p || p->end != like->start || !mergeable(p, like))
        return false;
    vma_set_end(p, like->end);
    vm_account(mm, p, (i64)((like->end - like->start) >> PAGE_SHIFT));
    return true;
}

long vm_map_locked(struct mm *mm, u64 addr, u64 len, u32 prot, u32 flags, struct file *f, u64 pgoff, bool fixed, bool noreplace)
{
    if (fixed && noreplace && vm_overlaps(addr, addr + len))
        return -EEXIST;
    int err = vm_may_grow(mm, len >> PAGE_SHIFT, prot, flags, f);
    if (err)
        return err;
    if (!fixed) {
        long at = flags & VMA_LOW ? gap_low(addr, len) : vm_gap(mm, addr, len);
        if (at < 0)
            return at;
        addr = (u64)at;
    }
    flags &= ~(u32)VMA_LOW;
    struct vma *v = mm->nr_areas <= AREAS_MAX ? kmalloc(sizeof(*v), PA_ZERO) : NULL;
    if (!v)
        return -ENOMEM;
    flags |= mm->lock_future;
    *v = (struct vma){ .start = addr, .end = addr + len, .prot = prot, .flags = flags, .file = f, .pgoff = f ? pgoff : 0 };
    if (flags & VMA_STACK)
        v->name = "[stack]";
    if (f && (err = map_file(v))) {
        kfree(v);
        return err;
    }
    if (fixed && (err = unmap_checked(mm, addr, addr + len))) {
        vma_free(v);
        return err;
    }
    if (extend_previous(mm, v)) {
        vma_free(v);
    } else {
        vm_account(mm, v, (i64)(len >> PAGE_SHIFT));
        tree_insert(mm, v);
    }
    vm_merge_around(mm, addr, addr + len);
    return (long)addr;
}

long vm_map(u64 addr, u64 len, u32 prot, u32 flags, struct file *f, u64 pgoff, bool fixed, bool noreplace)
{
    struct mm *mm = the_mm();
    if (!len || len > USER_MAX || (addr & ~PAGE_MASK) || (fixed && addr > USER_MAX - len))
        return len > USER_MAX || (len && addr > USER_MAX - len) ? -ENOMEM : -EINVAL;
    rw_write_lock(&mm->lock);
    long r = vm_map_locked(mm, addr, ALIGN_UP(len, PAGE_SIZE), prot, flags, f, pgoff, fixed, noreplace);
    rw_write_unlock(&mm->lock);
    return r;
}

bool vm_in_use(u64 addr, u64 len)
{
    struct mm *mm = the_mm();
    rw_read_lock(&mm->lock);
    bool used = vm_overlaps(addr, addr + len);
    rw_read_unlock(&mm->lock);
    return used;
}

int vm_unmap(u64 addr, u64 len)
{
    struct mm *mm = the_mm();
    if ((addr & ~PAGE_MASK) || !len || addr > USER_MAX || len > USER_MAX - addr)
        return -EINVAL;
    rw_write_lock(&mm->lock);
    int err = unmap_checked(mm, addr, addr + ALIGN_UP(len, PAGE_SIZE));
    rw_write_unlock(&mm->lock);
    return err;
}

static int protect_one(struct mm *mm, struct vma *v, u32 prot)
{
    i64 pages = (i64)((v->end - v->start) >> PAGE_SHIFT);
    if (v->prot == prot)
        return 0;
    if ((prot & VM_WRITE) && !(v->prot & VM_WRITE)) {
        int err = vm_may_grow(mm, 0, prot, v->flags, v->file);
        if (err)
            return err;
    }
    vm_account(mm, v, -pages);
    v->prot = prot;
    vm_account(mm, v, pages);
    pte_protect(v, v->start, v->end);
    return 0;
}

static bool write_allowed(const struct vma *v)
{
    if (v->flags & VMA_SPECIAL)
        return false;                   // the kernel's own pages
    return !(v->flags & VMA_SHARED) || !v->file || ((v->file->flags & ACCMODE) == RDWR && !(v->flags & VMA_SEALED));
}

static int protect_locked(struct mm *mm, u64 start, u64 end, u32 prot)
{
    int err = vm_split(mm, start);
    if (!err)
        err = vm_split(mm, end);
    u64 at = start;
    for (struct vma *v = vm_find(start); !err && v && v->start < end; v = vma_next(v)) {
        if (v->start != at)
            return -ENOMEM;
        if ((prot & VM_WRITE) && !write_allowed(v))
            err = -EACCES;
        else
            err = protect_one(mm, v, prot);
        at = v->end;
    }
    if (!err && at < end)
        err = -ENOMEM;
    return err;
}

int vm_protect(u64 addr, u64 len, u32 prot)
{
    struct mm *mm = the_mm();
    if (addr > USER_MAX || len > USER_MAX - addr)
        return -ENOMEM;
    rw_write_lock(&mm->lock);
    int err = protect_locked(mm, addr, addr + len, prot);
    vm_merge_around(mm, addr, addr + len);
    rw_write_unlock(&mm->lock);
    return err;
}

void vm_destroy_user(void)
{
    struct mm *mm = the_mm();
    if (!mm->vmas.root)
        return;                     // the first program: vm_init_user has not even made the lock
    rw_write_lock(&mm->lock);
    vm_unmap_locked(mm, 0, USER_MAX);
    rw_write_unlock(&mm->lock);
}

// The end of the process: files that only a mapping kept alive go; anonymous memory need not be taken apart.
void vm_release_files(void)
{
    struct mm *mm = the_mm();
    rw_write_lock(&mm->lock);
    for (struct vma *v = vm_find(0), *next; v; v = next) {
        next = vma_next(v);
        if (v->file)
            vm_unmap_locked(mm, v->start, v->end);
    }
    rw_write_unlock(&mm->lock);
}

static u64 random_pages(unsigned bits)
{
    u64 r;
    random_bytes(&r, sizeof(r));
    return (r & (BIT(bits) - 1)) << PAGE_SHIFT;
}

// Entropy as on Linux: 22 bits of pages for the stack, 28 for mappings. Between them lies room for the stack's limit.
void vm_init_user(struct mm *mm, bool aslr)
{
    u64 limit = the_process->rlim[RLIMIT_STACK].soft;
    u64 gap = ALIGN_UP(MIN(MAX(limit, 128ul << 20), USER_MAX / 6 * 5), PAGE_SIZE);
    memset(mm, 0, sizeof(*mm));
    rw_init(&mm->lock);
    last_found = NULL;
    mm->stack_top = USER_MAX - (aslr ? random_pages(22) : 0);
    mm->mmap_top = USER_MAX - gap - STACK_GAP - (BIT(22) << PAGE_SHIFT) - (aslr ? random_pages(28) : 0);
}
