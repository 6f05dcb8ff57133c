// SPDX-License-Identifier: Apache-2.0
// Between recovery.c, sack.c and cubic.c.
#ifndef UNI_NET_RECOVERY_H
#define UNI_NET_RECOVERY_H

#include "lwip/priv/tcp_priv.h"

static inline u32 seg_seq(const struct tcp_seg *s) { return lwip_ntohl(s->tcphdr->seqno); }
static inline u32 seg_len(const struct tcp_seg *s) { return TCP_TCPLEN(s); }
// A device may still read it.
static inline bool tcp_missing(const struct tcp_pcb *pcb) { return pcb->net.sacked || pcb->net.lost || (pcb->flags & TF_INFR); }
static inline bool seg_busy(const struct tcp_seg *s) { return s->p->ref != 1; }

// The size of segments on the wire: pcb->mss is a multiple where the device cuts them.
u32 tcp_wire_mss(const struct tcp_pcb *pcb);

// net/sack.c: marks what a segment's options say and returns the bytes that it had not said before. *twice: bytes that came
// twice (RFC 2883).
u32 sack_input(struct tcp_pcb *pcb, const u8 *options, u32 len, u32 ackno, u32 now, u32 *twice);
void sack_forget(struct tcp_pcb *pcb);
void sack_trim(struct tcp_pcb *pcb, struct tcp_seg *s);         // takes off what was acknowledged of it
void sack_received(struct tcp_pcb *pcb, u32 seq, u32 len);      // data of the peer's while something is missing, or that came before
void sack_batch(bool begins);
void sack_start(void);
void sack_told(struct tcp_pcb *pcb);                            // an acknowledgment leaves
void sack_gone(const struct tcp_pcb *pcb);
bool seg_split(struct tcp_pcb *pcb, struct tcp_seg *s, u32 at); // false: no memory, or the device still reads it

// net/stamps.c
const u8 *tcp_option(const u8 *options, u32 len, u8 kind);     // where it begins, all of it within `len`; NULL: there is none
// Section 4.3: of what moves the left edge of the window, if it is not older.
static inline void stamps_remember(struct tcp_pcb *pcb, u32 value, u32 seq, u32 len)
{
    u32 gone = pcb->ts_lastacksent - seq;     // what we had acknowledged before
    if (gone <= len && (i32)(value - pcb->ts_recent) >= 0)
        pcb->ts_recent = value;
}
// What they take of each segment.
static inline u16 stamps_len(const struct tcp_pcb *pcb) { return pcb->flags & TF_TIMESTAMP ? LWIP_TCP_OPT_LEN_TS_OUT : 0; }
bool stamps_input(struct tcp_pcb *pcb, const struct tcp_hdr *h, const u8 *options, u32 len, u32 data);
void stamps_measure(struct tcp_pcb *pcb);

// net/rack.c: what is lost, by time (RFC 8985)
void rack_delivered(struct tcp_pcb *pcb, const struct tcp_seg *s, u32 now);
void rack_detect(struct tcp_pcb *pcb, u32 now);                 // marks NET_SEG_LOST
void rack_needless(struct tcp_pcb *pcb);                        // something was sent again that had arrived
void rack_repaired(struct tcp_pcb *pcb);                        // a recovery is over

// net/cubic.c
u32 cubic_reduce(struct tcp_pcb *pcb, u32 window);              // ssthresh after a loss
void cubic_grow(struct tcp_pcb *pcb, u32 acked);                // congestion avoidance
void cubic_slow_start(struct tcp_pcb *pcb, u32 rtt);            // one more acknowledgment in slow start
void cubic_restart(struct tcp_pcb *pcb);                        // the window was set otherwise

// net/recovery.c
void recovery_input(struct tcp_pcb *pcb, const u8 *options, u32 len, u32 ackno);
void recovery_look(struct tcp_pcb *pcb, u32 now, u32 delivered);
void recovery_timed_out(struct tcp_pcb *pcb);
void recovery_probe(struct tcp_pcb *pcb);

void recovery_shorten(struct tcp_pcb *pcb, u32 mss);            // the path takes no longer segments

// net/tcptime.c
void tcptime_soon(u32 us);                                      // have a look in so many microseconds at the latest
u32 tcptime_rto(const struct tcp_pcb *pcb);                     // microseconds, without back-off

#endif
