// SPDX-License-Identifier: Apache-2.0
// The ways to end the machine, tried in turn: docs/guest-interface.md, "End".
#include "arch.h"
#include "cpu.h"
#include "serial.h"

NORETURN void machine_off(int code)
{
    irq_disable();
    serial_drain(&serial_ports[0]);
    serial_drain(&serial_ports[1]);
    outw(0x501, (u16)code);         // isa-debug-exit
    outw(0x604, 0x2000);            // ACPI S5 on q35 (PM1a control: SLP_EN, SLP_TYP 0)
    for (int i = 0; i < 1000 && (inb(0x64) & 2); i++)
        ;
    outb(0x64, 0xfe);               // i8042: pulse reset
    struct {
        u16 limit;
        u64 base;
    } PACKED none = { 0, 0 };
    __asm__ volatile("lidt %0; int3" : : "m"(none));
    for (;;)
        __asm__ volatile("cli; hlt");
}
