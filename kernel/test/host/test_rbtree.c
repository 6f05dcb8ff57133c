// SPDX-License-Identifier: Apache-2.0
// sources: lib/rbtree.c
#include "test.h"
#include "rbtree.h"

struct item {
    struct rbnode node;
    unsigned key;
};

static struct item *item_of(struct rbnode *n) { return container_of(n, struct item, node); }

static void insert(struct rbtree *t, struct item *x)
{
    struct rbnode **link = &t->root, *parent = NULL;
    while (*link) {
        parent = *link;
        link = x->key < item_of(parent)->key ? &parent->left : &parent->right;
    }
    rb_insert(t, &x->node, parent, link);
}

// Black height, or -1 when a rule is broken.
static int height(struct rbnode *n, struct rbnode *parent)
{
    if (!n)
        return 1;
    if (n->parent != parent || (n->red && parent && parent->red))
        return -1;
    int l = height(n->left, n), r = height(n->right, n);
    return l < 0 || l != r ? -1 : l + !n->red;
}

static int sorted(struct rbtree *t, int n)
{
    int count = 0;
    unsigned last = 0;
    for (struct rbnode *x = rb_first(t); x; x = rb_next(x), count++) {
        if (item_of(x)->key < last)
            return 0;
        last = item_of(x)->key;
    }
    for (struct rbnode *x = rb_last(t); x; x = rb_prev(x))
        count--;
    (void)n;
    return count == 0;
}

enum { N = 500 };

static void random_operations_keep_the_rules(void)
{
    static struct item items[N];
    char in[N] = { 0 };
    struct rbtree t = { NULL };
    unsigned seed = 12345;
    int n = 0;
    for (int step = 0; step < 20000; step++) {
        seed = seed * 1103515245 + 12345;
        int i = (int)((seed >> 8) % N);
        if (in[i]) {
            rb_erase(&t, &items[i].node);
            n--;
        } else {
            items[i].key = seed >> 20;
            insert(&t, &items[i]);
            n++;
        }
        in[i] = !in[i];
        if (step % 50 == 0) {
            CHECK(height(t.root, NULL) > 0 && !(t.root && t.root->red));
            CHECK(sorted(&t, n));
        }
    }
    for (int i = 0; i < N; i++)
        if (in[i])
            rb_erase(&t, &items[i].node);
    CHECK(!t.root);
}

static void empty_and_single(void)
{
    struct rbtree t = { NULL };
    struct item a = { .key = 1 };
    CHECK(!rb_first(&t) && !rb_last(&t));
    insert(&t, &a);
    CHECK(rb_first(&t) == &a.node && rb_last(&t) == &a.node && !rb_next(&a.node) && !rb_prev(&a.node));
    rb_erase(&t, &a.node);
    CHECK(!t.root);
}

TESTS({ "random_operations_keep_the_rules", random_operations_keep_the_rules }, { "empty_and_single", empty_and_single })
