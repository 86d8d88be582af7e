/* options.h - the command line of a verb as tables: positional arguments and options.
 *
 *     command c = {"run", "Generates text from a package.", arguments, 1, options, 6};
 *     int exit_code = options_parse(&c, argc, argv);
 *     if (exit_code >= 0) return exit_code;
 *
 * Forms: --name VALUE, --name=VALUE, -n VALUE, -nVALUE; "--" ends the options; --help and -h
 * print the tables. Targets keep what they held when an option is not given. */
#ifndef TOOLS_OPTIONS_H
#define TOOLS_OPTIONS_H

#include "memory/status.h"

typedef enum option_kind {
    OPTION_FLAG,                 /* bool: set to true */
    OPTION_TEXT,                 /* const char *, borrowed from argv */
    OPTION_LIST,                 /* option_list: a text each time that it is given */
    OPTION_CHOICE,               /* uint32_t: index into metavar, "f16|f32" */
    OPTION_U32,                  /* uint32_t */
    OPTION_U64,                  /* uint64_t */
    OPTION_SIZE,                 /* uint64_t bytes: 64MiB, 1.5GB, 4096; KiB MiB GiB KB MB GB */
    OPTION_F32                   /* float, finite */
} option_kind;

enum { OPTION_LIST_MAX = 16 };
typedef struct option_list {
    const char *items[OPTION_LIST_MAX];  /* borrowed from argv */
    uint32_t count;
} option_list;

typedef struct option {
    const char *name;            /* "prompt" for --prompt */
    char letter;                 /* 'p' for -p; 0: none */
    option_kind kind;
    void *target;
    const char *metavar;         /* "PROMPT"; NULL for flags */
    const char *help;            /* one line */
    double min, max;             /* of numbers; both 0: all that the type holds */
} option;

typedef struct argument {
    const char *name;            /* "IN" */
    const char **target;         /* NULL before; borrowed from argv. An option may share it */
    const char *help;
    bool optional;               /* only the last ones */
} argument;

typedef struct command {
    const char *verb;
    const char *help;            /* what it does: a line or more */
    const argument *arguments;
    size_t argument_count;
    const option *options;
    size_t option_count;
} command;

/* -1: go on; else the exit code to return: 0 after --help, 2 after a usage error, which has been
 * told on stderr in one line. */
int options_parse(const command *c, int argc, char **argv);

/* Tells a failure on stderr: "doppler run: BAD_FILE: shard 3: ...". Returns exit code 1. */
int command_failed(const command *c, const error *e);

/* "64MiB" to bytes; false when text is not a whole number of bytes below 2^63. */
bool parse_size(const char *text, uint64_t *bytes);

#endif
