// SPDX-License-Identifier: Apache-2.0
#include "radix.h"

#include "errno.h"
#include "kmalloc.h"
#include "page.h"

#define BITS 6
#define WAYS 64u
#define MAX_LEVEL 9                 // 54 bits of index: files up to 2^63 bytes and a little more

// level 0: slots are pages. The marks of a node above say which children hold a marked page.
struct node {
    u64 marks;
    u32 used;
    u32 level;
    void *slot[WAYS];
};

static unsigned slot_of(u64 index, unsigned level) { return (index >> (BITS * level)) & (WAYS - 1); }

static bool covers(const struct node *n, u64 index) { return n->level >= MAX_LEVEL || (index >> (BITS * (n->level + 1))) == 0; }

static struct node *leaf_of(const struct mapping *m, u64 index)
{
    struct node *n = m->root;
    if (!n || !covers(n, index))
        return NULL;
    while (n && n->level)
        n = n->slot[slot_of(index, n->level)];
    return n;
}

struct page *radix_find(const struct mapping *m, u64 index)
{
    struct node *n = leaf_of(m, index);
    return n ? n->slot[slot_of(index, 0)] : NULL;
}

static struct node *node_new(u32 level)
{
    struct node *n = kmalloc(sizeof(*n), PA_ZERO | PA_ATOMIC);    // never reclaims: the tree must not change under us
    if (n)
        n->level = level;
    return n;
}

void radix_make_room(void) { kfree(kzalloc(sizeof(struct node))); }

static int grow(struct mapping *m, u64 index)
{
    if (!m->root && !(m->root = node_new(0)))
        return -ENOMEM;
    struct node *top = m->root;
    while (!covers(top, index)) {
        if (!top->used) {               // nothing below it: it may as well stand higher
            top->level++;
            continue;
        }
        struct node *n = node_new(top->level + 1);
        if (!n)
            return -ENOMEM;
        n->slot[0] = top;
        n->used = 1;
        n->marks = top->marks ? 1 : 0;
        m->root = top = n;
    }
    return 0;
}

// The nodes on the way to an index, from the root down; how many.
static unsigned path_to(const struct mapping *m, u64 index, struct node **path)
{
    unsigned depth = 0;
    for (struct node *n = m->root; n; n = n->level ? n->slot[slot_of(index, n->level)] : NULL)
        path[depth++] = n;
    return depth;
}

// Frees the empty nodes at the end of a path: a node that holds nothing would never be found again.
static void prune(struct mapping *m, u64 index, struct node **path, unsigned depth)
{
    while (depth && !path[depth - 1]->used) {
        kfree(path[--depth]);
        if (depth) {
            path[depth - 1]->slot[slot_of(index, path[depth - 1]->level)] = NULL;
            path[depth - 1]->used--;
        } else {
            m->root = NULL;
        }
    }
}

int radix_insert(struct mapping *m, u64 index, struct page *p)
{
    int err = grow(m, index);
    if (err)
        return err;
    struct node *n = m->root;
    while (n->level) {
        void **s = &n->slot[slot_of(index, n->level)];
        if (!*s) {
            if (!(*s = node_new(n->level - 1))) {
                struct node *path[MAX_LEVEL + 1];
                prune(m, index, path, path_to(m, index, path));
                return -ENOMEM;
            }
            n->used++;
        }
        n = *s;
    }
    void **s = &n->slot[slot_of(index, 0)];
    if (*s)
        return -EEXIST;
    *s = p;
    n->used++;
    m->nr++;
    return 0;
}

void radix_mark(struct mapping *m, u64 index, bool dirty)
{
    struct node *path[MAX_LEVEL + 1];
    struct node *n = m->root;
    if (!n || !covers(n, index))
        return;
    unsigned depth = path_to(m, index, path);
    if (path[depth - 1]->level)
        return;
    for (unsigned d = depth; d-- > 0;) {
        u64 bit = BIT(slot_of(index, path[d]->level));
        if (dirty) {
            path[d]->marks |= bit;
        } else {
            path[d]->marks &= ~bit;
            if (path[d]->marks)
                break;
        }
    }
}

struct page *radix_remove(struct mapping *m, u64 index)
{
    struct node *path[MAX_LEVEL + 1];
    struct node *n = m->root;
    if (!n || !covers(n, index))
        return NULL;
    unsigned depth = path_to(m, index, path);
    if (path[depth - 1]->level)
        return NULL;
    radix_mark(m, index, false);
    struct page *p = path[depth - 1]->slot[slot_of(index, 0)];
    if (!p)
        return NULL;
    m->nr--;
    path[depth - 1]->slot[slot_of(index, 0)] = NULL;
    path[depth - 1]->used--;
    prune(m, index, path, depth);
    return p;
}

struct page *radix_next(const struct mapping *m, u64 *index, bool dirty)
{
    u64 i = *index;
    for (;;) {
        struct node *n = m->root;
        if (!n || !covers(n, i))
            return NULL;
        while (n) {                             // descends as long as the way to i exists
            unsigned s = slot_of(i, n->level);
            bool there = n->slot[s] && (!dirty || (n->marks & BIT(s)));
            if (there && !n->level) {
                *index = i;
                return n->slot[s];
            }
            if (!there) {                       // next candidate in this node, or behind the node
                unsigned next = s + 1;
                while (next < WAYS && !(n->slot[next] && (!dirty || (n->marks & BIT(next)))))
                    next++;
                u64 span = BITS * n->level;
                u64 node_base = n->level >= MAX_LEVEL ? 0 : (i >> (span + BITS)) << (span + BITS);
                u64 at = node_base + ((u64)next << span);
                if (at <= i)
                    return NULL;
                i = at;
                break;
            }
            n = n->slot[s];
        }
    }
}
