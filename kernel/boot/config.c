// SPDX-License-Identifier: Apache-2.0
// The boot configuration: Linux's command line and the fw_cfg file, as docs/guest-interface.md lists the keys.
#include "boot.h"
#include "bootinfo.h"
#include "kmalloc.h"
#include "lib.h"
#include "printk.h"

struct boot_config boot_config;

static bool args_from_file, unknown_named;

static char home[] = "HOME=/", term[] = "TERM=linux", path[] = "PATH=/usr/local/sbin:/usr/local/bin:/usr/sbin:/usr/bin:/sbin:/bin";
static char *default_env[] = { home, term, path, NULL };

static void add(struct strings *l, const char *s)
{
    bool fixed = l->v == default_env;
    char **v = krealloc(fixed ? NULL : l->v, (l->n + 2) * sizeof(char *));
    if (!v)
        return;
    if (fixed)
        memcpy(v, default_env, sizeof(default_env));
    l->v = v;
    v[l->n++] = (char *)s;
    v[l->n] = NULL;
}

// NAME=VALUE replaces an earlier setting of the same name.
static void add_env(const char *s)
{
    size_t n = (size_t)(strchr(s, '=') - s) + 1;
    for (u32 i = 0; i < boot_config.env.n; i++)
        if (!strncmp(boot_config.env.v[i], s, n)) {
            boot_config.env.v[i] = (char *)s;
            return;
        }
    add(&boot_config.env, s);
}

static void set_user(void *to, char *v)
{
    (void)to;
    char *colon = strchr(v, ':');
    u64 uid, gid;
    if (colon)
        *colon++ = 0;
    if (!parse_u64(v, 10, &uid) || uid >= 0xffffffff || (colon && (!parse_u64(colon, 10, &gid) || gid >= 0xffffffff))) {
        printk(LOG_WARNING, "uni: user=%s is not UID[:GID], ignored\n", v);
        return;
    }
    boot_config.uid = (u32)uid;
    boot_config.gid = colon ? (u32)gid : (u32)uid;
}

// SIZE@ADDR:IRQ, the size with K, as Linux's virtio_mmio.device parameter.
static void set_mmio(void *to, char *v)
{
    (void)to;
    char *at = strchr(v, '@'), *colon = at ? strchr(at, ':') : NULL;
    u64 size, addr, irq;
    if (!colon || boot_config.nr_mmio == ARRAY_SIZE(boot_config.mmio))
        return;
    *at++ = *colon++ = 0;
    size_t n = strlen(v);
    u64 unit = n && (v[n - 1] == 'K' || v[n - 1] == 'k') ? 1024 : 1;
    if (unit > 1)
        v[n - 1] = 0;
    char *more = strchr(colon, ':');    // an explicit id may follow
    if (more)
        *more = 0;
    if (!parse_u64(v, 0, &size) || !parse_u64(at, 0, &addr) || !parse_u64(colon, 0, &irq) || irq > 255)
        return;
    u32 i = boot_config.nr_mmio++;
    boot_config.mmio[i].addr = addr;
    boot_config.mmio[i].size = size * unit;
    boot_config.mmio[i].irq = (u32)irq;
}

static void set_loglevel(void *to, char *v)
{
    u64 n;
    (void)to;
    if (parse_u64(v, 10, &n) && n <= 8)
        console_loglevel = (int)n;
}

static void set_list(void *to, char *v) { add(to, v); }
static void set_string(void *to, char *v) { *(char **)to = v; }     // Linux takes several console= words; the last is /dev/console

static void set_true(void *to, char *v)
{
    (void)v;
    *(bool *)to = true;
}

static void set_false(void *to, char *v)
{
    (void)v;
    *(bool *)to = false;
}

static void set_switch(void *to, char *v) { *(bool *)to = !*v || !strcmp(v, "1"); }

static void set_quiet(void *to, char *v)
{
    (void)to, (void)v;
    console_loglevel = LOG_NOTICE;
}

static void set_trace(void *to, char *v) { *(bool *)to = !strcmp(v, "syscalls"); }

// One table and one loop: every comparison that stands in the code by itself would be translated by itself.
static const struct key {
    const char *name;
    void (*set)(void *to, char *v);     // NULL: known to Linux, without meaning here
    void *to;
} keys[] = {
    { "virtio_mmio.device", set_mmio, NULL }, { "root", set_string, &boot_config.root }, { "console", set_string, &boot_config.console },
    { "init", set_string, &boot_config.init }, { "arg0", set_string, &boot_config.arg0 }, { "cwd", set_string, &boot_config.cwd },
    { "hostname", set_string, &boot_config.hostname }, { "ip", set_list, &boot_config.ip }, { "dns", set_list, &boot_config.dns },
    { "search", set_list, &boot_config.search }, { "host", set_list, &boot_config.host }, { "uni.mount", set_list, &boot_config.mount },
    { "uni.file", set_list, &boot_config.file }, { "uni.rlimit", set_list, &boot_config.rlimit }, { "user", set_user, NULL },
    { "ro", set_true, &boot_config.root_ro }, { "rw", set_false, &boot_config.root_ro }, { "quiet", set_quiet, NULL },
    { "noaslr", set_false, &boot_config.aslr }, { "uni.tty", set_switch, &boot_config.tty }, { "loglevel", set_loglevel, NULL },
    { "uni.trace", set_trace, &boot_config.trace_syscalls },
    { "rootfstype", NULL, NULL }, { "panic", NULL, NULL }, { "reboot", NULL, NULL }, { "nokaslr", NULL, NULL }, { "BOOT_IMAGE", NULL, NULL },
    { "rootwait", NULL, NULL }, { "rootflags", NULL, NULL }, { "earlyprintk", NULL, NULL }, { "tsc", NULL, NULL }, { "noapic", NULL, NULL },
    { "nomodule", NULL, NULL }, { "pci", NULL, NULL }, { "i8042.noaux", NULL, NULL }, { "i8042.nokbd", NULL, NULL }, { "acpi", NULL, NULL },
};

// True when the key is one of ours. `v` lives for ever.
static bool set(const char *name, char *v)
{
    for (const struct key *k = keys; k < keys + ARRAY_SIZE(keys); k++)
        if (!strcmp(name, k->name)) {
            if (k->set)
                k->set(k->to, v);
            return true;
        }
    return false;
}

// Cuts the next word off *line, taking quotes away in place; NULL at the end. `"a b"` and `key="a b"` are one word each.
static char *next_word(char **line)
{
    char *p = *line;
    while (*p == ' ' || *p == '\t' || *p == '\n')
        p++;
    if (!*p)
        return NULL;
    char *word = p, *out = p;
    bool quoted = false;
    for (; *p && (quoted || (*p != ' ' && *p != '\t' && *p != '\n')); p++) {
        if (*p == '"')
            quoted = !quoted;
        else
            *out++ = *p;
    }
    *line = *p ? p + 1 : p;
    *out = 0;
    return word;
}

void config_cmdline(char *line)
{
    static char empty[1];
    boot_config.env = (struct strings){ default_env, ARRAY_SIZE(default_env) - 1 };
    boot_config.cwd = "/";
    boot_config.aslr = true;
    boot_config.root_ro = true;         // Linux's default; the engine says rw
    bool args = false;
    char *w;
    while ((w = next_word(&line))) {
        // microvm appends its devices to whatever it was given, also behind the program's arguments.
        if (args && strncmp(w, "virtio_mmio.device=", 19)) {
            add(&boot_config.arg, w);
            continue;
        }
        if (!strcmp(w, "--")) {
            args = true;
            continue;
        }
        char *eq = strchr(w, '=');
        if (eq)
            *eq = 0;
        if (set(w, eq ? eq + 1 : empty))
            continue;
        // As in Linux: unknown words go to the program; those with a dot are parameters of modules.
        if (eq)
            *eq = '=';
        if (eq && !memchr(w, '.', (size_t)(eq - w)))
            add_env(w);
        else if (!eq && !strchr(w, '.'))
            add(&boot_config.arg, w);
    }
}

static void set_record(char *key, char *v)
{
    if (!strcmp(key, "arg")) {
        if (!args_from_file)
            boot_config.arg.n = 0;
        args_from_file = true;
        add(&boot_config.arg, v);
    } else if (!strcmp(key, "env")) {
        if (strchr(v, '='))
            add_env(v);
    } else if (!set(key, v) && !unknown_named) {
        printk(LOG_WARNING, "uni: unknown configuration key %s ignored\n", key);
        unknown_named = true;
    }
}

void config_records(char *data, size_t n)
{
    for (size_t i = 0; i < n;) {
        size_t len = strnlen(data + i, n - i);
        char *eq = memchr(data + i, '=', len);
        if (i + len < n && eq) {        // a last record without its NUL is cut off: not taken
            char *copy = kstrdup(data + i);
            if (!copy) {
                printk(LOG_WARNING, "uni: no memory for the configuration\n");
                return;
            }
            copy[eq - (data + i)] = 0;
            set_record(copy, copy + (eq - (data + i)) + 1);
        }
        i += len + 1;
    }
}

// The host field of ip=CLIENT:SERVER:GW:MASK:HOST:DEV:AUTOCONF, the brackets of an IPv6 address skipped. NULL when empty.
static const char *host_of_ip(const char *ip)
{
    int field = 0;
    const char *p = ip;
    for (bool bracket = false; *p && field < 4; p++) {
        if (*p == '[' || *p == ']')
            bracket = *p == '[';
        else if (*p == ':' && !bracket)
            field++;
    }
    size_t n = 0;
    while (p[n] && p[n] != ':')
        n++;
    if (field < 4 || !n)
        return NULL;
    char *name = kmalloc(n + 1, 0);
    if (!name)
        return NULL;
    memcpy(name, p, n);
    name[n] = 0;
    return name;
}

void config_finish(void)
{
    for (u32 i = 0; i < boot_config.ip.n && !boot_config.hostname; i++)
        boot_config.hostname = host_of_ip(boot_config.ip.v[i]);
    if (!boot_config.hostname)
        boot_config.hostname = "uni";
}
