// SPDX-License-Identifier: Apache-2.0
// What a C library does by itself: buffered files, temporary files, malloc, time zones, locale, glob, directory walks, sorting.
// oracle: libc=musl,glibc cwd=/scratch,/tmp
#include "oracle.h"
#include <ftw.h>
#include <glob.h>
#include <math.h>
#include <pwd.h>

static int visit(const char *path, const struct stat *s, int kind, struct FTW *where)
{
    if (kind != FTW_F || where->level)
        SAY("%s kind %d level %d size %ld", path, kind, where->level, kind == FTW_F ? (long)s->st_size : 0L);
    return 0;
}

static void files(void)
{
    char line[128];
    FILE *f = fopen("text", "w+");

    for (int i = 0; i < 2000; i++)
        fprintf(f, "line %d of many\n", i);
    V(ftell(f));
    rewind(f);
    int count = 0;
    while (fgets(line, sizeof line, f))
        count++;
    V(count);
    fseek(f, -10, SEEK_END);
    fgets(line, sizeof line, f);
    SAY("%s", line);
    V(feof(f));
    fclose(f);
    f = fopen("text", "a");
    fputs("appended\n", f);
    fclose(f);
    char name[] = "tmpXXXXXX";
    int fd = mkstemp(name);
    V(fd >= 0 && strlen(name) == 9);
    V(unlink(name));
    char directory[] = "dirXXXXXX";
    V(mkdtemp(directory) != NULL);
    rmdir(directory);
    f = tmpfile();
    V(f != NULL && fputs("x", f) >= 0);
    fclose(f);
    V(fopen("none/none", "r") == NULL);
}

static void walking(void)
{
    glob_t found;

    mkdir("tree", 0755), mkdir("tree/a", 0755), mkdir("tree/a/b", 0755);
    put("tree/a/b/leaf", "leaf");
    nftw("tree", visit, 8, FTW_PHYS);
    put("g1.txt", ""), put("g2.txt", "");
    V(glob("g*.txt", 0, NULL, &found));
    for (size_t i = 0; i < found.gl_pathc; i++)
        SAY("%s", found.gl_pathv[i]);
    globfree(&found);
    char *real = realpath("tree/../tree/a/./b", NULL);
    SAY("%s", real ? real : errname(errno));
    free(real);
    struct passwd *user = getpwnam("nobody");
    V(user ? (long)user->pw_uid : -1);
}

static void memory(void)
{
    char *blocks[200];
    unsigned long sum = 0, seed = 1;

    for (int round = 0; round < 20; round++) {
        for (int i = 0; i < 200; i++) {
            seed = seed * 6364136223846793005 + 1442695040888963407;
            size_t size = seed >> 50;
            blocks[i] = malloc(size + 1);
            memset(blocks[i], i, size + 1);
            sum += blocks[i][size] & 255;
        }
        for (int i = 0; i < 200; i++)
            free(blocks[i]);
    }
    V(sum);
    char *big = malloc(40 << 20);
    big[20 << 20] = 1;
    big = realloc(big, 60 << 20);
    V(big[20 << 20]);
    free(big);
    V(malloc(-4096UL) == NULL);
    SAY("%s", errname(errno));
}

static void formats(void)
{
    char text[64];
    struct tm *t;
    time_t when = 1700000000;

    t = gmtime(&when);
    strftime(text, sizeof text, "%Y-%m-%d %H:%M:%S %a %j", t);
    SAY("%s", text);
    setenv("TZ", "EST5EDT", 1);
    tzset();
    t = localtime(&when);
    strftime(text, sizeof text, "%H:%M %Z", t);
    SAY("%s", text);
    SAY("%.10f %.6e %g", sqrt(2), exp(10.5), pow(1.5, 20));
    SAY("%5d|%-5d|%05d|%x|%o|%c|%10.3s|", 42, 42, 42, 255, 8, 'c', "string");
}

int main(int argc, char **argv)
{
    V(argc + (argv[0] == NULL));
    files();
    walking();
    memory();
    formats();
    fprintf(stderr, "to standard error\n");
    fputs("no newline at the end", stdout);
    return 0;
}
