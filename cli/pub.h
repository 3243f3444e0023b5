/*
 * pub: `fanfare pub`, which publishes from the shell.
 *
 * Process: the command line.
 * Layer:   cli.  Uses client, find, common.
 */
#ifndef CLI_PUB_H
#define CLI_PUB_H

/* argv[0] is the command's name, "pub".  Returns the exit status. */
int cli_pub(int argc, char **argv);

#endif
