// SPDX-License-Identifier: Apache-2.0
// Does what the lines of /ops say, one by one, and prints a line after each. crash.py makes them and knows what they do.
#define _GNU_SOURCE
#include <errno.h>
#include <fcntl.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/stat.h>
#include <sys/syscall.h>
#include <sys/xattr.h>
#include <unistd.h>

#define SLOTS 8

static int slot[SLOTS];
static char word[6][600];
static unsigned char buffer[1 << 16];

static long number(int k) { return atol(word[k]); }

// Byte k of a write; crash.py computes the same.
static void fill(long seed, long size)
{
    for (long k = 0; k < size; k++)
        buffer[k] = (unsigned char)(seed * 37 + k * 7 + k / 256);
}

static long write_at(int fd, long off, long len, long seed)
{
    fill(seed, len);
    return pwrite(fd, buffer, (size_t)len, off) == len ? 0 : -1;
}

static long on_file(char op)
{
    int fd = open(word[1], op == 'y' ? O_RDONLY : O_RDWR | O_CREAT, 0644);
    if (fd < 0)
        return -1;
    long r = op == 'w' ? write_at(fd, number(2), number(3), number(4)) : op == 't' ? ftruncate(fd, number(2)) :
             op == 'f' ? fallocate(fd, (int)number(2), number(3), number(4)) : fsync(fd);
    int err = errno;
    close(fd);
    errno = err;
    return r;
}

static long on_slot(char op)
{
    int *fd = &slot[number(1) % SLOTS];
    char path[40];
    switch (op) {
    case 'o':
        return *fd = open(word[2], O_RDWR);
    case 'T':
        return *fd = open(word[2], O_TMPFILE | O_RDWR, 0644);
    case 'W':
        return write_at(*fd, number(2), number(3), number(4));
    case 'Y':
        return fsync(*fd);
    case 'L':
        snprintf(path, sizeof path, "/proc/self/fd/%d", *fd);
        return linkat(AT_FDCWD, path, AT_FDCWD, word[2], AT_SYMLINK_FOLLOW);
    default:
        return close(*fd);
    }
}

static long act(void)
{
    char op = word[0][0];
    switch (op) {
    case 'w': case 't': case 'f': case 'y':
        return on_file(op);
    case 'm':
        return mkdir(word[1], 0755);
    case 'r':
        return rmdir(word[1]);
    case 'u':
        return unlink(word[1]);
    case 'n':
        return rename(word[1], word[2]);
    case 'x':
        return syscall(SYS_renameat2, AT_FDCWD, word[1], AT_FDCWD, word[2], 2);
    case 'l':
        return link(word[1], word[2]);
    case 's':
        return symlink(word[1], word[2]);
    case 'k':
        return mkfifo(word[1], 0644);
    case 'X':
        fill(number(4), number(3));
        return setxattr(word[1], word[2], buffer, (size_t)number(3), 0);
    case 'R':
        return removexattr(word[1], word[2]);
    case 'S':
        sync();
        return 0;
    default:
        return on_slot(op);
    }
}

int main(int argc, char **argv)
{
    char line[4000];
    FILE *ops = fopen(argc > 1 ? argv[1] : "/ops", "r");
    while (ops && fgets(line, sizeof line, ops)) {
        memset(word, 0, sizeof word);
        sscanf(line, "%599s %599s %599s %599s %599s %599s", word[0], word[1], word[2], word[3], word[4], word[5]);
        if (act() < 0) {
            printf("%s: %s", strerror(errno), line);
            exit(1);
        }
        if (write(1, "done\n", 5) != 5)
            exit(1);
    }
    return 0;
}
