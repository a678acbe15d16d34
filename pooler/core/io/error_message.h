/* ErrorResponse messages of pooler's own. */
#ifndef POOLER_IO_ERROR_MESSAGE_H
#define POOLER_IO_ERROR_MESSAGE_H

#include <stdint.h>

uint32_t error_message(char *out, const char *severity, const char *sqlstate, const char *text,
                       const char *detail);

#endif
