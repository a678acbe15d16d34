/* ParameterStatus messages of pooler's own. */
#include "io/parameter_status.h"

#include <string.h>

#include "io/buffer.h"

uint32_t parameter_status(unsigned char *out, const char *name, const char *value) {
    uint32_t name_bytes = (uint32_t)strlen(name) + 1, value_bytes = (uint32_t)strlen(value) + 1;
    out[0] = 'S';
    store_be32(out + 1, 4 + name_bytes + value_bytes);
    memcpy(out + 5, name, name_bytes);
    memcpy(out + 5 + name_bytes, value, value_bytes);
    return 5 + name_bytes + value_bytes;
}
