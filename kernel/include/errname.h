// SPDX-License-Identifier: Apache-2.0
#ifndef UNI_ERRNAME_H
#define UNI_ERRNAME_H

const char *errno_name(long err);   // 2: "ENOENT"; "?" when there is none

#endif
