/* ids.c - see ids.h. */
#include "tools/ids.h"

#include <errno.h>
#include <stdlib.h>

doppler_status ids_parse(error *e, const char *list, uint32_t **ids, size_t *count) {
    size_t room = 1;
    for (const char *c = list; *c; c++) room += *c == ',';
    *count = 0;
    *ids = malloc(room * sizeof **ids);
    if (!*ids) return fail(e, DOPPLER_NO_MEMORY, "%zu ids", room);
    for (const char *at = list; *at;) {
        char *end;
        errno = 0;
        unsigned long long id = strtoull(at, &end, 10);
        if (end == at || *at == '-' || errno || id > UINT32_MAX || (*end && *end != ','))
            return fail(e, DOPPLER_BAD_ARGUMENT, "--ids: \"%.20s\" is not a token id", at);
        (*ids)[(*count)++] = (uint32_t)id;
        at = *end ? end + 1 : end;
    }
    return DOPPLER_OK;
}
