/* cmd.h - the verbs of the command line. argv[0] is the verb. Exit codes: 0 done, 1 failed (one
 * line on stderr), 2 wrong usage. */
#ifndef TOOLS_CMD_H
#define TOOLS_CMD_H

int cmd_convert(int argc, char **argv);
int cmd_inspect(int argc, char **argv);
int cmd_verify(int argc, char **argv);
int cmd_synth(int argc, char **argv);
int cmd_tokenize(int argc, char **argv);
int cmd_run(int argc, char **argv);
int cmd_logits(int argc, char **argv);
int cmd_perplexity(int argc, char **argv);

#endif
