"""What the configuration says of logins: login/policy.h and what it is made of."""

from libc.stdint cimport int32_t, uint8_t, uint32_t, uint64_t

from pooler.core.binding.tls cimport SSL_CTX

cdef extern from "<stdbool.h>" nogil:
    ctypedef bint c_bool "bool"

cdef extern from "<openssl/ssl.h>" nogil:
    int SSL_CTX_up_ref(SSL_CTX *)

cdef extern from "login/names.h" nogil:
    struct name_entry:
        char *name
        void *value
    struct name_set:
        uint32_t count, capacity
        name_entry *entries
        uint64_t key[2]
    bint names_put(name_set *, const char *, void *, void **)
    name_entry *names_get(const name_set *, const char *)
    void names_free_all(name_set *, void (*)(void *) noexcept)

cdef extern from "login/secret.h" nogil:
    struct scram_keys:
        unsigned char client_key[32]
        unsigned char server_key[32]
    struct secret:
        uint8_t kind
        c_bool derived
        uint32_t iterations, derived_iterations, raw_bytes, prepared_bytes, salt_bytes
        unsigned char stored_key[32]
        unsigned char server_key[32]
        scram_keys keys
    secret *secret_new(const void *, uint32_t, const void *, uint32_t)
    void secret_free(secret *)
    const unsigned char *secret_raw(const secret *)
    const unsigned char *secret_prepared(const secret *)
    const unsigned char *secret_salt(const secret *)

cdef extern from "login/rules.h" nogil:
    enum: METHOD_NONE, METHOD_REJECT, METHOD_ANY, METHOD_TRUST, METHOD_PLAIN, METHOD_MD5, METHOD_SCRAM
    enum: METHOD_PEER, METHOD_CERT, METHOD_LDAP, METHOD_PAM, METHOD_UNKNOWN
    enum: RULE_LOCAL, RULE_HOST, RULE_HOSTSSL, RULE_HOSTNOSSL
    enum: RULE_ALL, RULE_SAMEUSER, RULE_REPLICATION
    struct rule:
        uint8_t kind, method, database_words, user_words, family
        unsigned char address[16]
        unsigned char mask[16]
        c_bool mapped
        int32_t line, number
        name_set databases, users
    struct rule_client:
        const char *database
        const char *user
        uint8_t family
        unsigned char address[16]
        c_bool tls, physical_replication
    struct rules:
        uint32_t count
        rule *rules
    bint rules_address(const char *, uint8_t *, unsigned char *)
    const rule *rules_find(const rules *, const rule_client *)

cdef extern from "login/policy.h" nogil:
    enum: DERIVED_MAX
    struct policy_database:
        c_bool forced_user, auth_user, follows
        char user[128]
        char instance[280]
    struct policy_user:
        c_bool has_follows, follows
    struct policy_settings:
        uint8_t auth_type
        c_bool auth_user, tls_required, log_connections, log_disconnections, log_pooler_errors, verbose
        c_bool add_host, has_automatic
        int32_t scram_iterations
        uint32_t max_unauthenticated, max_silent_per_address
        uint64_t login_timeout_us
        int32_t listen_port
        uint32_t own_uid, serial
    struct policy:
        uint32_t references
        policy_settings settings
        name_set secrets, databases, users, consoles, ignored
        policy_database automatic
        rules rules
        SSL_CTX *tls
        unsigned char *notice
        uint32_t notice_bytes
    policy *policy_new(const uint64_t *)
    policy *policy_keep(policy *)
    void policy_drop(policy *)
    const policy_database *policy_find(const policy *, const char *)
    bint policy_is_console(const policy *, const char *)
    bint policy_follows(const policy *, const char *, const char *)
    secret *policy_secret(const policy *, const char *)
    void policy_keep_keys(policy *, secret *, const scram_keys *, uint32_t)
    void policy_inherit(policy *, const policy *)
