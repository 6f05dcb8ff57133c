// SPDX-License-Identifier: Apache-2.0
// mmap and munmap: anonymous, file-backed, private and shared, fixed, the tail of a file, errors.
// oracle: libc=musl,glibc cwd=/scratch,/tmp disk=4k,1k
#include "oracle.h"
#include <setjmp.h>

static sigjmp_buf back;
static volatile int code;

static void on_fault(int number, siginfo_t *info, void *context)
{
    (void)context;
    code = info->si_code;
    siglongjmp(back, number);
}

static const char *touch(volatile char *where, int writing)
{
    static char text[40];
    int number = sigsetjmp(back, 1);

    if (number) {
        snprintf(text, sizeof text, "signal %d code %d", number, code);
        return text;
    }
    if (writing)
        *where = 1;
    else
        (void)*where;
    return "ok";
}

static void anonymous(void)
{
    char *p = M(mmap(NULL, 3 * PAGE, PROT_READ | PROT_WRITE, MAP_PRIVATE | MAP_ANONYMOUS, -1, 0));

    V(p[0] + p[PAGE] + p[3 * PAGE - 1]);
    memset(p, 7, 3 * PAGE);
    T(munmap(p + PAGE, PAGE));
    SAY("hole %s", touch(p + PAGE, 0));
    SAY("after %s", touch(p + 2 * PAGE, 1));
    V(M(mmap(p + PAGE, PAGE, PROT_READ, MAP_PRIVATE | MAP_ANONYMOUS | MAP_FIXED, -1, 0)) == p + PAGE);
    SAY("readonly %s", touch(p + PAGE, 1));
    SAY("readonly %s", touch(p + PAGE, 0));
    M(mmap(p, PAGE, PROT_READ, MAP_PRIVATE | MAP_ANONYMOUS | MAP_FIXED_NOREPLACE, -1, 0));
    munmap(p, 3 * PAGE);
    V(M(mmap(p, PAGE, PROT_READ | PROT_WRITE, MAP_PRIVATE | MAP_ANONYMOUS | MAP_FIXED_NOREPLACE, -1, 0)) == p);
    V(p[0]);
    munmap(p, PAGE);
    M(mmap(NULL, 0, PROT_READ, MAP_PRIVATE | MAP_ANONYMOUS, -1, 0));
    M(mmap(NULL, PAGE, PROT_READ, MAP_ANONYMOUS, -1, 0));
    M(mmap(p + 1, PAGE, PROT_READ, MAP_PRIVATE | MAP_ANONYMOUS | MAP_FIXED, -1, 0));
    M((void *)syscall(SYS_mmap, 0, -1UL, PROT_READ, MAP_PRIVATE | MAP_ANONYMOUS, -1, 0));
    M((void *)syscall(SYS_mmap, 0, 1UL << 60, PROT_READ, MAP_PRIVATE | MAP_ANONYMOUS, -1, 0));
    M((void *)syscall(SYS_mmap, 0x100000000000000, PAGE, PROT_READ, MAP_PRIVATE | MAP_ANONYMOUS | MAP_FIXED, -1, 0));
    M((void *)syscall(SYS_mmap, KERNEL_ADDRESS, PAGE, PROT_READ, MAP_PRIVATE | MAP_ANONYMOUS | MAP_FIXED, -1, 0));
    M(mmap(NULL, PAGE, PROT_READ, MAP_PRIVATE, 99, 0));
    M((void *)syscall(SYS_mmap, 0, PAGE, PROT_READ, MAP_PRIVATE, 0, 1));
    T(munmap(p + 1, PAGE));
    T(munmap(p, 0));
    T(munmap(p, PAGE));
    T(munmap(KERNEL_ADDRESS, PAGE));
    T(munmap((void *)PAGE, -PAGE));
    char *hinted = mmap((void *)0x123456789000, PAGE, PROT_READ, MAP_PRIVATE | MAP_ANONYMOUS, -1, 0);
    V(hinted == (void *)0x123456789000);
}

static void files(void)
{
    char buffer[16];
    int fd = open("m", O_CREAT | O_TRUNC | O_RDWR, 0600);

    for (int i = 0; i < 6000; i++)
        write(fd, "ab", 2);
    char *shared = M(mmap(NULL, 4 * PAGE, PROT_READ | PROT_WRITE, MAP_SHARED, fd, 0));
    char *private = M(mmap(NULL, 4 * PAGE, PROT_READ | PROT_WRITE, MAP_PRIVATE, fd, 0));
    char *second = M(mmap(NULL, PAGE, PROT_READ, MAP_SHARED, fd, PAGE));
    shared[PAGE] = 'S';
    V(second[0]);
    V(private[PAGE]);
    private[PAGE] = 'P';
    private[0] = 'P';
    V(shared[PAGE]);
    pread(fd, buffer, 1, PAGE);
    V(buffer[0]);
    pwrite(fd, "W", 1, 0);
    V(shared[0]);
    V(private[0]);
    pwrite(fd, "W", 1, 2 * PAGE);
    V(private[2 * PAGE]);
    V(shared[12000]);
    shared[12001] = 'T';
    SAY("tail %s", touch(shared + 3 * PAGE - 1, 0));
    SAY("past the end %s", touch(shared + 3 * PAGE, 0));
    SAY("past the end %s", touch(private + 3 * PAGE, 1));
    T(lseek(fd, 0, SEEK_END));
    T(ftruncate(fd, 5000));
    SAY("cut %s", touch(shared + 2 * PAGE, 0));
    T(ftruncate(fd, 16384));
    V(shared[5001] + shared[3 * PAGE]);
    shared[3 * PAGE + 5] = 'E';
    T(pread(fd, buffer, 1, 3 * PAGE + 5));
    V(buffer[0]);
    T(msync(shared, 4 * PAGE, MS_SYNC));
    T(msync(shared, 4 * PAGE, MS_ASYNC));
    T(msync(shared, 4 * PAGE, MS_SYNC | MS_ASYNC));
    T(msync(shared + 1, PAGE, MS_SYNC));
    munmap(shared, PAGE);
    T(msync(shared, 2 * PAGE, MS_SYNC));
    close(fd);
    V(private[0]);
    unlink("m");
    V(second[0]);
    fd = open("m", O_CREAT | O_RDONLY, 0600);
    M(mmap(NULL, PAGE, PROT_READ | PROT_WRITE, MAP_SHARED, fd, 0));
    M(mmap(NULL, PAGE, PROT_READ | PROT_WRITE, MAP_PRIVATE, fd, 0));
    char *empty = M(mmap(NULL, PAGE, PROT_READ, MAP_SHARED, fd, 0));
    SAY("empty file %s", touch(empty, 0));
    T(mprotect(empty, PAGE, PROT_READ | PROT_WRITE));
    close(fd);
    fd = open("m", O_WRONLY);
    M(mmap(NULL, PAGE, PROT_READ, MAP_SHARED, fd, 0));
    M(mmap(NULL, PAGE, PROT_WRITE, MAP_PRIVATE, fd, 0));
    close(fd);
    fd = open(".", O_RDONLY);
    M(mmap(NULL, PAGE, PROT_READ, MAP_PRIVATE, fd, 0));
    close(fd);
    int ends[2];
    pipe(ends);
    M(mmap(NULL, PAGE, PROT_READ, MAP_PRIVATE, ends[0], 0));
    fd = open("/dev/zero", O_RDWR);
    char *zero = M(mmap(NULL, PAGE, PROT_READ | PROT_WRITE, MAP_PRIVATE, fd, 0));
    V(zero[9]);
    fd = open("/dev/null", O_RDWR);
    M(mmap(NULL, PAGE, PROT_READ, MAP_PRIVATE, fd, 0));
}

static void read_into_mapping(void)
{
    int fd = open("self", O_CREAT | O_TRUNC | O_RDWR, 0600);

    ftruncate(fd, 3 * PAGE);
    char *p = mmap(NULL, 3 * PAGE, PROT_READ | PROT_WRITE, MAP_SHARED, fd, 0);
    memset(p, 'x', PAGE);
    T(pread(fd, p + PAGE, PAGE, 0));
    V(p[2 * PAGE - 1]);
    T(pwrite(fd, p + PAGE, PAGE, 2 * PAGE));
    V(p[3 * PAGE - 1]);
    munmap(p, 3 * PAGE);
    T(read(fd, p, 10));
}

int main(void)
{
    struct sigaction action = {.sa_sigaction = on_fault, .sa_flags = SA_SIGINFO};

    sigaction(SIGSEGV, &action, NULL);
    sigaction(SIGBUS, &action, NULL);
    anonymous();
    files();
    read_into_mapping();
    return 0;
}
