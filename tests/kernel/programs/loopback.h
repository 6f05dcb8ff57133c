// SPDX-License-Identifier: Apache-2.0
// What the programs share that talk to themselves over loopback.
#ifndef LOOPBACK_H
#define LOOPBACK_H
#include "oracle.h"
#include <netinet/in.h>
#include <sys/socket.h>

static UNUSED int set(int fd, int level, int name, int v) { return setsockopt(fd, level, name, &v, sizeof v); }

// The option's value, or minus its errno.
static UNUSED int get(int fd, int level, int name)
{
    int v = -1;
    socklen_t n = sizeof v;

    return getsockopt(fd, level, name, &v, &n) ? -errno : v;
}

// Binds to a port of loopback that the kernel chooses.
static UNUSED struct sockaddr_in here(int fd)
{
    struct sockaddr_in a = {.sin_family = AF_INET, .sin_addr.s_addr = htonl(INADDR_LOOPBACK)};
    socklen_t n = sizeof a;

    MUST(bind(fd, (void *)&a, n));
    MUST(getsockname(fd, (void *)&a, &n));
    return a;
}

#endif
