// SPDX-License-Identifier: Apache-2.0
// From the number in rax to the handler, with the trace (uni.trace=syscalls) and the report of what is not there.
#include "boot.h"
#include "errno.h"
#include "errname.h"
#include "lib.h"
#include "printk.h"
#include "process.h"
#include "syscall.h"
#include "uaccess.h"

#define REPORTED_MAX 64     // names that the console remembers having complained about
#define TRACE_STRING 32     // bytes of a string argument that the trace shows, as strace does

static u32 reported[REPORTED_MAX];
static u32 nr_reported;

// One console line and one control event per name; a program that probes in a loop must not flood the console.
void syscall_unsupported(const char *what, const char *remedy)
{
    u32 h = hash32(what, strlen(what), 0);
    for (u32 i = 0; i < nr_reported; i++)
        if (reported[i] == h)
            return;
    if (nr_reported == REPORTED_MAX)
        return;
    reported[nr_reported++] = h;
    const char *name = the_process ? the_process->name : "kernel";
    printk(LOG_WARNING, "uni: %s: %s is not supported%s%s\n", name, what, *remedy ? ": " : "", remedy);
    struct kv kv[] = { { "call", what, 0 }, { "program", name, 0 } };
    control_event("unsupported", kv, ARRAY_SIZE(kv));
}

static size_t trace_string(char *out, size_t size, uptr p)
{
    char raw[TRACE_STRING + 1];
    size_t n = copy_from_user_partial(raw, p, sizeof(raw)), o = 0;
    if (!n)
        return (size_t)snprintf(out, size, "0x%lx", (unsigned long)p);
    out[o++] = '"';
    size_t i = 0;
    for (; i < n && i < TRACE_STRING && raw[i] && o + 8 < size; i++) {
        unsigned char c = (unsigned char)raw[i];
        if (c == '\n' || c == '\t' || c == '\r' || c == '"' || c == '\\') {
            out[o++] = '\\';
            out[o++] = c == '\n' ? 'n' : c == '\t' ? 't' : c == '\r' ? 'r' : (char)c;
        } else if (c < 32 || c > 126) {
            o += (size_t)snprintf(out + o, size - o, "\\%o", c);
        } else {
            out[o++] = (char)c;
        }
    }
    out[o++] = '"';
    if (i < n && raw[i])
        o += (size_t)snprintf(out + o, size - o, "...");
    return o;
}

static size_t trace_arg(char *out, size_t size, char kind, u64 v)
{
    switch (kind) {
    case 'd':
        if ((i32)v == -100)
            return (size_t)snprintf(out, size, "AT_FDCWD");
        return (size_t)snprintf(out, size, "%d", (int)v);
    case 'u':
        return (size_t)snprintf(out, size, "%lu", (unsigned long)v);
    case 'o':
        return (size_t)snprintf(out, size, "0%o", (unsigned)v);
    case 's':
        if (v)
            return trace_string(out, size, v);
        // fall through
    case 'p':
        if (!v)
            return (size_t)snprintf(out, size, "NULL");
        // fall through
    default:
        return (size_t)snprintf(out, size, v ? "0x%lx" : "0", (unsigned long)v);
    }
}

// strace's order: name(arguments) = result, the arguments as they were at entry.
static size_t trace_entry(char *line, size_t size, const struct syscall *s, const struct regs *r)
{
    size_t o = (size_t)snprintf(line, size, "[%d] %s(", current()->tid, s->name);
    const char *format = s->name + strlen(s->name) + 1;
    for (int i = 0; format[i] && i < 6 && o + 64 < size; i++) {
        if (i)
            o += (size_t)snprintf(line + o, size - o, ", ");
        o += trace_arg(line + o, size - o, format[i], r->arg[i]);
    }
    return o;
}

static void trace_result(char *line, size_t o, size_t size, long v)
{
    if (v <= -ERESTARTSYS && v >= -ERESTART_RESTARTBLOCK)
        snprintf(line + o, size - o, ") = ? (interrupted, to be restarted)");
    else if (v < 0 && v > -4096)
        snprintf(line + o, size - o, ") = -1 %s", errno_name(-v));
    else if (v > 0xfffff)
        snprintf(line + o, size - o, ") = 0x%lx", (unsigned long)v);
    else
        snprintf(line + o, size - o, ") = %ld", v);
    printk(LOG_EMERG, "%s\n", line);
}

static long missing(u64 nr)
{
    char what[48];
    const char *name = nr < SYSCALL_MAX ? syscall_table[nr].name : NULL;
    if (name)
        snprintf(what, sizeof(what), "%s", name);
    else
        snprintf(what, sizeof(what), "system call %lu", (unsigned long)nr);
    syscall_unsupported(what, "");
    return -ENOSYS;
}

static __attribute__((noinline)) void dispatch_traced(struct regs *r, const struct syscall *s)
{
    char line[384];
    size_t o = trace_entry(line, sizeof(line), s, r);
    // What does not come back is shown before it goes.
    if (r->orig_rax == 60 || r->orig_rax == 231)
        printk(LOG_EMERG, "%s) = ?\n", line);
    long v = s->fn ? s->fn(r) : missing(r->orig_rax);
    r->rax = (u64)v;
    trace_result(line, o, sizeof(line), v);
}

void syscall_dispatch(struct regs *r)
{
    u64 nr = (u32)r->orig_rax;      // Linux looks at eax only
    current()->regs = r;
    if (likely(nr < SYSCALL_MAX)) {
        const struct syscall *s = &syscall_table[nr];
        if (unlikely(boot_config.trace_syscalls) && s->name) {
            dispatch_traced(r, s);
            return;
        }
        if (likely(s->fn != NULL)) {
            r->rax = (u64)s->fn(r);
            return;
        }
    }
    r->rax = (u64)missing(r->orig_rax);
}
