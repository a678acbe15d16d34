/* Questions of logins and their answers: see questions.h. */
#include "login/questions.h"

#include <stdio.h>
#include <stdlib.h>
#include <string.h>

#include "io/buffer.h"
#include "io/connection.h"
#include "io/sqlstate.h"
#include "login/admission.h"
#include "login/login_queue.h"
#include "login/policy.h"
#include "relay/internal.h"
#include "tables/states.h"

/* ---- fields ------------------------------------------------------------------------------------ */

static bool put(struct bytes *fields, const void *bytes, uint32_t n) {
    return bytes_add(fields, &n, sizeof n) && (!n || bytes_add(fields, bytes, n));
}

static bool put_text(struct bytes *fields, const char *text) {
    return put(fields, text, (uint32_t)strlen(text));
}

static bool put_number(struct bytes *fields, int64_t number) {
    char text[24];
    snprintf(text, sizeof text, "%lld", (long long)number);
    return put_text(fields, text);
}

struct field {
    const char *bytes;
    uint32_t n;
};

/* The next field, empty where there is none. */
static struct field take(const unsigned char **at, uint32_t *left) {
    struct field f = {"", 0};
    uint32_t n;
    if (*left < sizeof n) return f;
    memcpy(&n, *at, sizeof n);
    if (n > *left - sizeof n) return f;
    f = (struct field){(const char *)*at + sizeof n, n};
    *at += sizeof n + n;
    *left -= (uint32_t)sizeof n + n;
    return f;
}

static void text_of(const struct field *f, char *out, uint32_t space) {
    snprintf(out, space, "%.*s", (int)f->n, f->bytes);
}

/* ---- asking ------------------------------------------------------------------------------------ */

/* The fields become the event's; `whole`: there was memory for all of them. */
static void ask(struct relay *r, struct login *l, enum login_question question, struct bytes *fields,
                bool whole) {
    if (!whole) {
        bytes_free(fields);
        login_without_memory(r, l);
        return;
    }
    if (l->state != LOGIN_ASKING) login_move(l, LOGIN_ASKING); /* one question after another */
    l->question = (uint8_t)question;
    l->waits_since = 0;
    if (question != ASKS_PREPARED) login_queue_suspend(r, l); /* which waits for us alone */
    relay_emit(r,
               &(struct event){.type = EVENT_LOGIN_ASKS,
                               .a = l->row,
                               .b = question,
                               .id = l->id,
                               .data = fields->data,
                               .data_bytes = bytes_pending(fields)});
}

void question_secret(struct relay *r, struct login *l) {
    struct bytes f = {0};
    bool whole = put_text(&f, l->packet.user) && put_text(&f, l->packet.database);
    ask(r, l, ASKS_SECRET, &f, whole);
}

static bool put_rule(struct bytes *f, const struct login *l) {
    if (!put_number(f, l->policy->settings.serial)) return false;
    return l->rule ? put_number(f, l->rule->number) : put_text(f, "");
}

void question_password(struct relay *r, struct login *l, enum login_question question,
                       const unsigned char *password, uint32_t n) {
    struct bytes f = {0};
    const char *address = l->is_unix ? "" : r->t->clients[l->row].where.addr;
    bool whole = question == ASKS_PREPARED
        ? put(&f, password, n)
        : put_text(&f, l->packet.user) && put(&f, password, n) && put_rule(&f, l) && put_text(&f, address);
    ask(r, l, question, &f, whole);
}

void question_peer(struct relay *r, struct login *l) {
    struct bytes f = {0};
    bool whole = put_text(&f, l->packet.user) && put_text(&f, l->secret ? "1" : "") && put_rule(&f, l)
        && (l->is_unix ? put_number(&f, l->peer_uid) : put_text(&f, ""));
    ask(r, l, ASKS_PEER, &f, whole);
}

void question_map(struct relay *r, struct login *l, const char *common_name) {
    struct bytes f = {0};
    bool whole = put_text(&f, l->packet.user) && put_text(&f, l->secret ? "1" : "") && put_rule(&f, l)
        && put_text(&f, common_name);
    ask(r, l, ASKS_MAP, &f, whole);
}

void question_pool(struct relay *r, struct login *l) {
    struct bytes f = {0};
    bool whole = put_text(&f, l->packet.database) && put_text(&f, login_user(l)) && put_text(&f, l->where);
    ask(r, l, ASKS_POOL, &f, whole);
}

void question_left(struct relay *r, struct login *l) {
    if (l->state != LOGIN_ASKING || l->question == ASKS_NOTHING) return;
    relay_emit(r, &(struct event){.type = EVENT_LOGIN_LEFT, .a = l->row, .id = l->id});
}

/* ---- answers ----------------------------------------------------------------------------------- */

static void take_secret(struct relay *r, struct login *l, const unsigned char *at, uint32_t left) {
    char name[USER_NAME_BYTES];
    struct field user = take(&at, &left), has = take(&at, &left), raw = take(&at, &left),
                 prepared = take(&at, &left);
    text_of(&user, name, sizeof name);
    if (user.n >= sizeof name) {
        login_config_error(r, l, "auth_query has returned a name that is too long");
        return;
    }
    if (!proof_rename(r, l, name)) return;
    if (!has.n) raw = prepared = (struct field){"", 0}; /* it exists, and nothing lets it in */
    l->secret = secret_new(raw.bytes, raw.n, prepared.bytes, prepared.n);
    l->secret_is_own = true;
    if (l->secret) proof_with_secret(r, l);
    else login_without_memory(r, l);
}

static void no_secret(struct relay *r, struct login *l) {
    if (l->method == METHOD_TRUST) { /* nothing is proven there */
        login_refuse(r, l, NOT_PERMITTED, "no such user", NULL);
        return;
    }
    proof_unknown(r, l); /* told as late, and in the same words, as a wrong password */
    proof_with_secret(r, l);
}

static void go_on(struct relay *r, struct login *l, enum login_question question, bool yes,
                  const unsigned char *at, uint32_t left) {
    struct field f;
    switch (question) {
    case ASKS_SECRET:
        l->waits_for_server = false;
        if (yes) take_secret(r, l, at, left);
        else no_secret(r, l);
        break;
    case ASKS_LDAP:
    case ASKS_PAM: proof_outside(r, l, yes); break;
    case ASKS_PREPARED:
        f = take(&at, &left);
        proof_verify(r, l, f.bytes, f.n);
        break;
    case ASKS_PEER:
    case ASKS_MAP:
        if (yes) proof_done(r, l);
        else login_refuse(r, l, NOT_PERMITTED, "login rejected", NULL);
        break;
    case ASKS_POOL: admission_begin(r, l); break;
    case ASKS_NOTHING: break;
    }
}

/* A login that has ended meanwhile needs no answer. */
void question_answered(struct relay *r, const struct command *k) {
    struct login *l = k->a >= 0 && k->a < r->t->h->sizes.clients ? r->logins->by_row[k->a] : NULL;
    const unsigned char *at = k->data;
    uint32_t left = k->data_bytes;
    if (!l || l->id != k->id || l->state != LOGIN_ASKING) return;
    enum login_question question = l->question;
    l->question = ASKS_NOTHING;
    if (k->b == ANSWER_LEFT) {
        login_hang_up(r, l);
        return;
    }
    if (question != ASKS_POOL) login_queue_resume(r, l);
    if (k->b == ANSWER_FAULT) {
        struct field sqlstate = take(&at, &left), text = take(&at, &left), note = take(&at, &left);
        char code[6], said[FAULT_BYTES], why[FAULT_BYTES];
        text_of(&sqlstate, code, sizeof code);
        text_of(&text, said, sizeof said);
        text_of(&note, why, sizeof why);
        login_refuse(r, l, code, said, note.n ? why : NULL);
        return;
    }
    go_on(r, l, question, k->b == ANSWER_YES, at, left);
    if (r->clients[k->a]) return;
    l = r->logins->by_row[k->a];
    if (l && l->id == k->id) conn_ready(&r->loop, &l->client->io);
}

/* ---- passing on -------------------------------------------------------------------------------- */

static const char *application_name(const struct relay *r, const struct login *l) {
    for (int i = 0; i < r->store.tracked.count; i++)
        if (strcmp(r->store.tracked.names[i], "application_name") == 0 && l->wanted.tracked[i])
            return l->wanted.tracked[i];
    return "";
}

static bool is_ignored(const struct login *l, const char *name) {
    char lower[64];
    size_t n = strlen(name);
    if (n >= sizeof lower) return false;
    for (size_t i = 0; i <= n; i++)
        lower[i] = (char)(name[i] >= 'A' && name[i] <= 'Z' ? name[i] + 32 : name[i]);
    return names_get(&l->policy->ignored, lower) != NULL;
}

/* What the server of a replication client is told besides user and database, less what is ignored. */
static bool put_startup(struct bytes *f, const struct login *l) {
    const struct packet *p = &l->packet;
    bool logical = p->replication == REPLICATION_LOGICAL;
    bool good = put_text(f, "replication") && put_text(f, logical ? "database" : "true");
    if (good && p->options && p->options[0] && !is_ignored(l, "options"))
        good = put_text(f, "options") && put_text(f, p->options);
    for (uint32_t i = 0; good && i < p->setting_count; i++)
        if (!is_ignored(l, p->settings[i].name))
            good = put_text(f, p->settings[i].name) && put_text(f, p->settings[i].value);
    return good;
}

static bool put_passed(struct relay *r, struct bytes *f, const struct login *l, enum login_pass how) {
    const struct packet *p = &l->packet;
    if (how == PASS_CANCEL) return put_number(f, p->cancel_pid) && put(f, p->cancel_key, p->cancel_key_bytes);
    bool good = put_text(f, login_user(l)) && put_text(f, p->database) && put_text(f, l->own_user ? "1" : "")
        && put_number(f, p->minor) && put_text(f, application_name(r, l));
    return good && (how == PASS_CONSOLE || put_startup(f, l));
}

/* From here on it is Python's.  The first field is what was read behind the login. */
void question_pass(struct relay *r, struct login *l, enum login_pass how) {
    struct conn *io = &l->client->io;
    struct bytes f = {0};
    uint32_t rest = bytes_pending(&io->stash);
    bool whole = put(&f, rest ? io->stash.data + io->stash.start : NULL, rest) && put_text(&f, l->where)
        && put_number(&f, (int64_t)l->started_at) && put_passed(r, &f, l, how);
    if (!whole) {
        bytes_free(&f);
        login_without_memory(r, l);
        return;
    }
    l->proven = true;
    login_queue_leave(r, l);
    login_move(l, LOGIN_OVER);
    conn_uncork(&r->loop, io);
    conn_disarm(&r->loop, io);
    relay_emit(r,
               &(struct event){.type = EVENT_LOGIN_PASSED,
                               .a = l->row,
                               .b = io->fd,
                               .is_unix = l->is_unix,
                               .how = (uint8_t)how,
                               .id = l->id,
                               .tls = io->tls,
                               .data = f.data,
                               .data_bytes = bytes_pending(&f)});
    io->fd = -1;
    io->tls = NULL;
    conn_bury(&r->loop, io);
    login_free(r, l);
}
