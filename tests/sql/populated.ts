// An application's chats and slots as they were before the kit, and a look at everything of them.
/** A cluster without the kit lacks the role of the application's people. */
export const ROLES = `do $$ begin create role authenticated nologin; exception when duplicate_object or unique_violation then null; end $$;`

/** An application's tables as they were before, with rows that nobody expects. */
export const BEFORE = `
create table operators (id uuid primary key, name text not null, email text unique);
insert into operators select ('aaaaaaaa-0000-4000-8000-' || lpad(i::text, 12, '0'))::uuid, 'Operator ' || i, 'o' || i || '@rota.example' from generate_series(1, 20) i;
create table chats (
  id uuid primary key, real_user_id uuid not null, assigned_operator_id uuid, is_active boolean default true,
  created_at timestamptz, last_message_at timestamptz, subject text, score numeric, tags text[], extra jsonb, updated_at timestamptz not null default now());
comment on table chats is 'Conversations of the shop';
create function touch_chat() returns trigger language plpgsql as $$ begin new.updated_at := now(); new.score := coalesce(new.score, 0) + 1; return new; end $$;
create trigger touch_chat before update on chats for each row execute function touch_chat();
create trigger zz_never before update on chats for each row execute function touch_chat();
alter table chats disable trigger zz_never;
create index chats_by_user on chats (real_user_id);
alter table chats enable row level security;
create policy everyone on chats for select to authenticated using (assigned_operator_id is null or true);
insert into chats select md5('chat' || i)::uuid, md5('user' || i)::uuid,
  case when i % 5 = 0 then ('aaaaaaaa-0000-4000-8000-' || lpad((1 + i % 20)::text, 12, '0'))::uuid
    when i % 7 = 0 then '99999999-0000-4000-8000-000000000000' end, -- of somebody who is gone
  case i % 11 when 0 then false when 1 then null else true end,
  case when i % 13 <> 0 then '2026-01-01 00:00:00.123456+00'::timestamptz + i * interval '1 minute' end,
  case when i % 3 = 0 then '2026-02-01'::timestamptz + i * interval '1 second' end,
  'Subject '' "' || i || E' \\n ü', case when i % 4 = 0 then 1.50 when i % 4 = 1 then 'NaN' end, array['a', null, i::text],
  jsonb_build_object('n', i, 'deep', jsonb_build_array(null, 12345678901234567890)), '2026-03-01'
  from generate_series(1, 500) i;
create table chat_assignments (id bigserial primary key, chat_id uuid not null references chats (id) on delete cascade, operator_id uuid not null, assigned_at timestamptz not null default now(), released_at timestamptz);
insert into chat_assignments (chat_id, operator_id, assigned_at, released_at)
  select c.id, 'aaaaaaaa-0000-4000-8000-000000000001', '2026-01-02', case when i = 1 then '2026-01-03'::timestamptz end from chats c, generate_series(1, 3) i;
create table operator_activity (operator_id uuid primary key, chat_id uuid, last_seen timestamptz);
insert into operator_activity select id, null, now() from operators limit 5;
create table availability (id bigserial primary key, user_id uuid not null, starts_at timestamp not null, ends_at timestamp not null, is_active boolean, label text,
  updated_at timestamptz not null default '2026-03-01');
create function touch_slot() returns trigger language plpgsql as $$ begin new.updated_at := now(); return new; end $$;
create trigger touch_slot before update on availability for each row execute function touch_slot();
-- Of each ten: one that is over before it begins, one without a length, one with a fraction of a second, one that nobody has switched on or off, one that is off.
insert into availability (user_id, starts_at, ends_at, is_active, label)
  select ('aaaaaaaa-0000-4000-8000-' || lpad((1 + i % 20)::text, 12, '0'))::uuid, s.at + case when i % 10 = 5 then interval '0.25 s' else '0' end,
    s.at + case i % 10 when 3 then interval '-1 hour' when 4 then '0' else '3 hours' end, case i % 10 when 7 then null else i % 10 <> 8 end, 'Slot ' || i
  from generate_series(1, 100) i, lateral (select '2026-03-01 09:00'::timestamp + i * interval '1 day') s(at);
-- And twelve that begin while another one of the same person goes on.
insert into availability (user_id, starts_at, ends_at, is_active, label)
  select user_id, starts_at + interval '1 hour', ends_at, true, 'Again' from availability where label in (select 'Slot ' || i from generate_series(1, 30) i where i % 10 in (1, 2, 7, 9));
-- The document's own names, of other shapes, and what depends on them.
create function assign_chat_to_operator(p_operator_id uuid) returns jsonb language plpgsql as $$
  declare taken uuid; begin
    select id into taken from chats where assigned_operator_id is null and is_active order by created_at limit 1 for update skip locked;
    update chats set assigned_operator_id = p_operator_id where id = taken;
    insert into chat_assignments (chat_id, operator_id) values (taken, p_operator_id);
    return jsonb_build_object('chat', taken);
  end $$;
comment on function assign_chat_to_operator(uuid) is 'Of the shop';
revoke all on function assign_chat_to_operator(uuid) from public;
grant execute on function assign_chat_to_operator(uuid) to authenticated;
create function assign_chat_to_operator(p_operator_id uuid, p_chat_id uuid) returns void language sql as 'update chats set assigned_operator_id = p_operator_id where id = p_chat_id';
create function detect_stuck_chats(hours int default 2) returns setof uuid language sql stable as 'select id from chats where created_at < now() - hours * interval ''1 hour''';
create view chat_state_summary as select is_active, count(*) as n from chats group by is_active;
comment on view chat_state_summary is 'Of the shop';
grant select on chat_state_summary to authenticated;
create view chats_at_a_glance as select sum(n) as n, (select count(*) from detect_stuck_chats(3)) as old from chat_state_summary;`

/** Everything about the application's tables that anybody could notice. */
export const LOOK = `select jsonb_pretty(jsonb_build_object(
  'rows', (select jsonb_object_agg(t, r) from (
    select 'chats', jsonb_agg(to_jsonb(c) || jsonb_build_object('text', c::text) order by c.id) from chats c
    union all select 'operators', jsonb_agg(to_jsonb(o) order by o.id) from operators o
    union all select 'chat_assignments', jsonb_agg(to_jsonb(a) order by a.id) from chat_assignments a
    union all select 'operator_activity', jsonb_agg(to_jsonb(a) order by a.operator_id) from operator_activity a
    union all select 'availability', jsonb_agg(to_jsonb(a) || jsonb_build_object('text', a::text) order by a.id) from availability a) x(t, r)),
  'columns', (select jsonb_agg(jsonb_build_array(table_name, column_name, data_type, is_nullable, column_default) order by table_name, ordinal_position)
    from information_schema.columns where table_schema = 'public'),
  'indexes', (select jsonb_agg(indexdef order by indexdef) from pg_indexes where schemaname = 'public'),
  'constraints', (select jsonb_agg(conrelid::regclass || ' ' || conname || ' ' || pg_get_constraintdef(oid) order by conrelid::regclass::text, conname)
    from pg_constraint where connamespace = 'public'::regnamespace),
  'triggers', (select jsonb_agg(tgrelid::regclass || ' ' || tgname || ' ' || tgenabled::text order by tgname) from pg_trigger where not tgisinternal),
  'policies', (select jsonb_agg(to_jsonb(p) order by policyname) from pg_policies p where schemaname = 'public'),
  'tables', (select jsonb_agg(jsonb_build_array(relname, relkind, relrowsecurity, relreplident, relacl::text, obj_description(oid, 'pg_class')) order by relname)
    from pg_class where relnamespace = 'public'::regnamespace and relkind <> 'i'),
  'views', (select jsonb_agg(to_jsonb(v) order by viewname) from pg_views v where schemaname = 'public'),
  'functions', (select jsonb_agg(jsonb_build_array(pg_get_functiondef(oid), proacl::text, obj_description(oid, 'pg_proc')) order by oid::regprocedure::text)
    from pg_proc where pronamespace = 'public'::regnamespace and prokind = 'f'))) as all`
