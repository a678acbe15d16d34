/* What comes before anything is known of a client: requests for encryption, the handshake, the packet. */
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/socket.h>

#include "io/buffer.h"
#include "io/connection.h"
#include "io/sqlstate.h"
#include "login/jobs.h"
#include "login/login.h"
#include "login/policy.h"
#include "login/questions.h"
#include "relay/internal.h"
#include "tls/tls_session.h"

#define TLS_HANDSHAKE_BYTE 0x16  /* first byte of a TLS connection: the type of a handshake record */
#define CONSOLE_USER "pgbouncer" /* whose account, over a unix socket, is the console's administrator */

/* Without an SSLRequest: a client that speaks TLS at once must say for which protocol. */
void opening_begin(struct relay *r, struct login *l) {
    const struct bytes *there = &l->client->io.stash;
    (void)r;
    l->direct_tls = l->policy->tls && !l->is_unix && bytes_pending(there)
        && there->data[there->start] == TLS_HANDSHAKE_BYTE;
}

/* ---- encryption -------------------------------------------------------------------------------- */

static void secure(struct relay *r, struct login *l) {
    struct tls *t = tls_new(l->policy->tls, true, NULL, false);
    struct job *j = t ? job_new(l, JOB_HANDSHAKE) : NULL;
    login_move(l, LOGIN_HANDSHAKE);
    if (!j) {
        tls_free(t);
        opening_failed(r, l, "out of memory");
        return;
    }
    j->tls = t;
    l->handshake = j; /* it waits for bytes of the client first */
}

void opening_failed(struct relay *r, struct login *l, const char *why) {
    login_log(r, l, LEVEL_WARNING, "TLS handshake error: %s", why);
    login_hang_up(r, l);
}

/* Bytes of the handshake are there: a thread goes on with it. */
void opening_handshake(struct relay *r, struct login *l) {
    struct bytes *there = &l->client->io.stash;
    tls_feed(l->handshake->tls, there->data + there->start, bytes_pending(there));
    bytes_free(there);
    l->job = l->handshake;
    l->handshake = NULL;
    job_start(r, l->job);
}

/* A step of the handshake is done. */
void opening_stepped(struct relay *r, struct login *l, struct job *j) {
    struct conn *io = &l->client->io;
    struct tls *t = j->tls;
    if (t->output.end) conn_send(&r->loop, io, t->output.data, t->output.end);
    t->output.end = 0;
    if (j->handshake == TLS_END || j->handshake == TLS_BROKEN) {
        char error[TLS_TEXT_BYTES];
        memcpy(error, j->error, sizeof error);
        job_free(j);
        opening_failed(r, l, error);
        return;
    }
    if (j->handshake != TLS_DONE) {
        l->handshake = j;
        conn_ready(&r->loop, io);
        return;
    }
    if (bytes_pending(&io->out)) { /* it would be sent through TLS */
        job_free(j);
        opening_failed(r, l, "what came before TLS was not sent yet");
        return;
    }
    io->tls = t;
    j->tls = NULL;
    job_free(j);
    tls_attach(t, io->fd);
    l->certificate_bytes = (uint32_t)tls_certificate_hash(t, false, l->certificate);
    login_move(l, LOGIN_OPENING);
    io->readable = true; /* the last step may have been fed more than it used */
    if (l->direct_tls && !tls_speaks_postgresql(t))
        login_refuse(r, l, PROTOCOL_VIOLATION,
                     "received direct SSL connection request without ALPN protocol negotiation extension",
                     NULL);
    else conn_ready(&r->loop, io);
}

/* A request for encryption: one of each kind at most. */
static void answer_request(struct relay *r, struct login *l, bool ssl) {
    bool *answered = ssl ? &l->asked_ssl : &l->asked_gss;
    if (l->client->io.tls || *answered) {
        login_refuse(r, l, PROTOCOL_VIOLATION, "SSL or GSSAPI encryption was already negotiated", NULL);
        return;
    }
    *answered = true;
    if (login_spoke(l)) { /* it would be taken for what came through TLS (CVE-2021-3935) */
        login_refuse(r, l, PROTOCOL_VIOLATION, "received unencrypted data after encryption request", NULL);
        return;
    }
    bool wanted = ssl && l->policy->tls && !l->is_unix;
    conn_send(&r->loop, &l->client->io, wanted ? "S" : "N", 1);
    if (wanted) secure(r, l);
}

/* ---- the startup packet ------------------------------------------------------------------------ */

/* NegotiateProtocolVersion: what we speak, and none of the options that begin with _pq_. */
static bool negotiate(struct relay *r, struct login *l, uint16_t minor) {
    const struct packet *p = &l->packet;
    uint32_t n = 13;
    for (uint32_t i = 0; i < p->extension_count; i++) n += (uint32_t)strlen(p->extensions[i]) + 1;
    unsigned char *message = malloc(n), *at = message + 13;
    if (!message) return false;
    message[0] = 'v';
    store_be32(message + 1, n - 1);
    store_be32(message + 5, 3u << 16 | minor);
    store_be32(message + 9, p->extension_count);
    for (uint32_t i = 0; i < p->extension_count; i++) {
        size_t bytes = strlen(p->extensions[i]) + 1;
        memcpy(at, p->extensions[i], bytes);
        at += bytes;
    }
    conn_send(&r->loop, &l->client->io, message, n);
    free(message);
    return true;
}

/* The console's own user needs no password if it comes from the account that pooler runs under. */
static bool is_own_user(const struct login *l, bool console) {
    return console && l->is_unix && l->peer_uid == l->policy->settings.own_uid
        && strcmp(l->packet.user, CONSOLE_USER) == 0;
}

/* The packet names a user, for whom the rules of now count: the first byte may have come before a reload. */
static void identify(struct relay *r, struct login *l) {
    const struct packet *p = &l->packet;
    policy_drop(l->policy);
    l->policy = policy_keep(r->logins->policy);
    bool console = policy_is_console(l->policy, p->database);
    if (l->policy->settings.tls_required && !l->client->io.tls && !l->is_unix) {
        login_refuse(r, l, NOT_PERMITTED, "SSL required", NULL);
        return;
    }
    bool any = console || p->replication != REPLICATION_NONE
        || policy_follows(l->policy, p->database, p->user);
    const struct tracked *tracked = &r->store.tracked;
    if (!packet_wanted(&l->wanted, p, (const char *const *)tracked->names, tracked->count,
                       &l->policy->ignored, any, &l->fault)) {
        login_refuse(r, l, l->fault.sqlstate, l->fault.text, NULL);
        return;
    }
    uint16_t minor = p->minor < PROTOCOL_MINOR ? p->minor : PROTOCOL_MINOR;
    if ((p->minor > minor || p->extension_count) && !negotiate(r, l, minor)) {
        login_without_memory(r, l);
        return;
    }
    l->packet.minor = minor;
    l->own_user = is_own_user(l, console);
    if (l->own_user) proof_done(r, l);
    else proof_begin(r, l);
}

static void forget_packet(struct login *l) {
    packet_free(&l->packet);
    memset(&l->packet, 0, sizeof l->packet);
    free(l->packet_bytes);
    l->packet_bytes = NULL;
}

/* A packet that is whole is taken out of the stash, and kept.  False: it is not whole, or was refused. */
static bool take_packet(struct relay *r, struct login *l) {
    struct bytes *there = &l->client->io.stash;
    const unsigned char *p = there->data + there->start;
    if (bytes_pending(there) < 4) return false;
    uint32_t length = packet_length(p, &l->fault);
    if (length && bytes_pending(there) < length) return false;
    forget_packet(l);
    if (length) {
        l->packet_bytes = malloc(length);
        if (!l->packet_bytes) {
            login_without_memory(r, l);
            return false;
        }
        memcpy(l->packet_bytes, p, length);
        there->start += length;
        if (packet_read(&l->packet, l->packet_bytes, length, &l->fault)) return true;
        forget_packet(l);
    }
    login_refuse(r, l, l->fault.sqlstate, l->fault.text, NULL);
    return false;
}

/* False: more bytes are needed, or nothing more is read. */
bool opening_packet(struct relay *r, struct login *l) {
    if (l->direct_tls && !l->client->io.tls) {
        secure(r, l);
        return true;
    }
    if (!take_packet(r, l)) return false;
    switch (l->packet.kind) {
    case PACKET_SSL: answer_request(r, l, true); break;
    case PACKET_GSS: answer_request(r, l, false); break;
    case PACKET_CANCEL: question_pass(r, l, PASS_CANCEL); break;
    default: identify(r, l);
    }
    return true;
}
