/* PostgreSQL's keywords, as far as the scanner of texts (scan.c) needs them. */
#ifndef POOLER_SQL_KEYWORDS_H
#define POOLER_SQL_KEYWORDS_H

#include <stdbool.h>

struct words;

enum keyword { KEYWORD_NONE, KEYWORD_UNRESERVED, KEYWORD_FUNCTION, KEYWORD_COLUMN, KEYWORD_RESERVED };

enum keyword_flag { KEYWORD_IS_VALUE = 1, KEYWORD_NOT_CALLED = 2, WELL_KNOWN_FUNCTION = 4 };

/* What a word says about the names behind it. */
enum place {
    PLACE_NONE,
    PLACE_FROM,
    PLACE_JOIN,
    PLACE_INTO,
    PLACE_UPDATE,
    PLACE_RELATION,
    PLACE_ONLY,
    PLACE_USING,
    PLACE_COPY,
    PLACE_MODIFIER,
    PLACE_END,
    PLACE_FOR,
    PLACE_QUERY,
    PLACE_INSERT,
    PLACE_AS,
    PLACE_CAST,
    PLACE_FROMLESS,
    PLACE_DISTINCT,
    PLACE_ON,
    PLACE_WITH,
    PLACE_RECURSIVE,
    PLACE_OPERATOR,
    PLACE_DO,
    PLACE_STATEMENT,
};

bool keywords_add(struct words *w); /* false: no memory */

#endif
