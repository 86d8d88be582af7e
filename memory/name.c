/* name.c - see name.h. */
#include "memory/name.h"
#include <stddef.h>
#include <string.h>

static bool plain(char c) {
    return (c >= 'A' && c <= 'Z') || (c >= 'a' && c <= 'z') || (c >= '0' && c <= '9') ||
           c == '.' || c == '_' || c == '-';
}

bool name_is_plain(const char *name) {
    size_t bytes = 0;
    while (bytes <= NAME_MAX_BYTES && plain(name[bytes])) bytes++;
    return bytes > 0 && bytes <= NAME_MAX_BYTES && !name[bytes] && name[0] != '.';
}

/* How many of the bytes from `at` on are letters, digits or in `others`. */
static size_t span(const char *at, const char *others) {
    size_t bytes = 0;
    while (at[bytes] && (plain(at[bytes]) || strchr(others, at[bytes]))) bytes++;
    return bytes;
}

bool name_is_url(const char *url) {
    static const char *const schemes[] = {"https://", "http://"};
    if (strlen(url) > URL_MAX_BYTES) return false;
    for (size_t i = 0; i < sizeof schemes / sizeof *schemes; i++) {
        size_t scheme = strlen(schemes[i]);
        if (strncmp(url, schemes[i], scheme)) continue;
        const char *host = url + scheme, *path = host + span(host, ":[]");
        return path > host && *path == '/' && !path[span(path, "~:/?@!$&'()*+,;=%")];
    }
    return false;
}
