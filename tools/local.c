/* local.c - see local.h. The host's user is the folder's path. */
#include "tools/local.h"
#include "tools/doppler_gpu_read.h"
#include "tools/file.h"
#include <inttypes.h>
#include <string.h>

static bool host_exists(void *user, const char *name) { return storage_exists(user, name); }

static doppler_status host_size(error *e, void *user, const char *name, uint64_t *bytes) {
    storage_file f = {0};
    doppler_status status = storage_open(e, &f, user, name);
    *bytes = f.bytes;
    storage_close(&f);
    return status;
}

static doppler_status host_read(error *e, void *user, const char *name, uint64_t offset, void *to,
                                size_t bytes) {
    storage_file f = {0};
    doppler_status status = storage_open(e, &f, user, name);
    if (!status) status = storage_read(e, &f, offset, to, bytes);
    storage_close(&f);
    return status;
}

static checkpoint_host host_of(char *folder) {
    return (checkpoint_host){host_exists, host_size, host_read, folder};
}

/* "a/b/" -> "a" and "b"; "b" -> "." and "b". Both live in c->memory. */
static bool split_path(checkpoint *c, const char *path, char **folder, char **last) {
    size_t bytes = strlen(path);
    while (bytes > 1 && path[bytes - 1] == '/') bytes--;
    size_t start = bytes;
    while (start && path[start - 1] != '/') start--;
    *last = arena_text(&c->memory, path + start, bytes - start);
    *folder = start > 1 ? arena_text(&c->memory, path, start - 1)
                        : arena_text(&c->memory, start ? "/" : ".", 1);
    return *folder && *last;
}

doppler_status local_open(error *e, checkpoint *c, const char *path) {
    *c = (checkpoint){0};
    char *parent, *last, *parents, *folder = arena_text(&c->memory, path, strlen(path));
    if (!folder || !split_path(c, path, &parent, &last))
        return fail(e, DOPPLER_NO_MEMORY, "%s: no memory", path);
    if (file_is_folder(path)) return checkpoint_open(e, c, host_of(folder), folder, last, NULL);
    if (!split_path(c, parent, &parents, &folder))
        return fail(e, DOPPLER_NO_MEMORY, "%s: no memory", path);
    return checkpoint_open(e, c, host_of(parent), parent, folder, last);
}

bool local_is_doppler_gpu(const char *folder) {
    arena a = {0};
    char *user = arena_text(&a, folder, strlen(folder));
    bool is = user && checkpoint_is_doppler_gpu(host_of(user));
    arena_free(&a);
    return is;
}

doppler_status local_open_data(error *e, const checkpoint *c, storage_file *files) {
    for (uint32_t i = 0; i < c->data_count; i++) {
        doppler_status status = storage_open(e, &files[i], c->folder, c->data[i].file);
        if (status) return status;
        if (files[i].bytes != c->data[i].bytes)
            return fail(e, DOPPLER_IO, "%s: had %" PRIu64 " bytes, now %" PRIu64, files[i].path,
                        c->data[i].bytes, files[i].bytes);
    }
    return DOPPLER_OK;
}

doppler_status local_read(error *e, const checkpoint *c, const storage_file *files,
                          uint32_t source_file, uint64_t offset, void *to, size_t bytes) {
    if (c->package) return doppler_gpu_read(e, c->package, files, source_file, offset, to, bytes);
    return storage_read(e, &files[source_file], offset, to, bytes);
}
