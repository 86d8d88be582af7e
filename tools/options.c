/* options.c - walks argv against the tables of options.h; one parser per kind of value. */
#include "tools/options.h"

#include <errno.h>
#include <math.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

enum { EXIT_USAGE = 2, HELP_COLUMN = 28 };

static bool is_digit(char c) {
    return c >= '0' && c <= '9';
}

static bool parse_u64(const option *o, const char *text, uint64_t *value) {
    char *end;
    errno = 0;
    *value = strtoull(text, &end, 10);
    return is_digit(*text) && !*end && !errno &&
           (o->max == 0 || ((double)*value >= o->min && (double)*value <= o->max));
}

bool parse_size(const char *text, uint64_t *bytes) {
    static const struct { const char *suffix; double scale; } units[] = {
        {"", 1}, {"B", 1}, {"KiB", 1024}, {"MiB", 1048576}, {"GiB", 1073741824},
        {"KB", 1e3}, {"MB", 1e6}, {"GB", 1e9},
    };
    if (!is_digit(*text)) return false;
    char *end;
    double value = strtod(text, &end);
    for (size_t i = 0; i < sizeof units / sizeof *units; i++) {
        if (strcmp(end, units[i].suffix) != 0) continue;
        value *= units[i].scale;
        if (value >= 9223372036854775808.0 || value != floor(value)) return false;
        *bytes = (uint64_t)value;
        return true;
    }
    return false;
}

static bool set_flag(const option *o, const char *text) {
    (void)text;
    *(bool *)o->target = true;
    return true;
}

static bool set_text(const option *o, const char *text) {
    *(const char **)o->target = text;
    return true;
}

static bool set_list(const option *o, const char *text) {
    option_list *list = o->target;
    if (list->count == OPTION_LIST_MAX) return false;
    list->items[list->count++] = text;
    return true;
}

static bool set_choice(const option *o, const char *text) {
    size_t bytes = strlen(text);
    uint32_t index = 0;
    for (const char *at = o->metavar; *at; index++) {
        size_t word = strcspn(at, "|");
        if (word == bytes && memcmp(at, text, bytes) == 0) {
            *(uint32_t *)o->target = index;
            return true;
        }
        at += word + (at[word] == '|');
    }
    return false;
}

static bool set_u32(const option *o, const char *text) {
    uint64_t value;
    if (!parse_u64(o, text, &value) || value > UINT32_MAX) return false;
    *(uint32_t *)o->target = (uint32_t)value;
    return true;
}

static bool set_u64(const option *o, const char *text) {
    return parse_u64(o, text, o->target);
}

static bool set_size(const option *o, const char *text) {
    uint64_t value;
    if (!parse_size(text, &value)) return false;
    if (o->max != 0 && ((double)value < o->min || (double)value > o->max)) return false;
    *(uint64_t *)o->target = value;
    return true;
}

static bool set_f32(const option *o, const char *text) {
    char *end;
    float value = strtof(text, &end);
    if (!(is_digit(*text) || *text == '-' || *text == '.') || *end || !isfinite(value))
        return false;
    if ((o->min != 0 || o->max != 0) && (value < o->min || value > o->max)) return false;
    *(float *)o->target = value;
    return true;
}

static const struct { bool (*set)(const option *o, const char *text); const char *wanted; }
kinds[] = {
    [OPTION_FLAG] = {set_flag, "no value"},
    [OPTION_TEXT] = {set_text, "text"},
    [OPTION_LIST] = {set_list, "at most 16 of them"},
    [OPTION_CHOICE] = {set_choice, "one of"},
    [OPTION_U32] = {set_u32, "an integer"},
    [OPTION_U64] = {set_u64, "an integer"},
    [OPTION_SIZE] = {set_size, "a size such as 64MiB"},
    [OPTION_F32] = {set_f32, "a number"},
};

static int usage_error(const command *c, const char *problem, const char *subject) {
    fprintf(stderr, "doppler %s: %s %s (see doppler %s --help)\n", c->verb, problem, subject,
            c->verb);
    return EXIT_USAGE;
}

static int bad_value(const command *c, const option *o, const char *text) {
    char range[64] = "";
    if (o->min != 0 || o->max != 0)
        snprintf(range, sizeof range, " from %.10g to %.10g", o->min, o->max);
    fprintf(stderr, "doppler %s: --%s %s: wanted %s%s%s%s\n", c->verb, o->name, text,
            kinds[o->kind].wanted, o->kind == OPTION_CHOICE ? " " : "",
            o->kind == OPTION_CHOICE ? o->metavar : "", range);
    return EXIT_USAGE;
}

static void print_row(const char *left, const char *help) {
    int column = printf("  %s", left);
    if (column >= HELP_COLUMN) {
        printf("\n");
        column = 0;
    }
    printf("%*s%s\n", HELP_COLUMN - column, "", help);
}

static void print_help(const command *c) {
    printf("usage: doppler %s", c->verb);
    for (size_t i = 0; i < c->argument_count; i++)
        printf(c->arguments[i].optional ? " [%s]" : " %s", c->arguments[i].name);
    printf("%s\n\n%s\n\n", c->option_count ? " [options]" : "", c->help);
    for (size_t i = 0; i < c->argument_count; i++)
        print_row(c->arguments[i].name, c->arguments[i].help);
    for (size_t i = 0; i < c->option_count; i++) {
        const option *o = &c->options[i];
        char left[128], letter[8] = "    ";
        if (o->letter) snprintf(letter, sizeof letter, "-%c, ", o->letter);
        snprintf(left, sizeof left, "%s--%s%s%s", letter, o->name, o->metavar ? " " : "",
                 o->metavar ? o->metavar : "");
        print_row(left, o->help);
    }
    print_row("-h, --help", "print this");
}

/* The option that word ("--name", "--name=value", "-n", "-nvalue") names and the value inside the
 * word, NULL when there is none. */
static const option *find_option(const command *c, const char *word, const char **value) {
    for (size_t i = 0; i < c->option_count; i++) {
        const option *o = &c->options[i];
        if (word[1] == '-') {
            size_t bytes = strlen(o->name);
            if (strncmp(word + 2, o->name, bytes) != 0) continue;
            if (word[2 + bytes] && word[2 + bytes] != '=') continue;
            *value = word[2 + bytes] ? word + 3 + bytes : NULL;
            return o;
        }
        if (o->letter != word[1] || (o->kind == OPTION_FLAG && word[2])) continue;
        *value = word[2] ? word + 2 : NULL;
        return o;
    }
    return NULL;
}

/* Takes the option at argv[*i] and its value, which may be the next word. -1 or an exit code. */
static int take_option(const command *c, int argc, char **argv, int *i) {
    const char *value;
    const option *o = find_option(c, argv[*i], &value);
    if (!o) return usage_error(c, "unknown option", argv[*i]);
    if (o->kind == OPTION_FLAG && value) return bad_value(c, o, value);
    if (o->kind != OPTION_FLAG && !value) {
        if (*i + 1 == argc) return usage_error(c, "a value is missing after", argv[*i]);
        value = argv[++*i];
    }
    return kinds[o->kind].set(o, value) ? -1 : bad_value(c, o, value);
}

/* The first argument without a value; an option may have set one (--input). */
static const argument *next_argument(const command *c) {
    for (size_t i = 0; i < c->argument_count; i++)
        if (!*c->arguments[i].target) return &c->arguments[i];
    return NULL;
}

int options_parse(const command *c, int argc, char **argv) {
    const argument *next;
    bool options_ended = false;
    for (int i = 1; i < argc; i++) {
        const char *word = argv[i];
        if (options_ended || word[0] != '-' || !word[1]) {
            next = next_argument(c);
            if (!next) return usage_error(c, "unexpected argument", word);
            *next->target = word;
        } else if (strcmp(word, "--") == 0) {
            options_ended = true;
        } else if (strcmp(word, "--help") == 0 || strcmp(word, "-h") == 0) {
            print_help(c);
            return 0;
        } else {
            int exit_code = take_option(c, argc, argv, &i);
            if (exit_code >= 0) return exit_code;
        }
    }
    next = next_argument(c);
    return next && !next->optional ? usage_error(c, "missing", next->name) : -1;
}

int command_failed(const command *c, const error *e) {
    fprintf(stderr, "doppler %s: %s: %s\n", c->verb, doppler_status_name(e->status), e->message);
    return 1;
}
