// SPDX-License-Identifier: Apache-2.0
// getsockopt and setsockopt; SOL_SOCKET, which all families share. Behaviour and limits: Linux, net/core/sock.c.
#include "errno.h"
#include "fs.h"
#include "lib.h"
#include "process.h"
#include "socket.h"
#include "syscalls.h"
#include "time.h"

#include <asm/socket.h>

#define SOL 1                                 // SOL_SOCKET
#define BUF_MAX 212992                        // net.core.{r,w}mem_max
#define STAMPS_OF_SENT 0x302                  // SOF_TIMESTAMPING_TX_SOFTWARE, TX_SCHED, TX_ACK: nobody would report them
#define RCVBUF_MIN 2304
#define SNDBUF_MIN 4608

int sockopt_int(const void *val, u32 len, int *out)
{
    if (len < sizeof(*out))
        return -EINVAL;
    memcpy(out, val, sizeof(*out));
    return 0;
}

void sockopt_put_int(void *val, u32 *len, int v)
{
    *len = MIN(*len, (u32)sizeof(v));
    memcpy(val, &v, *len);
}

static int set_timeout(u64 *ns, const void *val, u32 len)
{
    struct { i64 sec, usec; } tv;
    if (len < sizeof(tv))
        return -EINVAL;
    memcpy(&tv, val, sizeof(tv));
    if (tv.usec < 0 || tv.usec >= 1000000)
        return -EDOM;
    if (tv.sec < 0)
        tv.sec = tv.usec = 0;
    *ns = (u64)tv.sec > 1000000000 ? 0 : (u64)tv.sec * NSEC_PER_SEC + (u64)tv.usec * 1000;
    return 0;
}

// socket(7): the kernel doubles the value. SO_RCVBUFFORCE and SO_SNDBUFFORCE go beyond the limit.
static u32 buffer_size(int v, u32 min, bool force)
{
    u32 n = force ? (u32)MAX(v, 0) & 0x3fffffff : MIN((u32)v, (u32)BUF_MAX);
    return MAX(n * 2, min);
}

static int set_linger(struct socket *s, const void *val, u32 len)
{
    struct { i32 on, sec; } l;
    if (len < sizeof(l))
        return -EINVAL;
    memcpy(&l, val, sizeof(l));
    s->linger = l.on ? MAX(l.sec, 0) : -1;
    return 0;
}

static bool *flag_of(struct socket *s, int name)
{
    switch (name) {
    case SO_REUSEADDR: return &s->reuseaddr;
    case SO_REUSEPORT: return &s->reuseport;
    case SO_KEEPALIVE: return &s->keepalive;
    case SO_BROADCAST: return &s->broadcast;
    case SO_OOBINLINE: return &s->oobinline;
    case SO_PASSCRED: return &s->passcred;
    case SO_DONTROUTE: return &s->dontroute;
    case SO_DEBUG: return &s->debug;
    case SO_NO_CHECK: return &s->no_check;
    case SO_RXQ_OVFL: return &s->rxq_ovfl;
    case SO_SELECT_ERR_QUEUE: return &s->select_err_queue;
    case SO_TIMESTAMP_OLD: case SO_TIMESTAMP_NEW: return &s->timestamp;
    case SO_TIMESTAMPNS_OLD: case SO_TIMESTAMPNS_NEW: return &s->timestampns;
    default: return NULL;
    }
}

static int set_device(struct socket *s, const void *val, u32 len)
{
    char name[sizeof(s->device)] = "";
    memcpy(name, val, MIN(len, (u32)sizeof(name) - 1));
    if (name[0] && (!netdev_number || netdev_number(name) == 0))
        return -ENODEV;
    memcpy(s->device, name, sizeof(name));
    return 0;
}

int sockopt_set_generic(struct socket *s, int name, const void *val, u32 len)
{
    int v, err;
    if (name == SO_LINGER)
        return set_linger(s, val, len);
    if (name == SO_RCVTIMEO_OLD || name == SO_RCVTIMEO_NEW)
        return set_timeout(&s->rcv_timeout, val, len);
    if (name == SO_SNDTIMEO_OLD || name == SO_SNDTIMEO_NEW)
        return set_timeout(&s->snd_timeout, val, len);
    if (name == SO_BINDTODEVICE)
        return set_device(s, val, len);
    err = sockopt_int(val, len, &v);
    if (err)
        return err;
    bool *flag = flag_of(s, name);
    if (flag) {
        *flag = v != 0;
        return 0;
    }
    switch (name) {
    case SO_RCVBUF: case SO_RCVBUFFORCE:
        s->rcvbuf = buffer_size(v, RCVBUF_MIN, name == SO_RCVBUFFORCE);
        s->rcvbuf_set = true;
        return 0;
    case SO_SNDBUF: case SO_SNDBUFFORCE:
        s->sndbuf = buffer_size(v, SNDBUF_MIN, name == SO_SNDBUFFORCE);
        s->sndbuf_set = true;
        return 0;
    case SO_RCVLOWAT:
        s->rcvlowat = v < 0 ? 0x7fffffffu : v ? (u32)v : 1;
        return 0;
    case SO_PRIORITY:
        s->priority = (u32)v;
        return 0;
    case SO_MARK:
        s->mark = (u32)v;
        return 0;
    case SO_BUSY_POLL:
        if (v < 0)
            return -EINVAL;
        s->busy_poll = (u32)v;
        return 0;
    case SO_INCOMING_CPU:                     // there is one
        return 0;
    case SO_TIMESTAMPING_OLD: case SO_TIMESTAMPING_NEW:
        if (v & ~0x1ffff || v & STAMPS_OF_SENT)
            return -EINVAL;
        s->timestamping = (u32)v;
        return 0;
    case SO_TYPE: case SO_PROTOCOL: case SO_DOMAIN: case SO_ERROR: case SO_ACCEPTCONN:
    default:
        return -ENOPROTOOPT;
    }
}

static void put_timeout(void *val, u32 *len, u64 ns)
{
    i64 tv[2] = { (i64)(ns / NSEC_PER_SEC), (i64)(ns % NSEC_PER_SEC / 1000) };
    *len = MIN(*len, (u32)sizeof(tv));
    memcpy(val, tv, *len);
}

static int get_sized(struct socket *s, int name, void *val, u32 *len)
{
    i32 linger[2] = { s->linger >= 0, s->linger >= 0 ? s->linger : 0 };
    switch (name) {
    case SO_LINGER:
        *len = MIN(*len, (u32)sizeof(linger));
        memcpy(val, linger, *len);
        return 0;
    case SO_RCVTIMEO_OLD: case SO_RCVTIMEO_NEW:
        put_timeout(val, len, s->rcv_timeout);
        return 0;
    case SO_SNDTIMEO_OLD: case SO_SNDTIMEO_NEW:
        put_timeout(val, len, s->snd_timeout);
        return 0;
    case SO_PEERCRED: {                       // of other families: nobody
        const i32 nobody[3] = { 0, -1, -1 };
        *len = MIN(*len, (u32)sizeof(nobody));
        memcpy(val, nobody, *len);
        return 0;
    }
    case SO_COOKIE:
        if (*len < 8)
            return -EINVAL;
        *len = 8;
        memcpy(val, &s->cookie, 8);
        return 0;
    case SO_BINDTODEVICE:
        if (s->device[0] && *len < sizeof(s->device))
            return -EINVAL;
        *len = s->device[0] ? (u32)strlen(s->device) + 1 : 0;
        memcpy(val, s->device, *len);
        return 0;
    default:
        return -ENOPROTOOPT;
    }
}

int sockopt_get_generic(struct socket *s, int name, void *val, u32 *len)
{
    int v;
    bool *flag = flag_of(s, name);
    switch (name) {
    case SO_TYPE: v = s->type; break;
    case SO_DOMAIN: v = s->domain; break;
    case SO_PROTOCOL: v = s->protocol; break;
    case SO_ERROR:
        v = -socket_take_error(s);
        if (!v) {
            v = s->soft_error;
            s->soft_error = 0;
        }
        break;
    case SO_ACCEPTCONN: v = s->listening; break;
    case SO_RCVBUF: v = (int)s->rcvbuf; break;
    case SO_SNDBUF: v = (int)s->sndbuf; break;
    case SO_RCVLOWAT: v = (int)s->rcvlowat; break;
    case SO_SNDLOWAT: v = 1; break;
    case SO_PRIORITY: v = (int)s->priority; break;
    case SO_MARK: v = (int)s->mark; break;
    case SO_BUSY_POLL: v = (int)s->busy_poll; break;
    case SO_INCOMING_CPU: v = 0; break;
    case SO_TIMESTAMPING_OLD: case SO_TIMESTAMPING_NEW: v = (int)s->timestamping; break;
    default:
        if (!flag)
            return get_sized(s, name, val, len);
        v = *flag;
    }
    sockopt_put_int(val, len, v);
    return 0;
}

#define OPT_MAX 256

static long set_option(struct socket *s, struct regs *r)
{
    u8 val[OPT_MAX];
    int level = (int)r->arg[1], name = (int)r->arg[2];
    u32 n = MIN((u32)r->arg[4], (u32)sizeof(val));
    if (n && copy_from_user(val, r->arg[3], n))
        return -EFAULT;
    if (level != SOL)
        return s->ops->setopt ? s->ops->setopt(s, level, name, val, n) : -EOPNOTSUPP;
    int err = sockopt_set_generic(s, name, val, n);
    if (!err && s->ops->changed)
        s->ops->changed(s);
    return err;
}

static long get_option(struct socket *s, struct regs *r)
{
    u8 val[OPT_MAX];
    int level = (int)r->arg[1], name = (int)r->arg[2];
    u32 len;
    if (user_read_u32(r->arg[4], &len))
        return -EFAULT;
    if ((i32)len < 0)
        return -EINVAL;
    len = MIN(len, (u32)sizeof(val));
    memset(val, 0, sizeof(val));
    int err = level == SOL ? -ENOPROTOOPT : -EOPNOTSUPP;
    if (s->ops->getopt)                       // the family first: SO_PEERCRED and the like are its own
        err = s->ops->getopt(s, level, name, val, &len);
    if (err == -ENOPROTOOPT && level == SOL)
        err = sockopt_get_generic(s, name, val, &len);
    if (err)
        return err;
    if (len && copy_to_user(r->arg[3], val, len))
        return -EFAULT;
    return user_write_u32(r->arg[4], len);
}

long sys_setsockopt(struct regs *r) { return (i32)r->arg[4] < 0 ? -EINVAL : socket_call(r, set_option); }
long sys_getsockopt(struct regs *r) { return socket_call(r, get_option); }
