/* package.c - see package.h. */
#include "tools/package.h"
#include "storage/sha256.h"
#include "tools/file.h"
#include <stdlib.h>

doppler_status package_open(error *e, package *p, const char *folder) {
    *p = (package){.folder = folder};
    char *path = file_join(folder, RDRR_MANIFEST), *text = NULL;
    size_t bytes = 0;
    doppler_status status = path ? file_read(e, path, &text, &bytes)
                                 : fail(e, DOPPLER_NO_MEMORY, "%s", folder);
    if (!status) status = manifest_parse(e, &p->m, text, bytes);
    if (!status) status = sha256_of(e, text, bytes, p->id);
    p->manifest_bytes = bytes;
    free(text);
    free(path);
    return status;
}

void package_close(package *p) {
    manifest_free(&p->m);
    *p = (package){0};
}
