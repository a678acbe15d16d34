/* Rows of the catalogs.  Their columns are described in worker/catalog_queries.py. */
#define _GNU_SOURCE
#include "catalog/rows.h"

#include <stdlib.h>
#include <string.h>

#include "catalog/body.h"
#include "catalog/builtin.h"
#include "catalog/graph.h"
#include "catalog/read.h"
#include "catalog/tree.h"
#include "sql/catalog_names.h"
#include "sql/effects.h"
#include "sql/lexer.h"

#define PARTS_MAX 64 /* _PARTS in worker/catalog_queries.py: an expression that has so many may go on */

enum field { F_OID, F_XMIN, F_OWNERS, F_KIND, F_NAME, F_EXTRA, F_REFS, F_TREE, F_BODY };
struct field_text {
    const unsigned char *p;
    uint32_t n;
};

static uint32_t number(struct field_text f) {
    uint64_t n = 0;
    for (uint32_t i = 0; i < f.n && i < 10 && (unsigned)(f.p[i] - '0') < 10; i++)
        n = n * 10 + (uint64_t)(f.p[i] - '0');
    return (uint32_t)n;
}

static void copy(struct field_text f, char *out, uint32_t space) {
    uint32_t n = f.n < space ? f.n : space - 1;
    if (n) memcpy(out, f.p, n);
    out[n] = '\0';
}

static bool is_text(struct field_text f, const char *text) {
    return f.n == strlen(text) && memcmp(f.p, text, f.n) == 0;
}

/* ---- the question of a look ----------------------------------------------------------------------- */

static void take_sum(struct catalog_reader *c, const struct field_text *f) {
    char text[32];
    if (is_text(f[0], "i")) copy(f[2], c->next_identity, sizeof c->next_identity);
    if (is_text(f[0], "v")) {
        copy(f[2], text, sizeof text);
        c->server_version = (uint32_t)strtoul(text, NULL, 10);
    }
    if (!is_text(f[0], "c")) return;
    uint32_t class = number(f[1]);
    if (class >= CATALOG_CLASSES) return;
    size_t n = strlen(c->next_sums[class]); /* a class may be of two catalogs */
    copy(f[2], c->next_sums[class] + n, (uint32_t)(sizeof c->next_sums[class] - n));
}

/* ---- objects ------------------------------------------------------------------------------------- */

static void take_owners(struct catalog_reader *c, struct field_text f) {
    struct field_text one = {.p = f.p};
    for (uint32_t i = 0; i <= f.n; i++) {
        if (i < f.n && f.p[i] != ' ') {
            one.n++;
            continue;
        }
        if (is_text(one, "E")) draft_owner(&c->graph, &c->draft, SYMBOL_EVERYTHING);
        else if (is_text(one, "D")) draft_owner(&c->graph, &c->draft, SYMBOL_DDL);
        else if (number(one)) draft_owner(&c->graph, &c->draft, symbol_of_oid(number(one)));
        one = (struct field_text){.p = f.p + i + 1};
    }
}

/* A name in the encoding of a stranger is not known: it stays unknown. */
static bool readable(const struct catalog_reader *c, struct field_text f) {
    for (uint32_t i = 0; i < f.n && !c->utf8; i++)
        if (f.p[i] & 0x80) return false;
    return f.n > 0;
}

static void take_name(struct catalog_reader *c, const struct field_text *f, bool harmless) {
    static const char letters[] = "frto";                              /* in the order of enum catalog_kind */
    bool function = f[F_KIND].n == 1 && strchr("isv", f[F_KIND].p[0]); /* its volatility */
    const char *letter = function ? letters : f[F_KIND].n == 1 ? strchr(letters, f[F_KIND].p[0]) : NULL;
    if (!letter || !readable(c, f[F_NAME])) return;
    uint64_t hash = lexer_hash(c->graph.key, f[F_NAME].p, f[F_NAME].n);
    draft_name(&c->graph, &c->draft, (enum catalog_kind)(letter - letters), hash, !harmless);
}

static bool holds(struct field_text f, const char *text) {
    return f.n && memmem(f.p, f.n, text, strlen(text));
}

/* An expression as PostgreSQL keeps it reads a setting, by the numbers of both current_setting(), or who the
 * session is. (The same of texts: WORD_READS in body.c.) */
static bool tree_reads(struct field_text f) {
    return holds(f, ":funcid 2077 ") || holds(f, ":funcid 3294 ") || holds(f, "{SQLVALUEFUNCTION");
}

/* Languages whose functions keep what they have planned; of those in C it is believed what they say of
 * themselves. */
static void take_body(struct catalog_reader *c, const struct field_text *f) {
    bool native = f[F_EXTRA].n > 2
        && (memcmp(f[F_EXTRA].p, "c ", 2) == 0 || memcmp(f[F_EXTRA].p, "internal ", 9) == 0);
    if (native) return;
    bool known = f[F_EXTRA].n > 4
        && (memcmp(f[F_EXTRA].p, "sql ", 4) == 0 || memcmp(f[F_EXTRA].p, "plpgsql ", 8) == 0);
    c->draft.body = is_text(f[F_KIND], "i") ? BODY_IMMUTABLE : BODY_TEXT;
    if (!known || !f[F_BODY].p) c->draft.effect_flags |= EFFECT_READS;
}

/* It is the handler of a language, by its last type (pg_type.dat: language_handler has 2280).  `extension`:
 * its own, which has the language's name. */
static bool keeps_variables(struct field_text refs, const char *extension, const char *trusted) {
    static const char HANDLER[] = " 2280";
    const uint32_t n = sizeof HANDLER - 1;
    return refs.n >= n && memcmp(refs.p + refs.n - n, HANDLER, n) == 0 && strcmp(extension, "plpgsql") != 0
        && !catalog_trusts(trusted, extension);
}

/* What needs no reading of a body, or forbids it. */
static uint32_t function_effect_flags(struct catalog_reader *c, const struct field_text *f, bool whole,
                                      const char *trusted) {
    char extra[256], name[NAME_BYTES_MAX + 1];
    copy(f[F_EXTRA], extra, sizeof extra);
    copy(f[F_NAME], name, sizeof name);
    char *rest = strchr(extra, ' ');
    if (!rest || !whole) return CATALOG_UNKNOWN;
    *rest++ = '\0';
    if (strcmp(extra, "c") == 0)
        return catalog_extension_effect_flags(rest, name, trusted)
            | (keeps_variables(f[F_REFS], rest, trusted) ? PIN_INTERPRETER : 0);
    /* citext has some */
    if (strcmp(extra, "internal") == 0) return catalog_extension_effect_flags(rest, name, "");
    if (strcmp(extra, "sql") != 0 && strcmp(extra, "plpgsql") != 0)
        return CATALOG_UNKNOWN | (catalog_trusts(trusted, extra) ? 0 : PIN_INTERPRETER);
    if (!f[F_BODY].p) return CATALOG_UNKNOWN; /* too long */
    body_scan(&c->graph, &c->draft, f[F_BODY].p, f[F_BODY].n, c->utf8, extra[0] == 's', &c->customs);
    return 0;
}

static uint32_t own_effect_flags(struct catalog_reader *c, const struct field_text *f, bool whole,
                                 const char *trusted) {
    char text[NAME_BYTES_MAX + 2];
    copy(f[F_NAME], text, sizeof text);
    switch (c->class) {
    case CLASS_BUILTIN_FUNCTION:
        return catalog_builtin_effect_flags(text, is_text(f[F_EXTRA], "v"), c->server_version);
    case CLASS_BUILTIN_RELATION:
        return strcmp(text, "pg_settings") == 0 ? ASK_SETTINGS : 0; /* UPDATE is a SET */
    case CLASS_FUNCTION: return 0;
    case CLASS_RELATION:
        copy(f[F_EXTRA], text, sizeof text);
        return text[0] == 'F' ? catalog_extension_effect_flags(text + 1, "", trusted) : 0;
    default: return whole ? 0 : CATALOG_UNKNOWN;
    }
}

static void take_object(struct catalog_reader *c, const struct field_text *f, bool whole,
                        const char *trusted) {
    struct draft *d = &c->draft;
    uint32_t oid = number(f[F_OID]);
    bool next_part = d->open && d->oid == oid && d->class == c->class;
    if (!next_part) {
        catalog_rows_end(c);
        draft_begin(d, c->class, oid, number(f[F_XMIN]));
        c->rows++;
        c->last = oid;
        d->effect_flags = own_effect_flags(c, f, whole, trusted);
        take_owners(c, f[F_OWNERS]);
        take_name(c, f, c->class <= CLASS_BUILTIN_OPERATOR && !d->effect_flags);
        if (c->class == CLASS_FUNCTION) d->effect_flags |= function_effect_flags(c, f, whole, trusted);
        if (c->class == CLASS_FUNCTION) take_body(c, f);
        if (c->class >= CLASS_BUILTIN_TYPE) /* what others say of it counts for its name */
            draft_reference(&c->graph, d, symbol_of_oid(oid));
        tree_scan_oids(&c->graph, d, f[F_REFS].p, f[F_REFS].n);
    }
    if (!whole || ++d->parts == PARTS_MAX) d->effect_flags |= CATALOG_UNKNOWN;
    if (tree_reads(f[F_TREE])) d->effect_flags |= EFFECT_READS;
    tree_scan(&c->graph, d, f[F_TREE].p, f[F_TREE].n, c->class == CLASS_DEFAULT, &c->customs);
}

static void take_listed(struct catalog_reader *c, const struct field_text *f) {
    uint32_t oid = number(f[F_OID]);
    struct source *s = graph_find(&c->graph, c->class, oid);
    c->rows++;
    c->last = oid;
    if (s && s->xmin == number(f[F_XMIN]) && c->complete) {
        s->seen = true;
        return;
    }
    if (c->wanted_count == c->wanted_space) {
        uint32_t space = c->wanted_space ? 2 * c->wanted_space : 256;
        uint32_t *larger = realloc(c->wanted, space * sizeof *larger);
        if (!larger) {
            c->graph.starved = true;
            return;
        }
        c->wanted = larger;
        c->wanted_space = space;
    }
    c->wanted[c->wanted_count++] = oid;
}

void catalog_rows_end(struct catalog_reader *c) {
    if (c->draft.open) graph_put(&c->graph, &c->draft);
}

void catalog_rows_take(struct catalog_reader *c, const unsigned char *body, uint32_t n, bool whole,
                       const char *trusted) {
    struct field_text f[CATALOG_FIELDS] = {0};
    int count = n >= 2 ? body[0] << 8 | body[1] : 0;
    uint32_t at = 2;
    for (int i = 0; i < count && i < CATALOG_FIELDS && at + 4 <= n; i++) {
        uint32_t bytes = (uint32_t)body[at] << 24 | (uint32_t)body[at + 1] << 16 | (uint32_t)body[at + 2] << 8
            | body[at + 3];
        at += 4;
        if (bytes == UINT32_MAX) continue; /* NULL */
        if (bytes > n - at) {
            whole = false;
            break;
        }
        f[i] = (struct field_text){body + at, bytes};
        at += bytes;
    }
    if (!f[0].n) return;
    if (is_text(f[0], "e")) c->utf8 = is_text(f[1], "UTF8");
    else if (is_text(f[0], "d")) c->took_us = number(f[1]) + 1u;
    else if (c->phase == READING_SUMS) take_sum(c, f);
    else if (c->phase == READING_LIST) take_listed(c, f);
    else if (c->phase == READING_PAGES || c->phase == READING_CHANGED) take_object(c, f, whole, trusted);
}
