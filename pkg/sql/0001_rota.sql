-- Rota's server kit, part 1: which tables are synced, and the feed of their changes.
--
-- Every change of a synced row gets a version under the lock of its feed row, so the versions of one record are in
-- commit order, also across a delete and a new insert. Nothing here decides who may do what: that stays with the
-- table's own row-level security. Written for PostgreSQL 15 and later, plain or Supabase. See PROTOCOL.md §5 and §6.
--
-- Small functions here and in the later parts have the form `return …`: their names were looked up when they were made, so no
-- search path can change what they mean, and the planner puts them where they are called. All others pin theirs, with pg_temp at its
-- end: where a path does not name it, types and tables of that schema come first, and anybody may make some there. What runs the
-- application's own triggers, policies and checks has `public, pg_temp`, as these expect to find their tables.

-- Supabase has these roles; a plain server gets them. Roles belong to the whole cluster, so two databases that are
-- migrated at the same moment may both try: the loser's error is the wanted state.
do $roles$
declare
  wanted text;
begin
  foreach wanted in array array['anon', 'authenticated'] loop
    if not exists (select from pg_roles where rolname = wanted) then
      begin
        execute format('create role %I nologin', wanted);
      exception when duplicate_object or unique_violation then null;
      end;
    end if;
  end loop;
end
$roles$;

create schema rota;
revoke all on schema rota from public;
-- apply_operation and rota_pull run with the caller's rights, so the caller must reach what they use, and no more.
grant usage on schema rota to authenticated;

create sequence rota.version as bigint;

create table rota.server (
  only_row boolean primary key default true check (only_row),
  incarnation uuid not null default gen_random_uuid(),
  cursors_after xid8 not null default '0', -- tombstones up to here may have been pruned: an older cursor is answered with everything
  marked xid8, -- tombstones before it are those of the last but one pruning
  marked_at timestamptz
);
insert into rota.server default values;

create table rota.tables (
  name text primary key,
  relation regclass not null unique,
  key_columns text[] not null check (cardinality(key_columns) > 0),
  writable text[] not null,
  owner_column text,
  guard text, -- a name, not a regprocedure: pg_upgrade refuses tables that hold one
  added_columns text[] not null default '{}', -- what unsync_table has to take away again
  former_identity text, -- the replica identity that unsync_table has to give back, as ALTER TABLE spells it; null: untouched
  reserved text[] not null default '{}', -- what named operations set, and neither patch nor assign
  begins jsonb not null default '{}' -- what an insert may say at most of some of these
);
grant select on rota.tables to authenticated;

create table rota.feed (
  table_name text not null,
  key text not null,
  version bigint not null,
  xid xid8 not null,
  deleted boolean not null, -- tells "is gone" from "is not yours to see", which row-level security alone can't
  primary key (table_name, key)
);
create index feed_xid on rota.feed (xid);

-- The person who acts: the subject of the token that the gateway (or PostgREST) has checked.
create function rota.actor() returns text language sql stable
  return nullif(nullif(current_setting('request.jwt.claims', true), '')::jsonb ->> 'sub', '');

-- A record's key as the protocol spells it: the column's text, or a JSON array of texts without white space.
create function rota.key_of(record jsonb, key_columns text[]) returns text language plpgsql immutable set search_path = pg_catalog, pg_temp as $$
begin
  if cardinality(key_columns) = 1 then return record ->> key_columns[1]; end if;
  return (select '[' || string_agg(to_json(record ->> c.name)::text, ',' order by c.at) || ']'
    from unnest(key_columns) with ordinality c(name, at));
end
$$;

-- Upserts the feed row. The version is drawn once more in the conflict branch, which runs after the row's lock is held.
create function rota.record_change(changed_table text, changed_key text, is_deleted boolean) returns bigint
language plpgsql volatile set search_path = pg_catalog, pg_temp as $$
declare
  drawn bigint;
begin
  insert into rota.feed as f (table_name, key, version, xid, deleted)
  values (changed_table, changed_key, nextval('rota.version'), pg_current_xact_id(), is_deleted)
  on conflict (table_name, key) do update
    set version = nextval('rota.version'), xid = excluded.xid, deleted = excluded.deleted
  returning f.version into drawn;
  return drawn;
end
$$;

-- Takes the lock on the feed row of a record that is about to be inserted, and draws its version under it. Whether a row
-- gets written shows only afterwards (ON CONFLICT DO NOTHING), so an entry that exists stays as it is, and a new one is
-- deleted, until rota.stamp_inserted.
create function rota.announce_insert(changed_table text, changed_key text) returns bigint
language plpgsql volatile set search_path = pg_catalog, pg_temp as $$
declare
  drawn bigint;
  known bigint;
begin
  insert into rota.feed as f (table_name, key, version, xid, deleted)
  values (changed_table, changed_key, nextval('rota.version'), pg_current_xact_id(), true)
  on conflict (table_name, key) do update set version = f.version
  returning f.version into known;
  drawn := currval('rota.version');
  -- Drawn before the lock was held, the version would be below that of a change this insert has waited for.
  if known <> drawn then drawn := nextval('rota.version'); end if;
  return drawn;
end
$$;

-- Fails where columns that the kit was told of are no longer there, in a trigger or an operation: without them a key, a history or
-- an assignment would be wrong without a word.
create function rota.check_names(t regclass, columns text[]) returns void language plpgsql stable set search_path = pg_catalog, pg_temp as $$
declare
  missing text;
begin
  select c into missing from unnest(columns) c
  where c is not null and not exists (select from pg_attribute a where a.attrelid = t and a.attname = c and not a.attisdropped) limit 1;
  if missing is not null then
    raise exception 'the column % of %, which Rota was told of, was renamed or dropped', missing, t using errcode = '55000',
      hint = format('Call rota.sync_table(%L, …) again, with the names as they are now.', t::text);
  end if;
end
$$;

-- Row trigger of synced tables. Arguments: the table's name for clients, its key columns. It sorts behind the table's
-- own triggers (its name starts with zz), so it sees the row as it will be stored. Definer: clients never touch the feed.
-- The settings are those of apply_operation and rota_pull too: one record has one key, whatever the writer's session is set to.
-- A row that a transaction's later part goes on to change (part 10 of the kit says which in rota.between) is no fact yet: it has
-- the version 0 and no operation, and the feed does not hear of it.
create function rota.stamp() returns trigger language plpgsql security definer set search_path = pg_catalog, pg_temp
  set timezone = 'UTC' set datestyle = 'ISO, MDY' set intervalstyle = 'postgres' set extra_float_digits = 1 set bytea_output = 'hex' as $$
declare
  key_columns text[] := tg_argv[1]::text[];
  key_before text;
  key_after text;
  between_parts text := current_setting('rota.between', true);
begin
  if not (case tg_op when 'DELETE' then to_jsonb(old) else to_jsonb(new) end) ?& key_columns then perform rota.check_names(tg_relid, key_columns); end if;
  if tg_op <> 'INSERT' then key_before := rota.key_of(to_jsonb(old), key_columns); end if;
  if tg_op = 'DELETE' then
    perform rota.record_change(tg_argv[0], key_before, true);
    return old;
  end if;
  key_after := rota.key_of(to_jsonb(new), key_columns);
  if between_parts in (tg_argv[0] || ':' || key_after, case tg_op when 'INSERT' then tg_argv[0] || ':~' end) then
    perform set_config('rota.owed', (coalesce(nullif(current_setting('rota.owed', true), ''), '[]')::jsonb || jsonb_build_array(jsonb_build_array(tg_argv[0], key_after)))::text, true);
    new.rota_version := 0;
    new.rota_op := null;
    return new;
  end if;
  if key_before <> key_after then perform rota.record_change(tg_argv[0], key_before, true); end if;
  new.rota_version := case when tg_op = 'INSERT' then rota.announce_insert(tg_argv[0], key_after)
    else rota.record_change(tg_argv[0], key_after, false) end;
  new.rota_op := nullif(current_setting('rota.op', true), '')::uuid;
  return new;
end
$$;

-- Row trigger after an insert: now there is a row. Another trigger of the table may have changed or deleted it already; then
-- the feed holds a higher version, which stays.
create function rota.stamp_inserted() returns trigger language plpgsql security definer set search_path = pg_catalog, pg_temp
  set timezone = 'UTC' set datestyle = 'ISO, MDY' set intervalstyle = 'postgres' set extra_float_digits = 1 set bytea_output = 'hex' as $$
declare
  its_key text := rota.key_of(to_jsonb(new), tg_argv[1]::text[]);
begin
  if new.rota_version = 0 then return null; end if;
  update rota.feed f set version = new.rota_version, xid = pg_current_xact_id(), deleted = false
  where f.table_name = tg_argv[0] and f.key = its_key and f.version <= new.rota_version;
  return null;
end
$$;

-- TRUNCATE fires no row trigger; without this its rows would stay on every screen.
create function rota.stamp_truncate() returns trigger language plpgsql security definer set search_path = pg_catalog, pg_temp as $$
begin
  update rota.feed set version = nextval('rota.version'), xid = pg_current_xact_id(), deleted = true
  where table_name = tg_argv[0] and not deleted;
  return null;
end
$$;

create function rota.check_columns(t regclass, columns text[], what text) returns void
language plpgsql stable set search_path = pg_catalog, pg_temp as $$
declare
  wrong text;
begin
  select c into wrong from unnest(columns) c
  where c in ('rota_version', 'rota_op') or not exists (
    select from pg_attribute a where a.attrelid = t and a.attname = c and a.attnum > 0 and not a.attisdropped) limit 1;
  if wrong is not null then
    raise exception '% can''t be a column of % in %: % has no such column, or Rota writes it', wrong, what, t, t
      using errcode = '42703';
  end if;
end
$$;

-- The unique indexes over exactly these columns, none of them nullable: what makes columns a key.
create function rota.key_indexes(t regclass, key_columns text[]) returns table (name name) language sql stable set search_path = pg_catalog, pg_temp as $$
  select c.relname from pg_index i join pg_class c on c.oid = i.indexrelid
  where i.indrelid = t and i.indisunique and i.indisvalid and i.indpred is null and i.indexprs is null
    and (select array_agg(a.attname::text order by a.attname::text) from pg_attribute a
         where a.attrelid = t and a.attnum = any (i.indkey[0:i.indnkeyatts - 1]) and a.attnotnull)
      = (select array_agg(k order by k) from unnest(key_columns) k)
$$;

-- The type under a column's domains, with its modifier.
create function rota.base_type(inout of_type oid, inout modifier int) language plpgsql stable set search_path = pg_catalog, pg_temp as $$
declare
  below record;
begin
  loop
    select y.typbasetype, y.typtypmod into below from pg_type y where y.oid = of_type and y.typtype = 'd';
    exit when not found;
    of_type := below.typbasetype;
    modifier := below.typtypmod;
  end loop;
end
$$;

-- Refuses tables and key columns that can't work, in words.
create function rota.check_table(t regclass, key_columns text[]) returns void language plpgsql stable set search_path = pg_catalog, pg_temp as $$
declare
  kind "char" := (select relkind from pg_class where oid = t);
  wrong text;
begin
  if kind = 'p' then
    raise exception '% is partitioned, which Rota can''t sync', t using errcode = '0A000',
      hint = 'Sync a table that is not partitioned.';
  elsif kind <> 'r' then
    raise exception '% is not a table', t using errcode = '42809', hint = 'Only ordinary tables can be synced; sync what a view reads from.';
  elsif exists (select from pg_inherits where inhparent = t or inhrelid = t) then
    raise exception '% inherits from a table, is inherited from, or is a partition, which Rota can''t sync', t using errcode = '0A000',
      hint = 'Sync a table that stands alone.';
  end if;
  select a.attname into wrong from pg_attribute a where a.attrelid = t and a.attname = any (key_columns) and a.attgenerated <> '' limit 1;
  if wrong is not null then
    raise exception 'the generated column % of % can''t be part of the key', wrong, t using errcode = '42P16',
      hint = 'Its value is not known yet when a change is recorded. Use the columns it is made of.';
  end if;
  -- The modifier of a numeric holds its scale in the lowest eleven bits, with a sign. With a fraction, 1.50 would have the
  -- key "1.50", while whoever reads the row as JSON sees 1.5.
  select a.attname into wrong from pg_attribute a cross join lateral rota.base_type(a.atttypid, a.atttypmod) b
  where a.attrelid = t and a.attname = any (key_columns) and b.of_type = 'numeric'::regtype
    and (b.modifier = -1 or (((b.modifier - 4) & 2047) # 1024) - 1024 > 0) limit 1;
  if wrong is not null then
    raise exception 'the numeric column % of % can''t be part of the key: one number has several spellings (1.5 and 1.50)', wrong, t
      using errcode = '42P16', hint = 'Give it a scale of 0, such as numeric(20, 0), or use bigint or text.';
  end if;
  select a.attname into wrong from pg_attribute a cross join lateral rota.base_type(a.atttypid, a.atttypmod) b join pg_type y on y.oid = b.of_type
  left join pg_collation c on c.oid = a.attcollation
  where a.attrelid = t and a.attname = any (key_columns) and (c.collisdeterministic is false or y.typname in ('citext', 'interval', 'jsonb')) limit 1;
  if wrong is not null then
    raise exception 'the column % of % can''t be part of the key: it takes values for equal that are spelt differently', wrong, t
      using errcode = '42P16', hint = 'Use a column whose values are equal only if their texts are, such as text, uuid or bigint.';
  end if;
end
$$;

-- Whether these key columns are the former ones under other names: those are gone, and every row still has the key that the feed knows.
create function rota.is_renamed_key(synced rota.tables, new_columns text[]) returns boolean language plpgsql stable set search_path = pg_catalog, pg_temp
  set timezone = 'UTC' set datestyle = 'ISO, MDY' set intervalstyle = 'postgres' set extra_float_digits = 1 set bytea_output = 'hex' as $$
declare
  same boolean;
begin
  if cardinality(synced.key_columns) <> cardinality(new_columns) or exists (
    select from unnest(synced.key_columns, new_columns) k(was, is_now) join pg_attribute a on a.attrelid = synced.relation and a.attname = k.was
    where k.was <> k.is_now) then return false; end if;
  execute format('select not exists (select from %s t where not exists (select from rota.feed f
    where f.table_name = $1 and f.key = rota.key_of(to_jsonb(t.*), $2) and not f.deleted))', synced.relation) into same using synced.name, new_columns;
  return same;
end
$$;

-- Sees to it that the change stream can carry updates and deletes, and that the key is in them: the replica identity
-- must hold the key columns. Answers the former identity if it had to change, else null.
create function rota.ensure_identity(t regclass, key_columns text[]) returns text language plpgsql set search_path = pg_catalog, pg_temp as $$
declare
  identity "char" := (select relreplident from pg_class where oid = t);
  identity_index name;
  covered boolean;
  key_index name;
begin
  if identity = 'f' then return null; end if;
  select c.relname, key_columns <@ array(select a.attname::text from pg_attribute a
      where a.attrelid = t and a.attnum = any (i.indkey[0:i.indnkeyatts - 1]))
    into identity_index, covered
    from pg_index i join pg_class c on c.oid = i.indexrelid
    where i.indrelid = t and i.indimmediate and (case identity when 'd' then i.indisprimary when 'i' then i.indisreplident else false end);
  if covered then return null; end if;
  select k.name into key_index from rota.key_indexes(t, key_columns) k
    join pg_class c on c.relname = k.name join pg_index i on i.indexrelid = c.oid and i.indrelid = t
    where i.indimmediate limit 1;
  if key_index is null then
    raise exception 'the change stream of % can''t carry its key %: every unique index over it is deferrable', t, key_columns
      using errcode = '55000', hint = format('Make the constraint not deferrable, or run: alter table %s replica identity full', t);
  end if;
  execute format('alter table %s replica identity using index %I', t, key_index);
  return case identity when 'n' then 'nothing' when 'i' then coalesce(format('using index %I', identity_index), 'default') else 'default' end;
end
$$;

-- The name under which a guard is called, after a look at its signature: a wrong one should fail now, not in a race.
create function rota.guard_name(guard regprocedure) returns text language plpgsql stable set search_path = pg_catalog, pg_temp as $$
declare
  found_name text;
begin
  if guard is null then return null; end if;
  select format('%I.%I', n.nspname, p.proname) into found_name
  from pg_proc p join pg_namespace n on n.oid = p.pronamespace
  where p.oid = guard and p.prorettype = 'jsonb'::regtype
    and oidvectortypes(p.proargtypes) = 'jsonb, jsonb, text';
  if found_name is null then
    raise exception 'the guard % must take (op jsonb, row jsonb, actor text) and return jsonb', guard using errcode = '42883';
  end if;
  return found_name;
end
$$;

create function rota.publish(t regclass, wanted boolean) returns void language plpgsql set search_path = pg_catalog, pg_temp as $$
declare
  for_all boolean;
  is_there boolean;
begin
  select puballtables into for_all from pg_publication where pubname = 'supabase_realtime';
  if for_all is null then
    if not wanted then return; end if;
    create publication supabase_realtime;
  elsif for_all then return;
  end if;
  is_there := exists (select from pg_publication p join pg_publication_rel r on r.prpubid = p.oid
    where p.pubname = 'supabase_realtime' and r.prrelid = t);
  if wanted and not is_there then execute format('alter publication supabase_realtime add table %s', t); end if;
  if is_there and not wanted then execute format('alter publication supabase_realtime drop table %s', t); end if;
end
$$;

create function rota.drop_triggers(t regclass) returns void language plpgsql set search_path = pg_catalog, pg_temp as $$
begin
  execute format('drop trigger if exists zz_rota on %s', t);
  execute format('drop trigger if exists zz_rota_inserted on %s', t);
  execute format('drop trigger if exists zz_rota_truncate on %s', t);
end
$$;

-- Forgets tables that were dropped without unsync_table, and what the feed holds of them.
create function rota.forget_dropped() returns void language plpgsql set search_path = pg_catalog, pg_temp as $$
begin
  with dropped as (
    delete from rota.tables r where not exists (select from pg_class c where c.oid = r.relation) returning r.name
  )
  delete from rota.feed f using dropped d where f.table_name = d.name;
  if found then update rota.server set incarnation = gen_random_uuid(); end if;
end
$$;

-- Makes a table synced, or changes how it is. Clients know it by its bare name. The caller must own the table;
-- people who sync it need SELECT on the whole table and, for each column in `writable`, the fitting privilege.
-- Call it again after renaming the table: its records then come under the new name.
create function rota.sync_table(
  t regclass, key_columns text[], writable text[], owner_column text default null, guard regprocedure default null
) returns void language plpgsql set search_path = pg_catalog, pg_temp
  set timezone = 'UTC' set datestyle = 'ISO, MDY' set intervalstyle = 'postgres' set extra_float_digits = 1 set bytea_output = 'hex' as $$
declare
  bare_name text;
  former_name text;
  former rota.tables;
  former_identity text;
  added text[] := '{}';
begin
  perform pg_advisory_xact_lock(hashtextextended('rota.sync_table', 0)); -- two first calls would both make the publication
  bare_name := (select relname from pg_class where oid = t);
  perform rota.check_table(t, key_columns);
  perform rota.check_columns(t, key_columns, 'the key');
  perform rota.check_columns(t, writable, 'the writable columns');
  perform rota.check_columns(t, array_remove(array[owner_column], null), 'the owner');
  if not exists (select from rota.key_indexes(t, key_columns)) then
    raise exception 'the key columns % of % need a primary key, or a unique index with not-null columns', key_columns, t
      using errcode = '42830';
  end if;
  perform rota.forget_dropped();
  if exists (select from rota.tables r where r.name = bare_name and r.relation <> t) then
    raise exception 'another table named % is synced already', bare_name using errcode = '42710';
  end if;
  execute format('lock table %s in access exclusive mode', t);
  select * into former from rota.tables r where r.relation = t;
  if former.key_columns <> key_columns then
    if not rota.is_renamed_key(former, key_columns) then
      raise exception 'the key of % can''t change while it is synced: call rota.unsync_table first', t using errcode = '55000';
    end if;
    update rota.server set incarnation = gen_random_uuid(); -- what clients have of it lacks the new name
  end if;
  perform rota.drop_triggers(t);
  select r.name into former_name from rota.tables r where r.relation = t;
  if former_name <> bare_name then
    update rota.feed f set table_name = bare_name, xid = pg_current_xact_id() where f.table_name = former_name;
    update rota.tables r set name = bare_name where r.relation = t;
  elsif former_name is null then
    added := rota.add_columns(t);
    execute format('insert into rota.feed (table_name, key, version, xid, deleted)
      select $1, rota.key_of(to_jsonb(t.*), $2), t.rota_version, pg_current_xact_id(), false from %s t', t)
      using bare_name, key_columns;
  end if;
  execute format('create trigger zz_rota before insert or update or delete on %s
    for each row execute function rota.stamp(%L, %L)', t, bare_name, key_columns);
  execute format('create trigger zz_rota_inserted after insert on %s
    for each row execute function rota.stamp_inserted(%L, %L)', t, bare_name, key_columns);
  execute format('create trigger zz_rota_truncate after truncate on %s
    for each statement execute function rota.stamp_truncate(%L)', t, bare_name);
  execute format('comment on trigger zz_rota on %s is %L', t, 'Gives each row its version.');
  execute format('comment on trigger zz_rota_inserted on %s is %L', t, 'Enters a new row into the feed.');
  execute format('comment on trigger zz_rota_truncate on %s is %L', t, 'Deletes every record in the feed.');
  former_identity := rota.ensure_identity(t, key_columns);
  insert into rota.tables as r
  values (bare_name, t, key_columns, writable, owner_column, rota.guard_name(guard), added, former_identity)
  on conflict (name) do update set key_columns = excluded.key_columns, writable = excluded.writable,
    owner_column = excluded.owner_column, guard = excluded.guard,
    former_identity = coalesce(r.former_identity, excluded.former_identity);
  perform rota.publish(t, true);
end
$$;

-- Adds what is missing of the two columns, gives every row a version, and answers which columns it added. A default
-- fills the new column while the table is rewritten; an UPDATE would run the table's own triggers on every row.
create function rota.add_columns(t regclass) returns text[] language plpgsql set search_path = public, pg_temp as $$
declare
  added text[] := '{}';
begin
  if not exists (select from pg_attribute where attrelid = t and attname = 'rota_op' and not attisdropped) then
    execute format('alter table %s add column rota_op uuid', t);
    execute format('comment on column %s.rota_op is %L', t, 'The operation that wrote this version of the row; null: plain SQL did.');
    added := added || 'rota_op'::text;
  end if;
  if not exists (select from pg_attribute where attrelid = t and attname = 'rota_version' and not attisdropped) then
    execute format('alter table %s add column rota_version bigint default nextval(''rota.version'')', t);
    execute format('alter table %s alter column rota_version drop default', t);
    execute format('comment on column %s.rota_version is %L', t, 'The row''s version, which rises with each change.');
    added := added || 'rota_version'::text;
  else
    execute format('update %s set rota_version = nextval(''rota.version''), rota_op = null', t); -- another database's versions
  end if;
  return added;
end
$$;

-- Leaves the table as it was before sync_table. Changes are no longer seen from here on, so cursors that count on
-- the feed must not be believed later: a new incarnation makes every client pull everything.
create function rota.unsync_table(t regclass) returns void language plpgsql set search_path = pg_catalog, pg_temp as $$
declare
  gone rota.tables;
  added text;
begin
  perform pg_advisory_xact_lock(hashtextextended('rota.sync_table', 0));
  delete from rota.tables where relation = t returning * into gone;
  if gone.name is null then
    raise exception 'the table % is not synced', t using errcode = '42704';
  end if;
  perform rota.publish(t, false);
  perform rota.drop_triggers(t);
  if gone.former_identity like 'using index %' and not exists (select from pg_index i join pg_class c on c.oid = i.indexrelid
      where i.indrelid = t and 'using index ' || quote_ident(c.relname) = gone.former_identity) then
    gone.former_identity := 'default'; -- its index was dropped meanwhile
  end if;
  if gone.former_identity is not null then execute format('alter table %s replica identity %s', t, gone.former_identity); end if;
  foreach added in array gone.added_columns loop
    execute format('alter table %s drop column %I', t, added);
  end loop;
  delete from rota.feed where table_name = gone.name;
  update rota.server set incarnation = gen_random_uuid();
end
$$;

-- What clients may know of a feed row: needed where row-level security hides the record itself.
create function rota.feed_entry(of_table text, of_key text, out version bigint, out deleted boolean)
language sql stable security definer set search_path = pg_catalog, pg_temp as $$
  select f.version, f.deleted from rota.feed f where f.table_name = of_table and f.key = of_key
$$;

revoke all on all functions in schema rota from public;
grant execute on function rota.actor(), rota.key_of(jsonb, text[]), rota.feed_entry(text, text) to authenticated;

comment on schema rota is 'Rota''s server kit: the feed, the ledger and the operations. Not exposed to clients.';
comment on sequence rota.version is 'Versions of records, unique in the database.';
comment on table rota.server is 'One row: the incarnation of this database, which every cursor names.';
comment on column rota.server.cursors_after is 'Tombstones up to this transaction may be gone, so older cursors are not believed.';
comment on column rota.server.marked_at is 'When that was.';
comment on column rota.server.marked is 'The transaction that pruned last: the next pruning may drop the tombstones before it.';
comment on table rota.tables is 'The synced tables: their key, what operations may set, their owner column and guard. Written by sync_table.';
comment on column rota.tables.guard is 'A function (op jsonb, row jsonb, actor text) that answers null, or {code, message}.';
comment on table rota.feed is 'One row for each record ever seen, with its newest version: what a pull reads.';
comment on index rota.feed_xid is 'What changed since a transaction.';
comment on function rota.actor() is 'The person in the token, or null.';
comment on function rota.key_of(jsonb, text[]) is 'A record''s key as the protocol spells it.';
comment on function rota.record_change(text, text, boolean) is 'Enters a change into the feed and answers its version, drawn under the lock.';
comment on function rota.announce_insert(text, text) is 'Locks the feed entry of a record that is about to be inserted, and draws its version.';
comment on column rota.tables.reserved is 'Columns that named operations set, and neither patch nor assign.';
comment on column rota.tables.begins is 'The values that an insert may give to some of the reserved columns.';
comment on function rota.check_names(regclass, text[]) is 'Fails where columns of a synced table were renamed or dropped.';
comment on function rota.is_renamed_key(rota.tables, text[]) is 'Whether these key columns are the former ones under other names.';
comment on function rota.stamp() is 'Trigger of synced tables: gives each row its version and the operation that wrote it.';
comment on function rota.stamp_inserted() is 'Trigger of synced tables: enters an insert into the feed once there is a row.';
comment on function rota.stamp_truncate() is 'Trigger of synced tables: a TRUNCATE deletes every record in the feed.';
comment on function rota.check_columns(regclass, text[], text) is 'Refuses columns that a table does not have, or that Rota writes.';
comment on function rota.key_indexes(regclass, text[]) is 'The unique indexes that make columns a key.';
comment on function rota.base_type(oid, int) is 'The type under a column''s domains.';
comment on function rota.check_table(regclass, text[]) is 'Refuses tables and keys that cannot be synced.';
comment on function rota.ensure_identity(regclass, text[]) is 'Sees to it that the change stream carries the key.';
comment on function rota.guard_name(regprocedure) is 'The name of a guard, after a look at its signature.';
comment on function rota.publish(regclass, boolean) is 'Puts a table into Supabase''s publication, or takes it out.';
comment on function rota.drop_triggers(regclass) is 'Takes the feed''s triggers off a table.';
comment on function rota.forget_dropped() is 'Forgets tables that were dropped without unsync_table.';
comment on function rota.sync_table(regclass, text[], text[], text, regprocedure) is 'Makes a table synced, or changes how it is.';
comment on function rota.add_columns(regclass) is 'Adds rota_version and rota_op, and answers which were missing.';
comment on function rota.unsync_table(regclass) is 'Leaves a table as it was before sync_table.';
comment on function rota.feed_entry(text, text) is 'What clients may know of a feed entry: its version, and whether the record is deleted.';
