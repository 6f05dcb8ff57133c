// SPDX-License-Identifier: Apache-2.0
// inotify: watches on files and directories, their events in order, coalesced, removed.
// oracle: libc=musl cwd=/scratch,/tmp
#include "oracle.h"
#include <sys/inotify.h>
#include <sys/ioctl.h>

static int fd;

static void events(const char *after)
{
    char buffer[4096] __attribute__((aligned(8)));
    long length = read(fd, buffer, sizeof buffer);

    SAY("after %s: %s", after, length == -1 ? errname(errno) : "");
    for (long at = 0; at < length;) {
        struct inotify_event *event = (void *)(buffer + at);
        SAY("  wd %d mask %x cookie %d name %s", event->wd, event->mask, event->cookie != 0, event->len ? event->name : "-");
        at += sizeof *event + event->len;
    }
}

int main(void)
{
    fd = T(inotify_init1(IN_NONBLOCK));
    if (fd == -1)
        return 1;
    mkdir("w", 0755);
    put("f", "x");
    T(inotify_add_watch(fd, "w", IN_ALL_EVENTS));
    T(inotify_add_watch(fd, "f", IN_MODIFY | IN_ATTRIB | IN_DELETE_SELF));
    T(inotify_add_watch(fd, "none", IN_MODIFY));
    T(inotify_add_watch(fd, "f", 0));
    T(inotify_add_watch(0, "f", IN_MODIFY));
    T(inotify_add_watch(fd, "f", IN_MODIFY | IN_ONLYDIR));
    events("nothing");
    put("w/new", "data");
    events("create");
    show("w/new");
    events("read");
    rename("w/new", "w/moved");
    events("rename");
    chmod("w/moved", 0600);
    mkdir("w/sub", 0755);
    events("chmod, mkdir");
    struct pollfd entry = {fd, POLLIN, 0};
    T(poll(&entry, 1, 0));
    unlink("w/moved");
    T(poll(&entry, 1, 0));
    int waiting;
    T(ioctl(fd, FIONREAD, &waiting));
    V(waiting > 0);
    events("unlink");
    int file = open("f", O_WRONLY);
    write(file, "y", 1);
    close(file);
    events("write");
    T(inotify_rm_watch(fd, 1));
    events("removal");
    T(inotify_rm_watch(fd, 1));
    T(inotify_rm_watch(fd, 99));
    unlink("f");
    events("delete self");
    T(inotify_init1(0x7));
    T(read(fd, &waiting, 4));
    return 0;
}
