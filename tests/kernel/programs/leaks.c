// SPDX-License-Identifier: Apache-2.0
// What a program gives back is free again: many rounds of taking and returning, and memory is where it was. The bound is a share of
// all memory, so that it says something in a small machine and nothing about what else goes on in a large one.
// oracle: memory=32 cwd=/scratch,/tmp
#include "oracle.h"
#include <pthread.h>
#include <sys/eventfd.h>
#include <sys/mman.h>
#include <sys/socket.h>
#include <sys/sysinfo.h>

enum { ROUNDS = 2500, SETTLE = 50, SHARE = 16 };

static char block[40000];

static int name_open(void)
{
    return open("leak", O_RDWR | O_CREAT, 0644);
}

static void written(int round)
{
    int fd = name_open();

    pwrite(fd, block, 5000, round % 3 * 4096);
    close(fd);
    unlink("leak");
}

// Nothing in the first 64 pages: the page cache's tree begins with a high index.
static void far_away(int round)
{
    int fd = name_open();

    pwrite(fd, block, sizeof(block), 400000 + round % 7 * 4096L);
    ftruncate(fd, 410000);
    close(fd);
    unlink("leak");
}

static void very_far(int round)
{
    int fd = name_open();

    pwrite(fd, block, 1, 5000L * 4096 * (round % 5 + 1));
    close(fd);
    unlink("leak");
}

static void mapped(int round)
{
    int fd = name_open();

    pwrite(fd, block, 9000, 0);
    char *p = mmap(NULL, 12288, PROT_READ | PROT_WRITE, MAP_SHARED, fd, 0);
    p[round % 9000] = 1;
    munmap(p, 12288);
    close(fd);
    unlink("leak");
}

static void renamed(int round)
{
    close(name_open());
    rename("leak", round & 1 ? "leak.a" : "leak.b");
    unlink(round & 1 ? "leak.a" : "leak.b");
    mkdir("leak", 0755);
    symlink("target", "leak/link");
    unlink("leak/link");
    rmdir("leak");
}

static void memory(int round)
{
    char *p = mmap(NULL, 65536 + round % 5 * 4096, PROT_READ | PROT_WRITE, MAP_PRIVATE | MAP_ANONYMOUS, -1, 0);

    p[0] = p[40960] = 1;
    mprotect(p + 8192, 4096, PROT_READ);
    madvise(p + 32768, 16384, MADV_DONTNEED);
    munmap(p + 16384, 4096);
    munmap(p, 65536 + round % 5 * 4096);
}

static void descriptors(int round)
{
    int ends[2], pair[2], event = eventfd(0, 0), memfd = syscall(SYS_memfd_create, "m", 0);

    pipe(ends);
    socketpair(AF_UNIX, SOCK_STREAM, 0, pair);
    write(ends[1], block, 1000 + round % 3000);
    write(pair[0], block, 3000);
    write(memfd, block, 10000);
    for (int i = 0; i < 2; i++) {
        close(ends[i]);
        close(pair[i]);
    }
    close(event);
    close(memfd);
}

static void *nothing(void *argument)
{
    return argument;
}

static void thread(int round)
{
    pthread_t id;

    (void)round;
    if (pthread_create(&id, NULL, nothing, NULL) == 0)
        pthread_join(id, NULL);
}

static long used(void)
{
    struct sysinfo info;

    sync();
    sysinfo(&info);
    return (long)(info.totalram - info.freeram - info.bufferram);
}

int main(void)
{
    static const struct {
        const char *name;
        void (*work)(int);
    } jobs[] = {
        { "written", written }, { "far away", far_away }, { "very far", very_far }, { "mapped", mapped }, { "renamed", renamed },
        { "memory", memory }, { "descriptors", descriptors }, { "thread", thread },
    };
    struct sysinfo info;

    sysinfo(&info);
    for (unsigned job = 0; job < sizeof(jobs) / sizeof(jobs[0]); job++) {
        for (int round = 0; round < SETTLE; round++)
            jobs[job].work(round);
        long before = used();
        for (int round = 0; round < ROUNDS; round++)
            jobs[job].work(round);
        long lost = used() - before;
        if (lost < (long)(info.totalram / SHARE))
            printf("%s: given back\n", jobs[job].name);
        else
            printf("%s: %ld bytes a round are gone\n", jobs[job].name, lost / ROUNDS);
    }
    return 0;
}
