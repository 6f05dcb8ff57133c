// SPDX-License-Identifier: Apache-2.0
// What every guest program shares: show a call, its result and its errno by name, so that two kernels' answers can be compared as text.
#ifndef ORACLE_H
#define ORACLE_H
#ifndef _GNU_SOURCE
#define _GNU_SOURCE
#endif
#include <dirent.h>
#include <errno.h>
#include <fcntl.h>
#include <limits.h>
#include <poll.h>
#include <pthread.h>
#include <sched.h>
#include <signal.h>
#include <stdarg.h>
#include <stddef.h>
#include <stdint.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/mman.h>
#include <sys/stat.h>
#include <sys/syscall.h>
#include <sys/time.h>
#include <sys/types.h>
#include <sys/uio.h>
#include <sys/wait.h>
#include <time.h>
#include <unistd.h>

#define PAGE 4096UL
#define UNUSED __attribute__((unused))
#define COUNT(array) (sizeof(array) / sizeof((array)[0]))

static UNUSED const char *const oracle_names[] = {
    [0] = "0", [EPERM] = "EPERM", [ENOENT] = "ENOENT", [ESRCH] = "ESRCH", [EINTR] = "EINTR", [EIO] = "EIO", [ENXIO] = "ENXIO",
    [E2BIG] = "E2BIG", [ENOEXEC] = "ENOEXEC", [EBADF] = "EBADF", [ECHILD] = "ECHILD", [EAGAIN] = "EAGAIN", [ENOMEM] = "ENOMEM",
    [EACCES] = "EACCES", [EFAULT] = "EFAULT", [ENOTBLK] = "ENOTBLK", [EBUSY] = "EBUSY", [EEXIST] = "EEXIST", [EXDEV] = "EXDEV",
    [ENODEV] = "ENODEV", [ENOTDIR] = "ENOTDIR", [EISDIR] = "EISDIR", [EINVAL] = "EINVAL", [ENFILE] = "ENFILE", [EMFILE] = "EMFILE",
    [ENOTTY] = "ENOTTY", [ETXTBSY] = "ETXTBSY", [EFBIG] = "EFBIG", [ENOSPC] = "ENOSPC", [ESPIPE] = "ESPIPE", [EROFS] = "EROFS",
    [EMLINK] = "EMLINK", [EPIPE] = "EPIPE", [EDOM] = "EDOM", [ERANGE] = "ERANGE", [EDEADLK] = "EDEADLK",
    [ENAMETOOLONG] = "ENAMETOOLONG", [ENOLCK] = "ENOLCK", [ENOSYS] = "ENOSYS", [ENOTEMPTY] = "ENOTEMPTY", [ELOOP] = "ELOOP",
    [ENODATA] = "ENODATA", [EPROTO] = "EPROTO", [EOVERFLOW] = "EOVERFLOW", [EILSEQ] = "EILSEQ", [ENOTSOCK] = "ENOTSOCK",
    [EDESTADDRREQ] = "EDESTADDRREQ", [EMSGSIZE] = "EMSGSIZE", [EPROTOTYPE] = "EPROTOTYPE", [ENOPROTOOPT] = "ENOPROTOOPT",
    [EPROTONOSUPPORT] = "EPROTONOSUPPORT", [ESOCKTNOSUPPORT] = "ESOCKTNOSUPPORT", [EOPNOTSUPP] = "EOPNOTSUPP",
    [EPFNOSUPPORT] = "EPFNOSUPPORT", [EAFNOSUPPORT] = "EAFNOSUPPORT", [EADDRINUSE] = "EADDRINUSE",
    [EADDRNOTAVAIL] = "EADDRNOTAVAIL", [ENETDOWN] = "ENETDOWN", [ENETUNREACH] = "ENETUNREACH", [ECONNABORTED] = "ECONNABORTED",
    [ECONNRESET] = "ECONNRESET", [ENOBUFS] = "ENOBUFS", [EISCONN] = "EISCONN", [ENOTCONN] = "ENOTCONN", [ESHUTDOWN] = "ESHUTDOWN",
    [ETIMEDOUT] = "ETIMEDOUT", [ECONNREFUSED] = "ECONNREFUSED", [EHOSTUNREACH] = "EHOSTUNREACH", [EALREADY] = "EALREADY",
    [EINPROGRESS] = "EINPROGRESS", [ESTALE] = "ESTALE", [ECANCELED] = "ECANCELED", [EOWNERDEAD] = "EOWNERDEAD",
    [ENOTRECOVERABLE] = "ENOTRECOVERABLE",
};

static UNUSED const char *errname(int number)
{
    static char text[2][24];
    static int turn;

    if (number >= 0 && (size_t)number < COUNT(oracle_names) && oracle_names[number])
        return oracle_names[number];
    turn = !turn;
    snprintf(text[turn], sizeof text[turn], "errno %d", number);
    return text[turn];
}

static UNUSED long oracle_show(const char *what, long result)
{
    int saved = errno;

    if (result == -1)
        printf("%s = -1 %s\n", what, errname(saved));
    else
        printf("%s = %ld\n", what, result);
    errno = saved;
    return result;
}

static UNUSED void *oracle_pointer(const char *what, void *result)
{
    if (result == MAP_FAILED)
        printf("%s = %s\n", what, errname(errno));
    else
        printf("%s = ok\n", what);
    return result;
}

static UNUSED void oracle_ok(const char *what, long result)
{
    printf("%s = %s\n", what, result == -1 ? errname(errno) : "ok");
}

static UNUSED void oracle_error(const char *what, int number)
{
    printf("%s = %s\n", what, errname(number));
}

// T: a call whose number is the same everywhere. OK: one whose number is not (only success or errno counts).
// M: one that gives an address. E: one that returns its error number. V: any integer expression.
#define T(call) oracle_show(#call, (errno = 0, (long)(call)))
#define OK(call) oracle_ok(#call, (errno = 0, (long)(call)))
#define M(call) oracle_pointer(#call, (errno = 0, (void *)(call)))
#define E(call) oracle_error(#call, (int)(call))
#define V(value) printf("%s: %ld\n", #value, (long)(value))
#define SAY(...) (printf(__VA_ARGS__), putchar('\n'))

// Set-up that must work for the rest to mean anything.
#define MUST(call) ((call) == -1 ? (printf("set-up: %s: %s\n", #call, errname(errno)), exit(99)) : (void)0)

// Unwritten output would be lost by a fatal signal, so every line goes out at once.
__attribute__((constructor)) static void oracle_start(void)
{
    setvbuf(stdout, NULL, _IOLBF, BUFSIZ);
}

static UNUSED void nap(long milliseconds)
{
    struct timespec pause = {milliseconds / 1000, milliseconds % 1000 * 1000000};

    while (nanosleep(&pause, &pause) == -1 && errno == EINTR)
        ;
}

static UNUSED long long now_ms(clockid_t clock)
{
    struct timespec t;

    clock_gettime(clock, &t);
    return t.tv_sec * 1000LL + t.tv_nsec / 1000000;
}

// Bytes as text: printable ones as they are, others as \xHH.
static UNUSED void dump(const char *name, const void *data, long length)
{
    const unsigned char *bytes = data;

    printf("%s:", name);
    if (length < 0)
        printf(" (none)");
    for (long i = 0; i < length; i++)
        printf(bytes[i] >= 32 && bytes[i] < 127 ? "%s%c" : "%s\\x%02x", i ? "" : " ", bytes[i]);
    putchar('\n');
}

// Make a file that holds a text.
static UNUSED void put(const char *path, const char *text)
{
    int fd = open(path, O_CREAT | O_TRUNC | O_WRONLY, 0644);

    if (fd == -1 || write(fd, text, strlen(text)) != (ssize_t)strlen(text)) {
        printf("set-up: %s: %s\n", path, errname(errno));
        exit(99);
    }
    close(fd);
}

// Print what a file holds.
static UNUSED void show(const char *path)
{
    char buffer[512];
    int fd = open(path, O_RDONLY);
    ssize_t length = fd == -1 ? -1 : read(fd, buffer, sizeof buffer);

    dump(path, buffer, length);
    if (fd != -1)
        close(fd);
}

// An address that no mapping holds, and a page that may not be touched.
#define WILD ((void *)0x10)
#define KERNEL_ADDRESS ((void *)0xffffffff80000000UL)

static UNUSED void *guard_page(void)
{
    return mmap(NULL, PAGE, PROT_NONE, MAP_PRIVATE | MAP_ANONYMOUS, -1, 0);
}

// A whole file as text, as far as there is room for it: its length, or -1.
static UNUSED long read_whole(const char *path, char *text, size_t size)
{
    int fd = open(path, O_RDONLY);
    long got, total = 0;

    while (fd != -1 && (got = read(fd, text + total, size - 1 - (size_t)total)) > 0)
        total += got;
    text[total] = 0;
    return fd == -1 ? -1 : (close(fd), total);
}

// This program as another file that may be executed.
static UNUSED void copy_self(const char *to)
{
    char buffer[65536];
    int in = open("/proc/self/exe", O_RDONLY), out = creat(to, 0755);
    ssize_t n;

    while ((n = read(in, buffer, sizeof buffer)) > 0)
        write(out, buffer, (size_t)n);
    close(in);
    close(out);
}

#endif
