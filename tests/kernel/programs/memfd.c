// SPDX-License-Identifier: Apache-2.0
// memfd_create, seals, shared memory objects, shared anonymous memory.
// oracle: libc=musl,glibc
#include "oracle.h"

// What a seal forbids later: to map for writing by mprotect, to cut or grow by open and fallocate.
static void sealed(void)
{
    char path[40];
    int fd = memfd_create("sealed", MFD_ALLOW_SEALING);

    ftruncate(fd, 4 * PAGE);
    snprintf(path, sizeof path, "/proc/self/fd/%d", fd);
    T(fcntl(fd, F_ADD_SEALS, F_SEAL_SHRINK));
    T(open(path, O_RDWR | O_TRUNC));
    T(fcntl(fd, F_ADD_SEALS, F_SEAL_GROW));
    T(fallocate(fd, 0, 0, 4 * PAGE));
    T(fallocate(fd, 0, 0, 5 * PAGE));
    T(fallocate(fd, FALLOC_FL_KEEP_SIZE | FALLOC_FL_PUNCH_HOLE, 0, PAGE));
    char *before = M(mmap(NULL, PAGE, PROT_READ | PROT_WRITE, MAP_SHARED, fd, 0));
    T(fcntl(fd, F_ADD_SEALS, F_SEAL_FUTURE_WRITE));
    T(mprotect(before, PAGE, PROT_READ));
    T(mprotect(before, PAGE, PROT_READ | PROT_WRITE));
    char *later = M(mmap(NULL, PAGE, PROT_READ, MAP_SHARED, fd, 0));
    T(mprotect(later, PAGE, PROT_READ | PROT_WRITE));
    T(fallocate(fd, FALLOC_FL_KEEP_SIZE | FALLOC_FL_PUNCH_HOLE, 0, PAGE));
    T(fallocate(fd, 0, 0, PAGE));
    T(fcntl(fd, F_ADD_SEALS, F_SEAL_WRITE));
    munmap(before, PAGE);
    T(fcntl(fd, F_ADD_SEALS, F_SEAL_WRITE));
}

int main(void)
{
    struct stat s;
    char buffer[16] = "";
    int fd = T(memfd_create("name", MFD_ALLOW_SEALING | MFD_CLOEXEC));

    T(fcntl(fd, F_GETFD));
    T(write(fd, "memory", 6));
    T(ftruncate(fd, 3 * PAGE));
    T(fstat(fd, &s));
    V(s.st_size);
    V(s.st_mode & S_IFMT);
    V(s.st_nlink);
    char *p = M(mmap(NULL, 3 * PAGE, PROT_READ | PROT_WRITE, MAP_SHARED, fd, 0));
    dump("mapped", p, 6);
    p[2 * PAGE] = 'z';
    T(pread(fd, buffer, 1, 2 * PAGE));
    V(buffer[0]);
    T(fcntl(fd, F_GET_SEALS));
    T(fcntl(fd, F_ADD_SEALS, F_SEAL_WRITE));
    munmap(p, 3 * PAGE);
    T(fcntl(fd, F_ADD_SEALS, F_SEAL_SHRINK));
    T(ftruncate(fd, PAGE));
    T(ftruncate(fd, 4 * PAGE));
    T(fcntl(fd, F_ADD_SEALS, F_SEAL_GROW | F_SEAL_WRITE));
    T(ftruncate(fd, 5 * PAGE));
    T(pwrite(fd, "x", 1, 0));
    M(mmap(NULL, PAGE, PROT_READ | PROT_WRITE, MAP_SHARED, fd, 0));
    M(mmap(NULL, PAGE, PROT_READ, MAP_SHARED, fd, 0));
    M(mmap(NULL, PAGE, PROT_READ | PROT_WRITE, MAP_PRIVATE, fd, 0));
    T(fcntl(fd, F_ADD_SEALS, F_SEAL_SEAL));
    T(fcntl(fd, F_ADD_SEALS, F_SEAL_SEAL));
    T(fcntl(fd, F_GET_SEALS));
    close(fd);
    fd = T(memfd_create("", 0));
    T(fcntl(fd, F_GET_SEALS));
    T(fcntl(fd, F_ADD_SEALS, F_SEAL_GROW));
    T(memfd_create("x", 0x100));
    T(syscall(SYS_memfd_create, WILD, 0));
    char name[300];
    memset(name, 'n', 299);
    name[299] = 0;
    T(memfd_create(name, 0));
    name[249] = 0;
    T(memfd_create(name, 0));
    T(shm_open("/object", O_CREAT | O_EXCL | O_RDWR, 0600));
    T(shm_open("/object", O_CREAT | O_EXCL | O_RDWR, 0600));
    T(access("/dev/shm/object", F_OK));
    T(shm_unlink("/object"));
    T(shm_unlink("/object"));
    p = M(mmap(NULL, PAGE, PROT_READ | PROT_WRITE, MAP_SHARED | MAP_ANONYMOUS, -1, 0));
    p[0] = 's';
    T(madvise(p, PAGE, MADV_DONTNEED));
    V(p[0]);
    T(open("/proc/self/fd/3", O_RDWR) >= 0);
    sealed();
    return 0;
}
