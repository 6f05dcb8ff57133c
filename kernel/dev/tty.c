// SPDX-License-Identifier: Apache-2.0
// The console as a file: /dev/console, /dev/tty, /dev/ttyS0. With uni.tty=1 a terminal, else a plain stream of bytes.
#include <asm/ioctls.h>
#include "boot.h"
#include "bootinfo.h"
#include "errno.h"
#include "fs.h"
#include "kmalloc.h"
#include "lib.h"
#include "printk.h"
#include "process.h"
#include "signal.h"
#include "time.h"
#include "tty_priv.h"

enum { SIGWINCH = 28, NONBLOCK = 04000 };
#define CHUNK 256u

struct tty console_tty;

static const struct termios2 terminal_defaults = {
    .c_iflag = ICRNL | IXON, .c_oflag = OPOST | ONLCR, .c_cflag = B115200 | CS8 | CREAD | HUPCL | CLOCAL,
    .c_lflag = ISIG | ICANON | ECHO | ECHOE | ECHOK | ECHOCTL | ECHOKE | IEXTEN, .c_ispeed = 115200, .c_ospeed = 115200,
    .c_cc = { [VINTR] = 3, [VQUIT] = 28, [VERASE] = 127, [VKILL] = 21, [VEOF] = 4, [VMIN] = 1, [VSTART] = 17, [VSTOP] = 19,
              [VSUSP] = 26, [VREPRINT] = 18, [VDISCARD] = 15, [VWERASE] = 23, [VLNEXT] = 22 },
};
static const struct termios2 stream_defaults = { .c_cflag = B115200 | CS8 | CREAD | CLOCAL, .c_cc = { [VMIN] = 1 } };

bool tty_is_terminal(void) { return boot_config.tty; }

// --- Output ------------------------------------------------------------------------------------------------------------

size_t tty_expand(const struct tty *t, char c, char out[2])
{
    u32 f = t->t.c_oflag;
    out[0] = c;
    if (!(f & OPOST))
        return 1;
    if (c == '\n' && (f & ONLCR)) {
        out[0] = '\r';
        out[1] = '\n';
        return 2;
    }
    if (c == '\r' && (f & OCRNL))
        out[0] = '\n';
    return c == '\r' && (f & ONLRET) ? 0 : 1;
}

// Echoes never wait: what does not fit is lost, as on a terminal that is too slow.
void tty_echo(struct tty *t, const char *s, size_t n)
{
    char out[2];
    for (size_t i = 0; i < n; i++)
        t->port->write(t->port, out, tty_expand(t, s[i], out));
}

static bool may_write(struct tty *t) { return !t->stopped; }

// Waits until the port takes at least a byte. The bytes taken, or -EAGAIN, -ERESTARTSYS.
static ssize_t write_some(struct tty *t, const char *s, size_t n, bool nonblock)
{
    struct waiter w;
    size_t k = may_write(t) ? t->port->write(t->port, s, n) : 0;
    if (k)
        return (ssize_t)k;
    if (nonblock)
        return -EAGAIN;
    int err = 0;
    waitq_prepare(&t->write_wait, &w);
    for (;;) {
        k = may_write(t) ? t->port->write(t->port, s, n) : 0;
        if (k)
            break;
        t->port->want_room(t->port);
        err = waitq_sleep(&w, NO_DEADLINE, true);
        if (err)
            break;
    }
    waitq_finish(&w);
    return k ? (ssize_t)k : err;
}

static int write_all(struct tty *t, const char *s, size_t n, bool nonblock)
{
    while (n) {
        ssize_t k = write_some(t, s, n, nonblock);
        if (k < 0)
            return (int)k;
        s += k;
        n -= (size_t)k;
    }
    return 0;
}

static size_t expand_all(struct tty *t, const char *in, size_t n, char *out)
{
    size_t o = 0;
    if (!(t->t.c_oflag & OPOST)) {
        memcpy(out, in, n);
        return n;
    }
    for (size_t i = 0; i < n; i++)
        o += tty_expand(t, in[i], out + o);
    return o;
}

static ssize_t tty_write(struct file *f, struct iter *it, u64 *pos)
{
    struct tty *t = &console_tty;
    char in[CHUNK], out[2 * CHUNK];
    ssize_t done = 0;
    int err = 0;
    (void)pos;
    mutex_lock(&t->write_lock);
    while (it->left && !err) {
        size_t n = iter_get(it, in, MIN(it->left, sizeof(in)));
        if (!n) {
            err = -EFAULT;
            break;
        }
        err = write_all(t, out, expand_all(t, in, n, out), f->flags & NONBLOCK);
        if (!err)
            done += (ssize_t)n;
    }
    mutex_unlock(&t->write_lock);
    return done ? done : err;
}

void tty_write_ready(void) { waitq_wake_all(&console_tty.write_wait); }

// --- Input -------------------------------------------------------------------------------------------------------------

// A plain stream stays at its end, like a pipe without a writer; at a terminal, an end of file is one character among others.
static void end_input(struct tty *t)
{
    if (boot_config.tty) {
        t->end_at = END_NONE;
        if (t->head != t->line)
            ldisc_input(t, t->t.c_cc[VEOF]);    // behind a part of a line, the first one only hands that over
        ldisc_input(t, t->t.c_cc[VEOF]);
    } else {
        waitq_wake_all(&t->read_wait);
    }
}

static bool at_end(const struct tty *t) { return t->received >= t->end_at; }

static void receive(void)
{
    struct tty *t = &console_tty;
    u64 flags = spin_lock_irqsave(&t->lock);
    int c;
    while (!ldisc_full(t) && (c = t->port->read(t->port)) >= 0) {
        ldisc_input(t, (u8)c);
        t->received++;
    }
    t->throttled = ldisc_full(t);
    if (t->end_at == END_NOW && !t->throttled)
        t->end_at = t->received;
    if (t->received >= t->end_at)
        end_input(t);
    spin_unlock_irqrestore(&t->lock, flags);
}

void tty_end_of_input(u64 after)
{
    u64 flags = spin_lock_irqsave(&console_tty.lock);
    console_tty.end_at = after;
    spin_unlock_irqrestore(&console_tty.lock, flags);
    tty_receive_ready();
}

void tty_receive_ready(void) { softirq_raise(SOFTIRQ_CONSOLE); }

// How long a read may wait, from VMIN and VTIME (termios(3), "Canonical and noncanonical mode").
struct read_rule {
    u32 min;
    u64 total, between;         // ns; 0: no limit
    bool canonical;
};

static struct read_rule rule_of(const struct tty *t, size_t want)
{
    struct read_rule r = { .min = 1, .canonical = t->t.c_lflag & ICANON };
    if (r.canonical)
        return r;
    u64 time = t->t.c_cc[VTIME] * (NSEC_PER_SEC / 10);
    r.min = (u32)MIN((size_t)t->t.c_cc[VMIN], want);
    if (r.min)
        r.between = time;
    else
        r.total = time;
    return r;
}

static bool satisfied(const struct tty *t, const struct read_rule *r)
{
    if (r->canonical)
        return t->tail != t->line;
    return ldisc_available(t) >= MAX(r->min, 1u) || ldisc_at_eof(t) || at_end(t);
}

// 0 when there is something to take (or the rule says to return empty-handed), else -EAGAIN, -ERESTARTSYS.
static int wait_input(struct file *f, struct tty *t, const struct read_rule *r)
{
    struct waiter w;
    int err = 0;
    waitq_prepare(&t->read_wait, &w);
    u64 end = r->total ? clock_mono_ns() + r->total : NO_DEADLINE;
    while (!satisfied(t, r)) {
        if (!r->canonical && !r->min && !r->total)
            break;
        if (f->flags & NONBLOCK) {
            err = ldisc_available(t) ? 0 : -EAGAIN;
            break;
        }
        u64 deadline = end;
        if (r->between && ldisc_available(t))
            deadline = clock_mono_ns() + r->between;
        err = waitq_sleep(&w, deadline, true);
        if (err == -ETIMEDOUT) {
            err = 0;
            break;
        }
        if (err)
            break;
    }
    waitq_finish(&w);
    return err;
}

static ssize_t tty_read(struct file *f, struct iter *it, u64 *pos)
{
    struct tty *t = &console_tty;
    char part[CHUNK];
    ssize_t done = 0;
    (void)pos;
    if (!it->left)
        return 0;
    struct read_rule r = rule_of(t, it->left);
    int err = wait_input(f, t, &r);
    if (err)
        return err;
    for (;;) {
        u64 flags = spin_lock_irqsave(&t->lock);
        u32 n = ldisc_take(t, part, (u32)MIN(it->left, sizeof(part)));
        bool line_done = r.canonical && (n < sizeof(part) || part[n - 1] == '\n');
        spin_unlock_irqrestore(&t->lock, flags);
        size_t k = iter_put(it, part, n);
        done += (ssize_t)k;
        if (k < n)
            return done ? done : -EFAULT;
        if (!n || !it->left || line_done)
            break;
    }
    if (t->throttled)
        tty_receive_ready();        // there is room again
    return done;
}

static u32 tty_poll(struct file *f, struct poll_table *pt)
{
    struct tty *t = &console_tty;
    poll_wait(pt, f, &t->read_wait);
    poll_wait(pt, f, &t->write_wait);
    u32 e = t->stopped ? 0 : POLL_OUT | POLL_WRNORM;
    struct read_rule r = rule_of(t, 1);
    if (satisfied(t, &r))
        e |= POLL_IN | POLL_RDNORM;
    return at_end(t) ? e | POLL_HUP : e;
}

// --- Control -----------------------------------------------------------------------------------------------------------

void tty_set_winsize(u16 rows, u16 cols)
{
    struct tty *t = &console_tty;
    bool same = t->win.rows == rows && t->win.cols == cols;
    t->win = (struct tty_winsize){ rows, cols, 0, 0 };
    if (!same && the_process && boot_config.tty)
        signal_process(the_process, SIGWINCH, NULL);
}

static long set_termios(struct tty *t, uptr arg, size_t size, bool flush)
{
    struct termios2 n = t->t;
    if (copy_from_user(&n, arg, size))
        return -EFAULT;
    u64 flags = spin_lock_irqsave(&t->lock);
    bool was = t->t.c_lflag & ICANON, is = n.c_lflag & ICANON;
    t->t = n;
    if (flush)
        ldisc_flush(t);
    if (was != is)
        ldisc_mode_changed(t);
    spin_unlock_irqrestore(&t->lock, flags);
    return 0;
}

static long get_pgrp(uptr arg) { return user_write_u32(arg, (u32)current_process()->pid); }

static long set_winsize(uptr arg)
{
    struct tty_winsize w;
    if (copy_from_user(&w, arg, sizeof(w)))
        return -EFAULT;
    tty_set_winsize(w.rows, w.cols);
    console_tty.win = w;
    return 0;
}

static long flush_queues(struct tty *t, u64 which)
{
    if (which > 2)
        return -EINVAL;
    u64 flags = spin_lock_irqsave(&t->lock);
    if (which != 1)
        ldisc_flush(t);
    spin_unlock_irqrestore(&t->lock, flags);
    return 0;
}

static long flow(struct tty *t, u64 action)
{
    if (action > 3)
        return -EINVAL;
    if (action < 2) {
        t->stopped = action == 0;
        waitq_wake_all(&t->write_wait);
    }
    return 0;
}

static long terminal_ioctl(struct tty *t, u32 cmd, uptr arg)
{
    switch (cmd) {
    case TCGETS:
        return copy_to_user(arg, &t->t, sizeof(struct termios));
    case TCGETS2:
        return copy_to_user(arg, &t->t, sizeof(struct termios2));
    case TCSETS:
    case TCSETSW:
    case TCSETSF:
        return set_termios(t, arg, sizeof(struct termios), cmd == TCSETSF);
    case TCSETS2:
    case TCSETSW2:
    case TCSETSF2:
        return set_termios(t, arg, sizeof(struct termios2), cmd == TCSETSF2);
    case TIOCGWINSZ:
        return copy_to_user(arg, &t->win, sizeof(t->win));
    case TIOCSWINSZ:
        return set_winsize(arg);
    case TIOCGPGRP:
    case TIOCGSID:
        return get_pgrp(arg);
    case TIOCSPGRP: {
        u32 pgrp;
        if (user_read_u32(arg, &pgrp))
            return -EFAULT;
        return (i32)pgrp < 0 ? -EINVAL : (int)pgrp == current_process()->pid ? 0 : -ESRCH;
    }
    case TCFLSH:
        return flush_queues(t, arg);
    case TCXONC:
        return flow(t, arg);
    case TIOCGETD:
    case TIOCOUTQ:
        return user_write_u32(arg, 0);
    case TCSBRK:
    case TCSBRKP:
    case TIOCSBRK:
    case TIOCCBRK:
    case TIOCSCTTY:
    case TIOCNOTTY:
    case TIOCEXCL:
    case TIOCNXCL:
        return 0;
    default:
        return -ENOTTY;
    }
}

static long tty_ioctl(struct file *f, u32 cmd, uptr arg)
{
    struct tty *t = &console_tty;
    (void)f;
    if (cmd == FIONREAD) {
        u64 flags = spin_lock_irqsave(&t->lock);
        u32 n = ldisc_available(t);
        spin_unlock_irqrestore(&t->lock, flags);
        return user_write_u32(arg, n);
    }
    return boot_config.tty ? terminal_ioctl(t, cmd, arg) : -ENOTTY;
}

static const struct file_ops tty_ops = { .read = tty_read, .write = tty_write, .poll = tty_poll, .ioctl = tty_ioctl, .async = true };

static int open_tty(struct file *f)
{
    (void)f;
    return boot_config.tty ? 0 : -ENXIO;    // /dev/tty without a controlling terminal
}

static struct chardev devices[] = {
    { .name = "console", .major = 5, .minor = 1, .mode = 0600, .ops = &tty_ops },
    { .name = "tty", .major = 5, .minor = 0, .mode = 0666, .ops = &tty_ops, .open = open_tty },
    { .name = "ttyS0", .major = 4, .minor = 64, .mode = 0600, .ops = &tty_ops },
};

void tty_set_port(struct tty_port *p)
{
    console_tty.port = p;
    tty_receive_ready();
}

void console_init(void)
{
    struct tty *t = &console_tty;
    t->buf = kmalloc(TTY_BUF * sizeof(u16), 0);
    if (!t->buf)
        panic("no memory for the console");
    t->t = boot_config.tty ? terminal_defaults : stream_defaults;
    t->end_at = END_NONE;
    waitq_init(&t->read_wait);
    waitq_init(&t->write_wait);
    mutex_init(&t->write_lock);
    softirq_register(SOFTIRQ_CONSOLE, receive);
    t->port = ttyport_init();
    for (size_t i = 0; i < ARRAY_SIZE(devices); i++)
        chardev_register(&devices[i]);
}
