// SPDX-License-Identifier: Apache-2.0
// System V IPC: ids, keys, permissions and /proc/sysvipc. sysvipc(7); where it is silent, Linux 6.1's behavior.
#include "sysv.h"

#include <linux/msg.h>
#include <linux/sem.h>
#include <linux/shm.h>

#define CAP_IPC_OWNER_K 15
#define CAP_SYS_ADMIN_K 21
#define PLACE_BITS 15
#define MIN_CYCLE 64u               // places are not reused at once

// IPC_SET's and IPC_RMID's right.
static int ipc_owns(const struct ipc_perm_k *p)
{
    u32 me = current_cred()->euid;
    return me == p->uid || me == p->cuid || capable(CAP_SYS_ADMIN_K) ? 0 : -EPERM;
}

int ipc_may(const struct ipc_perm_k *p, u32 flags)
{
    const struct cred *me = current_cred();
    u32 want = (flags >> 6 | flags >> 3 | flags) & 7, have = p->mode;
    if (me->euid == p->cuid || me->euid == p->uid)
        have >>= 6;
    else if (cred_in_group(me, p->cgid) || cred_in_group(me, p->gid))
        have >>= 3;
    return (want & ~have) && !capable(CAP_IPC_OWNER_K) ? -EACCES : 0;
}

static int grow(struct ipc_ids *ids)
{
    u32 size = ids->size ? MIN(ids->size * 2, IPC_IDS_MAX) : 8;
    struct ipc_perm_k **at = kzalloc(size * sizeof(*at));
    if (!at)
        return -ENOMEM;
    if (ids->at)
        memcpy(at, ids->at, ids->size * sizeof(*at));
    kfree(ids->at);
    ids->at = at;
    ids->size = size;
    return 0;
}

// The next free place, round a circle that has room for half as many more as there are.
static int free_place(struct ipc_ids *ids)
{
    u32 circle = MIN(MAX(ids->in_use * 3 / 2, MIN_CYCLE), ids->limit);
    u32 at = ids->next < circle ? ids->next : 0;
    for (u32 n = 0; n < circle; n++, at = at + 1 < circle ? at + 1 : 0) {
        while (at >= ids->size)
            if (grow(ids))
                return -ENOMEM;
        if (!ids->at[at])
            return (int)at;
    }
    return -ENOSPC;
}

int ipc_add(struct ipc_ids *ids, struct ipc_perm_k *p, i32 key, u32 mode)
{
    const struct cred *me = current_cred();
    int place = ids->in_use < ids->limit ? free_place(ids) : -ENOSPC;
    if (place < 0)
        return place;
    if (place <= ids->last)
        ids->seq = (ids->seq + 1) & 0xffff;
    ids->last = place;
    ids->next = (u32)place + 1;
    ids->in_use++;
    ids->at[place] = p;
    p->key = key;
    p->mode = mode & 0777;
    p->uid = p->cuid = me->euid;
    p->gid = p->cgid = me->egid;
    p->seq = ids->seq;
    p->id = (int)(ids->seq << PLACE_BITS) + place;
    return p->id;
}

void ipc_remove(struct ipc_ids *ids, struct ipc_perm_k *p)
{
    ids->at[(u32)p->id & (IPC_IDS_MAX - 1)] = NULL;
    ids->in_use--;
}

static struct ipc_perm_k *at_place(const struct ipc_ids *ids, int place)
{
    u32 at = (u32)place & (IPC_IDS_MAX - 1);
    return place >= 0 && at < ids->size && ids->at[at] ? ids->at[at] : err_ptr(-EINVAL);
}

struct ipc_perm_k *ipc_find(const struct ipc_ids *ids, int id)
{
    struct ipc_perm_k *p = at_place(ids, id);
    return !is_err(p) && p->id != id ? err_ptr(-EINVAL) : p;
}

static int last_place(const struct ipc_ids *ids)
{
    for (u32 at = ids->size; at; at--)
        if (ids->at[at - 1])
            return (int)at - 1;
    return 0;
}

void ipc_fill(struct ipc64_perm *out, const struct ipc_perm_k *p)
{
    *out = (struct ipc64_perm){ .key = p->key, .uid = p->uid, .gid = p->gid, .cuid = p->cuid, .cgid = p->cgid, .mode = p->mode,
                                .seq = (unsigned short)p->seq };
}

int ipc_set(struct ipc_perm_k *p, const struct ipc64_perm *in)
{
    if (in->uid == ~0u || in->gid == ~0u)
        return -EINVAL;
    p->uid = in->uid;
    p->gid = in->gid;
    p->mode = (p->mode & ~0777u) | (in->mode & 0777);
    return 0;
}

static struct ipc_perm_k *by_key(const struct ipc_ids *ids, i32 key)
{
    for (u32 at = 0; at < ids->size; at++)
        if (ids->at[at] && ids->at[at]->key == key)
            return ids->at[at];
    return NULL;
}

long ipc_get(const struct ipc_get *g)
{
    struct ipc_perm_k *p = g->key == IPC_PRIVATE ? NULL : by_key(g->ids, g->key);
    long r;
    if (!p)
        r = g->key != IPC_PRIVATE && !(g->flags & IPC_CREAT) ? -ENOENT : g->make(g);
    else if ((g->flags & IPC_CREAT) && (g->flags & IPC_EXCL))
        r = -EEXIST;
    else if (!(r = g->fits(p, g->size)) && !(r = ipc_may(p, g->flags)))
        r = p->id;
    return r;
}

static long describe(const struct ipc_kind *k, int id, int cmd, uptr to)
{
    struct ipc_perm_k *p = cmd == IPC_STAT ? ipc_find(k->ids, id) : at_place(k->ids, id);
    if (is_err(p))
        return ptr_err(p);
    if (cmd != k->stat_any && ipc_may(p, 0444))
        return -EACCES;
    int err = k->describe(p, to);
    return err || cmd == IPC_STAT ? err : p->id;
}

static long change(const struct ipc_kind *k, int id, int cmd, const void *ds)
{
    struct ipc_perm_k *p = ipc_find(k->ids, id);
    if (is_err(p))
        return ptr_err(p);
    if (cmd != IPC_SET && cmd != IPC_RMID)
        return k->other(p, cmd);
    int err = ipc_owns(p);
    if (!err && cmd == IPC_SET)
        err = k->set(p, ds);
    else if (!err)
        k->remove(p);
    return err;
}

long ipc_ctl(const struct ipc_kind *k, int id, int cmd, uptr arg)
{
    union {
        struct msqid64_ds msg;
        struct semid64_ds sem;
        struct shmid64_ds shm;
    } ds;
    long r;
    if (id < 0 || cmd < 0)
        return -EINVAL;
    if (cmd == IPC_SET && copy_from_user(&ds, arg, k->size))
        return -EFAULT;
    mutex_lock(&k->ids->lock);
    if (cmd == IPC_INFO || cmd == k->info) {
        r = k->limits(cmd, arg);
        r = r ? r : last_place(k->ids);
    } else if (cmd == IPC_STAT || cmd == k->stat || cmd == k->stat_any) {
        r = describe(k, id, cmd, arg);
    } else {
        r = change(k, id, cmd, &ds);
    }
    k->unlock();
    return r;
}
