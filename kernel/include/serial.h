// SPDX-License-Identifier: Apache-2.0
// Serial ports (dev/serial.c).
#ifndef UNI_SERIAL_H
#define UNI_SERIAL_H

#include "types.h"

struct serial {
    u16 base;
    u32 gsi;
    bool present, stuck;        // stuck: the host's end has stopped taking bytes
    u8 ier;                     // interrupts that are on
};
extern struct serial serial_ports[2];   // 0: console, 1: control port

size_t serial_try_write(struct serial *s, const char *buf, size_t n);   // what fits now
void serial_write_polled(struct serial *s, const char *buf, size_t n);  // waits, but not forever
void serial_drain(struct serial *s);            // until the last bit is out
int serial_read(struct serial *s);              // a byte, or -1
void serial_irq_mask(struct serial *s, bool rx, bool tx);
void serial_irq_ack(struct serial *s);

#endif
