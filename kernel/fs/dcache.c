// SPDX-License-Identifier: Apache-2.0
// The name cache: entries (parent, name) -> inode, also for names that do not exist.
#include "vfs.h"

#define DCACHE_BUCKETS 512
#define DCACHE_UNUSED_MAX 8192      // entries kept without a user

spinlock_t dcache_lock = SPINLOCK_INIT;
static struct path *table[DCACHE_BUCKETS];
static struct list unused = LIST_INIT(unused);      // oldest first; entries in use are passed over and taken off
static u32 nr_unused;

struct path *path_get(struct path *p)
{
    __atomic_add_fetch(&p->refs, 1, __ATOMIC_RELAXED);
    return p;
}

struct inode *path_inode(struct path *p) { return p->inode; }

static void unhash_locked(struct path *p)
{
    if (!p->hashed)
        return;
    struct path **link = &table[p->hash % DCACHE_BUCKETS];
    while (*link != p)
        link = &(*link)->hash_next;
    *link = p->hash_next;
    p->hashed = false;
}

static void hash_locked(struct path *p)
{
    p->hash = d_hash(p->parent, p->name, p->len);
    struct path **link = &table[p->hash % DCACHE_BUCKETS];
    p->hash_next = *link;
    *link = p;
    p->hashed = true;
}

static void lru_remove_locked(struct path *p)
{
    if (!p->on_lru)
        return;
    list_remove(&p->lru);
    p->on_lru = false;
    nr_unused--;
}

// Frees p, whose references are gone; returns the parent, whose reference the caller must drop.
static struct path *free_path(struct path *p)
{
    struct path *parent = p->parent, *covers = p->covers;
    inode_put(p->inode);
    if (p->name != p->iname)
        kfree(p->name);
    kfree(p);
    if (covers)
        path_put(covers);
    return parent;
}

void path_put(struct path *p)
{
    while (p) {
        spin_lock(&dcache_lock);
        if (--p->refs) {
            spin_unlock(&dcache_lock);
            return;
        }
        if (p->hashed) {
            if (!p->on_lru) {
                list_push(&unused, &p->lru);
                p->on_lru = true;
                nr_unused++;
            }
            bool many = nr_unused > DCACHE_UNUSED_MAX;
            spin_unlock(&dcache_lock);
            if (many)
                dcache_shrink(DCACHE_UNUSED_MAX / 8);
            return;
        }
        lru_remove_locked(p);
        spin_unlock(&dcache_lock);
        p = free_path(p);
    }
}

// Frees up to n unused entries; returns how many.
size_t dcache_shrink(size_t n)
{
    size_t freed = 0;
    while (freed < n) {
        spin_lock(&dcache_lock);
        struct path *p = NULL;
        while (!p && !list_empty(&unused)) {
            struct path *c = list_entry(unused.next, struct path, lru);
            lru_remove_locked(c);
            if (!c->refs)
                p = c;
        }
        if (p)
            unhash_locked(p);
        spin_unlock(&dcache_lock);
        if (!p)
            break;
        struct path *parent = free_path(p);
        if (parent)
            path_put(parent);
        freed++;
    }
    return freed;
}

// Frees the unused entries that match; how many.
static size_t drop_unused(bool (*match)(const struct path *p, const void *arg), const void *arg)
{
    struct list gone = LIST_INIT(gone), *l, *next;
    size_t n = 0;
    spin_lock(&dcache_lock);
    for (l = unused.next; l != &unused; l = next) {
        next = l->next;
        struct path *p = list_entry(l, struct path, lru);
        if (p->refs || !match(p, arg))
            continue;
        lru_remove_locked(p);
        unhash_locked(p);
        list_push(&gone, &p->lru);
    }
    spin_unlock(&dcache_lock);
    for (; (l = list_pop(&gone)); n++)
        path_put(free_path(list_entry(l, struct path, lru)));
    return n;
}

static bool is_on(const struct path *p, const void *sb)
{
    while (p->parent)
        p = p->parent;
    return p->inode && p->inode->sb == sb;
}

static bool is_child(const struct path *p, const void *parent) { return p->parent == parent; }

// Unmount: unused entries of one file system go. A parent is unused only after its children.
void dcache_drop_sb(struct superblock *sb)
{
    while (drop_unused(is_on, sb))
        ;
}

u32 d_hash(const struct path *parent, const char *name, size_t len)
{
    u64 h = (u64)parent >> 4;
    for (size_t n = 0; n < len; n++)
        h = (h ^ (u8)name[n]) * 0x9e3779b97f4a7c15ull;
    return (u32)(h >> 32);
}

struct path *d_find_locked(struct path *parent, const char *name, size_t len, u32 hash)
{
    for (struct path *p = table[hash % DCACHE_BUCKETS]; p; p = p->hash_next)
        if (p->hash == hash && p->parent == parent && p->len == len && !memcmp(p->name, name, len))
            return p;
    return NULL;
}

static int set_name(struct path *p, const char *name, size_t len)
{
    char *dst = p->iname;
    if (len >= sizeof(p->iname)) {
        dst = kmalloc(len + 1, 0);
        if (!dst)
            return -ENOMEM;
    }
    memcpy(dst, name, len);
    dst[len] = 0;
    p->name = dst;
    p->len = (u16)len;
    return 0;
}

struct path *d_alloc(struct path *parent, const char *name, size_t len, struct inode *ino)
{
    struct path *p = kzalloc(sizeof(*p));
    if (p && set_name(p, name, len)) {
        kfree(p);
        p = NULL;
    }
    if (!p) {
        inode_put(ino);
        return NULL;
    }
    p->refs = 1;
    p->inode = ino;
    list_init(&p->lru);
    if (parent)
        p->parent = path_get(parent);
    return p;
}

struct path *d_add(struct path *parent, const char *name, size_t len, struct inode *ino)
{
    struct path *p = d_alloc(parent, name, len, ino);
    if (!p)
        return NULL;
    spin_lock(&dcache_lock);
    hash_locked(p);
    spin_unlock(&dcache_lock);
    return p;
}

void d_set_inode(struct path *p, struct inode *ino) { p->inode = ino; }

// What is remembered of names in a directory that goes would hold the directory, on the disk as well, and is never asked again.
static void drop_children(struct path *p)
{
    if (p->inode && S_ISDIR(p->inode->mode) && p->refs > 1)
        drop_unused(is_child, p);
}

void d_delete(struct path *p)
{
    struct inode *i = NULL;
    drop_children(p);
    spin_lock(&dcache_lock);
    if (p->refs == 1 && !p->mounted) {          // only the caller: remember that the name is free
        i = p->inode;
        p->inode = NULL;
    } else {
        unhash_locked(p);
        p->dead = true;
    }
    spin_unlock(&dcache_lock);
    inode_put(i);
}

void d_drop(struct path *p)
{
    drop_children(p);
    spin_lock(&dcache_lock);
    unhash_locked(p);
    p->dead = true;
    spin_unlock(&dcache_lock);
}

int d_move(struct path *from, struct path *parent, const char *name, size_t len)
{
    struct path tmp;
    if (set_name(&tmp, name, len)) {            // the disk has the new name already: forget the old one
        spin_lock(&dcache_lock);
        unhash_locked(from);
        spin_unlock(&dcache_lock);
        return -ENOMEM;
    }
    path_get(parent);
    spin_lock(&dcache_lock);
    struct path *old_parent = from->parent;
    unhash_locked(from);
    if (from->name != from->iname)
        kfree(from->name);
    if (tmp.name == tmp.iname) {
        memcpy(from->iname, tmp.iname, len + 1);
        from->name = from->iname;
    } else {
        from->name = tmp.name;
    }
    from->len = (u16)len;
    from->parent = parent;
    hash_locked(from);
    spin_unlock(&dcache_lock);
    path_put(old_parent);
    return 0;
}

// RENAME_EXCHANGE: the two names change their inodes.
void d_exchange(struct path *a, struct path *b)
{
    spin_lock(&dcache_lock);
    unhash_locked(a);
    unhash_locked(b);
    a->dead = b->dead = false;
    struct path *pa = a->parent;
    a->parent = b->parent;
    b->parent = pa;
    char tmp[sizeof(a->iname)];
    char *na = a->name == a->iname ? NULL : a->name, *nb = b->name == b->iname ? NULL : b->name;
    memcpy(tmp, a->iname, sizeof(tmp));
    memcpy(a->iname, b->iname, sizeof(tmp));
    memcpy(b->iname, tmp, sizeof(tmp));
    a->name = nb ? nb : a->iname;
    b->name = na ? na : b->iname;
    u16 len = a->len;
    a->len = b->len;
    b->len = len;
    hash_locked(a);
    hash_locked(b);
    spin_unlock(&dcache_lock);
}

// The place that p's mount covers, or p: upward in the tree.
static struct path *below_mounts(struct path *p)
{
    while (!p->parent && p->covers)
        p = p->covers;
    return p;
}

bool d_is_ancestor(struct path *a, struct path *p)
{
    bool yes = false;
    spin_lock(&dcache_lock);
    for (; p && !yes; p = below_mounts(p)->parent)
        yes = p == a;
    spin_unlock(&dcache_lock);
    return yes;
}

ssize_t path_string(struct path *p, char *buf, size_t size)
{
    static const char deleted[] = " (deleted)";
    if (size < 2)
        return -ENAMETOOLONG;
    size_t at = size;
    if (!p->parent && !p->covers && p->len > 1) {       // of no directory: "pipe:[7]"
        size_t n = strlcpy(buf, p->name, size);
        return n < size ? (ssize_t)n : -ENAMETOOLONG;
    }
    spin_lock(&dcache_lock);
    bool dead = p->dead || (!p->hashed && p->parent && !p->parent->inode);
    bool fits = true;
    buf[--at] = 0;
    if (dead) {
        fits = at >= sizeof(deleted) - 1;
        if (fits)
            memcpy(buf + (at -= sizeof(deleted) - 1), deleted, sizeof(deleted) - 1);
    }
    bool any = false;
    struct path *root = fs_root();
    while (fits && p != root) {
        p = below_mounts(p);
        if (!p->parent)
            break;
        fits = at > p->len;
        if (!fits)
            break;
        memcpy(buf + (at -= p->len), p->name, p->len);
        buf[--at] = '/';
        any = true;
        p = p->parent;
    }
    if (fits && !any) {
        fits = at >= 1;
        if (fits)
            buf[--at] = '/';
    }
    spin_unlock(&dcache_lock);
    if (!fits)
        return -ENAMETOOLONG;
    memmove(buf, buf + at, size - at);
    return (ssize_t)(size - at - 1);
}
