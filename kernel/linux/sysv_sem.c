// SPDX-License-Identifier: Apache-2.0
// System V semaphores: semget(2), semop(2), semctl(2).
#include "sysv.h"

#include <linux/sem.h>

#define SEMMSL_K 32000              // /proc/sys/kernel/sem
#define SEMMNS_K 1024000000
#define SEMOPM_K 500u
#define SEMMNI_K 32000u
#define SEMVMX_K 32767

struct sem {
    u16 value;
    i32 pid;                        // of the last operation
};

struct sem_set {
    struct ipc_perm_k perm;
    u32 n;
    i64 otime, ctime;
    struct list pending;            // struct sem_wait, in the order of their coming
    struct list undos;              // struct sem_undo
    struct sem sem[];
};

// A semop that sleeps. Whoever changes the set does the work of those that can go on, and wakes them.
struct sem_wait {
    struct list node;
    struct thread *thread;
    const struct sembuf *ops, *blocking;
    u32 n;
    struct sem_undo *undo;
    int result;
    bool altered;                   // its operations change values
    volatile bool done;
};

struct sem_undo {                   // what SEM_UNDO will give back at the end of the threads that share `owner`
    struct list of_set, of_list;
    struct sem_set *set;
    i16 adjust[];
};

struct sem_undo_list {
    u32 refs;                       // threads; atomic
    struct list undos;
};

static struct ipc_ids ids = IPC_IDS_INIT(ids, SEMMNI_K);
static u32 used_sems;

static struct sem_set *set_of(struct ipc_perm_k *p) { return container_of(p, struct sem_set, perm); }

static int make_set(const struct ipc_get *g)
{
    if (!g->size)
        return -EINVAL;
    if (used_sems + g->size > SEMMNS_K)
        return -ENOSPC;
    struct sem_set *s = kzalloc(sizeof(*s) + g->size * sizeof(struct sem));
    if (!s)
        return -ENOMEM;
    s->n = (u32)g->size;
    s->ctime = ipc_now();
    list_init(&s->pending);
    list_init(&s->undos);
    int id = ipc_add(&ids, &s->perm, g->key, g->flags);
    if (id < 0)
        kfree(s);
    else
        used_sems += s->n;
    return id;
}

static int set_fits(const struct ipc_perm_k *p, u64 size)
{
    return size > container_of(p, const struct sem_set, perm)->n ? -EINVAL : 0;
}

long sys_semget(struct regs *r)
{
    int n = (int)r->arg[1];
    if (n < 0 || n > SEMMSL_K)
        return -EINVAL;
    struct ipc_get g = { &ids, (i32)r->arg[0], (u32)r->arg[2], (u64)n, make_set, set_fits };
    mutex_lock(&ids.lock);
    long id = ipc_get(&g);
    mutex_unlock(&ids.lock);
    return id;
}

// --- semop(2) -----------------------------------------------------------------------------------------------------------
// Takes back the first n operations.
static void revert(struct sem_set *s, const struct sem_wait *w, u32 n)
{
    while (n--) {
        const struct sembuf *op = &w->ops[n];
        s->sem[op->sem_num].value = (u16)(s->sem[op->sem_num].value - op->sem_op);
        if (op->sem_flg & SEM_UNDO)
            w->undo->adjust[op->sem_num] = (i16)(w->undo->adjust[op->sem_num] + op->sem_op);
    }
}

// One operation: 0, 1 where it must wait, -ERANGE.
static int apply_one(struct sem_set *s, const struct sembuf *op, struct sem_undo *undo)
{
    int now = s->sem[op->sem_num].value, next = now + op->sem_op;
    if ((!op->sem_op && now) || next < 0)
        return 1;
    if (next > SEMVMX_K)
        return -ERANGE;
    if (op->sem_flg & SEM_UNDO) {
        int adjust = undo->adjust[op->sem_num] - op->sem_op;
        if (adjust < -SEMVMX_K - 1 || adjust > SEMVMX_K)
            return -ERANGE;
        undo->adjust[op->sem_num] = (i16)adjust;
    }
    s->sem[op->sem_num].value = (u16)next;
    return 0;
}

// All operations or none: 0, 1 to wait (w->blocking says for which), -EAGAIN, -ERANGE.
static int apply(struct sem_set *s, struct sem_wait *w)
{
    for (u32 n = 0; n < w->n; n++) {
        int err = apply_one(s, &w->ops[n], w->undo);
        if (!err)
            continue;
        w->blocking = &w->ops[n];
        revert(s, w, n);
        return err == 1 && (w->ops[n].sem_flg & IPC_NOWAIT) ? -EAGAIN : err;
    }
    for (u32 n = 0; n < w->n; n++)
        s->sem[w->ops[n].sem_num].pid = the_process->pid;
    return 0;
}

static void finish(struct sem_wait *w, int result)
{
    list_remove(&w->node);
    w->result = result;
    w->done = true;
    thread_wake(w->thread);
}

// Values have changed: in order of coming, whoever can go on does; after each change from the start.
static void let_go_on(struct sem_set *s)
{
    for (struct list *n = s->pending.next; n != &s->pending;) {
        struct sem_wait *w = list_entry(n, struct sem_wait, node);
        n = n->next;
        int err = apply(s, w);
        if (err == 1)
            continue;
        if (!err)
            s->otime = ipc_now();
        finish(w, err);
        if (!err && w->altered)
            n = s->pending.next;
    }
}

static struct sem_undo *find_undo(struct sem_undo_list *l, struct sem_set *s)
{
    for (struct list *n = s->undos.next; n != &s->undos; n = n->next) {
        struct sem_undo *u = list_entry(n, struct sem_undo, of_set);
        for (struct list *o = l->undos.next; o != &l->undos; o = o->next)
            if (o == &u->of_list)
                return u;
    }
    return NULL;
}

static struct sem_undo_list *own_list(struct thread *t)
{
    if (!t->sem_undos && (t->sem_undos = kzalloc(sizeof(*t->sem_undos)))) {
        t->sem_undos->refs = 1;
        list_init(&t->sem_undos->undos);
    }
    return t->sem_undos;
}

static struct sem_undo *get_undo(struct sem_set *s)
{
    struct sem_undo_list *l = own_list(current());
    struct sem_undo *u = l ? find_undo(l, s) : NULL;
    if (!l || u)
        return u;
    if (!(u = kzalloc(sizeof(*u) + s->n * sizeof(u->adjust[0]))))
        return NULL;
    u->set = s;
    list_push(&s->undos, &u->of_set);
    list_push(&l->undos, &u->of_list);
    return u;
}

// ids.lock is held, and released while it sleeps; the set may be gone afterwards. semop(2) is never restarted.
static int wait_for(struct sem_set *s, struct sem_wait *w, u64 deadline)
{
    list_push(&s->pending, &w->node);
    w->thread = current();
    mutex_unlock(&ids.lock);
    int err = sleep_flag(&w->done, deadline);
    mutex_lock(&ids.lock);
    if (w->done)
        return w->result;
    list_remove(&w->node);
    return err == -ETIMEDOUT ? -EAGAIN : -EINTR;
}

static int do_semop(int id, struct sem_wait *w, u64 deadline)
{
    struct ipc_perm_k *p = ipc_find(&ids, id);
    bool undo = false;
    if (is_err(p))
        return (int)ptr_err(p);
    struct sem_set *s = set_of(p);
    for (u32 n = 0; n < w->n; n++) {
        if (w->ops[n].sem_num >= s->n)
            return -EFBIG;
        w->altered |= w->ops[n].sem_op != 0;
        undo |= (w->ops[n].sem_flg & SEM_UNDO) && w->ops[n].sem_op;
    }
    if (ipc_may(p, w->altered ? 0222 : 0444))
        return -EACCES;
    if (undo && !(w->undo = get_undo(s)))
        return -ENOMEM;
    int err = apply(s, w);
    if (!err) {
        s->otime = ipc_now();
        if (w->altered)
            let_go_on(s);
    }
    return err == 1 ? wait_for(s, w, deadline) : err;
}

static long semop(struct regs *r, u64 deadline)
{
    u64 n = (u32)r->arg[2];
    struct sem_wait w = { .n = (u32)n };
    if (n < 1 || (int)r->arg[0] < 0)
        return -EINVAL;
    if (n > SEMOPM_K)
        return -E2BIG;
    struct sembuf *ops = kmalloc(n * sizeof(*ops), 0);
    if (!ops)
        return -ENOMEM;
    w.ops = ops;
    long err = copy_from_user(ops, r->arg[1], n * sizeof(*ops)) ? -EFAULT : 0;
    for (u64 i = 0; i < n && !err; i++)
        if (!ops[i].sem_op)
            ops[i].sem_flg = (i16)(ops[i].sem_flg & ~SEM_UNDO);     // nothing to give back
    if (!err) {
        mutex_lock(&ids.lock);
        err = do_semop((int)r->arg[0], &w, deadline);
        mutex_unlock(&ids.lock);
    }
    kfree(ops);
    return err;
}

long sys_semop(struct regs *r) { return semop(r, NO_DEADLINE); }

long sys_semtimedop(struct regs *r)
{
    struct timespec_k ts;
    u64 deadline = NO_DEADLINE;
    if (r->arg[3]) {
        if (copy_from_user(&ts, r->arg[3], sizeof(ts)))
            return -EFAULT;
        if (ts.sec < 0 || (u64)ts.nsec >= NSEC_PER_SEC)
            return -EINVAL;
        deadline = (u64)ts.sec > ~0ull / NSEC_PER_SEC / 4 ? NO_DEADLINE : clock_mono_ns() + (u64)ts.sec * NSEC_PER_SEC + (u64)ts.nsec;
    }
    return semop(r, deadline);
}

// --- the end of threads -------------------------------------------------------------------------------------------------
int sem_undo_share(struct thread *parent, struct thread *child)
{
    if (!own_list(parent))
        return -ENOMEM;
    child->sem_undos = parent->sem_undos;
    __atomic_add_fetch(&parent->sem_undos->refs, 1, __ATOMIC_RELAXED);
    return 0;
}

static void give_back(struct sem_undo *u)
{
    struct sem_set *s = u->set;
    for (u32 n = 0; n < s->n; n++) {
        if (!u->adjust[n])
            continue;
        int v = s->sem[n].value + u->adjust[n];
        s->sem[n].value = (u16)(v < 0 ? 0 : MIN(v, SEMVMX_K));
        s->sem[n].pid = the_process->pid;
    }
    list_remove(&u->of_set);
    let_go_on(s);
    kfree(u);
}

void sem_undo_exit(struct thread *t)
{
    struct sem_undo_list *l = t->sem_undos;
    t->sem_undos = NULL;
    if (__atomic_sub_fetch(&l->refs, 1, __ATOMIC_ACQ_REL))
        return;
    mutex_lock(&ids.lock);
    for (struct list *n; (n = list_pop(&l->undos));)
        give_back(list_entry(n, struct sem_undo, of_list));
    mutex_unlock(&ids.lock);
    kfree(l);
}

// --- semctl(2) ----------------------------------------------------------------------------------------------------------
static int limits(int cmd, uptr to)
{
    struct seminfo i = {
        .semmni = SEMMNI_K, .semmns = SEMMNS_K, .semmsl = SEMMSL_K, .semopm = SEMOPM_K, .semvmx = SEMVMX_K,
        .semmnu = SEMMNS_K, .semmap = SEMMNS_K, .semume = SEMOPM_K, .semusz = 20, .semaem = SEMVMX_K,
    };
    if (cmd == SEM_INFO) {
        i.semusz = (int)ids.in_use;
        i.semaem = (int)used_sems;
    }
    return copy_to_user(to, &i, sizeof(i)) ? -EFAULT : 0;
}

static int describe(const struct ipc_perm_k *p, uptr to)
{
    const struct sem_set *s = container_of(p, const struct sem_set, perm);
    struct semid64_ds ds = { .sem_otime = s->otime, .sem_ctime = s->ctime, .sem_nsems = s->n };
    ipc_fill(&ds.sem_perm, p);
    return copy_to_user(to, &ds, sizeof(ds)) ? -EFAULT : 0;
}

// How many wait for the semaphore to grow, or (zero) to become 0.
static long waiting(const struct sem_set *s, u32 num, bool zero)
{
    long n = 0;
    for (struct list *l = s->pending.next; l != &s->pending; l = l->next) {
        const struct sem_wait *w = list_entry(l, struct sem_wait, node);
        n += w->blocking->sem_num == num && !w->blocking->sem_op == zero;
    }
    return n;
}

static void forget_undo(struct sem_set *s, u32 num)
{
    for (struct list *n = s->undos.next; n != &s->undos; n = n->next)
        list_entry(n, struct sem_undo, of_set)->adjust[num] = 0;
}

static long set_value(struct sem_set *s, u32 num, int v)
{
    if (v < 0 || v > SEMVMX_K)
        return -ERANGE;
    if (ipc_may(&s->perm, 0222))
        return -EACCES;
    forget_undo(s, num);
    s->sem[num].value = (u16)v;
    s->sem[num].pid = the_process->pid;
    s->ctime = ipc_now();
    let_go_on(s);
    return 0;
}

static long get_all(const struct sem_set *s, uptr to)
{
    for (u32 n = 0; n < s->n; n++)
        if (copy_to_user(to + n * sizeof(u16), &s->sem[n].value, sizeof(u16)))
            return -EFAULT;
    return 0;
}

static long set_all(struct sem_set *s, uptr from)
{
    u16 v;
    for (u32 n = 0; n < s->n; n++) {
        if (copy_from_user(&v, from + n * sizeof(u16), sizeof(v)))
            return -EFAULT;
        if (v > SEMVMX_K)
            return -ERANGE;
    }
    for (u32 n = 0; n < s->n; n++) {
        if (copy_from_user(&v, from + n * sizeof(u16), sizeof(v)) || v > SEMVMX_K)
            return -EFAULT;                 // the program took it away, or changed it, meanwhile
        s->sem[n] = (struct sem){ v, the_process->pid };
        forget_undo(s, n);
    }
    s->ctime = ipc_now();
    let_go_on(s);
    return 0;
}

// GETALL to SETALL.
static long values(int id, u32 num, int cmd, u64 arg)
{
    struct ipc_perm_k *p = ipc_find(&ids, id);
    if (is_err(p))
        return ptr_err(p);
    struct sem_set *s = set_of(p);
    bool one = cmd != GETALL && cmd != SETALL;
    if (cmd == SETVAL)
        return num >= s->n ? -EINVAL : set_value(s, num, (int)arg);
    if (ipc_may(p, cmd == SETALL ? 0222 : 0444))
        return -EACCES;
    if (one && num >= s->n)
        return -EINVAL;
    switch (cmd) {
    case GETALL:
        return get_all(s, arg);
    case SETALL:
        return set_all(s, arg);
    case GETVAL:
        return s->sem[num].value;
    case GETPID:
        return s->sem[num].pid;
    default:
        return waiting(s, num, cmd == GETZCNT);
    }
}

static void remove(struct ipc_perm_k *p)
{
    struct sem_set *s = set_of(p);
    ipc_remove(&ids, p);
    used_sems -= s->n;
    for (struct list *n; (n = list_pop(&s->undos));) {
        struct sem_undo *u = list_entry(n, struct sem_undo, of_set);
        list_remove(&u->of_list);
        kfree(u);
    }
    while (!list_empty(&s->pending))
        finish(list_entry(s->pending.next, struct sem_wait, node), -EIDRM);
    kfree(s);
}

static int set(struct ipc_perm_k *p, const void *to)
{
    int err = ipc_set(p, &((const struct semid64_ds *)to)->sem_perm);
    if (!err)
        set_of(p)->ctime = ipc_now();
    return err;
}

static int other(struct ipc_perm_k *p, int cmd)
{
    (void)p, (void)cmd;
    return -EINVAL;
}

static void unlock(void) { mutex_unlock(&ids.lock); }

long sys_semctl(struct regs *r)
{
    static const struct ipc_kind sets = {
        .ids = &ids, .stat = SEM_STAT, .stat_any = SEM_STAT_ANY, .info = SEM_INFO, .size = sizeof(struct semid64_ds),
        .limits = limits, .describe = describe, .set = set, .remove = remove, .other = other, .unlock = unlock,
    };
    int id = (int)r->arg[0], cmd = (int)r->arg[2];
    if (id < 0 || cmd < GETPID || cmd > SETALL)
        return ipc_ctl(&sets, id, cmd, r->arg[3]);
    mutex_lock(&ids.lock);
    long v = values(id, (u32)r->arg[1], cmd, r->arg[3]);
    mutex_unlock(&ids.lock);
    return v;
}

static void show_sem(struct seqbuf *s)
{
    seq_printf(s, "       key      semid perms      nsems   uid   gid  cuid  cgid      otime      ctime\n");
    mutex_lock(&ids.lock);
    for (u32 n = 0; n < ids.size; n++) {
        const struct sem_set *e = ids.at[n] ? set_of(ids.at[n]) : NULL;
        if (e)
            seq_printf(s, "%10d %10d  %4o %10u %5u %5u %5u %5u %10ld %10ld\n", e->perm.key, e->perm.id, e->perm.mode, e->n,
                       e->perm.uid, e->perm.gid, e->perm.cuid, e->perm.cgid, e->otime, e->ctime);
    }
    mutex_unlock(&ids.lock);
}

void sysv_sem_proc(void) { proc_register("/proc/sysvipc/sem", 0444, show_sem, NULL); }
