// SPDX-License-Identifier: Apache-2.0
// What an ICMP error says, between net/hooks.c and linux/inet_error.c.
#ifndef UNI_ICMP_REPORT_H
#define UNI_ICMP_REPORT_H

#include "lwip/ip_addr.h"
#include "types.h"

struct inet_addr {
    ip_addr_t ip;
    u16 port;                   // host byte order
};

struct icmp_report {
    u8 proto, type, code;
    bool hard;                  // RFC 1122, 4.2.3.9
    int err;                    // positive
    u32 info;                   // the next hop's MTU, where the packet was too big
    struct inet_addr local, remote;
    ip_addr_t offender;
    const u8 *payload;          // of ours, as far as it was quoted
    u32 len;
};

#endif
