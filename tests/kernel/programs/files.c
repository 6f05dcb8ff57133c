// SPDX-License-Identifier: Apache-2.0
// open, read, write, lseek, close and the O_* flags.
// oracle: libc=musl,glibc cwd=/scratch,/tmp disk=4k,1k
#include "oracle.h"

static void flags(void)
{
    T(open("none", O_RDONLY));
    T(open("a", O_CREAT | O_EXCL | O_RDWR, 0640));
    T(write(3, "hello", 5));
    T(open("a", O_CREAT | O_EXCL | O_RDWR, 0640));
    T(open("a", O_WRONLY | O_APPEND));
    T(write(4, " world", 6));
    T(lseek(4, 0, SEEK_CUR));
    T(lseek(4, 0, SEEK_SET));
    T(write(4, "!", 1));
    show("a");
    T(close(4));
    T(open("a", O_RDONLY));
    T(write(4, "x", 1));
    T(ftruncate(4, 0));
    T(close(4));
    T(open("a", O_WRONLY));
    char byte;
    T(read(4, &byte, 1));
    T(close(4));
    T(open("a", O_WRONLY | O_TRUNC));
    T(close(4));
    show("a");
    T(open("a", O_RDONLY | O_DIRECTORY));
    T(open(".", O_RDWR));
    T(open(".", O_RDONLY | O_CREAT, 0600));
    T(open("", O_RDONLY));
    T(open("a/b", O_RDONLY));
    T(open("a/", O_RDONLY));
    T(open("new/", O_RDONLY | O_CREAT, 0600));
    T(close(3));
    T(close(3));
}

static void seeking(void)
{
    char buffer[16] = "";

    put("s", "0123456789");
    int fd = T(open("s", O_RDWR));
    T(lseek(fd, -3, SEEK_END));
    T(read(fd, buffer, sizeof buffer));
    dump("tail", buffer, 3);
    T(read(fd, buffer, sizeof buffer));
    T(lseek(fd, -1, SEEK_SET));
    T(lseek(fd, -11, SEEK_END));
    T(lseek(fd, 0, 99));
    T(lseek(fd, 5000, SEEK_SET));
    T(read(fd, buffer, 4));
    T(write(fd, "end", 3));
    T(lseek(fd, 0, SEEK_END));
    T(lseek(fd, 4999, SEEK_SET));
    T(read(fd, buffer, 16));
    dump("across the hole", buffer, 4);
    T(lseek(fd, 0x7fffffffffffffff, SEEK_SET));
    T(lseek(fd, 0, SEEK_SET));
    T(read(fd, buffer, 0));
    T(write(fd, buffer, 0));
    T(close(fd));
}

static void opath(void)
{
    char byte;
    int fd = T(open("s", O_PATH));

    T(read(fd, &byte, 1));
    T(write(fd, &byte, 1));
    T(fchmod(fd, 0600));
    T(lseek(fd, 0, SEEK_SET));
    struct stat status;
    T(fstat(fd, &status));
    V(status.st_size);
    V((fcntl(fd, F_GETFL) & O_PATH) != 0);
    T(close(fd));
    symlink("s", "link");
    T(open("link", O_RDONLY | O_NOFOLLOW));
    fd = T(open("link", O_PATH | O_NOFOLLOW));
    T(fstat(fd, &status));
    V(S_ISLNK(status.st_mode));
    T(close(fd));
}

static void temporary(void)
{
    int fd = T(open(".", O_TMPFILE | O_RDWR, 0600));

    if (fd != -1) {
        T(write(fd, "x", 1));
        struct stat status;
        T(fstat(fd, &status));
        V(status.st_nlink);
        T(close(fd));
    }
    T(creat("c", 0444));
    T(write(3, "y", 1));
    T(close(3));
    struct stat status;
    T(stat("c", &status));
    V(status.st_mode & 07777);
}

static void devices(void)
{
    char buffer[8] = "abcdefg";

    T(open("/dev/null", O_RDWR));
    T(read(3, buffer, 8));
    T(write(3, buffer, 8));
    T(open("/dev/zero", O_RDWR));
    T(read(4, buffer, 4));
    dump("zero", buffer, 8);
    T(write(4, buffer, 8));
    T(open("/dev/full", O_RDWR));
    T(write(5, buffer, 8));
    T(read(5, buffer, 8));
    T(open("/dev/urandom", O_RDONLY));
    T(read(6, buffer, 8));
    T(lseek(3, 10, SEEK_SET));
    T(lseek(4, 10, SEEK_SET));
    T(close(3) + close(4) + close(5) + close(6));
    T(lseek(0, 0, SEEK_CUR));
}

int main(void)
{
    flags();
    seeking();
    opath();
    temporary();
    devices();
    return 7;
}
