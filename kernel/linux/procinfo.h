// SPDX-License-Identifier: Apache-2.0
#ifndef UNI_PROCINFO_PRIV_H
#define UNI_PROCINFO_PRIV_H

void procinfo_register(void);           // the files of /proc/self that are about the process
void procmaps_register(void);           // linux/procmaps.c
void mqueue_proc(void);                 // linux/mqueue.c: /proc/sys/fs/mqueue

#endif
