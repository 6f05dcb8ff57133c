// SPDX-License-Identifier: Apache-2.0
// Between inet_tcp.c and inet_tcp_conn.c.
#ifndef UNI_INET_TCP_H
#define UNI_INET_TCP_H

struct tcp_sock;
struct tcp_pcb;
struct socket;

void tcp_offload(struct tcp_sock *t, struct tcp_pcb *pcb);   // the handshake is done; net_lock held
void tcp_accept_ready(struct tcp_sock *t);              // into its listener's queue; net_lock held
void tcp_adopt(struct tcp_sock *t, struct socket *s);   // net_lock held

#endif
