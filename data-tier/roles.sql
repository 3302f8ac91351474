-- The roles of the database. Run at every start, as superuser, inside the database.
-- Idempotent.
--
-- "owner" owns everything and runs the migrations; no client logs in as it. Each
-- module has a role and a schema of its own name, and cannot access the other
-- schemas. "replicator" is the data tier of another host, which follows this one.

do $$
declare
    module text;
begin
    if not exists (select from pg_roles where rolname = 'owner') then
        create role owner nologin;
    end if;
    execute format('alter database %I owner to owner', current_database());

    revoke all on schema public from public;
    execute format('revoke all on database %I from public', current_database());

    create schema if not exists extensions authorization owner;
    create extension if not exists unaccent schema extensions;
    grant usage on schema extensions to public;

    create schema if not exists migrations authorization owner;

    foreach module in array array['accounts', 'talks', 'following', 'notifications', 'media', 'transfers', 'operations', 'queue'] loop
        if not exists (select from pg_roles where rolname = module) then
            execute format('create role %I login', module);
        end if;
        execute format('alter role %I set search_path = %I', module, module);
        execute format('create schema if not exists %I authorization owner', module);
        execute format('grant connect on database %I to %I', current_database(), module);
        execute format('grant usage on schema %I to %I', module, module);
        -- To read the version of its schema; see package migration.
        execute format('grant usage on schema migrations to %I', module);
        -- For the tables and sequences of later migrations.
        execute format('alter default privileges for role owner in schema %I grant select, insert, update, delete on tables to %I', module, module);
        execute format('alter default privileges for role owner in schema %I grant usage, select on sequences to %I', module, module);
    end loop;

    -- A standby reads everything anyway. pg_rewind, with which a former primary
    -- rejoins, needs these functions (PostgreSQL manual, pg_rewind, Notes) and a
    -- checkpoint after the promotion.
    if not exists (select from pg_roles where rolname = 'replicator') then
        create role replicator login replication;
    end if;
    execute format('grant connect on database %I to replicator', current_database());
    grant pg_checkpoint to replicator;
    grant execute on function pg_ls_dir(text, boolean, boolean), pg_stat_file(text, boolean),
                              pg_read_binary_file(text), pg_read_binary_file(text, bigint, bigint, boolean) to replicator;

    -- A queue is read from its head, in batches, in index order. With statistics
    -- older than a backlog, the planner would read and sort all of it for each batch.
    alter role queue set enable_sort = off;
    alter role queue set enable_seqscan = off;
end
$$;
