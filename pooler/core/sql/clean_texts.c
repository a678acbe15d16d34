/* Texts that were scanned before and leave nothing behind: they need not be scanned again.
 *
 * Theory.  What the scanner says depends on the text, on how backslashes are read, and on what is known of
 * the database (the serial of its profile, which no two databases of a worker have in common).  Applications
 * send the same few texts again and again, most of them clean.  Those are kept as they are, and compared
 * whole: no hash decides what a text means.  Only clean scans are kept, so that nothing but one bit goes with
 * a text.
 *
 * The simple protocol has its values in the text, so that no two are the same.  The scanner does not look
 * into literals, but for those that say names of settings or are texts of SQL, and says where it did
 * (reads_literals).  So a text is also kept without the digits of its numbers and the contents of its
 * strings, and stands for all that differ in nothing else.  Where strings end must be beyond doubt for that:
 * a text with a comment, a quoted name, a backslash, a dollar quote, a prefix of a string, or a byte beyond
 * ASCII is kept as it is, or not at all.
 *
 * A table of fixed places, one for each value of a part of the hash.  A text is kept when it comes for the
 * second time: texts that never come again would push out those that do.  A kept text loses its place only to
 * one that comes while it has not been used since another asked for the place. */
#include "sql/clean_texts.h"

#include <stdlib.h>
#include <string.h>

#include "sql/effects.h"
#include "sql/lexer.h"
#include "sql/scan.h"

/* Eight bytes at a time.  Nothing depends on it but the place. */
static uint64_t hash_of(uint64_t key, const unsigned char *text, uint32_t bytes) {
    uint64_t hash = key ^ bytes, part = 0;
    for (; bytes >= 8; text += 8, bytes -= 8) {
        memcpy(&part, text, 8);
        hash = (hash ^ part) * 0x9e3779b97f4a7c15ull;
        hash ^= hash >> 29;
    }
    part = 0;
    memcpy(&part, text, bytes);
    hash = (hash ^ part) * 0x9e3779b97f4a7c15ull;
    return hash ^ hash >> 29;
}

static struct clean_text *place_of(struct clean_texts *c, uint64_t hash) {
    return &c->places[(hash >> 32) & (CLEAN_TEXTS - 1)];
}

static bool is_same(const struct clean_text *p, uint64_t hash, const struct readable *in, bool masked) {
    return p->hash == hash && p->bytes == in->bytes && p->serial == in->serial
        && p->backslash == in->backslash && p->masked == masked;
}

static struct clean_text *find(struct clean_texts *c, uint64_t key, const struct readable *in, bool masked) {
    uint64_t hash = hash_of(key, in->text, in->bytes);
    struct clean_text *p = place_of(c, hash);
    bool found = p->text && is_same(p, hash, in, masked) && memcmp(p->text, in->text, in->bytes) == 0;
    return found ? p : NULL;
}

bool clean_texts_find(struct clean_texts *c, uint64_t key, const struct readable *in, struct scan *out) {
    unsigned char text[CLEAN_TEXT_BYTES_MAX];
    if (in->bytes > sizeof text) return false;
    struct clean_text *p = find(c, key, in, false);
    struct readable masked = *in;
    if (!p && (masked.bytes = clean_texts_mask(in->text, in->bytes, text))) {
        masked.text = text;
        p = find(c, key, &masked, true);
    }
    if (!p) return false;
    p->used = true;
    out->effect_flags = out->ends = out->names_bytes = out->unknown_count = 0;
    out->work = 0;
    out->foreign = out->reads_literals = false;
    out->calls = p->calls;
    return true;
}

static void keep(struct clean_texts *c, uint64_t key, const struct readable *in, bool masked, bool calls) {
    uint64_t hash = hash_of(key, in->text, in->bytes);
    struct clean_text *p = place_of(c, hash);
    if (p->text && p->used) {
        p->used = false;
        return;
    }
    bool again = is_same(p, hash, in, masked);
    free(p->text);
    *p = (struct clean_text){.hash = hash,
                             .bytes = in->bytes,
                             .serial = in->serial,
                             .backslash = in->backslash,
                             .masked = masked,
                             .calls = calls};
    if (!again || !(p->text = malloc(in->bytes + 1))) return; /* without memory it is scanned each time */
    memcpy(p->text, in->text, in->bytes);
}

void clean_texts_keep(struct clean_texts *c, uint64_t key, const struct readable *in,
                      const struct scan *scan) {
    unsigned char text[CLEAN_TEXT_BYTES_MAX];
    if (in->bytes > sizeof text || scan->effect_flags || scan->ends || scan->names_bytes
        || scan->unknown_count || scan->foreign)
        return;
    struct readable masked = *in;
    if (!scan->reads_literals && (masked.bytes = clean_texts_mask(in->text, in->bytes, text))) {
        masked.text = text;
        keep(c, key, &masked, true, scan->calls);
    } else {
        keep(c, key, in, false, scan->calls);
    }
}

/* ---- without literals ---------------------------------------------------------------------------- */

/* What is looked at: all else stays as it is. */
static const bool looked_at[256] = {
    [0] = true,   ['"'] = true,  ['$'] = true,         ['\''] = true,          ['-'] = true,
    ['/'] = true, ['\\'] = true, ['0' ... '9'] = true, [0x80 ... 0xff] = true,
};

static bool is_digit(unsigned char c) { return (unsigned)(c - '0') < 10; }

/* What makes it uncertain where strings begin and end. */
static bool is_doubtful(const unsigned char *p, const unsigned char *end) {
    unsigned char c = *p, next = p + 1 < end ? p[1] : ' ';
    return !c || c >= 0x80 || c == '\\' || c == '"' || (c == '-' && next == '-') || (c == '/' && next == '*')
        || (c == '$' && !is_digit(next));
}

/* Behind the string that begins at p; NULL: it has no end, is not what it seems, or may be the name of a
 * setting, which counts where something else sets one. */
static const unsigned char *behind_string(const unsigned char *p, const unsigned char *end) {
    const unsigned char *from = ++p;
    for (; p < end && *p != '\''; p++)
        if (!*p || *p >= 0x80 || *p == '\\') return NULL;
    return p == end || scan_names_a_setting(from, (uint32_t)(p - from)) ? NULL : p + 1;
}

uint32_t clean_texts_mask(const unsigned char *text, uint32_t bytes, unsigned char *out) {
    const unsigned char *p = text, *end = text + bytes;
    uint32_t n = 0;
    bool found = false;
    while (p < end) {
        while (p < end && !looked_at[*p]) out[n++] = *p++;
        if (p == end) break;
        unsigned char before = p > text ? p[-1] : ' ';
        if (*p == '\'') {
            if (in_word(before) || before == '&' || !(p = behind_string(p, end))) return 0;
            out[n++] = '\'';
            out[n++] = '\'';
            found = true;
        } else if (is_digit(*p) && !in_word(before)) {
            const unsigned char *behind = p + 1;
            while (behind < end && is_digit(*behind)) behind++;
            bool number = behind == end || !in_word(*behind);
            out[n++] = number ? '0' : *p++;
            if (number) p = behind;
            found |= number;
        } else {
            if (is_doubtful(p, end)) return 0;
            out[n++] = *p++;
        }
    }
    return found ? n : 0;
}
