// SPDX-License-Identifier: Apache-2.0
// /proc files about the whole machine: version, uptime, loadavg, stat, cpuinfo. proc(5).
#include "boot.h"
#include "process.h"
#include "procfs.h"
#include "sched.h"
#include "time.h"

#define USER_HZ 100u
#define NS_PER_TICK (NSEC_PER_SEC / USER_HZ)

void proc_sys_init(void);

static void show_version(struct seqbuf *s)
{
    seq_printf(s, "Linux version 6.1.0-uni (uni@uni) (gcc) #1 SMP Uni " UNI_VERSION "\n");
}

static unsigned long switches(void)
{
    struct process *p = current_process();
    spin_lock(&p->thread_lock);
    u64 all = p->dead_nvcsw + p->dead_nivcsw;
    for (struct list *n = p->threads.next; n != &p->threads; n = n->next) {
        const struct thread *t = list_entry(n, struct thread, proc_node);
        all += t->nvcsw + t->nivcsw;
    }
    spin_unlock(&p->thread_lock);
    return (unsigned long)all;
}

static void show_uptime(struct seqbuf *s)
{
    u64 up = clock_mono_ns(), all = process_cpu_ns(current_process());
    u64 idle = up > all ? up - all : 0;
    seq_printf(s, "%lu.%02lu %lu.%02lu\n", (unsigned long)(up / NSEC_PER_SEC), (unsigned long)(up / NS_PER_TICK % USER_HZ),
               (unsigned long)(idle / NSEC_PER_SEC), (unsigned long)(idle / NS_PER_TICK % USER_HZ));
}

// There is no average: the machine is idle but for the program's runnable threads.
static void show_loadavg(struct seqbuf *s)
{
    struct process *p = current_process();
    u32 running = this_cpu()->nr_running + 1;
    seq_printf(s, "0.00 0.00 0.00 %u/%u %d\n", running, p->nr_threads, current()->tid);
}

static void show_stat(struct seqbuf *s)
{
    u64 up = clock_mono_ns(), all = process_cpu_ns(current_process());
    struct cputime c = cputime_of(current_process(), NULL);
    unsigned long u = (unsigned long)(c.user / NS_PER_TICK), k = (unsigned long)(c.system / NS_PER_TICK);
    unsigned long idle = (unsigned long)((up > all ? up - all : 0) / NS_PER_TICK);
    for (int n = 0; n < 2; n++)
        seq_printf(s, "cpu%s %lu 0 %lu %lu 0 0 0 0 0 0\n", n ? "0" : " ", u, k, idle);
    seq_printf(s, "intr 0\nctxt %lu\nbtime %lu\nprocesses 1\nprocs_running %u\nprocs_blocked 0\nsoftirq 0 0 0 0 0 0 0 0 0 0 0\n",
               switches(), (unsigned long)(clock_real_offset() / NSEC_PER_SEC), this_cpu()->nr_running + 1);
}

static void show_vmstat(struct seqbuf *s)
{
    struct mem_stats m;
    mem_stats(&m);
    seq_printf(s, "nr_free_pages %lu\nnr_anon_pages %lu\nnr_file_pages %lu\nnr_dirty %lu\nnr_writeback 0\npgpgin 0\npgpgout 0\npswpin 0\npswpout 0\n",
               (unsigned long)(m.free / PAGE_SIZE), (unsigned long)(m.anon / PAGE_SIZE), (unsigned long)(m.cache / PAGE_SIZE), (unsigned long)pc_nr_dirty);
}

// --- cpuinfo: Intel SDM volume 2, CPUID; the names are Linux's -------------------------------------------------------

static void cpuid(u32 leaf, u32 sub, u32 r[4])
{
    __asm__ volatile("cpuid" : "=a"(r[0]), "=b"(r[1]), "=c"(r[2]), "=d"(r[3]) : "a"(leaf), "c"(sub));
}

struct flag {
    u32 leaf;
    u8 reg, bit;                    // reg: 0 eax ... 3 edx
    const char *name;
};

static const struct flag flags[] = {
    { 1, 3, 0, "fpu" }, { 1, 3, 4, "tsc" }, { 1, 3, 5, "msr" }, { 1, 3, 6, "pae" }, { 1, 3, 8, "cx8" }, { 1, 3, 9, "apic" },
    { 1, 3, 13, "pge" }, { 1, 3, 15, "cmov" }, { 1, 3, 16, "pat" }, { 1, 3, 19, "clflush" }, { 1, 3, 23, "mmx" },
    { 1, 3, 24, "fxsr" }, { 1, 3, 25, "sse" }, { 1, 3, 26, "sse2" }, { 0x80000001, 3, 11, "syscall" }, { 0x80000001, 3, 20, "nx" },
    { 0x80000001, 3, 26, "pdpe1gb" }, { 0x80000001, 3, 27, "rdtscp" }, { 0x80000001, 3, 29, "lm" }, { 1, 2, 0, "pni" },
    { 1, 2, 1, "pclmulqdq" }, { 1, 2, 9, "ssse3" }, { 1, 2, 12, "fma" }, { 1, 2, 13, "cx16" }, { 1, 2, 19, "sse4_1" },
    { 1, 2, 20, "sse4_2" }, { 1, 2, 22, "movbe" }, { 1, 2, 23, "popcnt" }, { 1, 2, 25, "aes" }, { 1, 2, 26, "xsave" },
    { 1, 2, 28, "avx" }, { 1, 2, 29, "f16c" }, { 1, 2, 30, "rdrand" }, { 1, 2, 31, "hypervisor" }, { 0x80000001, 2, 0, "lahf_lm" },
    { 0x80000001, 2, 5, "abm" }, { 0x80000001, 2, 6, "sse4a" }, { 7, 1, 0, "fsgsbase" }, { 7, 1, 3, "bmi1" }, { 7, 1, 5, "avx2" },
    { 7, 1, 7, "smep" }, { 7, 1, 8, "bmi2" }, { 7, 1, 9, "erms" }, { 7, 1, 18, "rdseed" }, { 7, 1, 19, "adx" }, { 7, 1, 20, "smap" },
    { 7, 1, 23, "clflushopt" }, { 7, 1, 24, "clwb" }, { 7, 1, 29, "sha_ni" }, { 7, 2, 2, "umip" }, { 7, 2, 3, "pku" },
    { 7, 2, 22, "rdpid" },
};

static void show_flags(struct seqbuf *s)
{
    u32 max[4], xmax[4];
    cpuid(0, 0, max);
    cpuid(0x80000000, 0, xmax);
    seq_printf(s, "flags\t\t:");
    for (unsigned n = 0; n < ARRAY_SIZE(flags); n++) {
        u32 r[4];
        if (flags[n].leaf > (flags[n].leaf & 0x80000000 ? xmax[0] : max[0]))
            continue;
        cpuid(flags[n].leaf, 0, r);
        if (r[flags[n].reg] >> flags[n].bit & 1)
            seq_printf(s, " %s", flags[n].name);
    }
    seq_printf(s, "\n");
}

static void show_cpuinfo(struct seqbuf *s)
{
    u32 r[4], id[4], brand[13] = { 0 };
    char vendor[13] = { 0 };
    cpuid(0, 0, r);
    memcpy(vendor, &r[1], 4);
    memcpy(vendor + 4, &r[3], 4);
    memcpy(vendor + 8, &r[2], 4);
    cpuid(1, 0, id);
    for (u32 n = 0; n < 3; n++)
        cpuid(0x80000002 + n, 0, brand + 4 * n);
    u32 family = id[0] >> 8 & 15, model = id[0] >> 4 & 15;
    if (family == 6 || family == 15)
        model |= (id[0] >> 16 & 15) << 4;
    if (family == 15)
        family += id[0] >> 20 & 255;
    const char *name = (const char *)brand;
    while (*name == ' ')
        name++;
    seq_printf(s, "processor\t: 0\nvendor_id\t: %s\ncpu family\t: %u\nmodel\t\t: %u\nmodel name\t: %s\nstepping\t: %u\n", vendor, family, model,
               name, id[0] & 15);
    seq_printf(s, "physical id\t: 0\nsiblings\t: 1\ncore id\t\t: 0\ncpu cores\t: 1\napicid\t\t: 0\nfpu\t\t: yes\nfpu_exception\t: yes\nwp\t\t: yes\n");
    show_flags(s);
    u32 ext[4];
    cpuid(0x80000008, 0, ext);
    seq_printf(s, "clflush size\t: 64\ncache_alignment\t: 64\naddress sizes\t: %u bits physical, %u bits virtual\n\n", ext[0] & 255, ext[0] >> 8 & 255);
}

void proc_sys_init(void)
{
    proc_register("/proc/version", 0444, show_version, NULL);
    proc_register("/proc/uptime", 0444, show_uptime, NULL);
    proc_register("/proc/loadavg", 0444, show_loadavg, NULL);
    proc_register("/proc/stat", 0444, show_stat, NULL);
    proc_register("/proc/vmstat", 0444, show_vmstat, NULL);
    proc_register("/proc/cpuinfo", 0444, show_cpuinfo, NULL);
}
