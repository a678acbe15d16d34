/* ParameterStatus messages of pooler's own. */
#ifndef POOLER_IO_PARAMETER_STATUS_H
#define POOLER_IO_PARAMETER_STATUS_H

#include <stdint.h>

#define PARAMETER_STATUS_BYTES 7 /* of one, beside its texts */

/* Writes one, and returns its length; `out` has space for both texts and PARAMETER_STATUS_BYTES. */
uint32_t parameter_status(unsigned char *out, const char *name, const char *value);

#endif
