// SPDX-License-Identifier: Apache-2.0
// About the machine: uname(2), sysinfo(2), getrandom(2), syslog(2), reboot(2).
#include "arch.h"
#include "boot.h"
#include "errno.h"
#include "fs.h"
#include "lib.h"
#include "page.h"
#include "process.h"
#include "signal_priv.h"
#include "syscalls.h"
#include "time.h"
#include "uaccess.h"

#define UTS_LEN 65
#define RELEASE "6.1.0-uni"         // the kernel whose interface this is; programs compare the numbers

static char hostname[UTS_LEN], domainname[UTS_LEN] = "(none)";
static bool hostname_set;

static const char *system_hostname(void)
{
    if (!hostname_set) {
        strlcpy(hostname, boot_config.hostname && *boot_config.hostname ? boot_config.hostname : "uni", sizeof(hostname));
        hostname_set = true;
    }
    return hostname;
}

long sys_uname(struct regs *r)
{
    struct {
        char sysname[UTS_LEN], nodename[UTS_LEN], release[UTS_LEN], version[UTS_LEN], machine[UTS_LEN], domain[UTS_LEN];
    } u;
    memset(&u, 0, sizeof(u));
    strlcpy(u.sysname, "Linux", UTS_LEN);
    strlcpy(u.nodename, system_hostname(), UTS_LEN);
    strlcpy(u.release, RELEASE, UTS_LEN);
    strlcpy(u.version, "#1 SMP Uni " UNI_VERSION, UTS_LEN);
    strlcpy(u.machine, "x86_64", UTS_LEN);
    strlcpy(u.domain, domainname, UTS_LEN);
    return copy_to_user(r->arg[0], &u, sizeof(u));
}

static long set_name(struct regs *r, char *name)
{
    char buf[UTS_LEN] = { 0 };
    i64 n = (int)r->arg[1];
    if (!capable(21))       // CAP_SYS_ADMIN
        return -EPERM;
    if (n < 0 || n > UTS_LEN - 1)
        return -EINVAL;
    if (copy_from_user(buf, r->arg[0], (size_t)n))
        return -EFAULT;
    memcpy(name, buf, UTS_LEN);
    return 0;
}

long sys_sethostname(struct regs *r)
{
    system_hostname();
    return set_name(r, hostname);
}

long sys_setdomainname(struct regs *r) { return set_name(r, domainname); }

long sys_sysinfo(struct regs *r)
{
    struct {
        i64 uptime;
        u64 loads[3], totalram, freeram, sharedram, bufferram, totalswap, freeswap;
        u16 procs, pad;
        u64 totalhigh, freehigh;
        u32 mem_unit;
        u32 end;
    } s;
    struct mem_stats m;
    memset(&s, 0, sizeof(s));
    mem_stats(&m);
    s.uptime = (i64)(clock_mono_ns() / NSEC_PER_SEC);
    s.totalram = m.total;
    s.freeram = m.free;
    s.procs = (u16)MIN(the_process->nr_threads, 65535u);
    s.mem_unit = 1;
    return copy_to_user(r->arg[0], &s, sizeof(s));
}

long sys_getrandom(struct regs *r)
{
    uptr buf = r->arg[0];
    u64 n = r->arg[1];
    u32 flags = (u32)r->arg[2];
    u8 chunk[256];
    if ((flags & ~7u) || (flags & 6) == 6)      // GRND_RANDOM and GRND_INSECURE exclude each other
        return -EINVAL;
    n = MIN(n, 0x1fffffful);
    u64 done = 0;
    while (done < n) {
        u64 k = MIN(n - done, sizeof(chunk));
        random_bytes(chunk, k);
        if (copy_to_user(buf + done, chunk, k)) {
            if (!done)
                return -EFAULT;
            break;
        }
        done += k;
        if (done < n && signal_pending(current()))
            break;
    }
    memset(chunk, 0, sizeof(chunk));
    __asm__ volatile("" : : "r"(chunk) : "memory");
    return (long)done;
}

// The console is the log; there is no buffer to read it back from.
long sys_syslog(struct regs *r)
{
    int type = (int)r->arg[0];
    if (type < 0 || type > 10)
        return -EINVAL;
    if (type >= 2 && type <= 4 && (!r->arg[1] || (int)r->arg[2] < 0))
        return -EINVAL;
    if (type == 8 && ((int)r->arg[2] < 1 || (int)r->arg[2] > 8))
        return -EINVAL;
    return 0;
}

long sys_reboot(struct regs *r)
{
    u32 m1 = (u32)r->arg[0], m2 = (u32)r->arg[1];
    if (!capable(22))       // CAP_SYS_BOOT
        return -EPERM;
    if (m1 != 0xfee1dead || (m2 != 672274793 && m2 != 85072278 && m2 != 369367448 && m2 != 537993216))
        return -EINVAL;
    switch ((u32)r->arg[2]) {
    case 0x00000000:                // CAD_OFF
    case 0x89abcdef:                // CAD_ON
        return 0;
    case 0x01234567:                // RESTART
    case 0x4321fedc:                // POWER_OFF
    case 0xcdef0123:                // HALT
    case 0xa1b2c3d4:                // RESTART2
        process_exit_group(0);
    default:
        return -EINVAL;
    }
}

long sys_acct(struct regs *r)
{
    (void)r;
    return capable(20) ? -ENOSYS : -EPERM;
}

long sys_swapon(struct regs *r)
{
    (void)r;
    return capable(21) ? -EINVAL : -EPERM;
}

long sys_swapoff(struct regs *r)
{
    (void)r;
    return capable(21) ? -EINVAL : -EPERM;
}
