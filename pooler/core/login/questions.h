/* What Python is asked about a login, and what is Python's to go on with.
 *
 * A question is an event (relay/events.h) with fields, the answer a command; the login is ASKING
 * meanwhile, and takes no place in the login queue.  Fields are byte strings, each behind its length in
 * four bytes of this machine's order (binding/fields.pxi):
 *
 *     ASKS_SECRET        user, database                     YES: name, "1" or "" (NULL), secret, prepared; NO
 *     ASKS_LDAP, ASKS_PAM  user, password, RULE, address      YES, NO
 *     ASKS_PREPARED      password                             YES: its prepared form
 *     ASKS_PEER          user, "1" if it exists, RULE, uid or ""       YES, FAULT
 *     ASKS_MAP           user, "1" if it exists, RULE, common name     YES, FAULT
 *     ASKS_POOL          database, user, place for the log             YES, FAULT
 *
 * RULE is two fields: the serial number of the policy, and the number of the rule in it, or "".
 *
 * A FAULT has SQLSTATE, text, and a note for the log, which may be empty.  LEFT: the client was found
 * gone. */
#ifndef POOLER_LOGIN_QUESTIONS_H
#define POOLER_LOGIN_QUESTIONS_H

#include <stdbool.h>
#include <stdint.h>

#include "login/login.h"

struct command;

enum login_answer { ANSWER_YES, ANSWER_NO, ANSWER_FAULT, ANSWER_LEFT };

/* What Python goes on with: the descriptor, the row and the TLS are its own then. */
enum login_pass {
    PASS_CONSOLE,     /* user, database, "1" for the console's own user, minor version, application_name */
    PASS_REPLICATION, /* the same, and names and values for the startup packet of its server */
    PASS_CANCEL,      /* pid, key */
};

void question_secret(struct relay *r, struct login *l);
void question_password(struct relay *r, struct login *l, enum login_question question,
                       const unsigned char *password, uint32_t n);
void question_peer(struct relay *r, struct login *l);
void question_map(struct relay *r, struct login *l, const char *common_name);
void question_pool(struct relay *r, struct login *l);
/* The login ends: where it has asked and was not answered, Python need not go on. */
void question_left(struct relay *r, struct login *l);
void question_answered(struct relay *r, const struct command *k);
void question_pass(struct relay *r, struct login *l, enum login_pass how);

#endif
