// SPDX-License-Identifier: Apache-2.0
// The boot configuration: command line and fw_cfg file, parsed once (boot/config.c). docs/guest-interface.md lists the keys.
#ifndef UNI_BOOT_H
#define UNI_BOOT_H

#include "types.h"

struct strings {
    char **v;
    u32 n;
};

struct boot_config {
    const char *init, *arg0, *cwd, *hostname, *root, *console;
    struct strings arg, env, ip, dns, search, host, mount, file, rlimit;
    u32 uid, gid;
    bool root_ro, tty, trace_syscalls, aslr;
    struct { u64 addr, size; u32 irq; } mmio[32];      // virtio_mmio.device=
    u32 nr_mmio;
    u64 boot_tsc;
};
extern struct boot_config boot_config;

u64 boot_usec(void);            // since entry

// The control port (dev/control.c). Strings are escaped for JSON. Never sleeps; safe from panic.
struct kv {
    const char *key;
    const char *str;            // NULL: num counts
    i64 num;
};
void control_event(const char *event, const struct kv *kv, unsigned n);

#endif
