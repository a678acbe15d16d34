/* Under which settings prepared statements are parsed, and with whom they are shared.
 *
 * Theory.  A Parse of a client always reaches PostgreSQL, which looks names up as they are now: nobody has
 * to know of DDL.  What it made is used by others that said the same text under the same settings, earlier:
 * a Parse that pooler sends of its own accord, where a client comes to a server that has nothing as new as
 * its own Parse.
 *
 * PostgreSQL keeps the text, and reads and plans it anew, under what is in force just then, whenever
 * something has invalidated what it made of it.  So whoever runs a statement may decide what it means for all
 * who have it: it is shared by those only who parsed it under the same settings *and run it under the same*.
 * A client that has set something since has an entry of its own kind, and sees what a session of its own
 * could see: its first meaning, or, once that was invalidated, that of now.
 *
 *   the settings differ from those of the Parse, in what literals are read under: those are put in force for
 *            the transaction, and back again behind the Parse, in the pipeline under way.
 *   they may be others than the client's, for something was set whose answer is not known yet, or the
 *            client has objects that only it sees: what is used then is its own, and not shared.
 *            Around the Parse, what is in force is kept in settings of ours, for the transaction, and comes
 *            back from there.
 *   nobody can know them, for a statement of the same pipeline may have set them: the statement is good
 *            on its server only, which stays with the client; elsewhere it is refused as one whose result
 *            has changed, which drivers answer by another Parse. */
#include "statements/parse_settings.h"

#include <ctype.h>
#include <string.h>

#include "io/request_queue.h"
#include "relay/internal.h"
#include "session/session.h"
#include "session/settings.h"
#include "session/settings_kinds.h"
#include "sql/digest.h"
#include "sql/effects.h"
#include "sql/lexer.h"
#include "sql/setting_names.h"
#include "statements/client_names.h"
#include "statements/parsing.h"
#include "statements/replan.h"
#include "statements/send.h"
#include "statements/statement_store.h"
#include "tables/clock.h"
#include "tables/server_statements.h"

#define SWITCH_BYTES (2 * SETTINGS_BYTES + 32768)

/* Whether statements that are not answered yet may set what texts mean. */
static bool unanswered(const struct server *s) {
    /* PostgreSQL tells of it at the Sync */
    return (s->requests.count || s->pipeline_open) && s->session.sets_meaning;
}

/* Whether a statement has set, in the transaction under way, what literals are read under and no server
 * reports: its value is asked for behind the transaction. */
bool meaning_unreported(const struct server *s) {
    const struct notes *notes = s->session.notes;
    char kind;
    const char *name;
    for (uint32_t at = 0; notes && scan_next_name(notes->names, notes->bytes, &at, &kind, &name);)
        if ((kind == 's' || kind == 'r') && setting_is_literal(name, (uint32_t)strlen(name))) return true;
    return false;
}

/* Whether a Parse has to wait until it is known under what it is read: all that is under way will be
 * answered. */
bool meaning_waits(const struct client *c) {
    const struct requests *q = &c->server->requests;
    if (!unanswered(c->server) || !q->count) return false;
    /* a CopyDone that ends nothing may stand behind the Sync */
    uint8_t last = requests_at(q, q->count - 1) & 0x7f;
    return !c->server->pipeline_open || last == 'S' || last == 'Q' || last == 'F';
}

/* The settings under which a named statement that the client sends now is read; NULL: unknown. */
static struct settings *meaning_now(struct client *c) {
    return unanswered(c->server) || meaning_unreported(c->server) ? NULL : c->settings;
}

/* The same for the unnamed one, whose text has been looked at: what it sets itself does not count. */
struct settings *meaning_of_unnamed(struct client *c) {
    return unanswered(c->server) || c->server->session.parsed_unreported ? NULL : c->settings;
}

/* The statement that a Parse of the client is about to make; NULL: no memory. */
struct statement *meaning_parsed(struct relay *r, struct client *c, const unsigned char *body,
                                 uint32_t bytes) {
    bool apart = session_uncertain(c->server);
    uint64_t number = apart ? (uint64_t)(r->worker + 1) << 48 | ++r->apart : 0;
    struct statement *st = statement_intern(&r->statements, body, bytes, c->settings, number);
    if (st) st->floating = !meaning_now(c);
    return st;
}

/* Under which the server has the statement for those who run it as its client would now. */
static struct digest key_here(const struct relay *r, const struct server *s, const struct statement *st) {
    if (st->apart) return st->digest;
    struct digest run = s->client->settings->run, own = {1, r->t->clients[s->client->row].id};
    if (session_uncertain(s)) return statement_key(&r->statements, &st->literals, own);
    if (digest_same(run, st->under->run)) return st->digest;
    return statement_key(&r->statements, &st->literals, run);
}

/* What the server has of the statement, as new as the client's own Parse; NULL: nothing. */
const struct prepared_entry *meaning_find(struct relay *r, struct server *s, const struct name *name) {
    struct digest key = key_here(r, s, name->statement);
    return prepared_use(statements_set(r, s), &key, name->made);
}

/* Whether what the server has of the statement is still being parsed, and may be skipped without what uses it
 * now. */
bool meaning_is_unsure(struct relay *r, struct server *s, const struct name *name) {
    const struct prepared_entry *e = s->parsing.ended ? meaning_find(r, s, name) : NULL;
    return e && parsing_is_unsure(s, &e->digest);
}

/* Puts in force what literals are read under in `to`, where `from` is in force, or may be. */
static bool switch_to(struct relay *r, struct server *s, const struct settings *from,
                      const struct settings *to, enum switching how) {
    char text[SWITCH_BYTES];
    uint32_t n = settings_switch(&r->store, from, to, how, text, sizeof text);
    if (n >= sizeof text) return false;
    if (n) send_run(r, s, text, n);
    return true;
}

/* What is sent between these two is read under these settings.  False: it cannot be. */
static bool begin_under(struct relay *r, struct server *s, const struct settings *under, bool *unsure) {
    *unsure = session_settings_uncertain(s);
    return switch_to(r, s, s->client->settings, under, *unsure ? SWITCH_KEEPING : SWITCH_KNOWN);
}

static void end_under(struct relay *r, struct server *s, const struct settings *under, bool unsure) {
    if (unsure) switch_to(r, s, s->client->settings, under, SWITCH_BACK);
    else switch_to(r, s, under, s->client->settings, SWITCH_KNOWN);
}

/* Ends a transaction, by words alone: under no settings it means anything else.  What is sent for a Parse of
 * it must not need a transaction that has not failed. */
static bool only_ends(const unsigned char *text, uint32_t bytes) {
    static const char *const words[] = {"rollback", "abort", "commit", "end"};
    struct lexer l = {.at = text, .end = text + strnlen((const char *)text, bytes)};
    struct token t;
    lexer_next(&l, &t);
    size_t i = 0;
    while (i < sizeof words / sizeof *words && !token_is_word(&t, words[i])) i++;
    if (i == sizeof words / sizeof *words) return false;
    for (const unsigned char *p = text; p < l.end; p++)
        if (!isalnum(*p) && !strchr("_; \t\r\n", *p)) return false;
    return true;
}

/* The number of the statement on this server, where it is prepared if need be.  NO_NUMBER: it cannot be
 * parsed as it was once, and its client will hear of that. */
uint32_t meaning_ensure(struct relay *r, struct server *s, const struct name *name) {
    const struct statement *st = name->statement;
    const struct prepared_entry *e = meaning_find(r, s, name);
    if (e) return e->number;
    bool failed = s->transaction == 'E' && !s->requests.count; /* nothing will be parsed */
    bool unsure = false, as_it_is = failed || only_ends(st->body, st->bytes);
    if (!as_it_is && (st->floating || !begin_under(r, s, st->under, &unsure))) {
        replan_refuse(s);
        return NO_NUMBER;
    }
    struct digest key = key_here(r, s, st);
    uint32_t number = send_statement(r, s, st, &key, clock_us(), 'P' | INTERNAL);
    if (!as_it_is) end_under(r, s, st->under, unsure);
    return number;
}

/* Parses the client's unnamed statement once more.  False: not as it was. */
bool meaning_parse_unnamed(struct relay *r, struct client *c) {
    struct server *s = c->server;
    const struct names *n = c->names;
    bool unsure = false, as_it_is = only_ends(n->unnamed, n->unnamed_bytes);
    if (!as_it_is && !begin_under(r, s, n->unnamed_under, &unsure)) return false;
    struct digest unnamed = parsing_of_unnamed(n->unnamed_number);
    send_parse(r, s, "", 1, n->unnamed, n->unnamed_bytes, 'P' | INTERNAL, &unnamed);
    if (!as_it_is) end_under(r, s, n->unnamed_under, unsure);
    return true;
}
