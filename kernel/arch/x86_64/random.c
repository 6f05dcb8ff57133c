// SPDX-License-Identifier: Apache-2.0
// The random generator: ChaCha20 with fast key erasure (the first half of each first block becomes the next key). Seeds: the CPU's
// generator, time stamps, virtio-rng and fw_cfg by random_mix.
#include "arch.h"
#include "bootinfo.h"
#include "chacha.h"
#include "cpu.h"
#include "lib.h"
#include "spinlock.h"

static spinlock_t lock = SPINLOCK_INIT;     // guards key, interrupts off
static u32 key[8];
static const u32 nonce[3];
static bool seeded;

static bool cpu_random(u64 *v)
{
    bool ok = false;
    for (int i = 0; i < 10 && !ok; i++) {
        if (cpu_features.rdseed)
            __asm__ volatile("rdseed %0; setc %1" : "=r"(*v), "=q"(ok));
        if (!ok && cpu_features.rdrand)
            __asm__ volatile("rdrand %0; setc %1" : "=r"(*v), "=q"(ok));
    }
    return ok;
}

// Lock held. Absorbs 32 bytes: they are added to the key, which is then passed through the cipher.
static void absorb(const u8 *data, size_t n)
{
    u32 block[16];
    for (size_t i = 0; i < n; i++)
        ((u8 *)key)[i] ^= data[i];
    chacha20_block(key, 0, nonce, block);
    memcpy(key, block, sizeof(key));
    memset(block, 0, sizeof(block));
}

void random_mix(const void *buf, size_t n)
{
    const u8 *p = buf;
    u64 flags = spin_lock_irqsave(&lock);
    while (n) {
        size_t k = MIN(n, sizeof(key));
        absorb(p, k);
        p += k;
        n -= k;
    }
    u64 tsc = rdtsc();
    absorb((const u8 *)&tsc, sizeof(tsc));
    spin_unlock_irqrestore(&lock, flags);
}

static void seed(void)
{
    u64 s[5] = { 0 };
    for (int i = 0; i < 4; i++)
        cpu_random(&s[i]);
    s[4] = rdtsc();
    seeded = true;
    random_mix(s, sizeof(s));
}

void random_bytes(void *buf, size_t n)
{
    u8 *p = buf;
    u32 block[16], k[8];
    if (!seeded)
        seed();
    u64 flags = spin_lock_irqsave(&lock);
    chacha20_block(key, 0, nonce, block);
    memcpy(key, block, sizeof(key));
    spin_unlock_irqrestore(&lock, flags);
    memcpy(k, block + 8, sizeof(k));            // a key for this request alone
    for (u32 ctr = 1; n; ctr++) {
        chacha20_block(k, ctr, nonce, block);
        size_t m = MIN(n, sizeof(block));
        memcpy(p, block, m);
        p += m;
        n -= m;
    }
    memset(block, 0, sizeof(block));
    memset(k, 0, sizeof(k));
    __asm__ volatile("" : : "r"(block), "r"(k) : "memory");
}

// Once the devices are there (dev_init has mixed in what virtio-rng gave), stir in the CPU's generator and the clock again.
void random_init(void) { seed(); }
