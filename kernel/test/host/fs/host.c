// SPDX-License-Identifier: Apache-2.0
// The side of the host harness that talks to the C library: the disk image in memory, with a log of writes so that a
// "kill" can be placed after any of them.
#include <fcntl.h>
#include <stdarg.h>
#include <stdint.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/stat.h>
#include <time.h>
#include <unistd.h>

#include "host.h"

static unsigned char *disk;
static size_t disk_size;
static long writes_done, writes_limit = -1;
static int verbose;

unsigned long host_disk_open(const char *path)
{
    int fd = open(path, O_RDONLY);
    struct stat st;
    if (fd < 0 || fstat(fd, &st)) {
        perror(path);
        exit(2);
    }
    disk_size = (size_t)st.st_size;
    disk = malloc(disk_size ? disk_size : 1);
    size_t n = 0;
    while (n < disk_size) {
        ssize_t r = read(fd, disk + n, disk_size - n);
        if (r <= 0)
            break;
        n += (size_t)r;
    }
    close(fd);
    verbose = getenv("VERBOSE") != NULL;
    return disk_size;
}

void host_disk_save(const char *path)
{
    int fd = open(path, O_WRONLY | O_CREAT | O_TRUNC, 0644);
    size_t n = 0;
    while (fd >= 0 && n < disk_size) {
        ssize_t r = write(fd, disk + n, disk_size - n);
        if (r <= 0)
            break;
        n += (size_t)r;
    }
    if (fd < 0 || n < disk_size) {
        perror(path);
        exit(2);
    }
    close(fd);
}

void host_set_kill(long after) { writes_limit = after; }
long host_writes(void) { return writes_done; }
int host_killed(void) { return writes_limit >= 0 && writes_done >= writes_limit; }

static unsigned long weather_disk, weather_memory, weather_state = 1;

static int bad_luck(unsigned long one_of)
{
    weather_state = weather_state * 6364136223846793005ul + 1442695040888963407ul;
    return one_of && (weather_state >> 33) % one_of == 0;
}

void host_set_weather(unsigned long disk_fails, unsigned long memory_fails)
{
    weather_disk = disk_fails;
    weather_memory = memory_fails;
}

int host_starves(void) { return bad_luck(weather_memory); }

int host_disk_rw(int write, unsigned long off, void *buf, unsigned long len)
{
    if (off > disk_size || len > disk_size - off || bad_luck(weather_disk))
        return -1;
    if (!write) {
        memcpy(buf, disk + off, len);
        return 0;
    }
    if (!host_killed())             // after the kill nothing reaches the disk any more
        memcpy(disk + off, buf, len);
    writes_done++;
    return 0;
}

void *host_alloc(unsigned long n, int zero)
{
    void *p = zero ? calloc(1, n) : malloc(n);
    return p;
}

void *host_pages(unsigned long n) { return aligned_alloc(4096, n); }
void *host_realloc(void *p, unsigned long n) { return realloc(p, n); }
void host_free(void *p) { free(p); }

unsigned long host_now(void)
{
    static unsigned long t = 1700000000ul * 1000000000ul;
    return t += 1000000;            // the same in every run
}

void host_log(const char *fmt, va_list ap)
{
    if (verbose)
        vfprintf(stderr, fmt, ap);
}

void host_fail(const char *fmt, ...)
{
    va_list ap;
    va_start(ap, fmt);
    vfprintf(stderr, fmt, ap);
    va_end(ap);
    fputc('\n', stderr);
    exit(1);
}

void host_print(const char *fmt, ...)
{
    va_list ap;
    va_start(ap, fmt);
    vprintf(fmt, ap);
    va_end(ap);
}

int fs_test(int argc, char **argv);
int main(int argc, char **argv) { return fs_test(argc, argv); }
