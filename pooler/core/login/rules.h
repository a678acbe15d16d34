/* auth_hba_file as a table: by which method who may log in to what from where.  The first rule that fits
 * decides.  Python reads the file (pooler/config/hba.py), and fills this. */
#ifndef POOLER_LOGIN_RULES_H
#define POOLER_LOGIN_RULES_H

#include <stdbool.h>
#include <stdint.h>

#include "login/names.h"

/* All ways in; the words are those of auth_type. */
enum method {
    METHOD_NONE, /* no rule fits */
    METHOD_REJECT,
    METHOD_ANY,
    METHOD_TRUST,
    METHOD_PLAIN,
    METHOD_MD5,
    METHOD_SCRAM,
    METHOD_PEER,
    METHOD_CERT,
    METHOD_LDAP,
    METHOD_PAM,
    METHOD_UNKNOWN, /* of a configuration that cannot be: "bouncer config error" */
};

enum rule_kind { RULE_LOCAL, RULE_HOST, RULE_HOSTSSL, RULE_HOSTNOSSL };
enum rule_word { RULE_ALL = 1, RULE_SAMEUSER = 2, RULE_REPLICATION = 4 }; /* unquoted keywords */

struct rule {
    uint8_t kind;                        /* enum rule_kind */
    uint8_t method;                      /* enum method */
    uint8_t database_words, user_words;  /* enum rule_word, or-ed */
    uint8_t family;                      /* 0: any address; 4 or 6 */
    unsigned char address[16], mask[16]; /* of family 4 the first four bytes */
    bool mapped;                         /* it has a map: Python is asked who may be whom */
    int32_t line;                        /* in the file */
    int32_t number;                      /* of all rules, by which Python knows it */
    struct name_set databases, users;
};

/* What a rule looks at.  family 0: a unix socket. */
struct rule_client {
    const char *database, *user;
    uint8_t family;
    unsigned char address[16];
    bool tls, physical_replication;
};

struct rules {
    uint32_t count;
    struct rule *rules;
};

/* An address as a socket tells it (IPv4 in IPv6 is IPv4, a zone is cut off).  False: it is none. */
bool rules_address(const char *text, uint8_t *family, unsigned char address[16]);
/* NULL: there is none for such a client. */
const struct rule *rules_find(const struct rules *r, const struct rule_client *c);
void rules_free(struct rules *r);

#endif
