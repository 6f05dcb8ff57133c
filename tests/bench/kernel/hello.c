// SPDX-License-Identifier: Apache-2.0
// The smallest useful program: how little memory does it take?
#include <unistd.h>

int main(void)
{
    return write(1, "hello\n", 6) != 6;
}
