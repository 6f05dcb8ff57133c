#!/bin/sh
# SPDX-License-Identifier: Apache-2.0
# Unpacks lwIP's source into DIR (first argument). The tarball is Debian's source package `lwip`, or the file that LWIP_TARBALL
# names; its SHA-256 is fixed here. The machine's package sources stay as they are: a copy of them with source packages
# switched on lives in DIR only.
set -eu

version=2.1.3+dfsg1
tarball=lwip_$version.orig.tar.xz
sha256=0a8276d09fc4e97bbba2f953d74af2388fc2195ea156be9d7589e297a68fde24

dir=${1:?usage: fetch-lwip.sh DIR}
mkdir -p "$dir"
dir=$(CDPATH='' cd -- "$dir" && pwd)

fail() {
    echo "fetch-lwip.sh: $*" >&2
    echo "fetch-lwip.sh: give the file $tarball with LWIP_TARBALL=path" >&2
    exit 1
}

matches() {
    echo "$sha256  $dir/$tarball" | sha256sum --check --quiet
}

# The pool of an archive keeps the files of all its releases side by side: the machine's own archives first, then Debian's.
from_pools() {
    # shellcheck disable=SC2016 # apt-get expands
    archives=$(apt-get indextargets --format '$(REPO_URI)' 'Created-By: Packages' | sort -u)
    for archive in $archives http://deb.debian.org/debian/; do
        for component in main universe; do
            if /usr/lib/apt/apt-helper -qq download-file "${archive%/}/pool/$component/l/lwip/$tarball" "$dir/$tarball" \
                "SHA256:$sha256" >/dev/null 2>&1; then return 0; fi
        done
    done
    return 1
}

# An archive of another layout, as its index of source packages knows it.
from_index() {
    apt=$dir/apt
    rm -rf "$apt"
    mkdir -p "$apt/lists/partial" "$apt/sources.list.d"
    for f in /etc/apt/sources.list /etc/apt/sources.list.d/*.list; do
        if [ -f "$f" ]; then sed -n 's/^deb\(-src\)\{0,1\} /deb-src /p' "$f" >"$apt/sources.list.d/$(basename "$f" .list).list"; fi
    done
    for f in /etc/apt/sources.list.d/*.sources; do
        if [ -f "$f" ]; then sed 's/^Types:.*/Types: deb-src/' "$f" >"$apt/sources.list.d/$(basename "$f")"; fi
    done
    cat >"$apt/apt.conf" <<EOF
Dir::Etc::sourcelist "-";
Dir::Etc::sourceparts "$apt/sources.list.d";
Dir::State::lists "$apt/lists";
Dir::Cache::pkgcache "";
Dir::Cache::srcpkgcache "";
APT::Sandbox::User "root";
EOF
    APT_CONFIG=$apt/apt.conf apt-get -qq update >&2 || fail "apt-get update for source packages failed"
    (cd "$dir" && APT_CONFIG=$apt/apt.conf apt-get -qq source --download-only "lwip=$version-2" >&2) ||
        fail "the archives of this machine do not have version $version of the source package lwip"
    rm -rf "$apt"
}

if [ -n "${LWIP_TARBALL:-}" ]; then
    [ -f "$LWIP_TARBALL" ] || fail "LWIP_TARBALL: no such file: $LWIP_TARBALL"
    cp "$LWIP_TARBALL" "$dir/$tarball"
elif ! matches >/dev/null 2>&1; then
    rm -f "$dir/$tarball"   # half of it, from a download that was killed
    command -v apt-get >/dev/null || fail "no apt-get on this machine to fetch the source package with"
    from_pools || from_index
fi
matches >&2 || {
    rm -f "$dir/$tarball"
    fail "the tarball's SHA-256 is not $sha256"
}
rm -rf "$dir/src" "$dir/lwip-2.1.3"
tar -C "$dir" -xf "$dir/$tarball"
mv "$dir/lwip-2.1.3/src" "$dir/src"
rm -rf "$dir/lwip-2.1.3"

# lwIP looks through a list of all connections for each segment. These edits ask net/tcphash.c instead.
edit() {
    sed -i "$2" "$dir/src/$1"
    grep -q "$3" "$dir/src/$1" || fail "$1 is not what the edits expect"
}
lookup='net_tcp_lookup(ip_current_src_addr(), tcphdr->src, ip_current_dest_addr(), tcphdr->dest'
edit include/lwip/tcp.h 's/^  u16_t remote_port;/& struct tcp_pcb *hash_next, **hash_link; struct net_tcp net;/' hash_next
edit include/lwip/priv/tcp_priv.h '/^#define TCP_REG_ACTIVE(npcb)/,/do {/ s/do {/do { net_tcp_hash(npcb);/' net_tcp_hash
edit core/tcp.c '/^tcp_free(struct tcp_pcb \*pcb)/,/^{/ s/^{/{ net_tcp_unhash(pcb);/' net_tcp_unhash
edit core/tcp_in.c "s/for (pcb = tcp_active_pcbs; pcb != NULL; pcb = pcb->next)/for (pcb = $lookup, 0); pcb != NULL; pcb = NULL)/" 'dest, 0)'
edit core/tcp_in.c "s/for (pcb = tcp_tw_pcbs; pcb != NULL; pcb = pcb->next)/for (pcb = $lookup, 1); pcb != NULL; pcb = NULL)/" 'dest, 1)'
# Loss recovery, round-trip times and congestion control are net/recovery.c's.
edit include/lwip/priv/tcp_priv.h 's/^  struct tcp_seg \*next;/& u32_t sent_us;/' sent_us
edit include/lwip/priv/tcp_priv.h 's/(TF_NODELAY | TF_INFR)/(TF_NODELAY | TF_INFR | TF_RTO)/' 'TF_INFR | TF_RTO'
edit core/tcp_in.c 's/^#define LWIP_TCP_CALC_INITIAL_CWND(mss).*/#define LWIP_TCP_CALC_INITIAL_CWND(mss) LWIP_MIN(10U * (mss), LWIP_MAX(2U * (mss), 14600U))/' 14600U
edit core/tcp_in.c 's/if (pcb->dupacks > 3) {/if (0) {/' 'if (0) {'
edit core/tcp_in.c 's/if (pcb->dupacks >= 3) {/net_tcp_dupack(pcb); if (0) {/' 'net_tcp_dupack(pcb)'
edit core/tcp_in.c 's/^      if (pcb->flags & TF_INFR) {/      if (0 \&\& pcb->flags) {/' '0 && pcb->flags'
edit core/tcp_in.c 's/pcb->rto = (s16_t)((pcb->sa >> 3) + pcb->sv);/pcb->rto = (s16_t)net_tcp_rto(pcb);/' 'net_tcp_rto(pcb)'
edit core/tcp_in.c '/Update the congestion control variables/,/pcb->cwnd < pcb->ssthresh/ s/if (pcb->state >= ESTABLISHED) {/if (0 \&\& pcb->state) {/' '0 && pcb->state'
edit core/tcp_in.c 's/^      pcb->polltmr = 0;/      net_tcp_acked(pcb, acked); pcb->polltmr = 0;/' 'net_tcp_acked(pcb, acked)'
sample='{ net_tcp_sample(pcb, net_tcp_clock() - pcb->rttest); pcb->rttest = 0; }'
edit core/tcp_in.c "s/if (pcb->rttest && TCP_SEQ_LT(pcb->rtseq, ackno)) {/if (pcb->rttest \&\& TCP_SEQ_LT(pcb->rtseq, ackno)) $sample if (0) {/" net_tcp_sample
edit core/tcp_out.c 's/pcb->rttest = tcp_ticks;/pcb->rttest = pcb->net.sent_us;/' 'net.sent_us'
edit core/tcp_out.c '/^tcp_output_segment(struct tcp_seg/,/rcv_ann_right_edge =/ s/pcb->rcv_ann_right_edge = pcb->rcv_nxt/net_tcp_sent(pcb, seg); &/' 'net_tcp_sent(pcb, seg)'
edit core/tcp_in.c 's/^      pcb->unacked = tcp_free_acked_segments(/      net_tcp_freeing(pcb); &/' 'net_tcp_freeing(pcb)'
edit core/tcp_out.c '/^tcp_output(struct/,/^}/ s/wnd = LWIP_MIN(pcb->snd_wnd, pcb->cwnd);/wnd = LWIP_MIN(pcb->snd_wnd, net_tcp_window(pcb));/' 'net_tcp_window(pcb)'
edit core/tcp_out.c '/^tcp_output(struct/,/^}/ s/seg = pcb->unsent;/seg = net_tcp_next(pcb, wnd);/' 'net_tcp_next(pcb, wnd)'
# The last of the queue may be sent again and belong elsewhere: what the program writes, or its end, does not follow it then.
edit core/tcp_out.c 's/^    space = mss_local - (last_unsent->len + unsent_optlen);/& if (!net_tcp_is_last(pcb, last_unsent)) space = pcb->unsent_oversize = 0;/' \
    'space = pcb->unsent_oversize'
edit core/tcp_out.c '/^tcp_send_fin(struct/,/^}/ s/^    if ((TCPH_FLAGS(last_unsent->tcphdr)/    if (net_tcp_is_last(pcb, last_unsent) \&\& (TCPH_FLAGS(last_unsent->tcphdr)/' \
    'net_tcp_is_last(pcb, last_unsent) &&'
edit core/tcp_out.c '/^tcp_rexmit_rto_prepare(struct tcp_pcb \*pcb)/,/^{/ s/^{/{ return net_tcp_timed_out(pcb);/' 'net_tcp_timed_out(pcb)'
edit core/tcp.c 's/pcb->state == SYN_SENT && pcb->nrtx >= TCP_SYNMAXRTX/net_tcp_gives_up(pcb)/' 'net_tcp_gives_up(pcb)'
edit core/tcp.c 's/} else if (pcb->nrtx >= TCP_MAXRTX) {/} else if (0 \&\& pcb->nrtx) {/' '0 && pcb->nrtx'
edit core/tcp.c 's/if (pcb->state != SYN_SENT) {\r\{0,1\}$/if (1) {/' 'if (1) {'
edit core/tcp.c 's/int calc_rto = .*/int calc_rto = net_tcp_backoff(pcb);/' 'net_tcp_backoff(pcb)'
edit core/tcp.c 's/pcb->ssthresh = eff_wnd >> 1;/(void)eff_wnd;/' '(void)eff_wnd'
edit core/tcp.c 's/pcb->rto = 3000 /pcb->rto = LWIP_TCP_RTO_TIME /' 'pcb->rto = LWIP_TCP_RTO_TIME'

edit core/tcp_out.c '/^tcp_send_empty_ack(struct/,/^}/ s/^  u8_t num_sacks = 0;/& struct tcp_sack_range saved[LWIP_TCP_MAX_SACK_NUM]; net_tcp_report(pcb, saved);/' 'net_tcp_report(pcb, saved)'
edit core/tcp_out.c '/^tcp_send_empty_ack(struct/,/^}/ s/^  if (p == NULL) {/  if (p == NULL) net_tcp_reported(pcb, saved); &/' 'net_tcp_reported(pcb, saved)'
edit core/tcp_out.c 's/^  tcp_output_fill_options(pcb, p, optflags, num_sacks);/& net_tcp_reported(pcb, saved);/' 'num_sacks); net_tcp_reported'
edit core/tcp.c 's/pcb->ssthresh = TCP_SND_BUF;/pcb->ssthresh = 0x7fffffff;/' 0x7fffffff

edit core/tcp_in.c '/Try to send something out/,/tcp_output/ s/tcp_output(pcb);/net_tcp_answer(pcb);/' 'net_tcp_answer(pcb)'
edit core/tcp_in.c '/NOTE: tcp_send_empty_ack() on success/,/^#endif/ s/tcp_send_empty_ack(pcb);/net_tcp_hole(pcb);/' 'net_tcp_hole(pcb)'
edit core/tcp_in.c '/dealt with SACKs,/,/^      }/ s/tcp_send_empty_ack(pcb);/net_tcp_hole(pcb);/' 'net_tcp_hole(pcb)'

# Each connection has a receive window of its own: SO_RCVBUF.
edit include/lwip/tcp.h 's/TF_WND_SCALE) ? TCP_WND : TCPWND16(TCP_WND))/TF_WND_SCALE) ? NET_TCP_WND(pcb) : TCPWND16(NET_TCP_WND(pcb)))/' 'NET_TCP_WND(pcb)'
edit core/tcp.c '/^tcp_connect(/,/^}/ s/TCPWND_MIN16(TCP_WND)/TCPWND_MIN16(NET_TCP_WND(pcb))/' 'TCPWND_MIN16(NET_TCP_WND(pcb))'
edit core/tcp.c 's/LWIP_MIN((TCP_WND \/ 2), pcb->mss)/LWIP_MIN((NET_TCP_WND(pcb) \/ 2), pcb->mss)/' '(NET_TCP_WND(pcb) / 2)'
edit core/tcp.c 's/wnd_inflation >= TCP_WND_UPDATE_THRESHOLD/wnd_inflation >= LWIP_MIN(NET_TCP_WND(pcb) \/ 4, TCP_MSS * 4)/' 'NET_TCP_WND(pcb) / 4'
edit core/tcp_in.c '/window not at default value/d; s/pcb->rcv_wnd = pcb->rcv_ann_wnd = TCP_WND;/pcb->rcv_wnd = pcb->rcv_ann_wnd = NET_TCP_WND(pcb);/' 'NET_TCP_WND(pcb)'
edit core/tcp_in.c 's/^    npcb->netif_idx = pcb->netif_idx;/& net_tcp_passive(npcb);/' 'net_tcp_passive(npcb)'

# Timestamps: net/stamps.c looks at those that come in and drops old duplicates. pcb->mss is what a segment takes besides them; other
# options count in SYNs only, and the first SYN's.
edit core/tcp_in.c 's/^\( *\)tcp_parseopt(pcb);/\1if (flags \& TCP_SYN) tcp_parseopt(pcb);/' 'TCP_SYN) tcp_parseopt(pcb)'
edit core/tcp_in.c 's/^          pcb->mss = ((mss > TCP_MSS)/          if (pcb->state == SYN_SENT || !pcb->snd_queuelen) &/' '!pcb->snd_queuelen) *pcb->mss'
edit core/tcp_in.c 's/pcb->mss = tcp_eff_send_mss(\(n*pcb\)->mss,.*/& net_tcp_agreed(\1);/' 'net_tcp_agreed(npcb)'
edit core/tcp_out.c 's/mss_local = LWIP_MAX(mss_local, LWIP_TCP_OPT_LEN_TS + 1);/mss_local = (u16_t)(mss_local + optlen);/' 'mss_local + optlen'
edit core/tcp_out.c '/^tcp_build_timestamp_option(/,/^}/ s/sys_now()/net_tcp_stamp + pcb->net.stamp_offset/' 'pcb->net.stamp_offset'
edit core/tcp_out.c '/^tcp_output_fill_options(/,/^}/ s/tcp_build_timestamp_option(pcb, opts);/net_tcp_clock(); &/' 'net_tcp_clock(); tcp_build'
stamped='pcb->flags \& TF_TIMESTAMP ? TF_SEG_OPTS_TS : 0'
for probe in tcp_keepalive tcp_zero_window_probe; do
    edit core/tcp_out.c "/^$probe(/,/^}/ s/LWIP_TCP_OPT_LENGTH_SEGMENT(0, pcb)/LWIP_TCP_OPT_LENGTH_SEGMENT(($stamped), pcb)/" "TF_SEG_OPTS_TS : 0), pcb)"
    edit core/tcp_out.c "/^$probe(/,/^}/ s/tcp_output_fill_options(pcb, p, 0, 0);/tcp_output_fill_options(pcb, p, $stamped, 0);/" "TF_SEG_OPTS_TS : 0, 0)"
done
edit core/tcp_out.c '/^tcp_zero_window_probe(/,/^}/ s/(char \*)p->payload + TCP_HLEN)/(char *)p->payload + TCP_HLEN + optlen)/' 'TCP_HLEN + optlen)'

# TCP never sends more than the interface takes, except where the device cuts segments itself: nothing to fragment.
edit core/ipv4/ip4.c 's/if (netif->mtu && (p->tot_len > netif->mtu))/if (netif->mtu \&\& (p->tot_len > netif->mtu) \&\& proto != IP_PROTO_TCP)/' 'proto != IP_PROTO_TCP)'

# Routers shall say what is too long for the path instead of cutting it (RFC 1191); net/recovery.c makes segments shorter then.
edit core/ipv4/ip4.c 's/IPH_OFFSET_SET(iphdr, 0);/IPH_OFFSET_SET(iphdr, proto == IP_PROTO_TCP ? PP_HTONS(IP_DF) : 0);/' 'PP_HTONS(IP_DF) : 0'

# A neighbor or a router whose link address has changed says so in its solicitations, advertisements and redirects (RFC 4861,
# sections 7.2.3, 6.3.4 and 8.3): what it is asked or told goes to where it is now.
moved='lladdr_opt->addr, inp->hwaddr_len)'
edit core/ipv6/nd6.c "/case ICMP6_TYPE_NS:/,\$ s/if (neighbor_cache\[i\].state == ND6_INCOMPLETE) {/if (neighbor_cache[i].state == ND6_INCOMPLETE || memcmp(neighbor_cache[i].lladdr, $moved) {/" \
    "INCOMPLETE || memcmp(neighbor_cache"
router='default_router_list\[i\].neighbor_entry'
edit core/ipv6/nd6.c "s/($router->state == ND6_INCOMPLETE)/(& || memcmp($router->lladdr, $moved)/" 'memcmp(default_router_list'
# What a bridge floods to all its ports is for another host.
edit netif/ethernet.c 's/^  if (ethhdr->dest.addr\[0\] & 1) {/  if (!(ethhdr->dest.addr[0] \& 1)) { if (memcmp(\&ethhdr->dest, netif->hwaddr, ETH_HWADDR_LEN)) goto free_and_return; } else {/' \
    'memcmp(&ethhdr->dest, netif->hwaddr'
# net/config.c tells the neighbors of an address that was another host's before.
edit core/ipv6/nd6.c 's/^static void nd6_send_na(/void nd6_send_na(/; /^static void\r*$/{N;s/^static \(void\r*\nnd6_send_na(\)/\1/}' '^void nd6_send_na('

# ICMP errors quote what was sent as far as RFC 1812, section 4.3.2.3, allows.
edit core/ipv4/icmp.c 's/response_pkt_len = IP_HLEN + ICMP_DEST_UNREACH_DATASIZE;/response_pkt_len = 576 - IP_HLEN - 8;/' '576 - IP_HLEN'
quote='pbuf_copy_partial(p, icmphdr + 1, response_pkt_len, 0); if (0)'
edit core/ipv4/icmp.c "s/SMEMCPY((u8_t \*)q->payload + sizeof(struct icmp_echo_hdr), (u8_t \*)p->payload,/$quote &/" 'icmphdr + 1, response'

# All of 127/8 is ours, not only 127.0.0.1; only on loopback, which has no hardware address.
edit core/ipv4/ip4.c 's/if (ip4_addr_cmp(ip4_current_dest_addr(), netif_ip4_addr(netif)) ||/& (!netif->hwaddr_len \&\& ip4_addr_isloopback(ip4_current_dest_addr())) ||/' \
    'hwaddr_len && ip4_addr_isloopback'

touch "$dir/.unpacked"
