// SPDX-License-Identifier: Apache-2.0
// What the files of /proc and /sys that are not about the process say: proc(5), sysfs(5).
#include "arch.h"
#include "boot.h"
#include "blk.h"
#include "process.h"
#include "procfs.h"
#include "time.h"

#include <linux/mount.h>

#define FIRST_MOUNT 20                  // the root file system's number in mountinfo is one more

void proc_self_init(void);
void proc_sys_init(void);

static unsigned long kib(u64 bytes) { return (unsigned long)(bytes / 1024); }

static void show_meminfo(struct seqbuf *s)
{
    struct mem_stats m;
    mem_stats(&m);
    u64 dirty = pc_nr_dirty * PAGE_SIZE, avail = m.free + m.cache - MIN(m.cache, dirty);
    const struct { const char *name; u64 v; } row[] = {
        { "MemTotal", m.total }, { "MemFree", m.free }, { "MemAvailable", avail }, { "Buffers", 0 }, { "Cached", m.cache },
        { "SwapCached", 0 }, { "Active", m.anon }, { "Inactive", m.cache }, { "Active(anon)", m.anon }, { "Inactive(anon)", 0 },
        { "Active(file)", 0 }, { "Inactive(file)", m.cache }, { "Unevictable", 0 }, { "Mlocked", 0 }, { "SwapTotal", 0 },
        { "SwapFree", 0 }, { "Dirty", dirty }, { "Writeback", 0 }, { "AnonPages", m.anon }, { "Mapped", 0 }, { "Shmem", 0 },
        { "Slab", m.slab }, { "SReclaimable", 0 }, { "SUnreclaim", m.slab }, { "KernelStack", 0 }, { "PageTables", 0 },
        { "CommitLimit", m.total / 2 }, { "Committed_AS", m.anon }, { "VmallocTotal", 32ull << 40 }, { "VmallocUsed", 0 },
    };
    for (unsigned n = 0; n < ARRAY_SIZE(row); n++) {
        char name[24];
        snprintf(name, sizeof(name), "%s:", row[n].name);
        seq_printf(s, "%-15s %8lu kB\n", name, kib(row[n].v));
    }
    seq_printf(s, "HugePages_Total:       0\nHugePages_Free:        0\nHugePages_Rsvd:        0\nHugePages_Surp:        0\n"
                  "Hugepagesize:       2048 kB\n");
}

static void show_filesystems(struct seqbuf *s)
{
    seq_printf(s, "nodev\tsysfs\nnodev\ttmpfs\nnodev\tproc\nnodev\tdevtmpfs\n\text2\n");
}

static void mount_options(struct seqbuf *s, const struct superblock *sb)
{
    static const struct { u32 flag; const char *text; } opt[] = { { MS_NOSUID, ",nosuid" }, { MS_NODEV, ",nodev" }, { MS_NOEXEC, ",noexec" } };
    seq_printf(s, "%s", sb->readonly ? "ro" : "rw");
    for (unsigned n = 0; n < ARRAY_SIZE(opt); n++)
        if (sb->mount_flags & opt[n].flag)
            seq_printf(s, "%s", opt[n].text);
    seq_printf(s, ",relatime");
}

int mount_number(const struct superblock *sb)
{
    int id = FIRST_MOUNT;
    for (struct list *n = mounts.next; n != &mounts; n = n->next) {
        const struct mount *m = list_entry(n, struct mount, node);
        id += !m->hidden;
        if (m->sb == sb)
            break;
    }
    return id;
}

static void each_mount(struct seqbuf *s, void (*show)(struct seqbuf *s, const struct mount *m, const char *at, int id))
{
    char *at = kmalloc(PATH_LEN_MAX, 0);
    int id = FIRST_MOUNT;
    mutex_lock(&mounts_lock);
    for (struct list *n = mounts.next; at && n != &mounts; n = n->next) {
        struct mount *m = list_entry(n, struct mount, node);
        if (!m->hidden && path_string(m->root, at, PATH_LEN_MAX) > 0)
            show(s, m, at, ++id);
    }
    mutex_unlock(&mounts_lock);
    kfree(at);
}

static void mount_line(struct seqbuf *s, const struct mount *m, const char *at, int id)
{
    (void)id;
    seq_printf(s, "%s %s %s ", m->sb->source, at, m->sb->type);
    mount_options(s, m->sb);
    seq_printf(s, " 0 0\n");
}

static void mountinfo_line(struct seqbuf *s, const struct mount *m, const char *at, int id)
{
    u64 d = m->sb->dev;
    seq_printf(s, "%d %d %u:%u / %s ", id, m->at ? FIRST_MOUNT + 1 : 1, (u32)(d >> 8 & 0xfff), (u32)(d & 0xff), at);
    mount_options(s, m->sb);
    seq_printf(s, " - %s %s %s\n", m->sb->type, m->sb->source, m->sb->readonly ? "ro" : "rw");
}

static void show_mounts(struct seqbuf *s) { each_mount(s, mount_line); }
static void show_mountinfo(struct seqbuf *s) { each_mount(s, mountinfo_line); }

static struct blkdev *next_disk(char name[4])
{
    for (; name[2] <= 'z'; name[2]++) {
        struct blkdev *d = blkdev_find(name);
        if (d)
            return d;
    }
    return NULL;
}

static void show_partitions(struct seqbuf *s)
{
    char name[4] = "vda";
    seq_printf(s, "major minor  #blocks  name\n\n");
    for (struct blkdev *d; (d = next_disk(name)); name[2]++)
        seq_printf(s, "%4u %8u %10lu %s\n", d->major, d->minor, (unsigned long)(d->sectors / 2), d->name);
}

static void show_diskstats(struct seqbuf *s)
{
    char name[4] = "vda";
    for (struct blkdev *d; (d = next_disk(name)); name[2]++)
        seq_printf(s, "%4u %7u %s %lu 0 %lu 0 %lu 0 %lu 0 0 0 0 0 0 0 0 0 0\n", d->major, d->minor, d->name, (unsigned long)d->rd_ops,
                   (unsigned long)(d->rd_bytes / 512), (unsigned long)d->wr_ops, (unsigned long)(d->wr_bytes / 512));
}

static void show_hostname(struct seqbuf *s) { seq_printf(s, "%s\n", boot_config.hostname ? boot_config.hostname : "uni"); }
static void uuid_text(struct seqbuf *s, u8 b[16])
{
    b[6] = (u8)((b[6] & 15) | 0x40);            // RFC 4122, version 4
    b[8] = (u8)((b[8] & 63) | 0x80);
    for (int n = 0; n < 16; n++)
        seq_printf(s, n == 4 || n == 6 || n == 8 || n == 10 ? "-%02x" : "%02x", b[n]);
    seq_printf(s, "\n");
}

static void show_random_uuid(struct seqbuf *s)
{
    u8 b[16];
    random_bytes(b, sizeof(b));
    uuid_text(s, b);
}

static void show_boot_id(struct seqbuf *s)
{
    static u8 id[16];
    static bool have;
    if (!have)
        random_bytes(id, sizeof(id));
    have = true;
    u8 b[16];
    memcpy(b, id, sizeof(b));
    uuid_text(s, b);
}

static void show_file_nr(struct seqbuf *s) { seq_printf(s, "%u\t0\t%u\n", current_process()->fds.used, NOFILE_MAX); }

// Files whose text never changes. Values are those of a Linux 6.1 guest, or what this kernel does.
static const struct { const char *path, *text; } fixed[] = {
    { "/proc/sys/kernel/ostype", "Linux\n" },
    { "/proc/sys/kernel/osrelease", "6.1.0-uni\n" },
    { "/proc/sys/kernel/pid_max", "32768\n" },
    { "/proc/sys/kernel/threads-max", "32768\n" },
    { "/proc/sys/kernel/ngroups_max", "65536\n" },
    { "/proc/sys/kernel/cap_last_cap", "40\n" },
    { "/proc/sys/kernel/randomize_va_space", "2\n" },
    { "/proc/sys/kernel/shmmax", "18446744073692774399\n" },
    { "/proc/sys/kernel/shmall", "18446744073692774399\n" },
    { "/proc/sys/kernel/shmmni", "4096\n" },
    { "/proc/sys/kernel/shm_rmid_forced", "0\n" },
    { "/proc/sys/kernel/msgmax", "8192\n" },
    { "/proc/sys/kernel/msgmnb", "16384\n" },
    { "/proc/sys/kernel/msgmni", "32000\n" },
    { "/proc/sys/kernel/sem", "32000\t1024000000\t500\t32000\n" },
    { "/proc/sys/kernel/sched_rr_timeslice_ms", "100\n" },
    { "/proc/sys/kernel/core_pattern", "core\n" },
    { "/proc/sys/kernel/random/entropy_avail", "256\n" },
    { "/proc/sys/kernel/random/poolsize", "256\n" },
    { "/proc/sys/kernel/seccomp/actions_avail", "\n" },
    { "/proc/sys/vm/overcommit_memory", "0\n" },
    { "/proc/sys/vm/overcommit_ratio", "50\n" },
    { "/proc/sys/vm/max_map_count", "65530\n" },
    { "/proc/sys/vm/mmap_min_addr", "65536\n" },
    { "/proc/sys/vm/swappiness", "0\n" },
    { "/proc/sys/vm/min_free_kbytes", "1024\n" },
    { "/proc/sys/vm/dirty_ratio", "20\n" },
    { "/proc/sys/vm/dirty_background_ratio", "10\n" },
    { "/proc/sys/vm/nr_hugepages", "0\n" },
    { "/proc/sys/net/core/somaxconn", "4096\n" },
    { "/proc/sys/net/core/rmem_max", "212992\n" },
    { "/proc/sys/net/core/wmem_max", "212992\n" },
    { "/proc/sys/net/core/rmem_default", "212992\n" },
    { "/proc/sys/net/core/wmem_default", "212992\n" },
    { "/proc/sys/net/ipv4/ip_local_port_range", "32768\t60999\n" },
    { "/proc/sys/net/ipv4/tcp_max_syn_backlog", "128\n" },
    { "/proc/sys/net/ipv4/ip_unprivileged_port_start", "1024\n" },
    { "/proc/sys/net/ipv4/tcp_fin_timeout", "60\n" },
    { "/proc/sys/net/ipv4/tcp_keepalive_time", "7200\n" },
    { "/proc/sys/net/ipv6/bindv6only", "0\n" },
    { "/proc/sys/net/ipv6/conf/all/disable_ipv6", "0\n" },
    { "/proc/sys/fs/file-max", "1048576\n" },
    { "/proc/sys/fs/nr_open", "1048576\n" },
    { "/proc/sys/fs/pipe-max-size", "1048576\n" },
    { "/proc/sys/fs/pipe-user-pages-soft", "16384\n" },
    { "/proc/sys/fs/lease-break-time", "45\n" },
    { "/proc/sys/fs/inotify/max_user_watches", "8192\n" },
    { "/proc/sys/fs/inotify/max_user_instances", "128\n" },
    { "/proc/sys/fs/inotify/max_queued_events", "16384\n" },
    { "/proc/sys/fs/epoll/max_user_watches", "65536\n" },
    { "/proc/cgroups", "#subsys_name\thierarchy\tnum_cgroups\tenabled\n" },
    { "/proc/self/cgroup", "0::/\n" },
    { "/proc/modules", "" },
    { "/proc/swaps", "Filename\t\t\t\tType\t\tSize\t\tUsed\t\tPriority\n" },
    { "/sys/devices/system/cpu/online", "0\n" },
    { "/sys/devices/system/cpu/possible", "0\n" },
    { "/sys/devices/system/cpu/present", "0\n" },
    { "/sys/devices/system/cpu/kernel_max", "0\n" },
    { "/sys/devices/system/cpu/cpu0/topology/core_id", "0\n" },
    { "/sys/devices/system/cpu/cpu0/topology/physical_package_id", "0\n" },
    { "/sys/devices/system/cpu/cpu0/topology/thread_siblings_list", "0\n" },
    { "/sys/devices/system/cpu/cpu0/topology/core_siblings_list", "0\n" },
    { "/sys/devices/system/cpu/cpu0/topology/thread_siblings", "1\n" },
    { "/sys/devices/system/cpu/cpu0/topology/core_siblings", "1\n" },
    { "/sys/devices/system/node/node0/cpulist", "0\n" },
    { "/sys/devices/system/node/node0/cpumap", "1\n" },
    { "/proc/self/timerslack_ns", "50000\n" },
    { "/proc/self/coredump_filter", "00000033\n" },
    { "/proc/self/sessionid", "4294967295" },
    { "/proc/self/projid_map", "         0          0 4294967295\n" },
    { "/proc/self/cpuset", "/\n" },
    { "/sys/devices/system/node/online", "0\n" },
    { "/sys/devices/system/node/possible", "0\n" },
    { "/sys/devices/system/clocksource/clocksource0/current_clocksource", "tsc\n" },
    { "/sys/kernel/mm/transparent_hugepage/enabled", "always madvise [never]\n" },
    { "/sys/kernel/mm/transparent_hugepage/defrag", "always defer defer+madvise [madvise] never\n" },
    { "/sys/kernel/mm/transparent_hugepage/shmem_enabled", "always within_size advise [never] deny force\n" },
    { "/sys/kernel/mm/transparent_hugepage/hpage_pmd_size", "2097152\n" },
    { "/sys/fs/cgroup/cgroup.controllers", "\n" },
};

static void disk_files(void)
{
    char name[4] = "vda";
    for (struct blkdev *d; (d = next_disk(name)); name[2]++) {
        static const char *const file[] = { "size", "ro", "removable", "dev", "queue/logical_block_size", "queue/rotational" };
        char path[64], text[24];
        for (unsigned n = 0; n < ARRAY_SIZE(file); n++) {
            snprintf(path, sizeof(path), "/sys/block/%s/%s", d->name, file[n]);
            struct pnode *p = pnode_make(path, S_IFREG | 0444);
            switch (n) {
            case 0: snprintf(text, sizeof(text), "%lu\n", (unsigned long)d->sectors); break;
            case 1: snprintf(text, sizeof(text), "%d\n", d->readonly); break;
            case 3: snprintf(text, sizeof(text), "%u:%u\n", d->major, d->minor); break;
            case 4: snprintf(text, sizeof(text), "512\n"); break;
            case 5: snprintf(text, sizeof(text), "1\n"); break;
            default: snprintf(text, sizeof(text), "0\n"); break;
            }
            if (p)
                p->text = kstrdup(text);
        }
        snprintf(path, sizeof(path), "/sys/dev/block/%u:%u", d->major, d->minor);
        snprintf(text, sizeof(text), "../../block/%s", d->name);
        pnode_link(path, kstrdup(text));
    }
}

// Namespaces: there is one of each kind, with the numbers of Linux's first ones.
static void namespace_links(void)
{
    static const char *const name[] = { "ipc:[4026531839]", "uts:[4026531838]", "user:[4026531837]", "pid:[4026531836]",
                                        "cgroup:[4026531835]", "time:[4026531834]", "net:[4026531840]", "mnt:[4026531841]" };
    for (unsigned n = 0; n < ARRAY_SIZE(name); n++) {
        char path[32];
        snprintf(path, sizeof(path), "/proc/self/ns/%.*s", (int)(strchr(name[n], ':') - name[n]), name[n]);
        pnode_link(path, name[n]);
    }
}

void proc_init(void)
{
    proc_self_init();
    proc_sys_init();
    for (unsigned n = 0; n < ARRAY_SIZE(fixed); n++) {
        struct pnode *p = pnode_make(fixed[n].path, S_IFREG | 0444);
        if (p && !p->show)
            p->text = fixed[n].text;
    }
    proc_register("/proc/meminfo", 0444, show_meminfo, NULL);
    proc_register("/proc/filesystems", 0444, show_filesystems, NULL);
    proc_register("/proc/self/mounts", 0444, show_mounts, NULL);
    proc_register("/proc/self/mountinfo", 0444, show_mountinfo, NULL);
    proc_register("/proc/partitions", 0444, show_partitions, NULL);
    proc_register("/proc/diskstats", 0444, show_diskstats, NULL);
    proc_register("/proc/sys/kernel/hostname", 0444, show_hostname, NULL);
    proc_register("/proc/sys/kernel/random/uuid", 0444, show_random_uuid, NULL);
    proc_register("/proc/sys/kernel/random/boot_id", 0444, show_boot_id, NULL);
    proc_register("/proc/sys/fs/file-nr", 0444, show_file_nr, NULL);
    disk_files();
    namespace_links();
}
