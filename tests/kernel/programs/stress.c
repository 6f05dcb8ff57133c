// SPDX-License-Identifier: Apache-2.0
// Threads, memory, files and pipes at once, for a while: everything is checked and ends clean.
// oracle: libc=musl,glibc memory=96 timeout=300
#include "oracle.h"
#include <stdatomic.h>

#define WORKERS 4
#define ROUNDS 60

static atomic_long wrong, done;
static int ends[2];

static void *mapper(void *arg)
{
    unsigned long seed = (unsigned long)arg + 1;

    for (int round = 0; round < ROUNDS * 10; round++) {
        seed = seed * 6364136223846793005 + 1442695040888963407;
        size_t pages = 1 + (seed >> 40) % 64;
        unsigned char *p = mmap(NULL, pages * PAGE, PROT_READ | PROT_WRITE, MAP_PRIVATE | MAP_ANONYMOUS, -1, 0);
        for (size_t i = 0; i < pages; i++)
            p[i * PAGE] = i + round;
        if (pages > 2) {
            mprotect(p + PAGE, PAGE, PROT_READ);
            madvise(p, PAGE, MADV_DONTNEED);
            wrong += p[0] != 0;
        }
        for (size_t i = 1; i < pages; i++)
            wrong += p[i * PAGE] != (unsigned char)(i + round);
        munmap(p, pages * PAGE);
    }
    done++;
    return NULL;
}

static void *filer(void *arg)
{
    static _Thread_local unsigned char block[30000], back[30000];
    char name[64], other[64];

    for (int round = 0; round < ROUNDS; round++) {
        snprintf(name, sizeof name, "f%ld-%d", (long)arg, round % 7);
        snprintf(other, sizeof other, "r%ld-%d", (long)arg, round % 5);
        memset(block, round + (long)arg, sizeof block);
        int fd = open(name, O_CREAT | O_TRUNC | O_RDWR, 0600);
        wrong += write(fd, block, sizeof block) != sizeof block;
        wrong += pread(fd, back, sizeof back, 0) != sizeof back || memcmp(block, back, sizeof back);
        unsigned char *map = mmap(NULL, sizeof block, PROT_READ | PROT_WRITE, MAP_SHARED, fd, 0);
        map[12345] = 7;
        wrong += pread(fd, back, 1, 12345) != 1 || back[0] != 7;
        munmap(map, sizeof block);
        if (round % 4 == 0)
            fsync(fd);
        close(fd);
        wrong += rename(name, other);
        if (round % 3 == 0)
            wrong += unlink(other);
    }
    done++;
    return NULL;
}

static void *sender(void *arg)
{
    unsigned char record[64];

    for (int round = 0; round < ROUNDS * 50; round++) {
        memset(record, round, sizeof record);
        wrong += write(ends[1], record, sizeof record) != sizeof record;
    }
    done++;
    return arg;
}

static void *receiver(void *arg)
{
    unsigned char record[64];

    for (int round = 0; round < ROUNDS * 50 * WORKERS; round++) {
        ssize_t got = read(ends[0], record, sizeof record);
        for (int i = 1; i < got; i++)
            wrong += record[i] != record[0];
        wrong += got != sizeof record;
    }
    done++;
    return arg;
}

static void *nothing(void *arg)
{
    return arg;
}

static void *spawner(void *arg)
{
    for (int round = 0; round < ROUNDS * 4; round++) {
        pthread_t thread;
        wrong += pthread_create(&thread, NULL, nothing, NULL) || pthread_join(thread, NULL);
    }
    done++;
    return arg;
}

int main(void)
{
    pthread_t thread[4 * WORKERS + 1];
    int count = 0;

    pipe(ends);
    for (long i = 0; i < WORKERS; i++) {
        pthread_create(&thread[count++], NULL, mapper, (void *)i);
        pthread_create(&thread[count++], NULL, filer, (void *)i);
        pthread_create(&thread[count++], NULL, sender, NULL);
        pthread_create(&thread[count++], NULL, spawner, NULL);
    }
    pthread_create(&thread[count++], NULL, receiver, NULL);
    while (count--)
        pthread_join(thread[count], NULL);
    V(done);
    V(wrong);
    return 0;
}
