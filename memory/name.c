/* name.c - see name.h. */
#include "memory/name.h"
#include <stddef.h>

static bool plain(char c) {
    return (c >= 'A' && c <= 'Z') || (c >= 'a' && c <= 'z') || (c >= '0' && c <= '9') ||
           c == '.' || c == '_' || c == '-';
}

bool name_is_plain(const char *name) {
    size_t bytes = 0;
    while (bytes <= NAME_MAX_BYTES && plain(name[bytes])) bytes++;
    return bytes > 0 && bytes <= NAME_MAX_BYTES && !name[bytes] && name[0] != '.';
}
