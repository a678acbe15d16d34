/* A client proves who it is. */
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

#include "io/buffer.h"
#include "io/connection.h"
#include "io/sqlstate.h"
#include "login/admission.h"
#include "login/crypto.h"
#include "login/jobs.h"
#include "login/login.h"
#include "login/login_queue.h"
#include "login/policy.h"
#include "login/questions.h"
#include "login/scram.h"
#include "login/secret.h"
#include "relay/internal.h"
#include "tables/states.h"
#include "tls/tls_session.h"

void proof_request(struct relay *r, struct login *l, enum authentication what, const void *bytes,
                   uint32_t n) {
    unsigned char message[9 + SERVER_FIRST_BYTES_MAX];
    message[0] = 'R';
    store_be32(message + 1, 8 + n);
    store_be32(message + 5, what);
    memcpy(message + 9, bytes, n);
    conn_send(&r->loop, &l->client->io, message, 9 + n);
}

/* ---- how --------------------------------------------------------------------------------------- */

static const struct rule *find_rule(struct relay *r, const struct login *l, const char *user) {
    struct rule_client seen = {.database = l->packet.database,
                               .user = user,
                               .tls = l->client->io.tls != NULL,
                               .physical_replication = l->packet.replication == REPLICATION_PHYSICAL};
    const char *address = r->t->clients[l->row].where.addr;
    if (!l->is_unix && !rules_address(address, &seen.family, seen.address)) return NULL;
    return rules_find(&l->policy->rules, &seen);
}

/* The way in for this client; false: it is refused. */
static bool choose(struct relay *r, struct login *l) {
    const struct policy_database *database = policy_find(l->policy, l->packet.database);
    l->method = l->policy->settings.auth_type;
    if (l->method == METHOD_PAM && database && database->auth_user) {
        login_config_error(r, l, "PAM can't be used together with database authentication");
        return false;
    }
    if (l->method == METHOD_NONE) {
        l->rule = find_rule(r, l, l->packet.user);
        if (l->rule) l->method = l->rule->method;
        if (l->rule && l->policy->settings.verbose)
            relay_log(r, LEVEL_DEBUG, "C-%llu: HBA Line %d is matched", (unsigned long long)l->id,
                      (int)l->rule->line);
    }
    if (l->method == METHOD_NONE)
        login_refuse(r, l, NOT_PERMITTED, "no authentication method is found", NULL);
    else if (l->method == METHOD_REJECT) login_refuse(r, l, NOT_PERMITTED, "login rejected", NULL);
    else if (l->method == METHOD_UNKNOWN) login_config_error(r, l, NULL);
    else return true;
    return false;
}

/* auth_query calls the user by another name, which is the one that counts; for the rules, too. */
bool proof_rename(struct relay *r, struct login *l, const char *name) {
    if (strcmp(name, l->packet.user) == 0) return true;
    if (l->policy->settings.auth_type == METHOD_NONE && find_rule(r, l, name) != l->rule) {
        char note[256];
        snprintf(note, sizeof note,
                 "auth_query calls the user %s, for whom another line of auth_hba_file decides", name);
        login_refuse(r, l, NOT_PERMITTED, "login rejected", note);
        return false;
    }
    l->renamed = strdup(name);
    if (!l->renamed) login_without_memory(r, l);
    return l->renamed != NULL;
}

/* ---- who --------------------------------------------------------------------------------------- */

void proof_unknown(struct relay *r, struct login *l) {
    relay_log(r, LEVEL_LOG, "C-%llu: no such user: %s", (unsigned long long)l->id, l->packet.user);
}

static void ask_for_password(struct relay *r, struct login *l) {
    login_move(l, LOGIN_PASSWORD);
    proof_request(r, l, AUTH_CLEARTEXT, "", 0);
}

/* Where its secret is to be found: auth_file first, then auth_query, if there is an auth_user. */
void proof_begin(struct relay *r, struct login *l) {
    login_attempt(r, l);
    if (!choose(r, l)) return;
    if (l->method == METHOD_ANY) {
        proof_done(r, l);
        return;
    }
    if (l->method == METHOD_PAM) { /* it knows its users itself */
        ask_for_password(r, l);
        return;
    }
    const struct policy_database *database = policy_find(l->policy, l->packet.database);
    l->secret = policy_secret(l->policy, l->packet.user);
    bool looked_up = (database && database->auth_user) || l->policy->settings.auth_user;
    if (!l->secret && looked_up && (database || policy_is_console(l->policy, l->packet.database))) {
        l->waits_for_server = true;
        question_secret(r, l);
        return;
    }
    if (!l->secret) proof_unknown(r, l);
    proof_with_secret(r, l);
}

static void check_certificate(struct relay *r, struct login *l) {
    char name[1024], distinguished[1024];
    const char *reason = NULL;
    if (!l->client->io.tls) reason = "TLS connection required";
    else if (!tls_peer(l->client->io.tls, name, distinguished, sizeof name) || !name[0])
        reason = "TLS client certificate required";
    else if (l->rule && l->rule->mapped) {
        question_map(r, l, name);
        return;
    } else if (strcmp(name, l->packet.user) != 0) reason = "TLS certificate name mismatch";
    else if (l->secret) {
        proof_done(r, l);
        return;
    }
    login_refuse(r, l, NOT_PERMITTED, "certificate authentication failed", reason);
}

static void ask_for_md5(struct relay *r, struct login *l) {
    if (!crypto_random(l->salt, sizeof l->salt)) {
        login_config_error(r, l, "no random numbers");
        return;
    }
    login_move(l, LOGIN_PASSWORD);
    proof_request(r, l, AUTH_MD5, l->salt, sizeof l->salt);
}

static void ask_for_scram(struct relay *r, struct login *l) {
    static const char both[] = SCRAM_PLUS_NAME "\0" SCRAM_NAME "\0"; /* and the terminator of the literal */
    static const char plain[] = SCRAM_NAME "\0";
    l->scram = calloc(1, sizeof *l->scram);
    if (!l->scram) {
        login_without_memory(r, l);
        return;
    }
    login_move(l, LOGIN_SASL_FIRST);
    if (l->certificate_bytes) proof_request(r, l, AUTH_SASL, both, sizeof both);
    else proof_request(r, l, AUTH_SASL, plain, sizeof plain);
}

/* The secret is known, or that there is none: what the method asks for. */
void proof_with_secret(struct relay *r, struct login *l) {
    bool has_scram = l->secret ? l->secret->kind == SECRET_SCRAM : r->logins->unknown_scram;
    switch (l->method) {
    case METHOD_TRUST:
        if (l->secret) proof_done(r, l);
        else login_refuse(r, l, NOT_PERMITTED, "\"trust\" authentication failed", NULL);
        return;
    case METHOD_LDAP: ask_for_password(r, l); return;
    case METHOD_PEER: question_peer(r, l); return;
    case METHOD_CERT: check_certificate(r, l); return;
    default: break;
    }
    l->empty = l->secret && !l->secret->raw_bytes; /* an empty password never lets anybody in */
    if (l->empty) has_scram = r->logins->unknown_scram;
    if (l->method == METHOD_PLAIN) ask_for_password(r, l);
    else if (l->method == METHOD_MD5 && !has_scram) ask_for_md5(r, l);
    else ask_for_scram(r, l);
}

struct secret *proof_secret(const struct login *l) { return l->empty ? NULL : l->secret; }

/* ---- passwords --------------------------------------------------------------------------------- */

static void wrong_password(struct relay *r, struct login *l) {
    login_refuse(r, l, WRONG_PASSWORD, "password authentication failed", NULL);
}

/* Those of verifiers that pooler makes; of a user who does not exist what is usual, if that is known. */
uint32_t proof_iterations(const struct relay *r, const struct login *l) {
    int32_t usual = proof_secret(l) ? 0 : r->logins->unknown_iterations;
    return (uint32_t)(usual ? usual : l->policy->settings.scram_iterations);
}

void proof_derive(struct relay *r, struct login *l, struct job *j, bool whole) {
    if (!whole) {
        job_free(j);
        login_without_memory(r, l);
        return;
    }
    login_move(l, LOGIN_DERIVING);
    l->job = j;
    job_start(r, j);
}

/* PBKDF2 of a password against a verifier, or for as long as that would take. */
void proof_verify(struct relay *r, struct login *l, const void *prepared, uint32_t n) {
    const struct secret *s = proof_secret(l);
    unsigned char salt[STABLE_SALT_BYTES], stored[SHA256_BYTES];
    struct job *j = job_new(l, JOB_DERIVE);
    bool good = j && job_password(j, prepared, n);
    if (good && s) {
        good = job_salt(j, secret_salt(s), s->salt_bytes, s->iterations);
        memcpy(j->server_key, s->server_key, SHA256_BYTES);
    } else if (good) {
        const struct logins *all = r->logins;
        good = secret_stable_salt(all->unknown_key, SHA256_BYTES, l->packet.user, salt)
            && job_salt(j, salt, sizeof salt, proof_iterations(r, l))
            && secret_mock(all->unknown_key, SHA256_BYTES, l->packet.user, stored, j->server_key);
    }
    proof_derive(r, l, j, good);
}

static bool is_ascii(const unsigned char *bytes, uint32_t n) {
    for (uint32_t i = 0; i < n; i++)
        if (bytes[i] & 0x80) return false;
    return true;
}

static void check_plain(struct relay *r, struct login *l, const unsigned char *password, uint32_t n) {
    const struct secret *s = proof_secret(l);
    bool verifier = s ? s->kind == SECRET_SCRAM : r->logins->unknown_scram;
    if (verifier && is_ascii(password, n)) proof_verify(r, l, password, n); /* SASLprep changes no ASCII */
    else if (verifier) question_password(r, l, ASKS_PREPARED, password, n);
    else if (secret_is_password(s, l->packet.user, password, n)) proof_done(r, l);
    else wrong_password(r, l);
}

/* A service that keeps passwords has to find this one right; none is empty. */
static void check_outside(struct relay *r, struct login *l, const unsigned char *password, uint32_t n) {
    enum login_question question = l->method == METHOD_LDAP ? ASKS_LDAP : ASKS_PAM;
    if (!n) { /* a directory takes an empty one for an anonymous login, which succeeds */
        proof_outside(r, l, false);
        return;
    }
    l->password = malloc(n);
    if (!l->password) {
        login_without_memory(r, l);
        return;
    }
    memcpy(l->password, password, n);
    l->password_bytes = n;
    question_password(r, l, question, password, n);
}

/* What the service says of it. */
void proof_outside(struct relay *r, struct login *l, bool right) {
    bool known = l->method == METHOD_PAM || l->secret;
    if (right && known) proof_done(r, l);
    else
        login_refuse(r, l, NOT_PERMITTED,
                     l->method == METHOD_PAM ? "PAM authentication failed" : "LDAP authentication failed",
                     NULL);
}

static void password_message(struct relay *r, struct login *l, const unsigned char *body, uint32_t n) {
    if (!n || memchr(body, 0, n) != body + n - 1) {
        login_refuse(r, l, PROTOCOL_VIOLATION, "bad password packet", NULL);
        return;
    }
    if (l->method == METHOD_LDAP || l->method == METHOD_PAM) check_outside(r, l, body, n - 1);
    else if (l->method == METHOD_PLAIN) check_plain(r, l, body, n - 1);
    else if (secret_answers_md5(proof_secret(l), l->packet.user, l->salt, body, n - 1)) proof_done(r, l);
    else wrong_password(r, l);
}

/* ---- SCRAM: scram_proof.c ---------------------------------------------------------------------- */

uint32_t proof_longest(const struct login *l) {
    if (l->state != LOGIN_PASSWORD) return SASL_BYTES_MAX;
    return l->method == METHOD_MD5 ? MD5_BODY_MAX : PASSWORD_BODY_MAX;
}

/* One message, whole; it has to be the answer to our request. */
void proof_message(struct relay *r, struct login *l, unsigned char letter, const unsigned char *body,
                   uint32_t n) {
    if (letter == 'X') login_refuse(r, l, PROTOCOL_VIOLATION, "client close request", NULL);
    else if (letter != 'p') login_refuse(r, l, PROTOCOL_VIOLATION, "unknown pkt", NULL);
    else if (l->state == LOGIN_PASSWORD) password_message(r, l, body, n);
    else if (l->state == LOGIN_SASL_FIRST) scram_proof_first(r, l, body, n);
    else scram_proof_final(r, l, body, n);
}

/* PBKDF2 is done. */
void proof_derived(struct relay *r, struct login *l, struct job *j) {
    if (l->scram) {
        scram_proof_derived(r, l, j);
        return;
    }
    bool right = j->good && crypto_same(j->keys.server_key, j->server_key, SHA256_BYTES) && proof_secret(l);
    job_free(j);
    if (right) proof_done(r, l);
    else wrong_password(r, l);
}

/* It is who it says it is. */
void proof_done(struct relay *r, struct login *l) {
    l->proven = true;
    login_queue_leave(r, l);
    login_attempt(r, l);
    admission_begin(r, l);
}
