// SPDX-License-Identifier: Apache-2.0
// Making and ending threads.
#include "arch.h"
#include "kmalloc.h"
#include "lib.h"
#include "process.h"
#include "sched.h"
#include "sched_priv.h"

#define STACK_CACHE 16      // dead threads whose stack and structure the next thread_create takes over

static struct thread *cache[STACK_CACHE];   // interrupts off (one CPU touches it at a time: cache_lock)
static u32 nr_cache;
static spinlock_t cache_lock = SPINLOCK_INIT;

static struct thread *cache_get(void)
{
    u64 flags = spin_lock_irqsave(&cache_lock);
    struct thread *t = nr_cache ? cache[--nr_cache] : NULL;
    spin_unlock_irqrestore(&cache_lock, flags);
    return t;
}

static bool cache_put(struct thread *t)
{
    u64 flags = spin_lock_irqsave(&cache_lock);
    bool ok = nr_cache < STACK_CACHE;
    if (ok)
        cache[nr_cache++] = t;
    spin_unlock_irqrestore(&cache_lock, flags);
    return ok;
}

static struct thread *thread_alloc(void)
{
    struct thread *t = cache_get();
    void *stack = t ? t->kstack : NULL;
    if (!t) {
        t = kmalloc(sizeof(*t), 0);
        stack = t ? vmalloc(KSTACK_SIZE) : NULL;
        if (!stack) {
            kfree(t);
            return NULL;
        }
    }
    memset(t, 0, sizeof(*t));
    t->kstack = stack;
    t->kstack_top = (u64)stack + KSTACK_SIZE;
    t->state = T_SLEEPING;
    t->affinity = ~0ull;
    t->timer_slack = 50000;         // ns, Linux's default
    list_init(&t->run_node);
    list_init(&t->proc_node);
    list_init(&t->pending.infos);
    return t;
}

void thread_free(struct thread *t)
{
    if (t->fpu)
        fpu_free(t);
    t->fpu = NULL;
    if (cache_put(t))
        return;
    vfree(t->kstack);
    kfree(t);
}

// Called on another thread's stack, interrupts off: the memory goes back when it is safe to, from a thread.
void thread_reap(struct thread *t)
{
    u64 flags = irq_save();
    irq_enable();                   // vfree may take a while; the caller runs in thread context
    thread_free(t);
    irq_restore(flags);
}

struct thread *kthread_create(const char *name, void (*fn)(void *), void *arg)
{
    struct thread *t = thread_alloc();
    if (!t)
        return NULL;
    strlcpy(t->name, name, sizeof(t->name));
    arch_thread_init_kernel(t, fn, arg);
    sched_add(t);
    return t;
}

struct thread *thread_create_user(struct process *p, const struct regs *regs)
{
    struct thread *t = thread_alloc();
    if (!t)
        return NULL;
    t->proc = p;
    if (fpu_alloc(t)) {
        thread_free(t);
        return NULL;
    }
    arch_thread_init_user(t, regs);
    return t;
}

void thread_exit(void)
{
    struct thread *t = current();
    sched_set_dead(t);
    irq_disable();
    t->state = T_DEAD;
    schedule();
    __builtin_unreachable();
}
