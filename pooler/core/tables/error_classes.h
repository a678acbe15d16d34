/* The classes of SQLSTATEs (PostgreSQL documentation, appendix A), by which errors are counted. */
#ifndef POOLER_TABLES_ERROR_CLASSES_H
#define POOLER_TABLES_ERROR_CLASSES_H

#define ERROR_CLASSES 44 /* the last one: none of those that are named */

extern const char error_class_names[ERROR_CLASSES][6];
int error_class_of(const char *sqlstate);

#endif
