// SPDX-License-Identifier: Apache-2.0
// Flat JSON objects (lib/json.c).
#ifndef UNI_JSON_H
#define UNI_JSON_H

#include "types.h"

enum json_kind { JSON_STRING, JSON_INT, JSON_BOOL, JSON_NULL };

struct json_field {
    char key[16], str[48];      // longer ones make the object invalid
    enum json_kind kind;
    i64 num;
};

// The fields of one object that is all of s; -1 when it is malformed, nested or has more than max.
int json_parse(const char *s, size_t n, struct json_field *f, int max);
const struct json_field *json_find(const struct json_field *f, int n, const char *key, enum json_kind kind);

#endif
