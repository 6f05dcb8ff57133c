// SPDX-License-Identifier: Apache-2.0
// Between the files linux/inet_tcp*.c.
#ifndef UNI_INET_TCP_H
#define UNI_INET_TCP_H

struct tcp_sock;
struct tcp_pcb;
struct socket;
struct inet_addr;
struct msg;

void tcp_offload(struct tcp_sock *t, struct tcp_pcb *pcb);   // the handshake is done; net_lock held
void tcp_accept_ready(struct tcp_sock *t);              // into its listener's queue; net_lock held
void tcp_adopt(struct tcp_sock *t, struct socket *s);   // net_lock held
int tcp_bind_locked(struct socket *s, struct tcp_sock *t, struct inet_addr *a);
ssize_t tcp_send_loop(struct socket *s, struct msg *m, u32 flags);     // tx_lock held
ssize_t tcp_send_wait(struct socket *s, u32 flags);
u32 tcp_window_limit(const struct tcp_sock *t);
void tcp_buffers_apply(struct tcp_sock *t);  // the sizes of both as set; net_lock held
void tcp_window_apply(struct tcp_sock *t);   // the receive window's limit as set; net_lock held
void tcp_window_give(struct tcp_sock *t, u32 n);   // n bytes were read; net_lock held
bool tcp_unsent_low(const struct tcp_sock *t);
void tcp_tune_read(struct tcp_sock *t, u32 n);     // linux/inet_tcp_tune.c; net_lock held, as for both that follow
void tcp_tune_sent(struct tcp_sock *t);
void tcp_tune_forget(struct tcp_sock *t);
u32 tcp_readable(struct tcp_sock *t);        // unread bytes, without urgent data at the front

// linux/inet_tcp_urg.c: urgent data
ssize_t tcp_send_urgent(struct socket *s, struct msg *m, u32 flags);
ssize_t tcp_recv_urgent(struct socket *s, struct msg *m, u32 flags);
u32 tcp_until_mark(struct tcp_sock *t);      // unread bytes before the mark; ~0: none
bool tcp_skip_urgent(struct socket *s, struct tcp_sock *t);   // at the mark: true, once, when the byte there is left out
void tcp_urgent_read(struct tcp_sock *t);    // the position moved
void tcp_urgent_arrived(struct tcp_sock *t); // data was appended; net_lock held
u32 tcp_urgent_poll(const struct tcp_sock *t);

#endif
