// SPDX-License-Identifier: GPL-3.0-or-later
// With two arguments: connect to ADDRESS PORT and print what comes. Without: serve "hello PEER" on port 80.
#include <arpa/inet.h>
#include <errno.h>
#include <netinet/in.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/socket.h>
#include <unistd.h>

int main(int argc, char **argv)
{
    struct sockaddr_in address = { .sin_family = AF_INET, .sin_port = htons(argc > 2 ? atoi(argv[2]) : 80) };
    struct timeval patience = { .tv_sec = 3 };
    char text[64];
    int sock = socket(AF_INET, SOCK_STREAM, 0);

    if (argc > 2) {
        inet_pton(AF_INET, argv[1], &address.sin_addr);
        setsockopt(sock, SOL_SOCKET, SO_SNDTIMEO, &patience, sizeof patience);
        setsockopt(sock, SOL_SOCKET, SO_RCVTIMEO, &patience, sizeof patience);
        if (connect(sock, (struct sockaddr *)&address, sizeof address)) {
            perror("connect");
            return 1;
        }
        ssize_t got = read(sock, text, sizeof text);
        if (got <= 0) {
            fprintf(stderr, "read: %s\n", got ? strerror(errno) : "end of file");
            return 2;
        }
        return write(1, text, got) == got ? 0 : 2;
    }
    if (bind(sock, (struct sockaddr *)&address, sizeof address) || listen(sock, 16)) {
        perror("listen");
        return 1;
    }
    puts("listening");
    fflush(stdout);
    for (;;) {
        struct sockaddr_in peer;
        socklen_t length = sizeof peer;
        int connection = accept(sock, (struct sockaddr *)&peer, &length);

        if (connection < 0)
            continue;
        int count = snprintf(text, sizeof text, "hello %s\n", inet_ntoa(peer.sin_addr));
        if (write(connection, text, count) != count)
            perror("write");
        close(connection);
    }
}
