// SPDX-License-Identifier: Apache-2.0
// The root's disk cannot be mounted a second time, whatever it and its file system are called: two of one disk would each write what the
// other does not know of. (Linux would show the same file system twice.)
#include "oracle.h"
#include <sys/mount.h>

int main(void)
{
    static const char *const disks[] = {"/dev/vda", "vda"}, *const types[] = {"ext2", "ext3", "ext4"};

    MUST(mkdir("m", 0755));
    for (size_t disk = 0; disk < COUNT(disks); disk++)
        for (size_t type = 0; type < COUNT(types); type++)
            SAY("%s as %s: %s", disks[disk], types[type], mount(disks[disk], "m", types[type], 0, NULL) ? errname(errno) : "mounted");
    T(mount("/dev/none", "m", "ext2", 0, NULL));
    return 0;
}
