-- Rota's server kit, part 4: public.rota_pull, what changed since a cursor.
--
-- One statement, one snapshot: the function is stable, so its records, its cursor and what it says of the caller's
-- operations belong together. The feed says which keys changed; the rows come from the tables under the caller's own
-- row-level security; a key without a visible row is gone. It writes nothing. See PROTOCOL.md §5.

-- Names this database and its history: a restored dump has another system, a restored base backup another timeline, and
-- both may know less than a client's cursor claims.
create function rota.incarnation() returns uuid language sql stable security definer set search_path = pg_catalog, pg_temp as $$
  select md5(concat_ws('/', s.incarnation, (select system_identifier from pg_control_system()),
    (select timeline_id from pg_control_checkpoint()), (select oid from pg_database where datname = current_database())))::uuid
  from rota.server s
$$;

-- The narrow window through which a caller sees the feed. An entry from the future is none of this cluster's: it was restored from
-- another one, before any cursor of this incarnation was given.
create function rota.feed_since(of_table text, since xid8) returns table (key text, version bigint)
language sql stable security definer rows 100 set search_path = pg_catalog, pg_temp as $$
  select f.key, f.version from rota.feed f where f.xid >= since and f.table_name = of_table
    and f.xid <= greatest(pg_snapshot_xmax(pg_current_snapshot()), pg_current_xact_id_if_assigned())
$$;

create function rota.feed_of(of_table text, of_keys text[]) returns table (key text, version bigint)
language sql stable security definer rows 100 set search_path = pg_catalog, pg_temp as $$
  select k.key, coalesce(f.version, 0) from (select distinct unnest(of_keys)) k(key)
  left join rota.feed f on f.table_name = of_table and f.key = k.key
$$;

create function rota.cursors_after() returns xid8 language sql stable security definer set search_path = pg_catalog, pg_temp as $$
  select s.cursors_after from rota.server s
$$;

-- To be called after a dump was restored. Where it went into another database, as it should, no client believes its old cursor
-- anyway; where it went over the rows of the same one, only this tells them. Either way the feed is of this cluster from here on.
create function rota.after_restore() returns bigint language plpgsql volatile set search_path = pg_catalog, pg_temp as $$
declare
  entries bigint;
begin
  lock table rota.feed in share row exclusive mode;
  update rota.server set incarnation = gen_random_uuid(), cursors_after = '0', marked = null, marked_at = null;
  update rota.feed set xid = pg_current_xact_id();
  get diagnostics entries = row_count;
  perform setval('rota.version', greatest((select last_value from rota.version), (select coalesce(max(f.version), 1) from rota.feed f)));
  return entries;
end
$$;

-- Where a cursor stands, or null if it is not one of this incarnation, malformed, restored, from the future or too old.
create function rota.cursor_xid(cursor text) returns xid8 language plpgsql stable set search_path = pg_catalog, pg_temp as $$
declare
  parts text[] := regexp_match(cursor, '^([0-9a-f-]{36}):([0-9]{1,19})$');
begin
  if parts is null or parts[1] <> rota.incarnation()::text then return null; end if;
  if parts[2]::xid8 > pg_snapshot_xmax(pg_current_snapshot()) or parts[2]::xid8 <= rota.cursors_after() then return null; end if;
  return parts[2]::xid8;
end
$$;

create function rota.bad_request(message text) returns void language plpgsql stable set search_path = pg_catalog, pg_temp as $$
begin
  raise exception '%', message using errcode = '22023';
end
$$;

create function rota.is_list_of_strings(list jsonb) returns boolean language sql immutable set search_path = pg_catalog, pg_temp as $$
  select case when jsonb_typeof(list) = 'array'
    then not exists (select from jsonb_array_elements(list) e where jsonb_typeof(e) <> 'string') else false end
$$;

create function rota.check_pull_request(request jsonb) returns void language plpgsql stable set search_path = pg_catalog, pg_temp as $$
declare
  keys jsonb := coalesce(nullif(request -> 'keys', 'null'), '{}');
  pending jsonb := coalesce(request -> 'pending', '[]');
begin
  if jsonb_typeof(request) is distinct from 'object' then perform rota.bad_request('a pull request is an object'); end if;
  if request -> 'protocol' is distinct from '1' then perform rota.bad_request('this server speaks protocol 1'); end if;
  if not rota.is_list_of_strings(request -> 'tables') then perform rota.bad_request('tables must be a list of names'); end if;
  if jsonb_array_length(request -> 'tables') > 1000 then perform rota.bad_request('tables has at most 1,000 names'); end if;
  if coalesce(jsonb_typeof(request -> 'cursor'), 'null') not in ('string', 'null') then
    perform rota.bad_request('cursor must be a string or null');
  end if;
  if jsonb_typeof(pending) <> 'array' then perform rota.bad_request('pending must be a list of operation ids'); end if;
  if jsonb_array_length(pending) > 1000 then perform rota.bad_request('pending has at most 1,000 ids'); end if;
  if exists (select from jsonb_array_elements(pending) p where not rota.is_operation_id(p)) then
    perform rota.bad_request('pending must be a list of operation ids');
  end if;
  if jsonb_typeof(keys) <> 'object' or exists (select from jsonb_each(keys) k where not rota.is_list_of_strings(k.value)) then
    perform rota.bad_request('keys must be an object of lists of keys');
  end if;
  if (select sum(jsonb_array_length(k.value)) from jsonb_each(keys) k) > 1000 then
    perform rota.bad_request('keys has at most 1,000 keys in all');
  end if;
end
$$;

-- All the caller may see of a table.
create function rota.whole_table(target rota.tables) returns jsonb language plpgsql stable set search_path = public, pg_temp as $$
declare
  rows jsonb;
begin
  perform set_config('rota.reads_whole', 'on', true); -- a policy may then look at its tables once, and not once a row
  -- By way of json: jsonb_agg of rows takes time by the square of the strings in each.
  execute format('select coalesce(json_agg(r.*)::jsonb, ''[]'') from (select %s from %s t) r',
    rota.row_columns(target.relation), target.relation) into rows;
  perform set_config('rota.reads_whole', 'off', true);
  return rows;
end
$$;

-- The records of a table that changed since a transaction, or that have one of the keys; and those that are not there.
-- A key the feed does not know (version 0) is not cast: it may be no key of this table at all.
create function rota.changed_rows(target rota.tables, since xid8, keys text[], out rows jsonb, out gone jsonb)
language plpgsql stable set search_path = public, pg_temp as $$
begin
  execute format($q$
    select coalesce((json_agg(r.*) filter (where s.there))::jsonb, '[]'),
      coalesce(jsonb_agg(jsonb_build_object('table', $1, 'key', f.key, 'version', f.version::text)) filter (where not s.there), '[]')
    from %s f left join %s t on %s
    cross join lateral (select %s) r cross join lateral (select t.%I is not null as there) s $q$,
    case when keys is null then 'rota.feed_since($1, $2)' else 'rota.feed_of($1, $3)' end,
    target.relation, rota.key_condition(target, 'case when f.version > 0 then f.key end'), rota.row_columns(target.relation), target.key_columns[1])
    into rows, gone using target.name, since, keys;
end
$$;

create function rota.settled(pending jsonb) returns jsonb language sql stable set search_path = pg_catalog, pg_temp as $$
  select coalesce(json_agg(l.answer || '{"replayed": true}')::jsonb, '[]') from rota.ledger l
  where l.actor = rota.actor() and l.answer is not null
    and l.id = any (array(select p::uuid from jsonb_array_elements_text(coalesce(pending, '[]')) p)) -- by its key: the ledger is long
$$;

-- What the database works out by itself: the stream leaves it out, so clients pull what changed of such a table.
create function rota.generated_columns(target rota.tables) returns jsonb language sql stable set search_path = pg_catalog, pg_temp as $$
  select jsonb_object_agg((target).name, g.names) from (select json_agg(a.attname order by a.attnum)::jsonb as names from pg_catalog.pg_attribute a
    where a.attrelid = (target).relation and a.attgenerated <> '' and not a.attisdropped) g where g.names is not null
$$;
comment on function rota.generated_columns(rota.tables) is 'The generated columns of a table, by its name; null: it has none.';

create function public.rota_pull(request jsonb) returns jsonb language plpgsql stable set search_path = pg_catalog, pg_temp
  set timezone = 'UTC' set datestyle = 'ISO, MDY' set intervalstyle = 'postgres' set extra_float_digits = 1 set bytea_output = 'hex' as $$
declare
  -- First of all: no change that this snapshot lacks may lie before the cursor.
  cursor text := rota.incarnation() || ':' || pg_snapshot_xmin(pg_current_snapshot());
  since xid8;
  asked jsonb;
  by_key boolean;
  asked_table text;
  target rota.tables;
  rows jsonb;
  gone_here jsonb;
  records jsonb := '{}';
  gone jsonb := '[]';
  generated jsonb := '{}';
begin
  if rota.actor() is null then
    raise exception 'no person in the token' using errcode = '42501', hint = 'Call rota_pull with a signed-in person''s token.';
  end if;
  perform rota.check_pull_request(request);
  asked := nullif(request -> 'keys', 'null');
  by_key := asked is not null;
  if not by_key then since := rota.cursor_xid(request ->> 'cursor'); end if;
  for asked_table in select jsonb_array_elements_text(request -> 'tables') union select jsonb_object_keys(coalesce(asked, '{}')) order by 1 loop
    select * into target from rota.tables t where t.name = asked_table;
    if target.name is null then
      raise exception 'the table % is not synced', asked_table using errcode = '42P01', hint = 'Call rota.sync_table for it first.';
    end if;
    perform rota.check_names(target.relation, target.key_columns);
    generated := generated || coalesce(rota.generated_columns(target), '{}');
    if not by_key and since is null then
      records := records || jsonb_build_object(asked_table, rota.whole_table(target));
      continue;
    end if;
    continue when by_key and not asked ? asked_table;
    select c.rows, c.gone into rows, gone_here
    from rota.changed_rows(target, since, case when by_key then array(select jsonb_array_elements_text(asked -> asked_table)) end) c;
    if rows <> '[]' then records := records || jsonb_build_object(asked_table, rows); end if;
    gone := gone || gone_here;
  end loop;
  return jsonb_build_object('protocol', 1, 'cursor', case when not by_key then cursor end, 'whole', not by_key and since is null,
    'records', records, 'gone', gone, 'settled', rota.settled(request -> 'pending'))
    || case when generated = '{}' then '{}' else jsonb_build_object('generated', generated) end || rota.told_at();
end
$$;

revoke all on function rota.after_restore(), rota.cursors_after(), rota.incarnation(), rota.feed_since(text, xid8), rota.feed_of(text, text[]), rota.cursor_xid(text),
  rota.bad_request(text), rota.is_list_of_strings(jsonb), rota.check_pull_request(jsonb), rota.whole_table(rota.tables),
  rota.changed_rows(rota.tables, xid8, text[]), rota.settled(jsonb), rota.generated_columns(rota.tables) from public;
grant execute on function rota.cursors_after(), rota.incarnation(), rota.feed_since(text, xid8), rota.feed_of(text, text[]), rota.cursor_xid(text),
  rota.bad_request(text), rota.is_list_of_strings(jsonb), rota.check_pull_request(jsonb), rota.whole_table(rota.tables),
  rota.changed_rows(rota.tables, xid8, text[]), rota.settled(jsonb), rota.generated_columns(rota.tables) to authenticated;
-- Supabase grants new functions in public to every role by default.
revoke all on function public.rota_pull(jsonb) from public, anon;
grant execute on function public.rota_pull(jsonb) to authenticated;

comment on function rota.incarnation() is 'Names this database and its history: no cursor of another one is believed.';
comment on function rota.cursors_after() is 'The transaction up to which tombstones may have been pruned.';
comment on function rota.after_restore() is 'Call it after a dump was restored: every client pulls everything once, and changes alone after that. Answers how many entries the feed has.';
comment on function rota.feed_since(text, xid8) is 'The keys of a table that changed since a transaction.';
comment on function rota.feed_of(text, text[]) is 'What the feed holds of these keys.';
comment on function rota.cursor_xid(text) is 'Where a cursor stands, or null if it is not one of this incarnation.';
comment on function rota.bad_request(text) is 'Fails a pull that makes no sense.';
comment on function rota.is_list_of_strings(jsonb) is 'Whether it is a list of nothing but strings.';
comment on function rota.check_pull_request(jsonb) is 'Fails a pull request of another form, or beyond its bounds.';
comment on function rota.whole_table(rota.tables) is 'All that the caller may see of a table.';
comment on function rota.changed_rows(rota.tables, xid8, text[]) is 'The records that changed or were asked for, and those that are gone.';
comment on function rota.settled(jsonb) is 'The recorded answers of the caller''s operations.';
comment on function public.rota_pull(jsonb) is 'What changed since a cursor, as the caller may see it. Writes nothing.';
