// SPDX-License-Identifier: Apache-2.0
// The line discipline: input characters become lines, echoes and signals, as termios(3) describes it.
#include "process.h"
#include "signal.h"
#include "tty_priv.h"

enum { SIGINT = 2, SIGQUIT = 3, SIGTSTP = 20 };
#define SIG_HANDLED 2               // handler values above SIG_DFL (0) and SIG_IGN (1) are functions

static bool has(const struct tty *t, u32 lflag) { return t->t.c_lflag & lflag; }
static bool is_cc(const struct tty *t, int i, u8 c) { return c && t->t.c_cc[i] == c; }     // 0: switched off
static u16 at(const struct tty *t, u32 i) { return t->buf[i % TTY_BUF]; }

bool ldisc_full(const struct tty *t) { return t->head - t->tail >= TTY_BUF - 1; }

static void echo_char(struct tty *t, u8 c)
{
    if (has(t, ECHOCTL) && (c < 32 || c == 127) && c != '\n' && c != '\t') {
        char s[2] = { '^', (char)(c ^ 64) };
        tty_echo(t, s, 2);
    } else {
        tty_echo(t, (const char *)&c, 1);
    }
}

// Columns that the echo of c took; a tab counts as the eight it may be at most, the rest of the line is drawn again by nobody.
static u32 width(const struct tty *t, u8 c)
{
    if (c < 32 || c == 127)
        return has(t, ECHOCTL) && c != '\t' ? 2 : c == '\t' ? 8 : 0;
    return (t->t.c_iflag & IUTF8) && (c & 0xc0) == 0x80 ? 0 : 1;
}

static void erase_one(struct tty *t)
{
    u8 c = (u8)at(t, --t->head);
    // The bytes of one UTF-8 character go together.
    while ((t->t.c_iflag & IUTF8) && (c & 0xc0) == 0x80 && t->head != t->line)
        c = (u8)at(t, --t->head);
    if (!has(t, ECHO) || !has(t, ECHOE))
        return;
    for (u32 w = width(t, c); w; w--)
        tty_echo(t, "\b \b", 3);
}

static bool erase_input(struct tty *t, u8 c)
{
    if (is_cc(t, VERASE, c)) {
        if (t->head != t->line) {
            erase_one(t);
            if (has(t, ECHO) && !has(t, ECHOE))
                echo_char(t, c);
        }
        return true;
    }
    if (is_cc(t, VKILL, c)) {
        bool visual = has(t, ECHOE) && has(t, ECHOKE);
        while (visual && t->head != t->line)
            erase_one(t);
        t->head = t->line;
        if (has(t, ECHO) && has(t, ECHOK) && !visual)
            tty_echo(t, "\n", 1);
        return true;
    }
    if (has(t, IEXTEN) && is_cc(t, VWERASE, c)) {
        while (t->head != t->line && (u8)at(t, t->head - 1) == ' ')
            erase_one(t);
        while (t->head != t->line && (u8)at(t, t->head - 1) != ' ')
            erase_one(t);
        return true;
    }
    return false;
}

static void store(struct tty *t, u16 c)
{
    if (ldisc_full(t))
        return;
    t->buf[t->head++ % TTY_BUF] = c;
}

static void end_line(struct tty *t, u16 c)
{
    if (ldisc_full(t) && t->head != t->line)
        t->head--;                  // the line's end always has room
    store(t, c | IN_LINE_END);
    t->line = t->head;
    waitq_wake_all(&t->read_wait);
}

static bool signal_input(struct tty *t, u8 c)
{
    int sig = is_cc(t, VINTR, c) ? SIGINT : is_cc(t, VQUIT, c) ? SIGQUIT : is_cc(t, VSUSP, c) ? SIGTSTP : 0;
    if (!sig || !has(t, ISIG))
        return false;
    if (has(t, ECHO))
        echo_char(t, c);
    if (!has(t, NOFLSH))
        ldisc_flush(t);
    // Nobody could continue a program that the terminal has stopped, so only a handler of its own gets SIGTSTP.
    if (the_process && (sig != SIGTSTP || the_process->actions[SIGTSTP - 1].handler >= SIG_HANDLED))
        signal_process(the_process, sig, NULL);
    return true;
}

static void canonical(struct tty *t, u8 c)
{
    if (erase_input(t, c))
        return;
    if (is_cc(t, VEOF, c)) {
        end_line(t, IN_EOF);
        return;
    }
    bool end = c == '\n' || is_cc(t, VEOL, c) || (has(t, IEXTEN) && is_cc(t, VEOL2, c));
    if (has(t, ECHO) || (c == '\n' && has(t, ECHONL)))
        echo_char(t, c);
    if (end)
        end_line(t, c);
    else
        store(t, c);
}

void ldisc_input(struct tty *t, u8 c)
{
    u32 iflag = t->t.c_iflag;
    if (iflag & ISTRIP)
        c &= 0x7f;
    if (iflag & IXON) {
        if (is_cc(t, VSTOP, c) || is_cc(t, VSTART, c)) {
            t->stopped = is_cc(t, VSTOP, c) && !(is_cc(t, VSTART, c) && t->stopped);
            waitq_wake_all(&t->write_wait);
            return;
        }
        if (t->stopped && (iflag & IXANY)) {
            t->stopped = false;
            waitq_wake_all(&t->write_wait);
        }
    }
    if (signal_input(t, c))
        return;
    if (c == '\r' && (iflag & IGNCR))
        return;
    if (c == '\r' && (iflag & ICRNL))
        c = '\n';
    else if (c == '\n' && (iflag & INLCR))
        c = '\r';
    if (has(t, ICANON)) {
        canonical(t, c);
        return;
    }
    if (has(t, ECHO))
        echo_char(t, c);
    store(t, c);
    t->line = t->head;
    waitq_wake_all(&t->read_wait);
}

u32 ldisc_available(const struct tty *t)
{
    u32 n = 0;
    for (u32 i = t->tail; i != t->line; i++)
        n += !(at(t, i) & IN_EOF);
    return n;
}

bool ldisc_at_eof(const struct tty *t) { return t->tail != t->line && (at(t, t->tail) & IN_EOF); }

u32 ldisc_take(struct tty *t, char *out, u32 n)
{
    u32 k = 0;
    bool lines = has(t, ICANON);
    while (k < n && t->tail != t->line) {
        u16 c = at(t, t->tail);
        if ((c & IN_EOF) && k && !lines)
            break;
        t->tail++;
        if (!(c & IN_EOF))
            out[k++] = (char)c;
        if ((c & IN_LINE_END) && lines)
            return k;
    }
    // An end of file right behind a buffer that was just filled belongs to this line: the next read must not see it as the end.
    if (lines && k == n && t->tail != t->line && (at(t, t->tail) & IN_EOF))
        t->tail++;
    return k;
}

void ldisc_flush(struct tty *t) { t->tail = t->line = t->head; }

// What was being edited becomes readable when canonical mode ends; what was readable stays so when it begins.
void ldisc_mode_changed(struct tty *t)
{
    t->line = t->head;
    waitq_wake_all(&t->read_wait);
}
