// SPDX-License-Identifier: Apache-2.0
// AF_UNIX: ancillary data: files (SCM_RIGHTS) and credentials (SCM_CREDENTIALS). unix(7), cmsg(3).
#include "unix.h"
#include "errno.h"
#include "kmalloc.h"
#include "lib.h"
#include "process.h"

#define SOL_SOCKET_K 1
#define SCM_RIGHTS_K 1
#define SCM_CREDENTIALS_K 2
#define CAP_SETGID_K 6
#define CAP_SETUID_K 7
#define CAP_SYS_ADMIN_K 21

// Closing a file may close a socket with files in its queue, and so on: one after the other, not one within the other.
void unix_files_free(struct unix_files *f)
{
    static struct unix_files *waiting;
    static bool running;
    if (!f)
        return;
    f->next = waiting;
    waiting = f;
    if (running)
        return;
    running = true;
    while ((f = waiting)) {
        waiting = f->next;
        for (u32 i = 0; i < f->n; i++)
            file_put(f->file[i]);
        kfree(f);
    }
    running = false;
}

static int take_files(struct unix_scm *s, const struct cmsg_view *v)
{
    u32 n = v->len / 4;
    if (!n)
        return 0;
    if (!s->files) {
        s->files = kzalloc(sizeof(*s->files));
        if (!s->files)
            return -ENOMEM;
    }
    if (s->files->n + n > SCM_MAX_FD)
        return -EINVAL;
    for (u32 i = 0; i < n; i++) {
        i32 fd;
        memcpy(&fd, v->data + i * 4, 4);
        struct file *f = fd_any(fd);
        if (!f)
            return -EBADF;
        s->files->file[s->files->n++] = f;
    }
    return 0;
}

static int take_cred(struct unix_scm *s, const struct cmsg_view *v)
{
    const struct process *p = the_process;
    struct unix_cred c;
    if (v->len != sizeof(c))
        return -EINVAL;
    memcpy(&c, v->data, sizeof(c));
    const struct cred *me = current_cred();
    bool pid_ok = (int)c.pid == p->pid || capable(CAP_SYS_ADMIN_K);
    bool uid_ok = c.uid == me->uid || c.uid == me->euid || c.uid == me->suid || capable(CAP_SETUID_K);
    bool gid_ok = c.gid == me->gid || c.gid == me->egid || c.gid == me->sgid || capable(CAP_SETGID_K);
    if (!pid_ok || !uid_ok || !gid_ok)
        return -EPERM;
    if ((int)c.pid != p->pid)
        return -ESRCH;
    s->cred = c;
    s->cred_given = true;
    return 0;
}

int unix_take_control(const struct msg *m, struct unix_scm *s)
{
    struct cmsg_view v;
    u32 at = 0;
    int err = 0;
    while (!err && msg_next_control(m, &at, &v, &err)) {
        if (v.level != SOL_SOCKET_K)
            continue;
        if (v.type == SCM_RIGHTS_K)
            err = take_files(s, &v);
        else if (v.type == SCM_CREDENTIALS_K)
            err = take_cred(s, &v);
        else
            err = -EINVAL;
    }
    if (err) {
        unix_files_free(s->files);
        s->files = NULL;
    }
    return err;
}

void unix_give_scm(struct unix_msg *m, struct unix_scm *s)
{
    m->files = s->files;
    unix_inflight += unix_count_inflight(s->files);
    s->files = NULL;
    if (s->cred_given) {
        m->cred = s->cred;
        m->cred_given = true;
    }
}

// Installs as many files as the receiver has room for; the rest is closed and MSG_CTRUNC says so.
void unix_put_files(struct msg *m, struct unix_files *f, bool cloexec)
{
    i32 *fd = kmalloc(f->n * sizeof(i32), 0);
    u32 left = m->control_room - m->control_used, room = 0, n = 0;
    if (fd && m->control_user && left >= 16)
        room = (left - 16) / 4;
    while (n < f->n && n < room) {
        int got = fd_install(file_get(f->file[n]), 0, cloexec);
        if (got < 0) {
            file_put(f->file[n]);
            break;
        }
        fd[n++] = got;
    }
    if (n)
        msg_put_control(m, SOL_SOCKET_K, SCM_RIGHTS_K, fd, n * 4);
    if (n < f->n)
        m->out_flags |= K_MSG_CTRUNC;
    kfree(fd);
}

void unix_put_cred(struct msg *m, const struct unix_cred *c)
{
    msg_put_control(m, SOL_SOCKET_K, SCM_CREDENTIALS_K, c, sizeof(*c));
}

void unix_put_control(struct socket *s, struct msg *m, struct unix_msg *x, u32 flags)
{
    if (s->passcred)
        unix_put_cred(m, &x->cred);
    if (x->files)
        unix_put_files(m, x->files, flags & K_MSG_CMSG_CLOEXEC);
}
