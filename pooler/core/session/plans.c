/* Plans that a server keeps are not for clients under whose settings they would have been others.
 *
 * Theory.  What stands in the body of a function PostgreSQL reads and plans once in each server, under the
 * settings of who calls it first there, and so do statements that are prepared.  Of those
 * statements/parse_settings.c sees to it that who shares one has the same settings, but for the custom ones:
 * that each tenant has its own is usual, and reading them costs no plan its truth, unless a function reads
 * one that says of itself to be IMMUTABLE: then the plan has the value.  So a server that goes to another
 * client is sent DISCARD PLANS, with the SETs,
 *
 *   when something ran there that may have left such a value in a plan (EFFECT_FOLDS);
 *   when literals were read under other settings there than those of the client, and there are functions at
 *   all. */
#include "session/plans.h"

#include "catalog/database.h"
#include "relay/internal.h"
#include "session/session.h"
#include "sql/digest.h"
#include "sql/effects.h"
#include "tables/layout.h"
#include "tables/states.h"

static const struct digest MIXED = {0, 1}; /* literals were read under more than one set there */

static struct slot_row *row_of(const struct relay *r, const struct server *s) {
    return &r->t->slots[s->slot];
}

/* What a client is about to run, with these effect flags, may leave something in plans. */
void plans_note(struct relay *r, struct client *c, uint32_t effect_flags) {
    const uint32_t unseen = PIN_NAMELESS | EFFECT_UNSURE;
    struct slot_row *row = row_of(r, c->server);
    if (effect_flags & (EFFECT_LITERAL | EFFECT_RESET_ALL)) row->planned_under = MIXED;
    if (!(effect_flags & (EFFECT_FOLDS | unseen))) return;
    const struct profile *p = session_profile(r, c);
    if (effect_flags & EFFECT_FOLDS || p->folds || !p->catalog.known)
        row->folded_by = r->t->clients[c->row].id;
}

/* The settings of a client have changed while it has a server. */
void plans_follow(struct relay *r, const struct client *c) {
    struct slot_row *row = row_of(r, c->server);
    if (!digest_none(row->planned_under) && !digest_same(row->planned_under, c->settings->literals))
        row->planned_under = MIXED;
}

/* Whether plans are to be discarded before anything of the client that has got the server runs. */
bool plans_foreign(struct relay *r, const struct server *s) {
    const struct slot_row *row = row_of(r, s);
    if (s->session_state == SESSION_OFF || s->mode == MODE_SESSION) return false;
    if (row->folded_by && row->folded_by != r->t->clients[s->client->row].id) return true;
    if (digest_none(row->planned_under) || digest_same(row->planned_under, s->client->settings->literals))
        return false;
    const struct profile *p = session_profile(r, s->client);
    return !p->catalog.known || p->catalog.bodies;
}

/* The server has the settings of its client.  `discarded`: and no plans of before; else there were none that
 * are not its. */
void plans_begin(const struct relay *r, const struct server *s, bool discarded) {
    struct slot_row *row = row_of(r, s);
    if (discarded) row->folded_by = 0;
    row->planned_under = s->client->settings->literals;
}

/* It has none. */
void plans_forget(struct slot_row *row) {
    row->folded_by = 0;
    row->planned_under = (struct digest){0};
}
