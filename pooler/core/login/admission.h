/* A client that is who it says it is comes in: its database, the limits, its pool's welcome, its greeting. */
#ifndef POOLER_LOGIN_ADMISSION_H
#define POOLER_LOGIN_ADMISSION_H

#include <stdbool.h>
#include <stdint.h>

#include "login/login.h"

/* Checks database and limits; from now on the client counts.  Asks Python where rows have to be made. */
void admission_begin(struct relay *r, struct login *l);
/* The pool has had a server, or may have: the client becomes the relay's when its welcome is there. */
void admission_enter(struct relay *r, struct login *l);

#endif
