/* PostgreSQL's own words by their grammar (src/include/parser/kwlist.h of release 18): which may be names,
 * and which say what stands behind them. */
#include "sql/keywords.h"

#include <string.h>

#include "sql/effects.h"

/* No name where they stand alone; no function of somebody's where they stand before a parenthesis. */
static const char RESERVED[] =
    "all analyse analyze and any array as asc asymmetric both case cast check collate column constraint "
    "create current_catalog current_date current_role current_time current_timestamp current_user default "
    "deferrable desc distinct do else end except false fetch for foreign from grant group having in "
    "initially intersect into lateral leading limit localtime localtimestamp not null offset on only or "
    "order placing primary references returning select session_user some symmetric system_user table then "
    "to trailing true union unique user using variadic when where window with ";
static const char COLUMN[] =
    "between bigint bit boolean char character coalesce dec decimal exists extract float greatest "
    "grouping inout int integer interval json json_array json_arrayagg json_exists json_object "
    "json_objectagg json_query json_scalar json_serialize json_table json_value least merge_action "
    "national nchar none normalize nullif numeric out overlay position precision real row setof smallint "
    "substring time timestamp treat trim values varchar xmlattributes xmlconcat xmlelement xmlexists "
    "xmlforest xmlnamespaces xmlparse xmlpi xmlroot xmlserialize xmltable ";

/* Names as others, but behind one of them an expression may begin. */
static const char UNRESERVED[] =
    "abort absent absolute access action add admin after aggregate also alter always asensitive assertion "
    "assignment at atomic attach attribute backward before begin breadth by cache call called cascade "
    "cascaded catalog chain characteristics checkpoint class close cluster columns comment comments "
    "commit committed compression conditional configuration conflict connection constraints content "
    "continue conversion copy cost csv cube current cursor cycle data database day deallocate declare "
    "defaults deferred definer delete delimiter delimiters depends depth detach dictionary disable "
    "discard document domain double drop each empty enable encoding encrypted enforced enum error escape "
    "event exclude excluding exclusive execute explain expression extension external family filter "
    "finalize first following force format forward function functions generated global granted groups "
    "handler header hold hour identity if immediate immutable implicit import include including increment "
    "indent index indexes inherit inherits inline input insensitive insert instead invoker isolation keep "
    "key keys label language large last leakproof level listen load local location lock locked logged "
    "mapping match matched materialized maxvalue merge method minute minvalue mode month move name names "
    "nested new next nfc nfd nfkc nfkd no normalized nothing notify nowait nulls object objects of off "
    "oids old omit operator option options ordinality others over overriding owned owner parallel "
    "parameter parser partial partition passing password path period plan plans policy preceding prepare "
    "prepared preserve prior privileges procedural procedure procedures program publication quote quotes "
    "range read reassign recursive ref referencing refresh reindex relative release rename repeatable "
    "replace replica reset restart restrict return returns revoke role rollback rollup routine routines "
    "rows rule savepoint scalar schema schemas scroll search second security sequence sequences "
    "serializable server session set sets share show simple skip snapshot source sql stable standalone "
    "start statement statistics stdin stdout storage stored strict string strip subscription support "
    "sysid system tables tablespace target temp template temporary text ties transaction transform "
    "trigger truncate trusted type types uescape unbounded uncommitted unconditional unencrypted unknown "
    "unlisten unlogged until update vacuum valid validate validator value varying version view views "
    "virtual volatile whitespace within without work wrapper write xml year yes zone ";
static const char FUNCTION[] =
    "authorization binary collation concurrently cross current_schema freeze full ilike inner is isnull "
    "join left like natural notnull outer overlaps right similar tablesample verbose ";

/* Reserved ones that are values. */
static const char VALUES[] =
    "null true false current_catalog current_date current_role current_time current_timestamp "
    "current_user localtime localtimestamp session_user system_user user default end ";

/* Words that stand before a parenthesis without being functions. */
static const char NOT_CALLED[] =
    "by conflict sets set insert filter over within join rollup cube operator materialized columns "
    "repeatable nested copy explain vacuum cluster reindex include like ilike similar overlaps execute "
    "prepare passing zone escape key error empty temp temporary at ";

/* What decides what stands behind a word. */
static const struct {
    const char *text;
    uint8_t place;
} PLACES[] = {
    {"from", PLACE_FROM},
    {"join", PLACE_JOIN},
    {"into", PLACE_INTO},
    {"update", PLACE_UPDATE},
    {"table", PLACE_RELATION},
    {"only", PLACE_ONLY},
    {"using", PLACE_USING},
    {"copy", PLACE_COPY},
    {"truncate", PLACE_RELATION},
    {"lock", PLACE_RELATION},
    {"temp", PLACE_MODIFIER},
    {"temporary", PLACE_MODIFIER},
    {"unlogged", PLACE_MODIFIER},
    {"binary", PLACE_MODIFIER},
    {"lateral", PLACE_ONLY},
    {"rows", PLACE_MODIFIER},
    {"where", PLACE_END},
    {"group", PLACE_END},
    {"having", PLACE_END},
    {"order", PLACE_END},
    {"window", PLACE_END},
    {"limit", PLACE_END},
    {"offset", PLACE_END},
    {"fetch", PLACE_END},
    {"for", PLACE_FOR},
    {"union", PLACE_END},
    {"intersect", PLACE_END},
    {"except", PLACE_END},
    {"returning", PLACE_END},
    {"select", PLACE_QUERY},
    {"insert", PLACE_INSERT},
    {"delete", PLACE_QUERY},
    {"merge", PLACE_INSERT},
    {"values", PLACE_QUERY},
    {"set", PLACE_END},
    {"as", PLACE_AS},
    {"cast", PLACE_CAST},
    {"treat", PLACE_CAST},
    {"xmlserialize", PLACE_CAST},
    {"extract", PLACE_FROMLESS},
    {"substring", PLACE_FROMLESS},
    {"trim", PLACE_FROMLESS},
    {"overlay", PLACE_FROMLESS},
    {"position", PLACE_FROMLESS},
    {"distinct", PLACE_DISTINCT},
    {"on", PLACE_ON},
    {"with", PLACE_WITH},
    {"recursive", PLACE_RECURSIVE},
    {"operator", PLACE_OPERATOR},
    {"do", PLACE_DO},
    {"key", PLACE_DO},
};

static bool each(struct words *w, const char *list, uint8_t keyword, uint8_t flags) {
    for (const char *end; *list; list = end + 1) {
        end = strchr(list, ' ');
        if (!words_keyword(w, list, (uint32_t)(end - list), keyword, PLACE_NONE, flags)) return false;
    }
    return true;
}

/* Functions of pg_catalog that leave nothing, and whose names a database hardly ever gives to others.  It
 * counts only before its catalogs are known, and then only for the one thing that cannot be asked for: the
 * setting without a name. */
static const char FUNCTIONS[] =
    "abs age array_agg array_append array_cat array_length array_lower array_position array_positions"
    " array_prepend array_remove array_replace array_to_json array_to_string array_upper ascii avg bit_and"
    " bit_length bit_or bool_and bool_or btrim cardinality cbrt ceil ceiling char_length character_length chr"
    " clock_timestamp col_description concat concat_ws convert_from convert_to corr count current_database"
    " current_query current_schema current_schemas date_part date_trunc decode dense_rank div encode every"
    " exp first_value floor format format_type gen_random_uuid generate_series generate_subscripts greatest"
    " has_database_privilege has_schema_privilege has_table_privilege inet_client_addr inet_server_addr"
    " inet_server_port initcap isfinite json_agg json_array_elements json_array_elements_text"
    " json_array_length json_build_array json_build_object json_each json_each_text json_extract_path"
    " json_extract_path_text json_object_agg json_object_keys json_typeof jsonb_agg jsonb_array_elements"
    " jsonb_array_elements_text jsonb_array_length jsonb_build_array jsonb_build_object jsonb_each"
    " jsonb_each_text jsonb_extract_path jsonb_extract_path_text jsonb_object_agg jsonb_object_keys"
    " jsonb_pretty jsonb_set jsonb_typeof lag last_value lead left length ln log lower lpad ltrim make_date"
    " make_interval make_time make_timestamp make_timestamptz max md5 min mod now nth_value ntile nullif"
    " num_nonnulls num_nulls obj_description octet_length overlay percent_rank pg_advisory_xact_lock"
    " pg_advisory_xact_lock_shared pg_backend_pid pg_blocking_pids pg_cancel_backend pg_char_to_encoding"
    " pg_client_encoding pg_column_size pg_conf_load_time pg_current_wal_lsn pg_current_xact_id"
    " pg_database_size pg_encoding_to_char pg_get_constraintdef pg_get_expr pg_get_functiondef"
    " pg_get_indexdef pg_get_serial_sequence pg_get_userbyid pg_get_viewdef pg_has_role pg_is_in_recovery"
    " pg_is_other_temp_schema pg_last_wal_receive_lsn pg_last_wal_replay_lsn pg_my_temp_schema"
    " pg_postmaster_start_time pg_relation_size pg_sleep pg_sleep_for pg_sleep_until pg_table_is_visible"
    " pg_table_size pg_terminate_backend pg_total_relation_size pg_try_advisory_xact_lock"
    " pg_try_advisory_xact_lock_shared pg_type_is_visible pg_typeof pi position power quote_ident"
    " quote_literal quote_nullable random rank regexp_match regexp_matches regexp_replace"
    " regexp_split_to_array regexp_split_to_table repeat replace reverse right round row_number row_to_json"
    " row_security_active rpad rtrim sign split_part sqrt starts_with statement_timestamp stddev strpos"
    " string_agg string_to_array string_to_table substr substring sum timeofday to_char to_date to_hex"
    " to_json to_jsonb to_number to_regclass to_regproc to_regtype to_timestamp to_tsquery to_tsvector"
    " transaction_timestamp translate trim trunc ts_headline ts_rank txid_current unnest upper variance"
    " version width_bucket ";

bool keywords_add(struct words *w) {
    bool all = each(w, FUNCTIONS, KEYWORD_NONE, WELL_KNOWN_FUNCTION) && each(w, RESERVED, KEYWORD_RESERVED, 0)
        && each(w, COLUMN, KEYWORD_COLUMN, 0) && each(w, UNRESERVED, KEYWORD_UNRESERVED, 0)
        && each(w, FUNCTION, KEYWORD_FUNCTION, 0) && each(w, VALUES, KEYWORD_NONE, KEYWORD_IS_VALUE)
        && each(w, NOT_CALLED, KEYWORD_NONE, KEYWORD_NOT_CALLED);
    for (size_t i = 0; all && i < sizeof PLACES / sizeof *PLACES; i++)
        all = words_keyword(w, PLACES[i].text, (uint32_t)strlen(PLACES[i].text), KEYWORD_NONE,
                            PLACES[i].place, 0);
    return all;
}
