// SPDX-License-Identifier: Apache-2.0
// A compressed table of functions: scripts/ksyms.py writes it, lib/ksyms.c reads it.
#ifndef UNI_KSYMS_H
#define UNI_KSYMS_H

#include "types.h"

struct ksyms {
    u32 count;
    const u16 *step;            // how far each function begins behind the one before it; the first: behind offset 0
    const u8 (*pairs)[2];       // what bytes from 128 on stand for; each half may be such a byte itself
    const u8 *names;            // in the same order: a length and so many bytes each
};

// The function at `offset`: its name (cut to `size`) and where it begins. False: the offset lies before all of them.
bool ksyms_find(const struct ksyms *t, u32 offset, u32 *start, char *name, size_t size);

#endif
