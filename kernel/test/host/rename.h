// SPDX-License-Identifier: Apache-2.0
// Included before each of the kernel's sources: its functions must not replace the host's.
#define memcpy k_memcpy
#define memmove k_memmove
#define memset k_memset
#define memcmp k_memcmp
#define memchr k_memchr
#define strlen k_strlen
#define strnlen k_strnlen
#define strcmp k_strcmp
#define strncmp k_strncmp
#define strchr k_strchr
#define strrchr k_strrchr
#define strlcpy k_strlcpy
#define snprintf k_snprintf
#define vsnprintf k_vsnprintf
