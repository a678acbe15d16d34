/* What becomes of a message of a client on its way to a server: statements_forward() has the words. */
#ifndef POOLER_IO_REWRITTEN_H
#define POOLER_IO_REWRITTEN_H

enum rewritten {
    REWRITTEN_NOT,
    REWRITTEN_HEAD,
    REWRITTEN_ALL,
    REWRITTEN_MORE,
    REWRITTEN_WAIT,
    REWRITTEN_WAIT_ALL,
    REWRITTEN_TOO_LARGE,
    REWRITTEN_NO_MEMORY
};

#endif
