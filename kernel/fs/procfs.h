// SPDX-License-Identifier: Apache-2.0
#ifndef UNI_PROCFS_H
#define UNI_PROCFS_H

#include "vfs.h"

struct proc_inode;

typedef bool (*emit_fn)(void *ctx, const char *name, size_t len, u64 ino, u8 type, u64 next_pos);

// A name under /proc or /sys. Nodes are made once and stay.
struct pnode {
    const char *name;
    u32 mode;
    u64 ino;
    struct pnode *parent, *child, *next;
    const char *text;               // the whole contents, when they never change
    u32 *value, least, most;        // a number and what may be written to it
    const struct file_ops *fops;    // of files that are no text
    void (*show)(struct seqbuf *s);
    ssize_t (*store)(const char *buf, size_t n);
    ssize_t (*link)(struct proc_inode *p, char *buf, size_t size);           // symbolic links
    struct path *(*follow)(struct proc_inode *p);                            // optional: the place itself, counted
    struct inode *(*dyn_lookup)(struct superblock *sb, struct proc_inode *p, const char *name, size_t len);
    int (*dyn_readdir)(struct file *f, struct proc_inode *p, void *ctx, emit_fn emit);   // from position 2 on
};

struct proc_inode {
    struct inode vfs;
    struct pnode *node;
    int tid;                        // below /proc/1/task/TID
    int fd;                         // below /proc/1/fd, else -1
};

// Of the nodes that are there from the start.
ssize_t proc_self_link(struct proc_inode *p, char *buf, size_t size);
ssize_t proc_exe_link(struct proc_inode *p, char *buf, size_t size);

struct pnode *pnode_make(const char *path, u32 mode);
int mount_number(const struct superblock *sb);             // as in /proc/self/mountinfo
void pnode_link(const char *path, const char *text);       // a symbolic link that never changes
struct pnode *pnode_find(struct pnode *dir, const char *name, size_t len);
struct inode *proc_inode(struct superblock *sb, struct pnode *n, int tid, int fd);

#endif
