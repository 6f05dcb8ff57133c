// SPDX-License-Identifier: Apache-2.0
// Maps the vDSO and, right below it, the clock's page: two pages of the kernel's image, which the program can read but never write.
#include "vdso.h"
#include "../mm/vm_priv.h"
#include "bootinfo.h"
#include "lib.h"
#include "process.h"
#include "time.h"

extern const char vdso_image[], vdso_image_end[];

// mm->lock is held for writing. The COW mark keeps the entry read-only whatever mprotect is asked for.
static bool enter(u64 addr, u64 pa, const char *name)
{
    struct vma *v = vm_find(addr);
    u64 *e = pt_ensure(addr);
    if (!e || !v || v->start > addr)
        return false;
    v->name = name;
    *e = pa | pte_bits(v, false) | PTE_COW;
    return true;
}

u64 vdso_map(void)
{
    struct mm *m = &the_process->mm;
    vvar_pa = clock_page_pa();
    vdso_pa = kernel_pa(vdso_image);
    long at = vm_map(0, 2 * PAGE_SIZE, VM_READ, VMA_SPECIAL, NULL, 0, false, false);
    if (at < 0)
        return 0;
    u64 vvar = (u64)at, code = vvar + PAGE_SIZE;
    if (vm_protect(code, PAGE_SIZE, VM_READ | VM_EXEC)) {
        vm_unmap(vvar, 2 * PAGE_SIZE);
        return 0;
    }
    rw_write_lock(&m->lock);
    bool ok = enter(vvar, vvar_pa, "[vvar]") && enter(code, vdso_pa, "[vdso]");
    rw_write_unlock(&m->lock);
    return ok ? code : 0;
}
