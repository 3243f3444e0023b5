/*
 * rule: what a channel's rule means, in plain words, for `fanfare check --channel`.
 *
 * Owns:    nothing.
 * Process: the command line.
 * Layer:   cli.  Uses common.
 */
#ifndef CLI_RULE_H
#define CLI_RULE_H

#include <stdio.h>

struct conf;

/* Says which rule applies to the channel, and for each option of it what it means. */
void rule_explain(const struct conf *c, const char *channel, FILE *out);

#endif
