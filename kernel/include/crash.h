// SPDX-License-Identifier: Apache-2.0
// The report of a program's fatal fault (linux/crash.c).
#ifndef UNI_CRASH_H
#define UNI_CRASH_H

struct regs;

void crash_backtrace(const struct regs *r);     // may sleep: it reads files

#endif
