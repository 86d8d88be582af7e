/* files.c - see files.h. POSIX. */
#include "storage/files.h"
#include <dirent.h>
#include <errno.h>
#include <fcntl.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/stat.h>
#include <unistd.h>

static doppler_status io(error *e, const char *path) {
    return fail(e, DOPPLER_IO, "%s: %s", path, strerror(errno));
}

/* Owned; NULL when out of memory. */
static char *join(const char *folder, const char *separator, const char *name) {
    size_t folder_bytes = strlen(folder), separator_bytes = strlen(separator);
    char *path = malloc(folder_bytes + separator_bytes + strlen(name) + 1);
    if (!path) return NULL;
    memcpy(path, folder, folder_bytes);
    memcpy(path + folder_bytes, separator, separator_bytes);
    strcpy(path + folder_bytes + separator_bytes, name);
    return path;
}

static doppler_status open_file(error *e, storage_file *f, const char *folder, const char *name,
                                int flags) {
    *f = (storage_file){.path = join(folder, "/", name)};
    if (!f->path) return fail(e, DOPPLER_NO_MEMORY, "%s", name);
    f->descriptor = open(f->path, flags | O_CLOEXEC, 0666);
    if (f->descriptor >= 0) return DOPPLER_OK;
    doppler_status status = io(e, f->path);
    free(f->path);
    f->path = NULL;
    return status;
}

doppler_status storage_open(error *e, storage_file *f, const char *folder, const char *name) {
    doppler_status status = open_file(e, f, folder, name, O_RDONLY);
    struct stat about;
    if (status) return status;
    if (fstat(f->descriptor, &about)) return io(e, f->path);
    if (!S_ISREG(about.st_mode)) return fail(e, DOPPLER_IO, "%s: no regular file", f->path);
    f->bytes = (uint64_t)about.st_size;
    return DOPPLER_OK;
}

doppler_status storage_read(error *e, const storage_file *f, uint64_t offset, void *to,
                            size_t bytes) {
    for (size_t done = 0; done < bytes;) {
        ssize_t n = pread(f->descriptor, (char *)to + done, bytes - done, (off_t)(offset + done));
        if (n < 0 && errno == EINTR) continue;
        if (n < 0) return io(e, f->path);
        if (n == 0)
            return fail(e, DOPPLER_IO, "%s: ends at byte %llu, wanted %llu", f->path,
                        (unsigned long long)(offset + done), (unsigned long long)(offset + bytes));
        done += (size_t)n;
    }
    return DOPPLER_OK;
}

void storage_close(storage_file *f) {
    if (f->path) close(f->descriptor);
    free(f->path);
    *f = (storage_file){0};
}

bool storage_exists(const char *folder, const char *name) {
    char *path = join(folder, "/", name);
    bool exists = path && !access(path, F_OK);
    free(path);
    return exists;
}

/* ---- staging */

/* Unlinks the folder's files if ours() knows all of them, then the folder. */
static doppler_status remove_folder(error *e, const char *folder, bool (*ours)(const char *)) {
    for (int pass = 0; pass < 2; pass++) {
        DIR *directory = opendir(folder);
        if (!directory) return errno == ENOENT ? DOPPLER_OK : io(e, folder);
        doppler_status status = DOPPLER_OK;
        for (struct dirent *entry; !status && (entry = readdir(directory));) {
            if (!strcmp(entry->d_name, ".") || !strcmp(entry->d_name, "..")) continue;
            if (pass == 0 && ours && !ours(entry->d_name))
                status = fail(e, DOPPLER_IO, "%s: is in the way and holds \"%.80s\"", folder,
                              entry->d_name);
            if (pass == 1 && unlinkat(dirfd(directory), entry->d_name, 0)) status = io(e, folder);
        }
        closedir(directory);
        if (status) return status;
    }
    return rmdir(folder) ? io(e, folder) : DOPPLER_OK;
}

static doppler_status name_target(error *e, staging *s, const char *target) {
    size_t bytes = strlen(target);
    *s = (staging){.target = join(target, "", ""), .name = ""};
    if (!s->target) return fail(e, DOPPLER_NO_MEMORY, "%s", target);
    while (bytes > 1 && s->target[bytes - 1] == '/') s->target[--bytes] = 0;
    s->partial = join(s->target, ".", "partial");
    if (!s->partial) return fail(e, DOPPLER_NO_MEMORY, "%s", target);
    struct stat about;
    if (!bytes) return fail(e, DOPPLER_BAD_ARGUMENT, "the name of what to write is empty");
    if (!stat(s->target, &about) && rmdir(s->target))
        return fail(e, DOPPLER_IO, "%s: exists already; remove it or choose another name",
                    s->target);
    return DOPPLER_OK;
}

doppler_status staging_open_file(error *e, staging *s, const char *target) {
    doppler_status status = name_target(e, s, target);
    if (status) return status;
    s->single = true;
    s->file.path = join(s->partial, "", "");
    if (!s->file.path) return fail(e, DOPPLER_NO_MEMORY, "%s", target);
    s->file.descriptor = open(s->partial, O_WRONLY | O_CREAT | O_TRUNC | O_CLOEXEC, 0666);
    if (s->file.descriptor >= 0) {
        s->made = true;
        return DOPPLER_OK;
    }
    status = io(e, s->partial);
    free(s->file.path);
    s->file = (storage_file){0};
    return status;
}

doppler_status staging_open(error *e, staging *s, const char *target,
                            bool (*ours)(const char *name)) {
    doppler_status status = name_target(e, s, target);
    if (!status) status = remove_folder(e, s->partial, ours);
    if (status) return status;
    if (mkdir(s->partial, 0777)) return io(e, s->partial);
    s->made = true;
    return DOPPLER_OK;
}

/* close() reports what a write could not, so its answer counts. */
static doppler_status finish_file(error *e, staging *s) {
    if (!s->file.path) return DOPPLER_OK;
    doppler_status status = DOPPLER_OK;
    if (close(s->file.descriptor)) status = io(e, s->file.path);
    free(s->file.path);
    s->file = (storage_file){0};
    return status;
}

doppler_status staging_write(error *e, staging *s, const char *name, uint64_t offset,
                             const void *data, size_t bytes) {
    if (!s->file.path || strcmp(name, s->name)) {
        doppler_status status = finish_file(e, s);
        if (status || (status = open_file(e, &s->file, s->partial, name,
                                          O_WRONLY | O_CREAT | O_TRUNC)))
            return status;
        s->name = name;
    }
    for (size_t done = 0; done < bytes;) {
        ssize_t n = pwrite(s->file.descriptor, (const char *)data + done, bytes - done,
                           (off_t)(offset + done));
        if (n < 0 && errno == EINTR) continue;
        if (n < 0) return io(e, s->file.path);
        done += (size_t)n;
    }
    return DOPPLER_OK;
}

doppler_status staging_commit(error *e, staging *s) {
    doppler_status status = finish_file(e, s);
    if (status) return status;
    if (rename(s->partial, s->target)) return io(e, s->target);
    s->made = false;
    return DOPPLER_OK;
}

void staging_free(staging *s) {
    error ignored;               /* the failure that led here has been told */
    storage_close(&s->file);
    if (s->made && s->single) unlink(s->partial);
    else if (s->made) remove_folder(&ignored, s->partial, NULL);
    free(s->target);
    free(s->partial);
    *s = (staging){0};
}
