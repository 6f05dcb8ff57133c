// SPDX-License-Identifier: Apache-2.0
// The control port: events to the host, commands from it, one JSON object a line (docs/guest-interface.md). What the host
// sends is bounded and checked here (lib/json.c); a thread carries it out.
#include "arch.h"
#include "boot.h"
#include "bootinfo.h"
#include "lib.h"
#include "serial.h"
#include "spinlock.h"

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

void control_init(void)
{
    struct kv kv[] = { { "version", UNI_VERSION, 0 }, { "abi", NULL, 1 }, { "boot_us", NULL, (i64)boot_usec() } };
    control_event("boot", kv, ARRAY_SIZE(kv));
}
