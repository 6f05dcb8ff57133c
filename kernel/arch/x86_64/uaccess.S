// SPDX-License-Identifier: Apache-2.0
// Copying to and from the program's memory. Each instruction that touches it has an entry in .ex_table: on a fault that cannot be
// resolved the trap handler continues at the second address. Blocks of 64 bytes load everything before they store, so a fault in
// a block leaves it to the byte loop to find the exact place.
#include "cpu.h"

.macro EX from to
    .pushsection .ex_table, "a"
    .long \from - ., \to - .
    .popsection
.endm

.macro OPEN
    cmpb $0, cpu_has_smap(%rip)
    je 9f
    stac
9:
.endm

.macro CLOSE
    cmpb $0, cpu_has_smap(%rip)
    je 9f
    clac
9:
.endm

    .text
// size_t copy_raw(void *dst, const void *src, size_t n): bytes not copied. Either side may be the program's.
    .globl copy_raw
copy_raw:
    OPEN
    cmpq $64, %rdx
    jb 2f
1:
10: movq (%rsi), %rax
11: movq 8(%rsi), %rcx
12: movq 16(%rsi), %r8
13: movq 24(%rsi), %r9
14: movq %rax, (%rdi)
15: movq %rcx, 8(%rdi)
16: movq %r8, 16(%rdi)
17: movq %r9, 24(%rdi)
18: movq 32(%rsi), %rax
19: movq 40(%rsi), %rcx
20: movq 48(%rsi), %r8
21: movq 56(%rsi), %r9
22: movq %rax, 32(%rdi)
23: movq %rcx, 40(%rdi)
24: movq %r8, 48(%rdi)
25: movq %r9, 56(%rdi)
    addq $64, %rsi
    addq $64, %rdi
    subq $64, %rdx
    cmpq $64, %rdx
    jae 1b
2:  cmpq $8, %rdx
    jb 4f
3:
30: movq (%rsi), %rax
31: movq %rax, (%rdi)
    addq $8, %rsi
    addq $8, %rdi
    subq $8, %rdx
    cmpq $8, %rdx
    jae 3b
4:  testb $4, %dl                   // the last seven bytes at most, without a loop
    jz 1f
32: movl (%rsi), %eax
33: movl %eax, (%rdi)
    addq $4, %rsi
    addq $4, %rdi
    subq $4, %rdx
1:  testb $2, %dl
    jz 1f
34: movw (%rsi), %ax
35: movw %ax, (%rdi)
    addq $2, %rsi
    addq $2, %rdi
    subq $2, %rdx
1:  testq %rdx, %rdx
    jz 6f
5:                                  // also from a fault above: byte by byte to the exact place
40: movb (%rsi), %al
41: movb %al, (%rdi)
    incq %rsi
    incq %rdi
    decq %rdx
    jnz 5b
6:  CLOSE
    movq %rdx, %rax
    ret
    EX 32b, 5b
    EX 33b, 5b
    EX 34b, 5b
    EX 35b, 5b
    EX 10b, 5b
    EX 11b, 5b
    EX 12b, 5b
    EX 13b, 5b
    EX 14b, 5b
    EX 15b, 5b
    EX 16b, 5b
    EX 17b, 5b
    EX 18b, 5b
    EX 19b, 5b
    EX 20b, 5b
    EX 21b, 5b
    EX 22b, 5b
    EX 23b, 5b
    EX 24b, 5b
    EX 25b, 5b
    EX 30b, 5b
    EX 31b, 5b
    EX 40b, 6b
    EX 41b, 6b

// size_t clear_raw(void *dst, size_t n): bytes not cleared.
    .globl clear_raw
clear_raw:
    OPEN
    xorl %eax, %eax
    cmpq $8, %rsi
    jb 2f
1:
10: movq %rax, (%rdi)
    addq $8, %rdi
    subq $8, %rsi
    cmpq $8, %rsi
    jae 1b
2:  testq %rsi, %rsi
    jz 4f
3:
20: movb %al, (%rdi)
    incq %rdi
    decq %rsi
    jnz 3b
4:  CLOSE
    movq %rsi, %rax
    ret
    EX 10b, 3b
    EX 20b, 4b

// ssize_t strncpy_raw(char *dst, const char *src, size_t n): length without the NUL, n when there is none in n bytes, -14 on a fault.
    .globl strncpy_raw
strncpy_raw:
    OPEN
    xorl %ecx, %ecx
1:  cmpq %rdx, %rcx
    je 2f
10: movb (%rsi,%rcx), %al
    movb %al, (%rdi,%rcx)
    testb %al, %al
    jz 2f
    incq %rcx
    jmp 1b
2:  CLOSE
    movq %rcx, %rax
    ret
3:  CLOSE
    movq $-14, %rax
    ret
    EX 10b, 3b

// int read32_raw(u32 *out, const u32 *src), read64_raw, write32_raw(u32 *dst, u32 v), write64_raw: 0 or -14.
.macro ACCESS name load store
    .globl \name
\name:
    OPEN
    \load
    \store
    CLOSE
    xorl %eax, %eax
    ret
.endm

ACCESS read32_raw, "10: movl (%rsi), %eax", "movl %eax, (%rdi)"
    EX 10b, fault
ACCESS read64_raw, "11: movq (%rsi), %rax", "movq %rax, (%rdi)"
    EX 11b, fault
ACCESS write32_raw, "12: movl %esi, (%rdi)", ""
    EX 12b, fault
ACCESS write64_raw, "13: movq %rsi, (%rdi)", ""
    EX 13b, fault
fault:
    CLOSE
    movl $-14, %eax
    ret

// int cmpxchg32_raw(u32 *p, u32 expected, u32 desired, u32 *old)
    .globl cmpxchg32_raw
cmpxchg32_raw:
    OPEN
    movl %esi, %eax
14: lock cmpxchgl %edx, (%rdi)
    movl %eax, (%rcx)
    CLOSE
    xorl %eax, %eax
    ret
    EX 14b, fault
    .section .note.GNU-stack, "", @progbits
