// SPDX-License-Identifier: Apache-2.0
// The control port: events to the host, commands from it, one JSON object a line (docs/guest-interface.md). What the host
// sends is bounded and checked here (lib/json.c); a thread carries it out.
#include "arch.h"
#include "blk.h"
#include "boot.h"
#include "bootinfo.h"
#include "fs.h"
#include "json.h"
#include "lib.h"
#include "net.h"
#include "page.h"
#include "process.h"
#include "sched.h"
#include "serial.h"
#include "signal.h"
#include "spinlock.h"
#include "time.h"
#include "tty.h"

#define LINE_MAX 4096u

static struct serial *const port = &serial_ports[1];
static spinlock_t out_lock = SPINLOCK_INIT;     // keeps lines whole, interrupts off

struct out {
    char buf[256];
    size_t n, total;
};

static void out_flush(struct out *o)
{
    serial_write_polled(port, o->buf, o->n);
    o->n = 0;
}

static void out_char(struct out *o, char c)
{
    if (o->total++ >= LINE_MAX - 8 && c != '\n' && c != '}')
        return;
    o->buf[o->n++] = c;
    if (o->n == sizeof(o->buf))
        out_flush(o);
}

static void out_raw(struct out *o, const char *s)
{
    while (*s)
        out_char(o, *s++);
}

static void out_string(struct out *o, const char *s)
{
    char esc[8];
    out_char(o, '"');
    for (size_t i = 0; s[i] && i < 1024; i++) {
        unsigned char c = (unsigned char)s[i];
        if (c == '"' || c == '\\') {
            out_char(o, '\\');
            out_char(o, (char)c);
        } else if (c < 0x20 || c >= 0x7f) {
            snprintf(esc, sizeof(esc), "\\u%04x", c);
            out_raw(o, esc);
        } else {
            out_char(o, (char)c);
        }
    }
    out_char(o, '"');
}

void control_event(const char *event, const struct kv *kv, unsigned n)
{
    struct out o = { .n = 0 };
    char num[24];
    if (!port->present)
        return;
    u64 flags = spin_lock_irqsave(&out_lock);
    out_raw(&o, "{\"event\":");
    out_string(&o, event);
    for (unsigned i = 0; i < n; i++) {
        out_char(&o, ',');
        out_string(&o, kv[i].key);
        out_char(&o, ':');
        if (kv[i].str) {
            out_string(&o, kv[i].str);
        } else {
            snprintf(num, sizeof(num), "%ld", (long)kv[i].num);
            out_raw(&o, num);
        }
    }
    out_raw(&o, "}\n");
    out_flush(&o);
    spin_unlock_irqrestore(&out_lock, flags);
}

// --- Commands ----------------------------------------------------------------------------------------------------------

static struct waitq input_wait = WAITQ_INIT(input_wait);

static void answer(i64 id, const char *error)
{
    struct kv kv[] = { { "id", NULL, id }, { "message", error ? error : "", 0 } };
    control_event(error ? "error" : "ok", kv, ARRAY_SIZE(kv));
}

static void stats(i64 id)
{
    struct mem_stats m;
    struct process *p = the_process;
    u64 rx = 0, tx = 0, rd = 0, wr = 0, cpu = 0;
    mem_stats(&m);
    for (struct list *n = netdevs.next; n != &netdevs; n = n->next) {
        rx += list_entry(n, struct netdev, node)->rx_bytes;
        tx += list_entry(n, struct netdev, node)->tx_bytes;
    }
    for (struct list *n = blkdevs.next; n != &blkdevs; n = n->next) {
        rd += list_entry(n, struct blkdev, node)->rd_bytes;
        wr += list_entry(n, struct blkdev, node)->wr_bytes;
    }
    if (p) {
        u64 flags = spin_lock_irqsave(&p->thread_lock);
        for (struct list *n = p->threads.next; n != &p->threads; n = n->next)
            cpu += thread_cpu_ns(list_entry(n, struct thread, proc_node));
        spin_unlock_irqrestore(&p->thread_lock, flags);
    }
    struct kv kv[] = {
        { "id", NULL, id }, { "uptime_ms", NULL, (i64)(clock_mono_ns() / 1000000) }, { "cpu_us", NULL, (i64)(cpu / 1000) },
        { "mem_total", NULL, (i64)m.total }, { "mem_free", NULL, (i64)m.free }, { "mem_cache", NULL, (i64)m.cache },
        { "mem_anon", NULL, (i64)m.anon }, { "mem_kernel", NULL, (i64)m.kernel },
        { "threads", NULL, p ? (i64)p->nr_threads : 0 }, { "fds", NULL, p ? (i64)p->fds.used : 0 },
        { "rx_bytes", NULL, (i64)rx }, { "tx_bytes", NULL, (i64)tx }, { "rd_bytes", NULL, (i64)rd }, { "wr_bytes", NULL, (i64)wr },
        { "sockets", NULL, (i64)net_socket_count() },
    };
    control_event("stats", kv, ARRAY_SIZE(kv));
}

static NORETURN void power_off(i64 id)
{
    struct kv kv = { "status", NULL, 0 };
    vfs_shutdown();
    answer(id, NULL);
    control_event("exit", &kv, 1);
    machine_off(0);
}

static const char *do_signal(const struct json_field *f, int n)
{
    const struct json_field *v = json_find(f, n, "signo", JSON_INT);
    if (!v || v->num < 1 || v->num > 64)
        return "signo must be 1 to 64";
    if (!the_process)
        return "no program is running";
    return signal_process(the_process, (int)v->num, NULL) ? "the signal could not be sent" : NULL;
}

static const char *do_winsize(const struct json_field *f, int n)
{
    const struct json_field *rows = json_find(f, n, "rows", JSON_INT), *cols = json_find(f, n, "cols", JSON_INT);
    if (!rows || !cols || rows->num < 0 || rows->num > 65535 || cols->num < 0 || cols->num > 65535)
        return "rows and cols must be 0 to 65535";
    if (!tty_is_terminal())
        return "the program has no terminal";
    tty_set_winsize((u16)rows->num, (u16)cols->num);
    return NULL;
}

static const char *do_eof(const struct json_field *f, int n)
{
    const struct json_field *after = json_find(f, n, "after", JSON_INT);
    if (after && after->num < 0)
        return "after must not be negative";
    tty_end_of_input(after ? (u64)after->num : END_NOW);
    return NULL;
}

static const char *do_trace(const struct json_field *f, int n)
{
    const struct json_field *on = json_find(f, n, "on", JSON_BOOL);
    if (!on)
        return "on must be true or false";
    boot_config.trace_syscalls = on->num;
    return NULL;
}

static const char *do_time(const struct json_field *f, int n)
{
    const struct json_field *ns = json_find(f, n, "ns", JSON_INT);
    if (!ns || ns->num < 0)
        return "ns must not be negative";
    clock_host_says((u64)ns->num);
    return NULL;
}

static void command(const char *line, size_t len)
{
    static struct json_field f[8];      // this thread's alone
    int n = json_parse(line, len, f, ARRAY_SIZE(f));
    if (n < 0)
        return;
    const struct json_field *cmd = json_find(f, n, "cmd", JSON_STRING), *idf = json_find(f, n, "id", JSON_INT);
    if (!cmd || !idf)
        return;
    i64 id = idf->num;
    if (!strcmp(cmd->str, "stats")) {
        stats(id);
    } else if (!strcmp(cmd->str, "signal")) {
        answer(id, do_signal(f, n));
    } else if (!strcmp(cmd->str, "winsize")) {
        answer(id, do_winsize(f, n));
    } else if (!strcmp(cmd->str, "eof")) {
        answer(id, do_eof(f, n));
    } else if (!strcmp(cmd->str, "trace")) {
        answer(id, do_trace(f, n));
    } else if (!strcmp(cmd->str, "time")) {
        answer(id, do_time(f, n));
    } else if (!strcmp(cmd->str, "sync")) {
        vfs_sync_all();
        answer(id, NULL);
    } else if (!strcmp(cmd->str, "poweroff")) {
        power_off(id);
    } else {
        answer(id, "unknown command");
    }
}

// The next byte; sleeps, with the receive interrupt on, until there is one.
static u8 next_byte(void)
{
    struct waiter w;
    int c = serial_read(port);
    if (c >= 0)
        return (u8)c;
    waitq_prepare(&input_wait, &w);
    for (;;) {
        u64 flags = irq_save();
        serial_irq_mask(port, true, false);
        irq_restore(flags);
        c = serial_read(port);
        if (c >= 0)
            break;
        waitq_sleep(&w, NO_DEADLINE, false);
    }
    waitq_finish(&w);
    return (u8)c;
}

// Lines that are too long or do not parse are dropped.
static void control_thread(void *arg)
{
    static char line[LINE_MAX];
    size_t n = 0;
    (void)arg;
    for (;;) {
        u8 c = next_byte();
        if (c == '\n') {
            if (n < sizeof(line))
                command(line, n);
            n = 0;
        } else if (n < sizeof(line)) {
            line[n++] = (char)c;
        }
    }
}

static void interrupt(void *arg)
{
    (void)arg;
    serial_irq_ack(port);
    serial_irq_mask(port, false, false);    // until the thread has taken what there is
    waitq_wake_all(&input_wait);
}

void control_init(void)
{
    struct kv kv[] = { { "version", UNI_VERSION, 0 }, { "abi", NULL, 1 }, { "boot_us", NULL, (i64)boot_usec() } };
    control_event("boot", kv, ARRAY_SIZE(kv));
    if (port->present && irq_register(port->gsi, false, interrupt, NULL) == 0)
        kthread_create("control", control_thread, NULL);
}
