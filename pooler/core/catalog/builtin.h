/* What is known of functions without reading a body: those of pg_catalog, and those of extensions written in
 * C. */
#ifndef POOLER_CATALOG_BUILTIN_H
#define POOLER_CATALOG_BUILTIN_H

#include <stdbool.h>
#include <stdint.h>

#define CATALOG_VERSION_KNOWN 180000 /* PostgreSQL up to 18 was gone through function by function */

/* Extensions whose functions in C keep nothing in their process that a session could see once a DISCARD ALL
 * is over. Looked for in the contrib sources of 15.18 and in the symbols of the libraries that were built of
 * them and of 17.12: data that can be written, SPI, SetConfigOption, locks of the session, memory that
 * outlives a transaction, seeds; and in pgvector 0.8.0.  Scratch memory and caches of what does not change
 * remain.  What PostgreSQL's own functions do that these call, and libxml2, OpenSSL and libuuid, was not gone
 * through, nor any other release. Not among them, for what they keep: dblink and postgres_fdw (connections),
 * isn (weak mode, until 17), refint (plans), PostGIS (projections as spatial_ref_sys had them, rolled back or
 * not; the seed of ST_GeneratePoints). */
/* clang-format off */
#define CATALOG_STATELESS(NAME) \
    NAME("adminpack") NAME("amcheck") NAME("autoinc") NAME("bloom") NAME("btree_gin") NAME("btree_gist") \
    NAME("citext") NAME("cube") NAME("dict_int") NAME("dict_xsyn") NAME("earthdistance") NAME("file_fdw") \
    NAME("fuzzystrmatch") NAME("hstore") NAME("insert_username") NAME("intagg") NAME("intarray") NAME("lo") \
    NAME("ltree") NAME("moddatetime") NAME("old_snapshot") NAME("pageinspect") NAME("pg_buffercache") \
    NAME("pg_freespacemap") NAME("pg_prewarm") NAME("pg_stat_statements") NAME("pg_surgery") NAME("pg_trgm") \
    NAME("pg_visibility") NAME("pg_walinspect") NAME("pgcrypto") NAME("pgrowlocks") NAME("pgstattuple") \
    NAME("plpgsql") NAME("seg") NAME("sslinfo") NAME("tablefunc") NAME("tcn") NAME("tsm_system_rows") \
    NAME("tsm_system_time") NAME("unaccent") NAME("uuid-ossp") NAME("vector")
/* clang-format on */

/* Traits of a function of pg_catalog.  `is_volatile`: it is declared so; one of a later version that is not
 * in the table here is unknown then. */
uint32_t catalog_builtin_effect_flags(const char *name, bool is_volatile, uint32_t server_version);

/* `trusted`: names from session_trusted_extensions, each with a NUL behind it and an empty one at the end. */
bool catalog_trusts(const char *trusted, const char *name);

/* Traits of a function in C that belongs to this extension.  Without a name: of the foreign tables of its
 * wrapper. */
uint32_t catalog_extension_effect_flags(const char *extension, const char *name, const char *trusted);

#endif
