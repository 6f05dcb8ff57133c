// SPDX-License-Identifier: Apache-2.0
#ifndef UNI_PROCINFO_PRIV_H
#define UNI_PROCINFO_PRIV_H

void procinfo_register(void);           // the files of /proc/self that are about the process

#endif
