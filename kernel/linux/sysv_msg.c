// SPDX-License-Identifier: Apache-2.0
// System V message queues: msgget(2), msgop(2), msgctl(2).
#include "sysv.h"

#include <linux/msg.h>

#define MSGMAX_K 8192               // /proc/sys/kernel/msgmax, msgmnb, msgmni
#define MSGMNB_K 16384u
#define MSGMNI_K 32000u
#define CAP_SYS_RESOURCE_K 24
#define MSG_STAT_ANY_K 13

struct sysv_message {
    struct list node;               // of the queue, the oldest first
    i64 type;
    u64 len;
    char data[];
};

struct sysv_queue {
    struct ipc_perm_k perm;
    u32 refs;                       // one for the id, one for each call that sleeps
    bool removed;
    struct list messages;
    u64 bytes, count, limit;
    i64 stime, rtime, ctime;
    i32 lspid, lrpid;
    struct waitq readable, writable;
};

static struct ipc_ids ids = IPC_IDS_INIT(ids, MSGMNI_K);
static u64 all_messages, all_bytes;

static struct sysv_queue *queue_of(struct ipc_perm_k *p) { return container_of(p, struct sysv_queue, perm); }

static void queue_put(struct sysv_queue *q)
{
    if (!--q->refs)
        kfree(q);
}

static int make_queue(const struct ipc_get *g)
{
    struct sysv_queue *q = kzalloc(sizeof(*q));
    if (!q)
        return -ENOMEM;
    q->refs = 1;
    q->limit = MSGMNB_K;
    q->ctime = ipc_now();
    list_init(&q->messages);
    waitq_init(&q->readable);
    waitq_init(&q->writable);
    int id = ipc_add(&ids, &q->perm, g->key, g->flags);
    if (id < 0)
        kfree(q);
    return id;
}

static int any_fits(const struct ipc_perm_k *p, u64 size)
{
    (void)p, (void)size;
    return 0;
}

long sys_msgget(struct regs *r)
{
    struct ipc_get g = { &ids, (i32)r->arg[0], (u32)r->arg[1], 0, make_queue, any_fits };
    mutex_lock(&ids.lock);
    long id = ipc_get(&g);
    mutex_unlock(&ids.lock);
    return id;
}

// Sleeps with ids.lock released. The queue may be gone afterwards: -EIDRM.
static int queue_wait(struct sysv_queue *q, struct waitq *on)
{
    struct waiter w;
    waitq_prepare(on, &w);
    mutex_unlock(&ids.lock);
    int err = waitq_sleep(&w, NO_DEADLINE, true);
    waitq_finish(&w);
    mutex_lock(&ids.lock);
    return q->removed ? -EIDRM : err ? -ERESTARTNOHAND : 0;
}

static bool has_room(const struct sysv_queue *q, u64 len) { return len + q->bytes <= q->limit && q->count + 1 <= q->limit; }

static long queue_send(int id, struct sysv_message *m, u32 flags)
{
    struct ipc_perm_k *p = ipc_find(&ids, id);
    if (is_err(p))
        return ptr_err(p);
    struct sysv_queue *q = queue_of(p);
    long err = ipc_may(p, 0222);
    q->refs++;
    while (!err && !has_room(q, m->len)) {
        err = (flags & IPC_NOWAIT) ? -EAGAIN : queue_wait(q, &q->writable);
        if (!err)
            err = ipc_may(p, 0222);
    }
    if (!err) {
        list_push(&q->messages, &m->node);
        q->bytes += m->len;
        q->count++;
        all_bytes += m->len;
        all_messages++;
        q->lspid = the_process->pid;
        q->stime = ipc_now();
        waitq_wake_all(&q->readable);
    }
    queue_put(q);
    return err;
}

long sys_msgsnd(struct regs *r)
{
    int id = (int)r->arg[0];
    u64 len = r->arg[2];
    i64 type;
    if (copy_from_user(&type, r->arg[1], sizeof(type)))
        return -EFAULT;
    if (len > MSGMAX_K || id < 0 || type < 1)
        return -EINVAL;
    struct sysv_message *m = kmalloc(sizeof(*m) + len, 0);
    if (!m)
        return -ENOMEM;
    m->type = type;
    m->len = len;
    long err = copy_from_user(m->data, r->arg[1] + sizeof(type), len) ? -EFAULT : 0;
    if (!err) {
        mutex_lock(&ids.lock);
        err = queue_send(id, m, (u32)r->arg[3]);
        mutex_unlock(&ids.lock);
    }
    if (err)
        kfree(m);
    return err;
}

// The message that msgop(2) chooses: of any type, of one, of any but one, the lowest type up to one; MSG_COPY: by its place.
static struct sysv_message *choose(struct sysv_queue *q, i64 type, u32 flags)
{
    struct sysv_message *best = NULL;
    i64 at = 0, most = type == (i64)BIT(63) ? (i64)(BIT(63) - 1) : -type;
    for (struct list *n = q->messages.next; n != &q->messages; n = n->next, at++) {
        struct sysv_message *m = list_entry(n, struct sysv_message, node);
        if (flags & MSG_COPY) {
            if (at == type)
                return m;
        } else if (type < 0) {
            if (m->type <= most && (!best || m->type < best->type))
                best = m;
        } else if (!type || ((flags & MSG_EXCEPT) ? m->type != type : m->type == type)) {
            return m;
        }
    }
    return best;
}

static struct sysv_message *copy_of(const struct sysv_message *m, u64 room)
{
    u64 len = MIN(m->len, room);
    struct sysv_message *c = kmalloc(sizeof(*c) + len, 0);
    if (!c)
        return err_ptr(-ENOMEM);
    c->type = m->type;
    c->len = len;
    memcpy(c->data, m->data, len);
    return c;
}

static struct sysv_message *take(struct sysv_queue *q, struct sysv_message *m)
{
    list_remove(&m->node);
    q->bytes -= m->len;
    q->count--;
    all_bytes -= m->len;
    all_messages--;
    q->rtime = ipc_now();
    q->lrpid = the_process->pid;
    waitq_wake_all(&q->writable);
    return m;
}

static struct sysv_message *queue_receive(int id, i64 type, u64 room, u32 flags)
{
    struct ipc_perm_k *p = ipc_find(&ids, id);
    if (is_err(p))
        return (void *)p;
    struct sysv_queue *q = queue_of(p);
    struct sysv_message *m = NULL;
    long err = ipc_may(p, 0444);
    q->refs++;
    while (!err && !(m = choose(q, type, flags))) {
        err = (flags & IPC_NOWAIT) ? -ENOMSG : queue_wait(q, &q->readable);
        if (!err)
            err = ipc_may(p, 0444);
    }
    if (!err && m->len > room && !(flags & MSG_NOERROR))
        err = -E2BIG;
    if (!err)
        m = flags & MSG_COPY ? copy_of(m, room) : take(q, m);
    queue_put(q);
    return err ? err_ptr((int)err) : m;
}

long sys_msgrcv(struct regs *r)
{
    int id = (int)r->arg[0];
    u64 room = r->arg[2];
    i64 type = (i64)r->arg[3];
    u32 flags = (u32)r->arg[4];
    if (id < 0 || (i64)room < 0)
        return -EINVAL;
    if ((flags & MSG_COPY) && ((flags & MSG_EXCEPT) || !(flags & IPC_NOWAIT)))
        return -EINVAL;
    mutex_lock(&ids.lock);
    struct sysv_message *m = queue_receive(id, type, room, flags);
    mutex_unlock(&ids.lock);
    if (is_err(m))
        return ptr_err(m);
    long len = (long)MIN(m->len, room);
    if (copy_to_user(r->arg[1], &m->type, sizeof(m->type)) || copy_to_user(r->arg[1] + sizeof(m->type), m->data, (size_t)len))
        len = -EFAULT;
    kfree(m);
    return len;
}

// --- msgctl(2) ----------------------------------------------------------------------------------------------------------
static int limits(int cmd, uptr to)
{
    struct msginfo i = {
        .msgmni = MSGMNI_K, .msgmax = MSGMAX_K, .msgmnb = MSGMNB_K, .msgssz = 16, .msgseg = 0xffff,
        .msgpool = MSGMNI_K * (MSGMNB_K / 1024), .msgmap = MSGMNB_K, .msgtql = MSGMNB_K,
    };
    if (cmd == MSG_INFO) {
        i.msgpool = (int)ids.in_use;
        i.msgmap = (int)all_messages;
        i.msgtql = (int)all_bytes;
    }
    return copy_to_user(to, &i, sizeof(i)) ? -EFAULT : 0;
}

static int describe(const struct ipc_perm_k *p, uptr to)
{
    const struct sysv_queue *q = container_of(p, const struct sysv_queue, perm);
    struct msqid64_ds ds = {
        .msg_stime = q->stime, .msg_rtime = q->rtime, .msg_ctime = q->ctime, .msg_cbytes = q->bytes, .msg_qnum = q->count,
        .msg_qbytes = q->limit, .msg_lspid = q->lspid, .msg_lrpid = q->lrpid,
    };
    ipc_fill(&ds.msg_perm, p);
    return copy_to_user(to, &ds, sizeof(ds)) ? -EFAULT : 0;
}

static void remove(struct ipc_perm_k *p)
{
    struct sysv_queue *q = queue_of(p);
    ipc_remove(&ids, p);
    q->removed = true;
    all_bytes -= q->bytes;
    all_messages -= q->count;
    for (struct list *n; (n = list_pop(&q->messages));)
        kfree(list_entry(n, struct sysv_message, node));
    waitq_wake_all(&q->readable);
    waitq_wake_all(&q->writable);
    queue_put(q);
}

static int set(struct ipc_perm_k *p, const void *to)
{
    const struct msqid64_ds *ds = to;
    struct sysv_queue *q = queue_of(p);
    if (ds->msg_qbytes > MSGMNB_K && !capable(CAP_SYS_RESOURCE_K))
        return -EPERM;
    int err = ipc_set(p, &ds->msg_perm);
    if (err)
        return err;
    q->limit = ds->msg_qbytes;
    q->ctime = ipc_now();
    waitq_wake_all(&q->readable);           // rights may have gone
    waitq_wake_all(&q->writable);
    return 0;
}

static int other(struct ipc_perm_k *p, int cmd)
{
    (void)p, (void)cmd;
    return -EINVAL;
}

static void unlock(void) { mutex_unlock(&ids.lock); }

long sys_msgctl(struct regs *r)
{
    static const struct ipc_kind queues = {
        .ids = &ids, .stat = MSG_STAT, .stat_any = MSG_STAT_ANY_K, .info = MSG_INFO, .size = sizeof(struct msqid64_ds),
        .limits = limits, .describe = describe, .set = set, .remove = remove, .other = other, .unlock = unlock,
    };
    return ipc_ctl(&queues, (int)r->arg[0], (int)r->arg[1], r->arg[2]);
}

static void show_msg(struct seqbuf *s)
{
    seq_printf(s, "       key      msqid perms      cbytes       qnum lspid lrpid   uid   gid  cuid  cgid      stime      rtime      ctime\n");
    mutex_lock(&ids.lock);
    for (u32 n = 0; n < ids.size; n++) {
        const struct sysv_queue *q = ids.at[n] ? queue_of(ids.at[n]) : NULL;
        if (q)
            seq_printf(s, "%10d %10d  %4o  %10lu %10lu %5u %5u %5u %5u %5u %5u %10ld %10ld %10ld\n", q->perm.key, q->perm.id,
                       q->perm.mode, q->bytes, q->count, (u32)q->lspid, (u32)q->lrpid, q->perm.uid, q->perm.gid, q->perm.cuid,
                       q->perm.cgid, q->stime, q->rtime, q->ctime);
    }
    mutex_unlock(&ids.lock);
}

void sysv_msg_proc(void) { proc_register("/proc/sysvipc/msg", 0444, show_msg, NULL); }
