/* The tables of message_table.h.  Every byte that is not named is forbidden. */
#include "io/message_table.h"

#define REST(LOW, HIGH, WHAT) [LOW... HIGH] = WHAT

#pragma GCC diagnostic ignored "-Woverride-init"
const uint8_t backend_effects[256] = {
    REST(0, 255, BE_FORBIDDEN), ['1'] = BE_POP_PARSE, ['2'] = BE_POP_BIND,  ['3'] = BE_POP_CLOSE,
    ['A'] = BE_NOTIFY,          ['C'] = BE_COMMAND,   ['D'] = BE_NOTHING,   ['E'] = BE_ERROR,
    ['G'] = BE_COPY_IN,         ['H'] = BE_COPY_OUT,  ['I'] = BE_EMPTY,     ['N'] = BE_NOTICE,
    ['S'] = BE_PARAMETER,       ['T'] = BE_ROWDESC,   ['V'] = BE_FUNCTION,  ['W'] = BE_COPY_BOTH,
    ['Z'] = BE_READY,           ['c'] = BE_COPY_DONE, ['d'] = BE_COPY_DATA, ['n'] = BE_NODATA,
    ['s'] = BE_SUSPENDED,       ['t'] = BE_PARAMDESC,
};

const uint8_t frontend_effects[256] = {
    REST(0, 255, FE_FORBIDDEN), ['B'] = FE_BIND,      ['C'] = FE_CLOSE,     ['D'] = FE_DESCRIBE,
    ['E'] = FE_EXECUTE,         ['F'] = FE_FUNCTION,  ['H'] = FE_FLUSH,     ['P'] = FE_PARSE,
    ['Q'] = FE_QUERY,           ['S'] = FE_SYNC,      ['X'] = FE_TERMINATE, ['c'] = FE_COPY_DONE,
    ['d'] = FE_COPY_DATA,       ['f'] = FE_COPY_FAIL,
};
