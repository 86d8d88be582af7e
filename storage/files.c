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

/* Of one write: larger ones make Linux look for larger pages, which a virtual machine may have to
 * ask its host for (docs/SPEED.md, Converting). */
enum { WRITE_BYTES = 64 << 10 };

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

/* name "": the file that the folder's name is itself. */
static doppler_status open_file(error *e, storage_file *f, const char *folder, const char *name,
                                int flags) {
    *f = (storage_file){.path = join(folder, *name ? "/" : "", name)};
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
    f->modified_ns = (int64_t)about.st_mtim.tv_sec * 1000000000 + about.st_mtim.tv_nsec;
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

/* Both names, where the target may be made. */
static doppler_status name_folders(error *e, staging *s, const char *target) {
    size_t bytes = strlen(target);
    *s = (staging){.target = join(target, "", "")};
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

doppler_status staging_open(error *e, staging *s, const char *target,
                            bool (*ours)(const char *name)) {
    doppler_status status = name_folders(e, s, target);
    if (!status) status = remove_folder(e, s->partial, ours);
    if (status) return status;
    if (mkdir(s->partial, 0777)) return io(e, s->partial);
    s->made = true;
    return DOPPLER_OK;
}

doppler_status staging_open_file(error *e, staging *s, const char *target) {
    storage_file f;
    doppler_status status = name_folders(e, s, target);
    if (!status) status = open_file(e, &f, s->partial, "", O_WRONLY | O_CREAT | O_TRUNC);
    if (status) return status;
    s->made = s->single = true;
    storage_close(&f);
    return DOPPLER_OK;
}

doppler_status staging_resume(error *e, staging *s, const char *target, bool *found) {
    struct stat about;
    doppler_status status = name_folders(e, s, target);
    *found = !status && !stat(s->partial, &about);
    return status;
}

/* close() reports what a write could not, so its answer counts. */
static doppler_status finish(error *e, storage_file *f, doppler_status status) {
    if (close(f->descriptor) && !status) status = io(e, f->path);
    free(f->path);
    *f = (storage_file){0};
    return status;
}

doppler_status staging_write(error *e, const staging *s, const char *name, uint64_t offset,
                             const void *data, size_t bytes) {
    storage_file f;
    doppler_status status = open_file(e, &f, s->partial, name, O_WRONLY | O_CREAT);
    if (status) return status;
    for (size_t done = 0; !status && done < bytes;) {
        size_t some = bytes - done < WRITE_BYTES ? bytes - done : WRITE_BYTES;
        ssize_t n = pwrite(f.descriptor, (const char *)data + done, some, (off_t)(offset + done));
        if (n < 0 && errno != EINTR) status = io(e, f.path);
        if (n > 0) done += (size_t)n;
    }
    return finish(e, &f, status);
}

doppler_status staging_read(error *e, const staging *s, const char *name, uint64_t offset,
                            void *to, size_t bytes) {
    storage_file f;
    doppler_status status = storage_open(e, &f, s->partial, name);
    if (!status) status = storage_read(e, &f, offset, to, bytes);
    storage_close(&f);
    return status;
}

/* Not all file systems can sync folders (EINVAL): they do what they can without. */
static doppler_status sync_path(error *e, const char *folder, const char *name, int flags) {
    storage_file f;
    doppler_status status = open_file(e, &f, folder, name, flags);
    if (status) return status;
    if (fsync(f.descriptor) && errno != EINVAL) status = io(e, f.path);
    return finish(e, &f, status);
}

doppler_status staging_sync(error *e, const staging *s, const char *name) {
    return sync_path(e, s->partial, name, O_RDONLY);
}

doppler_status staging_remove(error *e, const staging *s, const char *name) {
    char *path = join(s->partial, "/", name);
    if (!path) return fail(e, DOPPLER_NO_MEMORY, "%s", name);
    doppler_status status = unlink(path) && errno != ENOENT ? io(e, path) : DOPPLER_OK;
    free(path);
    return status;
}

static doppler_status sync_all(error *e, const staging *s) {
    if (s->single) return staging_sync(e, s, "");
    DIR *directory = opendir(s->partial);
    if (!directory) return io(e, s->partial);
    doppler_status status = DOPPLER_OK;
    for (struct dirent *entry; !status && (entry = readdir(directory));)
        if (strcmp(entry->d_name, ".") && strcmp(entry->d_name, ".."))
            status = staging_sync(e, s, entry->d_name);
    closedir(directory);
    return status ? status : staging_sync(e, s, "");         /* their names */
}

/* The folder that the path names something in. */
static doppler_status sync_parent(error *e, const char *path) {
    char *parent = join(path, "", "");
    if (!parent) return fail(e, DOPPLER_NO_MEMORY, "%s", path);
    char *slash = strrchr(parent, '/');
    if (slash) slash[slash == parent] = 0;
    doppler_status status = sync_path(e, slash ? parent : ".", "", O_RDONLY);
    free(parent);
    return status;
}

doppler_status staging_commit(error *e, staging *s) {
    doppler_status status = sync_all(e, s);
    if (status) return status;
    if (rename(s->partial, s->target)) return io(e, s->target);
    s->made = false;
    return sync_parent(e, s->target);
}

void staging_keep(staging *s) { s->made = false; }

void staging_free(staging *s) {
    error ignored;               /* the failure that led here has been told */
    if (s->made && s->single) unlink(s->partial);
    else if (s->made) remove_folder(&ignored, s->partial, NULL);
    free(s->target);
    free(s->partial);
    *s = (staging){0};
}
