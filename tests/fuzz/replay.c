/* replay.c - gives a target the files of a folder, one after another: what was found once stays
 * fixed. Needs no libFuzzer. Usage: fuzz_json tests/fuzz/seeds/fuzz_json */
#include "tests/fuzz/fuzz.h"
#include <dirent.h>
#include <stdio.h>
#include <stdlib.h>

enum { PATH_BYTES = 1024 };

/* A copy of exactly the file's size, so that the sanitizer sees a read beyond it. */
static int replay(const char *path) {
    FILE *f = fopen(path, "rb");
    long size = f && !fseek(f, 0, SEEK_END) ? ftell(f) : -1;
    uint8_t *data = size >= 0 ? malloc((size_t)size + !size) : NULL;
    int good = data && !fseek(f, 0, SEEK_SET) && fread(data, 1, (size_t)size, f) == (size_t)size;
    if (good) {
        fprintf(stderr, "%s\n", path);
        LLVMFuzzerTestOneInput(data, (size_t)size);
    } else fprintf(stderr, "%s: cannot be read\n", path);
    free(data);
    if (f) fclose(f);
    return good;
}

int main(int argc, char **argv) {
    DIR *folder = argc == 2 ? opendir(argv[1]) : NULL;
    if (!folder) {
        fprintf(stderr, "replay: wanted one folder of seeds\n");
        return 1;
    }
    int count = 0, bad = 0;
    for (struct dirent *entry; (entry = readdir(folder));) {
        char path[PATH_BYTES];
        if (entry->d_name[0] == '.') continue;
        snprintf(path, sizeof path, "%s/%s", argv[1], entry->d_name);
        if (replay(path)) count++;
        else bad++;
    }
    closedir(folder);
    printf("%d passed, %d failed\n", count, bad + !count);
    return bad || !count;
}
