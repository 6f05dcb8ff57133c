// SPDX-License-Identifier: Apache-2.0
// AF_INET and AF_INET6 sockets: what the files linux/inet*.c share. Fields of the socks change under net_lock() only.
#ifndef UNI_INET_H
#define UNI_INET_H

#include "lwip/ip_addr.h"
#include "lwip/netif.h"
#include "lwip/pbuf.h"

#include "list.h"
#include "net.h"
#include "poll.h"
#include "sched.h"
#include "socket.h"

#include "../net/icmp_report.h"

struct tcp_pcb;
struct udp_pcb;
struct raw_pcb;
struct tcp_group;

// Options at IPPROTO_IP and IPPROTO_IPV6 that every kind has. The bytes are looked up by their place (linux/inet_opt.c).
struct inet_opts {
    u8 ttl, tos, mcast_ttl, v6hops, tclass, mcast_hops, minttl, minhops, mtu_discover, mtu_discover6;
    bool v6only, mcast_loop, mcast_loop6, mcast_all, mcast_all6, pktinfo, pktinfo6, recvttl, recvtos, recvhops, recvtclass, recverr;
    bool freebind, transparent, origdst, recvfrag, recvfrag6, dontfrag, rfc4884, bind_no_port;
    bool recvopts, retopts, passsec, nodefrag, checksum, hopopts, rthdr, dstopts, pathmtu, autoflow, flowinfo, flowinfo_send;
    u32 mcast_if, unicast_if;   // interface indices, 0: by route
};

struct mcast_member {
    struct list node;
    ip_addr_t group;
    u32 ifindex;
};

enum tcp_phase { TCP_IDLE, TCP_CONNECTING, TCP_CONNECTED, TCP_LISTENING, TCP_DEAD };

enum tcp_urg { URG_NONE, URG_NOT_YET, URG_VALID, URG_READ };      // the byte: announced, arrived, read

struct tcp_sock {
    struct inet_opts opt;       // first: inet_opts_of()
    struct inet_addr local, remote;
    struct socket *s;           // NULL between the handshake and accept()
    struct tcp_pcb *pcb;        // NULL: gone, or both directions closed
    enum tcp_phase phase;
    int error;                  // until there is a socket to hold it
    bool bound, fin_received, shut_rd, shut_wr, nospace, cork, nodelay, quickack, ever_connected;
    bool reno;                  // TCP_CONGESTION; else CUBIC
    bool untold;                // connect() has not said yet how the attempt ended
    // Received and not yet read: pbufs linked through `next`, their tot_len is not used.
    struct pbuf *rx_head, *rx_tail;
    u32 rx_off, rx_bytes, rx_bufs;
    u32 read_seq;               // sequence number of the first of them
    u32 urg_seq;                // and of the urgent byte
    enum tcp_urg urg;
    u8 urg_byte;
    struct mutex rx_lock, tx_lock;   // one reader, one writer at a time; taken before net_lock()
    u32 snd_total;              // send buffer as set
    u32 window_clamp;           // TCP_WINDOW_CLAMP; 0: none
    u32 window_debt;            // what the window must still lose: it never moves back, it only stays behind what is read
    u32 rcv_more, snd_more;     // what long paths have made of window and send buffer beyond the usual size (inet_tcp_tune.c)
    u32 tune_us, tune_bytes;    // read since then
    u32 notsent_lowat;          // TCP_NOTSENT_LOWAT; 0: none
    // Listening.
    struct tcp_group *group;
    struct list group_node, accept_queue, accept_node;
    struct tcp_sock *listener;  // whose queue it waits in
    u32 nr_accept, backlog;
    int defer_accept;           // seconds
    // TCP options.
    u32 keep_idle, keep_intvl, keep_cnt, user_timeout, syncnt, maxseg, fastopen;
    bool fastopen_connect, inq;
    int linger2;
    u16 real_mss;               // of the wire, where segments are longer for the device to cut
    u64 progress_ns;            // the peer last acknowledged something
    u64 bytes_acked, bytes_received;
    struct list all_node;       // tcp_socks
};

extern u32 inet_udp_drops;      // linux/inet_mib.c: datagrams that found no room, ever
void inet_mib_init(void);
const ip6_addr_t *inet_gateway6(struct netif *n);       // where its default route leads; NULL: nowhere

struct udp_sock {
    struct inet_opts opt;
    struct inet_addr local, remote;
    struct socket *s;
    struct udp_pcb *pcb;        // UDP, or
    struct raw_pcb *raw;        // raw
    bool bound, connected, shut_rd, shut_wr, hdrincl;
    u8 proto;
    u16 ping_id;                // of a SOCK_DGRAM ICMP socket
    u32 icmp_filter;
    struct list queue, errors;  // struct dgram.node; errors: for MSG_ERRQUEUE
    u32 queued;                 // bytes, with overhead
    struct list groups;         // struct mcast_member.node
    u64 drops;
    struct list all_node;       // udp_socks
};

// A datagram in a receiver's queue, or (err) one of ours that an ICMP error sent back.
struct dgram {
    struct list node;
    struct pbuf *p;
    struct inet_addr from;
    ip_addr_t to;
    u32 ifindex;
    u64 time_ns;
    u8 ttl, tos;
    u8 icmp_type, icmp_code;
    u32 drops;                  // lost before it for want of room
    int err;                    // positive
    u32 info;
    struct inet_addr origin;    // where it went
    ip_addr_t offender;         // who reports it
};

// What ancillary data asks for one packet.
struct inet_control {
    int ttl, tos;               // -1: as the socket has it
    u32 ifindex;
    bool has_source;
    ip_addr_t source;
};

extern struct list tcp_socks, udp_socks;

static inline struct inet_opts *inet_opts_of(struct socket *s) { return s->priv; }

// linux/inet.c
int inet_addr_in(const struct socket *s, const struct sockaddr_buf *a, u32 len, struct inet_addr *out);
u32 inet_addr_out(const struct socket *s, const struct inet_addr *in, struct sockaddr_buf *a);   // the length
int inet_errno(int lwip_err);                   // err_t to negative errno
bool inet_is_local(const ip_addr_t *ip);        // an address of ours (or any, or multicast)
bool inet_is_ours(const ip_addr_t *ip);         // an address of ours
bool inet_addrs_overlap(const struct inet_addr *a, bool a_only6, const struct inet_addr *b, bool b_only6);
int inet_check_port(u16 port);                  // privileged ports: -EACCES
struct netif *inet_netif(u32 ifindex);          // Linux's index; NULL: none
struct netif *inet_next_netif(u32 *ifindex);    // the one with the next higher index, from 0 on; NULL: that was the last
u32 inet_ifindex(const struct netif *n);
u32 inet_ip6_flags(const struct netif *n, int i);   // IFA_F_* of an interface's i-th IPv6 address; ~0: there is none

// linux/inet_proc.c
void inet_proc_init(void);

// linux/inet_opt.c
void inet_opts_init(struct inet_opts *o);
int inet_setopt(struct socket *s, int level, int name, const void *val, u32 len);   // 1: not one of these
int inet_getopt(struct socket *s, int level, int name, void *val, u32 *len);
u32 inet_path_mtu(const ip_addr_t *to);      // 0: no way there; net_lock held
int inet_membership(struct udp_sock *u, int level, int name, const void *val, u32 len);   // 1: not one of these
void inet_drop_memberships(struct udp_sock *u);

// linux/inet_ioctl.c
long inet_ioctl(struct socket *s, u32 cmd, uptr arg);
u8 inet_device(const struct socket *s);             // lwIP's index of the socket's device; net_lock held
void inet_ifname(struct netif *n, char name[16]);   // "lo", "eth0"
u32 inet_ifflags(const struct netif *n);            // IFF_*

// linux/inet_tcp*.c
int tcp_sock_create(struct socket *s);
struct tcp_sock *tcp_sock_alloc(unsigned flags);
void tcp_sock_attach(struct tcp_sock *t, struct tcp_pcb *pcb);
void tcp_sock_detach(struct tcp_sock *t);       // gives up the pcb, which goes on alone
void tcp_sock_drop(struct tcp_sock *t);         // frees t and what it holds; aborts the connection
void tcp_sock_wake(struct tcp_sock *t, u32 events);
void tcp_rx_purge(struct tcp_sock *t);
bool tcp_sock_writable(const struct tcp_sock *t);
u32 tcp_sock_poll(struct socket *s);
void tcp_apply_options(struct tcp_sock *t);
int tcp_op_bind(struct socket *s, const struct sockaddr_buf *a, u32 len);
int tcp_op_connect(struct socket *s, const struct sockaddr_buf *a, u32 len, bool nonblock);
int tcp_op_listen(struct socket *s, int backlog);
int tcp_op_accept(struct socket *s, struct socket *fresh, bool nonblock);
int tcp_op_shutdown(struct socket *s, int how);
void tcp_op_release(struct socket *s);
ssize_t tcp_op_send(struct socket *s, struct msg *m, u32 flags);
ssize_t tcp_op_recv(struct socket *s, struct msg *m, u32 flags);
int tcp_op_setopt(struct socket *s, int level, int name, const void *val, u32 len);
int tcp_op_getopt(struct socket *s, int level, int name, void *val, u32 *len);
void tcp_op_changed(struct socket *s);
void tcp_group_leave(struct tcp_sock *t);
void tcp_flush(struct tcp_sock *t);             // sends what a cork held back

// linux/inet_dgram.c, linux/inet_udp.c, linux/inet_raw.c
int udp_sock_create(struct socket *s);
int raw_sock_create(struct socket *s);
struct udp_sock *dgram_alloc(struct socket *s);
int dgram_queue(struct udp_sock *u, struct pbuf *p, const ip_addr_t *from, u16 port);   // of the packet lwIP is at; keeps p on 0
void dgram_queue_error(struct udp_sock *u, const struct icmp_report *r);
ssize_t dgram_recv(struct socket *s, struct msg *m, u32 flags);
u32 dgram_poll(struct socket *s);
int dgram_getname(struct socket *s, struct sockaddr_buf *a, bool peer);
int dgram_shutdown(struct socket *s, int how);
int dgram_setopt(struct socket *s, int level, int name, const void *val, u32 len);
int dgram_getopt(struct socket *s, int level, int name, void *val, u32 *len);
void dgram_changed(struct socket *s);
void dgram_release(struct socket *s);
struct pbuf *dgram_build(struct msg *m, int layer);    // err_ptr(-EMSGSIZE, -EFAULT, -ENOBUFS)

// linux/inet_control.c
void inet_put_control(struct socket *s, const struct inet_opts *o, struct msg *m, const struct dgram *d);
int inet_take_control(const struct socket *s, const struct msg *m, struct inet_control *c);

#endif
