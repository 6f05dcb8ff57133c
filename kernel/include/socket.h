// SPDX-License-Identifier: Apache-2.0
// Sockets: what linux/socket.c, sockmsg.c and sockopt.c do for every address family, and what a family provides.
#ifndef UNI_SOCKET_H
#define UNI_SOCKET_H

#include "sched.h"
#include "types.h"
#include "uaccess.h"

struct file;
struct socket;

// struct sockaddr_storage.
struct sockaddr_buf {
    u16 family;
    u8 data[126];
};

// One message on its way out or in.
struct msg {
    struct sockaddr_buf addr;   // send: the destination; recv: the family writes the source
    u32 addr_len;               // 0: none
    struct iter *it;
    const u8 *control;          // send: a kernel copy of the ancillary data; CMSG headers not yet checked
    u32 control_len;
    uptr control_user;          // recv: where msg_put_control() writes
    u32 control_room, control_used;
    u32 out_flags;              // recv: MSG_TRUNC, MSG_CTRUNC, MSG_EOR
};

// From <bits/socket.h>: the ABI's values.
enum {
    K_AF_UNSPEC = 0, K_AF_UNIX = 1, K_AF_INET = 2, K_AF_INET6 = 10, K_AF_NETLINK = 16, K_AF_PACKET = 17, K_AF_MAX = 46,
    K_SOCK_STREAM = 1, K_SOCK_DGRAM = 2, K_SOCK_RAW = 3, K_SOCK_SEQPACKET = 5,
    K_SOCK_NONBLOCK = 0x800, K_SOCK_CLOEXEC = 0x80000,
    K_MSG_OOB = 1, K_MSG_PEEK = 2, K_MSG_DONTROUTE = 4, K_MSG_CTRUNC = 8, K_MSG_TRUNC = 0x20, K_MSG_DONTWAIT = 0x40,
    K_MSG_EOR = 0x80, K_MSG_WAITALL = 0x100, K_MSG_CONFIRM = 0x800, K_MSG_ERRQUEUE = 0x2000, K_MSG_NOSIGNAL = 0x4000,
    K_MSG_MORE = 0x8000, K_MSG_WAITFORONE = 0x10000, K_MSG_FASTOPEN = 0x20000000, K_MSG_CMSG_CLOEXEC = 0x40000000,
    K_SHUT_RD = 0, K_SHUT_WR = 1, K_SHUT_RDWR = 2,
};

// Missing operations give EOPNOTSUPP (poll: nothing; getopt, setopt: ENOPROTOOPT; ioctl: ENOTTY). All may sleep.
struct socket_ops {
    int (*bind)(struct socket *s, const struct sockaddr_buf *a, u32 len);
    int (*connect)(struct socket *s, const struct sockaddr_buf *a, u32 len, bool nonblock);
    int (*listen)(struct socket *s, int backlog);
    int (*accept)(struct socket *s, struct socket *fresh, bool nonblock);  // fills the fresh socket (ops, priv)
    int (*getname)(struct socket *s, struct sockaddr_buf *a, bool peer);   // the length, or -errno
    ssize_t (*send)(struct socket *s, struct msg *m, u32 flags);           // MSG_DONTWAIT is set where the file is non-blocking
    ssize_t (*recv)(struct socket *s, struct msg *m, u32 flags);
    int (*shutdown)(struct socket *s, int how);
    u32 (*poll)(struct socket *s);                                         // the events now; wake s->wq when they change
    int (*setopt)(struct socket *s, int level, int name, const void *val, u32 len);   // val: kernel copy, at most 256 bytes
    int (*getopt)(struct socket *s, int level, int name, void *val, u32 *len);        // val: 256 bytes; *len: in and out
    long (*ioctl)(struct socket *s, u32 cmd, uptr arg);
    int (*pair)(struct socket *a, struct socket *b);                       // socketpair(2)
    void (*changed)(struct socket *s);                                     // a SOL_SOCKET option (buffer sizes, keepalive) changed
    void (*release)(struct socket *s);                                     // the file is gone; free priv. s itself is freed after
};

struct socket {
    int domain, type, protocol;
    const struct socket_ops *ops;
    void *priv;
    struct file *file;          // not counted: the file holds the socket
    struct waitq wq;            // who waits: blocking calls and poll
    u64 rcv_timeout, snd_timeout;   // ns; 0: none
    u32 timestamping;           // SOF_TIMESTAMPING_*
    int error, soft_error;      // pending, positive: SO_ERROR reads and clears it; soft: what the network said last, which ends nothing
    u32 rcvbuf, sndbuf, rcvlowat, priority, mark;
    u32 busy_poll;              // SO_BUSY_POLL, SO_INCOMING_CPU: kept, nothing more
    int linger;                 // seconds, -1: off
    bool rcvbuf_set, sndbuf_set; // by the program: fixed from then on
    bool listening, reuseaddr, reuseport, keepalive, broadcast, passcred, oobinline, timestamp, timestampns, dontroute;
    bool debug, no_check, rxq_ovfl, select_err_queue;
    char device[16];            // SO_BINDTODEVICE
    u64 cookie;
};

// create: checks type and protocol, sets s->ops and s->priv. 0 or -EPROTONOSUPPORT, -ESOCKTNOSUPPORT, -ENOMEM, ...
void socket_family_register(int domain, int (*create)(struct socket *s));

u64 socket_inode(const struct socket *s);           // as fstat and /proc/self/fd have it; 0: no file yet
int netlink_deliver(struct file *f, const void *data, u32 len);     // linux/netlink.c: 0, -ENOTSOCK, -EINVAL, -ENOMEM
struct socket *socket_from_file(struct file *f);    // NULL when it is none
// A system call on the socket that its first argument names; -EBADF, -ENOTSOCK.
long socket_call(struct regs *r, long (*call)(struct socket *s, struct regs *r));
// The error to return now, negative, clearing it; 0: none.
int socket_take_error(struct socket *s);
static inline u64 socket_deadline(u64 now, u64 timeout) { return timeout ? now + timeout : NO_DEADLINE; }
// Sleeps until ready(s) or error: 0, -EAGAIN (nonblock, or the timeout), -ERESTARTSYS, -EINTR (a timeout is set).
int socket_wait(struct socket *s, bool (*ready)(struct socket *s), u64 timeout, bool nonblock);
// Adds one piece of ancillary data to a received message, or sets MSG_CTRUNC when there is no room.
void msg_put_control(struct msg *m, int level, int type, const void *data, u32 len);
// Walks a sender's ancillary data: next header after `at` (start with 0), checked; false at the end, *err -EINVAL when malformed.
struct cmsg_view {
    int level, type;
    const u8 *data;
    u32 len;
};
bool msg_next_control(const struct msg *m, u32 *at, struct cmsg_view *v, int *err);
// accept: would a descriptor be left? To be asked after the last sleep, before a connection is taken.
bool socket_fd_room(void);
u64 socket_count(void);
void socket_init(void);                         // registers the families that are linked in
void unix_init(void) WEAK;
void inet_init(void) WEAK;
void netlink_init(void) WEAK;
long netdev_ioctl(u32 cmd, uptr arg) WEAK;      // SIOCGIF*
u32 netdev_number(const char *name) WEAK;       // an interface's index; 0: there is none

int sockopt_set_generic(struct socket *s, int name, const void *val, u32 len);
int sockopt_get_generic(struct socket *s, int name, void *val, u32 *len);
// An int option's value: -EINVAL when len is below 4.
int sockopt_int(const void *val, u32 len, int *out);
void sockopt_put_int(void *val, u32 *len, int v);

#endif
