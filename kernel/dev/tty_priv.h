// SPDX-License-Identifier: Apache-2.0
// Between dev/tty.c (files, output, ioctls) and dev/ldisc.c (input).
#ifndef UNI_TTY_PRIV_H
#define UNI_TTY_PRIV_H

#include <asm/termbits.h>
#include "sched.h"
#include "spinlock.h"
#include "tty.h"
#include "types.h"

#define TTY_BUF 4096u               // as Linux's N_TTY: a longer line cannot be entered

// One input character: its byte and whether it ends a line.
enum { IN_LINE_END = 0x100, IN_EOF = 0x200 };   // IN_EOF: no byte, only the end

#define END_NONE (~0ull)

struct tty_winsize {
    u16 rows, cols, xpixel, ypixel;
};

struct tty {
    spinlock_t lock;                // guards all below, interrupts off
    struct termios2 t;
    struct tty_winsize win;
    u16 *buf;                       // ring: [tail, line) complete lines, [line, head) being edited
    u32 head, tail, line;
    u32 column;                     // of the echo, for erasing
    u64 received;                   // bytes taken from the port
    u64 end_at;                     // the end of input is behind that many bytes; END_NONE, END_NOW: behind what has come
    bool stopped;                   // ^S
    bool throttled;                 // bytes may wait in the port because the ring is full
    struct waitq read_wait, write_wait;
    struct mutex write_lock;        // keeps one write(2) in one piece
    struct tty_port *port;
};

extern struct tty console_tty;

void ldisc_input(struct tty *t, u8 c);          // lock held
u32 ldisc_available(const struct tty *t);       // bytes that a read would get; lock held
u32 ldisc_take(struct tty *t, char *out, u32 n);  // lock held; up to n bytes, in canonical mode of one line
bool ldisc_at_eof(const struct tty *t);         // the next thing to read is an end of file; lock held
void ldisc_flush(struct tty *t);                // lock held
void ldisc_mode_changed(struct tty *t);         // lock held
bool ldisc_full(const struct tty *t);
size_t tty_expand(const struct tty *t, char c, char out[2]);    // output processing of one byte
void tty_echo(struct tty *t, const char *s, size_t n);
struct tty_port *ttyport_init(void);            // COM1

#endif
