// SPDX-License-Identifier: Apache-2.0
// AF_UNIX, between unix.c (connections), unix_name.c, unix_io.c (messages) and unix_scm.c. unix(7); corner cases as Linux's net/unix/af_unix.c.
#ifndef UNI_UNIX_PRIV_H
#define UNI_UNIX_PRIV_H

#include "fs.h"
#include "list.h"
#include "socket.h"

#define UNIX_PATH_MAX 108u
#define SCM_MAX_FD 253u

// A bound address; the sockets that a listener accepts share its own.
struct unix_name {
    u32 refs;                       // unix_lock
    u32 len;                        // bytes of path in use (an abstract name begins with NUL)
    struct inode *inode;            // NULL: abstract
    char path[UNIX_PATH_MAX + 1];
};

struct unix_cred {
    u32 pid, uid, gid;              // struct ucred
};

// Open files on their way (SCM_RIGHTS), counted.
struct unix_files {
    struct unix_files *next;        // waits to be closed
    u32 n;
    struct file *file[SCM_MAX_FD];
};

// A datagram, a record or a piece of a stream.
struct unix_msg {
    struct list node;
    u32 len, off;                   // off: what a stream's reader took already
    struct unix_cred cred;
    bool cred_given;                // by SCM_CREDENTIALS
    struct unix_files *files;
    struct unix_name *from;         // counted; NULL: the sender has no name
    bool big;                       // from vmalloc
    bool oob;                       // one byte of urgent data (MSG_OOB)
    u8 data[];
};

enum unix_state { UNIX_CLOSED, UNIX_LISTENING, UNIX_CONNECTED };

// One end. It outlives its struct socket while the other end still refers to it. unix_lock guards everything but rx_lock's part.
struct unix_sock {
    u32 refs;
    int type;
    enum unix_state state;
    struct socket *sock;            // NULL: not yet accepted, or closed
    bool dead;
    bool rd_shut, wr_shut;
    struct unix_sock *peer;         // counted
    struct unix_sock *waits_for;    // a sender that sleeps until this one has room; not counted
    struct unix_name *name;
    struct list all;                // every socket
    struct list accept_node;
    struct list backlog;            // listener: ends that wait for accept
    u32 nr_backlog, max_backlog;
    struct mutex rx_lock;           // one reader at a time
    struct list rx;
    u32 rx_bytes, rx_count, rx_cost;
    bool urgent;                    // one of them is urgent data
    struct unix_cred cred, peer_cred;
    u32 sndbuf;                     // before it has a struct socket
    u32 inflight;                   // unix_gc.c: messages that hold its file
    bool reachable;
    struct list gc_node;
};

// Ancillary data of a message that is being sent.
struct unix_scm {
    struct unix_files *files;
    struct unix_cred cred;
    bool cred_given;
};

extern spinlock_t unix_lock;
extern struct list unix_all;

struct unix_sock *unix_get(struct unix_sock *u);
void unix_put(struct unix_sock *u);
void unix_name_put(struct unix_name *n);
void unix_wake(struct unix_sock *u, u32 events);
void unix_msg_free(struct unix_msg *m);
// The socket that an address names, counted; err_ptr(-ECONNREFUSED), ...
struct unix_sock *unix_find(const struct sockaddr_buf *a, u32 len, int type);
int unix_autobind(struct unix_sock *u);
u32 unix_name_put_addr(const struct unix_name *n, struct sockaddr_buf *a);
bool unix_has_room(const struct unix_sock *u, const struct unix_sock *to);   // dgram: the receiver's queue; unix_lock held
int unix_bind(struct socket *s, const struct sockaddr_buf *a, u32 len);
// unix_scm.c. take: checks and collects a sender's; give: hands it to the message; put: tells the receiver.
void unix_files_free(struct unix_files *f);
int unix_take_control(const struct msg *m, struct unix_scm *s);
void unix_give_scm(struct unix_msg *m, struct unix_scm *s);
void unix_put_files(struct msg *m, struct unix_files *f, bool cloexec);
void unix_put_cred(struct msg *m, const struct unix_cred *c);
void unix_put_control(struct socket *s, struct msg *m, struct unix_msg *x, u32 flags);
ssize_t unix_send(struct socket *s, struct msg *m, u32 flags);
ssize_t unix_recv(struct socket *s, struct msg *m, u32 flags);
void unix_proc_init(void);      // unix_proc.c
// unix_gc.c
extern u32 unix_inflight;
u32 unix_count_inflight(const struct unix_files *f);
void unix_collect(void);
long unix_ioctl(struct socket *s, u32 cmd, uptr arg);

#endif
