// SPDX-License-Identifier: Apache-2.0
// A web server for trying Uni: an ordinary Linux program, nothing in it knows about unikernels.
//   gcc -O2 -static -o web web.c
// GET / answers with a page, GET /health with "ok"; GREETING and PORT come from the environment. SIGTERM ends it.

#define _GNU_SOURCE
#include <errno.h>
#include <netinet/in.h>
#include <poll.h>
#include <signal.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/socket.h>
#include <sys/utsname.h>
#include <time.h>
#include <unistd.h>

enum { CLIENTS = 64, REQUEST = 2048 };

// One connection: its socket and the request as far as it has come.
struct client {
    int fd;
    size_t length;
    char request[REQUEST];
};

static volatile sig_atomic_t leaving;
static struct client clients[CLIENTS];
static unsigned long served;

static void leave(int signal_number)
{
    (void)signal_number;
    leaving = 1;
}

static double uptime(void)
{
    struct timespec now;
    clock_gettime(CLOCK_BOOTTIME, &now);
    return (double)now.tv_sec + (double)now.tv_nsec / 1e9;
}

// Write an answer to the request in c->request; a client that does not read is not waited for.
static void answer(struct client *c)
{
    char body[1024], head[256];
    struct utsname host;
    const char *greeting = getenv("GREETING");
    const char *status = "200 OK";

    uname(&host);
    if (strncmp(c->request, "GET /health ", 12) == 0)
        snprintf(body, sizeof(body), "ok\n");
    else if (strncmp(c->request, "GET / ", 6) == 0)
        snprintf(body, sizeof(body), "%s\nThis is %s %s on %s, up for %.1f s, request number %lu.\n",
                 greeting ? greeting : "Hello from a unikernel.", host.sysname, host.release, host.nodename,
                 uptime(), ++served);
    else {
        status = "404 Not Found";
        snprintf(body, sizeof(body), "there is / and /health\n");
    }
    int length = snprintf(head, sizeof(head), "HTTP/1.1 %s\r\nContent-Type: text/plain\r\nContent-Length: %zu\r\n"
                          "Connection: close\r\n\r\n", status, strlen(body));
    if (write(c->fd, head, (size_t)length) == length)
        (void)!write(c->fd, body, strlen(body));
}

static void receive(struct client *c)
{
    ssize_t got = read(c->fd, c->request + c->length, REQUEST - 1 - c->length);

    if (got < 0 && (errno == EAGAIN || errno == EINTR))
        return;
    if (got > 0) {
        c->length += (size_t)got;
        c->request[c->length] = '\0';
        if (!strstr(c->request, "\r\n\r\n") && c->length < REQUEST - 1)
            return;
        answer(c);
    }
    close(c->fd);
    c->fd = -1;
}

static void take(int listener)
{
    int fd = accept4(listener, NULL, NULL, SOCK_NONBLOCK);

    for (int i = 0; fd >= 0 && i < CLIENTS; i++)
        if (clients[i].fd < 0) {
            clients[i].fd = fd;
            clients[i].length = 0;
            return;
        }
    if (fd >= 0)
        close(fd);
}

static int listen_on(unsigned short port)
{
    struct sockaddr_in address = { .sin_family = AF_INET, .sin_port = htons(port) };
    int fd = socket(AF_INET, SOCK_STREAM | SOCK_NONBLOCK, 0), on = 1;

    if (fd < 0 || setsockopt(fd, SOL_SOCKET, SO_REUSEADDR, &on, sizeof(on)) != 0 ||
        bind(fd, (struct sockaddr *)&address, sizeof(address)) != 0 || listen(fd, 64) != 0) {
        perror("web: listen");
        exit(1);
    }
    return fd;
}

int main(void)
{
    const char *text = getenv("PORT");
    int port = text ? atoi(text) : 80;
    struct sigaction action = { .sa_handler = leave };
    struct pollfd polled[CLIENTS + 1];

    sigaction(SIGTERM, &action, NULL);
    sigaction(SIGINT, &action, NULL);
    signal(SIGPIPE, SIG_IGN);
    polled[CLIENTS] = (struct pollfd){ .fd = listen_on((unsigned short)port), .events = POLLIN };
    for (int i = 0; i < CLIENTS; i++)
        clients[i].fd = -1;
    printf("web: listening on port %d\n", port);
    fflush(stdout);
    while (!leaving) {
        for (int i = 0; i < CLIENTS; i++)
            polled[i] = (struct pollfd){ .fd = clients[i].fd, .events = POLLIN };
        if (poll(polled, CLIENTS + 1, -1) < 0)
            continue;
        for (int i = 0; i < CLIENTS; i++)
            if (polled[i].fd >= 0 && polled[i].revents)
                receive(&clients[i]);
        if (polled[CLIENTS].revents)
            take(polled[CLIENTS].fd);
    }
    printf("web: %lu pages served, leaving\n", served);
    return 0;
}
