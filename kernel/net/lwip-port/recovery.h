// SPDX-License-Identifier: Apache-2.0
// Loss recovery and congestion control of a connection (net/recovery.c, net/cubic.c), part of lwIP's struct tcp_pcb.
#ifndef UNI_LWIP_RECOVERY_H
#define UNI_LWIP_RECOVERY_H

#include "list.h"
#include "types.h"

struct tcp_pcb;

// CUBIC's memory of the last loss (RFC 9438, section 4.1.2); bytes and milliseconds.
struct net_cubic {
    u32 w_max;                  // the window before the last reduction
    u32 origin, k_ms;           // the plateau, and how long after epoch_ms it is reached
    u32 w_est;                  // what Reno would have now
    u64 epoch_ms;               // of the present stage of congestion avoidance; 0: it has not begun
    u32 round_end, round_min;   // slow start: what ends this round; its least round trip so far, of that many samples
    u32 round_samples;
};

// Flags of lwIP's tcp_seg.flags that it leaves free.
#define NET_SEG_SACKED 0x20         // the peer holds it
#define NET_SEG_AGAIN 0x40          // was sent more than once
#define NET_SEG_LOST 0x80           // believed lost, and not sent again since

struct net_tcp {
    struct list flight;         // among those that the timer looks at (net/tcptime.c); NULL pointers: it is not
    u32 srtt, rttvar;           // microseconds; 0: nothing measured yet
    u32 min_rtt, min_at;        // of the last minutes, and when
    u32 sent_us;                // when the last segment left
    u32 recover;                // recovery ends when this is acknowledged
    u32 edge;                   // while anything is missing: how far tcp_output() may go
    u32 sacked, nr_sacked;      // bytes and segments above lastack that the peer holds
    u32 lost;                   // bytes marked NET_SEG_LOST
    u32 high_sacked;            // right edge of the highest of those that the peer holds
    u32 dup_bytes;              // without SACK: what duplicate acknowledgments say has left the network
    u32 rack_us, rack_end, rack_rtt;    // of what was delivered, the segment sent last (RFC 8985, section 5.2); 0: none since it was idle
    u32 reo_us, reo_due;        // how late segments may be that are not lost; when the next one is; 0: nothing known, none waits
    u32 prior_cwnd, prior_ssthresh, undo_bytes; // to take a needless reduction back (RFC 3708)
    u32 probe_end;              // tail loss probe (RFC 8985, section 7); 0: no probe is out
    u32 total_again;            // segments sent again, ever
    u32 wnd_max;                // receive window at most (SO_RCVBUF, TCP_WINDOW_CLAMP); 0: the default
    u32 twice_left, twice_right;        // what the peer sent twice, to be reported; equal: nothing
    u32 stamp_offset;           // what is added to the clock of our timestamps
    u32 echo;                   // of the segment that is being looked at: the timestamp of ours that it answers; 0: none
    u32 told, whole;            // what was acknowledged to the peer; bytes in order since it lost something, up to a limit
    u32 hole_from, hole_to;     // what is missing first, as the last acknowledgments said
    u16 wire_mss;               // where the device cuts segments: their size on the wire; else 0
    u8 syn_retries;             // TCP_SYNCNT; 0: the default
    u8 dupthresh;               // segments that overtook another, at least three; 0: none did
    u8 probed;                  // probes since something was acknowledged
    u8 hole_acks;               // how many said so
    bool reno;
    struct net_cubic cubic;
};

// What /proc/net tells of TCP that lwIP does not count itself (linux/inet_mib.c).
struct net_tcp_counts {
    u32 paws;                   // old duplicates by their timestamps
    u32 again;                  // segments sent again
    u32 timeouts, recoveries, undone, probes;
    u32 syns_again, early;      // SYNs sent again; segments that came before others
    u32 overflows;              // SYNs for listeners without room
};
extern struct net_tcp_counts net_tcp_counts;

// Called from the places that fetch-lwip.sh edits.
struct tcp_seg;
u32 net_tcp_clock(void);                            // microseconds, never 0
// The clock of timestamps as net_tcp_clock() last read it. Its ticks are 1.05 ms: RFC 7323, section 5.4 wants 1 ms to 1 s.
#define NET_STAMP_SHIFT 20
extern u32 net_tcp_stamp;
void net_tcp_agreed(struct tcp_pcb *pcb);           // on options; pcb->mss is what a packet takes without them
void net_tcp_sample(struct tcp_pcb *pcb, u32 us);   // a round trip was measured
int net_tcp_rto(struct tcp_pcb *pcb);               // the time-out, in TCP_SLOW_INTERVALs
int net_tcp_backoff(struct tcp_pcb *pcb);           // the same after pcb->nrtx time-outs
int net_tcp_timed_out(struct tcp_pcb *pcb);         // lwIP's own clock says so: queues what is lost; ERR_OK, or ERR_VAL: not now
int net_tcp_gives_up(struct tcp_pcb *pcb);          // after so many time-outs
void net_tcp_dupack(struct tcp_pcb *pcb);
void net_tcp_freeing(struct tcp_pcb *pcb);          // lastack has moved; the queues are still what they were
void net_tcp_acked(struct tcp_pcb *pcb, u32 bytes); // new data was acknowledged; the queues are up to date
struct tcp_sack_range;
void net_tcp_report(struct tcp_pcb *pcb, struct tcp_sack_range *saved);
void net_tcp_reported(struct tcp_pcb *pcb, const struct tcp_sack_range *saved);
void net_tcp_answer(struct tcp_pcb *pcb);           // what tcp_input() leads to: tcp_output(), now or after more has come in
void net_tcp_hole(struct tcp_pcb *pcb);             // something came, and something before it is missing
void net_tcp_sent(struct tcp_pcb *pcb, struct tcp_seg *seg);
void net_tcp_gone(struct tcp_pcb *pcb);
u32 net_tcp_window(struct tcp_pcb *pcb);            // how far beyond lastack the congestion control lets tcp_output() go
int net_tcp_is_last(const struct tcp_pcb *pcb, const struct tcp_seg *seg);     // nothing was queued behind it, here or in unacked
struct tcp_seg *net_tcp_next(struct tcp_pcb *pcb, u32 wnd);     // what tcp_output() sends next, cut to what it may send
void net_tcp_passive(struct tcp_pcb *pcb);          // a SYN made it, from a listener whose callback_arg it has

#define NET_TCP_WND(pcb) ((pcb)->net.wnd_max ? (pcb)->net.wnd_max : TCP_WND)

#endif
