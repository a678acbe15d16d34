/* EXECUTE, DEALLOCATE and PREPARE with a name that the client prepared by Parse: in PostgreSQL both have one
 * namespace, but a server knows such a statement by another name, so the name in the text is replaced.
 *
 *   EXECUTE     the statement is prepared first where the server does not have it.
 *               A Parse under a name is kept longer than a server's names are: it is taken for the statement
 *               itself, if there are no arguments.
 *   DEALLOCATE  the client's name is gone, and so is the server's statement.  Among several statements of a
 *               Query its tag says that it has run; behind it the name is one of SQL, or none.
 *   PREPARE     of a live name gets the name of a live statement: PostgreSQL itself says that it exists.
 *
 * What a name means is not known while a Parse or Close of it may still be skipped, nor behind DEALLOCATE ALL
 * or DISCARD ALL: texts that say one wait, and so do Bind and Describe behind those two.
 *
 * In a simple query a Parse of ours ends with a Sync of ours: an error would skip the Query otherwise.  The
 * error is kept then, and takes the place of what the Query fails with (replan.c).  Behind messages of the
 * extended protocol that no Sync has ended yet there can be none of ours: it would commit what they did, and
 * end the skipping behind an error of theirs.  There the Query waits for their answers, and its client for
 * those to the Query (execute_open); the error that our Parse meets is the answer, and the ReadyForQuery to a
 * Sync of ours is that of the Query.
 */
#include "statements/sql_execute.h"

#include <string.h>

#include "io/buffer.h"
#include "io/request_queue.h"
#include "io/rewritten.h"
#include "relay/internal.h"
#include "session/sequences.h"
#include "sql/digest.h"
#include "sql/statement_names.h"
#include "statements/client_names.h"
#include "statements/forward.h"
#include "statements/parse_settings.h"
#include "statements/parsing.h"
#include "statements/send.h"
#include "statements/statement_store.h"
#include "tables/layout.h"
#include "tables/server_statements.h"

struct renaming {
    struct sql_use use;
    struct name *name;
    uint32_t number;
};

/* What a text says about names: one of its statements stands `alone`; a name, found or not, is `unsettled`,
 * only just being made or closed; it `clears` all names, perhaps. */
struct said { bool alone, unsettled, clears; };

/* A DEALLOCATE of that name stands before. */
static bool gone_by_then(const struct renaming *found, int count, const struct name *name) {
    for (int i = 0; i < count; i++)
        if (found[i].name == name && found[i].use.verb == SQL_DEALLOCATE) return true;
    return false;
}

/* The names in a text that the client prepared by Parse; how many. */
static int find_renamings(struct client *c, const char *text, uint32_t n, struct renaming found[SQL_USES_MAX],
                          struct said *said) {
    struct sql_use uses[SQL_USES_MAX];
    uint32_t statements = 0;
    *said = (struct said){0};
    int count = 0, used = sql_uses(text, n, uses, &statements, &said->clears);
    for (int i = 0; i < used; i++) {
        const struct sql_use *use = &uses[i];
        said->unsettled |= names_unconfirmed(c->names, use->name, use->name_bytes);
        struct name *name = names_find(c->names, use->name, use->name_bytes);
        if (!name || (use->verb == SQL_PREPARE && use->statement)) continue;
        if (gone_by_then(found, count, name)) continue;
        found[count++] = (struct renaming){.use = *use, .name = name};
    }
    said->alone = statements == 1;
    return count;
}

/* Something of that name must be there to be deallocated, and will be gone. */
static uint32_t number_to_deallocate(struct relay *r, struct client *c, struct name *name) {
    static const unsigned char TRIVIAL[] = "SELECT 1\0\0"; /* text, NUL, number of parameter types */
    struct server *s = c->server;
    struct digest d = name->statement->digest;
    char live[SERVER_NAME_BYTES];
    const struct prepared_entry *e = prepared_find(statements_set(r, s), &d);
    uint32_t evicted, number = e ? e->number : NO_NUMBER;
    if (!e) {
        number = prepared_add(statements_set(r, s), &d, 0, PREPARED_MAX, &evicted);
        send_parse(r, s, live, prepared_name(live, number), TRIVIAL, sizeof TRIVIAL, 'P' | INTERNAL, &d);
    }
    prepared_remove(statements_set(r, s), &d);
    names_unset(c->names, name);
    r->t->clients[c->row].prepared_statements = (int32_t)c->names->count;
    return number;
}

/* What others left is discarded before a Query, or Parse, that executes what may read it. */
static enum rewritten discards_first(struct relay *r, struct client *c, bool query,
                                     const struct renaming *all, int count) {
    enum rewritten how = REWRITTEN_NOT;
    for (int i = 0; i < count && how == REWRITTEN_NOT; i++) {
        if (all[i].use.verb != SQL_EXECUTE) continue;
        uint32_t effect_flags = statements_effects(r, c, all[i].name->statement);
        if (effect_flags)
            how = query ? sequences_before_query(r, c, effect_flags, "", 0)
                        : sequences_first(r, c, effect_flags);
    }
    return how;
}

static void number_all(struct relay *r, struct client *c, struct renaming *all, int count) {
    /* its text is not the client's message: what it says counts all the same */
    for (int i = 0; i < count; i++)
        if (all[i].use.verb == SQL_EXECUTE) statements_note(r, c, all[i].name->statement);
    for (int i = 0; i < count; i++) {
        c->names->used = all[i].name;
        all[i].number = all[i].use.verb == SQL_DEALLOCATE ? number_to_deallocate(r, c, all[i].name)
                                                          : meaning_ensure(r, c->server, all[i].name);
        c->names->used_number = all[i].number;
    }
}

/* Sends the message with names replaced; they stand in what begins at `text`. */
static void send_renamed(struct relay *r, struct server *s, const unsigned char *p, uint32_t total,
                         uint32_t text, const struct renaming *all, int count) {
    char name[SERVER_NAME_BYTES];
    uint32_t at = 5, bytes = total - 5;
    for (int i = 0; i < count; i++) bytes += prepared_name(name, all[i].number) - 1 - all[i].use.bytes;
    send_head(r, s, (char)p[0], bytes);
    for (int i = 0; i < count; i++) {
        send_bytes(r, s, p + at, text + all[i].use.at - at);
        send_bytes(r, s, name, prepared_name(name, all[i].number) - 1);
        at = text + all[i].use.at + all[i].use.bytes;
    }
    send_bytes(r, s, p + at, total - at);
}

/* Positions in errors are in the text that the client sent, if it has one such name. */
static void note_renaming(struct server *s, const struct renaming *one) {
    char name[SERVER_NAME_BYTES];
    uint32_t bytes = prepared_name(name, one->number) - 1;
    s->renamed_request = s->requests.pushed;
    s->renamed_at = one->use.at + bytes;
    s->renamed_by = (int32_t)bytes - (int32_t)one->use.bytes;
}

static bool any_deallocates(const struct renaming *all, int count) {
    for (int i = 0; i < count; i++)
        if (all[i].use.verb == SQL_DEALLOCATE) return true;
    return false;
}

/* A Query that deallocates names is about to be sent.  One alone is certain to. */
static void note_deallocates(struct relay *r, struct client *c, bool alone, const struct renaming *all,
                             int count) {
    struct deallocating *d = &c->server->deallocating;
    if (alone) {
        names_confirm(&r->statements, c->names);
        memory_count(r, c);
        return;
    }
    *d = (struct deallocating){.request = c->server->requests.pushed};
    for (int i = count - 1; i >= 0; i--)
        if (all[i].use.verb == SQL_DEALLOCATE) d->numbers[d->count++] = all[i].use.deallocate;
    client_hold(c, HELD_FOR_ALL);
}

/* Whether a message has to wait for what becomes of such a Query: the client is held then.  What a COPY in it
 * reads does not wait. */
bool execute_decides(struct client *c) {
    if (!c->server->deallocating.count || c->server->copy == COPY_READING) return false;
    client_hold(c, HELD_FOR_ALL);
    return true;
}

/* A statement has run, by its tag. */
void execute_tag(struct relay *r, struct server *s, const unsigned char *tag, uint32_t n) {
    static const char DEALLOCATE[] = "DEALLOCATE";
    struct deallocating *d = &s->deallocating;
    if (n != sizeof DEALLOCATE || memcmp(tag, DEALLOCATE, n) != 0) return;
    if (requests_number(&s->requests) != d->request || d->numbers[d->count - 1] != d->run++) return;
    d->count--;
    if (!s->client) return;
    names_confirm(&r->statements, s->client->names);
    memory_count(r, s->client);
}

/* ReadyForQuery: what has not run of that Query, if it is not still on its way, never will.  What was to be
 * deallocated stays on the server, where nobody knows it any more. */
void execute_ended(struct relay *r, struct server *s) {
    struct deallocating *d = &s->deallocating;
    struct client *c = s->client;
    if ((int32_t)(requests_number(&s->requests) - d->request) < 0) return;
    if (c) names_undo(&r->statements, c->names, d->count);
    if (c) r->t->clients[c->row].prepared_statements = (int32_t)c->names->count;
    r->t->slots[s->slot].flags |= SF_CLOSE_NEEDED;
    d->count = 0;
}

/* Whether a statement is being parsed and may be skipped. */
static bool any_unsure(struct relay *r, struct client *c, const struct renaming *all, int count) {
    for (int i = 0; i < count; i++)
        if (meaning_is_unsure(r, c->server, all[i].name)) return true;
    return false;
}

/* Whether a client may have names: those too that are closed, which may be skipped. */
static bool has_names(const struct client *c) { return c->names && (c->names->count || c->names->first); }

static enum rewritten forward_query(struct relay *r, struct client *c, const unsigned char *p, uint32_t here,
                                    uint32_t total) {
    struct server *s = c->server;
    struct renaming all[SQL_USES_MAX];
    s->renamed_by = 0;
    bool fails = s->transaction == 'E'; /* until what is on its way ends the transaction */
    if (!has_names(c) || total < 6) return REWRITTEN_NOT;
    if (total > WHOLE_MESSAGE_BYTES || (fails && !s->requests.count)) { /* it is not looked into */
        s->deeds |= MAY_CLEAR;
        return REWRITTEN_NOT;
    }
    if (here < total) return REWRITTEN_MORE;
    struct said said = {0};
    int count = p[total - 1] ? 0 : find_renamings(c, (const char *)p + 5, total - 6, all, &said);
    if (said.unsettled) return REWRITTEN_WAIT_ALL;
    bool clears = said.clears;
    if (!count && clears) s->deeds |= MAY_CLEAR;
    if (!count) return REWRITTEN_NOT;
    bool deallocates = any_deallocates(all, count), open = fails || s->pipeline_open;
    if (s->requests.count
        && (open || deallocates || statements_names_may_go(s) || any_unsure(r, c, all, count)))
        return REWRITTEN_WAIT_ALL;
    uint32_t before = s->requests.count;
    enum rewritten first = discards_first(r, c, true, all, count);
    if (first != REWRITTEN_NOT) return first;
    for (int i = 0; i < count; i++)
        clears |= all[i].use.verb == SQL_EXECUTE && all[i].name->statement->deeds & MAY_CLEAR;
    if (clears) s->deeds |= MAY_CLEAR;
    number_all(r, c, all, count);
    bool prepared = s->requests.count > before;
    /* as in end_own_run(): it would be told of a transaction */
    bool ours_alone = s->pipeline_ours && !s->pipeline_runs;
    s->execute_open = prepared && s->pipeline_open && !ours_alone;
    if (s->execute_open) {
        client_hold(c, HELD_FOR_ALL);
    } else if (prepared) {
        send_sync(r, s);
    }
    send_renamed(r, s, p, total, 5, all, count);
    if (count == 1) note_renaming(s, &all[0]);
    if (deallocates) note_deallocates(r, c, said.alone, all, count);
    s->replay.execute = count == 1 && said.alone && all[0].use.verb == SQL_EXECUTE;
    server_expects(s, 'Q');
    return REWRITTEN_ALL;
}

/* A Query; it ends the unnamed statement when it is sent: while it waits its server may go to another
 * client. */
enum rewritten execute_query(struct relay *r, struct client *c, const unsigned char *p, uint32_t here,
                             uint32_t total) {
    enum rewritten how = forward_query(r, c, p, here, total);
    if (how != REWRITTEN_NOT && how != REWRITTEN_ALL) return how;
    if (c->names) c->names->unnamed_live = false;
    r->t->slots[c->server->slot].unnamed_of = 0;
    return how;
}

static bool may_use(const char *text) {
    while (*text == ' ' || (unsigned)(*text - '\t') < 5) text++;
    return *text && strchr("eEdDpPcC-/", *text);
}

/* Whether a Parse says a name that is only just being made or closed: what it is sent as is not known. */
bool execute_waits(struct client *c, const unsigned char *text, uint32_t bytes) {
    struct renaming all[SQL_USES_MAX];
    struct said said;
    uint32_t n = (uint32_t)strnlen((const char *)text, bytes);
    if (!c->server->requests.count || n == bytes || bytes > EXECUTE_TEXT_MAX || !has_names(c)
        || !may_use((const char *)text))
        return false;
    find_renamings(c, (const char *)text, n, all, &said);
    return said.unsettled;
}

/* The statement that the text of a Parse stands for: EXECUTE of another one.  NULL: none. */
struct name *execute_target(struct client *c, const unsigned char *body, uint32_t bytes) {
    struct renaming all[SQL_USES_MAX];
    struct said said;
    uint32_t n = (uint32_t)strnlen((const char *)body, bytes);
    if (!c->names->count || bytes > EXECUTE_TEXT_MAX || bytes != n + 3 || body[n + 1] || body[n + 2]
        || !may_use((const char *)body))
        return NULL;
    int count = find_renamings(c, (const char *)body, n, all, &said);
    return count == 1 && said.alone && all[0].use.verb == SQL_EXECUTE && all[0].use.bare ? all[0].name : NULL;
}

/* A Parse of the unnamed statement that came whole.  ALL: it was sent with names replaced. */
enum rewritten execute_parse(struct relay *r, struct client *c, const unsigned char *p, uint32_t total) {
    struct renaming all[SQL_USES_MAX];
    const unsigned char *end = total > 8 ? memchr(p + 6, 0, total - 6) : NULL;
    if (!c->names || !c->names->count || total > EXECUTE_TEXT_MAX || !end || !may_use((const char *)p + 6))
        return REWRITTEN_NOT;
    struct said said;
    int count = find_renamings(c, (const char *)p + 6, (uint32_t)(end - p) - 6, all, &said);
    if (!count || !said.alone) return REWRITTEN_NOT; /* PostgreSQL refuses several statements in one Parse */
    enum rewritten first = discards_first(r, c, false, all, count);
    if (first != REWRITTEN_NOT) return first;
    bool deallocates = all[0].use.verb == SQL_DEALLOCATE;
    number_all(r, c, all, count);
    send_renamed(r, c->server, p, total, 6, all, count);
    if (count == 1) note_renaming(c->server, &all[0]);
    struct digest unnamed = parsing_of_unnamed(c->names->unnamed_number + 1); /* that it is about to get */
    parsing_push(c->server, &unnamed);
    server_expects(c->server, deallocates ? 'P' : 'U');
    return REWRITTEN_ALL;
}
