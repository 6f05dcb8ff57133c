// SPDX-License-Identifier: Apache-2.0
// Who the process is: credentials(7), capabilities(7), sessions and groups of processes.
#include "errno.h"
#include "lib.h"
#include "process.h"
#include "rlimit.h"
#include "syscalls.h"
#include "uaccess.h"

#define CAP_SETGID_K 6
#define CAP_SETUID_K 7
#define CAP_SETPCAP_K 8
#define CAP_V1 0x19980330u
#define CAP_V2 0x20071026u
#define CAP_V3 0x20080522u

bool process_capable(int cap)
{
    return the_process->caps & BIT(cap);
}

bool process_in_group(const struct process *p, u32 gid)
{
    if (p->egid == gid)
        return true;
    for (u32 i = 0; i < p->ngroups; i++)
        if (p->groups[i] == gid)
            return true;
    return false;
}

// capabilities(7), "Effect of user ID changes on capabilities".
static void caps_after_uid_change(struct process *p, u32 ruid, u32 euid, u32 suid)
{
    bool had_root = ruid == 0 || euid == 0 || suid == 0;
    bool has_root = p->uid == 0 || p->euid == 0 || p->suid == 0;
    if (had_root && !has_root)
        p->cap_permitted = p->caps = p->cap_ambient = 0;
    if (euid == 0 && p->euid != 0)
        p->caps = 0;
    if (euid != 0 && p->euid == 0)
        p->caps = p->cap_permitted;
}

static bool uid_known(const struct process *p, u32 id)
{
    return id == p->uid || id == p->euid || id == p->suid;
}

static bool gid_known(const struct process *p, u32 id)
{
    return id == p->gid || id == p->egid || id == p->sgid;
}

static void set_uids(struct process *p, u32 r, u32 e, u32 s)
{
    u32 ruid = p->uid, euid = p->euid, suid = p->suid;
    p->uid = r;
    p->euid = p->fsuid = e;
    p->suid = s;
    caps_after_uid_change(p, ruid, euid, suid);
}

long sys_getuid(struct regs *r) { (void)r; return the_process->uid; }
long sys_geteuid(struct regs *r) { (void)r; return the_process->euid; }
long sys_getgid(struct regs *r) { (void)r; return the_process->gid; }
long sys_getegid(struct regs *r) { (void)r; return the_process->egid; }

long sys_setuid(struct regs *r)
{
    struct process *p = the_process;
    u32 id = (u32)r->arg[0];
    if (id == ~0u)
        return -EINVAL;
    if (process_capable(CAP_SETUID_K))
        set_uids(p, id, id, id);
    else if (id == p->uid || id == p->suid)
        set_uids(p, p->uid, id, p->suid);
    else
        return -EPERM;
    return 0;
}

long sys_setgid(struct regs *r)
{
    struct process *p = the_process;
    u32 id = (u32)r->arg[0];
    if (id == ~0u)
        return -EINVAL;
    if (process_capable(CAP_SETGID_K))
        p->gid = p->egid = p->sgid = p->fsgid = id;
    else if (id == p->gid || id == p->sgid)
        p->egid = p->fsgid = id;
    else
        return -EPERM;
    return 0;
}

long sys_setreuid(struct regs *r)
{
    struct process *p = the_process;
    u32 ru = (u32)r->arg[0], eu = (u32)r->arg[1], old = p->uid;
    if (!process_capable(CAP_SETUID_K)) {
        if (ru != ~0u && ru != p->uid && ru != p->euid)
            return -EPERM;
        if (eu != ~0u && !uid_known(p, eu))
            return -EPERM;
    }
    u32 nr = ru == ~0u ? p->uid : ru, ne = eu == ~0u ? p->euid : eu;
    bool new_saved = ru != ~0u || (eu != ~0u && eu != old);
    set_uids(p, nr, ne, new_saved ? ne : p->suid);
    return 0;
}

long sys_setregid(struct regs *r)
{
    struct process *p = the_process;
    u32 rg = (u32)r->arg[0], eg = (u32)r->arg[1], old = p->gid;
    if (!process_capable(CAP_SETGID_K)) {
        if (rg != ~0u && rg != p->gid && rg != p->egid)
            return -EPERM;
        if (eg != ~0u && !gid_known(p, eg))
            return -EPERM;
    }
    if (rg != ~0u)
        p->gid = rg;
    if (eg != ~0u)
        p->egid = p->fsgid = eg;
    if (rg != ~0u || (eg != ~0u && eg != old))
        p->sgid = p->egid;
    return 0;
}

long sys_setresuid(struct regs *r)
{
    struct process *p = the_process;
    u32 id[3];
    for (int i = 0; i < 3; i++) {
        id[i] = (u32)r->arg[i];
        if (id[i] != ~0u && !process_capable(CAP_SETUID_K) && !uid_known(p, id[i]))
            return -EPERM;
    }
    set_uids(p, id[0] == ~0u ? p->uid : id[0], id[1] == ~0u ? p->euid : id[1], id[2] == ~0u ? p->suid : id[2]);
    return 0;
}

long sys_setresgid(struct regs *r)
{
    struct process *p = the_process;
    for (int i = 0; i < 3; i++)
        if ((u32)r->arg[i] != ~0u && !process_capable(CAP_SETGID_K) && !gid_known(p, (u32)r->arg[i]))
            return -EPERM;
    if ((u32)r->arg[0] != ~0u)
        p->gid = (u32)r->arg[0];
    if ((u32)r->arg[1] != ~0u)
        p->egid = p->fsgid = (u32)r->arg[1];
    if ((u32)r->arg[2] != ~0u)
        p->sgid = (u32)r->arg[2];
    return 0;
}

static long put3(struct regs *r, u32 a, u32 b, u32 c)
{
    if (user_write_u32(r->arg[0], a) || user_write_u32(r->arg[1], b) || user_write_u32(r->arg[2], c))
        return -EFAULT;
    return 0;
}

long sys_getresuid(struct regs *r) { return put3(r, the_process->uid, the_process->euid, the_process->suid); }
long sys_getresgid(struct regs *r) { return put3(r, the_process->gid, the_process->egid, the_process->sgid); }

long sys_setfsuid(struct regs *r)
{
    struct process *p = the_process;
    u32 old = p->fsuid, id = (u32)r->arg[0];
    if (id != ~0u && (uid_known(p, id) || process_capable(CAP_SETUID_K)))
        p->fsuid = id;
    return old;
}

long sys_setfsgid(struct regs *r)
{
    struct process *p = the_process;
    u32 old = p->fsgid, id = (u32)r->arg[0];
    if (id != ~0u && (gid_known(p, id) || process_capable(CAP_SETGID_K)))
        p->fsgid = id;
    return old;
}

long sys_getgroups(struct regs *r)
{
    struct process *p = the_process;
    int size = (int)r->arg[0];
    if (size < 0)
        return -EINVAL;
    if (!size)
        return p->ngroups;
    if ((u32)size < p->ngroups)
        return -EINVAL;
    if (copy_to_user(r->arg[1], p->groups, p->ngroups * 4))
        return -EFAULT;
    return p->ngroups;
}

long sys_setgroups(struct regs *r)
{
    struct process *p = the_process;
    u32 groups[ARRAY_SIZE(p->groups)];
    u64 n = (u32)r->arg[0];
    if (!process_capable(CAP_SETGID_K))
        return -EPERM;
    if (n > 65536)                  // NGROUPS_MAX
        return -EINVAL;
    if (n > ARRAY_SIZE(p->groups))
        return -ENOMEM;
    if (copy_from_user(groups, r->arg[1], n * 4))
        return -EFAULT;
    memcpy(p->groups, groups, n * 4);
    p->ngroups = (u32)n;
    return 0;
}

// --- capabilities -----------------------------------------------------------------------------------------------------
struct cap_header {
    u32 version;
    i32 pid;
};

struct cap_data {
    u32 effective, permitted, inheritable;
};

// The number of 32-bit halves of a version, or -EINVAL with the preferred version written back (capget(2)).
static int cap_words(uptr header, struct cap_header *h)
{
    if (copy_from_user(h, header, sizeof(*h)))
        return -EFAULT;
    if (h->version == CAP_V1)
        return 1;
    if (h->version == CAP_V2 || h->version == CAP_V3)
        return 2;
    return user_write_u32(header, CAP_V3) ? -EFAULT : -EINVAL;
}

static bool known_pid(int pid)
{
    if (pid == 0 || pid == the_process->pid)
        return true;
    spin_lock(&the_process->thread_lock);
    bool found = process_find_thread(pid) != NULL;
    spin_unlock(&the_process->thread_lock);
    return found;
}

long sys_capget(struct regs *r)
{
    struct process *p = the_process;
    struct cap_header h;
    struct cap_data d[2];
    int n = cap_words(r->arg[0], &h);
    if (n < 0)
        return n == -EINVAL && !r->arg[1] ? 0 : n;
    if (h.pid < 0)
        return -EINVAL;
    if (!known_pid(h.pid))
        return -ESRCH;
    for (int i = 0; i < 2; i++)
        d[i] = (struct cap_data){ (u32)(p->caps >> (32 * i)), (u32)(p->cap_permitted >> (32 * i)), (u32)(p->cap_inheritable >> (32 * i)) };
    return copy_to_user(r->arg[1], d, sizeof(d[0]) * (size_t)n);
}

long sys_capset(struct regs *r)
{
    struct process *p = the_process;
    struct cap_header h;
    struct cap_data d[2] = { { 0 }, { 0 } };
    int n = cap_words(r->arg[0], &h);
    if (n < 0)
        return n;
    if (h.pid != 0 && h.pid != current()->tid)
        return -EPERM;
    if (copy_from_user(d, r->arg[1], sizeof(d[0]) * (size_t)n))
        return -EFAULT;
    u64 eff = (d[0].effective | (u64)d[1].effective << 32) & CAP_ALL;
    u64 perm = (d[0].permitted | (u64)d[1].permitted << 32) & CAP_ALL;
    u64 inh = (d[0].inheritable | (u64)d[1].inheritable << 32) & CAP_ALL;
    if ((perm & ~p->cap_permitted) || (eff & ~perm))
        return -EPERM;
    if ((inh & ~(p->cap_inheritable | p->cap_permitted)) && !process_capable(CAP_SETPCAP_K))
        return -EPERM;
    if (inh & ~(p->cap_inheritable | p->cap_bounding))
        return -EPERM;
    p->caps = eff;
    p->cap_permitted = perm;
    p->cap_inheritable = inh;
    p->cap_ambient &= perm & inh;
    return 0;
}

// --- process groups and sessions: there is one process, leader of its group and session. ------------------------------
long sys_getpid(struct regs *r) { (void)r; return 1; }
long sys_gettid(struct regs *r) { (void)r; return current()->tid; }
long sys_getppid(struct regs *r) { (void)r; return 0; }
long sys_getpgrp(struct regs *r) { (void)r; return 1; }

long sys_getpgid(struct regs *r) { return known_pid((int)r->arg[0]) ? 1 : -ESRCH; }
long sys_getsid(struct regs *r) { return known_pid((int)r->arg[0]) ? 1 : -ESRCH; }

long sys_setpgid(struct regs *r)
{
    int pid = (int)r->arg[0], pgid = (int)r->arg[1];
    if (pgid < 0)
        return -EINVAL;
    if (pid && pid != the_process->pid)
        return -ESRCH;
    return -EPERM;                  // a session leader cannot change its group
}

long sys_setsid(struct regs *r)
{
    (void)r;
    return -EPERM;                  // it is a group leader already
}
