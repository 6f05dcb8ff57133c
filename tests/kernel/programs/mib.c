// SPDX-License-Identifier: Apache-2.0
// The counters of /proc/net/{snmp,netstat,snmp6,sockstat,sockstat6} that tools read: what connections, refusals and datagrams add to them.
// oracle: libc=musl,glibc timeout=60
#include "loopback.h"

static const char *const names[] = {
    "Ip:DefaultTTL", "Tcp:RtoAlgorithm", "Tcp:RtoMin", "Tcp:RtoMax", "Tcp:MaxConn", "Tcp:ActiveOpens", "Tcp:PassiveOpens", "Tcp:CurrEstab",
    "Tcp:RetransSegs", "Tcp:InErrs", "Tcp:OutRsts", "Udp:InDatagrams", "Udp:NoPorts", "Udp:InErrors", "Udp:OutDatagrams", "Udp:RcvbufErrors",
    "Icmp:InMsgs", "Icmp:InDestUnreachs", "Icmp:OutMsgs", "Icmp:OutDestUnreachs", "TcpExt:SyncookiesSent", "TcpExt:ListenOverflows",
    "TcpExt:PAWSEstab",
};
enum { NAMES = COUNT(names), CONSTANTS = 5 };

static char text[65536];

// A pair of lines, names and numbers: the one called HEAD:NAME.
static long number(const char *what)
{
    char head[32], *line, *names_at, *values_at, *a, *b, *save_a, *save_b;
    const char *name = strchr(what, ':') + 1;
    static char copy[65536];

    snprintf(head, sizeof head, "%.*s ", (int)(name - what), what);
    strcpy(copy, text);
    line = strstr(copy, head);
    if (!line)
        return -99;
    names_at = line + strlen(head);
    values_at = strchr(names_at, '\n') + 1 + strlen(head);
    values_at[strcspn(values_at, "\n")] = 0;
    names_at[strcspn(names_at, "\n")] = 0;
    a = strtok_r(names_at, " ", &save_a);
    b = strtok_r(values_at, " ", &save_b);
    while (a && b && strcmp(a, name)) {
        a = strtok_r(NULL, " ", &save_a);
        b = strtok_r(NULL, " ", &save_b);
    }
    return a && b ? atol(b) : -99;
}

static void take(long *v)
{
    MUST(read_whole("/proc/net/snmp", text, sizeof text));
    for (int i = 0; i < NAMES; i++)
        if (strncmp(names[i], "TcpExt", 6))
            v[i] = number(names[i]);
    MUST(read_whole("/proc/net/netstat", text, sizeof text));
    for (int i = 0; i < NAMES; i++)
        if (!strncmp(names[i], "TcpExt", 6))
            v[i] = number(names[i]);
}

static long change(const char *name, const long *before, const long *after)
{
    int i = 0;

    while (strcmp(names[i], name))
        i++;
    return after[i] - before[i];
}

static void told(const char *what, const long *before)
{
    long now[NAMES];

    take(now);
    SAY("-- %s", what);
    for (int i = 0; i < NAMES; i++)
        if (now[i] != before[i])
            SAY("%s %+ld", names[i], now[i] - before[i]);
}

static void lines_of(const char *path, const char *start)
{
    char *line, *save;

    MUST(read_whole(path, text, sizeof text));
    for (line = strtok_r(text, "\n", &save); line; line = strtok_r(NULL, "\n", &save))
        if (!strncmp(line, start, strlen(start))) {
            char *memory = strstr(line, " mem ");       // Linux counts it for all network namespaces: what others on the host do
            if (memory)
                *memory = 0;
            SAY("%s", line);
        }
}

static void constants(void)
{
    long v[NAMES];

    take(v);
    for (int i = 0; i < CONSTANTS; i++)
        SAY("%s %ld", names[i], v[i]);
    MUST(read_whole("/proc/net/snmp", text, sizeof text));
    V(number("Ip:Forwarding") > 0);     // 1 or 2, as the host has it
}

static void connections(void)
{
    long before[NAMES];
    int l = socket(AF_INET, SOCK_STREAM, 0), c[3], s[3], refused = socket(AF_INET, SOCK_STREAM, 0);
    struct sockaddr_in a = here(l), nobody = here(refused);

    take(before);
    MUST(listen(l, 5));
    for (int i = 0; i < 3; i++) {
        MUST(c[i] = socket(AF_INET, SOCK_STREAM, 0));
        MUST(connect(c[i], (void *)&a, sizeof a));
        MUST(s[i] = accept(l, NULL, NULL));
    }
    told("three connections", before);
    lines_of("/proc/net/sockstat", "UDP:");
    for (int i = 0; i < 3; i++) {
        struct linger now = {1, 0};
        setsockopt(c[i], SOL_SOCKET, SO_LINGER, &now, sizeof now);
        close(c[i]);
        close(s[i]);
    }
    told("and their ends", before);
    close(refused);
    take(before);
    MUST(refused = socket(AF_INET, SOCK_STREAM, 0));
    T(connect(refused, (void *)&nobody, sizeof nobody));
    told("a refusal", before);
    close(refused);
    close(l);
}

static void datagrams(void)
{
    long before[NAMES], now[NAMES];
    int from = socket(AF_INET, SOCK_DGRAM, 0), to = socket(AF_INET, SOCK_DGRAM, 0);
    struct sockaddr_in a = here(to);
    char buffer[1000] = "";

    lines_of("/proc/net/sockstat", "UDP");
    lines_of("/proc/net/sockstat", "RAW");
    lines_of("/proc/net/sockstat6", "");
    take(before);
    for (int i = 0; i < 4; i++) {
        MUST(sendto(from, buffer, 100, 0, (void *)&a, sizeof a));
        MUST(recv(to, buffer, sizeof buffer, 0));
    }
    told("four datagrams", before);
    close(to);
    MUST(sendto(from, buffer, 100, 0, (void *)&a, sizeof a));
    nap(20);
    told("and one for nobody", before);

    MUST(to = socket(AF_INET, SOCK_DGRAM, 0));
    set(to, SOL_SOCKET, SO_RCVBUF, 2304);
    a = here(to);
    take(before);
    for (int i = 0; i < 50; i++)
        MUST(sendto(from, buffer, sizeof buffer, 0, (void *)&a, sizeof a));
    take(now);
    V(change("Udp:RcvbufErrors", before, now) > 20);
    V(change("Udp:InErrors", before, now) == change("Udp:RcvbufErrors", before, now));
    close(to);
    close(from);
}

int main(void)
{
    constants();
    connections();
    datagrams();
    return 0;
}
