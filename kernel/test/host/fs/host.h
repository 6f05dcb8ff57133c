// SPDX-License-Identifier: Apache-2.0
// Between host.c, which sees the C library, and stubs.c and fstest.c, which see the kernel's headers.
#ifndef HOST_H
#define HOST_H

#include <stdarg.h>

unsigned long host_disk_open(const char *path);      // reads the image into memory; its size
void host_disk_save(const char *path);
int host_disk_rw(int write, unsigned long off, void *buf, unsigned long len);
void host_set_kill(long after);                      // after that many writes nothing reaches the disk
long host_writes(void);
int host_killed(void);
void host_set_weather(unsigned long disk, unsigned long memory);   // one request, one allocation of so many fails; 0: none
int host_starves(void);                              // shall this allocation fail?
void *host_alloc(unsigned long n, int zero);
void *host_pages(unsigned long n);
void *host_realloc(void *p, unsigned long n);
void host_free(void *p);
unsigned long host_now(void);
void host_log(const char *fmt, va_list ap);
void host_fail(const char *fmt, ...) __attribute__((noreturn, format(printf, 1, 2)));
void host_print(const char *fmt, ...) __attribute__((format(printf, 1, 2)));

#endif
