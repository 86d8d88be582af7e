/* name.h - file names that a file may give: plain ones, never a path out of its folder. */
#ifndef MEMORY_NAME_H
#define MEMORY_NAME_H

#include <stdbool.h>

enum { NAME_MAX_BYTES = 128 };

/* 1 to NAME_MAX_BYTES of A-Z a-z 0-9 . _ - and not starting with a dot: safe as a file name on
 * every system and as a URL's last part. */
bool name_is_plain(const char *name);

#endif
