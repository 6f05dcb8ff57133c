// SPDX-License-Identifier: Apache-2.0
// Between recovery.c, sack.c and cubic.c.
#ifndef UNI_NET_RECOVERY_H
#define UNI_NET_RECOVERY_H

#include "lwip/priv/tcp_priv.h"

static inline u32 seg_seq(const struct tcp_seg *s) { return lwip_ntohl(s->tcphdr->seqno); }
static inline u32 seg_len(const struct tcp_seg *s) { return TCP_TCPLEN(s); }
// A device may still read it.
static inline bool seg_busy(const struct tcp_seg *s) { return s->p->ref != 1; }

// The size of segments on the wire: pcb->mss is a multiple where the device cuts them.
u32 tcp_wire_mss(const struct tcp_pcb *pcb);

// net/sack.c: marks what a segment's options say; true when something new was said. *dsack: it reports a duplicate (RFC 2883).
bool sack_input(struct tcp_pcb *pcb, const u8 *options, u32 len, u32 ackno, bool *dsack);
void sack_recount(struct tcp_pcb *pcb);
void sack_forget(struct tcp_pcb *pcb);

// net/cubic.c
u32 cubic_reduce(struct tcp_pcb *pcb, u32 window);              // ssthresh after a loss
void cubic_grow(struct tcp_pcb *pcb, u32 acked);                // congestion avoidance
void cubic_restart(struct tcp_pcb *pcb);                        // the window was set otherwise

// net/recovery.c
void recovery_input(struct tcp_pcb *pcb, const u8 *options, u32 len, u32 ackno);
void recovery_tick(void);                                       // every TCP_TMR_INTERVAL

#endif
