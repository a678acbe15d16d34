/* See small_postgres.h. */
#include "small_postgres.h"

#include <errno.h>
#include <stddef.h>
#include <stdio.h>
#include <string.h>
#include <sys/socket.h>
#include <unistd.h>

static void say(struct small_postgres *p, char kind, const void *body, uint32_t n) {
    unsigned char message[512] = {(unsigned char)kind};
    if (n > sizeof message - 5) n = sizeof message - 5;
    for (int i = 0; i < 4; i++) message[1 + i] = (unsigned char)((n + 4) >> (24 - 8 * i));
    if (n) memcpy(message + 5, body, n);
    (void)!send(p->fd, message, n + 5, MSG_NOSIGNAL | MSG_DONTWAIT);
}

static void say_ready(struct small_postgres *p) { say(p, 'Z', &p->transaction, 1); }

static void say_tag(struct small_postgres *p, const char *tag) {
    say(p, 'C', tag, (uint32_t)strlen(tag) + 1);
}

static void say_row(struct small_postgres *p, const char *text) {
    unsigned char body[128] = {0, 1, 0, 0, 0};
    uint32_t n = (uint32_t)strnlen(text, 96);
    body[5] = (unsigned char)n;
    memcpy(body + 6, text, n);
    say(p, 'D', body, n + 6);
}

static void say_columns(struct small_postgres *p) {
    static const unsigned char one[] = {0, 1, 'c', 0,   0,   0,   0,   0,   0,   0, 0,
                                        0, 0, 25,  255, 255, 255, 255, 255, 255, 0, 0};
    say(p, 'T', one, sizeof one);
}

static void fail(struct small_postgres *p, const char *sqlstate) {
    char body[64];
    int n = snprintf(body, sizeof body, "SERROR%cVERROR%cC%s%cMno%c%c", 0, 0, sqlstate, 0, 0, 0);
    say(p, 'E', body, (uint32_t)n);
    p->copy = 0;
    if (p->transaction == 'T') p->transaction = 'E';
}

/* What the text says is done; false: it failed.  A COPY is begun, and not yet ended, if `copy` is set. */
static bool run(struct small_postgres *p, const char *text, char from) {
    bool ends = strstr(text, "commit") || strstr(text, "ROLLBACK") || strstr(text, "rollback");
    if (p->transaction == 'E' && !ends) {
        fail(p, "25P02");
        return false;
    }
    if (strstr(text, "fail")) {
        fail(p, "22012");
        return false;
    }
    if (strstr(text, "copyin")) {
        p->copy = from;
        say(p, 'G', "\0\0\0", 3);
    } else if (ends) {
        p->transaction = 'I';
        say_tag(p, "COMMIT");
    } else if (strstr(text, "begin")) {
        p->transaction = 'T';
        say_tag(p, "BEGIN");
    } else if (strncmp(text, "/*", 2) != 0) {
        if (strstr(text, "DISCARD ALL")) memset(p->statements, 0, sizeof p->statements);
        say_tag(p, "SET");
    } else {
        if (from == 'Q') say_columns(p);
        say_row(p, text);
        say_tag(p, "SELECT 1");
    }
    return true;
}

static int find(const struct small_postgres *p, const char *name) {
    for (int i = 0; i < STATEMENTS_MAX; i++)
        if (p->statements[i].used && strcmp(p->statements[i].name, name) == 0) return i;
    return -1;
}

static bool parse(struct small_postgres *p, const char *name, const char *text) {
    int at = find(p, name);
    if (at >= 0 && name[0]) {
        fail(p, "42P05");
        return false;
    }
    if (strstr(text, "unparsable")) {
        fail(p, "42601");
        return false;
    }
    if (p->transaction == 'E') {
        fail(p, "25P02");
        return false;
    }
    for (int i = 0; at < 0 && i < STATEMENTS_MAX; i++)
        if (!p->statements[i].used) at = i;
    if (at < 0 || strlen(name) >= sizeof p->statements->name) {
        fail(p, "53200");
        return false;
    }
    p->statements[at].used = true;
    strcpy(p->statements[at].name, name);
    snprintf(p->statements[at].text, sizeof p->statements[at].text, "%s", text);
    say(p, '1', NULL, 0);
    return true;
}

static bool bind_statement(struct small_postgres *p, const char *name) {
    int at = find(p, name);
    if (at < 0) {
        fail(p, "26000");
        return false;
    }
    memcpy(p->portal, p->statements[at].text, sizeof p->portal);
    p->has_portal = true;
    say(p, '2', NULL, 0);
    return true;
}

static bool describe(struct small_postgres *p, char kind, const char *name) {
    if (kind == 'S' ? find(p, name) < 0 : !p->has_portal) {
        fail(p, kind == 'S' ? "26000" : "34000");
        return false;
    }
    if (kind == 'S') say(p, 't', "\0\0", 2);
    say_columns(p);
    return true;
}

static void close_statement(struct small_postgres *p, char kind, const char *name) {
    int at = kind == 'S' ? find(p, name) : -1;
    if (at >= 0) p->statements[at].used = false;
    say(p, '3', NULL, 0);
}

/* A message of the extended protocol; false: it failed. */
static bool extended(struct small_postgres *p, char kind, const char *body, uint32_t n) {
    const char *second = body + strnlen(body, n) + 1;
    if (second > body + n) {
        fail(p, "08P01");
        return false;
    }
    switch (kind) {
    case 'P': return parse(p, body, second);
    case 'B': return bind_statement(p, second);
    case 'D': return describe(p, body[0], body + 1);
    case 'C': close_statement(p, body[0], body + 1); return true;
    default:
        if (!p->has_portal) {
            fail(p, "34000");
            return false;
        }
        return run(p, p->portal, 'E');
    }
}

/* While COPY reads: Flush and Sync are not looked at; what does not belong there ends the session, since
 * PostgreSQL fails before it has read that message whole. */
static void copying(struct small_postgres *p, char kind) {
    char from = p->copy;
    if (kind == 'd' || kind == 'H' || kind == 'S') return;
    if (kind != 'c' && kind != 'f') {
        fail(p, "08P01");
        small_postgres_close(p);
        return;
    }
    p->copy = 0;
    if (kind == 'c') say_tag(p, "COPY 1");
    else fail(p, "57014");
    if (from == 'Q') say_ready(p);
    else if (kind != 'c') p->skip = true;
}

static void take(struct small_postgres *p, char kind, char *body, uint32_t n) {
    if (p->copy) copying(p, kind);
    else if (kind == 'S') {
        p->skip = false;
        p->has_portal = false;
        say_ready(p);
    } else if (p->skip || kind == 'H' || kind == 'd' || kind == 'c' || kind == 'f') return;
    else if (kind == 'Q') {
        int at = find(p, "");
        if (at >= 0) p->statements[at].used = false;
        p->has_portal = false; /* its own takes the place of the unnamed one */
        run(p, body, 'Q');
        if (!p->copy) say_ready(p);
    } else if (kind == 'F') {
        say(p, 'V', "\377\377\377\377", 4);
        say_ready(p);
    } else if (strchr("PBDEC", kind)) p->skip = !extended(p, kind, body, n);
    else small_postgres_close(p);
}

void small_postgres_open(struct small_postgres *p, int fd, int32_t slot, uint32_t generation) {
    memset(p, 0, offsetof(struct small_postgres, input));
    p->fd = fd;
    p->slot = slot;
    p->generation = generation;
    p->transaction = 'I';
}

void small_postgres_close(struct small_postgres *p) {
    if (p->fd >= 0) close(p->fd);
    p->fd = -1;
}

/* Takes what has arrived; false: nothing has. */
bool small_postgres_read(struct small_postgres *p) {
    if (p->fd < 0 || p->have == sizeof p->input) return false;
    ssize_t n = recv(p->fd, p->input + p->have, sizeof p->input - p->have, MSG_DONTWAIT);
    if (n > 0) p->have += (uint32_t)n;
    else if (n == 0 || errno != EAGAIN) small_postgres_close(p);
    return n > 0;
}

/* Answers the oldest message; false: there is none that is whole. */
bool small_postgres_answer(struct small_postgres *p) {
    static char body[INPUT_MAX + 1];
    if (p->fd < 0 || p->have < 5) return false;
    uint32_t length = 0;
    for (int i = 1; i < 5; i++) length = length << 8 | p->input[i];
    if (length < 4 || length > sizeof p->input) {
        small_postgres_close(p);
        return false;
    }
    if (length + 1 > p->have) return false;
    char kind = (char)p->input[0];
    memcpy(body, p->input + 5, length - 4);
    body[length - 4] = '\0';
    p->have -= length + 1;
    memmove(p->input, p->input + length + 1, p->have);
    take(p, kind, body, length - 4);
    return true;
}
