/* The SQL scanner and the finder of statement names, on any text: nothing is read or written outside, both
 * end, and what they say they found lies within the text. */
#include <stdlib.h>
#include <string.h>

#include "claim.h"
#include "sql/catalog_names.h"
#include "sql/effects.h"
#include "sql/scan.h"
#include "sql/statement_names.h"

static struct words builtin;
static struct catalog catalog; /* of a database of which nothing is known */

static void scan(const unsigned char *text, uint32_t bytes, bool backslash) {
    static struct scan found;
    memset(&found, 0xee, sizeof found);
    scan_text(&builtin, &catalog, text, bytes, backslash, &found);
    claim(found.names_bytes <= SCAN_NAMES_BYTES && found.unknown_count <= SCAN_UNKNOWN_MAX,
          "more than there is space for");
    uint32_t at = 0;
    char kind;
    const char *name;
    while (scan_next_name(found.names, found.names_bytes, &at, &kind, &name)) {
        claim((unsigned)((kind | 0x20) - 'a') < 26, "a kind of names that is none");
        claim(name + strlen(name) < found.names + found.names_bytes, "a name outside");
        scan_names_a_setting((const unsigned char *)name, (uint32_t)strlen(name));
    }
}

static void find_names(const unsigned char *text, uint32_t bytes) {
    struct sql_use uses[SQL_USES_MAX];
    uint32_t statements;
    bool clears;
    int count = sql_uses((const char *)text, bytes, uses, &statements, &clears);
    for (int i = 0; i < count && i < SQL_USES_MAX; i++) {
        claim(uses[i].at + uses[i].bytes <= bytes, "a use outside of the text");
        claim(uses[i].name_bytes <= NAME_MAX_BYTES, "a name that is too long");
    }
}

int LLVMFuzzerTestOneInput(const unsigned char *data, size_t size) {
    if (!builtin.count) words_builtin(&builtin, 42);
    /* PostgreSQL's texts end at a NUL, and callers end them there */
    size = strnlen((const char *)data, size);
    unsigned char *text = malloc(size + !size); /* so that its end is known */
    memcpy(text, data, size);
    scan(text, (uint32_t)size, false);
    scan(text, (uint32_t)size, true);
    find_names(text, (uint32_t)size);
    free(text);
    return 0;
}
