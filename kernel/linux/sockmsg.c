// SPDX-License-Identifier: Apache-2.0
// send, recv and their many faces; ancillary data. Behaviour: Linux, net/socket.c, net/core/scm.c.
#include "errno.h"
#include "fs.h"
#include "kmalloc.h"
#include "lib.h"
#include "process.h"
#include "socket.h"
#include "syscalls.h"
#include "time.h"

#include <linux/fcntl.h>

struct user_msghdr {
    uptr name;
    i32 name_len, pad0;
    uptr iov;
    u64 iov_len;
    uptr control;
    u64 control_len;
    u32 flags, pad1;
};
struct user_cmsghdr {
    u64 len;
    i32 level, type;
};
#define CONTROL_MAX 20480u                    // net.core.optmem_max
#define CMSG_ALIGN(n) ALIGN_UP((u64)(n), 8ul)

static ssize_t do_send(struct socket *s, struct msg *m, u32 flags)
{
    if (s->file->flags & O_NONBLOCK)
        flags |= K_MSG_DONTWAIT;
    ssize_t n = s->ops->send ? s->ops->send(s, m, flags) : -EOPNOTSUPP;
    if (n == -EPIPE && !(flags & K_MSG_NOSIGNAL) && s->type == K_SOCK_STREAM)
        signal_thread(current(), 13, NULL);   // SIGPIPE
    return n;
}

static ssize_t do_recv(struct socket *s, struct msg *m, u32 flags)
{
    if (s->file->flags & O_NONBLOCK)
        flags |= K_MSG_DONTWAIT;
    return s->ops->recv ? s->ops->recv(s, m, flags) : -EOPNOTSUPP;
}

// --- Ancillary data -------------------------------------------------------------------------------------------------------

void msg_put_control(struct msg *m, int level, int type, const void *data, u32 len)
{
    u32 left = m->control_room - m->control_used;
    struct user_cmsghdr h = { sizeof(h) + len, level, type };
    if (!m->control_user || left < sizeof(h)) {
        m->out_flags |= K_MSG_CTRUNC;
        return;
    }
    if (h.len > left) {
        m->out_flags |= K_MSG_CTRUNC;
        h.len = left;
    }
    uptr at = m->control_user + m->control_used;
    if (copy_to_user(at, &h, sizeof(h)) || copy_to_user(at + sizeof(h), data, h.len - sizeof(h)))
        return;
    m->control_used += (u32)MIN(CMSG_ALIGN(h.len), (u64)left);
}

bool msg_next_control(const struct msg *m, u32 *at, struct cmsg_view *v, int *err)
{
    struct user_cmsghdr h;
    *err = 0;
    if (*at >= m->control_len || m->control_len - *at < sizeof(h))
        return false;
    memcpy(&h, m->control + *at, sizeof(h));
    if (h.len < sizeof(h) || h.len > m->control_len - *at) {
        *err = -EINVAL;
        return false;
    }
    v->level = h.level;
    v->type = h.type;
    v->data = m->control + *at + sizeof(h);
    v->len = (u32)(h.len - sizeof(h));
    *at += (u32)MIN(CMSG_ALIGN(h.len), (u64)(m->control_len - *at));
    return true;
}

// --- One message ----------------------------------------------------------------------------------------------------------

// The kernel's view of a user's msghdr: vectors and control copied in.
struct msg_frame {
    struct user_msghdr h;
    struct iovec fast[8], *heap;
    struct iter it;
    u8 *control;
};

static int frame_in(struct msg_frame *fr, uptr p, bool send, struct msg *m)
{
    if (copy_from_user(&fr->h, p, sizeof(fr->h)))
        return -EFAULT;
    fr->heap = NULL;
    fr->control = NULL;
    if (fr->h.name_len < 0 || (fr->h.control_len > 0 && fr->h.control_len > 0x7fffffff))
        return fr->h.name_len < 0 ? -EINVAL : -ENOBUFS;
    if (fr->h.iov_len > IOV_MAX)
        return -EMSGSIZE;
    int err = iter_user_vec(&fr->it, fr->h.iov, fr->h.iov_len, fr->fast, &fr->heap);
    if (err)
        return err;
    m->it = &fr->it;
    if (!send) {
        m->control_user = fr->h.control;
        m->control_room = fr->h.control ? (u32)fr->h.control_len : 0;
        return 0;
    }
    if (fr->h.name && fr->h.name_len) {
        m->addr_len = MIN((u32)fr->h.name_len, (u32)sizeof(m->addr));
        if (copy_from_user(&m->addr, fr->h.name, m->addr_len))
            return -EFAULT;
    }
    if (fr->h.control && fr->h.control_len) {
        if (fr->h.control_len > CONTROL_MAX)
            return -ENOBUFS;
        fr->control = kmalloc(fr->h.control_len, 0);
        if (!fr->control)
            return -ENOMEM;
        m->control = fr->control;
        m->control_len = (u32)fr->h.control_len;
        if (copy_from_user(fr->control, fr->h.control, fr->h.control_len))
            return -EFAULT;
    }
    return 0;
}

static void frame_done(struct msg_frame *fr)
{
    kfree(fr->heap);
    kfree(fr->control);
}

static ssize_t send_one(struct socket *s, uptr p, u32 flags)
{
    struct msg_frame fr = { .heap = NULL, .control = NULL };
    struct msg m = { .addr_len = 0 };
    ssize_t n = frame_in(&fr, p, true, &m);
    if (n == 0)
        n = do_send(s, &m, flags);
    frame_done(&fr);
    return n;
}

// Where the answer's lengths and flags go in the user's header.
static int frame_out(const struct msg_frame *fr, uptr p, const struct msg *m, u32 flags)
{
    if (fr->h.name) {
        u32 n = MIN((u32)fr->h.name_len, m->addr_len);
        if (n && copy_to_user(fr->h.name, &m->addr, n))
            return -EFAULT;
        if (user_write_u32(p + offsetof(struct user_msghdr, name_len), m->addr_len))
            return -EFAULT;
    }
    if (user_write_u64(p + offsetof(struct user_msghdr, control_len), m->control_used))
        return -EFAULT;
    return user_write_u32(p + offsetof(struct user_msghdr, flags), m->out_flags | (flags & K_MSG_CMSG_CLOEXEC));
}

static ssize_t recv_one(struct socket *s, uptr p, u32 flags)
{
    struct msg_frame fr = { .heap = NULL, .control = NULL };
    struct msg m = { .addr_len = 0 };
    ssize_t n = frame_in(&fr, p, false, &m);
    if (n == 0) {
        n = do_recv(s, &m, flags);
        if (n >= 0) {
            int err = frame_out(&fr, p, &m, flags);
            if (err)
                n = err;
        }
    }
    frame_done(&fr);
    return n;
}

// --- System calls ---------------------------------------------------------------------------------------------------------

static long do_sendto(struct socket *s, struct regs *r)
{
    struct iter it;
    struct msg m = { .it = &it };
    iter_user(&it, r->arg[1], r->arg[2]);
    i32 alen = (i32)r->arg[5];
    if (r->arg[4]) {
        if (alen < 0 || alen > (i32)sizeof(m.addr))
            return -EINVAL;
        if (alen && copy_from_user(&m.addr, r->arg[4], (size_t)alen))
            return -EFAULT;
        m.addr_len = (u32)alen;
    }
    return do_send(s, &m, (u32)r->arg[3]);
}

static int name_to_user(const struct msg *m, uptr p, uptr plen)
{
    u32 room;
    if (!plen || user_read_u32(plen, &room))
        return -EFAULT;
    if ((i32)room < 0)
        return -EINVAL;
    u32 n = MIN(room, m->addr_len);
    if (n && copy_to_user(p, &m->addr, n))
        return -EFAULT;
    return user_write_u32(plen, m->addr_len);
}

static long do_recvfrom(struct socket *s, struct regs *r)
{
    struct iter it;
    struct msg m = { .it = &it };
    iter_user(&it, r->arg[1], r->arg[2]);
    ssize_t n = do_recv(s, &m, (u32)r->arg[3]);
    int err = n >= 0 && r->arg[4] ? name_to_user(&m, r->arg[4], r->arg[5]) : 0;
    return err ? err : n;
}

static long do_sendmsg(struct socket *s, struct regs *r) { return send_one(s, r->arg[1], (u32)r->arg[2]); }
static long do_recvmsg(struct socket *s, struct regs *r) { return recv_one(s, r->arg[1], (u32)r->arg[2]); }

// struct mmsghdr: a msghdr, then the length of what moved.
#define MMSG_SIZE 64
#define MMSG_LEN 56

static long do_sendmmsg(struct socket *s, struct regs *r)
{
    ssize_t n = 0;
    u32 count = MIN((u32)r->arg[2], (u32)IOV_MAX), done = 0;
    for (; done < count; done++) {
        uptr p = r->arg[1] + (u64)done * MMSG_SIZE;
        n = send_one(s, p, (u32)r->arg[3]);
        if (n >= 0 && user_write_u32(p + MMSG_LEN, (u32)n))
            n = -EFAULT;
        if (n < 0)
            break;
    }
    return done ? (long)done : n < 0 ? n : 0;
}

static long do_recvmmsg(struct socket *s, struct regs *r)
{
    u64 deadline = NO_DEADLINE, timeout;
    u32 flags = (u32)r->arg[3];
    if (r->arg[4]) {
        int err = timespec_from_user(r->arg[4], &timeout);
        if (err)
            return err;
        deadline = deadline_after(timeout);
    }
    ssize_t n = 0;
    u32 count = MIN((u32)r->arg[2], (u32)IOV_MAX), done = 0;
    for (; done < count; done++) {
        uptr p = r->arg[1] + (u64)done * MMSG_SIZE;
        n = recv_one(s, p, flags & ~(u32)K_MSG_WAITFORONE);
        if (n >= 0 && user_write_u32(p + MMSG_LEN, (u32)n))
            n = -EFAULT;
        if (n < 0)
            break;
        if (flags & K_MSG_WAITFORONE)
            flags |= K_MSG_DONTWAIT;
        // recvmmsg(2): the time is looked at after each message only.
        if (deadline != NO_DEADLINE && clock_mono_ns() >= deadline) {
            done++;
            break;
        }
    }
    return done ? (long)done : n < 0 ? n : 0;
}

long sys_sendto(struct regs *r) { return socket_call(r, do_sendto); }
long sys_recvfrom(struct regs *r) { return socket_call(r, do_recvfrom); }
long sys_sendmsg(struct regs *r) { return socket_call(r, do_sendmsg); }
long sys_recvmsg(struct regs *r) { return socket_call(r, do_recvmsg); }
long sys_sendmmsg(struct regs *r) { return socket_call(r, do_sendmmsg); }

// As on Linux a bad time comes before a bad descriptor.
long sys_recvmmsg(struct regs *r)
{
    u64 timeout;
    int err = r->arg[4] ? timespec_from_user(r->arg[4], &timeout) : 0;
    return err ? err : socket_call(r, do_recvmmsg);
}
