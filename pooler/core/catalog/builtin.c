/* The functions of pg_catalog and of extensions in C that may leave something in a session, and those that do
 * not. */
#include "catalog/builtin.h"

#include <string.h>

#include "sql/catalog_names.h"
#include "sql/effects.h"

#define RUNS_SQL (ASK_ALL | PIN_OPAQUE | EFFECT_UNSURE) /* a text, or a name, that is one of its arguments */

struct known {
    const char *name;
    uint32_t effect_flags;
};

/* From pg_proc.dat of PostgreSQL 15 to 18: all that are volatile, and of the others those that run what an
 * argument names.  A name that ends with `*` stands for all that begin so. */
static const struct known BUILTIN[] = {
    {"set_config", ASK_SETTINGS | PIN_OPAQUE | EFFECT_UNSURE},
    {"pg_advisory_lock", ASK_LOCKS},
    {"pg_advisory_lock_shared", ASK_LOCKS},
    {"pg_try_advisory_lock", ASK_LOCKS},
    {"pg_try_advisory_lock_shared", ASK_LOCKS},
    {"pg_advisory_unlock*", ASK_LOCKS},
    {"pg_notify", EFFECT_NOTIFY},
    {"pg_listening_channels", ASK_CHANNELS},
    {"nextval", PIN_SEQUENCE},
    {"setval", PIN_SEQUENCE},
    {"currval", EFFECT_CURRVAL},
    {"lastval", EFFECT_CURRVAL},
    {"setseed", PIN_LOADED},
    {"current_setting", EFFECT_READS},
    {"current_schema*", EFFECT_READS},
    {"current_user", EFFECT_READS},
    {"session_user", EFFECT_READS},
    {"getpgusername", EFFECT_READS},
    {"pg_backend_pid", EFFECT_READS},
    {"query_to_xml*", RUNS_SQL},
    {"table_to_xml*", RUNS_SQL},
    {"schema_to_xml*", RUNS_SQL},
    {"database_to_xml*", RUNS_SQL},
    {"cursor_to_xml*", RUNS_SQL},
    {"ts_stat", RUNS_SQL},
    {"ts_rewrite", RUNS_SQL},
    /* of a type whose name is a literal */
    {"pg_input_is_valid", RUNS_SQL},
    {"pg_input_error_info", RUNS_SQL},
    {"pg_restore_attribute_stats", RUNS_SQL}, /* values become those of the column's type */
    {"brin_summarize_*", RUNS_SQL},           /* expressions of the index */
    /* functions of operator classes */
    {"satisfies_hash_partition", RUNS_SQL},
    {"gin_clean_pending_list", RUNS_SQL},
    {"pg_backup_start", PIN_LOADED},
    {"pg_start_backup", PIN_LOADED},
    {"pg_create_physical_replication_slot", PIN_LOADED},
    {"pg_create_logical_replication_slot", PIN_LOADED},
    {"pg_copy_physical_replication_slot", PIN_LOADED},
    {"pg_copy_logical_replication_slot", PIN_LOADED},
    {"pg_replication_slot_advance", PIN_LOADED},
    {"pg_logical_slot_*", PIN_LOADED}, /* they load a plugin */
    {"pg_sync_replication_slots", PIN_LOADED},
    {"pg_replication_origin_session_*", PIN_LOADED},
    {"binary_upgrade_*", PIN_LOADED},
    {"pg_stop_making_pinned_objects", PIN_LOADED},
};

/* The volatile ones of 15 to 18 that leave nothing: looked up only where the server is newer than this
 * list. */
static const char HARMLESS[] =
    " amvalidate bernoulli brin_desummarize_range brinhandler bthandler clock_timestamp current_query"
    " currtid2 gen_random_uuid ginhandler gisthandler hashhandler heap_tableam_handler lo_close lo_creat"
    " lo_create lo_export lo_from_bytea lo_get lo_import lo_lseek lo_lseek64 lo_open lo_put lo_tell lo_tell64"
    " lo_truncate lo_truncate64 lo_unlink loread lowrite pg_advisory_xact_lock pg_advisory_xact_lock_shared"
    " pg_backup_stop pg_blocking_pids pg_cancel_backend pg_collation_actual_version pg_control_checkpoint"
    " pg_control_init pg_control_recovery pg_control_system pg_create_restore_point pg_current_logfile"
    " pg_current_wal_flush_lsn pg_current_wal_insert_lsn pg_current_wal_lsn"
    " pg_database_collation_actual_version pg_database_size pg_drop_replication_slot pg_export_snapshot"
    " pg_extension_config_dump pg_get_backend_memory_contexts pg_get_multixact_members"
    " pg_get_shmem_allocations pg_get_wal_replay_pause_state pg_get_wal_resource_managers pg_hba_file_rules"
    " pg_ident_file_mappings pg_import_system_collations pg_indexes_size pg_is_in_recovery"
    " pg_is_wal_replay_paused pg_isolation_test_session_is_blocked pg_jit_available pg_last_committed_xact"
    " pg_last_wal_receive_lsn pg_last_wal_replay_lsn pg_last_xact_replay_timestamp pg_lock_status"
    " pg_log_backend_memory_contexts pg_logical_emit_message pg_ls_archive_statusdir pg_ls_dir pg_ls_logdir"
    " pg_ls_logicalmapdir pg_ls_logicalsnapdir pg_ls_replslotdir pg_ls_tmpdir pg_ls_waldir pg_nextoid"
    " pg_notification_queue_usage pg_partition_ancestors pg_partition_tree pg_prepared_xact pg_promote"
    " pg_read_binary_file pg_read_file pg_relation_size pg_reload_conf pg_replication_origin_advance"
    " pg_replication_origin_create pg_replication_origin_drop pg_replication_origin_progress"
    " pg_replication_origin_xact_reset pg_replication_origin_xact_setup pg_rotate_logfile"
    " pg_safe_snapshot_blocking_pids pg_sequence_last_value pg_show_all_file_settings"
    " pg_show_replication_origin_status pg_sleep pg_sleep_for pg_sleep_until pg_stat_clear_snapshot"
    " pg_stat_file pg_stat_force_next_flush pg_stat_have_stats pg_switch_wal pg_table_size pg_tablespace_size"
    " pg_terminate_backend pg_total_relation_size pg_try_advisory_xact_lock pg_try_advisory_xact_lock_shared"
    " pg_wal_replay_pause pg_wal_replay_resume pg_xact_commit_timestamp pg_xact_commit_timestamp_origin"
    " pg_xact_status plpgsql_call_handler plpgsql_inline_handler plpgsql_validator random random_normal"
    " spghandler system timeofday txid_status array_sample array_shuffle pg_log_standby_snapshot"
    " pg_available_wal_summaries pg_get_wal_summarizer_state uuidv4 uuidv7 ";

/* Those that leave nothing in a session, and run no SQL of their callers, but for the exceptions.  Nobody but
 * dblink_connect and isn_weak leaves anything in dblink and isn; that xml2 leaves none of the defaults of
 * libxml2 is true of 15.18, and not enough for CATALOG_STATELESS. */
#define SPACED(name) name " "
static const char EXTENSIONS[] = " " CATALOG_STATELESS(SPACED) "dblink isn xml2 ";

static const struct known EXCEPTIONS[] = {
    {"autoinc", PIN_SEQUENCE}, /* a trigger that calls nextval */
    {"bt_index_*", RUNS_SQL},
    {"gin_index_check", RUNS_SQL}, /* expressions, and the order, of the index */
    {"connectby", RUNS_SQL},
    {"crosstab*", RUNS_SQL},
    {"xpath_table", RUNS_SQL},
    {"dblink_connect*", PIN_LOADED},
    {"dblink_build_sql_*", RUNS_SQL}, /* they read the relation, which may be a view */
    {"isn_weak", PIN_LOADED},         /* a static variable until 17, then isn.weak */
    {"set_limit", ASK_ALL},           /* sets pg_trgm.similarity_threshold */
    {"triggered_change_notification", EFFECT_NOTIFY},
};

static const struct known *find(const struct known *known, size_t count, const char *name) {
    for (size_t i = 0; i < count; i++) {
        size_t n = strlen(known[i].name);
        bool prefix = known[i].name[n - 1] == '*';
        if (prefix ? strncmp(known[i].name, name, n - 1) == 0 : strcmp(known[i].name, name) == 0)
            return &known[i];
    }
    return NULL;
}

static bool listed(const char *list, const char *name) {
    size_t n = strlen(name);
    for (const char *at = list; n && (at = strstr(at, name)); at += n)
        if (at[-1] == ' ' && at[n] == ' ') return true;
    return false;
}

uint32_t catalog_builtin_effect_flags(const char *name, bool is_volatile, uint32_t server_version) {
    const struct known *k = find(BUILTIN, sizeof BUILTIN / sizeof *BUILTIN, name);
    if (k) return k->effect_flags;
    if (!is_volatile || server_version / 10000 <= CATALOG_VERSION_KNOWN / 10000 || listed(HARMLESS, name))
        return 0;
    return CATALOG_UNKNOWN;
}

bool catalog_trusts(const char *trusted, const char *name) {
    for (; *trusted; trusted += strlen(trusted) + 1)
        if (strcmp(trusted, name) == 0) return true;
    return false;
}

uint32_t catalog_extension_effect_flags(const char *extension, const char *name, const char *trusted) {
    if (listed(EXTENSIONS, extension)) {
        const struct known *k = find(EXCEPTIONS, sizeof EXCEPTIONS / sizeof *EXCEPTIONS, name);
        return k ? k->effect_flags : 0;
    }
    if (catalog_trusts(trusted, extension)) return 0;
    /* connections: each with a session of its own */
    if (strcmp(extension, "postgres_fdw") == 0) return PIN_LOADED;
    return CATALOG_UNKNOWN;
}
