// SPDX-License-Identifier: Apache-2.0
// Where mappings lie and which pages are there: MAP_32BIT, the mlock family, the peak, smaps, smaps_rollup and pagemap.
// oracle: libc=musl,glibc
#include "oracle.h"
#include <sys/resource.h>
#ifndef MCL_ONFAULT
#define MCL_ONFAULT 4
#endif
#ifndef MLOCK_ONFAULT
#define MLOCK_ONFAULT 1
#endif

#define BIG (24UL << 20)
static char text[1 << 18];

static char *fresh(size_t size, int prot, int flags) { return mmap(NULL, size, prot, MAP_PRIVATE | MAP_ANONYMOUS | flags, -1, 0); }

static int there(char *p, size_t size)
{
    unsigned char vec[64];
    int count = 0;

    mincore(p, size, vec);
    for (size_t page = 0; page < size / PAGE; page++)
        count += vec[page] & 1;
    return count;
}

// A field of the area that begins at p, without its spaces; VmFlags without those that depend on the kernel's options.
static void area(const char *what, char *p, const char *field)
{
    char head[24], out[100] = "", *line;

    read_whole("/proc/self/smaps", text, sizeof text);
    snprintf(head, sizeof head, "%08lx-", (unsigned long)p);
    line = strstr(text, head);
    line = line ? strstr(line, field) : NULL;
    if (!line) {
        SAY("%s: no %s", what, field);
        return;
    }
    line[strcspn(line, "\n")] = 0;
    for (char *word = strtok(line, " "); word; word = strtok(NULL, " "))
        if (strcmp(word, "sd") && strcmp(word, "mr") && strcmp(word, "mw") && strcmp(word, "me") && strcmp(word, "ac") && strcmp(word, "ms"))
            strcat(strcat(out, word), " ");
    SAY("%s %s", what, out);
}

static void low(void)
{
    char *a = fresh(PAGE, PROT_READ, MAP_32BIT), *b = fresh(8 << 20, PROT_READ | PROT_WRITE, MAP_32BIT);

    V((unsigned long)a >> 31);
    V((unsigned long)b >> 31);
    V(a == b);
    b[0] = b[(8 << 20) - 1] = 1;
    char *hint = b + (64 << 20);
    V(mmap(hint, PAGE, PROT_READ, MAP_PRIVATE | MAP_ANONYMOUS | MAP_32BIT, -1, 0) == hint);
    V((unsigned long)mmap((char *)0x500000000000, PAGE, PROT_READ, MAP_PRIVATE | MAP_ANONYMOUS | MAP_32BIT, -1, 0) >> 31);
    M(fresh(3UL << 30, PROT_NONE, MAP_32BIT | MAP_NORESERVE));
    int fd = open("/bin/residency.musl", O_RDONLY);
    V((unsigned long)mmap(NULL, PAGE, PROT_READ, MAP_PRIVATE | MAP_32BIT, fd, 0) >> 31);
    V((unsigned long)fresh(PAGE, PROT_READ, 0) >> 31 != 0);
}

static void locked(void)
{
    char *p = fresh(16 * PAGE, PROT_READ | PROT_WRITE, 0), *q = fresh(16 * PAGE, PROT_NONE, 0);

    p[0] = 1;
    mprotect(q, 8 * PAGE, PROT_READ | PROT_WRITE);
    V(there(p, 16 * PAGE));
    area("touched", p, "Rss:");
    area("touched", p, "VmFlags:");
    T(syscall(SYS_mlock2, p, 4 * PAGE, MLOCK_ONFAULT));
    V(there(p, 16 * PAGE));
    area("locked on fault", p, "VmFlags:");
    area("locked on fault", p, "Locked:");
    T(mlock(p, 4 * PAGE));
    V(there(p, 16 * PAGE));
    area("locked", p, "VmFlags:");
    area("locked", p, "Locked:");
    T(munlock(p, 16 * PAGE));
    area("unlocked", p, "VmFlags:");
    T(mlockall(MCL_CURRENT | MCL_ONFAULT));
    V(there(p, 16 * PAGE));
    T(mlockall(MCL_CURRENT));
    V(there(p, 16 * PAGE));
    V(there(q, 8 * PAGE));
    T(munlockall());
    T(mlockall(MCL_FUTURE | MCL_ONFAULT));
    p = fresh(16 * PAGE, PROT_READ | PROT_WRITE, 0);
    V(there(p, 16 * PAGE));
    area("future", p, "VmFlags:");
    T(mlockall(MCL_FUTURE));
    p = fresh(16 * PAGE, PROT_READ | PROT_WRITE, 0);
    V(there(p, 16 * PAGE));
    T(munlockall());
    p = fresh(16 * PAGE, PROT_READ | PROT_WRITE, 0);
    V(there(p, 16 * PAGE));
    area("shared", mmap(NULL, 5 * PAGE, PROT_READ | PROT_WRITE, MAP_SHARED | MAP_ANONYMOUS, -1, 0), "VmFlags:");
    area("no reserve", fresh(5 * PAGE, PROT_READ | PROT_EXEC, MAP_NORESERVE), "VmFlags:");
    area("down", fresh(5 * PAGE, PROT_READ | PROT_WRITE, MAP_GROWSDOWN), "VmFlags:");
}

static void peak(void)
{
    struct rusage after;
    char *p = fresh(BIG, PROT_READ | PROT_WRITE, 0);

    for (size_t at = 0; at < BIG; at += PAGE)
        p[at] = 1;
    munmap(p, BIG);
    getrusage(RUSAGE_SELF, &after);
    V(after.ru_maxrss >= 24 << 10);
    p = fresh(BIG, PROT_READ | PROT_WRITE, 0);
    for (size_t at = 0; at < BIG; at += PAGE)
        p[at] = 1;
    madvise(p, BIG, MADV_DONTNEED);
    read_whole("/proc/self/status", text, sizeof text);
    V(atoi(strstr(text, "VmHWM:") + 6) - atoi(strstr(text, "VmRSS:") + 6) >= 20 << 10);
    munmap(p, BIG);
}

static void pagemap(void)
{
    char *p = fresh(16 * PAGE, PROT_READ | PROT_WRITE, 0);
    uint64_t entry[16] = {0};
    int fd = T(open("/proc/self/pagemap", O_RDONLY)), count = 0;

    p[3 * PAGE] = p[5 * PAGE] = 1;
    T(pread(fd, entry, sizeof entry, (uintptr_t)p / PAGE * 8));
    for (int page = 0; page < 16; page++)
        if (entry[page] >> 63)
            SAY("page %d is there, file or shared %d, frame known %d", page, (int)(entry[page] >> 61 & 1), (entry[page] & 0xffffffff) != 0), count++;
    V(count);
    T(pread(fd, entry, 12, 0));
    T(pread(fd, entry, 8, 4));
    T(pread(fd, WILD, 8, (uintptr_t)p / PAGE * 8));
    T(pread(fd, entry, 8, 1L << 62));
    read_whole("/proc/self/smaps_rollup", text, sizeof text);
    V(strstr(text, "[rollup]\nRss:") != NULL);
    V(strstr(text, "\nPss_Anon:") && strstr(text, "\nPrivate_Dirty:") && strstr(text, "\nLocked:"));
}

int main(void)
{
    low();
    locked();
    peak();
    pagemap();
    return 0;
}
