// SPDX-License-Identifier: Apache-2.0
// /proc/self (and task/TID): stat, status, statm, cmdline, environ, auxv, comm, limits, oom_*. Formats: proc(5).
#include "procinfo.h"
#include "sysv.h"
#include "arch.h"
#include "blk.h"
#include "errno.h"
#include "fs.h"
#include "lib.h"
#include "process.h"
#include "signal_priv.h"
#include "time.h"
#include "vm.h"

#define NS_PER_TICK 10000000ull         // USER_HZ is 100

// What is shown of one thread, copied while its lock is held.
struct thread_view {
    int tid;
    char name[16], state;
    struct cputime cpu;
    u64 cpu_ns, minflt, majflt, nvcsw, nivcsw, blocked, pending, affinity;
    i32 nice;
    u32 policy, prio;
};

static bool view_thread(int tid, struct thread_view *v)
{
    struct process *p = the_process;
    spin_lock(&p->thread_lock);
    struct thread *t = process_find_thread(tid);
    if (!t && !list_empty(&p->threads))
        t = list_entry(p->threads.next, struct thread, proc_node);      // the first thread may be gone already
    if (t) {
        memset(v, 0, sizeof(*v));
        v->tid = t->tid;
        memcpy(v->name, t->name, sizeof(v->name));
        v->state = p->stopped ? 'T' : t->state == T_SLEEPING ? (t->sleep_intr ? 'S' : 'D') : 'R';
        v->cpu_ns = thread_cpu_ns(t);
        v->cpu = cputime_of(p, t);
        v->minflt = t->minflt, v->majflt = t->majflt;
        v->nvcsw = t->nvcsw, v->nivcsw = t->nivcsw;
        v->blocked = t->sigmask, v->pending = t->pending.set, v->affinity = t->affinity & (BIT(NR_CPUS) - 1);
        v->nice = t->nice, v->policy = t->sched_policy, v->prio = t->sched_prio;
    }
    spin_unlock(&p->thread_lock);
    return t != NULL;
}

static bool is_process(const struct seqbuf *s) { return seq_tid(s) <= 1; }

static void action_sets(const struct process *p, u64 *ignored, u64 *caught)
{
    *ignored = *caught = 0;
    for (int i = 0; i < SIG_MAX; i++) {
        if (p->actions[i].handler == SIG_HANDLER_IGN)
            *ignored |= BIT(i);
        else if (p->actions[i].handler != SIG_HANDLER_DFL)
            *caught |= BIT(i);
    }
}

// proc(5), /proc/pid/stat: 52 fields; what does not exist here is 0.
static void show_stat(struct seqbuf *s)
{
    const struct process *p = the_process;
    struct thread_view v;
    u64 ignored, caught;
    if (!view_thread(MAX(seq_tid(s), 1), &v))
        return;
    action_sets(p, &ignored, &caught);
    struct cputime c = is_process(s) ? cputime_of(the_process, NULL) : v.cpu;
    int prio = v.policy == 1 || v.policy == 2 ? -1 - (int)v.prio : 20 + v.nice;
    seq_printf(s, "%d (%s) %c 0 1 1 1025 1 4194560 ", v.tid, v.name, v.state);
    seq_printf(s, "%lu 0 %lu 0 %lu %lu 0 0 ", (unsigned long)v.minflt, (unsigned long)v.majflt,
               (unsigned long)(c.user / NS_PER_TICK), (unsigned long)(c.system / NS_PER_TICK));
    seq_printf(s, "%d %d %u 0 %lu ", prio, v.nice, p->nr_threads, (unsigned long)(p->start_ns / NS_PER_TICK));
    seq_printf(s, "%lu %lu %lu ", (unsigned long)(p->mm.total_pages * PAGE_SIZE), (unsigned long)(p->mm.anon_pages + p->mm.file_pages),
               (unsigned long)p->rlim[5].soft);
    seq_printf(s, "0 0 %lu 0 0 ", (unsigned long)p->mm.stack_top);
    seq_printf(s, "%lu %lu %lu %lu ", (unsigned long)(v.pending & 0x7fffffff), (unsigned long)(v.blocked & 0x7fffffff),
               (unsigned long)(ignored & 0x7fffffff), (unsigned long)(caught & 0x7fffffff));
    seq_printf(s, "0 0 0 17 0 %u %u 0 0 0 ", v.prio, v.policy);
    seq_printf(s, "0 0 %lu 0 0 0 0 0\n", (unsigned long)p->mm.brk_start);
}

static void show_statm(struct seqbuf *s)
{
    const struct mm *m = &the_process->mm;
    seq_printf(s, "%lu %lu %lu 1 0 %lu 0\n", (unsigned long)m->total_pages, (unsigned long)(m->anon_pages + m->file_pages),
               (unsigned long)m->file_pages, (unsigned long)m->total_pages);
}

static void status_memory(struct seqbuf *s, const struct mm *m)
{
    unsigned long k = PAGE_SIZE / 1024, rss = (m->anon_pages + m->file_pages) * k, peak = vm_peak(m) * k;
    seq_printf(s, "VmPeak:\t%8lu kB\nVmSize:\t%8lu kB\nVmLck:\t%8lu kB\nVmPin:\t%8u kB\n", (unsigned long)m->total_pages * k,
               (unsigned long)m->total_pages * k, (unsigned long)m->locked_pages * k, 0u);
    seq_printf(s, "VmHWM:\t%8lu kB\nVmRSS:\t%8lu kB\nRssAnon:\t%8lu kB\nRssFile:\t%8lu kB\nRssShmem:\t%8u kB\n", peak, rss,
               (unsigned long)m->anon_pages * k, (unsigned long)m->file_pages * k, 0u);
    seq_printf(s, "VmData:\t%8lu kB\nVmStk:\t%8u kB\nVmExe:\t%8u kB\nVmLib:\t%8u kB\nVmPTE:\t%8u kB\nVmSwap:\t%8u kB\n",
               (unsigned long)m->total_pages * k, 132u, 4u, 0u, 4u, 0u);
}

// The credentials of a thread, or of the first one. Counted; NULL: there is none.
static struct cred *cred_of(int tid)
{
    struct process *p = the_process;
    spin_lock(&p->thread_lock);
    struct thread *t = process_find_thread(tid);
    if (!t && !list_empty(&p->threads))
        t = list_entry(p->threads.next, struct thread, proc_node);
    struct cred *c = t ? cred_get(t->cred) : NULL;
    spin_unlock(&p->thread_lock);
    return c;
}

static void status_ids(struct seqbuf *s, const struct process *p, const struct cred *c)
{
    seq_printf(s, "Uid:\t%u\t%u\t%u\t%u\nGid:\t%u\t%u\t%u\t%u\n", c->uid, c->euid, c->suid, c->fsuid, c->gid, c->egid, c->sgid, c->fsgid);
    seq_printf(s, "FDSize:\t%u\nGroups:\t%s", p->fds.size, c->groups && c->groups->n ? "" : " ");
    for (u32 i = 0; c->groups && i < c->groups->n; i++)
        seq_printf(s, "%u ", c->groups->gid[i]);
    seq_printf(s, "\nNStgid:\t1\nNSpid:\t%d\nNSpgid:\t1\nNSsid:\t1\n", seq_tid(s) ? seq_tid(s) : 1);
}

static void status_caps(struct seqbuf *s, const struct cred *c)
{
    seq_printf(s, "CapInh:\t%016lx\nCapPrm:\t%016lx\nCapEff:\t%016lx\nCapBnd:\t%016lx\nCapAmb:\t%016lx\n", (unsigned long)c->inheritable,
               (unsigned long)c->permitted, (unsigned long)c->effective, (unsigned long)c->bounding, (unsigned long)c->ambient);
    seq_printf(s, "NoNewPrivs:\t%d\nSeccomp:\t0\nSeccomp_filters:\t0\n", c->no_new_privs);
}

static void show_status(struct seqbuf *s)
{
    const struct process *p = the_process;
    struct thread_view v;
    u64 ignored, caught;
    struct cred *c = cred_of(MAX(seq_tid(s), 1));
    if (!c || !view_thread(MAX(seq_tid(s), 1), &v)) {
        cred_put(c);
        return;
    }
    action_sets(p, &ignored, &caught);
    const char *state = v.state == 'R' ? "running" : v.state == 'S' ? "sleeping" : v.state == 'T' ? "stopped" : "disk sleep";
    seq_printf(s, "Name:\t%s\nUmask:\t%04o\nState:\t%c (%s)\nTgid:\t1\nNgid:\t0\nPid:\t%d\nPPid:\t0\nTracerPid:\t0\n", v.name, p->umask,
               v.state, state, v.tid);
    status_ids(s, p, c);
    status_memory(s, &p->mm);
    seq_printf(s, "CoreDumping:\t0\nTHP_enabled:\t0\nThreads:\t%u\nSigQ:\t0/%lu\n", p->nr_threads, (unsigned long)p->rlim[11].soft);
    seq_printf(s, "SigPnd:\t%016lx\nShdPnd:\t%016lx\nSigBlk:\t%016lx\nSigIgn:\t%016lx\nSigCgt:\t%016lx\n", (unsigned long)v.pending,
               (unsigned long)p->pending.set, (unsigned long)v.blocked, (unsigned long)ignored, (unsigned long)caught);
    status_caps(s, c);
    cred_put(c);
    seq_printf(s, "Cpus_allowed:\t%lx\nCpus_allowed_list:\t0\nMems_allowed:\t1\nMems_allowed_list:\t0\n", (unsigned long)v.affinity);
    seq_printf(s, "voluntary_ctxt_switches:\t%lu\nnonvoluntary_ctxt_switches:\t%lu\n", (unsigned long)v.nvcsw, (unsigned long)v.nivcsw);
}

// --- the rest ---------------------------------------------------------------------------------------------------------
static void show_cmdline(struct seqbuf *s) { seq_write(s, the_process->cmdline, the_process->cmdline_len); }
static void show_environ(struct seqbuf *s) { seq_write(s, the_process->environ, the_process->environ_len); }
static void show_auxv(struct seqbuf *s) { seq_write(s, the_process->auxv, the_process->auxv_len); }

static void show_comm(struct seqbuf *s)
{
    struct thread_view v;
    if (view_thread(MAX(seq_tid(s), 1), &v))
        seq_printf(s, "%s\n", v.name);
}

static ssize_t store_comm(const char *buf, size_t n)
{
    char name[16] = "";
    size_t len = n && buf[n - 1] == '\n' ? n - 1 : n;
    memcpy(name, buf, MIN(len, sizeof(name) - 1));
    struct thread *t = current();
    memcpy(t->name, name, sizeof(name));
    if (t->tid == the_process->pid)
        memcpy(the_process->name, name, sizeof(name));
    return (ssize_t)n;
}

static void limit_text(char *buf, size_t size, u64 v)
{
    if (v == ~0ull)
        strlcpy(buf, "unlimited", size);
    else
        snprintf(buf, size, "%lu", (unsigned long)v);
}

static void show_limits(struct seqbuf *s)
{
    static const char *const rows[RLIM_NR][2] = {
        { "Max cpu time", "seconds" }, { "Max file size", "bytes" }, { "Max data size", "bytes" }, { "Max stack size", "bytes" },
        { "Max core file size", "bytes" }, { "Max resident set", "bytes" }, { "Max processes", "processes" }, { "Max open files", "files" },
        { "Max locked memory", "bytes" }, { "Max address space", "bytes" }, { "Max file locks", "locks" },
        { "Max pending signals", "signals" }, { "Max msgqueue size", "bytes" }, { "Max nice priority", "" },
        { "Max realtime priority", "" }, { "Max realtime timeout", "us" },
    };
    seq_printf(s, "%-25s %-20s %-20s %-10s\n", "Limit", "Soft Limit", "Hard Limit", "Units");
    for (int i = 0; i < RLIM_NR; i++) {
        char soft[24], hard[24];
        limit_text(soft, sizeof(soft), the_process->rlim[i].soft);
        limit_text(hard, sizeof(hard), the_process->rlim[i].hard);
        seq_printf(s, "%-25s %-20s %-20s %-10s\n", rows[i][0], soft, hard, rows[i][1]);
    }
}

// There is nobody else to kill when memory runs out, so the adjustment is remembered and means nothing.
static int oom_adjustment;

static void show_oom_adj(struct seqbuf *s) { seq_printf(s, "%d\n", oom_adjustment); }
static void show_oom_score(struct seqbuf *s) { seq_printf(s, "0\n"); }

static ssize_t store_oom_adj(const char *buf, size_t n)
{
    char text[16] = "";
    u64 v;
    size_t len = n && buf[n - 1] == '\n' ? n - 1 : n;
    if (len >= sizeof(text))
        return -EINVAL;
    memcpy(text, buf, len);
    bool negative = text[0] == '-';
    if (!parse_u64(text + negative, 10, &v) || v > 1000)
        return -EINVAL;
    oom_adjustment = negative ? -(int)v : (int)v;
    return (ssize_t)n;
}

static void show_cgroup(struct seqbuf *s) { seq_printf(s, "0::/\n"); }
static void show_wchan(struct seqbuf *s) { seq_printf(s, "0"); }
static void show_loginuid(struct seqbuf *s) { seq_printf(s, "4294967295"); }
static void show_personality(struct seqbuf *s) { seq_printf(s, "00000000\n"); }
static void show_id_map(struct seqbuf *s) { seq_printf(s, "%10u %10u %10u\n", 0u, 0u, 4294967295u); }
static void show_setgroups(struct seqbuf *s) { seq_printf(s, "allow\n"); }

static void show_io(struct seqbuf *s)
{
    const struct process *p = the_process;
    struct disk_work d = disk_work();
    seq_printf(s, "rchar: %lu\nwchar: %lu\nsyscr: %lu\nsyscw: %lu\nread_bytes: %lu\nwrite_bytes: %lu\ncancelled_write_bytes: 0\n",
               (unsigned long)p->io[0].bytes, (unsigned long)p->io[1].bytes, (unsigned long)p->io[0].calls, (unsigned long)p->io[1].calls,
               (unsigned long)d.read, (unsigned long)d.written);
}

// The reader itself is in a system call; what the others do is not looked at.
static void show_syscall(struct seqbuf *s)
{
    const struct regs *r = current()->regs;
    if (seq_tid(s) != current()->tid) {
        seq_printf(s, "running\n");
        return;
    }
    const u64 v[] = { r->rdi, r->rsi, r->rdx, r->r10, r->r8, r->r9, r->rsp, r->rip };
    seq_printf(s, "%ld", (long)r->orig_rax);
    for (unsigned n = 0; n < ARRAY_SIZE(v); n++)
        seq_printf(s, " 0x%lx", (unsigned long)v[n]);
    seq_printf(s, "\n");
}

static void show_schedstat(struct seqbuf *s)
{
    struct thread_view v;
    if (view_thread(MAX(seq_tid(s), 1), &v))
        seq_printf(s, "%lu 0 %lu\n", (unsigned long)v.cpu_ns, (unsigned long)(v.nvcsw + v.nivcsw));
}

void procinfo_register(void)
{
    static const struct {
        const char *name;
        u32 mode;
        void (*show)(struct seqbuf *s);
        ssize_t (*store)(const char *buf, size_t n);
    } files[] = {
        { "stat", 0444, show_stat, NULL }, { "status", 0444, show_status, NULL }, { "statm", 0444, show_statm, NULL },
        { "cmdline", 0444, show_cmdline, NULL },
        { "environ", 0400, show_environ, NULL }, { "auxv", 0400, show_auxv, NULL }, { "comm", 0644, show_comm, store_comm },
        { "limits", 0444, show_limits, NULL }, { "oom_score", 0444, show_oom_score, NULL },
        { "oom_score_adj", 0644, show_oom_adj, store_oom_adj }, { "cgroup", 0444, show_cgroup, NULL },
        { "wchan", 0444, show_wchan, NULL }, { "loginuid", 0644, show_loginuid, NULL }, { "io", 0400, show_io, NULL },
        { "personality", 0400, show_personality, NULL }, { "uid_map", 0644, show_id_map, NULL },
        { "gid_map", 0644, show_id_map, NULL }, { "setgroups", 0644, show_setgroups, NULL },
        { "schedstat", 0444, show_schedstat, NULL }, { "syscall", 0400, show_syscall, NULL },
    };
    char path[48];
    for (unsigned i = 0; i < ARRAY_SIZE(files); i++) {
        snprintf(path, sizeof(path), "/proc/self/%s", files[i].name);
        proc_register(path, files[i].mode, files[i].show, files[i].store);
    }
    procmaps_register();
    mqueue_proc();
    sysv_msg_proc();
    sysv_sem_proc();
    sysv_shm_proc();
}
