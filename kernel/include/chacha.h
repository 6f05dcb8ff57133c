// SPDX-License-Identifier: Apache-2.0
// ChaCha20 (lib/chacha.c).
#ifndef UNI_CHACHA_H
#define UNI_CHACHA_H

#include "types.h"

void chacha20_block(const u32 key[8], u32 counter, const u32 nonce[3], u32 out[16]);

#endif
