/* Whether a message of a server is what PostgreSQL's protocol says that it is.
 *
 * Theory.  A server may be anybody's: a tenant's own PostgreSQL, an impostor, one that is broken.  Everything
 * that the relay reads out of its messages is checked here, once, before any other code sees the message: its
 * length by its type as soon as the five bytes of its head are there, its fields when it is there whole.
 * After that names and values are NUL-terminated where the protocol says so and have no other NUL, counts are
 * those of the fields that are there, and no length leads out of the message.  A message that is not well
 * formed closes its server.
 *
 * Not checked is what only passes through to the client that asked for it (rows, columns, COPY data): it is
 * read by nobody here.  `internal`: the message answers a request of pooler's own, so its rows and columns
 * are read.
 *
 * A message longer than WHOLE_MESSAGE_BYTES need not be there whole when it is passed on.  Of the types that
 * are read only ErrorResponse and ParameterStatus may be that long, see length_fits(); what reads a beginning
 * of them goes by the bytes that are there.
 */
#ifndef POOLER_IO_SERVER_MESSAGES_H
#define POOLER_IO_SERVER_MESSAGES_H

#include <stdbool.h>
#include <stddef.h>
#include <stdint.h>

#define SERVER_MESSAGE_MAX 0x7fffffffu

/* Bounds of the length word by type; where none is named any length is refused. */
struct length_bounds { uint32_t least, range; };

/* One column of a DataRow that is well formed; NULL has no `text`. */
struct column {
    const unsigned char *text;
    uint32_t bytes;
};

extern const struct length_bounds server_message_lengths[256];
bool server_message_well_formed(uint8_t type, const unsigned char *body, uint32_t n, bool internal);
int server_message_columns(const unsigned char *body, struct column *out, int max);
void server_message_field(const unsigned char *body, uint32_t n, char field, char *out, size_t space);
bool server_error_is_passing(const char *sqlstate);
bool server_message_tag_starts(const unsigned char *tag, uint32_t n,
                               const char *with); /* of a CommandComplete */

static inline bool server_message_length_fits(uint8_t type, uint32_t length) {
    return length - server_message_lengths[type].least <= server_message_lengths[type].range;
}

#endif
