// SPDX-License-Identifier: Apache-2.0
// /proc/self: maps, smaps, smaps_rollup, pagemap. Formats: proc(5), Linux's Documentation/admin-guide/mm/pagemap.rst.
#include "procinfo.h"
#include "arch.h"
#include "../fs/procfs.h"
#include "process.h"

#define NAME_COLUMN 73                  // where the name of a mapping begins

// One area, copied out so that nothing is locked while its line is written. The file is counted.
static bool next_area(u64 from, struct vma *out)
{
    struct mm *m = &the_process->mm;
    rw_read_lock(&m->lock);
    struct vma *v = vm_find(from);
    if (v) {
        *out = *v;
        if (out->file)
            file_get(out->file);
    }
    rw_read_unlock(&m->lock);
    return v != NULL;
}

static void area_line(struct seqbuf *s, const struct vma *v)
{
    char line[128], name[256] = "";
    struct kstat st = { 0 };
    if (v->file) {
        vfs_stat(v->file, &st);
        if (file_name(v->file, name, sizeof(name)) < 0)
            name[0] = 0;
    }
    if (v->name)
        strlcpy(name, v->name, sizeof(name));
    unsigned major = (unsigned)(st.dev >> 8) & 0xfff, minor = (unsigned)((st.dev & 0xff) | ((st.dev >> 12) & 0xfff00));
    int n = snprintf(line, sizeof(line), "%08lx-%08lx %c%c%c%c %08lx %02x:%02x %lu ", (unsigned long)v->start, (unsigned long)v->end,
                     v->prot & VM_READ ? 'r' : '-', v->prot & VM_WRITE ? 'w' : '-', v->prot & VM_EXEC ? 'x' : '-',
                     v->flags & VMA_SHARED ? 's' : 'p', v->file ? (unsigned long)v->pgoff << PAGE_SHIFT : 0ul, major, minor,
                     (unsigned long)st.ino);
    while (name[0] && n < NAME_COLUMN && n < (int)sizeof(line) - 1)
        line[n++] = ' ';
    line[n] = 0;
    seq_printf(s, "%s%s\n", line, name);
}

// What is in memory of an area, in KiB.
struct resident {
    unsigned long rss, anon, dirty, locked;
};

static void add_resident(struct resident *all, const struct vma *v)
{
    struct resident r = { 0 };
    for (u64 a = v->start; a < v->end; a += PAGE_SIZE) {
        int level;
        const u64 *e = pt_lookup(a, &level);
        if (!e) {
            a = ALIGN_DOWN(a, 512 * PAGE_SIZE) + 511 * PAGE_SIZE;       // no table: two MiB without a page
        } else if (*e & PTE_P) {
            bool own = !v->file || (!(v->flags & VMA_SHARED) && (*e & PTE_W));
            r.rss += PAGE_SIZE / 1024;
            r.anon += own && !(v->flags & VMA_SHARED) ? PAGE_SIZE / 1024 : 0;
            r.dirty += own || (*e & PTE_W) ? PAGE_SIZE / 1024 : 0;
        }
    }
    all->rss += r.rss;
    all->anon += r.anon;
    all->dirty += r.dirty;
    all->locked += v->flags & VMA_LOCKED ? r.rss : 0;
}

enum { ZERO, RSS, ANON, FILE_OR_SHARED, DIRTY, CLEAN, LOCKED };

// Nothing is shared with another process, so a proportional share is the whole.
static void resident_lines(struct seqbuf *s, const struct resident *r, bool rollup)
{
    static const struct { const char *name; u8 which; bool only_rollup; } row[] = {
        { "Rss:", RSS, false }, { "Pss:", RSS, false }, { "Pss_Dirty:", DIRTY, false }, { "Pss_Anon:", ANON, true },
        { "Pss_File:", FILE_OR_SHARED, true }, { "Pss_Shmem:", ZERO, true }, { "Shared_Clean:", ZERO, false },
        { "Shared_Dirty:", ZERO, false }, { "Private_Clean:", CLEAN, false }, { "Private_Dirty:", DIRTY, false },
        { "Referenced:", RSS, false }, { "Anonymous:", ANON, false }, { "LazyFree:", ZERO, false }, { "AnonHugePages:", ZERO, false },
        { "ShmemPmdMapped:", ZERO, false }, { "FilePmdMapped:", ZERO, false }, { "Shared_Hugetlb:", ZERO, false },
        { "Private_Hugetlb:", ZERO, false }, { "Swap:", ZERO, false }, { "SwapPss:", ZERO, false }, { "Locked:", LOCKED, false },
    };
    const unsigned long v[] = { 0, r->rss, r->anon, r->rss - r->anon, r->dirty, r->rss - r->dirty, r->locked };
    for (unsigned n = 0; n < ARRAY_SIZE(row); n++)
        if (rollup || !row[n].only_rollup)
            seq_printf(s, "%-16s%8lu kB\n", row[n].name, v[row[n].which]);
}

// The letters of VmFlags by the bits of prot, and by those of the flags.
static void flag_line(struct seqbuf *s, const struct vma *v)
{
    static const char of_prot[] = "rdwrex", of_flags[] = "shgdlogdnrddwf......lf";
    seq_printf(s, "VmFlags: ");
    for (unsigned n = 0; n < sizeof(of_prot) / 2; n++)
        if (v->prot >> n & 1)
            seq_printf(s, "%.2s ", of_prot + 2 * n);
    seq_printf(s, v->flags & (VMA_SPECIAL | VMA_SEALED) ? "mr me " : "mr mw me ");
    for (unsigned n = 0; n < sizeof(of_flags) / 2; n++)
        if ((v->flags >> n & 1) && of_flags[2 * n] != '.')
            seq_printf(s, "%.2s ", of_flags + 2 * n);
    seq_printf(s, "\n");
}

static void area_details(struct seqbuf *s, const struct vma *v)
{
    struct resident r = { 0 };
    add_resident(&r, v);
    seq_printf(s, "Size:           %8lu kB\nKernelPageSize:        4 kB\nMMUPageSize:           4 kB\n",
               (unsigned long)(v->end - v->start) / 1024);
    resident_lines(s, &r, false);
    seq_printf(s, "THPeligible:           0\n");
    flag_line(s, v);
}

static void each_area(struct seqbuf *s, void (*show)(struct seqbuf *s, const struct vma *v))
{
    struct vma v = { 0 };   // GCC 11 does not see that next_area() fills it
    for (u64 at = 0; next_area(at, &v); at = v.end) {
        area_line(s, &v);
        if (show)
            show(s, &v);
        if (v.file)
            file_put(v.file);
    }
}

static void show_maps(struct seqbuf *s) { each_area(s, NULL); }
static void show_smaps(struct seqbuf *s) { each_area(s, area_details); }

static void show_rollup(struct seqbuf *s)
{
    struct vma v = { 0 };
    struct resident r = { 0 };
    u64 first = 0, last = 0;
    for (; next_area(last, &v); last = v.end) {
        first = last ? first : v.start;
        add_resident(&r, &v);
        if (v.file)
            file_put(v.file);
    }
    seq_printf(s, "%08lx-%08lx ---p 00000000 00:00 0 %*s[rollup]\n", (unsigned long)first, (unsigned long)last, 23, "");
    resident_lines(s, &r, true);
}

// Eight bytes a page of the address space: bit 63, it is there; 61, it is a file's or shared; 55, written since clear_refs (all are);
// below, its frame for who may know.
static ssize_t pagemap_read(struct file *f, struct iter *it, u64 *pos)
{
    ssize_t done = 0;
    (void)f;
    if (*pos % 8 || it->left % 8)
        return -EINVAL;
    while (it->left && *pos / 8 < USER_MAX >> PAGE_SHIFT) {
        u64 at = *pos / 8 << PAGE_SHIFT, entry = 0;
        int level;
        rw_read_lock(&the_process->mm.lock);
        const struct vma *v = vm_find(at);
        const u64 *e = v && v->start <= at ? pt_lookup(at, &level) : NULL;
        if (e && (*e & PTE_P))
            entry = BIT(63) | BIT(55) | (v->file || (v->flags & VMA_SHARED) ? BIT(61) : 0) | (*e & PTE_ADDR) >> PAGE_SHIFT;
        rw_read_unlock(&the_process->mm.lock);
        if (!capable(CAP_SYS_ADMIN))
            entry &= ~(BIT(55) - 1);
        if (iter_put(it, &entry, sizeof(entry)) != sizeof(entry))
            return done ? done : -EFAULT;
        *pos += sizeof(entry);
        done += (ssize_t)sizeof(entry);
    }
    return done;
}

void procmaps_register(void)
{
    static const struct file_ops pagemap = { .read = pagemap_read, .seek = generic_seek };
    proc_register("/proc/self/maps", 0444, show_maps, NULL);
    proc_register("/proc/self/smaps", 0444, show_smaps, NULL);
    proc_register("/proc/self/smaps_rollup", 0444, show_rollup, NULL);
    struct pnode *n = pnode_make("/proc/self/pagemap", S_IFREG | 0400);
    if (n)
        n->fops = &pagemap;
}
