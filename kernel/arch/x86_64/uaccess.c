// SPDX-License-Identifier: Apache-2.0
// The checks and the bookkeeping over uaccess.S.
#include "uaccess.h"
#include <linux/futex.h>
#include "errno.h"
#include "kmalloc.h"
#include "lib.h"

size_t copy_raw(void *dst, const void *src, size_t n);
size_t clear_raw(void *dst, size_t n);
ssize_t strncpy_raw(char *dst, const char *src, size_t n);
int read32_raw(u32 *out, const void *src);
int read64_raw(u64 *out, const void *src);
int write32_raw(void *dst, u32 v);
int write64_raw(void *dst, u64 v);
int cmpxchg32_raw(void *p, u32 expected, u32 desired, u32 *old);

size_t copy_from_user_partial(void *dst, uptr src, size_t n)
{
    return user_range_ok(src, n) ? n - copy_raw(dst, (const void *)src, n) : 0;
}

size_t copy_to_user_partial(uptr dst, const void *src, size_t n)
{
    return user_range_ok(dst, n) ? n - copy_raw((void *)dst, src, n) : 0;
}

int copy_from_user(void *dst, uptr src, size_t n)
{
    return user_range_ok(src, n) && !copy_raw(dst, (const void *)src, n) ? 0 : -EFAULT;
}

int copy_to_user(uptr dst, const void *src, size_t n)
{
    return user_range_ok(dst, n) && !copy_raw((void *)dst, src, n) ? 0 : -EFAULT;
}

int clear_user(uptr dst, size_t n)
{
    return user_range_ok(dst, n) && !clear_raw((void *)dst, n) ? 0 : -EFAULT;
}

int user_tail_zero(uptr p, u64 known, u64 size)
{
    for (; known < size; known++) {
        u8 b;
        if (copy_from_user(&b, p + known, 1))
            return -EFAULT;
        if (b)
            return -E2BIG;
    }
    return 0;
}

ssize_t strncpy_from_user(char *dst, uptr src, size_t size)
{
    if (src >= USER_MAX)
        return -EFAULT;
    size_t n = MIN(size, USER_MAX - src);
    ssize_t r = strncpy_raw(dst, (const char *)src, n);
    if (r == (ssize_t)n)
        return n == size ? -ENAMETOOLONG : -EFAULT;
    return r;
}

int user_read_u32(uptr p, u32 *out) { return user_range_ok(p, 4) ? read32_raw(out, (const void *)p) : -EFAULT; }
int user_read_u64(uptr p, u64 *out) { return user_range_ok(p, 8) ? read64_raw(out, (const void *)p) : -EFAULT; }
int user_write_u32(uptr p, u32 v) { return user_range_ok(p, 4) ? write32_raw((void *)p, v) : -EFAULT; }
int user_write_u64(uptr p, u64 v) { return user_range_ok(p, 8) ? write64_raw((void *)p, v) : -EFAULT; }

int user_cmpxchg_u32(uptr p, u32 expected, u32 desired, u32 *old)
{
    return user_range_ok(p, 4) ? cmpxchg32_raw((void *)p, expected, desired, old) : -EFAULT;
}

int user_xchg_op_u32(uptr p, int op, u32 operand, u32 *old)
{
    u32 seen = 0;                   // GCC 11 does not see that it is set
    int err = user_read_u32(p, &seen);
    while (!err) {
        u32 next;
        switch (op) {
        case FUTEX_OP_SET:
            next = operand;
            break;
        case FUTEX_OP_ADD:
            next = seen + operand;
            break;
        case FUTEX_OP_OR:
            next = seen | operand;
            break;
        case FUTEX_OP_ANDN:
            next = seen & ~operand;
            break;
        case FUTEX_OP_XOR:
            next = seen ^ operand;
            break;
        default:
            return -ENOSYS;
        }
        u32 expected = seen;
        err = user_cmpxchg_u32(p, expected, next, &seen);
        if (!err && seen == expected)
            break;
    }
    *old = seen;
    return err;
}

void iter_user(struct iter *it, uptr buf, u64 len)
{
    it->single = (struct iovec){ buf, MIN(len, MAX_RW_COUNT) };
    it->iov = &it->single;
    it->n = 1;
    it->skip = 0;
    it->left = it->single.len;
    it->kbuf = NULL;
}

void iter_kernel(struct iter *it, void *buf, u64 len)
{
    *it = (struct iter){ .left = len, .kbuf = buf };
}

int iter_user_vec(struct iter *it, uptr vec, u64 n, struct iovec *fast, struct iovec **heap)
{
    struct iovec *v = fast;
    *heap = NULL;
    if (n > IOV_MAX)
        return -EINVAL;
    if (n > 8) {
        v = *heap = kmalloc(n * sizeof(*v), 0);
        if (!v)
            return -ENOMEM;
    }
    int err = copy_from_user(v, vec, n * sizeof(*v));
    u64 total = 0;
    for (u64 i = 0; i < n && !err; i++) {
        if ((i64)v[i].len < 0)
            err = -EINVAL;
        else if (v[i].len && !user_range_ok(v[i].base, v[i].len))
            err = -EFAULT;
        v[i].len = MIN(v[i].len, MAX_RW_COUNT - total);
        total += v[i].len;
    }
    if (err) {
        kfree(*heap);
        *heap = NULL;
        return err;
    }
    *it = (struct iter){ .iov = v, .n = (u32)n, .left = total };
    return 0;
}

enum direction { PUT, GET, ZERO };

static size_t piece(enum direction dir, uptr user, char *kernel, size_t n)
{
    if (!user_range_ok(user, n))
        return 0;
    if (dir == PUT)
        return n - copy_raw((void *)user, kernel, n);
    if (dir == GET)
        return n - copy_raw(kernel, (const void *)user, n);
    return n - clear_raw((void *)user, n);
}

static size_t iter_move(struct iter *it, enum direction dir, char *kernel, size_t n)
{
    size_t done = 0;
    n = MIN(n, it->left);
    if (it->kbuf) {
        if (dir == PUT)
            memcpy(it->kbuf, kernel, n);
        else if (dir == GET)
            memcpy(kernel, it->kbuf, n);
        else
            memset(it->kbuf, 0, n);
        it->kbuf += n;
        it->left -= n;
        return n;
    }
    while (done < n) {
        size_t here = it->iov->len - it->skip, k = MIN(here, n - done);
        if (!here) {
            it->iov++;
            it->n--;
            it->skip = 0;
            continue;
        }
        size_t got = piece(dir, it->iov->base + it->skip, kernel ? kernel + done : NULL, k);
        done += got;
        it->skip += got;
        it->left -= got;
        if (got < k)
            break;
    }
    return done;
}

size_t iter_put(struct iter *it, const void *src, size_t n) { return iter_move(it, PUT, (char *)src, n); }
size_t iter_get(struct iter *it, void *dst, size_t n) { return iter_move(it, GET, dst, n); }
size_t iter_zero(struct iter *it, size_t n) { return iter_move(it, ZERO, NULL, n); }

// A cursor on its own single vector must keep pointing at itself, not into the saved copy.
void iter_revert(struct iter *it, const struct iter *mark)
{
    *it = *mark;
    if (mark->iov == &mark->single)
        it->iov = &it->single;
}
