/*
 * jwk_set: several keys of tokens in one text.  See jwk.h.
 */
#include "worker/auth/jwk.h"

#include <stdlib.h>
#include <string.h>

#include "common/json.h"

#define SET_DEPTH 8

/* Adds the key, which is taken, if no other has its name. */
static int
set_add(struct jwk_set *s, struct jwk *k, const char **why)
{
	*why = "each of several keys needs a kid";
	if (s->n > 0 && (k->kid == NULL || s->item[0].kid == NULL)) {
		jwk_fini(k);
		return FAN_EINVAL;
	}
	*why = "its kid is another key's too";
	if (s->n > 0 && jwk_set_find(s, k->kid) != NULL) {
		jwk_fini(k);
		return FAN_EINVAL;
	}
	s->item[s->n++] = *k;
	return 0;
}

/* The key that counts as number of the text. */
static int
set_read(struct jwk_set *s, size_t number, const json_t *object, enum jwk_use use, jwk_note_fn note,
    void *arg, struct jwk_fault *fault)
{
	const char *kid = json_string_value(json_object_get(object, "kid"));
	struct jwk k;
	int err = jwk_parse(object, use, &k, &fault->why);

	if (err == 0)
		err = set_add(s, &k, &fault->why);
	if (err == FAN_ENOENT) {
		if (note != NULL)
			note(arg, number, kid, fault->why);
		return 0;
	}
	if (err != 0) {
		fault->number = number;
		if (kid != NULL && strlen(kid) <= JWK_KID_MAX)
			memcpy(fault->kid, kid, strlen(kid) + 1);
	}
	return err;
}

/* Room for all keys of the text; *keys is their list, or NULL for a single key. */
static int
set_room(struct jwk_set *s, const json_t *root, const json_t **keys, const char **why)
{
	size_t n;

	*keys = json_object_get(root, "keys");
	*why = "a JWK Set is needed: {\"keys\": [...]}";
	if (*keys == NULL ? json_object_get(root, "kty") == NULL : !json_is_array(*keys))
		return FAN_EINVAL;
	n = *keys != NULL ? json_array_size(*keys) : 1;
	*why = "more than 100 keys";
	if (n > JWK_SET_MAX)
		return FAN_EINVAL;
	s->item = calloc(n + 1, sizeof(*s->item));
	*why = "out of memory";
	return s->item != NULL ? 0 : FAN_ENOMEM;
}

int
jwk_set_parse(const char *text, size_t n, enum jwk_use use, struct jwk_set *out, jwk_note_fn note,
    void *arg, struct jwk_fault *fault)
{
	const json_t *keys;
	json_t *root;
	int err;

	*out = (struct jwk_set){ 0 };
	*fault = (struct jwk_fault){ 0 };
	err = json_parse(text, n, SET_DEPTH, &root, &fault->why);
	if (err != 0)
		return err;
	err = set_room(out, root, &keys, &fault->why);
	if (err == 0 && keys == NULL)
		err = set_read(out, 1, root, use, note, arg, fault);
	for (size_t i = 0; err == 0 && i < json_array_size(keys); i++)
		err = set_read(out, i + 1, json_array_get(keys, i), use, note, arg, fault);
	if (err == 0 && out->n == 0) {
		fault->why = use == JWK_SIGN ? "no key in it can sign tokens"
					     : "no key in it can verify tokens";
		err = FAN_EINVAL;
	}
	if (err != 0)
		jwk_set_fini(out);
	json_decref(root);
	return err;
}

void
jwk_set_fini(struct jwk_set *s)
{
	for (size_t i = 0; i < s->n; i++)
		jwk_fini(&s->item[i]);
	free(s->item);
	*s = (struct jwk_set){ 0 };
}

const struct jwk *
jwk_set_find(const struct jwk_set *s, const char *kid)
{
	if (kid == NULL)
		return s->n == 1 ? &s->item[0] : NULL;
	for (size_t i = 0; i < s->n; i++)
		if (s->item[i].kid != NULL && strcmp(s->item[i].kid, kid) == 0)
			return &s->item[i];
	return NULL;
}
