-- Rota's server kit, before part 1: a look at the database, which changes nothing.
--
-- The kit adopts what an application has of `chats`, `operators`, `chat_assignments`, `operator_activity` and `availability`. A shape with which
-- the rules could not hold, or with which the application would not go on working afterwards, is refused here, before anything
-- is changed: all that is in the way at once, each with what to do. Run this file alone to hear whether the kit can be applied.

do $look$
declare
  hindrances text[] := '{}';
  states constant text[] := '{waiting_assignment,assigned,waiting_real_user_reply,completed}';
  reasons constant text[] := '{replied,released,idle,supervisor,user message,transferred,completed,by hand,inactive,deleted,adopted}';
  me record;
  it record;
  other record;
  sample text;
  fits boolean;
  holds text;
  wrong text;
begin
  select * into me from pg_roles r where r.rolname = current_user;
  if to_regclass('rota.tables') is not null then return; end if; -- the kit is here already
  if to_regnamespace('rota') is not null then
    hindrances := hindrances || 'the schema rota is somebody else''s: rename it (alter schema rota rename to …)'::text;
  end if;
  if not has_database_privilege(current_database(), 'create') or not has_schema_privilege('public', 'create') then
    hindrances := hindrances || format('the role %I may not create in the database and in the schema public: migrate as another role, or have it granted (grant create on database %I to %1$I; grant create on schema public to %1$I)',
      current_user, current_database());
  end if;
  if not (me.rolsuper or me.rolcreaterole) then
    for it in select w.name from unnest('{anon,authenticated}'::text[]) w(name) where not exists (select from pg_roles r where r.rolname = w.name) loop
      hindrances := hindrances || format('the role %I is missing, and %I may not create roles: have it made once in this cluster (create role %1$I nologin)', it.name, current_user);
    end loop;
  end if;

  -- The tables themselves.
  for it in
    select w.name, c.oid, c.relkind, c.relforcerowsecurity, c.relreplident, r.rolname as owner,
      exists (select from pg_inherits i where i.inhparent = c.oid or i.inhrelid = c.oid) as inherits,
      exists (select from pg_attribute a where a.attrelid = c.oid and a.attname = 'id' and not a.attisdropped) as has_id
    from unnest('{chats,operators,chat_assignments,availability}'::text[]) w(name)
    join pg_class c on c.relname = w.name and c.relnamespace = 'public'::regnamespace and c.relkind <> 'i' join pg_roles r on r.oid = c.relowner
  loop
    if it.relkind <> 'r' or it.inherits then
      hindrances := hindrances || format('public.%I is not a table that stands alone, but %s: give it another name (alter … rename to …), and the kit makes a table of its own, or make it a plain table', it.name,
        case it.relkind when 'v' then 'a view' when 'm' then 'a materialized view' when 'p' then 'partitioned' when 'f' then 'a foreign table'
          when 'r' then 'a part of, or above, another table' else 'something else' end);
      continue;
    end if;
    if not pg_has_role(it.owner, 'usage') then
      hindrances := hindrances || format('public.%I belongs to %I, and %I can''t alter it: migrate as its owner', it.name, it.owner, current_user);
    end if;
    if it.relforcerowsecurity and not (me.rolsuper or me.rolbypassrls) then
      hindrances := hindrances || format('public.%1$I forces row-level security on its owner, so the kit would not see all of its rows: alter table public.%1$I no force row level security, or migrate as a role with bypassrls', it.name);
    end if;
    if not it.has_id then
      hindrances := hindrances || format('public.%1$I has no column id: rename its key (alter table public.%1$I rename column … to id) or the table', it.name);
      continue;
    end if;
    select bool_or(i.indimmediate) into fits from pg_index i join pg_attribute a on a.attrelid = i.indrelid and a.attnum = i.indkey[0] and a.attname = 'id' and a.attnotnull
      where i.indrelid = it.oid and i.indisunique and i.indisvalid and i.indpred is null and i.indexprs is null and i.indnkeyatts = 1;
    if fits is null and it.name in ('chats', 'availability') then
      hindrances := hindrances || format('public.%1$I needs a primary key, or a unique index and not null, over id: alter table public.%1$I add primary key (id)', it.name);
    end if;
    continue when fits is null; -- not synced
    if not fits and it.relreplident <> 'f' then
      hindrances := hindrances || format('every unique index over id of public.%1$I is deferrable, so the change stream can''t carry the key: make it anew without deferrable, or alter table public.%1$I replica identity full', it.name);
    end if;
    select case when a.attgenerated <> '' then 'is generated, so it is not known yet when a change is recorded: make it a plain column'
        when b.of = 'numeric'::regtype and (b.modifier = -1 or (((b.modifier - 4) & 2047) # 1024) - 1024 > 0)
          then format('is %s, in which one number has several spellings (1.5 and 1.50): alter table public.%I alter column id type numeric(20, 0)', format_type(a.atttypid, a.atttypmod), it.name)
        when k.collisdeterministic is false or b.name in ('citext', 'interval', 'jsonb')
          then format('takes values for equal that are spelt differently: alter table public.%I alter column id type text', it.name) end into wrong
      from pg_attribute a join pg_type y on y.oid = a.atttypid left join pg_type z on z.oid = y.typbasetype left join pg_collation k on k.oid = a.attcollation
      cross join lateral (select coalesce(z.oid, y.oid), coalesce(z.typname, y.typname)::text, case when z.oid is null then a.atttypmod else y.typtypmod end) b(of, name, modifier)
      where a.attrelid = it.oid and a.attname = 'id' and not a.attisdropped;
    if wrong is not null then hindrances := hindrances || format('public.%I.id can''t be the key, as it %s', it.name, wrong); end if;
  end loop;

  -- A slot has a person, a beginning and an end.
  for it in
    select w.name from unnest('{user_id,starts_at,ends_at}'::text[]) w(name) join pg_class c on c.relname = 'availability' and c.relnamespace = 'public'::regnamespace and c.relkind = 'r'
    where not exists (select from pg_attribute a where a.attrelid = c.oid and a.attname = w.name and not a.attisdropped)
  loop
    hindrances := hindrances || format('public.availability has no column %I: rename what it is called there (alter table public.availability rename column … to %1$I), or the table, and the kit makes one of its own', it.name);
  end loop;

  -- Columns that the kit reads and writes, where the application has them.
  for it in
    select w.name as of_table, a.attname as name, w.kind, w.empties, a.attnotnull, a.attgenerated, a.attrelid, a.atttypid as exactly, format_type(a.atttypid, a.atttypmod) as type, a.atttypmod as modifier,
      coalesce(nullif(y.typbasetype, 0), y.oid) as base, y.typcategory as category
    from (values ('operators', 'name', 'word', false), ('operators', 'capacity', 'integer', false), ('operators', 'is_active', 'boolean', false),
      ('operators', 'role', 'word', false), ('operators', 'department', 'word', false),
      ('chats', 'chat_state', 'state', false), ('chats', 'assigned_operator_id', '', true), ('chats', 'last_operator_id', '', false),
      ('chats', 'operator_replied_at', 'time', false), ('chats', 'is_active', 'boolean', false), ('chats', 'created_at', 'time', false),
      ('chats', 'last_message_at', 'time', false), ('chats', 'assigned_at', 'time', false), ('chats', 'state_changed_at', 'time', false),
      ('chat_assignments', 'chat_id', '', false), ('chat_assignments', 'operator_id', '', false), ('chat_assignments', 'assigned_at', 'time', false),
      ('chat_assignments', 'released_at', 'time', true), ('chat_assignments', 'release_reason', 'reason', true),
      ('chat_assignments', 'assigned_by', 'text', true), ('chat_assignments', 'operation', 'uuid', true),
      ('availability', 'starts_at', 'wall', false), ('availability', 'ends_at', 'wall', false), ('availability', 'time_zone', 'zone', false),
      ('availability', 'recurrence', 'jsonb', true), ('availability', 'is_active', 'boolean', false),
      ('chats', 'rota_version', 'version', true), ('operators', 'rota_version', 'version', true), ('chat_assignments', 'rota_version', 'version', true), ('availability', 'rota_version', 'version', true),
      ('chats', 'rota_op', 'uuid', true), ('operators', 'rota_op', 'uuid', true), ('chat_assignments', 'rota_op', 'uuid', true), ('availability', 'rota_op', 'uuid', true)) w(name, column_name, kind, empties)
    join pg_class c on c.relname = w.name and c.relnamespace = 'public'::regnamespace and c.relkind = 'r'
    join pg_attribute a on a.attrelid = c.oid and a.attname = w.column_name and not a.attisdropped join pg_type y on y.oid = a.atttypid
  loop
    if it.attgenerated <> '' then
      hindrances := hindrances || format('public.%I.%I is generated, so the kit can''t write it: rename it', it.of_table, it.name);
      continue;
    end if;
    if it.empties and it.attnotnull then
      hindrances := hindrances || format('public.%1$I.%2$I must be able to be null: alter table public.%1$I alter column %2$I drop not null', it.of_table, it.name);
    end if;
    fits := case it.kind when 'boolean' then it.base = 'bool'::regtype when 'integer' then it.base in ('int2'::regtype, 'int4'::regtype, 'int8'::regtype)
      when 'time' then it.base in ('timestamptz'::regtype, 'timestamp'::regtype) when 'uuid' then it.base = 'uuid'::regtype
      when 'wall' then it.exactly in ('text'::regtype, 'varchar'::regtype, 'timestamp'::regtype) when 'zone' then it.exactly in ('text'::regtype, 'varchar'::regtype)
      when 'jsonb' then it.exactly = 'jsonb'::regtype when 'version' then it.base = 'int8'::regtype
      when 'word' then it.category in ('S', 'E') when 'text' then it.category = 'S' and it.modifier = -1
      when 'reason' then it.category = 'S' and (it.modifier = -1 or it.modifier >= 504) else true end;
    if it.name = 'is_active' and it.of_table = 'availability' and it.exactly <> 'bool'::regtype then fits := false; end if;
    if not fits then
      hindrances := hindrances || format('public.%1$I.%2$I is %3$s, and must be %4$s: rename it, or alter table public.%1$I alter column %2$I type %5$s using …', it.of_table, it.name, it.type,
        case it.kind when 'boolean' then 'boolean' when 'integer' then 'an integer' when 'time' then 'a timestamp' when 'uuid' then 'a uuid'
          when 'wall' then 'a local time: text or a timestamp without time zone' when 'jsonb' then 'jsonb' when 'version' then 'bigint'
          when 'reason' then 'text of at least 500 characters' when 'text' then 'text of any length' else 'text' end,
        case it.kind when 'boolean' then 'boolean' when 'integer' then 'integer' when 'time' then 'timestamptz' when 'uuid' then 'uuid'
          when 'wall' then 'timestamp' when 'jsonb' then 'jsonb' when 'version' then 'bigint' else 'text' end);
    end if;
    -- The kit writes times in UTC.
    if it.kind = 'time' and it.base = 'timestamp'::regtype and (timestamp '2026-01-15' <> timestamptz '2026-01-15 00:00Z' or timestamp '2026-07-15' <> timestamptz '2026-07-15 00:00Z') then
      hindrances := hindrances || format('public.%1$I.%2$I has no time zone, and this session''s is %3$s: if the application means UTC, migrate with set timezone = ''UTC''; else alter table public.%1$I alter column %2$I type timestamptz using %2$I at time zone %3$L',
        it.of_table, it.name, current_setting('TimeZone'));
    end if;
    if it.kind not in ('state', 'reason') or not fits then continue; end if;
    <<samples>>
    foreach sample in array case it.kind when 'state' then states else reasons end loop
      begin
        execute format('select (%L::%s)::text = %1$L', sample, it.type) into fits;
        if not fits and it.kind = 'state' then raise exception using errcode = '22001'; end if;
      exception when others then
        hindrances := hindrances || format('public.%1$I.%2$I is %3$s, which can''t hold ''%4$s'': alter table public.%1$I alter column %2$I type text, or rename it', it.of_table, it.name, it.type, sample);
        exit samples;
      end;
      for other in select k.conname as name, pg_get_expr(k.conbin, k.conrelid) as condition from pg_constraint k where k.conrelid = it.attrelid and k.contype = 'c'
          and k.conkey = array[(select attnum from pg_attribute where attrelid = it.attrelid and attname = it.name)] loop
        execute format('select (%s) is not false from (select %L::%s as %I) t', other.condition, sample, it.type, it.name) into fits;
        if fits then continue; end if;
        hindrances := hindrances || format('the check %1$I of public.%2$I does not let %3$I be ''%4$s'': alter table public.%2$I drop constraint %1$I', other.name, it.of_table, it.name, sample);
        exit samples;
      end loop;
    end loop;
    continue when it.kind <> 'state';
    -- An application with states of its own goes on writing them.
    execute format('select string_agg(format(''%%L (%%s chats)'', t.s, t.n), '', '' order by t.s) from (select c.chat_state::text as s, count(*) as n
      from public.chats c where c.chat_state is not null and c.chat_state::text <> all ($1) group by 1 order by 1 limit 10) t') into holds using states;
    if holds is not null then
      hindrances := hindrances || format('public.chats.chat_state holds %s, and a chat is one of %s: rename the column (alter table public.chats rename column chat_state to …), or change its values and whoever writes them',
        holds, array_to_string(states, ', '));
    end if;
    select pg_get_expr(d.adbin, d.adrelid) into holds from pg_attrdef d join pg_attribute a on a.attrelid = d.adrelid and a.attnum = d.adnum
      where d.adrelid = it.attrelid and a.attname = 'chat_state' and pg_get_expr(d.adbin, d.adrelid) !~ '^(NULL|''(waiting_assignment|completed)'')(::.*)?$';
    if holds is not null then
      hindrances := hindrances || format('public.chats.chat_state has the default %s, and a new chat is waiting: alter table public.chats alter column chat_state set default ''waiting_assignment''', holds);
    end if;
  end loop;

  -- Columns that must have one type.
  for it in
    select w.of_what, string_agg(distinct format_type(a.atttypid, a.atttypmod), ' and ') as types, string_agg(distinct w.place, ', ') as places
    from (values ('chat', 'chats.id'), ('chat', 'chat_assignments.chat_id'), ('operator', 'operators.id'), ('operator', 'chats.assigned_operator_id'),
      ('operator', 'chats.last_operator_id'), ('operator', 'chat_assignments.operator_id')) w(of_what, place)
    join pg_class c on c.relname = split_part(w.place, '.', 1) and c.relnamespace = 'public'::regnamespace and c.relkind = 'r'
    join pg_attribute a on a.attrelid = c.oid and a.attname = split_part(w.place, '.', 2) and not a.attisdropped
    group by w.of_what having count(distinct format_type(a.atttypid, a.atttypmod)) > 1
  loop
    hindrances := hindrances || format('these columns must have one type, not %s: %s. Give them one (alter table … alter column … type …)', it.types, it.places);
  end loop;

  -- Each assignment is a line of chat_assignments that the kit has to be able to write.
  for it in
    select a.attname as name, format_type(a.atttypid, a.atttypmod) as type from pg_class c join pg_attribute a on a.attrelid = c.oid and a.attnum > 0 and not a.attisdropped
    where c.relname = 'chat_assignments' and c.relnamespace = 'public'::regnamespace and c.relkind = 'r' and a.attnotnull and not a.atthasdef and a.attidentity = ''
      and a.attname <> all ('{chat_id,operator_id,assigned_at,released_at,release_reason,assigned_by,operation}')
  loop
    hindrances := hindrances || format('public.chat_assignments.%1$I must be given a default, or be able to be null, as the kit adds lines without it: alter table public.chat_assignments alter column %1$I %2$s', it.name,
      case when it.type = 'uuid' then 'set default gen_random_uuid()' when it.type in ('integer', 'bigint') and it.name = 'id' then 'add generated by default as identity' else 'drop not null' end);
  end loop;
  for it in
    select k.relname as name, exists (select from pg_constraint x where x.conindid = k.oid) as of_constraint from pg_class c join pg_index i on i.indrelid = c.oid and i.indisunique and i.indpred is null and i.indexprs is null
    join pg_class k on k.oid = i.indexrelid
    where c.relname = 'chat_assignments' and c.relnamespace = 'public'::regnamespace and c.relkind = 'r'
      and array(select a.attname::text from pg_attribute a where a.attrelid = c.oid and a.attnum = any (i.indkey[0:i.indnkeyatts - 1])) <@ '{chat_id,operator_id,released_at,release_reason,assigned_by}'::text[]
  loop
    hindrances := hindrances || format('%1$I lets public.chat_assignments keep no history of a chat that is assigned again: %2$s', it.name,
      case when it.of_constraint then format('alter table public.chat_assignments drop constraint %I', it.name) else format('drop index public.%I', it.name) end);
  end loop;

  -- The kit's triggers must see the row as it will be stored.
  for it in
    select c.relname as of_table, g.tgname as name from pg_trigger g join pg_class c on c.oid = g.tgrelid
    where c.relnamespace = 'public'::regnamespace and c.relname in ('chats', 'operators', 'availability') and not g.tgisinternal and g.tgtype & 3 = 3 and g.tgtype & 20 <> 0
      and g.tgenabled <> 'D' and g.tgname::text collate "C" > 'zz_rota'
  loop
    hindrances := hindrances || format('the trigger %1$I on public.%2$I would run after the kit''s own, by its name: alter trigger %1$I on public.%2$I rename to …', it.name, it.of_table);
  end loop;

  -- Names that the kit needs. The document's own are set aside, and given back on the way down (part 7).
  for it in
    select format('%s public.%I', case c.relkind when 'v' then 'view' when 'm' then 'materialized view' when 'S' then 'sequence' when 'i' then 'index' else 'table' end, c.relname) as name
    from pg_class c where c.relnamespace = 'public'::regnamespace and (c.relname = 'chat_state_summary' and c.relkind not in ('v', 'm')
      or c.relname in ('chats_waiting', 'operator_assignment_history', 'chats_often_reassigned', 'operator_performance', 'idle_incidents', 'assignment_history', 'push_subscriptions',
        'assignment_history_id_seq', 'assignment_history_pkey', 'assignment_history_record', 'assignment_history_to', 'assignment_history_from', 'push_subscriptions_pkey', 'push_subscriptions_user', 'availability_days'))
    union all
    select 'function ' || p.oid::regprocedure from pg_proc p where p.pronamespace = 'public'::regnamespace and p.proname in ('apply_operation', 'apply_operations', 'rota_pull',
      'record_operator_activity', 'record_operator_reply', 'record_user_message', 'start_chat', 'transfer_chat', 'complete_chat', 'release_idle_chats', 'user_assignment_stats',
      'unassigned_records', 'save_push_subscription', 'free_slots', 'who_is_free', 'rota_claim_outbox', 'rota_outbox_done', 'rota_outbox_failed')
  loop
    hindrances := hindrances || format('the kit needs the name of the %s: give the application''s another one (alter … rename to …), or move it to another schema', it.name);
  end loop;
  for it in
    select 'function ' || p.oid::regprocedure as name, r.rolname as owner from pg_proc p join pg_roles r on r.oid = p.proowner
    where p.pronamespace = 'public'::regnamespace and p.proname in ('assign_chat_to_operator', 'release_and_reassign_chat', 'get_assignment_queue_status', 'detect_stuck_chats')
      and not pg_has_role(p.proowner, 'usage')
    union all
    select 'view ' || c.oid::regclass, r.rolname from pg_class c join pg_roles r on r.oid = c.relowner
    where c.relnamespace = 'public'::regnamespace and c.relname = 'chat_state_summary' and not pg_has_role(c.relowner, 'usage')
  loop
    hindrances := hindrances || format('the %s belongs to %I, and %I can''t set it aside: migrate as its owner, or rename it', it.name, it.owner, current_user);
  end loop;

  select r.rolname into holds from pg_publication p join pg_roles r on r.oid = p.pubowner where p.pubname = 'supabase_realtime' and not p.puballtables and not pg_has_role(p.pubowner, 'usage');
  if holds is not null then
    hindrances := hindrances || format('the publication supabase_realtime belongs to %1$I, and %2$I can''t add tables to it: migrate as its owner, or alter publication supabase_realtime owner to %2$I', holds, current_user);
  end if;

  if exists (select from unnest('{anon,authenticated}'::text[]) w(name) join pg_roles r on r.rolname = w.name where has_schema_privilege(r.oid, 'public', 'create'))
    or exists (select from pg_namespace n cross join lateral aclexplode(n.nspacl) a where n.nspname = 'public' and a.grantee = 0 and a.privilege_type = 'CREATE') then
    raise warning 'everybody may create objects in the schema public, and so make functions of their own run as somebody else: revoke create on schema public from public, anon, authenticated';
  end if;

  if cardinality(hindrances) > 0 then
    raise exception using errcode = '55000', message = format(E'Rota''s server kit can''t be applied to this database yet, and has changed nothing:\n- %s', array_to_string(hindrances, E'\n- '));
  end if;
end
$look$;
