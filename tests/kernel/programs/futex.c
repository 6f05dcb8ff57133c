// SPDX-License-Identifier: Apache-2.0
// futex: each operation, private and shared, time-outs, robust lists, priority inheritance.
// oracle: libc=musl
#include "oracle.h"
#include <linux/futex.h>

static int word, other;
static volatile int woken;

static long futex(int *at, int op, int value, void *timeout, int *second, int third)
{
    return syscall(SYS_futex, at, op, value, timeout, second, third);
}

static void *sleeper(void *arg)
{
    long bits = (long)arg;

    if (bits)
        futex(&word, FUTEX_WAIT_BITSET_PRIVATE, 0, NULL, NULL, bits);
    else
        futex(&word, FUTEX_WAIT_PRIVATE, 0, NULL, NULL, 0);
    __atomic_add_fetch(&woken, 1, __ATOMIC_SEQ_CST);
    return NULL;
}

static pthread_t thread[8];

static void sleepers(int count, long bits)
{
    woken = 0;
    for (int i = 0; i < count; i++)
        pthread_create(&thread[i], NULL, sleeper, (void *)(bits ? bits << i : 0));
    nap(100);
}

static void joined(int count)
{
    for (int i = 0; i < count; i++)
        pthread_join(thread[i], NULL);
    V(woken);
}

static void errors(void)
{
    struct timespec little = {0, 10000000}, bad = {0, 2000000000}, past = {1, 0};

    T(futex(&word, FUTEX_WAIT, 1, NULL, NULL, 0));
    T(futex(&word, FUTEX_WAIT, 0, &little, NULL, 0));
    T(futex(&word, FUTEX_WAIT, 0, &bad, NULL, 0));
    T(futex(&word, FUTEX_WAIT, 0, WILD, NULL, 0));
    T(futex(&word, FUTEX_WAIT_BITSET, 0, &past, NULL, -1));
    T(futex(&word, FUTEX_WAIT_BITSET | FUTEX_CLOCK_REALTIME, 0, &past, NULL, -1));
    T(futex(&word, FUTEX_WAIT_BITSET, 0, &past, NULL, 0));
    T(futex(&word, FUTEX_WAKE_BITSET, 1, NULL, NULL, 0));
    T(futex((int *)((char *)&word + 1), FUTEX_WAIT, 0, NULL, NULL, 0));
    T(futex((int *)((char *)&word + 1), FUTEX_WAKE, 1, NULL, NULL, 0));
    T(futex(WILD, FUTEX_WAIT, 0, NULL, NULL, 0));
    T(futex(WILD, FUTEX_WAIT_PRIVATE, 0, NULL, NULL, 0));
    T(futex(guard_page(), FUTEX_WAIT, 0, NULL, NULL, 0));
    T(futex(&word, FUTEX_WAKE, 10, NULL, NULL, 0));
    T(futex(&word, 99, 0, NULL, NULL, 0));
    T(futex(&word, FUTEX_CMP_REQUEUE, 1, (void *)1, &other, 5));
    T(futex(&word, FUTEX_REQUEUE, -1, (void *)1, &other, 0));
}

static void waking(void)
{
    sleepers(4, 0);
    T(futex(&word, FUTEX_WAKE_PRIVATE, 1, NULL, NULL, 0));
    nap(50);
    V(woken);
    T(futex(&word, FUTEX_WAKE_PRIVATE, 100, NULL, NULL, 0));
    joined(4);
    sleepers(4, 1);
    T(futex(&word, FUTEX_WAKE_BITSET_PRIVATE, 100, NULL, NULL, 6));
    nap(50);
    V(woken);
    T(futex(&word, FUTEX_WAKE_PRIVATE, 100, NULL, NULL, 0));
    joined(4);
}

static void requeueing(void)
{
    sleepers(6, 0);
    T(futex(&word, FUTEX_CMP_REQUEUE_PRIVATE, 1, (void *)3, &other, 7));
    T(futex(&word, FUTEX_CMP_REQUEUE_PRIVATE, 1, (void *)3, &other, 0));
    nap(50);
    V(woken);
    T(futex(&word, FUTEX_WAKE_PRIVATE, 100, NULL, NULL, 0));
    T(futex(&other, FUTEX_WAKE_PRIVATE, 100, NULL, NULL, 0));
    joined(6);
    sleepers(3, 0);
    other = 5;
    T(futex(&other, FUTEX_WAKE_OP_PRIVATE, 1, (void *)10, &word, FUTEX_OP(FUTEX_OP_ADD, 3, FUTEX_OP_CMP_EQ, 0)));
    V(word);
    joined(3);
    word = 0;
    T(futex(&other, FUTEX_WAKE_OP_PRIVATE, 1, (void *)1, &word, FUTEX_OP(FUTEX_OP_SET, 9, FUTEX_OP_CMP_GT, 4)));
    V(word);
    T(futex(&other, FUTEX_WAKE_OP_PRIVATE, 1, (void *)1, WILD, FUTEX_OP(FUTEX_OP_SET, 9, FUTEX_OP_CMP_GT, 4)));
    T(futex(&other, FUTEX_WAKE_OP_PRIVATE, 1, (void *)1, &word, FUTEX_OP(FUTEX_OP_ANDN, 1, FUTEX_OP_CMP_NE, 4)));
    V(word);
    word = 0;
}

static int *shared_word;

static void *shared_sleeper(void *arg)
{
    futex(arg, FUTEX_WAIT, 0, NULL, NULL, 0);
    return NULL;
}

static void shared(void)
{
    int fd = memfd_create("futex", 0);

    ftruncate(fd, PAGE);
    shared_word = mmap(NULL, PAGE, PROT_READ | PROT_WRITE, MAP_SHARED, fd, 0);
    int *twin = mmap(NULL, PAGE, PROT_READ | PROT_WRITE, MAP_SHARED, fd, 0);
    pthread_create(&thread[0], NULL, shared_sleeper, shared_word);
    nap(50);
    T(futex(twin, FUTEX_WAKE_PRIVATE, 1, NULL, NULL, 0));
    T(futex(twin, FUTEX_WAKE, 1, NULL, NULL, 0));
    pthread_join(thread[0], NULL);
}

static struct { struct robust_list_head head; struct robust_list node; int lock; } robust;

static void *dies_holding(void *arg)
{
    robust.head = (struct robust_list_head){{&robust.node}, offsetof(__typeof__(robust), lock) - offsetof(__typeof__(robust), node), NULL};
    robust.node.next = &robust.head.list;
    robust.lock = syscall(SYS_gettid);
    T(syscall(SYS_set_robust_list, &robust.head, sizeof robust.head));
    syscall(SYS_exit, 0);
    return arg;
}

static void robustness(void)
{
    void *head = NULL;
    size_t length = 0;
    pthread_attr_t attr;

    pthread_attr_init(&attr);
    pthread_attr_setdetachstate(&attr, PTHREAD_CREATE_DETACHED);
    pthread_create(&thread[0], &attr, dies_holding, NULL);
    for (int i = 0; i < 1000 && !(robust.lock & FUTEX_OWNER_DIED); i++)
        nap(5);
    V((robust.lock & FUTEX_OWNER_DIED) != 0);
    T(syscall(SYS_set_robust_list, &robust.head, 7));
    T(syscall(SYS_set_robust_list, &robust.head, sizeof robust.head));
    T(syscall(SYS_get_robust_list, 0, &head, &length));
    V(head == &robust.head);
    V(length);
    T(syscall(SYS_get_robust_list, 0, WILD, &length));
    robust.head.list.next = &robust.head.list;
}

static void inheritance(void)
{
    int lock = 0;

    T(futex(&lock, FUTEX_LOCK_PI, 0, NULL, NULL, 0));
    T(futex(&lock, FUTEX_UNLOCK_PI, 0, NULL, NULL, 0));
    lock = syscall(SYS_gettid);
    T(futex(&lock, FUTEX_LOCK_PI, 0, NULL, NULL, 0));
    T(futex(&lock, FUTEX_TRYLOCK_PI, 0, NULL, NULL, 0));
    lock = 0;
    T(futex(&lock, FUTEX_UNLOCK_PI, 0, NULL, NULL, 0));
}

int main(void)
{
    errors();
    waking();
    requeueing();
    shared();
    robustness();
    inheritance();
    return 0;
}
