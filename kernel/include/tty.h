// SPDX-License-Identifier: Apache-2.0
// The console terminal (dev/tty.c) and what carries its bytes: COM1 (dev/ttyport.c), or a virtio console.
#ifndef UNI_TTY_H
#define UNI_TTY_H

#include "types.h"

// A carrier of bytes. It calls tty_receive_ready() when bytes may wait and tty_write_ready() when there may be room, from any context.
struct tty_port {
    size_t (*write)(struct tty_port *p, const char *buf, size_t n);     // what fits now
    void (*want_room)(struct tty_port *p);                              // call tty_write_ready() once there is room
    int (*read)(struct tty_port *p);                                    // a byte, or -1; asks for the next interrupt when empty
    void *priv;
};

void tty_set_port(struct tty_port *p);      // console=hvc0: instead of COM1
void tty_receive_ready(void);
void tty_write_ready(void);
void tty_set_winsize(u16 rows, u16 cols);   // SIGWINCH to the program when it changes
// No more input comes: an end of file behind the `after` bytes that the port carries in all, or (END_NOW) behind those that are there.
#define END_NOW (~0ull - 1)
void tty_end_of_input(u64 after);
bool tty_is_terminal(void);

#endif
