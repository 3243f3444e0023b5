/*
 * replay: the main function of a fuzz target that is not built with libFuzzer: runs the files, and
 * all files of the folders, that it is given.
 *
 * Process: fuzz targets.
 * Layer:   tests.  Uses fuzz.
 */
#include <dirent.h>
#include <stdio.h>
#include <stdlib.h>
#include <sys/stat.h>

#include "tests/fuzz/fuzz.h"

#define FILE_MAX (1U << 20)

static unsigned ran;

static void
run_file(const char *path)
{
	static uint8_t bytes[FILE_MAX];
	FILE *f = fopen(path, "rb");
	uint8_t *copy;
	size_t n;

	if (f == NULL) {
		perror(path);
		exit(EXIT_FAILURE);
	}
	n = fread(bytes, 1, sizeof(bytes), f);
	(void)fclose(f);
	copy = fuzz_copy(bytes, n);
	(void)LLVMFuzzerTestOneInput(copy, n);
	free(copy);
	ran++;
}

static void
run(const char *path)
{
	struct dirent **entries;
	struct stat st;
	char *file;
	int i, n;

	if (stat(path, &st) != 0 || !S_ISDIR(st.st_mode)) {
		run_file(path);
		return;
	}
	n = scandir(path, &entries, NULL, alphasort);
	for (i = 0; i < n; i++) {
		if (entries[i]->d_name[0] != '.' &&
		    asprintf(&file, "%s/%s", path, entries[i]->d_name) >= 0) {
			run_file(file);
			free(file);
		}
		free(entries[i]);
	}
	if (n >= 0)
		free(entries);
}

int
main(int argc, char **argv)
{
	int i;

	for (i = 1; i < argc; i++)
		run(argv[i]);
	(void)printf("%u inputs\n", ran);
	return ran > 0 ? EXIT_SUCCESS : EXIT_FAILURE;
}
