/* name.h - names that a file may give: plain ones of files, never a path out of its folder, and
 * URLs that are nothing but that. */
#ifndef MEMORY_NAME_H
#define MEMORY_NAME_H

#include <stdbool.h>

enum { NAME_MAX_BYTES = 128, URL_MAX_BYTES = 2048 };

/* 1 to NAME_MAX_BYTES of A-Z a-z 0-9 . _ - and not starting with a dot: safe as a file name on
 * every system and as a URL's last part. */
bool name_is_plain(const char *name);
/* At most URL_MAX_BYTES: http:// or https://, a host (and port) in ASCII without a user, "/", then
 * characters of RFC 3986 without a fragment. */
bool name_is_url(const char *url);

#endif
