// SPDX-License-Identifier: Apache-2.0
// A server that answers in pieces and closes at once: its client gets everything and the end, whatever came before.
// oracle: libc=musl timeout=120
#include "loopback.h"
#include <arpa/inet.h>

static struct sockaddr_in where;

static void *serve(void *arg)
{
    char b[4096] = "";
    int l = *(int *)arg;

    for (int i = 0; i < 40; i++) {
        int s = accept(l, NULL, NULL);
        struct timeval t = {60, 0};
        setsockopt(s, SOL_SOCKET, SO_RCVTIMEO, &t, sizeof t);
        setsockopt(s, SOL_SOCKET, SO_SNDTIMEO, &t, sizeof t);
        struct pollfd p = {.fd = s, .events = POLLIN};
        poll(&p, 1, 60000);
        for (long got = 0; got < 91;) {
            ssize_t n = read(s, b, sizeof b);
            if (n <= 0)
                break;
            got += n;
        }
        send(s, b, 98, MSG_NOSIGNAL);
        send(s, b, 362, MSG_NOSIGNAL);
        close(s);
    }
    return NULL;
}

int main(void)
{
    socklen_t n = sizeof where;
    pthread_t t;
    char b[4096] = "";
    int l = socket(AF_INET, SOCK_STREAM, 0), whole = 0;

    where = here(l);
    MUST(listen(l, 1024));
    pthread_create(&t, NULL, serve, &l);
    for (int i = 0; i < 40; i++) {
        struct timeval wait = {5, 0};
        long got = 0;
        ssize_t k;
        int c = socket(AF_INET, SOCK_STREAM, 0);
        setsockopt(c, SOL_SOCKET, SO_RCVTIMEO, &wait, sizeof wait);
        MUST(connect(c, (struct sockaddr *)&where, n));
        send(c, b, 56, MSG_NOSIGNAL);
        send(c, b, 33, MSG_NOSIGNAL);
        send(c, b, 2, MSG_NOSIGNAL);
        while ((k = recv(c, b, 512, MSG_PEEK)) > 0)
            got += recv(c, b, (size_t)k, 0);
        if (k < 0)
            SAY("%d: %s after %ld", i, errname(errno), got);
        whole += got == 460;
        close(c);
    }
    V(whole);
    pthread_join(t, NULL);
    return 0;
}
