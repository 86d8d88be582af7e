/* doppler.c - the native command line: one program, a table of verbs. */
#include "doppler.h"
#include "tools/cmd.h"

#include <stdio.h>
#include <string.h>

static const struct verb { const char *name; int (*run)(int, char **); const char *help; } verbs[] = {
    {"convert", cmd_convert, "a Hugging Face folder to an RDRR package"},
    {"inspect", cmd_inspect, "what a package or checkpoint holds"},
    {"verify", cmd_verify, "check every hash and number of a package"},
    {"synth", cmd_synth, "random weights at a real model's shape"},
    {"tokenize", cmd_tokenize, "text to token ids"},
    {"run", cmd_run, "generate text"},
    {"logits", cmd_logits, "logits of every position of given ids"},
    {"perplexity", cmd_perplexity, "how well a model predicts a text"},
};
enum { VERB_COUNT = sizeof verbs / sizeof verbs[0] };

static void usage(FILE *to) {
    fprintf(to, "usage: doppler VERB [...]; doppler VERB --help tells more\n\n");
    for (int i = 0; i < VERB_COUNT; i++) fprintf(to, "  %-12s %s\n", verbs[i].name, verbs[i].help);
}

int main(int argc, char **argv) {
    if (argc < 2) {
        usage(stderr);
        return 2;
    }
    if (strcmp(argv[1], "--help") == 0 || strcmp(argv[1], "-h") == 0) {
        usage(stdout);
        return 0;
    }
    if (strcmp(argv[1], "--version") == 0) {
        puts("doppler " DOPPLER_VERSION);
        return 0;
    }
    for (int i = 0; i < VERB_COUNT; i++)
        if (strcmp(argv[1], verbs[i].name) == 0) return verbs[i].run(argc - 1, argv + 1);
    fprintf(stderr, "doppler: unknown verb \"%s\"; doppler --help lists them\n", argv[1]);
    return 2;
}
