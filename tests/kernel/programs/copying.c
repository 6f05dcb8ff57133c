// SPDX-License-Identifier: Apache-2.0
// sendfile, copy_file_range, splice, tee, vmsplice.
// oracle: libc=musl cwd=/scratch,/tmp
#include "oracle.h"
#include <sys/sendfile.h>
#include <sys/socket.h>

static void sending(void)
{
    off_t at = 3;
    int pair[2], out = open("out", O_CREAT | O_TRUNC | O_RDWR, 0600), ends[2];
    char buffer[32] = "";

    put("in", "0123456789abcdef");
    int in = open("in", O_RDONLY);
    T(sendfile(out, in, NULL, 4));
    T(lseek(in, 0, SEEK_CUR));
    T(sendfile(out, in, &at, 5));
    V(at);
    T(lseek(in, 0, SEEK_CUR));
    show("out");
    T(sendfile(out, in, NULL, 1000));
    T(sendfile(out, in, NULL, 1000));
    show("out");
    socketpair(AF_UNIX, SOCK_STREAM, 0, pair);
    at = 0;
    T(sendfile(pair[0], in, &at, 16));
    T(read(pair[1], buffer, 32));
    dump("socket", buffer, 16);
    pipe(ends);
    T(sendfile(out, ends[0], NULL, 4));
    T(sendfile(in, out, NULL, 4));
    at = -1;
    T(sendfile(out, in, &at, 4));
    T(sendfile(99, in, NULL, 4));
    T(sendfile(out, 99, NULL, 4));
    T(syscall(SYS_sendfile, out, in, WILD, 4));
    T(sendfile(out, in, NULL, 0));
    close(out);
    out = open("out", O_WRONLY | O_APPEND);
    T(sendfile(out, in, NULL, 4));
    close(in), close(out), close(pair[0]), close(pair[1]), close(ends[0]), close(ends[1]);
}

static void ranges(void)
{
    off_t from = 2, to = 1;
    int in = open("in", O_RDWR), out = open("copy", O_CREAT | O_TRUNC | O_RDWR, 0600), dir = open(".", O_RDONLY), ends[2];

    T(copy_file_range(in, NULL, out, NULL, 6, 0));
    T(copy_file_range(in, &from, out, &to, 3, 0));
    V(from);
    V(to);
    show("copy");
    T(copy_file_range(in, NULL, out, NULL, 1000, 0));
    T(copy_file_range(in, NULL, out, NULL, 1000, 0));
    show("copy");
    T(copy_file_range(in, NULL, out, NULL, 1, 7));
    from = 0, to = 4;
    T(copy_file_range(in, &from, in, &to, 6, 0));
    from = 0, to = 16;
    T(copy_file_range(in, &from, in, &to, 16, 0));
    show("in");
    pipe(ends);
    T(copy_file_range(ends[0], NULL, out, NULL, 4, 0));
    T(copy_file_range(dir, NULL, out, NULL, 4, 0));
    T(copy_file_range(99, NULL, out, NULL, 4, 0));
    close(out);
    out = open("copy", O_RDONLY);
    T(copy_file_range(in, NULL, out, NULL, 4, 0));
    close(in), close(out), close(dir), close(ends[0]), close(ends[1]);
}

static void splicing(void)
{
    loff_t at = 4;
    int ends[2], other[2], in = open("in", O_RDONLY), out = open("spliced", O_CREAT | O_TRUNC | O_RDWR, 0600);
    char buffer[32] = "";

    pipe(ends), pipe(other);
    T(splice(in, &at, ends[1], NULL, 8, 0));
    V(at);
    T(tee(ends[0], other[1], 8, 0));
    T(splice(ends[0], NULL, out, NULL, 100, 0));
    show("spliced");
    T(read(other[0], buffer, 32));
    dump("tee", buffer, 8);
    T(splice(ends[0], NULL, out, NULL, 100, SPLICE_F_NONBLOCK));
    T(splice(in, NULL, out, NULL, 4, 0));
    at = 0;
    T(splice(ends[0], &at, out, NULL, 4, 0));
    T(splice(99, NULL, ends[1], NULL, 4, 0));
    T(splice(in, NULL, ends[1], NULL, 0, 0));
    T(splice(in, NULL, ends[1], NULL, 5, 0));
    T(splice(ends[0], NULL, other[1], NULL, 3, 0));
    T(read(ends[0], buffer, 32));
    T(read(other[0], buffer, 32));
    struct iovec pieces[] = {{"user ", 5}, {"pages", 5}};
    T(vmsplice(ends[1], pieces, 2, 0));
    T(read(ends[0], buffer, 32));
    dump("vmsplice", buffer, 10);
    T(tee(in, ends[1], 4, 0));
    T(splice(in, NULL, ends[1], NULL, 4, 0x100));
}

int main(void)
{
    sending();
    ranges();
    splicing();
    return 0;
}
