// SPDX-License-Identifier: Apache-2.0
// process_vm_readv(2), process_vm_writev(2): there is one process, so both sides are its own memory.
#include "errno.h"
#include "kmalloc.h"
#include "lib.h"
#include "page.h"
#include "process.h"
#include "syscalls.h"
#include "uaccess.h"

// Bytes moved until one side ends; nothing at all: the error.
static long move(struct iter *from, struct iter *to)
{
    char *block = kmalloc(PAGE_SIZE, 0);
    long done = 0, err = block ? 0 : -ENOMEM;
    while (!err && from->left && to->left) {
        size_t n = MIN(MIN(from->left, to->left), PAGE_SIZE), got = iter_get(from, block, n), put = iter_put(to, block, got);
        done += (long)put;
        if (put < n)
            err = -EFAULT;
    }
    kfree(block);
    return done ? done : err;
}

static long transfer(struct regs *r, bool write)
{
    struct iter local, remote;
    struct iovec fast[8], fast2[8], *heap = NULL, *heap2 = NULL;
    if (r->arg[5])
        return -EINVAL;
    long err = iter_user_vec(&local, r->arg[1], r->arg[2], fast, &heap);
    if (!err)
        err = iter_user_vec(&remote, r->arg[3], r->arg[4], fast2, &heap2);
    if (!err && (int)r->arg[0] != the_process->pid) {
        spin_lock(&the_process->thread_lock);
        err = process_find_thread((int)r->arg[0]) ? 0 : -ESRCH;
        spin_unlock(&the_process->thread_lock);
    }
    if (!err)
        err = write ? move(&local, &remote) : move(&remote, &local);
    kfree(heap);
    kfree(heap2);
    return err;
}

long sys_process_vm_readv(struct regs *r) { return transfer(r, false); }
long sys_process_vm_writev(struct regs *r) { return transfer(r, true); }
