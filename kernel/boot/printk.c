// SPDX-License-Identifier: Apache-2.0
// The kernel's messages. They go straight to the console's serial port, so that they come out however sick the rest is.
#include "printk.h"
#include "boot.h"
#include "lib.h"
#include "serial.h"
#include "spinlock.h"

int console_loglevel = LOG_DEBUG;

static spinlock_t lock = SPINLOCK_INIT;     // keeps lines whole

static void print_lines(const char *s, size_t n)
{
    size_t start = 0;
    for (size_t i = 0; i <= n; i++) {
        if (i < n && s[i] != '\n')
            continue;
        serial_write_polled(&serial_ports[0], s + start, i - start);
        if (i < n)
            serial_write_polled(&serial_ports[0], "\r\n" + !boot_config.tty, boot_config.tty ? 2 : 1);
        start = i + 1;
    }
}

void printk(int level, const char *fmt, ...)
{
    char line[512];
    if (level >= console_loglevel)
        return;
    va_list ap;
    va_start(ap, fmt);
    size_t n = (size_t)vsnprintf(line, sizeof(line), fmt, ap);
    va_end(ap);
    u64 flags = spin_lock_irqsave(&lock);
    print_lines(line, MIN(n, sizeof(line) - 1));
    spin_unlock_irqrestore(&lock, flags);
}
