// SPDX-License-Identifier: Apache-2.0
// The boot configuration: Linux's command line and the fw_cfg file, as docs/guest-interface.md lists the keys.
#include "boot.h"
#include "bootinfo.h"
#include "kmalloc.h"
#include "lib.h"
#include "printk.h"

struct boot_config boot_config;

static bool args_from_file, unknown_named;

static void add(struct strings *l, const char *s)
{
    char **v = krealloc(l->v, (l->n + 2) * sizeof(char *));
    if (!v)
        return;
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

static void set_user(char *v)
{
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
static void set_mmio(char *v)
{
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

static void set_loglevel(const char *v)
{
    u64 n;
    if (parse_u64(v, 10, &n) && n <= 8)
        console_loglevel = (int)n;
}

struct list_key {
    const char *key;
    struct strings *list;
};

static const struct list_key list_keys[] = {
    { "ip", &boot_config.ip }, { "dns", &boot_config.dns }, { "search", &boot_config.search }, { "host", &boot_config.host },
    { "uni.mount", &boot_config.mount }, { "uni.file", &boot_config.file }, { "uni.rlimit", &boot_config.rlimit },
};

struct string_key {
    const char *key;
    const char **value;
};

static const struct string_key string_keys[] = {
    { "init", &boot_config.init }, { "arg0", &boot_config.arg0 }, { "cwd", &boot_config.cwd }, { "hostname", &boot_config.hostname },
    { "root", &boot_config.root }, { "console", &boot_config.console },
};

// Known to Linux, without meaning here.
static const char *const ignored[] = { "rootfstype", "panic", "reboot", "nokaslr", "BOOT_IMAGE", "rootwait", "rootflags",
                                       "earlyprintk", "tsc", "noapic", "nomodule", "pci", "i8042.noaux", "i8042.nokbd", "acpi" };

static bool is_ignored(const char *key)
{
    for (size_t i = 0; i < ARRAY_SIZE(ignored); i++)
        if (!strcmp(key, ignored[i]))
            return true;
    return false;
}

static bool set_flag(const char *key, const char *v)
{
    bool on = !*v || !strcmp(v, "1");
    if (!strcmp(key, "rw") || !strcmp(key, "ro"))
        boot_config.root_ro = key[1] == 'o';
    else if (!strcmp(key, "quiet"))
        console_loglevel = LOG_NOTICE;
    else if (!strcmp(key, "noaslr"))
        boot_config.aslr = false;
    else if (!strcmp(key, "uni.tty"))
        boot_config.tty = on;
    else
        return false;
    return true;
}

// True when the key is one of ours. `v` lives for ever.
static bool set(const char *key, char *v)
{
    for (size_t i = 0; i < ARRAY_SIZE(list_keys); i++)
        if (!strcmp(key, list_keys[i].key)) {
            add(list_keys[i].list, v);
            return true;
        }
    for (size_t i = 0; i < ARRAY_SIZE(string_keys); i++)
        if (!strcmp(key, string_keys[i].key)) {
            // Linux takes several console= words; the last is /dev/console.
            *string_keys[i].value = v;
            return true;
        }
    if (set_flag(key, v) || is_ignored(key))
        return true;
    if (!strcmp(key, "user"))
        set_user(v);
    else if (!strcmp(key, "virtio_mmio.device"))
        set_mmio(v);
    else if (!strcmp(key, "loglevel"))
        set_loglevel(v);
    else if (!strcmp(key, "uni.trace"))
        boot_config.trace_syscalls = !strcmp(v, "syscalls");
    else
        return false;
    return true;
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

static bool has_env(const char *name)
{
    size_t n = strlen(name);
    for (u32 i = 0; i < boot_config.env.n; i++)
        if (!strncmp(boot_config.env.v[i], name, n) && boot_config.env.v[i][n] == '=')
            return true;
    return false;
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
    static char home[] = "HOME=/", term[] = "TERM=linux", path[] = "PATH=/usr/local/sbin:/usr/local/bin:/usr/sbin:/usr/bin:/sbin:/bin";
    if (!has_env("HOME"))
        add(&boot_config.env, home);
    if (!has_env("TERM"))
        add(&boot_config.env, term);
    if (!has_env("PATH"))
        add(&boot_config.env, path);
    if (!boot_config.cwd)
        boot_config.cwd = "/";
    for (u32 i = 0; i < boot_config.ip.n && !boot_config.hostname; i++)
        boot_config.hostname = host_of_ip(boot_config.ip.v[i]);
    if (!boot_config.hostname)
        boot_config.hostname = "uni";
}
