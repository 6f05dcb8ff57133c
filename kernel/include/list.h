// SPDX-License-Identifier: Apache-2.0
// Circular doubly linked list; the head is a node without an owner.
#ifndef UNI_LIST_H
#define UNI_LIST_H

#include "types.h"

struct list {
    struct list *next, *prev;
};

#define LIST_INIT(name) { &(name), &(name) }

static inline void list_init(struct list *l) { l->next = l->prev = l; }
static inline bool list_empty(const struct list *l) { return l->next == l; }

static inline void list_insert(struct list *after, struct list *n)
{
    n->next = after->next;
    n->prev = after;
    after->next->prev = n;
    after->next = n;
}

static inline void list_push(struct list *head, struct list *n) { list_insert(head->prev, n); }   // at the tail
static inline void list_unshift(struct list *head, struct list *n) { list_insert(head, n); }       // at the front

// Leaves n as an empty list of its own, so that a second removal does no harm.
static inline void list_remove(struct list *n)
{
    n->prev->next = n->next;
    n->next->prev = n->prev;
    list_init(n);
}

static inline struct list *list_pop(struct list *head)   // from the front; NULL when empty
{
    struct list *n = head->next;
    if (n == head)
        return NULL;
    list_remove(n);
    return n;
}

#define list_entry(node, type, member) container_of(node, type, member)

#endif
