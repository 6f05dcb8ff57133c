// SPDX-License-Identifier: Apache-2.0
// Out of memory: says who asked for what and what holds the memory, then ends the program.
#include "boot.h"
#include "page.h"
#include "printk.h"
#include "process.h"
#include "vm_priv.h"

enum { SIGKILL = 9 };

void oom_report(u64 pages, const char *what)
{
    static bool reported;
    struct process *p = the_process;
    struct mem_stats m;
    if (!p || reported)
        return;
    reported = true;
    mem_stats(&m);
    printk(LOG_ERR, "uni: out of memory: %s asked for %lu page(s): %s\n", p->name, pages, what);
    printk(LOG_ERR, "uni: memory in KiB: total %lu, program %lu, page cache %lu, kernel %lu, free %lu; address space %lu\n",
           m.total >> 10, m.anon >> 10, m.cache >> 10, m.kernel >> 10, m.free >> 10, p->mm.total_pages << (PAGE_SHIFT - 10));
    struct kv kv[] = { { "pages", NULL, (i64)pages }, { "what", what, 0 }, { "program", p->name, 0 } };
    control_event("oom", kv, ARRAY_SIZE(kv));
    process_kill(SIGKILL);
}
