// SPDX-License-Identifier: Apache-2.0
// lwIP's configuration (names: lwip/opt.h). Memory comes from the kernel heap; windows grow with the machine's memory.
#ifndef UNI_LWIPOPTS_H
#define UNI_LWIPOPTS_H

#include "types.h"

// One context: everything runs under net_lock().
#define NO_SYS 1
#define SYS_LIGHTWEIGHT_PROT 0
#define LWIP_SOCKET 0
#define LWIP_NETCONN 0
#define LWIP_TIMERS 0                         // net/timer.c calls the *_tmr functions
#define LWIP_SINGLE_NETIF 0

#define MEM_LIBC_MALLOC 1
#define MEMP_MEM_MALLOC 1
#define MEM_ALIGNMENT 8
void *net_mem_alloc(size_t n);
void *net_mem_calloc(size_t n, size_t size);
void net_mem_free(void *p);
#define mem_clib_malloc net_mem_alloc
#define mem_clib_calloc net_mem_calloc
#define mem_clib_free net_mem_free

// Room before the Ethernet header for virtio-net's (12 bytes), so that a frame is one buffer; 14 + 2 aligns IP's header.
#define ETH_PAD_SIZE 0
#define PBUF_LINK_ENCAPSULATION_HLEN 16
#define PBUF_POOL_BUFSIZE 1600
#define LWIP_SUPPORT_CUSTOM_PBUF 1
#define LWIP_NETIF_TX_SINGLE_PBUF 0

#define LWIP_IPV4 1
#define LWIP_IPV6 1
#define LWIP_ARP 1
#define LWIP_ETHERNET 1
#define ARP_TABLE_SIZE 255                    // a network of 250 VMs that all speak to one
#define LWIP_NETIF_HWADDRHINT 1               // a connection remembers its place in these tables
#define ARP_QUEUEING 1
#define ARP_QUEUE_LEN 16
#define ETHARP_SUPPORT_STATIC_ENTRIES 1
#define LWIP_ICMP 1
#define LWIP_ICMP6 1
#define LWIP_ICMP6_DATASIZE 1232              // what is quoted of a packet: RFC 4443, section 2.4 (c)
#define LWIP_RAW 1
#define LWIP_DHCP 1
#define LWIP_DHCP_GET_NTP_SRV 0
#define DHCP_DOES_ARP_CHECK 0
#define LWIP_AUTOIP 0
#define LWIP_DNS 0                            // programs resolve names themselves; we write /etc/resolv.conf
#define LWIP_DHCP_PROVIDE_DNS_SERVERS 1
void dns_setserver(u8 n, const void *addr);    // DHCP's answer; net/config.c
#define LWIP_IGMP 1
#define LWIP_IPV6_MLD 1
#define IPV6_FRAG_COPYHEADER 1                // pointers do not fit the fragment header, which lwIP would overrun
#define MEMP_NUM_MLD6_GROUP 64
#define LWIP_IPV6_AUTOCONFIG 1
#define LWIP_IPV6_DHCP6 0
#define LWIP_IPV6_NUM_ADDRESSES 4
#define LWIP_ND6_QUEUEING 1
#define LWIP_ND6_RDNSS_MAX_DNS_SERVERS 0
#define LWIP_ND6_NUM_NEIGHBORS 100
#define LWIP_ND6_NUM_DESTINATIONS 100
#define IP_REASSEMBLY 1
#define IP_FRAG 1
#define IP_REASS_MAX_PBUFS 128
#define IP_SOF_BROADCAST 1
#define IP_SOF_BROADCAST_RECV 0
#define LWIP_BROADCAST_PING 0
#define LWIP_MULTICAST_TX_OPTIONS 1
#define SO_REUSE 1
#define SO_REUSE_RXTOALL 1
#define LWIP_UDP 1
#define LWIP_UDPLITE 1

#define LWIP_TCP 1
#define TCP_MSS 16256                         // of loopback; other interfaces: MTU - 40 (60)
#define LWIP_WND_SCALE 1
#define TCP_RCV_SCALE 7
// Variables, set from the size of memory in net/core.c.
extern u32 net_tcp_wnd, net_tcp_sndbuf;
#ifdef UNI_LWIP_INIT                          // init.c only checks the options with the preprocessor, which knows no variables
#define TCP_WND 65536
#else
#define TCP_WND net_tcp_wnd
#endif
#define TCP_SND_BUF net_tcp_sndbuf
#define TCP_SND_QUEUELEN 0xf000
#define TCP_SNDLOWAT 2048
#define TCP_OVERSIZE 1460
#define TCP_QUEUE_OOSEQ 1
#define TCP_OOSEQ_MAX_PBUFS 0
#define LWIP_TCP_SACK_OUT 1
#define LWIP_TCP_MAX_SACK_NUM 4
#define LWIP_TCP_TIMESTAMPS 1
#define LWIP_TCP_KEEPALIVE 1
#define TCP_LISTEN_BACKLOG 1
#define TCP_DEFAULT_LISTEN_BACKLOG 255
#define TCP_MSL 1000                          // TIME_WAIT: two seconds, as the list of them is searched
#define TCP_TMR_INTERVAL 50                   // delayed acknowledgments 50 ms, retransmission in steps of 100 ms
#define LWIP_TCP_RTO_TIME 1000                // RFC 6298
#define TCP_MAXRTX 12                         // of zero window probes; data: net/recovery.c
#define TCP_SYNMAXRTX 6                       // as net.ipv4.tcp_syn_retries
#define LWIP_DISABLE_TCP_SANITY_CHECKS 1
#define LWIP_CALLBACK_API 1
#define LWIP_TCP_PCB_NUM_EXT_ARGS 0

#define LWIP_NETIF_HOSTNAME 1
#define LWIP_NETIF_LOOPBACK 1
#define LWIP_HAVE_LOOPIF 1
#define LWIP_LOOPIF_MULTICAST 1
#define LWIP_NETIF_LOOPBACK_MULTITHREADING 0
#define LWIP_LOOPBACK_MAX_PBUFS 0
#define LWIP_NETIF_STATUS_CALLBACK 1
#define LWIP_NETIF_LINK_CALLBACK 0
#define LWIP_NETIF_EXT_STATUS_CALLBACK 0
#define LWIP_CHECKSUM_CTRL_PER_NETIF 1
#define LWIP_CHECKSUM_ON_COPY 0
// What /proc/net/snmp and its like tell (linux/inet_mib.c), nothing else.
#define LWIP_STATS 1
#define LWIP_STATS_LARGE 1
#define MIB2_STATS 1
#define TCP_STATS 1
#define IP6_STATS 1
#define ICMP6_STATS 1
#define LINK_STATS 0
#define ETHARP_STATS 0
#define IP_STATS 0
#define IPFRAG_STATS 0
#define ICMP_STATS 0
#define IGMP_STATS 0
#define UDP_STATS 0
#define MEM_STATS 0
#define MEMP_STATS 0
#define SYS_STATS 0
#define IP6_FRAG_STATS 0
#define MLD6_STATS 0
#define ND6_STATS 0
#define LWIP_NOASSERT 0

// Called from places that fetch-lwip.sh edits; net/tcphash.c.
struct tcp_pcb;
void net_tcp_hash(struct tcp_pcb *pcb);
void net_tcp_unhash(struct tcp_pcb *pcb);
struct tcp_pcb *net_tcp_lookup(const void *remote, u16 rport, const void *local, u16 lport, bool time_wait);

struct pbuf;
struct netif;
struct tcp_hdr;
struct tcp_pcb;
u32 net_tcp_start(struct tcp_pcb *pcb);
#define LWIP_HOOK_TCP_ISN(lip, lport, rip, rport) net_tcp_start(pcb)
int net_hook_ip4(struct pbuf *p, struct netif *n);
#define LWIP_HOOK_IP4_INPUT(p, n) net_hook_ip4(p, n)
int net_hook_ip6(struct pbuf *p, struct netif *n);
#define LWIP_HOOK_IP6_INPUT(p, n) net_hook_ip6(p, n)
struct ip4_addr;
struct netif *net_hook_route4(const struct ip4_addr *dest);
#define LWIP_HOOK_IP4_ROUTE(dest) net_hook_route4(dest)
const struct ip4_addr *net_hook_gateway4(const struct netif *n, const struct ip4_addr *dest);
#define LWIP_HOOK_ETHARP_GET_GW(n, dest) net_hook_gateway4(n, dest)
struct ip6_addr;
const struct ip6_addr *net_hook_gateway6(const struct netif *n, const struct ip6_addr *dest);
#define LWIP_HOOK_ND6_GET_GW(n, dest) net_hook_gateway6(n, dest)
int net_hook_tcp(struct tcp_pcb *pcb, const struct tcp_hdr *hdr, u32 len, u32 len1, const u8 *rest, u32 data);
#define LWIP_HOOK_TCP_INPACKET_PCB(pcb, hdr, optlen, opt1len, opt2, p) (signed char)net_hook_tcp(pcb, hdr, optlen, opt1len, opt2, (p)->tot_len)
#include "recovery.h"

#endif
