// SPDX-License-Identifier: Apache-2.0
// What a program sees of a disk that fails. faults.py lets requests fail between two lines "done" and knows what must be printed.
#define _GNU_SOURCE
#include <errno.h>
#include <fcntl.h>
#include <setjmp.h>
#include <signal.h>
#include <stdio.h>
#include <string.h>
#include <sys/mman.h>
#include <unistd.h>

static char data[8192];
static sigjmp_buf back;

static void say(const char *what, long result)
{
    dprintf(1, "%s: %s\n", what, result < 0 ? errno == EIO ? "EIO" : strerror(errno) : "good");
}

static void phase(void) { dprintf(1, "done\n"); }
static void on_bus(int number) { siglongjmp(back, number); }

// MARK: faults.py fails writes that begin so.
static void mark(int fd, char with)
{
    memset(data, with, sizeof data);
    memcpy(data, "MARK", 4);
    say("write", pwrite(fd, data, sizeof data, 0));
}

static void writes_fail(void)
{
    int one = open("/scratch/f", O_RDWR | O_CREAT, 0644), two = open("/scratch/f", O_RDONLY);
    mark(one, 'a');
    say("fsync", fsync(one));
    phase();                            // data cannot be written
    mark(one, 'b');
    say("fsync", fsync(one));
    say("fsync again", fsync(one));
    say("fsync of the other", fsync(two));
    say("and again", fsync(two));
    int three = open("/scratch/f", O_RDONLY);
    say("fsync of a new one", fsync(three));
    phase();                            // it works again
    mark(one, 'c');
    say("fsync", fsync(one));
    close(one);
    close(two);
    close(three);
}

static void reads_fail(void)
{
    int fd = open("/big", O_RDONLY);
    phase();                            // reads fail
    say("read", pread(fd, data, sizeof data, 0));
    char *map = mmap(NULL, sizeof data, PROT_READ, MAP_PRIVATE, fd, 0);
    signal(SIGBUS, on_bus);
    int number = sigsetjmp(back, 1);
    if (!number)
        number = *(volatile char *)map;
    dprintf(1, "touch: %s\n", number == SIGBUS ? "SIGBUS" : "no signal");
    phase();                            // it works again
    say("read", pread(fd, data, sizeof data, 0));
    close(fd);
}

static void all_fails(void)
{
    phase();                            // flushes fail
    int fd = open("/scratch/g", O_RDWR | O_CREAT, 0644);
    mark(fd, 'd');
    say("fsync", fsync(fd));
    phase();                            // every write fails
    say("rename", rename("/scratch/g", "/scratch/h"));
    mark(fd, 'e');
    say("fsync", fsync(fd));
    int dir = open("/scratch", O_RDONLY | O_DIRECTORY);
    say("fsync of the directory", fsync(dir));
    phase();                            // it works again
    mark(fd, 'f');
    say("fsync", fsync(fd));
    say("fsync of the directory", fsync(dir));
}

int main(void)
{
    writes_fail();
    reads_fail();
    all_fails();
    return 0;
}
