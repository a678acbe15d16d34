/* Settings that go to a server in the same write as the statement of its client.
 *
 * Theory.  A statement must not run under the settings of the client before, and behind a Query that fails
 * PostgreSQL goes on with the next message.  Behind an error in the extended protocol it skips everything up
 * to the next Sync, a Query or FunctionCall, too.  So the settings are executed without a Sync, in a
 * transaction between a BEGIN and a COMMIT of ours: what comes behind runs as if nothing had come before.
 * Where ours fails nothing behind it runs, and what the server would answer is not waited for.  An empty
 * Query is the last of it, so that there is an answer to wait for; whatever becomes of that, the settings are
 * in force. */
#include "session/settings_ahead.h"

#include <stddef.h>

#include "io/connection.h"
#include "io/request_queue.h"
#include "io/server_messages.h"
#include "io/sqlstate.h"
#include "relay/internal.h"
#include "statements/send.h"

/* Sends `text`, which has a NUL behind its bytes, to be executed. */
void settings_ahead(struct relay *r, struct server *s, const char *text, uint32_t bytes) {
    /* without waiting for a safe snapshot */
    static const char begin[] = "BEGIN ISOLATION LEVEL READ COMMITTED", end[] = "COMMIT";
    guard_take(r, s);
    internal_begin(r, s, INTERNAL_SETTINGS_AHEAD);
    send_execute(r, s, "", 1, begin, sizeof begin - 1);
    send_execute(r, s, "", 1, text, bytes);
    send_execute(r, s, "", 1, end, sizeof end - 1);
    conn_append(&r->loop, &s->io, "Q\0\0\0\5", 6); /* with the NUL that is its text */
    server_expects(s, 'Q' | INTERNAL);
}

/* An error has come.  True: that is what it answers. */
bool settings_ahead_failed(struct relay *r, struct server *s, const unsigned char *body, uint32_t n) {
    uint8_t head = requests_head(&s->requests);
    if (s->internal != INTERNAL_SETTINGS_AHEAD || !(head & INTERNAL)) return false;
    if (head == ('Q' | INTERNAL)) return true;
    struct client *c = s->client;
    if (c
        && (!server_is_fresh(s) || server_owes_reply(s)
            || c->lost_servers >= LOST_SERVERS_MAX)) { /* what it has sent is gone */
        char sqlstate[6] = PROTOCOL_VIOLATION, text[EVENT_TEXT_BYTES] = "invalid server parameter";
        server_message_field(body, n, 'C', sqlstate, sizeof sqlstate);
        server_message_field(body, n, 'M', text, sizeof text);
        client_close(r, c, sqlstate, text, text);
    } else {
        server_close(r, s, false, "settings of its client refused");
    }
    return true;
}
