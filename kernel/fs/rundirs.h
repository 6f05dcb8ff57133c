// SPDX-License-Identifier: Apache-2.0
// The image's directories below /run, kept while memory is mounted over it (fs/rundirs.c).
#ifndef UNI_RUNDIRS_H
#define UNI_RUNDIRS_H

struct run_dirs;
struct run_dirs *run_dirs_keep(void);       // before the mount; NULL: there are none
void run_dirs_make(struct run_dirs *d);     // after it; frees

#endif
