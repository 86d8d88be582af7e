/* file.c - reads grow a buffer until the end, so that pipes work like files; writes go through a
 * temporary name, so that a reader never sees half a file. */
#include "tools/file.h"

#include <errno.h>
#include <fcntl.h>
#include <stdint.h>
#include <stdlib.h>
#include <string.h>
#include <sys/stat.h>
#include <unistd.h>

doppler_status file_read_stream(error *e, FILE *stream, const char *name, char **data,
                                size_t *bytes) {
    *data = NULL;
    *bytes = 0;
    struct stat info;
    size_t capacity = 65536, used = 0;
    if (fstat(fileno(stream), &info) == 0 && S_ISREG(info.st_mode))
        capacity = (size_t)info.st_size + 2;     /* the NUL, and one to see the end */
    char *buffer = NULL;
    for (;; capacity *= 2) {
        char *larger = realloc(buffer, capacity);
        if (!larger) {
            free(buffer);
            return fail(e, DOPPLER_NO_MEMORY, "%s: %zu bytes", name, capacity);
        }
        buffer = larger;
        used += fread(buffer + used, 1, capacity - used - 1, stream);
        if (used < capacity - 1) break;
    }
    if (ferror(stream)) {
        free(buffer);
        return fail(e, DOPPLER_IO, "%s: %s", name, strerror(errno));
    }
    buffer[used] = 0;
    *data = buffer;
    *bytes = used;
    return DOPPLER_OK;
}

doppler_status file_read(error *e, const char *path, char **data, size_t *bytes) {
    *data = NULL;
    *bytes = 0;
    FILE *file = fopen(path, "rb");
    if (!file) return fail(e, DOPPLER_IO, "%s: %s", path, strerror(errno));
    doppler_status status = file_read_stream(e, file, path, data, bytes);
    fclose(file);
    return status;
}

static bool write_all(int file, const char *data, size_t bytes) {
    while (bytes) {
        ssize_t written = write(file, data, bytes);
        if (written < 0 && errno == EINTR) continue;
        if (written < 0) return false;
        data += written;
        bytes -= (size_t)written;
    }
    return fsync(file) == 0;
}

doppler_status file_write(error *e, const char *path, const void *data, size_t bytes) {
    size_t room = strlen(path) + 32;
    char *temporary = malloc(room);
    if (!temporary) return fail(e, DOPPLER_NO_MEMORY, "%s: out of memory", path);
    snprintf(temporary, room, "%s.%ld.part", path, (long)getpid());
    int file = open(temporary, O_WRONLY | O_CREAT | O_TRUNC, 0666);
    bool ok = file >= 0 && write_all(file, data, bytes);
    int why = errno;
    if (file >= 0 && close(file) != 0 && ok) {
        ok = false;
        why = errno;
    }
    if (ok && rename(temporary, path) != 0) {
        ok = false;
        why = errno;
    }
    if (!ok && file >= 0) unlink(temporary);
    free(temporary);
    return ok ? DOPPLER_OK : fail(e, DOPPLER_IO, "%s: %s", path, strerror(why));
}

char *file_join(const char *folder, const char *name) {
    size_t bytes = strlen(folder), name_bytes = strlen(name);
    while (bytes > 1 && folder[bytes - 1] == '/') bytes--;
    char *path = malloc(bytes + name_bytes + 2);
    if (!path) return NULL;
    memcpy(path, folder, bytes);
    path[bytes] = '/';
    memcpy(path + bytes + 1, name, name_bytes + 1);
    return path;
}

bool file_is_folder(const char *path) {
    struct stat info;
    return stat(path, &info) == 0 && S_ISDIR(info.st_mode);
}
