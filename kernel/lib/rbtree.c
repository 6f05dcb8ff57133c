// SPDX-License-Identifier: Apache-2.0
// Red-black tree after Cormen, Leiserson, Rivest, Stein, "Introduction to Algorithms", chapter 13; NULL leaves are black.
#include "rbtree.h"

static void replace_child(struct rbtree *t, struct rbnode *parent, struct rbnode *old, struct rbnode *n)
{
    if (!parent)
        t->root = n;
    else if (parent->left == old)
        parent->left = n;
    else
        parent->right = n;
    if (n)
        n->parent = parent;
}

static void rotate_left(struct rbtree *t, struct rbnode *x)
{
    struct rbnode *y = x->right;
    x->right = y->left;
    if (y->left)
        y->left->parent = x;
    replace_child(t, x->parent, x, y);
    y->left = x;
    x->parent = y;
}

static void rotate_right(struct rbtree *t, struct rbnode *x)
{
    struct rbnode *y = x->left;
    x->left = y->right;
    if (y->right)
        y->right->parent = x;
    replace_child(t, x->parent, x, y);
    y->right = x;
    x->parent = y;
}

static inline bool is_red(const struct rbnode *n) { return n && n->red; }

static void insert_fix(struct rbtree *t, struct rbnode *n)
{
    while (is_red(n->parent)) {
        struct rbnode *p = n->parent, *g = p->parent;
        bool p_left = p == g->left;
        struct rbnode *uncle = p_left ? g->right : g->left;
        if (is_red(uncle)) {
            p->red = uncle->red = 0;
            g->red = 1;
            n = g;
            continue;
        }
        if (n == (p_left ? p->right : p->left)) {
            n = p;
            p_left ? rotate_left(t, n) : rotate_right(t, n);
            p = n->parent;
        }
        p->red = 0;
        g->red = 1;
        p_left ? rotate_right(t, g) : rotate_left(t, g);
    }
    t->root->red = 0;
}

void rb_insert(struct rbtree *t, struct rbnode *n, struct rbnode *parent, struct rbnode **link)
{
    n->parent = parent;
    n->left = n->right = NULL;
    n->red = 1;
    *link = n;
    insert_fix(t, n);
}

// x, a child of parent (it may be NULL), is short of one black node.
static void erase_fix(struct rbtree *t, struct rbnode *x, struct rbnode *parent)
{
    while (x != t->root && !is_red(x)) {
        bool left = x == parent->left;
        struct rbnode *w = left ? parent->right : parent->left;
        if (is_red(w)) {
            w->red = 0;
            parent->red = 1;
            left ? rotate_left(t, parent) : rotate_right(t, parent);
            w = left ? parent->right : parent->left;
        }
        if (!is_red(w->left) && !is_red(w->right)) {
            w->red = 1;
            x = parent;
            parent = x->parent;
            continue;
        }
        struct rbnode *far = left ? w->right : w->left;
        if (!is_red(far)) {
            (left ? w->left : w->right)->red = 0;
            w->red = 1;
            left ? rotate_right(t, w) : rotate_left(t, w);
            w = left ? parent->right : parent->left;
            far = left ? w->right : w->left;
        }
        w->red = parent->red;
        parent->red = 0;
        far->red = 0;
        left ? rotate_left(t, parent) : rotate_right(t, parent);
        x = t->root;
        break;
    }
    if (x)
        x->red = 0;
}

void rb_erase(struct rbtree *t, struct rbnode *n)
{
    struct rbnode *child, *parent;
    u32 removed_red;
    if (n->left && n->right) {
        struct rbnode *s = n->right;        // the successor takes n's place
        while (s->left)
            s = s->left;
        removed_red = s->red;
        child = s->right;
        parent = s->parent == n ? s : s->parent;
        if (s->parent != n) {
            replace_child(t, s->parent, s, child);
            s->right = n->right;
            s->right->parent = s;
        }
        replace_child(t, n->parent, n, s);
        s->left = n->left;
        s->left->parent = s;
        s->red = n->red;
    } else {
        child = n->left ? n->left : n->right;
        parent = n->parent;
        removed_red = n->red;
        replace_child(t, parent, n, child);
    }
    if (!removed_red)
        erase_fix(t, child, parent);
}

struct rbnode *rb_first(const struct rbtree *t)
{
    struct rbnode *n = t->root;
    while (n && n->left)
        n = n->left;
    return n;
}

struct rbnode *rb_last(const struct rbtree *t)
{
    struct rbnode *n = t->root;
    while (n && n->right)
        n = n->right;
    return n;
}

struct rbnode *rb_next(const struct rbnode *n)
{
    if (n->right) {
        for (n = n->right; n->left; n = n->left)
            ;
        return (struct rbnode *)n;
    }
    while (n->parent && n == n->parent->right)
        n = n->parent;
    return n->parent;
}

struct rbnode *rb_prev(const struct rbnode *n)
{
    if (n->left) {
        for (n = n->left; n->right; n = n->right)
            ;
        return (struct rbnode *)n;
    }
    while (n->parent && n == n->parent->left)
        n = n->parent;
    return n->parent;
}
