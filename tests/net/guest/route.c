// SPDX-License-Identifier: Apache-2.0
// route NETWORK MASK GATEWAY PROGRAM...: adds a route by ioctl, as route(8) does, then becomes the program.
#include <arpa/inet.h>
#include <net/route.h>
#include <stdio.h>
#include <string.h>
#include <sys/ioctl.h>
#include <sys/socket.h>
#include <unistd.h>

static void put(struct sockaddr *to, const char *text)
{
    struct sockaddr_in a = {.sin_family = AF_INET};

    inet_pton(AF_INET, text, &a.sin_addr);
    memcpy(to, &a, sizeof a);
}

int main(int argc, char **argv)
{
    struct rtentry r = {.rt_flags = RTF_UP | RTF_GATEWAY};

    if (argc < 5)
        return 2;
    put(&r.rt_dst, argv[1]);
    put(&r.rt_genmask, argv[2]);
    put(&r.rt_gateway, argv[3]);
    if (ioctl(socket(AF_INET, SOCK_DGRAM, 0), SIOCADDRT, &r)) {
        perror("SIOCADDRT");
        return 1;
    }
    execv(argv[4], argv + 4);
    perror(argv[4]);
    return 1;
}
