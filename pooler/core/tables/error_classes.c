/* Classes of SQLSTATEs: see error_classes.h. */
#include "tables/error_classes.h"

#include <string.h>

const char error_class_names[ERROR_CLASSES][6] = {
    "00", "01", "02", "03", "08", "09", "0A", "0B", "0F", "0L", "0P", "0Z", "20", "21",    "22",
    "23", "24", "25", "26", "27", "28", "2B", "2D", "2F", "34", "38", "39", "3B", "3D",    "3F",
    "40", "42", "44", "53", "54", "55", "57", "58", "72", "F0", "HV", "P0", "XX", "other",
};

int error_class_of(const char *sqlstate) {
    for (int i = 0; i < ERROR_CLASSES - 1; i++)
        if (memcmp(error_class_names[i], sqlstate, 2) == 0) return i;
    return ERROR_CLASSES - 1;
}
