// SPDX-License-Identifier: Apache-2.0
// Memory runs out: the program is killed by SIGKILL, on Linux by the out-of-memory killer, on Uni with a report; never a wedge.
#include "oracle.h"

int main(void)
{
    SAY("filling");
    for (long total = 0; total < 1L << 36; total += 1 << 20) {
        char *p = mmap(NULL, 1 << 20, PROT_READ | PROT_WRITE, MAP_PRIVATE | MAP_ANONYMOUS, -1, 0);
        if (p == MAP_FAILED)
            break;
        for (int at = 0; at < 1 << 20; at += 4096)
            p[at] = 1;
    }
    SAY("all of it");
    return 0;
}
