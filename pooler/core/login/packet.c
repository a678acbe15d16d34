/* Packets that open a connection, taken apart; what their settings and options come to (see packet.h). */
#include "login/packet.h"

#include <stdarg.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

#include "io/buffer.h"
#include "io/sqlstate.h"
#include "login/names.h"

enum { CODE_CANCEL = 80877102, CODE_SSL, CODE_GSS };

#define BAD_LAYOUT "invalid startup packet layout: expected terminator as last byte"
#define BAD_OPTIONS \
    "unsupported options startup parameter: only '-c config=val' and '--config=val' are allowed"

#define SPACES " \t\n\r\v\f"

/* ---- faults ---- */

/* A text that was cut ends with a whole character of UTF-8. */
static void end_whole(char *text, uint32_t n) {
    uint32_t behind = 0; /* bytes behind the first of the last character */
    while (behind < 3 && behind < n && ((unsigned char)text[n - 1 - behind] & 0xc0) == 0x80) behind++;
    if (behind == n) return;
    unsigned char first = (unsigned char)text[n - 1 - behind];
    uint32_t wanted = first >= 0xf8 ? 0 : first >= 0xf0 ? 3 : first >= 0xe0 ? 2 : first >= 0xc0 ? 1 : 0;
    if (behind < wanted) text[n - 1 - behind] = 0;
}

__attribute__((format(printf, 3, 4))) static bool refuse(struct fault *f, const char *sqlstate,
                                                         const char *format, ...) {
    va_list arguments;
    va_start(arguments, format);
    int n = vsnprintf(f->text, sizeof(f->text), format, arguments);
    va_end(arguments);
    if (n >= (int)sizeof(f->text)) end_whole(f->text, sizeof(f->text) - 1);
    memcpy(f->sqlstate, sqlstate, sizeof(f->sqlstate));
    return false;
}

#define REFUSE(f, ...) refuse(f, PROTOCOL_VIOLATION, __VA_ARGS__)

static bool no_memory(struct fault *f) { return refuse(f, OUT_OF_MEMORY, "out of memory"); }

static bool bad_header(struct fault *f, const unsigned char *bytes, uint32_t n) {
    char digits[2 * STARTUP_BYTES_MIN + 1] = "";
    for (uint32_t i = 0; i < n && i < STARTUP_BYTES_MIN; i++) sprintf(digits + 2 * i, "%02x", bytes[i]);
    return REFUSE(f, "bad packet header: '%s'", digits);
}

/* ---- words ---- */

static char lower(char c) { return c >= 'A' && c <= 'Z' ? (char)(c + 'a' - 'A') : c; }

static void make_lower(char *text) {
    for (; *text; text++) *text = lower(*text);
}

/* Whatever the case of letters. */
static bool is_word(const char *text, const char *word) {
    while (*text && lower(*text) == lower(*word)) text++, word++;
    return !*text && !*word;
}

/* The list ends with NULL. */
static bool is_one_of(const char *text, const char *const *words) {
    while (*words && !is_word(text, *words)) words++;
    return *words;
}

/* How PostgreSQL spells truth values; it takes unambiguous beginnings too, which nobody sends. */
#define TRUE_WORDS "true", "on", "yes", "1", "t", "y"
#define FALSE_WORDS "false", "off", "no", "0", "f", "n"
static const char *const true_words[] = {TRUE_WORDS, NULL};
static const char *const false_words[] = {FALSE_WORDS, NULL};
static const char *const truth_words[] = {TRUE_WORDS, FALSE_WORDS, NULL};
static const char *const isolation_words[] = {"serializable", "repeatable read", "read committed",
                                              "read uncommitted", NULL};

/* The role of a session must not be chosen in a startup packet, whatever the configuration tracks. */
static const char *const never_tracked[] = {"role", "session_authorization", "is_superuser", NULL};

/* What every transaction begins with anew: PostgreSQL takes these in a startup packet, and nothing comes of
 * it. */
static const struct {
    const char *name, *const *words;
} of_transactions[] = {
    {"transaction_isolation", isolation_words},
    {"transaction_read_only", truth_words},
    {"transaction_deferrable", truth_words},
};

/* ---- a packet ---- */

uint32_t packet_length(const unsigned char head[4], struct fault *fault) {
    uint32_t length = load_be32(head);
    if (length >= STARTUP_BYTES_MIN && length <= STARTUP_BYTES_MAX) return length;
    bad_header(fault, head, 4);
    return 0;
}

/* Names and values follow each other, each ends with NUL; an empty name, the last byte, ends them all. */
static bool next_pair(const char **at, const char *end, struct pair *pair) {
    const char *zero = memchr(*at, 0, (size_t)(end - *at));
    if (!zero || zero == *at) return false;
    pair->name = *at;
    pair->value = zero + 1;
    zero = memchr(pair->value, 0, (size_t)(end - pair->value));
    if (!zero) return false;
    *at = zero + 1;
    return true;
}

enum place { PLACE_USER, PLACE_DATABASE, PLACE_REPLICATION, PLACE_OPTIONS, PLACE_EXTENSION, PLACE_SETTING };

static enum place place_of(const char *name) {
    if (strcmp(name, "user") == 0) return PLACE_USER;
    if (strcmp(name, "database") == 0) return PLACE_DATABASE;
    if (strcmp(name, "replication") == 0) return PLACE_REPLICATION;
    if (strcmp(name, "options") == 0) return PLACE_OPTIONS;
    return strncmp(name, "_pq_.", 5) == 0 ? PLACE_EXTENSION : PLACE_SETTING;
}

/* Counts what there is to keep, and finds the terminator. */
static bool check_layout(struct packet *p, const char *at, const char *end) {
    struct pair pair;
    while (next_pair(&at, end, &pair)) {
        enum place place = place_of(pair.name);
        p->extension_count += place == PLACE_EXTENSION;
        p->setting_count += place == PLACE_SETTING;
    }
    return end - at == 1 && !*at;
}

static bool take_once(const char **place, const struct pair *pair, struct fault *fault) {
    if (*place) return REFUSE(fault, "startup parameter given twice: %s", pair->name);
    *place = pair->value;
    return true;
}

static bool set_replication(struct packet *p, const char *value, struct fault *fault) {
    if (is_word(value, "database")) p->replication = REPLICATION_LOGICAL;
    else if (is_one_of(value, true_words)) p->replication = REPLICATION_PHYSICAL;
    else if (is_one_of(value, false_words)) p->replication = REPLICATION_NONE;
    else return REFUSE(fault, "invalid value for parameter \"replication\": \"%s\"", value);
    return true;
}

static bool sort_pairs(struct packet *p, const char *at, const char *end, struct fault *fault) {
    struct pair pair;
    uint32_t settings = 0, extensions = 0;
    const char *replication = "false";
    p->options = "";
    while (next_pair(&at, end, &pair)) switch (place_of(pair.name)) {
        case PLACE_USER:
            if (!take_once(&p->user, &pair, fault)) return false;
            break;
        case PLACE_DATABASE:
            if (!take_once(&p->database, &pair, fault)) return false;
            break;
        case PLACE_REPLICATION: replication = pair.value; break;
        case PLACE_OPTIONS: p->options = pair.value; break;
        case PLACE_EXTENSION: p->extensions[extensions++] = pair.name; break;
        case PLACE_SETTING: p->settings[settings++] = pair; break;
        }
    if (!p->user || !*p->user) return REFUSE(fault, "no username supplied");
    if (strlen(p->user) > USER_BYTES_MAX) return REFUSE(fault, "username too long");
    if (!p->database || !*p->database) p->database = p->user;
    if (strlen(p->database) > DATABASE_BYTES_MAX) return REFUSE(fault, "database name too long");
    return set_replication(p, replication, fault);
}

static bool read_startup(struct packet *p, const char *at, const char *end, struct fault *fault) {
    p->kind = PACKET_STARTUP;
    if (!check_layout(p, at, end)) return REFUSE(fault, BAD_LAYOUT);
    size_t bytes = p->setting_count * sizeof(*p->settings) + p->extension_count * sizeof(*p->extensions);
    if (bytes) {
        p->settings = malloc(bytes);
        if (!p->settings) return no_memory(fault);
        p->extensions = (const char **)(p->settings + p->setting_count);
    }
    if (sort_pairs(p, at, end, fault)) return true;
    packet_free(p);
    return false;
}

static bool read_cancel(struct packet *p, const unsigned char *body, uint32_t n, struct fault *fault) {
    p->kind = PACKET_CANCEL;
    if (n < 4 + CANCEL_KEY_MIN || n > 4 + CANCEL_KEY_MAX)
        return REFUSE(fault, "invalid length of cancel request packet");
    p->cancel_pid = load_be32(body);
    p->cancel_key = body + 4;
    p->cancel_key_bytes = n - 4;
    return true;
}

bool packet_read(struct packet *p, const unsigned char *bytes, uint32_t n, struct fault *fault) {
    memset(p, 0, sizeof(*p));
    if (n < 4) return bad_header(fault, bytes, n);
    uint32_t length = packet_length(bytes, fault);
    if (!length) return false;
    if (length != n) return bad_header(fault, bytes, n);
    uint32_t code = load_be32(bytes + 4), major = code >> 16;
    const unsigned char *body = bytes + STARTUP_BYTES_MIN;
    n -= STARTUP_BYTES_MIN;
    if (code == CODE_CANCEL) return read_cancel(p, body, n, fault);
    if (code == CODE_SSL || code == CODE_GSS) {
        p->kind = code == CODE_SSL ? PACKET_SSL : PACKET_GSS;
        return n ? bad_header(fault, bytes, STARTUP_BYTES_MIN) : true;
    }
    p->minor = (uint16_t)code;
    if (major == 2) return REFUSE(fault, "old V2 protocol not supported");
    if (major != 3)
        return REFUSE(fault, "unsupported frontend protocol %u.%u: server supports 3.0 to 3.%d", major,
                      (unsigned)p->minor, PROTOCOL_MINOR);
    return read_startup(p, (const char *)body, (const char *)body + n, fault);
}

void packet_free(struct packet *p) {
    free(p->settings);
    p->settings = NULL;
    p->extensions = NULL;
    p->setting_count = p->extension_count = 0;
}

/* ---- options: -c name=value, -cname=value, --name=value; a backslash quotes the next character ---- */

#define OPTION_BYTES_MIN 5 /* --a= and a space */

/* The next word, written to `out` with its NUL: returns where that is.  NULL: there is none; `*broken`: it
 * has a backslash at the end.  It is written in no more space than it was read from, with the white space or
 * NUL behind it. */
static char *next_word(const char **at, char *out, bool *broken) {
    const char *from = *at + strspn(*at, SPACES);
    char *to = out;
    for (; *from && !strchr(SPACES, *from); from++) {
        if (*from == '\\' && !*++from) {
            *broken = true;
            return NULL;
        }
        *to++ = *from;
    }
    *at = from;
    *to = 0;
    return to == out ? NULL : to;
}

/* Writes the settings in a text as names and values, each with its NUL, in no more space than the text has.
 * Returns how many there are; -1: the text is none of options. */
static int32_t read_options(const char *text, char *out) {
    int32_t count = 0;
    bool broken = false;
    for (char *end; (end = next_word(&text, out, &broken)); count++) {
        if (strcmp(out, "-c") == 0) {
            end = next_word(&text, out, &broken);
            if (!end) return -1;
        } else if (strncmp(out, "-c", 2) == 0 || strncmp(out, "--", 2) == 0) {
            memmove(out, out + 2, (size_t)(end - out) - 1);
            end -= 2;
        } else return -1;
        char *equals = strchr(out, '=');
        if (!equals || equals == out) return -1;
        *equals = 0;
        for (char *c = out; *c; c++)
            if (*c == '-') *c = '_';
        out = end + 1;
    }
    return broken ? -1 : count;
}

/* ---- what a session is to begin with ---- */

struct sorting {
    struct wanted *w;
    const char *const *names;
    int name_count;
    const struct name_set *ignored;
    bool accept_unknown;
    char *spare;      /* where the next name in lower case goes */
    uint16_t *places; /* of others, by the hashes of their names, counted from 1; 0: free */
    uint32_t places_mask;
    struct fault *fault;
};

static int tracked_place(const struct sorting *s, const char *name) {
    if (is_one_of(name, never_tracked)) return -1;
    for (int i = 0; i < s->name_count && i < PARAMETERS_MAX; i++)
        if (is_word(name, s->names[i])) return i;
    return -1;
}

/* A setting that no server reports; its name is in lower case.  Libraries are loaded while a session begins,
 * and ours have begun. */
static bool put_other(struct sorting *s, const char *name, const char *value) {
    if (strcmp(name, "local_preload_libraries") == 0 && value[strspn(value, SPACES "\x1c\x1d\x1e\x1f")])
        return refuse(s->fault, CANNOT_CHANGE_NOW, "parameter \"%s\" cannot be set after connection start",
                      name);
    for (size_t i = 0; i < sizeof(of_transactions) / sizeof(*of_transactions); i++)
        if (strcmp(name, of_transactions[i].name) == 0 && is_one_of(value, of_transactions[i].words))
            return true;
    uint32_t at = (uint32_t)names_hash(s->ignored->key, name) & s->places_mask;
    for (; s->places[at]; at = (at + 1) & s->places_mask) {
        struct pair *there = &s->w->others[s->places[at] - 1];
        if (strcmp(there->name, name) != 0) continue;
        there->value = value;
        return true;
    }
    s->w->others[s->w->other_count++] = (struct pair){name, value};
    s->places[at] = (uint16_t)s->w->other_count;
    return true;
}

static bool sort_setting(struct sorting *s, const char *name, const char *value, bool of_options) {
    int place = tracked_place(s, name);
    if (place >= 0) {
        s->w->tracked[place] = value;
        return true;
    }
    size_t bytes = strlen(name) + 1;
    char *in_lower_case = memcpy(s->spare, name, bytes);
    make_lower(in_lower_case);
    if (names_get(s->ignored, in_lower_case) || (of_options && names_get(s->ignored, "options"))) return true;
    if (!s->accept_unknown)
        return REFUSE(s->fault, "unsupported startup parameter%s: %s", of_options ? " in options" : "", name);
    s->spare += bytes;
    return put_other(s, in_lower_case, value);
}

/* A parameter of its own wins over one in options, as in PostgreSQL. */
static bool sort_settings(struct sorting *s, const struct packet *p, const char *options, int32_t count) {
    while (count--) {
        const char *name = options, *value = name + strlen(name) + 1;
        options = value + strlen(value) + 1;
        if (!sort_setting(s, name, value, true)) return false;
    }
    for (uint32_t i = 0; i < p->setting_count; i++)
        if (!sort_setting(s, p->settings[i].name, p->settings[i].value, false)) return false;
    return true;
}

bool packet_wanted(struct wanted *w, const struct packet *p, const char *const *names, int name_count,
                   const struct name_set *ignored, bool accept_unknown, struct fault *fault) {
    memset(w, 0, sizeof(*w));
    size_t option_bytes = p->replication == REPLICATION_NONE && *p->options ? strlen(p->options) + 1 : 0;
    size_t name_bytes = option_bytes;
    size_t most = accept_unknown ? p->setting_count + option_bytes / OPTION_BYTES_MIN : 0, places = 1;
    for (uint32_t i = 0; i < p->setting_count; i++) name_bytes += strlen(p->settings[i].name) + 1;
    if (!name_bytes) return true;
    while (places <= most * 2) places *= 2;
    /* pairs, places, the texts of options, names in lower case */
    char *block = calloc(1,
                         most * sizeof(*w->others) + places * sizeof(uint16_t) + option_bytes + name_bytes);
    if (!block) return no_memory(fault);
    w->others = (struct pair *)block;
    struct sorting s = {w, names, name_count, ignored, accept_unknown, .fault = fault};
    s.places = (uint16_t *)(w->others + most);
    s.places_mask = (uint32_t)places - 1;
    char *options = (char *)(s.places + places);
    s.spare = options + option_bytes;
    int32_t count = option_bytes ? read_options(p->options, options) : 0;
    if (count < 0) REFUSE(fault, BAD_OPTIONS);
    else if (sort_settings(&s, p, options, count)) return true;
    wanted_free(w);
    return false;
}

void wanted_free(struct wanted *w) {
    free(w->others);
    memset(w, 0, sizeof(*w));
}
