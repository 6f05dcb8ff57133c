# SPDX-License-Identifier: Apache-2.0
# lwIP: unpacked and built under $(BUILD)/lwip, from Debian's source package (net/fetch-lwip.sh). Included by the Makefile.

LWIP := $(BUILD)/lwip
LWIP_CORE := init def inet_chksum ip mem memp netif pbuf raw stats tcp tcp_in tcp_out udp \
	ipv4/dhcp ipv4/etharp ipv4/icmp ipv4/igmp ipv4/ip4 ipv4/ip4_addr ipv4/ip4_frag \
	ipv6/ethip6 ipv6/icmp6 ipv6/inet6 ipv6/ip6 ipv6/ip6_addr ipv6/ip6_frag ipv6/mld6 ipv6/nd6
LWIP_OBJS := $(LWIP_CORE:%=$(LWIP)/obj/core/%.o) $(LWIP)/obj/netif/ethernet.o
LWIP_INC := -Inet/lwip-port -isystem $(LWIP)/src/include
OBJS += $(LWIP_OBJS)

$(LWIP)/.unpacked: net/fetch-lwip.sh
	net/fetch-lwip.sh $(LWIP)

# Dependency files name its sources, which may be unpacked anew.
$(LWIP)/src/%: $(LWIP)/.unpacked ;

$(LWIP_OBJS): $(LWIP)/obj/%.o: $(LWIP)/.unpacked net/lwip-port/lwipopts.h net/lwip-port/arch/cc.h
	@mkdir -p $(@D)
	$(CC) $(CFLAGS) -U_FORTIFY_SOURCE -w $(LWIP_INC) -MD -MP -c $(LWIP)/src/$*.c -o $@

$(LWIP)/obj/core/init.o: CFLAGS += -DUNI_LWIP_INIT

# Ours that speak to lwIP.
LWIP_USERS := $(filter $(BUILD)/net/% $(BUILD)/dev/virtio_net% $(BUILD)/linux/inet% $(BUILD)/linux/netlink%,$(OBJS))
$(LWIP_USERS): $(LWIP)/.unpacked
$(LWIP_USERS): CFLAGS += $(LWIP_INC)
