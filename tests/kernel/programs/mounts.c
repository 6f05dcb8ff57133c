// SPDX-License-Identifier: Apache-2.0
// mount(2) and umount2(2): options of tmpfs, remounts, nosuid, nodev, noexec and read-only as files see them, /proc/mounts, errors.
// oracle: libc=musl
#include "oracle.h"
#include <sys/mount.h>
#include <sys/statvfs.h>
#include <sys/sysmacros.h>

static void shown(const char *at)
{
    char line[512], place[256], type[64], options[256];
    FILE *f = fopen("/proc/self/mounts", "r");
    int n = 0;

    while (fgets(line, sizeof line, f))
        if (sscanf(line, "%*s %255s %63s %255s", place, type, options) == 3 && !strcmp(place, at)) {
            char *end = strstr(options, "relatime");
            n++;
            if (end)
                end[8] = 0;             // what a file system adds of its own is not compared
            SAY("%s %s %s", at, type, options);
        }
    SAY("%s: %d", at, n);
    fclose(f);
}

static void attributes(const char *path)
{
    struct statvfs v;
    struct stat st;

    MUST(statvfs(path, &v));
    MUST(stat(path, &st));
    SAY("%s: flags %lx size %lu mode %o owner %d %d", path, v.f_flag & (ST_RDONLY | ST_NOSUID | ST_NODEV | ST_NOEXEC),
        (unsigned long)(v.f_blocks * v.f_frsize), st.st_mode & 07777, st.st_uid, st.st_gid);
}

// A mapping that may be written to keeps the file system from becoming read-only, as its file did.
static void mapped(void)
{
    int fd = open("m/mapped", O_RDWR | O_CREAT, 0600);

    MUST(ftruncate(fd, PAGE));
    char *p = mmap(NULL, PAGE, PROT_READ | PROT_WRITE, MAP_SHARED, fd, 0);
    close(fd);
    T(mount(NULL, "m", NULL, MS_REMOUNT | MS_RDONLY, NULL));
    munmap(p, PAGE);
    T(mount(NULL, "m", NULL, MS_REMOUNT | MS_RDONLY, NULL));
    T(mount(NULL, "m", NULL, MS_REMOUNT, NULL));
    T(mount(NULL, "m", NULL, MS_REMOUNT, "size=4k"));
    T(mount(NULL, "m", NULL, MS_REMOUNT, "size=8m"));
    attributes("m");
}

static void tmpfs(void)
{
    char *argv[] = {"x", NULL}, *envp[] = {NULL}, *full = malloc(1 << 20);
    int fd;

    T(mount("none", "m", "tmpfs", MS_NOSUID | MS_NODEV | MS_NOEXEC, "size=1m,mode=750,uid=3,gid=4"));
    attributes("m");
    shown("/scratch/m");
    fd = creat("m/file", 0600);
    T(write(fd, full, 900000));
    T(write(fd, full, 900000) < 900000);
    close(fd);
    unlink("m/file");
    MUST(mknod("m/null", S_IFCHR | 0666, makedev(1, 3)));
    T(open("m/null", O_RDWR));
    OK(open("m/null", O_PATH));
    copy_self("m/self");
    T(access("m/self", X_OK));
    T(execve("m/self", argv, envp));
    fd = open("m/self", O_RDONLY);
    M(mmap(NULL, 4096, PROT_READ, MAP_PRIVATE, fd, 0));
    M(mmap(NULL, 4096, PROT_READ | PROT_EXEC, MAP_PRIVATE, fd, 0));
    T(mprotect(mmap(NULL, 4096, PROT_READ, MAP_PRIVATE, fd, 0), 4096, PROT_READ | PROT_EXEC));
    close(fd);
    T(mount(NULL, "m", NULL, MS_REMOUNT | MS_NOSUID, NULL));
    attributes("m");
    shown("/scratch/m");
    fd = open("m/null", O_RDWR);
    T(write(fd, "x", 1));
    close(fd);
    fd = open("m/self", O_RDWR);
    T(mount(NULL, "m", NULL, MS_REMOUNT | MS_RDONLY, NULL));
    close(fd);
    fd = open("m/self", O_RDONLY);
    T(mount(NULL, "m", NULL, MS_REMOUNT | MS_RDONLY, NULL));
    T(open("m/self", O_RDWR));
    T(open("m/new", O_RDWR | O_CREAT, 0600));
    T(mkdir("m/dir", 0700));
    T(unlink("m/self"));
    T(chmod("m/self", 0700));
    T(access("m/self", W_OK));
    shown("/scratch/m");
    T(mount(NULL, "m", NULL, MS_REMOUNT, NULL));
    OK(mkdir("m/dir", 0700));
    T(umount2("m", 0));
    close(fd);
    mapped();
    T(umount2("m", 0x40));
    T(umount2("m", MNT_EXPIRE | MNT_DETACH));
    T(umount2("m", 0));
    T(umount2("m", 0));
    T(open("m/self", O_RDONLY));
    free(full);
}

static void errors(void)
{
    T(mount("none", "m", "tmpfs", 0, "size=abc"));
    T(mount("none", "m", "tmpfs", 0, "nonsense=1"));
    T(mount("none", "m", "tmpfs", 0, "uid=4294967296"));
    T(mount("none", "m", "tmpfs", 0, "gid=4294967296"));
    T(mount("none", "m", "nosuchfs", 0, NULL));
    T(mount("none", "m", NULL, 0, NULL));
    T(mount("none", "absent", "tmpfs", 0, NULL));
    T(mount("none", "file", "tmpfs", 0, NULL));
    T(mount("none", (void *)8, "tmpfs", 0, NULL));
    T(mount("none", "m", (void *)8, 0, NULL));
    T(mount(NULL, "m", NULL, MS_REMOUNT, NULL));
    T(mount(NULL, "m", NULL, MS_PRIVATE, NULL));
    T(mount("none", "m", "tmpfs", 0xc0ed0000 | MS_NODEV, ""));
    T(mount("again", "m", "tmpfs", 0, NULL));
    shown("/scratch/m");
    T(mount(NULL, "m", NULL, MS_PRIVATE, NULL));
    T(umount("m"));
    T(umount("m"));
    T(umount("absent"));
    T(umount((void *)8));
    T(symlink("m", "link"));
    T(mount("none", "link", "tmpfs", 0, NULL));
    T(umount2("link", UMOUNT_NOFOLLOW));
    T(umount2("link", 0));
    MUST(setresuid(1000, 1000, 1000));
    T(mount("none", "m", "tmpfs", 0, NULL));
    T(umount("m"));
}

// Moves, propagation, lazy ends and MNT_EXPIRE.
static void moves(void)
{
    char where[256];
    int fd, dir;

    MUST(mkdir("a", 0755));
    MUST(mkdir("b", 0755));
    T(mount("moved", "a", "tmpfs", 0, NULL));
    MUST(mkdir("a/in", 0755));
    T(mount("inner", "a/in", "tmpfs", 0, NULL));
    fd = creat("a/in/file", 0600);
    T(mount("a", "b", NULL, MS_MOVE, NULL));
    shown("/scratch/a");
    shown("/scratch/b");
    shown("/scratch/b/in");
    T(access("a/in", F_OK));
    T(access("b/in/file", F_OK));
    V(readlink("/proc/self/fd/3", where, sizeof where) == 18 && !memcmp(where, "/scratch/b/in/file", 18));
    T(write(fd, "x", 1));
    T(mount("b", "b/in", NULL, MS_MOVE, NULL));
    T(mount("a", "b", NULL, MS_MOVE, NULL));
    T(mount("b", "file", NULL, MS_MOVE, NULL));
    T(mount("absent", "a", NULL, MS_MOVE, NULL));
    T(mount("", "a", NULL, MS_MOVE, NULL));
    T(mount("b/in", "a", NULL, MS_MOVE, NULL));
    T(access("a/file", F_OK));
    T(chdir("a"));
    T(mount("/scratch/a", "/scratch/b/in", NULL, MS_MOVE, NULL));
    OK(getcwd(where, sizeof where) != NULL);
    SAY("%s", where);
    T(chdir("/scratch"));
    T(mount(NULL, "b", NULL, MS_SLAVE | MS_REC, NULL));
    T(mount(NULL, "b", NULL, MS_PRIVATE | MS_SLAVE, NULL));
    T(mount(NULL, "b", NULL, MS_PRIVATE | MS_RDONLY, NULL));
    T(mount(NULL, "b", NULL, MS_UNBINDABLE, NULL));
    T(mount(NULL, "b", NULL, MS_PRIVATE | MS_SILENT, NULL));
    T(mount(NULL, "a", NULL, MS_PRIVATE, NULL));
    T(mount(NULL, "b", NULL, MS_REMOUNT | MS_BIND | MS_NOEXEC, "nonsense"));
    shown("/scratch/b");
    T(umount2("b/in", MNT_EXPIRE));
    close(fd);
    T(umount2("b/in", MNT_EXPIRE));
    T(umount2("b/in", MNT_EXPIRE));
    T(umount2("b/in", MNT_EXPIRE));
    fd = open("b/file", O_RDWR | O_CREAT, 0600);
    T(write(fd, "lazy", 4));
    dir = open("b", O_RDONLY | O_DIRECTORY);
    T(umount2("b", 0));
    T(umount2("b", MNT_DETACH));
    shown("/scratch/b");
    T(access("b/file", F_OK));
    T(pread(fd, where, 10, 0));
    T(write(fd, "more", 4));
    T(openat(dir, "file", O_RDONLY) >= 0);
    OK(openat(dir, "new", O_RDWR | O_CREAT, 0600));
    T(umount2("b", 0));
    T(mount("again", "b", "tmpfs", 0, NULL));
    T(access("b/file", F_OK));
    T(umount2("b", MNT_DETACH));
    T(umount2("b", MNT_DETACH));
    close(dir);
    close(fd);
}

// What was in memory goes with the file system, however deep it lay.
static void given_back(void)
{
    static char full[1 << 20];
    int fd, wrong = 0;

    for (int round = 0; round < 10; round++) {
        MUST(mount("none", "m", "tmpfs", MS_RDONLY, "size=24m"));
        wrong += mkdir("m/deep", 0700) != -1 || errno != EROFS;
        MUST(mount(NULL, "m", NULL, MS_REMOUNT, NULL));
        MUST(chdir("m"));
        for (int depth = 0; depth < 200; depth++) {
            MUST(mkdir("deep", 0700));
            MUST(chdir("deep"));
        }
        fd = creat("full", 0600);
        for (int piece = 0; piece < 20; piece++)
            wrong += write(fd, full, sizeof full) != sizeof full;
        close(fd);
        MUST(chdir("/scratch"));
        MUST(umount("m"));
    }
    V(wrong);
}

// What is mounted below goes with it.
static void nested(void)
{
    MUST(mount("outer", "m", "tmpfs", 0, NULL));
    MUST(mkdir("m/in", 0700));
    MUST(mount("inner", "m/in", "tmpfs", 0, NULL));
    int fd = creat("m/in/file", 0600);
    T(umount("m"));
    T(umount2("m", MNT_DETACH));
    shown("/scratch/m/in");
    T(write(fd, "x", 1));
    T(umount("m"));
    close(fd);
}

struct race {
    pthread_barrier_t start;
    int done;
};

static void *ends(void *argument)
{
    struct race *r = argument;

    pthread_barrier_wait(&r->start);
    if (!umount("m"))
        __atomic_add_fetch(&r->done, 1, __ATOMIC_SEQ_CST);
    return NULL;
}

// Who comes second finds nothing to unmount.
static void racing(void)
{
    int wrong = 0;

    for (int round = 0; round < 20; round++) {
        struct race r = {.done = 0};
        pthread_t t[3];
        MUST(mount("none", "m", "tmpfs", 0, NULL));
        close(creat("m/file", 0600));
        pthread_barrier_init(&r.start, NULL, COUNT(t));
        for (size_t n = 0; n < COUNT(t); n++)
            pthread_create(&t[n], NULL, ends, &r);
        for (size_t n = 0; n < COUNT(t); n++)
            pthread_join(t[n], NULL);
        wrong += r.done > 1;
        umount("m");                    // all of them may have kept each other from it
    }
    V(wrong);
}

int main(void)
{
    MUST(mkdir("m", 0755));
    close(creat("file", 0600));
    moves();
    tmpfs();
    given_back();
    nested();
    racing();
    errors();
    return 0;
}
