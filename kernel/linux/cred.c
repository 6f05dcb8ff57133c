// SPDX-License-Identifier: Apache-2.0
// Who threads are: credentials(7), capabilities(7), sessions and groups of processes.
#include "errno.h"
#include "fs.h"
#include "kmalloc.h"
#include "lib.h"
#include "process.h"
#include "rlimit.h"
#include "syscalls.h"
#include "uaccess.h"

#include <linux/stat.h>

#define CAP_SETGID_K 6
#define CAP_SETUID_K 7
#define CAP_SETPCAP_K 8
#define CAP_V1 0x19980330u
#define CAP_V2 0x20071026u
#define CAP_V3 0x20080522u
#define NGROUPS_MAX_K 65536u

// What changes with fsuid: CHOWN, DAC_OVERRIDE, DAC_READ_SEARCH, FOWNER, FSETID, LINUX_IMMUTABLE, MKNOD, MAC_OVERRIDE.
#define CAPS_OF_FILES (0x1full | BIT(9) | BIT(27) | BIT(32))

// securebits, capabilities(7); each is followed by its lock.
enum { SEC_NOROOT = 1, SEC_NO_SETUID_FIXUP = 4, SEC_KEEP_CAPS = 16, SEC_KEEP_CAPS_LOCKED = 32, SEC_NO_AMBIENT = 64, SEC_LOCKS = 0xaa };

static const struct cred kernel_cred = { .effective = CAP_ALL, .permitted = CAP_ALL, .bounding = CAP_ALL };

const struct cred *current_cred(void)
{
    const struct cred *c = current()->cred;
    return likely(c != NULL) ? c : &kernel_cred;
}

bool capable(int cap) { return current_cred()->effective & BIT(cap); }

bool cred_in_group(const struct cred *c, u32 gid)
{
    if (c->fsgid == gid)
        return true;
    for (u32 i = 0; c->groups && i < c->groups->n; i++)
        if (c->groups->gid[i] == gid)
            return true;
    return false;
}

static void groups_put(struct group_list *g)
{
    if (g && !__atomic_sub_fetch(&g->refs, 1, __ATOMIC_ACQ_REL))
        kfree(g);
}

struct cred *cred_get(struct cred *c)
{
    if (c)
        __atomic_add_fetch(&c->refs, 1, __ATOMIC_RELAXED);
    return c;
}

void cred_put(struct cred *c)
{
    if (!c || __atomic_sub_fetch(&c->refs, 1, __ATOMIC_ACQ_REL))
        return;
    groups_put(c->groups);
    kfree(c);
}

struct cred *cred_edit(void)
{
    struct thread *t = current();
    struct cred *c = t->cred;
    if (__atomic_load_n(&c->refs, __ATOMIC_ACQUIRE) == 1)
        return c;
    struct cred *own = kmalloc(sizeof(*own), 0);
    if (!own)
        return NULL;
    *own = *c;
    own->refs = 1;
    if (own->groups)
        __atomic_add_fetch(&own->groups->refs, 1, __ATOMIC_RELAXED);
    t->cred = own;
    cred_put(c);
    return own;
}

// capabilities(7), "Effect of user ID changes on capabilities".
static void caps_after_uid_change(struct cred *c, u32 ruid, u32 euid, u32 suid)
{
    bool had_root = ruid == 0 || euid == 0 || suid == 0;
    bool has_root = c->uid == 0 || c->euid == 0 || c->suid == 0;
    if (c->securebits & SEC_NO_SETUID_FIXUP)
        return;
    if (had_root && !has_root) {
        if (!(c->securebits & SEC_KEEP_CAPS))
            c->permitted = c->effective = 0;
        c->ambient = 0;
    }
    if (euid == 0 && c->euid != 0)
        c->effective = 0;
    if (euid != 0 && c->euid == 0)
        c->effective = c->permitted;
}

static bool uid_known(const struct cred *c, u32 id) { return id == c->uid || id == c->euid || id == c->suid; }
static bool gid_known(const struct cred *c, u32 id) { return id == c->gid || id == c->egid || id == c->sgid; }

// prctl(2), PR_SET_DUMPABLE: another effective or file system id, and the process is no longer dumpable.
static void was(u32 old, u32 now)
{
    if (old != now)
        the_process->dumpable = false;
}

static long set_uids(u32 r, u32 e, u32 s)
{
    struct cred *c = cred_edit();
    if (!c)
        return -ENOMEM;
    u32 ruid = c->uid, euid = c->euid, suid = c->suid;
    was(c->euid, e);
    was(c->fsuid, e);
    c->uid = r;
    c->euid = c->fsuid = e;
    c->suid = s;
    caps_after_uid_change(c, ruid, euid, suid);
    return 0;
}

static long set_gids(u32 r, u32 e, u32 s)
{
    struct cred *c = cred_edit();
    if (!c)
        return -ENOMEM;
    was(c->egid, e);
    was(c->fsgid, e);
    c->gid = r;
    c->egid = c->fsgid = e;
    c->sgid = s;
    return 0;
}

long sys_getuid(struct regs *r) { (void)r; return current_cred()->uid; }
long sys_geteuid(struct regs *r) { (void)r; return current_cred()->euid; }
long sys_getgid(struct regs *r) { (void)r; return current_cred()->gid; }
long sys_getegid(struct regs *r) { (void)r; return current_cred()->egid; }

long sys_setuid(struct regs *r)
{
    const struct cred *c = current_cred();
    u32 id = (u32)r->arg[0];
    if (id == ~0u)
        return -EINVAL;
    if (capable(CAP_SETUID_K))
        return set_uids(id, id, id);
    return id == c->uid || id == c->suid ? set_uids(c->uid, id, c->suid) : -EPERM;
}

long sys_setgid(struct regs *r)
{
    const struct cred *c = current_cred();
    u32 id = (u32)r->arg[0];
    if (id == ~0u)
        return -EINVAL;
    if (capable(CAP_SETGID_K))
        return set_gids(id, id, id);
    return id == c->gid || id == c->sgid ? set_gids(c->gid, id, c->sgid) : -EPERM;
}

long sys_setreuid(struct regs *r)
{
    const struct cred *c = current_cred();
    u32 ru = (u32)r->arg[0], eu = (u32)r->arg[1];
    if (!capable(CAP_SETUID_K)) {
        if (ru != ~0u && ru != c->uid && ru != c->euid)
            return -EPERM;
        if (eu != ~0u && !uid_known(c, eu))
            return -EPERM;
    }
    u32 nr = ru == ~0u ? c->uid : ru, ne = eu == ~0u ? c->euid : eu;
    bool new_saved = ru != ~0u || (eu != ~0u && eu != c->uid);
    return set_uids(nr, ne, new_saved ? ne : c->suid);
}

long sys_setregid(struct regs *r)
{
    const struct cred *c = current_cred();
    u32 rg = (u32)r->arg[0], eg = (u32)r->arg[1];
    if (!capable(CAP_SETGID_K)) {
        if (rg != ~0u && rg != c->gid && rg != c->egid)
            return -EPERM;
        if (eg != ~0u && !gid_known(c, eg))
            return -EPERM;
    }
    u32 nr = rg == ~0u ? c->gid : rg, ne = eg == ~0u ? c->egid : eg;
    bool new_saved = rg != ~0u || (eg != ~0u && eg != c->gid);
    return set_gids(nr, ne, new_saved ? ne : c->sgid);
}

long sys_setresuid(struct regs *r)
{
    const struct cred *c = current_cred();
    u32 id[3];
    for (int i = 0; i < 3; i++) {
        id[i] = (u32)r->arg[i];
        if (id[i] != ~0u && !uid_known(c, id[i]) && !capable(CAP_SETUID_K))
            return -EPERM;
    }
    return set_uids(id[0] == ~0u ? c->uid : id[0], id[1] == ~0u ? c->euid : id[1], id[2] == ~0u ? c->suid : id[2]);
}

long sys_setresgid(struct regs *r)
{
    const struct cred *c = current_cred();
    u32 id[3];
    for (int i = 0; i < 3; i++) {
        id[i] = (u32)r->arg[i];
        if (id[i] != ~0u && !gid_known(c, id[i]) && !capable(CAP_SETGID_K))
            return -EPERM;
    }
    return set_gids(id[0] == ~0u ? c->gid : id[0], id[1] == ~0u ? c->egid : id[1], id[2] == ~0u ? c->sgid : id[2]);
}

static long put3(struct regs *r, u32 a, u32 b, u32 c)
{
    if (user_write_u32(r->arg[0], a) || user_write_u32(r->arg[1], b) || user_write_u32(r->arg[2], c))
        return -EFAULT;
    return 0;
}

long sys_getresuid(struct regs *r) { return put3(r, current_cred()->uid, current_cred()->euid, current_cred()->suid); }
long sys_getresgid(struct regs *r) { return put3(r, current_cred()->gid, current_cred()->egid, current_cred()->sgid); }

long sys_setfsuid(struct regs *r)
{
    u32 old = current_cred()->fsuid, id = (u32)r->arg[0];
    struct cred *c;
    if (id == ~0u || id == old || !(uid_known(current_cred(), id) || capable(CAP_SETUID_K)) || !(c = cred_edit()))
        return old;
    c->fsuid = id;
    was(old, id);
    if (!(c->securebits & SEC_NO_SETUID_FIXUP)) {
        if (!old)
            c->effective &= ~CAPS_OF_FILES;
        else if (!id)
            c->effective |= c->permitted & CAPS_OF_FILES;
    }
    return old;
}

long sys_setfsgid(struct regs *r)
{
    u32 old = current_cred()->fsgid, id = (u32)r->arg[0];
    struct cred *c;
    if (id == ~0u || id == old || !(gid_known(current_cred(), id) || capable(CAP_SETGID_K)) || !(c = cred_edit()))
        return old;
    c->fsgid = id;
    was(old, id);
    return old;
}

long sys_getgroups(struct regs *r)
{
    const struct group_list *g = current_cred()->groups;
    int size = (int)r->arg[0], n = g ? (int)g->n : 0;
    if (size < 0)
        return -EINVAL;
    if (!size)
        return n;
    if (size < n)
        return -EINVAL;
    return n && copy_to_user(r->arg[1], g->gid, (size_t)n * 4) ? -EFAULT : n;
}

long sys_setgroups(struct regs *r)
{
    u64 n = (u32)r->arg[0];
    if (!capable(CAP_SETGID_K))
        return -EPERM;
    if (n > NGROUPS_MAX_K)
        return -EINVAL;
    struct group_list *g = kmalloc(sizeof(*g) + n * 4, 0);
    if (!g)
        return -ENOMEM;
    *g = (struct group_list){ 1, (u32)n };
    struct cred *c = copy_from_user(g->gid, r->arg[1], n * 4) ? err_ptr(-EFAULT) : cred_edit();
    if (!c || is_err(c)) {
        kfree(g);
        return c ? -EFAULT : -ENOMEM;
    }
    groups_put(c->groups);
    c->groups = g;
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

// The sets of the thread of that number, 0 for the current one: 0 or -ESRCH.
static long caps_of(int tid, u64 set[3])
{
    spin_lock(&the_process->thread_lock);
    const struct thread *t = tid ? process_find_thread(tid) : current();
    const struct cred *c = t ? t->cred : NULL;
    if (c) {
        set[0] = c->effective;
        set[1] = c->permitted;
        set[2] = c->inheritable;
    }
    spin_unlock(&the_process->thread_lock);
    return c ? 0 : -ESRCH;
}

long sys_capget(struct regs *r)
{
    struct cap_header h;
    struct cap_data d[2];
    u64 set[3] = { 0 };   // GCC 13 does not see who fills it
    int n = cap_words(r->arg[0], &h);
    if (n < 0)
        return n == -EINVAL && !r->arg[1] ? 0 : n;
    if (h.pid < 0)
        return -EINVAL;
    long err = caps_of(h.pid, set);
    if (err)
        return err;
    for (int i = 0; i < 2; i++)
        d[i] = (struct cap_data){ (u32)(set[0] >> (32 * i)), (u32)(set[1] >> (32 * i)), (u32)(set[2] >> (32 * i)) };
    return copy_to_user(r->arg[1], d, sizeof(d[0]) * (size_t)n);
}

long sys_capset(struct regs *r)
{
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
    const struct cred *now = current_cred();
    if ((perm & ~now->permitted) || (eff & ~perm))
        return -EPERM;
    if ((inh & ~(now->inheritable | now->permitted)) && !capable(CAP_SETPCAP_K))
        return -EPERM;
    if (inh & ~(now->inheritable | now->bounding))
        return -EPERM;
    struct cred *c = cred_edit();
    if (!c)
        return -ENOMEM;
    c->effective = eff;
    c->permitted = perm;
    c->inheritable = inh;
    c->ambient &= perm & inh;
    return 0;
}

long securebits_set(u32 bits)
{
    u32 now = current_cred()->securebits;
    struct cred *c;
    if ((((now & SEC_LOCKS) >> 1) & (now ^ bits)) || (now & SEC_LOCKS & ~bits) || (bits & ~0xffu) || !capable(CAP_SETPCAP_K))
        return -EPERM;
    if (!(c = cred_edit()))
        return -ENOMEM;
    c->securebits = (u8)bits;
    return 0;
}

// capabilities(7), "Transformation of capabilities during execve"; files have no capabilities of their own here.
bool cred_exec(const struct inode *i, bool nosuid)
{
    struct cred *c = cred_edit();
    if (!c)
        return true;
    u32 euid = c->euid, egid = c->egid;
    if (i && !nosuid && !c->no_new_privs) {
        if (i->mode & S_ISUID)
            c->euid = i->uid;
        if ((i->mode & (S_ISGID | 010)) == (S_ISGID | 010))
            c->egid = i->gid;
    }
    bool changed = euid != c->euid || egid != c->egid, root = !(c->securebits & SEC_NOROOT) && (!c->uid || !c->euid);
    if (c->euid != c->uid || c->egid != c->gid)
        c->ambient = 0;
    if (changed || c->euid != c->fsuid)
        the_process->dumpable = false;
    else
        the_process->dumpable = true;
    c->suid = c->fsuid = c->euid;
    c->sgid = c->fsgid = c->egid;
    c->permitted = (root ? c->bounding | c->inheritable : 0) | c->ambient;
    c->effective = root && !c->euid ? c->permitted : c->ambient;
    c->securebits &= (u8)~SEC_KEEP_CAPS;
    return c->euid != c->uid || c->egid != c->gid || (c->uid && (c->effective & ~c->ambient));
}

// --- process groups and sessions: there is one process, leader of its group and session. ------------------------------
long sys_getpid(struct regs *r) { (void)r; return 1; }
long sys_gettid(struct regs *r) { (void)r; return current()->tid; }
long sys_getppid(struct regs *r) { (void)r; return 0; }
long sys_getpgrp(struct regs *r) { (void)r; return 1; }

static bool known_pid(int pid)
{
    if (pid == 0 || pid == the_process->pid)
        return true;
    spin_lock(&the_process->thread_lock);
    bool found = process_find_thread(pid) != NULL;
    spin_unlock(&the_process->thread_lock);
    return found;
}

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
