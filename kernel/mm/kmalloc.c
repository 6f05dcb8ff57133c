// SPDX-License-Identifier: Apache-2.0
// Kernel heap. A slab is one page cut into blocks of one size; its struct page tells which (order = index of the class), how many
// are in use and where the first free one is (both in refs). Larger blocks are pages of their own.
#include "kmalloc.h"
#include "bootinfo.h"
#include "lib.h"
#include "mm_priv.h"
#include "page.h"
#include "printk.h"
#include "sched.h"
#include "spinlock.h"

static const u16 sizes[] = { 16, 32, 48, 64, 80, 96, 128, 160, 192, 256, 320, 384, 512, 672, 816, 1024, 1360, 2048 };
#define NR_CLASSES ARRAY_SIZE(sizes)
#define LENT_MAX 1024u               // bytes, for each class
#define FREE_END 0xffffu            // "no free block" in a slab's list
#define POISON 0x6b6b6b6b6b6b6b6bull

static spinlock_t lock = SPINLOCK_INIT;     // guards all below and the insides of slab pages, interrupts off
static u32 partial[NR_CLASSES];             // frame of the first slab with a free block; chained by page.next/prev
static u64 nr_pages;
static u16 lent[NR_CLASSES];                // bytes that blocks of larger classes were too large
static u8 class_of[2048 / 16 + 1];
static u32 reciprocal[NR_CLASSES];          // 2^26 / size, rounded up: exact for every offset in a page

// Blocks that were just freed, to be taken again without the lock: turning interrupts on is dear on an emulated CPU, and a packet
// takes and frees several. Threads and softirqs only, softirqs off; they count as in use in their slabs.
#define MAGAZINE 4
static struct {
    u32 n;
    void *block[MAGAZINE];
} magazine[NR_CLASSES];

u64 kmalloc_pages(void) { return nr_pages; }

void kmalloc_init(void)
{
    for (unsigned i = 0, c = 0; i <= 2048 / 16; i++) {
        while (sizes[c] < i * 16)
            c++;
        class_of[i] = (u8)c;
    }
    for (unsigned c = 0; c < NR_CLASSES; c++)
        reciprocal[c] = ((1u << 26) + sizes[c] - 1) / sizes[c];
}

static u32 frame(const struct page *p) { return (u32)(page_pa(p) >> PAGE_SHIFT); }
static struct page *from_frame(u32 f) { return page_from_pa((u64)f << PAGE_SHIFT); }
static u32 in_use(const struct page *p) { return p->refs >> 16; }
static u32 first_free(const struct page *p) { return p->refs & 0xffff; }
static void set_slab(struct page *p, u32 used, u32 head) { p->refs = used << 16 | head; }

static void partial_add(struct page *p)
{
    u32 *head = &partial[p->order];
    p->prev = 0;
    p->next = *head;
    if (*head)
        from_frame(*head)->prev = frame(p);
    *head = frame(p);
}

static void partial_del(struct page *p)
{
    if (p->prev)
        from_frame(p->prev)->next = p->next;
    else
        partial[p->order] = p->next;
    if (p->next)
        from_frame(p->next)->prev = p->prev;
}

// Makes a slab out of page p. The list of free blocks runs through their first words (offset of the next one).
static void slab_init(struct page *p, u32 class)
{
    char *base = page_va(p);
    u32 size = sizes[class], n = PAGE_SIZE / size;
    for (u32 i = 0; i < n; i++)
        *(u64 *)(base + i * size) = i + 1 < n ? (i + 1) * size : FREE_END;
    p->flags = PG_SLAB;
    p->order = (u8)class;
    set_slab(p, 0, 0);
    nr_pages++;
    partial_add(p);
}

static void *slab_take(u32 class)
{
    struct page *p = from_frame(partial[class]);
    char *base = page_va(p);
    u64 *block = (u64 *)(base + first_free(p));
    u64 next = *block;
    if (next != FREE_END && next >= PAGE_SIZE)
        panic("kernel heap: a free block of %u bytes was written to", sizes[class]);
    set_slab(p, in_use(p) + 1, (u32)next);
    if (next == FREE_END)
        partial_del(p);
    return block;
}

// A class of which little is asked for gets no page of its own: its first blocks are larger ones, as well aligned, that lie free.
static u32 lender(u32 class)
{
    u32 align = sizes[class] & -(u32)sizes[class];
    for (u32 c = class + 1; c < NR_CLASSES; c++) {
        u32 total = lent[class] + (u32)sizes[c] - sizes[class];
        if (partial[c] && !(sizes[c] & (align - 1)) && total <= LENT_MAX) {
            lent[class] = (u16)total;
            return c;
        }
    }
    return class;
}

// An interrupt that came in between left its softirq to us.
static void magazine_done(struct cpu *c)
{
    if (--c->bh_count == 0 && unlikely(c->softirq_pending) && irqs_enabled())
        softirq_run();
}

static void *magazine_get(u32 class)
{
    struct cpu *c = this_cpu();
    void *b = NULL;
    if (c->irq_count)
        return NULL;
    c->bh_count++;
    __asm__ volatile("" ::: "memory");
    if (magazine[class].n)
        b = magazine[class].block[--magazine[class].n];
    __asm__ volatile("" ::: "memory");
    magazine_done(c);
    return b;
}

static bool magazine_put(u32 class, void *b)
{
    struct cpu *c = this_cpu();
    if (c->irq_count || magazine[class].n == MAGAZINE)
        return false;
    c->bh_count++;
    __asm__ volatile("" ::: "memory");
    u32 n = magazine[class].n;
    if (n < MAGAZINE) {
        for (u32 i = 0; i < n; i++)
            if (magazine[class].block[i] == b)
                panic("kfree(%p): twice", b);
        magazine[class].block[magazine[class].n++] = b;
    }
    __asm__ volatile("" ::: "memory");
    magazine_done(c);
    return n < MAGAZINE;
}

static void *small_alloc(size_t size, unsigned flags)
{
    u32 class = class_of[(size + 15) / 16];
    void *spare = magazine_get(class);
    if (spare) {
        if (flags & PA_ZERO)
            memset(spare, 0, sizes[class]);
        return spare;
    }
    u64 f = spin_lock_irqsave(&lock);
    if (!partial[class])
        class = lender(class);
    while (!partial[class]) {
        spin_unlock_irqrestore(&lock, f);
        struct page *p = page_alloc(0, flags & ~(unsigned)PA_ZERO);
        if (!p)
            return NULL;
        f = spin_lock_irqsave(&lock);
        slab_init(p, class);
    }
    void *b = slab_take(class);
    spin_unlock_irqrestore(&lock, f);
    if (flags & PA_ZERO)
        memset(b, 0, sizes[class]);
    return b;
}

void *kmalloc(size_t size, unsigned flags)
{
    if (size <= 2048)
        return small_alloc(size ? size : 1, flags);
    unsigned order = 0;
    while ((PAGE_SIZE << order) < size)
        if (++order > 9)
            return NULL;
    struct page *p = page_alloc(order, flags);
    if (!p)
        return NULL;
    __atomic_add_fetch(&nr_pages, 1ul << order, __ATOMIC_RELAXED);
    return page_va(p);
}

void *kzalloc(size_t size) { return kmalloc(size, PA_ZERO); }

size_t ksize(const void *b)
{
    struct page *p = page_from_va(b);
    return p->flags & PG_SLAB ? sizes[p->order] : PAGE_SIZE << p->order;
}

void *krealloc(void *b, size_t size)
{
    if (!b)
        return kmalloc(size, 0);
    size_t old = ksize(b);
    if (size <= old && (size > old / 2 || old <= 64))
        return b;
    void *n = kmalloc(size, 0);
    if (!n)
        return NULL;
    memcpy(n, b, MIN(old, size));
    kfree(b);
    return n;
}

// Back to its slab.
static void slab_put(struct page *p, void *b)
{
    u32 off = (u32)((u64)b & ~PAGE_MASK);
    u64 f = spin_lock_irqsave(&lock);
    bool was_full = first_free(p) == FREE_END;
    *(u64 *)b = first_free(p);
    set_slab(p, in_use(p) - 1, off);
    if (was_full)
        partial_add(p);
    // One empty slab per class is kept, so that a lone block does not make and free a page each time.
    bool give_back = !in_use(p) && (p->prev || p->next);
    if (give_back) {
        partial_del(p);
        p->flags = 0;
        p->order = 0;
        p->refs = 1;
        nr_pages--;
    }
    spin_unlock_irqrestore(&lock, f);
    if (give_back)
        page_put(p);
}

static void small_free(struct page *p, void *b)
{
    u32 class = p->order, size = sizes[class], off = (u32)((u64)b & ~PAGE_MASK);
    u32 nth = (u32)(((u64)off * reciprocal[class]) >> 26);
    if (nth * size != off || off + size > PAGE_SIZE || !in_use(p))
        panic("kfree(%p): not the start of a block", b);
    if (size > 16)
        ((u64 *)b)[1] = POISON;
    if (!magazine_put(class, b))
        slab_put(p, b);
}

void kmalloc_drain(void)
{
    for (u32 class = 0; class < NR_CLASSES; class++)
        for (void *b; (b = magazine_get(class));)
            slab_put(page_from_va(b), b);
}

void kfree(void *b)
{
    if (!b)
        return;
    struct page *p = page_from_va(b);
    if (p->flags & PG_SLAB) {
        small_free(p, b);
        return;
    }
    if (((u64)b & ~PAGE_MASK) || p->flags & PG_FREE)
        panic("kfree(%p): not the start of a block", b);
    __atomic_sub_fetch(&nr_pages, 1ul << p->order, __ATOMIC_RELAXED);
    page_put(p);
}

char *kstrdup(const char *s)
{
    size_t n = strlen(s) + 1;
    char *d = kmalloc(n, 0);
    return d ? memcpy(d, s, n) : NULL;
}
