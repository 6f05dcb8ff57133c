// SPDX-License-Identifier: Apache-2.0
// Try to become each mutant from a number on. One that the kernel refuses is named with its errno; the first that it takes ends this.
#include "oracle.h"

int main(int argc, char **argv, char **envp)
{
    int number = argc > 1 ? atoi(argv[1]) : 0, last = argc > 2 ? atoi(argv[2]) : 0;
    char path[64];

    for (; number < last; number++) {
        snprintf(path, sizeof path, "/mutants/%d", number);
        char *args[] = {path, NULL};
        printf("try %d\n", number);
        execve(path, args, envp);
        printf("refused %d %s\n", number, errname(errno));
    }
    return 0;
}
