// SPDX-License-Identifier: Apache-2.0
// Intrusive balanced search tree (implementation in lib/rbtree.c; also built on the host for its unit tests).
#ifndef UNI_RBTREE_H
#define UNI_RBTREE_H

#include "types.h"

struct rbnode {
    struct rbnode *parent, *left, *right;
    u32 red;
};

struct rbtree {
    struct rbnode *root;
};

// Links n under parent at *link (a child slot of parent or &tree->root), then rebalances.
void rb_insert(struct rbtree *t, struct rbnode *n, struct rbnode *parent, struct rbnode **link);
void rb_erase(struct rbtree *t, struct rbnode *n);
struct rbnode *rb_first(const struct rbtree *t);
struct rbnode *rb_last(const struct rbtree *t);
struct rbnode *rb_next(const struct rbnode *n);
struct rbnode *rb_prev(const struct rbnode *n);

#endif
