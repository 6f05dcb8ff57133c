// SPDX-License-Identifier: Apache-2.0
// The executables of elfs.c that Uni refuses where Linux starts or kills them.
#define REFUSED
#include "elfs.c"
