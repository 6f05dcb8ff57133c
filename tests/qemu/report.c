// SPDX-License-Identifier: GPL-3.0-or-later
// A guest that says what it sees, one "name=value" a line, then "reported"; it goes on until a signal that it names
// ends it. With arguments "read DEVICE" or "write PATH" it moves data for ever and counts it in a line a MiB quarter.
#include <dirent.h>
#include <errno.h>
#include <fcntl.h>
#include <signal.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/resource.h>
#include <sys/stat.h>
#include <sys/statvfs.h>
#include <sys/sysinfo.h>
#include <unistd.h>

#define BLOCK (64 << 10)

extern char **environ;
static char block[BLOCK];

static void note(int signo)
{
    printf("signal=%d\n", signo);
    fflush(stdout);
    _exit(0);
}

static void show_file(const char *path)
{
    char line[512];
    FILE *file = fopen(path, "r");

    for (; file && fgets(line, sizeof line, file);)
        printf("%s=%.500s%s", path, line, strchr(line, '\n') ? "" : "\n");
    if (file)
        fclose(file);
}

static void show_secrets(void)
{
    DIR *directory = opendir("/run/secrets");
    struct dirent *entry;

    while (directory && (entry = readdir(directory))) {
        char path[300];
        struct stat about;

        snprintf(path, sizeof path, "/run/secrets/%s", entry->d_name);
        if (entry->d_name[0] == '.' || stat(path, &about))
            continue;
        printf("mode:%s=%o:%d:%d\n", path, about.st_mode & 07777, about.st_uid, about.st_gid);
        show_file(path);
    }
    if (directory)
        closedir(directory);
}

static void show_process(int argc, char **argv)
{
    char text[512];
    struct sysinfo about;

    for (int index = 0; index < argc; index++)
        printf("argv=%s\n", argv[index]);
    for (char **entry = environ; *entry; entry++)
        printf("env=%s\n", *entry);
    if (getcwd(text, sizeof text))
        printf("cwd=%s\n", text);
    struct rlimit files;
    if (!getrlimit(RLIMIT_NOFILE, &files))
        printf("nofile=%lu:%lu\n", (unsigned long)files.rlim_cur, (unsigned long)files.rlim_max);
    printf("uid=%d\ngid=%d\n", getuid(), getgid());
    if (!gethostname(text, sizeof text))
        printf("hostname=%s\n", text);
    if (!sysinfo(&about))
        printf("memory=%lu\n", about.totalram * about.mem_unit >> 20);
    printf("tty=%d\n", isatty(1));
}

static void show_files(void)
{
    struct statvfs space;
    int fd = open("/probe", O_CREAT | O_WRONLY, 0600);

    printf("root=%s\n", fd < 0 ? strerror(errno) : "writable");
    if (fd >= 0)
        close(fd);
    fd = open("/data/probe", O_CREAT | O_WRONLY, 0600);
    printf("data=%s\n", fd < 0 ? strerror(errno) : "writable");
    if (fd >= 0)
        close(fd);
    if (!statvfs("/scratch", &space))
        printf("scratch=%lu\n", (unsigned long)(space.f_blocks * space.f_frsize >> 20));
    show_file("/etc/resolv.conf");
    show_file("/etc/hosts");
    show_file("/proc/cmdline");
    show_file("/proc/mounts");
    show_secrets();
}

static int move(const char *path, int writing)
{
    int fd = open(path, writing ? O_CREAT | O_RDWR : O_RDONLY, 0600);
    long moved = 0;

    if (fd < 0) {
        perror(path);
        return 1;
    }
    for (;;) {
        ssize_t done = writing ? write(fd, block, BLOCK) : read(fd, block, BLOCK);
        if (writing && done == BLOCK)
            fdatasync(fd);
        if (done <= 0 || (writing && lseek(fd, 0, SEEK_CUR) >= 2 << 20)) {
            if (done < 0)
                return 1;
            lseek(fd, 0, SEEK_SET);
            continue;
        }
        moved += done;
        printf("moved=%ld\n", moved);
        fflush(stdout);
    }
}

int main(int argc, char **argv)
{
    for (int signo = 1; signo < 32; signo++)
        signal(signo, note);
    if (argc > 2 && (!strcmp(argv[1], "read") || !strcmp(argv[1], "write")))
        return move(argv[2], argv[1][0] == 'w');
    show_process(argc, argv);
    show_files();
    puts("reported");
    fflush(stdout);
    for (;;)
        pause();
}
