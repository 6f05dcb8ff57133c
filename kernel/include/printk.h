// SPDX-License-Identifier: Apache-2.0
// The kernel's own messages on the console, and its last words.
#ifndef UNI_PRINTK_H
#define UNI_PRINTK_H

#include "types.h"

struct regs;

enum { LOG_EMERG, LOG_ALERT, LOG_CRIT, LOG_ERR, LOG_WARNING, LOG_NOTICE, LOG_INFO, LOG_DEBUG };

extern int console_loglevel;   // messages with a level below this are printed; `quiet` sets 5, `loglevel=N` N

void printk(int level, const char *fmt, ...) PRINTF_LIKE(2, 3);

// Only for broken invariants, naming them: prints registers and a symbolised backtrace, reports on the control port, powers off.
void panic(const char *fmt, ...) NORETURN PRINTF_LIKE(1, 2);
void panic_regs(const struct regs *r, const char *fmt, ...) NORETURN PRINTF_LIKE(2, 3);
void print_regs(const struct regs *r);
void print_backtrace(u64 rip, u64 rbp);                 // kernel stack, names from the embedded symbol table
const char *symbol_name(u64 addr, u64 *offset);         // until the next call; NULL when addr is not in the kernel's text

#endif
