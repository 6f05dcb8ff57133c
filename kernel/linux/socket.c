// SPDX-License-Identifier: Apache-2.0
// Sockets as files: creation, addresses, connections. Messages: sockmsg.c, options: sockopt.c. Behaviour: Linux, net/socket.c.
#include "socket.h"

#include "errno.h"
#include "fs.h"
#include "kmalloc.h"
#include "lib.h"
#include "net.h"
#include "process.h"
#include "syscalls.h"

#include "fasync.h"

#include <asm/ioctls.h>
#include <asm/resource.h>
#include <linux/fcntl.h>
#include <linux/stat.h>

static int (*families[K_AF_MAX])(struct socket *s);
static u64 nr_sockets, next_cookie;
static const struct file_ops socket_file_ops;

void socket_family_register(int domain, int (*create)(struct socket *s))
{
    families[domain] = create;
}

void socket_init(void)
{
    if (unix_init)
        unix_init();
    if (inet_init)
        inet_init();
    if (netlink_init)
        netlink_init();
}

u64 socket_count(void) { return nr_sockets; }
u64 net_socket_count(void) { return nr_sockets; }

static struct socket *socket_alloc(int domain, int type, int protocol)
{
    struct socket *s = kzalloc(sizeof(*s));
    if (!s)
        return NULL;
    s->domain = domain;
    s->type = type;
    s->protocol = protocol;
    waitq_init(&s->wq);
    s->rcvbuf = s->sndbuf = 212992;           // net.core.rmem_default
    s->rcvlowat = 1;
    s->linger = -1;
    s->cookie = ++next_cookie;
    nr_sockets++;
    return s;
}

static void socket_free(struct socket *s)
{
    if (s->ops && s->ops->release)
        s->ops->release(s);
    nr_sockets--;
    kfree(s);
}

static int socket_create(int domain, int type, int protocol, struct socket **out)
{
    if (domain < 0 || domain >= K_AF_MAX || !families[domain])
        return -EAFNOSUPPORT;
    if (type < 0 || type > 10)
        return -EINVAL;
    struct socket *s = socket_alloc(domain, type, protocol);
    if (!s)
        return -ENOBUFS;
    int err = families[domain](s);
    if (err) {
        s->ops = NULL;
        socket_free(s);
        return err;
    }
    *out = s;
    return 0;
}

// A file for s, which it takes over; on failure s is freed.
static int socket_install(struct socket *s, int flags)
{
    u32 fflags = O_RDWR | (flags & K_SOCK_NONBLOCK ? O_NONBLOCK : 0);
    struct file *f = anon_file(&socket_file_ops, s, fflags, S_IFSOCK | 0777, "socket");
    if (!f || is_err(f)) {
        socket_free(s);
        return f ? (int)ptr_err(f) : -ENFILE;
    }
    s->file = f;
    int fd = fd_install(f, 0, flags & K_SOCK_CLOEXEC);
    if (fd < 0)
        file_put(f);
    return fd;
}

u64 socket_inode(const struct socket *s) { return s->file ? anon_number(s->file) : 0; }

struct socket *socket_from_file(struct file *f)
{
    return f->ops == &socket_file_ops ? f->priv : NULL;
}

long socket_call(struct regs *r, long (*call)(struct socket *s, struct regs *r))
{
    struct file *f = fd_get((int)r->arg[0]);
    if (!f)
        return -EBADF;
    struct socket *s = socket_from_file(f);
    long ret = s ? call(s, r) : -ENOTSOCK;
    file_put(f);
    return ret;
}

static bool nonblocking(const struct socket *s) { return s->file->flags & O_NONBLOCK; }

int socket_take_error(struct socket *s)
{
    int err = s->error;
    s->error = 0;
    return -err;
}

int socket_wait(struct socket *s, bool (*ready)(struct socket *s), u64 timeout, bool nonblock)
{
    if (ready(s))
        return 0;
    if (nonblock)
        return -EAGAIN;
    u64 deadline = socket_deadline(clock_mono_ns(), timeout);
    struct waiter w;
    int err = 0;
    waitq_prepare(&s->wq, &w);
    while (!ready(s)) {
        err = waitq_sleep(&w, deadline, true);
        if (err)
            break;
    }
    waitq_finish(&w);
    if (err == -ETIMEDOUT)
        return ready(s) ? 0 : -EAGAIN;
    return err == -ERESTARTSYS && timeout ? -EINTR : err;
}

// --- File operations --------------------------------------------------------------------------------------------------------

static ssize_t socket_read(struct file *f, struct iter *it, u64 *pos)
{
    struct socket *s = f->priv;
    struct msg m = { .it = it };
    (void)pos;
    return s->ops->recv ? s->ops->recv(s, &m, nonblocking(s) ? K_MSG_DONTWAIT : 0) : -EOPNOTSUPP;
}

static ssize_t socket_write(struct file *f, struct iter *it, u64 *pos)
{
    struct socket *s = f->priv;
    struct msg m = { .it = it };
    (void)pos;
    ssize_t n = s->ops->send ? s->ops->send(s, &m, nonblocking(s) ? K_MSG_DONTWAIT : 0) : -EOPNOTSUPP;
    if (n == -EPIPE && s->type == K_SOCK_STREAM)
        signal_thread(current(), 13, NULL);   // SIGPIPE
    return n;
}

static u32 socket_poll(struct file *f, struct poll_table *pt)
{
    struct socket *s = f->priv;
    poll_wait(pt, f, &s->wq);
    return s->ops->poll ? s->ops->poll(s) : 0;
}

static long socket_ioctl(struct file *f, u32 cmd, uptr arg)
{
    struct socket *s = f->priv;
    if (cmd >= FIOSETOWN_K && cmd <= SIOCGPGRP_K)
        return fasync_ioctl(f, cmd, arg);
    long err = s->ops->ioctl ? s->ops->ioctl(s, cmd, arg) : -ENOTTY;
    // Questions about interfaces may be asked on a socket of any family; musl asks on AF_UNIX.
    return err == -ENOTTY && (cmd & 0xff00) == 0x8900 && netdev_ioctl ? netdev_ioctl(cmd, arg) : err;
}

static void socket_release(struct file *f)
{
    socket_free(f->priv);
}

static const struct file_ops socket_file_ops = {
    .read = socket_read,
    .write = socket_write,
    .poll = socket_poll,
    .ioctl = socket_ioctl,
    .release = socket_release,
    .async = true,
};

// --- Addresses --------------------------------------------------------------------------------------------------------------

static int addr_from_user(struct sockaddr_buf *a, uptr p, i32 len)
{
    memset(a, 0, sizeof(*a));
    if (len < 0 || len > (i32)sizeof(*a))
        return -EINVAL;
    return len ? copy_from_user(a, p, (size_t)len) : 0;
}

// As Linux's move_addr_to_user: truncated to the room given, the true length told.
static int addr_to_user(const struct sockaddr_buf *a, u32 len, uptr p, uptr plen)
{
    u32 room;
    if (user_read_u32(plen, &room))
        return -EFAULT;
    if ((i32)room < 0)
        return -EINVAL;
    u32 n = MIN(room, len);
    if (n && copy_to_user(p, a, n))
        return -EFAULT;
    return user_write_u32(plen, len);
}

// --- System calls -------------------------------------------------------------------------------------------------------------

#define TYPE_FLAGS (K_SOCK_NONBLOCK | K_SOCK_CLOEXEC)

long sys_socket(struct regs *r)
{
    struct socket *s;
    int type = (int)r->arg[1];
    if (type & ~(0xf | TYPE_FLAGS))
        return -EINVAL;
    int err = socket_create((int)r->arg[0], type & 0xf, (int)r->arg[2], &s);
    return err ? err : socket_install(s, type & TYPE_FLAGS);
}

static int pair_create(struct regs *r, int type, struct socket *s[2])
{
    int err = socket_create((int)r->arg[0], type & 0xf, (int)r->arg[2], &s[0]);
    if (err)
        return err;
    err = s[0]->ops->pair ? socket_create((int)r->arg[0], type & 0xf, (int)r->arg[2], &s[1]) : -EOPNOTSUPP;
    if (err) {
        socket_free(s[0]);
        return err;
    }
    err = s[0]->ops->pair(s[0], s[1]);
    if (err) {
        socket_free(s[0]);
        socket_free(s[1]);
    }
    return err;
}

long sys_socketpair(struct regs *r)
{
    struct socket *s[2];
    int type = (int)r->arg[1], fd[2];
    if (type & ~(0xf | TYPE_FLAGS))
        return -EINVAL;
    int err = pair_create(r, type, s);
    if (err)
        return err;
    fd[0] = socket_install(s[0], type & TYPE_FLAGS);
    if (fd[0] < 0) {
        socket_free(s[1]);
        return fd[0];
    }
    fd[1] = socket_install(s[1], type & TYPE_FLAGS);
    if (fd[1] >= 0 && copy_to_user(r->arg[3], fd, sizeof(fd)) == 0)
        return 0;
    fd_close(fd[0]);
    if (fd[1] < 0)
        return fd[1];
    fd_close(fd[1]);
    return -EFAULT;
}

static long do_bind(struct socket *s, struct regs *r)
{
    struct sockaddr_buf a;
    int err = addr_from_user(&a, r->arg[1], (i32)r->arg[2]);
    if (err)
        return err;
    return s->ops->bind ? s->ops->bind(s, &a, (u32)r->arg[2]) : -EOPNOTSUPP;
}

static long do_connect(struct socket *s, struct regs *r)
{
    struct sockaddr_buf a;
    int err = addr_from_user(&a, r->arg[1], (i32)r->arg[2]);
    if (err)
        return err;
    return s->ops->connect ? s->ops->connect(s, &a, (u32)r->arg[2], nonblocking(s)) : -EOPNOTSUPP;
}

static long do_listen(struct socket *s, struct regs *r)
{
    int backlog = (int)r->arg[1];
    if ((u32)backlog > 4096)                  // net.core.somaxconn; negative too, as Linux has it
        backlog = 4096;
    return s->ops->listen ? s->ops->listen(s, backlog) : -EOPNOTSUPP;
}

bool socket_fd_room(void)
{
    const struct process *p = current_process();
    return p->fds.used < p->rlim[RLIMIT_NOFILE].soft;
}

static void inherit(struct socket *s, const struct socket *from)
{
    s->rcvbuf = from->rcvbuf;
    s->sndbuf = from->sndbuf;
    s->rcvbuf_set = from->rcvbuf_set;
    s->sndbuf_set = from->sndbuf_set;
    s->rcvlowat = from->rcvlowat;
    s->priority = from->priority;
    s->mark = from->mark;
    s->linger = from->linger;
    s->keepalive = from->keepalive;
    s->reuseaddr = from->reuseaddr;
    s->reuseport = from->reuseport;
    s->passcred = from->passcred;
    s->oobinline = from->oobinline;
    s->rcv_timeout = from->rcv_timeout;
    s->snd_timeout = from->snd_timeout;
}

static long do_accept(struct socket *s, uptr addr, uptr addr_len, int flags)
{
    struct sockaddr_buf a;
    if (!s->ops->accept)
        return -EOPNOTSUPP;
    struct socket *n = socket_alloc(s->domain, s->type, s->protocol);
    if (!n)
        return -ENOBUFS;
    inherit(n, s);
    int err = s->ops->accept(s, n, nonblocking(s));
    if (err) {
        n->ops = NULL;
        socket_free(n);
        return err;
    }
    int len = 0;
    if (addr) {
        memset(&a, 0, sizeof(a));
        len = n->ops->getname(n, &a, true);
        err = len < 0 ? -ECONNABORTED : addr_to_user(&a, (u32)len, addr, addr_len);
        if (err) {
            socket_free(n);
            return err;
        }
    }
    return socket_install(n, flags);
}

static long accept_plain(struct socket *s, struct regs *r) { return do_accept(s, r->arg[1], r->arg[2], 0); }
static long accept_with(struct socket *s, struct regs *r) { return do_accept(s, r->arg[1], r->arg[2], (int)r->arg[3]); }

static long get_name(struct socket *s, struct regs *r, bool peer)
{
    struct sockaddr_buf a = { 0 };
    int len = s->ops->getname ? s->ops->getname(s, &a, peer) : -EOPNOTSUPP;
    return len < 0 ? len : addr_to_user(&a, (u32)len, r->arg[1], r->arg[2]);
}

static long own_name(struct socket *s, struct regs *r) { return get_name(s, r, false); }
static long peer_name(struct socket *s, struct regs *r) { return get_name(s, r, true); }

static long do_shutdown(struct socket *s, struct regs *r)
{
    int how = (int)r->arg[1];
    if (how < K_SHUT_RD || how > K_SHUT_RDWR)
        return -EINVAL;
    return s->ops->shutdown ? s->ops->shutdown(s, how) : -EOPNOTSUPP;
}

long sys_bind(struct regs *r) { return socket_call(r, do_bind); }
long sys_connect(struct regs *r) { return socket_call(r, do_connect); }
long sys_listen(struct regs *r) { return socket_call(r, do_listen); }
long sys_accept(struct regs *r) { return socket_call(r, accept_plain); }
long sys_accept4(struct regs *r) { return (int)r->arg[3] & ~TYPE_FLAGS ? -EINVAL : socket_call(r, accept_with); }
long sys_getsockname(struct regs *r) { return socket_call(r, own_name); }
long sys_getpeername(struct regs *r) { return socket_call(r, peer_name); }
long sys_shutdown(struct regs *r) { return socket_call(r, do_shutdown); }
