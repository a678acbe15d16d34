/* What the configuration says of logins, as tables that the relay's thread looks up: made by Python's thread
 * at the start and at each reload (pooler/worker/login_policy.py fills one by binding/policy.pxi), then
 * given to the relay and swapped whole.  From then on it is the relay's; logins that began with an old one
 * keep it until they are over. */
#ifndef POOLER_LOGIN_POLICY_H
#define POOLER_LOGIN_POLICY_H

#include <openssl/ssl.h>
#include <stdbool.h>
#include <stdint.h>

#include "login/names.h"
#include "login/rules.h"
#include "login/secret.h"
#include "tables/layout.h"

#define DERIVED_MAX 512 /* secrets in clear whose keys are kept: 64 bytes each, at most 32 kB */

/* What [databases] says of one database; of `*` for all that have no entry. */
struct policy_database {
    bool forced_user; /* servers log in as one user, whoever the client is */
    bool auth_user;   /* it has one of its own: who is not in auth_file is looked up */
    bool follows; /* session_state is not off, for users that have none of their own: any setting may be in a
                         startup packet */
    char user[USER_NAME_BYTES]; /* of forced_user */
    char instance[280];         /* its PostgreSQL, as rows of instances are named */
};

/* What [users] says of one user that matters here. */
struct policy_user { bool has_follows, follows; };

/* The settings. */
struct policy_settings {
    uint8_t auth_type; /* enum method; METHOD_NONE: the rules decide (auth_type = hba) */
    bool auth_user;    /* the global one is set */
    bool tls_required;
    bool log_connections, log_disconnections, log_pooler_errors, verbose;
    bool add_host;      /* application_name_add_host */
    bool has_automatic; /* [databases] has `*` */
    int32_t scram_iterations;
    uint32_t max_unauthenticated, max_silent_per_address; /* 0: no limit */
    uint64_t login_timeout_us;                            /* 0: none */
    int32_t listen_port;
    uint32_t serial; /* by which Python knows the configuration that it was made from */
    uint32_t own_uid;
};

struct policy {
    uint32_t references;
    struct policy_settings settings;
    struct name_set secrets;   /* by user: struct secret; of auth_file */
    struct name_set databases; /* struct policy_database */
    struct name_set users;     /* struct policy_user */
    struct policy_database automatic;
    struct name_set consoles; /* names of the pseudo-database */
    struct name_set ignored;  /* ignore_startup_parameters, in lower case */
    struct rules rules;
    SSL_CTX *tls;          /* NULL: clients have no TLS; a reference is held */
    unsigned char *notice; /* a NoticeResponse for each client that is in; NULL: none */
    uint32_t notice_bytes;
    struct secret *derived[DERIVED_MAX]; /* secrets of which keys are kept */
    uint32_t derived_at;                 /* the next place of them */
};

/* With one reference; NULL: no memory. */
struct policy *policy_new(const uint64_t key[2]);
struct policy *policy_keep(struct policy *p);
/* Frees it with the last reference; NULL is fine. */
void policy_drop(struct policy *p);

/* NULL: there is no such database (a name of the console is none; nor is one that is empty or longer than
 * DATABASE_BYTES_MAX where only `*` could have it). */
const struct policy_database *policy_find(const struct policy *p, const char *database);
bool policy_is_console(const struct policy *p, const char *database);
/* Whether any setting may be in a startup packet. */
bool policy_follows(const struct policy *p, const char *database, const char *user);
struct secret *policy_secret(const struct policy *p, const char *user);
/* Keeps keys that were derived of a secret in clear; those that were derived first are forgotten. */
void policy_keep_keys(struct policy *p, struct secret *s, const struct scram_keys *keys, uint32_t iterations);
/* Takes over the keys that were derived of secrets that are the same in the old one. */
void policy_inherit(struct policy *p, const struct policy *old);

#endif
