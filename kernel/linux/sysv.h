// SPDX-License-Identifier: Apache-2.0
// System V IPC, sysvipc(7): what shared memory, semaphores and message queues have in common. linux/sysv_*.c.
#ifndef UNI_SYSV_H
#define UNI_SYSV_H

#include "errno.h"
#include "fs.h"
#include "kmalloc.h"
#include "lib.h"
#include "list.h"
#include "process.h"
#include "syscalls.h"
#include "time.h"
#include "uaccess.h"

#include <linux/ipc.h>
#include <asm/ipcbuf.h>

#define IPC_IDS_MAX 32768u          // IPCMNI: the low 15 bits of an id are its place, the others count its uses

struct ipc_perm_k {                 // the head of every object
    int id;
    i32 key;
    u32 uid, gid, cuid, cgid, mode, seq;
};

// One of the three name spaces.
struct ipc_ids {
    struct mutex lock;              // guards it and its objects; never waited for with mm->lock held
    struct ipc_perm_k **at;         // by place; NULL where there is none
    u32 size, in_use, next, seq;
    u32 limit;                      // SHMMNI, SEMMNI, MSGMNI
    int last;                       // the place given out last; the counter advances when places start over
};
#define IPC_IDS_INIT(name, max) { .lock = MUTEX_INIT((name).lock), .limit = (max), .last = -1 }

// The lock is held for all of these. 0 or -EACCES; flags: permission bits as in a mode.
int ipc_may(const struct ipc_perm_k *p, u32 flags);
int ipc_add(struct ipc_ids *ids, struct ipc_perm_k *p, i32 key, u32 mode);      // the id, -ENOSPC, -ENOMEM
void ipc_remove(struct ipc_ids *ids, struct ipc_perm_k *p);
struct ipc_perm_k *ipc_find(const struct ipc_ids *ids, int id);                // err_ptr(-EINVAL); -EIDRM is the sleepers' own
void ipc_fill(struct ipc64_perm *out, const struct ipc_perm_k *p);
int ipc_set(struct ipc_perm_k *p, const struct ipc64_perm *in);
static inline i64 ipc_now(void) { return (i64)(clock_real_ns() / NSEC_PER_SEC); }

// xxxget(2): finds the key's object or has `make` create one. `fits` looks at one that is there.
struct ipc_get {
    struct ipc_ids *ids;
    i32 key;
    u32 flags;
    u64 size;
    int (*make)(const struct ipc_get *g);
    int (*fits)(const struct ipc_perm_k *p, u64 size);
};
long ipc_get(const struct ipc_get *g);

// xxxctl(2): what the kinds have in common, and what each adds. The lock is held for all of these; 0 or an error.
struct ipc_kind {
    struct ipc_ids *ids;
    int stat, stat_any, info;                               // MSG_STAT and the like
    u32 size;                                               // of msqid64_ds and the like
    int (*limits)(int cmd, uptr to);                        // IPC_INFO and `info`
    int (*describe)(const struct ipc_perm_k *p, uptr to);   // IPC_STAT
    int (*set)(struct ipc_perm_k *p, const void *ds);       // IPC_SET, for who may
    void (*remove)(struct ipc_perm_k *p);                   // IPC_RMID, for who may
    int (*other)(struct ipc_perm_k *p, int cmd);            // any other command
    void (*unlock)(void);
};
long ipc_ctl(const struct ipc_kind *k, int id, int cmd, uptr arg);

void sysv_msg_proc(void);             // /proc/sysvipc, when it is looked at
void sysv_sem_proc(void);
void sysv_shm_proc(void);

// A thread that begins to share its undo list (CLONE_SYSVSEM) or ends. linux/sysv_sem.c.
struct sem_undo_list;
int sem_undo_share(struct thread *parent, struct thread *child);
void sem_undo_exit(struct thread *t);

#endif
