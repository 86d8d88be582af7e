/* chat_template.c - see chat_template.h. Jinja drops one line end at the end of a template, the
 * line end behind a block and, where it begins its line, the spaces before one: so each template
 * starts on a line of its own, as alone, and ends with an empty expression. */
#include "bridge/chat_template.h"
#include "memory/text.h"

#include <string.h>

static void add_branch(text *t, const char *template) {
    size_t bytes = strlen(template);
    if (bytes && template[bytes - 1] == '\n') bytes--;
    text_format(t, "\n");
    text_add(t, template, bytes);
    text_format(t, "{{ '' }}");
}

const char *chat_template_join(arena *a, const char *plain, const char *tool_use) {
    if (!*tool_use) return plain;
    text t = {0};
    text_format(&t, "{%% if tools is defined and tools is not none %%}");
    add_branch(&t, tool_use);
    text_format(&t, "{%% else %%}");
    add_branch(&t, plain);
    text_format(&t, "{%% endif %%}");
    const char *joined = t.failed ? NULL : arena_text(a, t.data, t.bytes);
    text_free(&t);
    return joined;
}
