// SPDX-License-Identifier: Apache-2.0
// COM1 under the console terminal, by interrupts: receiving is switched off from the interrupt until the bytes have been taken,
// so that a terminal that nobody reads leaves them in the host's hands.
#include "arch.h"
#include "serial.h"
#include "spinlock.h"
#include "tty_priv.h"

static struct serial *const com1 = &serial_ports[0];
static bool want_tx;                // a writer waits; interrupts off

static size_t port_write(struct tty_port *p, const char *buf, size_t n)
{
    (void)p;
    return serial_try_write(com1, buf, n);
}

static void port_want_room(struct tty_port *p)
{
    (void)p;
    u64 flags = irq_save();
    want_tx = true;
    serial_irq_mask(com1, com1->ier & 1, true);
    irq_restore(flags);
}

static int port_read(struct tty_port *p)
{
    (void)p;
    int c = serial_read(com1);
    if (c < 0) {
        u64 flags = irq_save();
        serial_irq_mask(com1, true, want_tx);
        irq_restore(flags);
        c = serial_read(com1);      // what came before the interrupt was on
    }
    return c;
}

static void interrupt(void *arg)
{
    (void)arg;
    serial_irq_ack(com1);
    bool room = want_tx;
    want_tx = false;
    serial_irq_mask(com1, false, false);
    if (room)
        tty_write_ready();
    tty_receive_ready();
}

struct tty_port *ttyport_init(void)
{
    static struct tty_port port = { .write = port_write, .want_room = port_want_room, .read = port_read };
    if (com1->present && irq_register(com1->gsi, false, interrupt, NULL) == 0)
        serial_irq_mask(com1, true, false);
    return &port;
}
