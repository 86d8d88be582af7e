/* interrupt.c - see interrupt.h. Blocked signals and sigpending() need no handler and no global. */
#include "tools/interrupt.h"
#include <stddef.h>

static const int signals[] = {SIGINT, SIGTERM, SIGHUP};
enum { SIGNALS = sizeof signals / sizeof *signals };

void interrupts_wait(sigset_t *before) {
    sigset_t set;
    sigemptyset(&set);
    for (int i = 0; i < SIGNALS; i++) sigaddset(&set, signals[i]);
    pthread_sigmask(SIG_BLOCK, &set, before);
}

bool interrupted(void) {
    sigset_t waiting;
    sigemptyset(&waiting);
    sigpending(&waiting);
    for (int i = 0; i < SIGNALS; i++)
        if (sigismember(&waiting, signals[i])) return true;
    return false;
}

void interrupts_pass(const sigset_t *before) { pthread_sigmask(SIG_SETMASK, before, NULL); }
