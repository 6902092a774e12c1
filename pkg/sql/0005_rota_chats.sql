-- Rota's server kit, part 5: chats and their operators, as tables.
--
-- Adopts the tables `chats`, `operators`, `chat_assignments` and `operator_activity` of an application where it has them,
-- and makes those that it lacks. Adopting adds columns, constraints and indexes, and gives every chat its state; each value
-- of the application's own that had to change for that is remembered, and the way back gives it back. What makes a chat
-- right is held here, by constraints and triggers, for whoever writes: operations, functions called by hand, and the
-- application's own UPDATEs. See PROTOCOL.md §10.

create table rota.adopted (
  name text primary key,
  created boolean not null,
  columns text[] not null default '{}',
  indexes text[] not null default '{}',
  constraints text[] not null default '{}',
  synced boolean not null default false,
  at timestamptz not null default now()
);
comment on table rota.adopted is 'What the kit made of a table in public: the way back takes away just this.';

create table rota.adopted_values (
  id bigint generated always as identity primary key,
  table_name text not null,
  key text not null,
  column_name text, -- null: the row itself is the kit's
  was jsonb,
  became jsonb
);
comment on table rota.adopted_values is 'Values of an application''s own that adopting had to change. The way back restores those that nobody changed since.';

-- Adds what is missing of a table, by the words of CREATE TABLE. New columns of rows that exist stay null, unless the
-- words say NOT NULL.
create function rota.adopt_table(wanted_name text, wanted_columns jsonb, table_words text) returns void
language plpgsql set search_path = pg_catalog, pg_temp as $$
declare
  t regclass := to_regclass('public.' || quote_ident(wanted_name));
  wanted record;
begin
  insert into rota.adopted (name, created) values (wanted_name, t is null);
  if t is null then
    execute format('create table public.%I (%s%s)', wanted_name,
      (select string_agg(format('%I %s', c.value ->> 0, c.value ->> 1), ', ' order by c.ordinality)
       from jsonb_array_elements(wanted_columns) with ordinality c), table_words);
    execute format('alter table public.%I enable row level security', wanted_name);
    return;
  end if;
  for wanted in select c.value ->> 0 as name, c.value ->> 1 as words from jsonb_array_elements(wanted_columns) c loop
    continue when exists (select from pg_attribute where attrelid = t and attname = wanted.name and attnum > 0 and not attisdropped);
    if wanted.name = 'id' then
      raise exception 'the table % has no column id, so it can''t be adopted', t using errcode = '42703',
        hint = 'Rename the table or its key before the migration.';
    end if;
    if wanted.words ~ 'not null' or wanted.words !~ ' default ' then
      execute format('alter table %s add column %I %s', t, wanted.name, wanted.words);
    else
      -- A default of now() would say that everything was made by the migration.
      execute format('alter table %s add column %I %s', t, wanted.name, split_part(wanted.words, ' default ', 1));
      execute format('alter table %s alter column %I set default %s', t, wanted.name, split_part(wanted.words, ' default ', 2));
    end if;
    update rota.adopted a set columns = a.columns || wanted.name where a.name = wanted_name;
  end loop;
end
$$;
comment on function rota.adopt_table(text, jsonb, text) is 'Makes a table, or adds the columns that an existing one lacks.';

create function rota.adopt_index(of_table text, index_name text, words text) returns void language plpgsql set search_path = pg_catalog, pg_temp as $$
begin
  if to_regclass('public.' || quote_ident(index_name)) is not null then return; end if;
  execute format('create %s', words);
  update rota.adopted a set indexes = a.indexes || index_name where a.name = of_table;
end
$$;
comment on function rota.adopt_index(text, text, text) is 'Makes an index unless one of that name is there.';

create function rota.adopt_constraint(of_table text, constraint_name text, condition text) returns void language plpgsql set search_path = pg_catalog, pg_temp as $$
begin
  if exists (select from pg_constraint where conrelid = to_regclass('public.' || of_table) and conname = constraint_name) then return; end if;
  execute format('alter table public.%I add constraint %I check (%s)', of_table, constraint_name, condition);
  update rota.adopted a set constraints = a.constraints || constraint_name where a.name = of_table;
end
$$;
comment on function rota.adopt_constraint(text, text, text) is 'Adds a check unless one of that name is there.';

-- What is the application's keeps its own comments. `words`: a list of [kind, name in public, comment].
create function rota.comment_adopted(of_table text, words jsonb) returns void language plpgsql set search_path = pg_catalog, pg_temp as $$
declare
  thing record;
begin
  for thing in select w ->> 0 as kind, w ->> 1 as name, w ->> 2 as says from jsonb_array_elements(words) w loop
    continue when not exists (select from rota.adopted a where a.name = of_table
      and case thing.kind when 'index' then thing.name = any (a.indexes) when 'column' then a.created or split_part(thing.name, '.', 2) = any (a.columns) else a.created end);
    execute format('comment on %s public.%s is %L', thing.kind, thing.name, thing.says);
  end loop;
end
$$;
comment on function rota.comment_adopted(text, jsonb) is 'Says what the things are that adopting a table has made.';

-- The application's own triggers would see an UPDATE of every row, and set their updated_at. Answers how each one stood.
create function rota.quiet_triggers(t regclass) returns jsonb language plpgsql set search_path = pg_catalog, pg_temp as $$
declare
  its record;
  stood jsonb := '{}';
begin
  for its in select tgname, tgenabled from pg_trigger where tgrelid = t and not tgisinternal and tgenabled <> 'D' loop
    execute format('alter table %s disable trigger %I', t, its.tgname);
    stood := stood || jsonb_build_object(its.tgname, its.tgenabled);
  end loop;
  return stood;
end
$$;
comment on function rota.quiet_triggers(regclass) is 'Switches a table''s triggers off and answers how each one stood.';

create function rota.wake_triggers(t regclass, stood jsonb) returns void language plpgsql set search_path = pg_catalog, pg_temp as $$
declare
  its record;
begin
  for its in select key as name, value as mode from jsonb_each_text(stood) loop
    execute format('alter table %s enable %s trigger %I', t, case its.mode when 'R' then 'replica' when 'A' then 'always' else '' end, its.name);
  end loop;
end
$$;
comment on function rota.wake_triggers(regclass, jsonb) is 'Switches on what rota.quiet_triggers switched off.';

-- Changes one column of the rows that fit, and remembers what was there if the column is the application's own.
create function rota.adopt_values(of_table text, changed_column text, new_value text, condition text) returns void
language plpgsql set search_path = pg_catalog, pg_temp as $$
declare
  typed text := format('(%s)::%s', new_value, (select format_type(atttypid, atttypmod) from pg_attribute
    where attrelid = to_regclass('public.' || of_table) and attname = changed_column));
begin
  if not exists (select from rota.adopted a where a.name = of_table and (a.created or changed_column = any (a.columns))) then
    execute format('insert into rota.adopted_values (table_name, key, column_name, was, became)
      select $1, t.id::text, $2, to_jsonb(t.%1$I), to_jsonb(%2$s) from public.%3$I t where %4$s',
      changed_column, typed, of_table, condition) using of_table, changed_column;
  end if;
  execute format('update public.%I t set %I = %s where %s', of_table, changed_column, typed, condition);
end
$$;
comment on function rota.adopt_values(text, text, text, text) is 'Changes a column where it has to be for adopting, and remembers what was there.';

create function rota.unadopt_values(of_table text) returns void language plpgsql set search_path = pg_catalog, pg_temp as $$
declare
  changed_column text;
begin
  if not exists (select from rota.adopted_values v where v.table_name = of_table) then return; end if;
  execute format('delete from public.%I t using rota.adopted_values v
    where v.table_name = $1 and v.column_name is null and t.id::text = v.key', of_table) using of_table;
  for changed_column in select distinct v.column_name from rota.adopted_values v where v.table_name = of_table and v.column_name is not null loop
    -- A value that was changed twice goes back to the first one, if it is still the last one.
    execute format('update public.%1$I t set %2$I = (jsonb_populate_record(t.*, jsonb_build_object($2, v.was))).%2$I
      from (select key, (array_agg(was order by id))[1] as was, (array_agg(became order by id desc))[1] as became
        from rota.adopted_values where table_name = $1 and column_name = $2 group by key) v
      where t.id::text = v.key and to_jsonb(t.%2$I) is not distinct from v.became', of_table, changed_column) using of_table, changed_column;
  end loop;
  delete from rota.adopted_values v where v.table_name = of_table;
end
$$;
comment on function rota.unadopt_values(text) is 'Gives back what adopting changed, where nobody has changed it since.';

-- The way back for one table: takes away what the kit added, or the table where it was the kit's.
create function rota.unadopt_table(of_table text) returns void language plpgsql set search_path = pg_catalog, pg_temp as $$
declare
  ours rota.adopted;
  t regclass := to_regclass('public.' || quote_ident(of_table));
  stood jsonb;
  thing text;
begin
  delete from rota.adopted a where a.name = of_table returning * into ours;
  if t is null then return; end if;
  if ours.synced and exists (select from rota.tables r where r.relation = t) then perform rota.unsync_table(t); end if;
  if ours.created then
    execute format('drop table %s', t);
    return;
  end if;
  foreach thing in array ours.constraints loop execute format('alter table %s drop constraint if exists %I', t, thing); end loop;
  foreach thing in array ours.indexes loop execute format('drop index if exists public.%I', thing); end loop;
  stood := rota.quiet_triggers(t);
  perform rota.unadopt_values(of_table);
  perform rota.wake_triggers(t, stood);
  foreach thing in array ours.columns loop execute format('alter table %s drop column if exists %I', t, thing); end loop;
end
$$;
comment on function rota.unadopt_table(text) is 'Leaves a table as the application had it.';

-- The type of a column that an application may have made, or the given one. Two that must be equal and are not can't work.
create function rota.type_of(places text[], otherwise text) returns text language plpgsql stable set search_path = pg_catalog, pg_temp as $$
declare
  found_types text[];
begin
  select array_agg(distinct format_type(a.atttypid, a.atttypmod)) into found_types
  from unnest(places) p join pg_attribute a on a.attrelid = to_regclass('public.' || split_part(p, '.', 1))
    and a.attname = split_part(p, '.', 2) and a.attnum > 0 and not a.attisdropped;
  if cardinality(found_types) > 1 then
    raise exception 'these columns must have one type, not %: %', array_to_string(found_types, ' and '), array_to_string(places, ', ')
      using errcode = '42804', hint = 'Give them one type before the migration.';
  end if;
  return coalesce(found_types[1], otherwise);
end
$$;
comment on function rota.type_of(text[], text) is 'The one type that these columns have, as far as they exist.';

-- Whether an application's operator_activity can hold a row for each operator in each chat. One that can't (a row for each
-- operator, say) stays as it is.
create function rota.holds_activity(t regclass, operator_type text, chat_type text) returns boolean language sql stable set search_path = pg_catalog, pg_temp as $$
  select exists (select from pg_class c where c.oid = t and c.relkind = 'r' and pg_has_role(c.relowner, 'usage')
      and (not c.relforcerowsecurity or (select r.rolsuper or r.rolbypassrls from pg_roles r where r.rolname = current_user)))
    and not exists (select from pg_inherits where inhparent = t or inhrelid = t)
    and (select count(*) = 2 from pg_attribute a where a.attrelid = t and not a.attisdropped and a.attgenerated = ''
      and (a.attname, format_type(a.atttypid, a.atttypmod)) in (('operator_id', operator_type), ('chat_id', chat_type)))
    and not exists (select from pg_attribute a where a.attrelid = t and a.attnum > 0 and not a.attisdropped and case
      when a.attname in ('started_at', 'last_activity_at') then a.attgenerated <> '' or a.atttypid not in ('timestamp'::regtype, 'timestamptz'::regtype)
      else a.attname not in ('operator_id', 'chat_id') and a.attnotnull and not a.atthasdef and a.attidentity = '' end)
    and not exists (select from pg_index i where i.indrelid = t and i.indisunique and not exists (select from pg_attribute a
      where a.attrelid = t and a.attnum = any (i.indkey[0:i.indnkeyatts - 1]) and (a.attname = 'chat_id' or a.atthasdef or a.attidentity <> '')))
$$;
comment on function rota.holds_activity(regclass, text, text) is 'Whether a table can hold one row for each operator in each chat.';

-- All that is going to be changed at once, or nothing: who waits long for a lock has everybody else wait behind.
create function rota.lock_tables() returns void language plpgsql set search_path = pg_catalog, pg_temp as $$
declare
  waits text := current_setting('lock_timeout');
  taken text;
begin
  select string_agg('public.' || w.name, ', ') into taken from unnest('{chats,chat_assignments,operator_activity,operators}'::text[]) w(name)
    join pg_class c on c.relname = w.name and c.relnamespace = 'public'::regnamespace and c.relkind = 'r' and pg_has_role(c.relowner, 'usage');
  if taken is null then return; end if;
  if waits = '0' then perform set_config('lock_timeout', '10s', true); end if;
  execute format('lock table %s in access exclusive mode', taken);
  perform set_config('lock_timeout', waits, true);
end
$$;
comment on function rota.lock_tables() is 'Locks the tables that are adopted, and waits ten seconds for that at most, or as long as lock_timeout says.';

do $adopt$
declare
  chat_type text := rota.type_of('{chats.id,chat_assignments.chat_id}', 'uuid');
  operator_type text := rota.type_of('{operators.id,chats.assigned_operator_id,chats.last_operator_id,chat_assignments.operator_id}', 'uuid');
  had_operators boolean := to_regclass('public.operators') is not null;
  had_activity regclass := to_regclass('public.operator_activity');
  new_id text := case when chat_type = 'uuid' then ' default gen_random_uuid()' else '' end;
  activity jsonb := jsonb_build_array(
    jsonb_build_array('operator_id', operator_type), jsonb_build_array('chat_id', chat_type),
    jsonb_build_array('started_at', 'timestamptz default now()'), jsonb_build_array('last_activity_at', 'timestamptz default now()'));
begin
  perform rota.lock_tables();
  if to_regclass('public.chats') is not null then
    perform rota.check_table('public.chats', '{id}');
    if exists (select from pg_attribute where attrelid = 'public.chats'::regclass and attname = 'id')
      and not exists (select from rota.key_indexes('public.chats', '{id}')) then
      raise exception 'public.chats needs a primary key, or a unique index, over id' using errcode = '42830';
    end if;
  end if;
  perform rota.adopt_table('operators', jsonb_build_array(
    jsonb_build_array('id', operator_type || ' primary key'), jsonb_build_array('name', 'text'),
    jsonb_build_array('capacity', 'int not null default 1'), jsonb_build_array('is_active', 'boolean not null default true'),
    jsonb_build_array('role', 'text not null default ''operator'''), jsonb_build_array('department', 'text')), '');
  perform rota.adopt_table('chats', jsonb_build_array(
    jsonb_build_array('id', chat_type || new_id || ' primary key'),
    jsonb_build_array('chat_state', 'text not null default ''waiting_assignment'''),
    jsonb_build_array('assigned_operator_id', operator_type), jsonb_build_array('last_operator_id', operator_type),
    jsonb_build_array('operator_replied_at', 'timestamptz'), jsonb_build_array('is_active', 'boolean not null default true'),
    jsonb_build_array('created_at', 'timestamptz default now()'), jsonb_build_array('last_message_at', 'timestamptz'),
    jsonb_build_array('assigned_at', 'timestamptz'), jsonb_build_array('state_changed_at', 'timestamptz')), '');
  perform rota.adopt_table('chat_assignments', jsonb_build_array(
    jsonb_build_array('id', 'uuid default gen_random_uuid() primary key'),
    jsonb_build_array('chat_id', chat_type), jsonb_build_array('operator_id', operator_type),
    jsonb_build_array('assigned_at', 'timestamptz default now()'), jsonb_build_array('released_at', 'timestamptz'),
    jsonb_build_array('release_reason', 'text'), jsonb_build_array('assigned_by', 'text'), jsonb_build_array('operation', 'uuid')), '');
  if had_activity is null or rota.holds_activity(had_activity, operator_type, chat_type) then
    perform rota.adopt_table('operator_activity', activity || case when had_activity is null then '[]' else '[["rota_noted", "boolean"]]'::jsonb end, ', primary key (operator_id, chat_id)');
  else
    execute format('create table rota.operator_activity (operator_id %s, chat_id %s, started_at timestamptz default now(),
      last_activity_at timestamptz default now(), primary key (operator_id, chat_id))', operator_type, chat_type);
    comment on table rota.operator_activity is 'Who is at work in which chat, and when they last were, where the application''s own table of that name can''t say it.';
    create index operator_activity_chat on rota.operator_activity (chat_id);
    comment on index rota.operator_activity_chat is 'Who is at work in a chat.';
  end if;
  execute format('create view rota.activity as select operator_id, chat_id, started_at, last_activity_at%s from %s',
    case when had_activity is not null and to_regclass('rota.operator_activity') is null then ', rota_noted' end,
    coalesce(to_regclass('rota.operator_activity'), 'public.operator_activity'));
  comment on view rota.activity is 'Who is at work in which chat, wherever that is kept.';
  if exists (select from pg_attribute where attrelid = 'rota.activity'::regclass and attname = 'rota_noted') then
    alter view rota.activity alter column rota_noted set default true; -- so the kit's own rows are known, as it writes by way of the view alone
  end if;
  if not had_operators then
    -- Whoever was named as an operator is one: the application keeps its people elsewhere.
    insert into public.operators (id, name)
      select c.assigned_operator_id, c.assigned_operator_id::text from public.chats c where c.assigned_operator_id is not null
      union select a.operator_id, a.operator_id::text from public.chat_assignments a where a.operator_id is not null;
  end if;
end
$adopt$;

-- Gives every chat that was there a state, and makes history and activity agree with it.
do $backfill$
declare
  chats_stood jsonb := rota.quiet_triggers('public.chats');
  assignments_stood jsonb := rota.quiet_triggers('public.chat_assignments');
  known constant text := $q$ coalesce(t.chat_state::text, '') in ('waiting_assignment', 'assigned', 'waiting_real_user_reply', 'completed') $q$;
  ours boolean := (select 'chat_state' = any (a.columns) or a.created from rota.adopted a where a.name = 'chats');
  gone constant text := 'not exists (select from public.operators o where o.id = t.assigned_operator_id)';
begin
  perform rota.adopt_values('chats', 'last_operator_id', 't.assigned_operator_id', 't.last_operator_id is null and t.assigned_operator_id is not null');
  -- An existing state is believed as far as it can be right; the rest follows from the other columns.
  perform rota.adopt_values('chats', 'chat_state', $v$ 'completed' $v$, 't.is_active is false and (' || ours || ' or not ' || known || ')');
  perform rota.adopt_values('chats', 'chat_state', $v$ 'assigned' $v$,
    't.is_active is not false and t.assigned_operator_id is not null and not (' || gone || ') and (' || ours || ' or not ' || known || ')');
  perform rota.adopt_values('chats', 'chat_state', $v$ 'waiting_assignment' $v$, 'not ' || known
    || $c$ or t.chat_state::text = 'waiting_real_user_reply' and t.operator_replied_at is null
      or t.chat_state::text = 'assigned' and (t.is_active is false or t.assigned_operator_id is null or $c$ || gone || ')');
  perform rota.adopt_values('chats', 'assigned_operator_id', 'null', $c$ t.chat_state::text <> 'assigned' and t.assigned_operator_id is not null $c$);

  -- One open assignment for each assigned chat, and none for others.
  perform rota.adopt_values('chat_assignments', 'release_reason', $v$ 'adopted' $v$, $c$ t.released_at is null and (
    not exists (select from public.chats c where c.id = t.chat_id and c.chat_state::text = 'assigned' and c.assigned_operator_id = t.operator_id)
    or exists (select from public.chat_assignments o where o.chat_id = t.chat_id and o.operator_id = t.operator_id and o.released_at is null and o.id > t.id)) $c$);
  perform rota.adopt_values('chat_assignments', 'released_at', 'now()', $c$ t.released_at is null and t.release_reason = 'adopted' $c$);
  with made as (
    insert into public.chat_assignments as a (chat_id, operator_id, assigned_at)
    select c.id, c.assigned_operator_id, coalesce(c.assigned_at, now()) from public.chats c where c.chat_state = 'assigned'
      and not exists (select from public.chat_assignments o where o.chat_id = c.id and o.released_at is null) returning a.*
  )
  insert into rota.adopted_values (table_name, key, became)
    select 'chat_assignments', m.id::text, jsonb_build_object('id', m.id) from made m
    where not (select created from rota.adopted where name = 'chat_assignments');
  if (select created from rota.adopted where name = 'operator_activity') or to_regclass('rota.operator_activity') is not null then
    insert into rota.activity (operator_id, chat_id, started_at, last_activity_at)
      select c.assigned_operator_id, c.id, now(), now() from public.chats c where c.chat_state = 'assigned';
  end if;
  perform rota.wake_triggers('public.chats', chats_stood);
  perform rota.wake_triggers('public.chat_assignments', assignments_stood);

  perform rota.adopt_constraint('chats', 'chats_state_known', $c$ chat_state is not null
    and chat_state in ('waiting_assignment', 'assigned', 'waiting_real_user_reply', 'completed') $c$);
  perform rota.adopt_constraint('chats', 'chats_assigned_has_operator', $c$ (chat_state = 'assigned') = (assigned_operator_id is not null) $c$);
  perform rota.adopt_constraint('chats', 'chats_waiting_reply_has_replied_at', $c$ chat_state <> 'waiting_real_user_reply' or operator_replied_at is not null $c$);
  if 'capacity' = any ((select columns from rota.adopted where name = 'operators')::text[]) or (select created from rota.adopted where name = 'operators') then
    perform rota.adopt_constraint('operators', 'operators_capacity_in_range', 'capacity between 0 and 1000');
  end if;
  if 'role' = any ((select columns from rota.adopted where name = 'operators')::text[]) or (select created from rota.adopted where name = 'operators') then
    perform rota.adopt_constraint('operators', 'operators_role_known', $c$ role in ('operator', 'supervisor') $c$);
  end if;
  perform rota.adopt_index('chats', 'idx_chats_waiting_assignment', $i$ index idx_chats_waiting_assignment on public.chats
    (created_at, (id::text) collate "C") where chat_state = 'waiting_assignment' and is_active $i$);
  perform rota.adopt_index('chats', 'idx_chats_last_operator', 'index idx_chats_last_operator on public.chats (last_operator_id)');
  perform rota.adopt_index('chats', 'idx_chats_operator_replied', 'index idx_chats_operator_replied on public.chats (operator_replied_at) where operator_replied_at is not null');
  perform rota.adopt_index('chats', 'idx_chats_assigned_operator', $i$ index idx_chats_assigned_operator on public.chats (assigned_operator_id) where chat_state = 'assigned' $i$);
  perform rota.adopt_index('chat_assignments', 'chat_assignments_one_open', 'unique index chat_assignments_one_open on public.chat_assignments (chat_id) where released_at is null');
  perform rota.adopt_index('chat_assignments', 'idx_chat_assignments_chat', 'index idx_chat_assignments_chat on public.chat_assignments (chat_id, operator_id)');
  perform rota.adopt_index('chat_assignments', 'idx_chat_assignments_time', 'index idx_chat_assignments_time on public.chat_assignments (assigned_at)');
  if to_regclass('rota.operator_activity') is null then
    perform rota.adopt_index('operator_activity', 'idx_operator_activity_chat', 'index idx_operator_activity_chat on public.operator_activity (chat_id)');
  end if;
end
$backfill$;

create index adopted_values_record on rota.adopted_values (table_name, key);
comment on index rota.adopted_values_record is 'What is remembered of a record.';

select rota.comment_adopted('operators', '[["table", "operators", "Who answers chats: how many at once, and whether they supervise."]]');
select rota.comment_adopted('chats', '[
  ["table", "chats", "Conversations, each in one of four states; changed by operations, or by the functions for psql."],
  ["index", "idx_chats_waiting_assignment", "The queue, in the order in which it is handed out."],
  ["index", "idx_chats_last_operator", "Chats by who handled them last."],
  ["index", "idx_chats_operator_replied", "Chats by when an operator last replied."],
  ["index", "idx_chats_assigned_operator", "The chats that an operator has."]]');
select rota.comment_adopted('chat_assignments', '[
  ["table", "chat_assignments", "Who had which chat, from when to when, and why no longer. Written by a trigger."],
  ["index", "chat_assignments_one_open", "No chat has two operators."],
  ["index", "idx_chat_assignments_chat", "The history of a chat."],
  ["index", "idx_chat_assignments_time", "The last 24 hours."]]');
select rota.comment_adopted('operator_activity', '[
  ["table", "operator_activity", "Who is at work in which chat, and when they last were. Written by a trigger."],
  ["index", "idx_operator_activity_chat", "Who is at work in a chat."]]');
