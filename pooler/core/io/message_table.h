/* What messages mean: the numbers of pooler/protocol/transaction.py (a test compares the two). */
#ifndef POOLER_IO_MESSAGE_TABLE_H
#define POOLER_IO_MESSAGE_TABLE_H

#include <stdint.h>

enum backend_effect {
    BE_NOTHING,
    BE_POP_PARSE,
    BE_POP_BIND,
    BE_POP_CLOSE,
    BE_ROWDESC,
    BE_NODATA,
    BE_COMMAND,
    BE_EMPTY,
    BE_SUSPENDED,
    BE_ERROR,
    BE_READY,
    BE_COPY_IN,
    BE_COPY_OUT,
    BE_COPY_BOTH,
    BE_PARAMETER,
    BE_NOTICE,
    BE_NOTIFY,
    BE_FUNCTION,
    BE_PARAMDESC,
    BE_COPY_DATA,
    BE_COPY_DONE,
    BE_FORBIDDEN,
};

enum frontend_effect {
    FE_QUERY,
    FE_PARSE,
    FE_BIND,
    FE_DESCRIBE,
    FE_EXECUTE,
    FE_CLOSE,
    FE_SYNC,
    FE_FLUSH,
    FE_FUNCTION,
    FE_COPY_DATA,
    FE_COPY_DONE,
    FE_COPY_FAIL,
    FE_TERMINATE,
    FE_FORBIDDEN,
};

extern const uint8_t backend_effects[256];
extern const uint8_t frontend_effects[256];

#endif
