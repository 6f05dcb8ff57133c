// SPDX-License-Identifier: Apache-2.0
// Writes files for ever and says on the console what an fsync has promised, right after it returned. durability/run.py kills the
// machine at some moment and looks whether the disk keeps the promises.
#define _GNU_SOURCE
#include <fcntl.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/stat.h>
#include <unistd.h>

#define KEEP 12

static unsigned char buffer[70000];

// Byte k of item n of a kind; run.py computes the same.
static void fill(unsigned kind, unsigned n, size_t size)
{
    for (size_t k = 0; k < size; k++)
        buffer[k] = (unsigned char)(kind * 101 + n * 31 + k * 7);
}

static void must(int good, const char *what)
{
    if (!good) {
        perror(what);
        exit(1);
    }
}

static void promise(const char *text, unsigned n, size_t size)
{
    char line[80];
    int len = snprintf(line, sizeof line, "%s %u %zu\n", text, n, size);
    must(write(1, line, (size_t)len) == len, "promise");
}

static int directory;

static void append_log(unsigned n)
{
    static int fd = -1;
    static size_t end;
    size_t size = 50 + n * 37 % 5000;
    if (fd < 0)
        fd = open("log", O_CREAT | O_WRONLY | O_APPEND, 0644);
    fill(1, n, size);
    must(write(fd, buffer, size) == (ssize_t)size, "append");
    must((n & 1 ? fdatasync(fd) : fsync(fd)) == 0, "fsync");
    end += size;
    promise("log", n, end);
}

// The well-known way to replace a file: a new one, fsync, rename, fsync of the directory.
static void replace(unsigned n)
{
    size_t size = 1 + n * 977 % 30000;
    int fd = open("config.new", O_CREAT | O_TRUNC | O_WRONLY, 0644);
    must(fd >= 0, "config.new");
    fill(2, n, size);
    must(write(fd, buffer, size) == (ssize_t)size, "write");
    must(fsync(fd) == 0, "fsync");
    close(fd);
    must(rename("config.new", "config") == 0, "rename");
    must(fsync(directory) == 0, "fsync of the directory");
    promise("config", n, size);
}

static void files(unsigned n)
{
    char name[40];
    size_t size = 1 + n * 7919 % 60000;
    if (n % 16 == 0) {
        snprintf(name, sizeof name, "dir%u", n / 16 % 8);
        mkdir(name, 0755);
    }
    snprintf(name, sizeof name, "dir%u/file%u", n / 16 % 8, n);
    int fd = open(name, O_CREAT | O_EXCL | O_WRONLY, 0644);
    must(fd >= 0, name);
    fill(3, n, size);
    must(write(fd, buffer, size) == (ssize_t)size, "write");
    must(fsync(fd) == 0, "fsync");
    close(fd);
    promise(name, n, size);
    if (n >= KEEP) {
        snprintf(name, sizeof name, "dir%u/file%u", (n - KEEP) / 16 % 8, n - KEEP);
        promise("unlink", n - KEEP, 0);
        must(unlink(name) == 0, "unlink");
    }
}

int main(void)
{
    directory = open(".", O_RDONLY | O_DIRECTORY);
    for (unsigned n = 0;; n++) {
        append_log(n);
        replace(n);
        files(n);
    }
}
