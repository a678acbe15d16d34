/* Rows of clients.  All functions but the *_locked ones take the lock themselves. */
#ifndef POOLER_TABLES_CLIENTS_H
#define POOLER_TABLES_CLIENTS_H

#include <stdbool.h>
#include <stdint.h>

struct client_row;
struct outcome;
struct tables;

enum login_verdict {
    LOGIN_OK,
    LOGIN_MAX_CLIENT_CONN,
    LOGIN_MAX_DB,
    LOGIN_MAX_USER,
    LOGIN_DISABLED,
    LOGIN_FORGOTTEN
};

void client_flag(struct tables *t, int32_t row, uint8_t flag);
int32_t client_new(struct tables *t, int worker, uint64_t now);
void client_count(struct tables *t, const struct client_row *c, int by);
enum login_verdict client_login(struct tables *t, int32_t row, int32_t database, int32_t user, int32_t pool,
                                uint8_t special, bool unlimited);
void client_free_locked(struct tables *t, int32_t row, int worker, uint64_t now, struct outcome *out);
void client_free(struct tables *t, int32_t row, int worker, uint64_t now, struct outcome *out);

#endif
