/*
 * sub: `fanfare sub`, which prints the messages of channels.
 *
 * Process: the command line.
 * Layer:   cli.  Uses client, find, common.
 */
#ifndef CLI_SUB_H
#define CLI_SUB_H

/* argv[0] is the command's name, "sub".  Returns the exit status. */
int cli_sub(int argc, char **argv);

#endif
