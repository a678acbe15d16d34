/* SCRAM in a login: what stands in login/scram.h, with the secret of this user, or for one that does not
 * exist. */
#include <stdlib.h>
#include <string.h>

#include "io/connection.h"
#include "io/sqlstate.h"
#include "login/jobs.h"
#include "login/login.h"
#include "login/policy.h"
#include "login/scram.h"
#include "login/secret.h"
#include "relay/internal.h"

static void failed(struct relay *r, struct login *l, const char *reason, bool wrong) {
    login_refuse(r, l, wrong ? WRONG_PASSWORD : PROTOCOL_VIOLATION, "SASL authentication failed", reason);
}

/* The verifier that is stored; NULL: none is. */
static const struct secret *stored(const struct login *l) {
    const struct secret *s = proof_secret(l);
    return s && s->kind == SECRET_SCRAM ? s : NULL;
}

/* The client-first-message: our nonce, the salt and the iterations follow. */
void scram_proof_first(struct relay *r, struct login *l, const unsigned char *body, uint32_t n) {
    const unsigned char *data;
    uint32_t bytes;
    bool bound = l->certificate_bytes > 0;
    unsigned char salt[STABLE_SALT_BYTES], random[NONCE_BYTES];
    const struct secret *s = stored(l);
    switch (scram_initial_response(body, n, bound, &l->scram_plus, &data, &bytes)) {
    case SCRAM_BAD_MECHANISM:
        login_refuse(r, l, PROTOCOL_VIOLATION, "client selected an invalid SASL authentication mechanism",
                     NULL);
        return;
    case SCRAM_BAD_LENGTH: failed(r, l, "SASLInitialResponse: wrong length", false); return;
    case SCRAM_GOOD: break;
    }
    const char *reason = scram_client_first(l->scram, data, bytes, l->scram_plus,
                                            bound ? l->certificate : NULL, l->certificate_bytes);
    if (reason) {
        failed(r, l, reason, false);
        return;
    }
    bool good = crypto_random(random, sizeof random);
    if (!s) good = good && secret_stable_salt(r->logins->unknown_key, SHA256_BYTES, l->packet.user, salt);
    uint32_t length = !good ? 0
        : s ? scram_server_first(l->scram, secret_salt(s), s->salt_bytes, s->iterations, random)
            : scram_server_first(l->scram, salt, sizeof salt, proof_iterations(r, l), random);
    if (!length) {
        login_config_error(r, l, "no nonce could be made");
        return;
    }
    login_move(l, LOGIN_SASL_FINAL);
    proof_request(r, l, AUTH_CONTINUE, l->scram->first, length);
}

/* Compares the proof with these keys. */
static void check(struct relay *r, struct login *l, const unsigned char *body, uint32_t n,
                  const unsigned char *stored_key, const unsigned char *server_key) {
    char final[SERVER_FINAL_BYTES];
    bool wrong = false;
    const char *reason = scram_client_final(l->scram, body, n, stored_key, server_key, l->keys.client_key,
                                            final, &wrong);
    if (reason) {
        failed(r, l, reason, wrong);
        return;
    }
    memcpy(l->keys.server_key, server_key, SHA256_BYTES);
    l->keeps_keys = stored(l) != NULL; /* those of a verifier that we made ourselves fit no server */
    proof_request(r, l, AUTH_FINAL, final, sizeof final);
    proof_done(r, l);
}

static void check_derived(struct relay *r, struct login *l, const unsigned char *body, uint32_t n,
                          const struct scram_keys *keys) {
    unsigned char stored_key[SHA256_BYTES];
    if (crypto_sha256(keys->client_key, SHA256_BYTES, stored_key))
        check(r, l, body, n, stored_key, keys->server_key);
    else failed(r, l, "no memory", false);
}

/* A thread derives the keys of a password in clear; the message is kept. */
static void derive(struct relay *r, struct login *l, const unsigned char *body, uint32_t n,
                   uint32_t iterations) {
    unsigned char salt[STABLE_SALT_BYTES];
    struct job *j = job_new(l, JOB_DERIVE);
    bool good = j && job_password(j, secret_prepared(l->secret), l->secret->prepared_bytes)
        && secret_stable_salt(r->logins->unknown_key, SHA256_BYTES, l->packet.user, salt)
        && job_salt(j, salt, sizeof salt, iterations) && job_message(j, body, n);
    proof_derive(r, l, j, good);
}

/* The client-final-message. */
void scram_proof_final(struct relay *r, struct login *l, const unsigned char *body, uint32_t n) {
    const struct secret *s = stored(l);
    unsigned char stored_key[SHA256_BYTES], server_key[SHA256_BYTES];
    bool plain = proof_secret(l) && l->secret->kind == SECRET_PLAIN;
    uint32_t iterations = proof_iterations(r, l);
    if (s) check(r, l, body, n, s->stored_key, s->server_key);
    else if (plain && l->secret->derived && l->secret->derived_iterations == iterations)
        check_derived(r, l, body, n, &l->secret->keys);
    else if (plain) derive(r, l, body, n, iterations);
    else if (secret_mock(r->logins->unknown_key, SHA256_BYTES, l->packet.user, stored_key, server_key))
        check(r, l, body, n, stored_key, server_key); /* MD5 secrets cannot be used with SCRAM */
    else failed(r, l, "no memory", false);
}

/* The keys are derived: they are kept with the secret, and the proof is compared. */
void scram_proof_derived(struct relay *r, struct login *l, struct job *j) {
    if (j->good && !l->secret_is_own) policy_keep_keys(l->policy, l->secret, &j->keys, j->iterations);
    if (j->good) check_derived(r, l, j->message, j->message_bytes, &j->keys);
    else failed(r, l, "no memory", false);
    job_free(j);
}
