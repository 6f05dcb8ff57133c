// SPDX-License-Identifier: Apache-2.0
// The smallest useful program: how little memory does it take? With an argument it stays.
#include <unistd.h>

int main(int argc, char **argv)
{
    int failed = write(1, "hello\n", 6) != 6;

    if (argc > 1 && argv[1])
        pause();
    return failed;
}
