// SPDX-License-Identifier: Apache-2.0
// poll(2), ppoll(2), select(2), pselect6(2). Each file calls poll_wait for its queues; the first that wakes ends the sleep.
#include "errno.h"
#include "fs.h"
#include "kmalloc.h"
#include "lib.h"
#include "poll.h"
#include "process.h"
#include "signal_priv.h"
#include "syscalls.h"
#include "time.h"
#include "uaccess.h"

#define POLL_DEFAULT (POLL_IN | POLL_OUT | POLL_RDNORM | POLL_WRNORM)
#define SELECT_IN (POLL_RDNORM | POLL_RDBAND | POLL_IN | POLL_HUP | POLL_ERR)
#define SELECT_OUT (POLL_WRBAND | POLL_WRNORM | POLL_OUT | POLL_ERR)
#define SELECT_EX POLL_PRI
#define FEW 16                      // descriptors whose pollfds fit on the stack

struct pollfd_k {
    i32 fd;
    i16 events, revents;
};

struct poller;

// One queue that is waited on. The file stays open until the call ends: another thread may close the descriptor.
struct poll_entry {
    struct waiter w;
    struct poller *poller;
    struct file *file;
};

struct poll_chunk {
    struct poll_chunk *next;
    u32 n;
    struct poll_entry entry[31];
};

struct poller {
    struct poll_table pt;           // pt.add is NULL once something is ready
    struct thread *thread;
    volatile bool woken;
    u32 want;                       // of the file being asked
    int err;
    u32 n;
    struct poll_entry few[4];
    struct poll_chunk *more;
};

static bool poller_wake(struct waiter *w, u32 events)
{
    struct poller *p = container_of(w, struct poll_entry, w)->poller;
    (void)events;
    p->woken = true;
    thread_wake(p->thread);
    return true;
}

static struct poll_entry *new_entry(struct poller *p)
{
    if (p->n < ARRAY_SIZE(p->few))
        return &p->few[p->n++];
    if (!p->more || p->more->n == ARRAY_SIZE(p->more->entry)) {
        struct poll_chunk *c = kmalloc(sizeof(*c), 0);
        if (!c)
            return NULL;
        c->next = p->more;
        c->n = 0;
        p->more = c;
    }
    return &p->more->entry[p->more->n++];
}

static void poller_add(struct poll_table *pt, struct file *f, struct waitq *q)
{
    struct poller *p = container_of(pt, struct poller, pt);
    struct poll_entry *e = new_entry(p);
    if (!e) {
        p->err = -ENOMEM;
        return;
    }
    memset(&e->w, 0, sizeof(e->w));
    e->w.fn = poller_wake;
    e->w.events = p->want;
    e->poller = p;
    e->file = file_get(f);
    waitq_add(q, &e->w);
}

static void poller_init(struct poller *p, bool waits)
{
    p->pt.add = waits ? poller_add : NULL;
    p->thread = current();
    p->woken = false;
    p->err = 0;
    p->n = 0;
    p->more = NULL;
}

static void drop(struct poll_entry *e)
{
    waitq_del(&e->w);
    file_put(e->file);
}

static void poller_end(struct poller *p)
{
    for (u32 i = 0; i < p->n; i++)
        drop(&p->few[i]);
    for (struct poll_chunk *c = p->more, *next; c; c = next) {
        next = c->next;
        for (u32 i = 0; i < c->n; i++)
            drop(&c->entry[i]);
        kfree(c);
    }
}

// The events of a descriptor among `want` (and errors); POLL_NVAL when it is not open.
static u32 ask(struct poller *p, int fd, u32 want)
{
    struct file *f = fd_get(fd);
    if (!f)
        return POLL_NVAL;
    p->want = want | POLL_ERR | POLL_HUP;
    u32 events = f->ops && f->ops->poll ? f->ops->poll(f, &p->pt) : POLL_DEFAULT;
    file_put(f);
    events &= p->want;
    if (events)
        p->pt.add = NULL;           // an answer is there: nobody will sleep
    return events;
}

// Sleeps until a queue wakes us. 0, -ETIMEDOUT, -ERESTARTNOHAND.
static int poller_sleep(struct poller *p, u64 deadline)
{
    p->pt.add = NULL;               // every queue is known after the first round
    int err = sleep_flag(&p->woken, deadline);
    p->woken = false;
    return err == -ERESTARTSYS ? -ERESTARTNOHAND : err;
}

static long poll_fds(struct pollfd_k *fds, u64 n, u64 deadline)
{
    struct poller p;
    long count = 0;
    poller_init(&p, deadline != 0);
    for (;;) {
        for (u64 i = 0; i < n; i++) {
            u32 got = fds[i].fd < 0 ? 0 : ask(&p, fds[i].fd, (u16)fds[i].events);
            fds[i].revents = (i16)got;
            count += got != 0;
        }
        if (count || deadline == 0 || p.err)
            break;
        int err = poller_sleep(&p, deadline);
        if (err == -ETIMEDOUT)
            deadline = 0;           // one last look
        else if (err) {
            count = err;
            break;
        }
    }
    poller_end(&p);
    return count ? count : p.err;
}

static long do_poll(uptr ufds, u64 n, u64 deadline)
{
    struct pollfd_k few[FEW], *fds = few;
    if (n > the_process->rlim[7].soft)          // RLIMIT_NOFILE
        return -EINVAL;
    if (n > FEW && !(fds = kmalloc(n * sizeof(*fds), 0)))
        return -ENOMEM;
    long ret = copy_from_user(fds, ufds, n * sizeof(*fds));
    if (!ret)
        ret = poll_fds(fds, n, deadline);
    for (u64 i = 0; ret >= 0 && i < n; i++) {
        uptr to = ufds + i * sizeof(*fds) + offsetof(struct pollfd_k, revents);
        if (copy_to_user(to, &fds[i].revents, sizeof(fds[i].revents)))
            ret = -EFAULT;
    }
    if (fds != few)
        kfree(fds);
    return ret;
}

long sys_poll(struct regs *r)
{
    int ms = (int)r->arg[2];
    u64 deadline = ms < 0 ? NO_DEADLINE : ms == 0 ? 0 : deadline_after((u64)ms * 1000000);
    return do_poll(r->arg[0], (u32)r->arg[1], deadline);
}

// A relative timeout at `uts` as a deadline; 0: do not wait. scale: what a unit of the second word is in ns.
static int read_timeout(uptr uts, u64 scale, u64 *deadline)
{
    struct timespec_k ts;
    *deadline = NO_DEADLINE;
    if (!uts)
        return 0;
    if (copy_from_user(&ts, uts, sizeof(ts)))
        return -EFAULT;
    if (scale != 1) {               // struct timeval may hold more than a second of microseconds
        if (ts.sec < 0 || ts.nsec < 0)
            return -EINVAL;
        ts.sec += ts.nsec / 1000000;
        ts.nsec = ts.nsec % 1000000 * 1000;
    }
    if (ts.sec < 0 || ts.nsec < 0 || ts.nsec >= (i64)NSEC_PER_SEC)
        return -EINVAL;
    u64 ns = (u64)ts.sec > ~0ull / NSEC_PER_SEC - 1 ? ~0ull : timespec_ns(&ts);
    *deadline = ns ? deadline_after(ns) : 0;
    return 0;
}

// Linux writes the time that is left back, also when the call was interrupted; a fault there is ignored.
static void write_left(uptr uts, u64 scale, u64 deadline)
{
    if (!uts || deadline == NO_DEADLINE)
        return;
    u64 now = clock_mono_ns();
    u64 left = deadline > now ? deadline - now : 0;
    struct timespec_k ts = { (i64)(left / NSEC_PER_SEC), (i64)(left % NSEC_PER_SEC / scale) };
    if (copy_to_user(uts, &ts, sizeof(ts)))
        return;
}

long sys_ppoll(struct regs *r)
{
    u64 deadline;
    int err = read_timeout(r->arg[2], 1, &deadline);
    if (!err)
        err = signal_temp_mask(r->arg[3], r->arg[4]);
    if (err)
        return err;
    long ret = do_poll(r->arg[0], (u32)r->arg[1], deadline);
    signal_temp_mask_end(ret);
    write_left(r->arg[2], 1, deadline);
    return ret;
}

// --- select -------------------------------------------------------------------------------------------------------

// Three sets of bits, in and out, each of `words` 64-bit words.
struct fdsets {
    u64 *in[3], *out[3];
    u64 words;
};

static u32 bits_wanted(const struct fdsets *s, u64 word, u64 bit)
{
    u32 want = 0;
    if (s->in[0][word] & bit)
        want |= SELECT_IN;
    if (s->in[1][word] & bit)
        want |= SELECT_OUT;
    if (s->in[2][word] & bit)
        want |= SELECT_EX;
    return want;
}

static long select_round(struct poller *p, struct fdsets *s, int n)
{
    static const u32 kinds[3] = { SELECT_IN, SELECT_OUT, SELECT_EX };
    long count = 0;
    for (int fd = 0; fd < n; fd++) {
        u64 word = (u64)fd / 64, bit = BIT(fd % 64);
        u32 want = bits_wanted(s, word, bit);
        if (!want)
            continue;
        u32 got = ask(p, fd, want);
        if (got == POLL_NVAL)
            return -EBADF;
        for (int k = 0; k < 3; k++)
            if ((s->in[k][word] & bit) && (got & kinds[k])) {
                s->out[k][word] |= bit;
                count++;
            }
    }
    return count;
}

static long select_fds(struct fdsets *s, int n, u64 deadline)
{
    struct poller p;
    long count;
    poller_init(&p, deadline != 0);
    for (;;) {
        count = select_round(&p, s, n);
        if (count || deadline == 0 || p.err)
            break;
        int err = poller_sleep(&p, deadline);
        if (err == -ETIMEDOUT)
            deadline = 0;
        else if (err) {
            count = err;
            break;
        }
    }
    poller_end(&p);
    return count ? count : p.err;
}

static long do_select(int n, const uptr *sets, u64 deadline)
{
    if (n < 0)
        return -EINVAL;
    n = MIN(n, (int)ALIGN_UP((u64)the_process->fds.size, 64ul));        // bits beyond the table are not looked at
    struct fdsets s = { .words = ((u64)n + 63) / 64 };
    u64 bytes = s.words * 8;
    u64 *mem = kzalloc(MAX(bytes, 8ul) * 6);
    if (!mem)
        return -ENOMEM;
    long ret = 0;
    for (int k = 0; k < 3; k++) {
        s.in[k] = mem + (u64)k * s.words;
        s.out[k] = mem + (u64)(k + 3) * s.words;
        if (sets[k] && copy_from_user(s.in[k], sets[k], bytes))
            ret = -EFAULT;
    }
    if (!ret)
        ret = select_fds(&s, n, deadline);
    for (int k = 0; k < 3 && ret >= 0; k++)
        if (sets[k] && copy_to_user(sets[k], s.out[k], bytes))
            ret = -EFAULT;
    kfree(mem);
    return ret;
}

long sys_select(struct regs *r)
{
    const uptr sets[3] = { r->arg[1], r->arg[2], r->arg[3] };
    u64 deadline;
    int err = read_timeout(r->arg[4], 1000, &deadline);
    if (err)
        return err;
    long ret = do_select((int)r->arg[0], sets, deadline);
    write_left(r->arg[4], 1000, deadline);
    return ret;
}

long sys_pselect6(struct regs *r)
{
    const uptr sets[3] = { r->arg[1], r->arg[2], r->arg[3] };
    struct { uptr set; u64 size; } mask = { 0, 0 };
    u64 deadline;
    if (r->arg[5] && copy_from_user(&mask, r->arg[5], sizeof(mask)))
        return -EFAULT;
    int err = read_timeout(r->arg[4], 1, &deadline);
    if (!err)
        err = signal_temp_mask(mask.set, mask.size);
    if (err)
        return err;
    long ret = do_select((int)r->arg[0], sets, deadline);
    signal_temp_mask_end(ret);
    write_left(r->arg[4], 1, deadline);
    return ret;
}
