/* interrupt.h - Ctrl-C for commands that can stop in good order: the signals wait until the
 * command looks, and end the program when it has tidied up. */
#ifndef TOOLS_INTERRUPT_H
#define TOOLS_INTERRUPT_H

#include <signal.h>
#include <stdbool.h>

/* From here on SIGINT, SIGTERM and SIGHUP wait, in this thread and those that it starts. */
void interrupts_wait(sigset_t *before);
/* Whether one of them is waiting; false where they do not wait. */
bool interrupted(void);
/* As before interrupts_wait: a signal that waits ends the program here. */
void interrupts_pass(const sigset_t *before);

#endif
