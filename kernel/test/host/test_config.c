// SPDX-License-Identifier: Apache-2.0
// sources: boot/config.c lib/string.c
#include "test.h"
#include <stdarg.h>
#include <string.h>
#include "boot.h"
#include "bootinfo.h"

int console_loglevel;
static int warnings;

void *kmalloc(size_t n, unsigned flags);
void *krealloc(void *p, size_t n);
char *kstrdup(const char *s);
void printk(int level, const char *fmt, ...);

void *kmalloc(size_t n, unsigned flags) { (void)flags; return malloc(n); }
void *krealloc(void *p, size_t n) { return realloc(p, n); }
char *kstrdup(const char *s) { return strdup(s); }
void printk(int level, const char *fmt, ...) { (void)level; (void)fmt; warnings++; }

static void boot(const char *line, const char *file, size_t n)
{
    static char *copy;
    memset(&boot_config, 0, sizeof(boot_config));
    warnings = 0;
    copy = strdup(line);
    config_cmdline(copy);
    char *data = malloc(n ? n : 1);
    memcpy(data, file, n);
    config_records(data, n);
    free(data);
    config_finish();
}

static int has_env(const char *s)
{
    for (unsigned i = 0; i < boot_config.env.n; i++)
        if (!strcmp(boot_config.env.v[i], s))
            return 1;
    return 0;
}

static void linux_command_line(void)
{
    boot("console=ttyS0 root=/dev/vda rw init=/bin/app ip=10.0.0.2::10.0.0.1:255.255.255.0:web1:eth0:off KEY=value Q=\"a b\" quiet nosuch.param=3 "
         "virtio_mmio.device=512@0xfeb00e00:12 single -- arg1 \"arg 2\"", "", 0);
    CHECK(!strcmp(boot_config.init, "/bin/app") && !strcmp(boot_config.root, "/dev/vda") && !boot_config.root_ro && boot_config.aslr);
    CHECK(boot_config.ip.n == 1 && !strcmp(boot_config.hostname, "web1"));
    CHECK(has_env("KEY=value") && has_env("Q=a b") && has_env("HOME=/") && !has_env("nosuch.param=3"));
    CHECK(boot_config.arg.n == 3 && !strcmp(boot_config.arg.v[0], "single") && !strcmp(boot_config.arg.v[2], "arg 2"));
    CHECK(boot_config.nr_mmio == 1 && boot_config.mmio[0].addr == 0xfeb00e00 && boot_config.mmio[0].size == 512 && boot_config.mmio[0].irq == 12);
    CHECK(console_loglevel == 5);
}

#define FILE_OF(s) s, sizeof(s) - 1

static void file_wins(void)
{
    boot("init=/a KEY=1 HOME=/x -- one two", FILE_OF("init=/b\0arg=x y\0arg=\0env=KEY=2\0env=NEW=3\0user=1000:1001\0uni.tty=0\0hostname=h\0"));
    CHECK(!strcmp(boot_config.init, "/b") && boot_config.arg.n == 2 && !strcmp(boot_config.arg.v[0], "x y") && !boot_config.arg.v[1][0]);
    CHECK(has_env("KEY=2") && !has_env("KEY=1") && has_env("NEW=3") && has_env("HOME=/x") && !has_env("HOME=/"));
    CHECK(boot_config.uid == 1000 && boot_config.gid == 1001 && !strcmp(boot_config.hostname, "h"));
}

static void bad_input_is_named_and_ignored(void)
{
    boot("user=root", "", 0);
    CHECK(boot_config.uid == 0 && warnings == 1);
    boot("", FILE_OF("nosuch=1\0other=2\0"));
    CHECK(warnings == 1);               // once
    boot("", FILE_OF("init=/ok\0init=/cut"));
    CHECK(!strcmp(boot_config.init, "/ok"));
    boot("", FILE_OF("\0\0noequals\0=v\0"));
    boot("virtio_mmio.device=512 virtio_mmio.device=x@y:z virtio_mmio.device=4K@0x1000:5:0", "", 0);
    CHECK(boot_config.nr_mmio == 1 && boot_config.mmio[0].size == 4096);
    boot("\"unclosed quote init=/x", "", 0);
    boot("ip=[fe80::1]:::64:six:eth0:off", "", 0);
    CHECK(!strcmp(boot_config.hostname, "six"));
}

TESTS({ "linux_command_line", linux_command_line }, { "file_wins", file_wins },
      { "bad_input_is_named_and_ignored", bad_input_is_named_and_ignored })
