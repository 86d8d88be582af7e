/* embed.c - prints WGSL files as C strings: gpu/wgsl/weights/q4_k.wgsl -> wgsl_weights_q4_k.
 *
 *   embed gpu/wgsl/matvec.wgsl ... > build/wgsl.c
 *
 * Comments and the white space before a line's text are left out, to save bytes in the wasm; line
 * breaks are kept, so that compiler messages name the file's own lines. WGSL has no string
 * literals: two slashes always begin a comment. Block comments are refused. */
#include <ctype.h>
#include <stdbool.h>
#include <stdio.h>
#include <string.h>

/* The bytes of one line worth keeping. */
static size_t line_trim(char **line) {
    char *start = *line;
    while (*start == ' ' || *start == '\t') start++;
    char *comment = strstr(start, "//");
    size_t bytes = comment ? (size_t)(comment - start) : strlen(start);
    while (bytes > 0 && isspace((unsigned char)start[bytes - 1])) bytes--;
    *line = start;
    return bytes;
}

static int embed(const char *path) {
    FILE *file = fopen(path, "rb");
    if (!file) {
        perror(path);
        return 1;
    }
    const char *wgsl = strstr(path, "wgsl/");
    fputs("extern const char wgsl_", stdout);
    const char *name = wgsl ? wgsl + 5 : path;
    int name_bytes = (int)strcspn(name, ".");
    for (int i = 0; i < name_bytes; i++) putchar(name[i] == '/' ? '_' : name[i]);
    fputs("[];\nconst char wgsl_", stdout);
    for (int i = 0; i < name_bytes; i++) putchar(name[i] == '/' ? '_' : name[i]);
    fputs("[] = {", stdout);
    char buffer[1024];
    int number = 0, bad = 0;
    while (fgets(buffer, sizeof buffer, file)) {
        number++;
        char *line = buffer;
        bool ends = strchr(buffer, '\n') != NULL;
        size_t bytes = line_trim(&line);
        line[bytes] = 0;
        if (!ends || strstr(line, "/*")) {
            fprintf(stderr, "%s:%d: over-long line, no final line break or block comment\n", path,
                    number);
            bad = 1;
        }
        for (size_t i = 0; i < bytes; i++) printf("%d,", line[i]);
        printf("10,\n");
    }
    fputs("0};\n", stdout);
    return fclose(file) != 0 || bad;
}

int main(int argc, char **argv) {
    for (int i = 1; i < argc; i++)
        if (embed(argv[i])) return 1;
    return 0;
}
