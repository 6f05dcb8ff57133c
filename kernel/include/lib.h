// SPDX-License-Identifier: Apache-2.0
// Freestanding string, number and formatting functions (lib/), with the meanings of the C library's.
#ifndef UNI_LIB_H
#define UNI_LIB_H

#include <stdarg.h>
#include "types.h"

void *memcpy(void *dst, const void *src, size_t n);
void *memmove(void *dst, const void *src, size_t n);
void *memset(void *dst, int c, size_t n);
int memcmp(const void *a, const void *b, size_t n);
void *memchr(const void *s, int c, size_t n);
size_t strlen(const char *s);
size_t strnlen(const char *s, size_t max);
int strcmp(const char *a, const char *b);
int strncmp(const char *a, const char *b, size_t n);
char *strchr(const char *s, int c);
char *strrchr(const char *s, int c);
size_t strlcpy(char *dst, const char *src, size_t size);   // always terminated; returns strlen(src)
int snprintf(char *buf, size_t size, const char *fmt, ...) PRINTF_LIKE(3, 4);
int vsnprintf(char *buf, size_t size, const char *fmt, va_list ap);
bool parse_u64(const char *s, unsigned base, u64 *out);    // the whole string; false on junk or overflow
u32 hash32(const void *data, size_t n, u32 seed);

#endif
