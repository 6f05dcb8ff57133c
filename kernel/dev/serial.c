// SPDX-License-Identifier: Apache-2.0
// The two 16550A serial ports: COM1 (console) and COM2 (control port), as QEMU's isa-serial gives them. Registers: National
// Semiconductor PC16550D, section 8. Output here is polled and bounded; the terminal and the control port add interrupts.
#include "serial.h"
#include "arch.h"
#include "bootinfo.h"

enum { THR = 0, IER = 1, FCR = 2, LCR = 3, MCR = 4, LSR = 5 };
enum { LSR_DATA = 1, LSR_THRE = 0x20 };

#define FIFO_SIZE 16
#define STUCK_CYCLES 400000000ull   // a reader that takes nothing for so long (about 0.1 s) loses what the kernel prints

struct serial serial_ports[2] = { { .base = 0x3f8, .gsi = 4 }, { .base = 0x2f8, .gsi = 3 } };

static void port_init(struct serial *s)
{
    outb(s->base + IER, 0);
    outb(s->base + LCR, 0x80);      // divisor latch
    outb(s->base + 0, 1);           // 115,200 baud
    outb(s->base + 1, 0);
    outb(s->base + LCR, 3);         // 8n1
    outb(s->base + FCR, 0xc7);      // FIFOs on and empty; an interrupt for 14 bytes, or when no more come (QEMU hands over as many at once)
    outb(s->base + MCR, 0xb);       // DTR, RTS, OUT2 (interrupts to the bus)
    // A port that is not there reads as all ones.
    s->present = inb(s->base + LSR) != 0xff;
}

void serial_init(void)
{
    port_init(&serial_ports[0]);
    port_init(&serial_ports[1]);
}

size_t serial_try_write(struct serial *s, const char *buf, size_t n)
{
    if (!s->present)
        return n;
    size_t done = 0;
    while (done < n && (inb(s->base + LSR) & LSR_THRE))
        for (int i = 0; i < FIFO_SIZE && done < n; i++)
            outb(s->base + THR, (u8)buf[done++]);
    return done;
}

void serial_write_polled(struct serial *s, const char *buf, size_t n)
{
    if (!s->present || (s->stuck && !(inb(s->base + LSR) & LSR_THRE)))
        return;
    s->stuck = false;
    u64 start = rdtsc();
    while (n) {
        size_t k = serial_try_write(s, buf, n);
        buf += k;
        n -= k;
        if (k)
            start = rdtsc();
        else if (rdtsc() - start > STUCK_CYCLES)
            s->stuck = true;
        if (s->stuck)
            return;
    }
}

void serial_drain(struct serial *s)
{
    u64 start = rdtsc();
    while (s->present && !s->stuck && !(inb(s->base + LSR) & 0x40) && rdtsc() - start < STUCK_CYCLES)
        ;
}

int serial_read(struct serial *s)
{
    if (!s->present || !(inb(s->base + LSR) & LSR_DATA))
        return -1;
    return inb(s->base + THR);
}

void serial_irq_mask(struct serial *s, bool rx, bool tx)
{
    u8 ier = (rx ? 1 : 0) | (tx ? 2 : 0);
    if (ier == s->ier)
        return;
    s->ier = ier;
    outb(s->base + IER, ier);
}

void serial_irq_ack(struct serial *s)
{
    (void)inb(s->base + FCR);       // reading IIR takes back a transmitter interrupt
}
