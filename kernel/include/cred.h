// SPDX-License-Identifier: Apache-2.0
// Who a thread is: credentials(7), capabilities(7). As on Linux they belong to the thread; C libraries change all threads' together.
// Threads share a structure until one of them changes its own (linux/cred.c).
#ifndef UNI_CRED_H
#define UNI_CRED_H

#include "types.h"

struct group_list {
    u32 refs, n;                    // refs: atomic
    u32 gid[];
};

struct cred {
    u32 refs;                       // threads; atomic
    u32 uid, euid, suid, fsuid;     // files are looked at with fsuid and fsgid
    u32 gid, egid, sgid, fsgid;
    u64 effective, permitted, inheritable, bounding, ambient;
    struct group_list *groups;      // NULL: none
    u8 securebits;
    bool no_new_privs;
};

enum {                              // include/uapi/linux/capability.h
    CAP_CHOWN = 0, CAP_DAC_OVERRIDE = 1, CAP_DAC_READ_SEARCH = 2, CAP_FOWNER = 3, CAP_FSETID = 4, CAP_NET_BIND_SERVICE = 10,
    CAP_NET_ADMIN = 12, CAP_NET_RAW = 13, CAP_IPC_LOCK = 14, CAP_SYS_RAWIO = 17, CAP_SYS_ADMIN = 21, CAP_SYS_RESOURCE = 24, CAP_MKNOD = 27,
};

const struct cred *current_cred(void);              // never NULL: the kernel's own threads are root
bool cred_in_group(const struct cred *c, u32 gid);  // fsgid or one of the further groups
bool capable(int cap);                              // CAP_*
struct cred *cred_get(struct cred *c);              // NULL stays NULL
void cred_put(struct cred *c);

struct inode;
// execve(2) of that file, which is not on a file system mounted nosuid: set-id bits and capabilities take effect. Returns whether the
// new program may not trust its environment (AT_SECURE).
bool cred_exec(const struct inode *i, bool nosuid);
long securebits_set(u32 bits);                      // prctl(2): 0, -EPERM
struct cred *cred_edit(void);                       // the current thread's own, to change; NULL: out of memory

#endif
