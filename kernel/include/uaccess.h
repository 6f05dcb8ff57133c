// SPDX-License-Identifier: Apache-2.0
// The only road to the program's memory. Every function may sleep (a page may have to be read in), so no spinlock may be
// held, and a bad address gives an error, never a kernel fault (exception table, arch/x86_64/uaccess.S).
#ifndef UNI_UACCESS_H
#define UNI_UACCESS_H

#include "types.h"

#define USER_MAX 0x00007ffffffff000ul          // first address that no program may use

static inline bool user_range_ok(uptr p, u64 n) { return n <= USER_MAX && p <= USER_MAX - n; }

int copy_from_user(void *dst, uptr src, size_t n);      // 0 or -EFAULT
int copy_to_user(uptr dst, const void *src, size_t n);
size_t copy_from_user_partial(void *dst, uptr src, size_t n);   // bytes copied before the fault
size_t copy_to_user_partial(uptr dst, const void *src, size_t n);
int clear_user(uptr dst, size_t n);
ssize_t strncpy_from_user(char *dst, uptr src, size_t size);    // length without NUL; -ENAMETOOLONG when size is too small; -EFAULT
int user_tail_zero(uptr p, u64 known, u64 size);        // a structure newer than ours: -E2BIG unless the bytes from known on are 0
int user_read_u32(uptr p, u32 *out);
int user_read_u64(uptr p, u64 *out);
int user_write_u32(uptr p, u32 v);
int user_write_u64(uptr p, u64 v);
// Atomic operations for futexes: 0 and *old, or -EFAULT.
int user_cmpxchg_u32(uptr p, u32 expected, u32 desired, u32 *old);
int user_xchg_op_u32(uptr p, int op, u32 operand, u32 *old);    // op: FUTEX_OP_SET, ADD, OR, ANDN, XOR

struct iovec {
    uptr base;
    u64 len;
};

// A cursor over user buffers (readv, recvmsg, ...) or one kernel buffer; file operations take their data through it.
struct iter {
    const struct iovec *iov;    // a kernel copy of the vector (when kbuf is NULL)
    u32 n;                      // vectors left
    u64 skip;                   // bytes used of iov[0]
    u64 left;                   // bytes left in all
    char *kbuf;                 // kernel buffer instead of iov
    struct iovec single;        // room for the vector of iter_user()
};

void iter_user(struct iter *it, uptr buf, u64 len);             // it->single; len is clamped to MAX_RW_COUNT
void iter_kernel(struct iter *it, void *buf, u64 len);
// Copies the user's iovec array (n <= IOV_MAX) into *heap when it does not fit `fast[8]`; free *heap after use. -EINVAL, -EFAULT, -ENOMEM.
int iter_user_vec(struct iter *it, uptr vec, u64 n, struct iovec *fast, struct iovec **heap);
// Both return the bytes moved; fewer than asked means a fault (or that the iterator was at its end).
size_t iter_put(struct iter *it, const void *src, size_t n);    // into the buffers
size_t iter_get(struct iter *it, void *dst, size_t n);          // out of the buffers
size_t iter_zero(struct iter *it, size_t n);
void iter_revert(struct iter *it, const struct iter *mark);     // back to a saved copy

#define IOV_MAX 1024
#define MAX_RW_COUNT 0x7ffff000ul

#endif
