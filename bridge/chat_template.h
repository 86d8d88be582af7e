/* chat_template.h - a model's Jinja templates as the one that a package holds. */
#ifndef BRIDGE_CHAT_TEMPLATE_H
#define BRIDGE_CHAT_TEMPLATE_H

#include "memory/arena.h"

/* A template that writes what `tool_use` does when tools are given, else what `plain` does: as
 * transformers chooses between the templates of these names. tool_use "": plain itself. In a, or
 * borrowed; NULL: out of memory. */
const char *chat_template_join(arena *a, const char *plain, const char *tool_use);

#endif
