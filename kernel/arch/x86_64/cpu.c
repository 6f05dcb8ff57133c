// SPDX-License-Identifier: Apache-2.0
// Bringing the CPU up: control registers, descriptor tables, the per-CPU pointer, the system call entry.
// Segment and TSS layouts: Intel SDM volume 3, chapters 3 and 7; MSRs of SYSCALL: AMD APM volume 2, section 6.1.
#include "cpu.h"
#include "arch.h"
#include "bootinfo.h"
#include "lib.h"
#include "sched.h"

enum { IST_DOUBLE_FAULT = 1, IST_NMI = 2, IST_SIZE = 4096 };

struct tss {
    u32 reserved0;
    u64 rsp[3];
    u64 reserved1;
    u64 ist[7];
    u64 reserved2;
    u16 reserved3, iomap;
} PACKED;

struct idt_gate {
    u16 off0, sel;
    u8 ist, type;
    u16 off1;
    u32 off2, reserved;
} PACKED;

struct table_reg {
    u16 limit;
    u64 base;
} PACKED;

struct cpu_features cpu_features;
static struct tss tss;          // of the one CPU
static u64 gdt[10] ALIGNED(16) = {
    [KERNEL_CS / 8] = 0x00af9b000000ffff, [KERNEL_DS / 8] = 0x00cf93000000ffff, [4] = 0x00cffb000000ffff,
    [USER_DS / 8] = 0x00cff3000000ffff, [USER_CS / 8] = 0x00affb000000ffff,
};
static struct idt_gate idt[VEC_NR] ALIGNED(16);
static u8 ist_stacks[2][IST_SIZE] ALIGNED(16);

static bool bit(u32 v, int n) { return v >> n & 1; }

bool cpu_has_1g(void)
{
    u32 r[4];
    cpuid(0x80000001, 0, r);
    return bit(r[3], 26);
}

// The boot code left LME, NXE, SCE and PAE on. Features: SDM volume 2, CPUID.
static void detect(void)
{
    struct cpu_features *f = &cpu_features;
    u32 r[4], max;
    cpuid(0, 0, r);
    max = r[0];
    cpuid(1, 0, r);
    f->xsave = bit(r[2], 26);
    f->rdrand = bit(r[2], 30);
    if (max >= 7) {
        cpuid(7, 0, r);
        f->fsgsbase = bit(r[1], 0);
        f->smep = bit(r[1], 7);
        f->rdseed = bit(r[1], 18);
        f->smap = bit(r[1], 20);
        f->umip = bit(r[2], 2);
    }
    cpuid(0x40000000, 0, r);
    f->emulated = r[1] == 0x54474354;       // "TCGT"
    cpuid(0x80000007, 0, r);
    f->invtsc = bit(r[3], 8);
}

static void set_control_registers(void)
{
    struct cpu_features *f = &cpu_features;
    u64 cr4 = read_cr4() | BIT(9) | BIT(10);        // OSFXSR, OSXMMEXCPT
    cr4 |= f->umip ? BIT(11) : 0;
    cr4 |= f->fsgsbase ? BIT(16) : 0;
    cr4 |= f->xsave ? BIT(18) : 0;
    cr4 |= f->smep ? BIT(20) : 0;
    cr4 |= f->smap ? BIT(21) : 0;
    write_cr4(cr4);
    cpu_has_smap = f->smap;
    write_cr0((read_cr0() & ~BIT(2)) | BIT(1) | BIT(5) | BIT(16) | BIT(18));    // MP, NE, WP, AM; not EM
}

static void load_tables(struct cpu *c)
{
    u64 base = (u64)&tss;
    tss.iomap = sizeof(tss);
    // The per-CPU pointer lies at the top of these two stacks, because there GS cannot be trusted (entry.S).
    for (int i = 0; i < 2; i++) {
        u64 *top = (u64 *)(ist_stacks[i] + IST_SIZE - 16);
        *top = (u64)c;
        tss.ist[i] = (u64)top;
    }
    gdt[TSS_SEL / 8] = (sizeof(tss) - 1) | (base & 0xffffff) << 16 | 0x89ull << 40 | (base >> 24 & 0xff) << 56;
    gdt[TSS_SEL / 8 + 1] = base >> 32;
    for (int v = 0; v < VEC_NR; v++) {
        u64 off = (u64)vector_stubs + (u64)v * 16;
        u8 type = v == 3 || v == 4 ? 0xee : 0x8e;   // int3 and into are the program's to use
        u8 ist = v == 8 ? IST_DOUBLE_FAULT : v == 2 || v == 18 ? IST_NMI : 0;
        idt[v] = (struct idt_gate){ (u16)off, KERNEL_CS, ist, type, (u16)(off >> 16), (u32)(off >> 32), 0 };
    }
    struct table_reg g = { sizeof(gdt) - 1, (u64)gdt }, i = { sizeof(idt) - 1, (u64)idt };
    __asm__ volatile("lgdt %0; lidt %1; ltr %w2" : : "m"(g), "m"(i), "r"((u16)TSS_SEL) : "memory");
    __asm__ volatile("pushq %0; leaq 1f(%%rip), %%rax; pushq %%rax; lretq; 1:" : : "i"(KERNEL_CS) : "rax", "memory");
    __asm__ volatile("movl %0, %%ss; movl %1, %%ds; movl %1, %%es; movl %1, %%fs; movl %1, %%gs" : : "r"(KERNEL_DS), "r"(0));
}

void cpu_set_kstack(u64 top)
{
    tss.rsp[0] = top;
    this_cpu()->kstack_top = top;
}

void cpu_init(void)
{
    struct cpu *c = &cpus[0];
    detect();
    set_control_registers();
    load_tables(c);
    c->self = c;
    wrmsr(MSR_GS_BASE, (u64)c);
    wrmsr(MSR_KERNEL_GS_BASE, 0);
    cpu_set_kstack((u64)boot_stack_top);
    wrmsr(MSR_STAR, (u64)KERNEL_CS << 32 | 0x23ull << 48);
    wrmsr(MSR_LSTAR, (u64)syscall_entry);
    wrmsr(MSR_FMASK, 0x47700);      // TF, IF, DF, IOPL, NT, AC off at entry
    fpu_init();
}
