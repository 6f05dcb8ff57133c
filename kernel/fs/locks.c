// SPDX-License-Identifier: Apache-2.0
// flock(2) and fcntl(2) locks. With one process, POSIX locks never conflict with each other; they do with those that belong
// to open file descriptions (F_OFD_*), and flock(2) between descriptions.
#include "process.h"
#include "syscalls.h"
#include "vfs.h"
#include "../linux/fileio.h"
#include "../linux/locks.h"

#include <linux/fs.h>

enum kind { LK_FLOCK, LK_POSIX, LK_OFD };

struct file_lock {                  // on inode->locks, under locks_lock
    struct list node;
    enum kind kind;
    struct file *owner;             // FLOCK, OFD; NULL: the process
    bool exclusive;
    u64 start, end;                 // inclusive
};

static spinlock_t locks_lock = SPINLOCK_INIT;

static bool conflicts(const struct file_lock *a, const struct file_lock *b)
{
    if ((a->kind == LK_FLOCK) != (b->kind == LK_FLOCK) || a->owner == b->owner)
        return false;
    return (a->exclusive || b->exclusive) && a->start <= b->end && b->start <= a->end;
}

static struct file_lock *find_conflict(struct inode *i, const struct file_lock *l)
{
    for (struct list *n = i->locks.next; n != &i->locks; n = n->next) {
        struct file_lock *x = list_entry(n, struct file_lock, node);
        if (conflicts(x, l))
            return x;
    }
    return NULL;
}

static bool same_owner(const struct file_lock *a, const struct file_lock *b)
{
    return (a->kind == LK_FLOCK) == (b->kind == LK_FLOCK) && a->owner == b->owner;
}

// Takes [start, end] out of what the owner holds; *spare is used when a lock is cut in two.
static void cut(struct inode *i, const struct file_lock *l, struct file_lock **spare)
{
    for (struct list *n = i->locks.next, *next; n != &i->locks; n = next) {
        struct file_lock *x = list_entry(n, struct file_lock, node);
        next = n->next;
        if (!same_owner(x, l) || x->start > l->end || l->start > x->end)
            continue;
        if (x->start < l->start && x->end > l->end) {
            struct file_lock *tail = *spare;
            *spare = NULL;
            *tail = *x;
            tail->start = l->end + 1;
            x->end = l->start - 1;
            list_insert(n, &tail->node);
        } else if (x->start < l->start) {
            x->end = l->start - 1;
        } else if (x->end > l->end) {
            x->start = l->end + 1;
        } else {
            list_remove(n);
            kfree(x);
        }
    }
}

// Replaces what the owner holds in the range by `l` (unlock: by nothing). Waits when asked to.
static int set_lock(struct file *f, const struct file_lock *l, bool unlock, bool wait)
{
    struct inode *i = f->inode;
    struct file_lock *mine = kzalloc(sizeof(*mine)), *spare = kzalloc(sizeof(*spare));
    struct waiter w;
    int err = mine && spare ? 0 : -ENOLCK;
    if (!err)
        waitq_prepare(&i->lock_wait, &w);
    spin_lock(&locks_lock);
    while (!err && !unlock && find_conflict(i, l)) {
        if (wait) {
            spin_unlock(&locks_lock);
            err = waitq_sleep(&w, NO_DEADLINE, true);
            spin_lock(&locks_lock);
        } else {
            err = -EAGAIN;
        }
    }
    if (!err) {
        cut(i, l, &spare);
        if (!unlock) {
            *mine = *l;
            list_push(&i->locks, &mine->node);
            mine = NULL;
            f->locks = 1;
        }
    }
    spin_unlock(&locks_lock);
    if (!err || (unlock && mine))
        waitq_wake_all(&i->lock_wait);
    if (err != -ENOLCK)
        waitq_finish(&w);
    kfree(mine);
    kfree(spare);
    return err;
}

static int drop_locks(struct inode *i, struct file *owner, bool posix)
{
    int n = 0;
    spin_lock(&locks_lock);
    for (struct list *l = i->locks.next, *next; l != &i->locks; l = next) {
        struct file_lock *x = list_entry(l, struct file_lock, node);
        next = l->next;
        if (posix ? x->kind == LK_POSIX : x->owner == owner && x->kind != LK_POSIX) {
            list_remove(l);
            kfree(x);
            n++;
        }
    }
    spin_unlock(&locks_lock);
    if (n)
        waitq_wake_all(&i->lock_wait);
    return n;
}

void locks_release(struct file *f)
{
    if (f->inode)
        drop_locks(f->inode, f, false);
}

// fcntl(2): closing any descriptor of a file drops the process's locks on it.
void locks_close_posix(struct file *f)
{
    if (f->inode && !list_empty(&f->inode->locks))
        drop_locks(f->inode, NULL, true);
}

static int range_of(struct file *f, const struct flock *fl, struct file_lock *l)
{
    i64 base = fl->l_whence == SEEK_CUR ? (i64)f->pos : fl->l_whence == SEEK_END ? (i64)f->inode->size : 0, start;
    if (fl->l_whence < 0 || fl->l_whence > SEEK_END)
        return -EINVAL;
    if (__builtin_add_overflow(base, fl->l_start, &start))
        return -EOVERFLOW;
    i64 end = INT64_MAX;
    if (fl->l_len > 0 && __builtin_add_overflow(start, fl->l_len - 1, &end))
        return -EOVERFLOW;
    if (fl->l_len < 0) {
        end = start - 1;
        start += fl->l_len;
    }
    if (start < 0)
        return -EINVAL;
    l->start = (u64)start;
    l->end = (u64)end;
    return 0;
}

static long get_lock(struct file *f, struct flock *fl, struct file_lock *l, uptr arg)
{
    spin_lock(&locks_lock);
    struct file_lock *x = find_conflict(f->inode, l);
    if (x) {
        fl->l_type = x->exclusive ? F_WRLCK : F_RDLCK;
        fl->l_whence = SEEK_SET;
        fl->l_start = (i64)x->start;
        fl->l_len = x->end == INT64_MAX ? 0 : (i64)(x->end - x->start + 1);
        fl->l_pid = x->kind == LK_OFD ? -1 : 1;
    } else {
        fl->l_type = F_UNLCK;
    }
    spin_unlock(&locks_lock);
    return copy_to_user(arg, fl, sizeof(*fl));
}

long fcntl_lock(struct file *f, u32 cmd, uptr arg)
{
    struct flock fl;
    struct file_lock l = { 0 };
    bool ofd = cmd == F_OFD_GETLK || cmd == F_OFD_SETLK || cmd == F_OFD_SETLKW;
    int err = copy_from_user(&fl, arg, sizeof(fl));
    if (err)
        return err;
    if (!f->inode)
        return -EINVAL;
    if (ofd && fl.l_pid)
        return -EINVAL;
    l.kind = ofd ? LK_OFD : LK_POSIX;
    l.owner = ofd ? f : NULL;
    l.exclusive = fl.l_type == F_WRLCK;
    err = range_of(f, &fl, &l);
    if (err)
        return err;
    bool get = cmd == F_GETLK || cmd == F_OFD_GETLK;
    if (fl.l_type != F_RDLCK && fl.l_type != F_WRLCK && (get || fl.l_type != F_UNLCK))
        return -EINVAL;
    if (get)
        return get_lock(f, &fl, &l, arg);
    if ((fl.l_type == F_RDLCK && !file_readable(f)) || (fl.l_type == F_WRLCK && !file_writable(f)))
        return -EBADF;
    return set_lock(f, &l, fl.l_type == F_UNLCK, cmd == F_SETLKW || cmd == F_OFD_SETLKW);
}

long sys_flock(struct regs *r)
{
    u32 op = (u32)r->arg[1];
    bool wait = !(op & 4);                      // LOCK_NB
    struct file *f = fd_file((int)r->arg[0], -1);
    if (is_err(f))
        return ptr_err(f);
    op &= ~4u;
    long ret = -EINVAL;
    if (op == 1 || op == 2 || op == 8) {        // LOCK_SH, LOCK_EX, LOCK_UN
        struct file_lock l = { .kind = LK_FLOCK, .owner = f, .exclusive = op == 2, .end = INT64_MAX };
        ret = f->inode ? set_lock(f, &l, op == 8, wait) : 0;
    }
    file_put(f);
    return ret;
}
