-- Rota's server kit, part 8: who was given what. The history of every synced table that has an owner column, its figures,
-- and the two tables from which people are told: an outbox that a sender drains, and where a browser can be pushed to.
--
-- The history is written by a trigger, so that an operation, a function called by hand and plain SQL leave the same.

select rota.lock_tables(); -- chats get triggers below

create table public.assignment_history (
  id bigint generated always as identity primary key,
  table_name text not null,
  record_key text not null,
  from_owner text,
  to_owner text,
  changed_by text,
  changed_at timestamptz not null default clock_timestamp(),
  tab text,
  operation uuid
);
comment on table public.assignment_history is 'Every change of an owner: of which record, from whom, to whom, by whom, when, in which tab, by which operation.';
comment on column public.assignment_history.changed_by is 'The person in the token; null: plain SQL of whoever runs the database.';
create index assignment_history_record on public.assignment_history (table_name, record_key, changed_at desc);
create index assignment_history_to on public.assignment_history (to_owner, changed_at desc);
create index assignment_history_from on public.assignment_history (from_owner, changed_at desc);
comment on index public.assignment_history_record is 'The history of one record.';
comment on index public.assignment_history_to is 'What a person was given.';
comment on index public.assignment_history_from is 'What was taken from a person.';
alter table public.assignment_history enable row level security;

-- Whether the caller may see this record, by the table's own policies.
create function rota.may_see(of_table text, of_key text) returns boolean language plpgsql stable set search_path = public, pg_temp as $$
declare
  target rota.tables;
  seen boolean;
begin
  select * into target from rota.tables t where t.name = of_table;
  if target.name is null then return false; end if;
  execute format('select true from %s t where %s', target.relation, rota.key_condition(target, '$1')) into seen using of_key;
  return coalesce(seen, false);
exception when insufficient_privilege or data_exception then return false;
end
$$;
comment on function rota.may_see(text, text) is 'Whether the caller may see a record of a synced table.';

create function rota.tables_with_history() returns setof rota.tables language sql stable security definer set search_path = pg_catalog, pg_temp as $$
  select t.* from rota.tables t where exists (select from public.assignment_history h where h.table_name = t.name)
$$;
comment on function rota.tables_with_history() is 'The synced tables whose records have had owners.';

-- Every record with a history that rota.may_see would answer true for, by one query a table.
create function rota.seen_with_history() returns table (table_name text, record_key text) language plpgsql stable set search_path = public, pg_temp
  set timezone = 'UTC' set datestyle = 'ISO, MDY' set intervalstyle = 'postgres' set extra_float_digits = 1 set bytea_output = 'hex' as $$
declare
  target rota.tables;
begin
  for target in select * from rota.tables_with_history() loop
    begin
      return query execute format(case when cardinality(target.key_columns) = 1 then 'select $1, to_jsonb(t.%2$I) #>> ''{}'' from %1$s t'
        else 'select $1, rota.key_of(to_jsonb(t.*), $2) from %1$s t' end, target.relation, target.key_columns[1]) using target.name, target.key_columns;
    exception when insufficient_privilege then null;
    end;
  end loop;
end
$$;
comment on function rota.seen_with_history() is 'The records that the caller may see, of all tables with a history.';

-- Who reads everything asks each table once; who reads a few lines asks for their records alone. Both see the same.
create policy read_of_visible on public.assignment_history for select to authenticated using (
  (select rota.actor()) in (from_owner, to_owner, changed_by)
  or case when (select current_setting('rota.reads_whole', true)) = 'on' then (table_name, record_key) in (select s.table_name, s.record_key from rota.seen_with_history() s)
    else rota.may_see(table_name, record_key) end);
comment on policy read_of_visible on public.assignment_history is 'Who may see a record may see who had it; and everybody what concerns themselves.';
revoke all on public.assignment_history from public, anon, authenticated;
revoke all on sequence public.assignment_history_id_seq from public, anon, authenticated;
grant select on public.assignment_history to authenticated;

create table rota.outbox (
  id bigint generated always as identity primary key,
  kind text not null,
  recipient text not null,
  payload jsonb not null,
  created_at timestamptz not null default clock_timestamp(),
  due_at timestamptz not null default clock_timestamp(),
  attempts int not null default 0,
  last_error text,
  reached text[] not null default '{}',
  done_at timestamptz
);
comment on column rota.outbox.reached is 'Which of several addresses were reached already, as their sender marks them, so that another attempt passes them over.';
comment on table rota.outbox is 'What is to be told by e-mail, push or a webhook: written with the change itself, drained by a sender with claim_outbox.';
create index outbox_due on rota.outbox (due_at, id) where done_at is null;
comment on index rota.outbox_due is 'What is still to be sent, the oldest first.';

create function rota.note_assignment() returns trigger language plpgsql security definer set search_path = pg_catalog, pg_temp
  set timezone = 'UTC' set datestyle = 'ISO, MDY' set intervalstyle = 'postgres' set extra_float_digits = 1 set bytea_output = 'hex' as $$
declare
  target rota.tables;
  had text;
  has text;
  its_key text;
  by_operation uuid := nullif(current_setting('rota.op', true), '')::uuid;
  entry public.assignment_history;
begin
  select * into target from rota.tables t where t.relation = tg_relid;
  if not (case tg_op when 'DELETE' then to_jsonb(old) else to_jsonb(new) end) ? target.owner_column then
    perform rota.check_names(tg_relid, array[target.owner_column]);
  end if;
  if tg_op <> 'INSERT' then had := to_jsonb(old) ->> target.owner_column; end if;
  if tg_op <> 'DELETE' then has := to_jsonb(new) ->> target.owner_column; end if;
  if had is not distinct from has then return null; end if;
  its_key := rota.key_of(case when tg_op = 'DELETE' then to_jsonb(old) else to_jsonb(new) end, target.key_columns);
  insert into public.assignment_history (table_name, record_key, from_owner, to_owner, changed_by, tab, operation)
    values (target.name, its_key, had, has, rota.actor(), (select left(l.op ->> 'tab', 200) from rota.ledger l where l.id = by_operation), by_operation)
    returning * into entry;
  insert into rota.outbox (kind, recipient, payload)
    select v.kind, v.recipient, jsonb_build_object('table', target.name, 'key', its_key, 'from', had, 'to', has, 'by', entry.changed_by, 'at', entry.changed_at)
    from (values ('assigned', has), ('unassigned', had)) v(kind, recipient)
    where v.recipient is not null and v.recipient is distinct from entry.changed_by; -- nobody is told what they did themselves
  return null;
end
$$;
comment on function rota.note_assignment() is 'Trigger: one line of history for a change of the owner, and what the old and the new one are to be told.';

create function rota.drop_owner_triggers(t regclass) returns void language plpgsql set search_path = pg_catalog, pg_temp as $$
begin
  execute format('drop trigger if exists zz_rota_assigned on %s', t);
  execute format('drop trigger if exists zz_rota_assigned_first on %s', t);
  execute format('drop trigger if exists zz_rota_assigned_last on %s', t);
  execute format('drop trigger if exists zz_rota_truncated on %s', t);
end
$$;
comment on function rota.drop_owner_triggers(regclass) is 'Takes the triggers of the history off a table.';

-- TRUNCATE tells no row trigger: before it every owner is noted as having lost the record.
create function rota.note_truncated() returns trigger language plpgsql security definer set search_path = pg_catalog, pg_temp
  set timezone = 'UTC' set datestyle = 'ISO, MDY' set intervalstyle = 'postgres' set extra_float_digits = 1 set bytea_output = 'hex' as $$
declare
  target rota.tables;
begin
  select * into target from rota.tables t where t.relation = tg_relid;
  if target.owner_column is null then return null; end if;
  execute format($q$
    with had as (select rota.key_of(to_jsonb(t.*), $1) as key, t.%1$I::text as owner from %2$s t where t.%1$I is not null),
    entry as (insert into public.assignment_history (table_name, record_key, from_owner, changed_by) select $2, h.key, h.owner, rota.actor() from had h returning *)
    insert into rota.outbox (kind, recipient, payload)
      select 'unassigned', e.from_owner, jsonb_build_object('table', $2, 'key', e.record_key, 'from', e.from_owner, 'to', null, 'by', e.changed_by, 'at', e.changed_at)
      from entry e where e.from_owner is distinct from e.changed_by $q$, target.owner_column, target.relation) using target.key_columns, target.name;
  return null;
end
$$;
comment on function rota.note_truncated() is 'Trigger: a TRUNCATE takes every record from its owner.';

-- Follows rota.tables: every synced table with an owner has the triggers, and no other. They look at the row as it was stored: a
-- trigger of the table's own may have given it another owner than the statement named.
create function rota.follow_owner() returns trigger language plpgsql set search_path = pg_catalog, pg_temp as $$
declare
  t regclass := case when tg_op = 'DELETE' then old.relation else new.relation end;
begin
  if not exists (select from pg_class c where c.oid = t) then return null; end if;
  perform rota.drop_owner_triggers(t);
  if tg_op <> 'DELETE' and new.owner_column is not null then
    execute format('create trigger zz_rota_assigned after update on %s for each row
      when (old.%2$I is distinct from new.%2$I) execute function rota.note_assignment()', t, new.owner_column);
    execute format('create trigger zz_rota_assigned_first after insert on %s for each row
      when (new.%2$I is not null) execute function rota.note_assignment()', t, new.owner_column);
    execute format('create trigger zz_rota_assigned_last after delete on %s for each row
      when (old.%2$I is not null) execute function rota.note_assignment()', t, new.owner_column);
    execute format('create trigger zz_rota_truncated before truncate on %s for each statement execute function rota.note_truncated()', t);
    execute format('comment on trigger zz_rota_assigned on %s is %L', t, 'Writes the history of its owners.');
    execute format('comment on trigger zz_rota_assigned_first on %s is %L', t, 'Writes the history of its owners.');
    execute format('comment on trigger zz_rota_assigned_last on %s is %L', t, 'Writes the history of its owners.');
    execute format('comment on trigger zz_rota_truncated on %s is %L', t, 'Writes the history of its owners.');
  end if;
  return null;
end
$$;
comment on function rota.follow_owner() is 'Trigger on rota.tables: gives each table with an owner column its history.';
create trigger follow_owner after insert or delete or update on rota.tables for each row execute function rota.follow_owner();
comment on trigger follow_owner on rota.tables is 'Gives each table with an owner column its history.';
update rota.tables set owner_column = owner_column where owner_column is not null; -- those that are synced already

-- Who won, for whoever lost a race. Definer: the line may be of a record that has just moved out of the loser's sight.
create function rota.last_assignment(of_table text, of_key text) returns jsonb language sql stable security definer set search_path = pg_catalog, pg_temp as $$
  select jsonb_build_object('user', h.to_owner, 'at', h.changed_at) from public.assignment_history h
  where h.table_name = of_table and h.record_key = of_key and h.to_owner is not null order by h.id desc limit 1
$$;
comment on function rota.last_assignment(text, text) is 'Who was given a record last, and when.';

create or replace function rota.op_assign(op jsonb, target rota.tables, actor text) returns jsonb language plpgsql set search_path = pg_catalog, pg_temp as $$
declare
  result jsonb;
  winner jsonb;
begin
  if target.owner_column is null then
    perform rota.refuse('invalid', format('%s has no owner, so it can''t be assigned', target.name));
  elsif target.owner_column = any (target.reserved) then
    perform rota.refuse('invalid', format('the field %s of %s can''t be set by an operation', target.owner_column, target.name));
  elsif coalesce(jsonb_typeof(op #> '{args,to}'), 'missing') not in ('string', 'null') or op #>> '{args,to}' = '' then
    perform rota.refuse('invalid', 'args.to must be a person''s id or null');
  elsif octet_length(op #>> '{args,to}') > 256 then
    perform rota.refuse('invalid', 'args.to must have at most 256 bytes');
  elsif op -> 'args' <> jsonb_build_object('to', op #> '{args,to}') then
    perform rota.refuse('invalid', 'assign has no argument but to');
  elsif not op -> 'base' ? target.owner_column then
    perform rota.refuse('invalid', format('base lacks the field %s, which assign changes', target.owner_column));
  end if;
  result := rota.change_fields(target, op, actor, jsonb_build_object(target.owner_column, op #> '{args,to}'),
    jsonb_build_object(target.owner_column, op -> 'base' -> target.owner_column), 'taken', 'somebody else was assigned first');
  if result ->> 'code' = 'taken' then
    winner := rota.last_assignment(target.name, op ->> 'key');
    if rota.visible_record(target, op ->> 'key') ->> target.owner_column = winner ->> 'user' then
      return result || jsonb_build_object('winner', winner);
    end if;
  end if;
  return result;
end
$$;
comment on function rota.op_assign(jsonb, rota.tables, text) is 'Operation assign: gives a record another owner, unless somebody was first; then it says who.';

create function public.user_assignment_stats(p_user text default null)
returns table (table_name text, user_id text, owned bigint, assigned_last_24h bigint, lost_last_24h bigint, last_assigned_at timestamptz)
language plpgsql stable set search_path = public, pg_temp as $$
#variable_conflict use_column
declare
  target rota.tables;
begin
  for target in select * from rota.tables t where t.owner_column is not null order by t.name loop
    continue when not has_table_privilege(target.relation, 'select');
    return query execute format($q$
      with owned as (select t.%1$I::text as person, count(*) as n from %2$s t where t.%1$I is not null and ($1 is null or t.%1$I::text = $1) group by 1),
      told as (select p.person, count(*) filter (where p.gained) as gained, count(*) filter (where not p.gained) as lost, max(h.changed_at) filter (where p.gained) as last_at
        from public.assignment_history h cross join lateral (values (h.to_owner, true), (h.from_owner, false)) p(person, gained)
        where h.table_name = $2 and h.changed_at > now() - interval '24 hours' and p.person is not null and ($1 is null or p.person = $1) group by 1)
      select $2, coalesce(o.person, h.person), coalesce(o.n, 0), coalesce(h.gained, 0), coalesce(h.lost, 0), h.last_at
      from owned o full join told h on h.person = o.person order by 2 $q$, target.owner_column, target.relation) using p_user, target.name;
  end loop;
end
$$;
comment on function public.user_assignment_stats is 'For each table with owners and each person: how many records they own, were given and lost in 24 hours. Under the caller''s rights.';

create function public.unassigned_records(p_table text, p_limit int default 100)
returns table (key text, record jsonb) language plpgsql stable set search_path = public, pg_temp
  set timezone = 'UTC' set datestyle = 'ISO, MDY' set intervalstyle = 'postgres' set extra_float_digits = 1 set bytea_output = 'hex' as $$
#variable_conflict use_column
declare
  target rota.tables;
begin
  select * into target from rota.tables t where t.name = p_table and t.owner_column is not null;
  if target.name is null then raise exception 'the table % is not synced with an owner', left(p_table, 80) using errcode = '42P01'; end if;
  return query execute format('select k.key, to_jsonb(r.*) from (select %s from %s t where t.%I is null) r
    cross join lateral (select rota.key_of(to_jsonb(r.*), $1)) k(key) order by k.key collate "C" limit $2',
    rota.row_columns(target.relation), target.relation, target.owner_column) using target.key_columns, least(greatest(p_limit, 0), 10000);
end
$$;
comment on function public.unassigned_records is 'Records of a synced table that nobody owns, as the caller may see them.';

-- For senders: takes what is due, for as long as the lease lasts. What is not reported done by then is due again.
create function rota.claim_outbox(n int default 100, lease interval default '5 minutes') returns setof rota.outbox
language plpgsql volatile security definer set search_path = pg_catalog, pg_temp as $$
begin
  if n is null or n not between 1 and 1000 then raise exception 'between 1 and 1,000 can be claimed at once, not %', n using errcode = '22023'; end if;
  return query update rota.outbox o set due_at = clock_timestamp() + lease, attempts = o.attempts + 1
    where o.id in (select i.id from rota.outbox i where i.done_at is null and i.due_at <= clock_timestamp() and i.attempts < 20
      order by i.due_at, i.id limit n for update skip locked) returning o.*;
end
$$;
comment on function rota.claim_outbox(int, interval) is 'Takes up to n entries that are due. Two senders never hold the same one; who dies loses nothing, as the lease runs out. After 20 attempts an entry stays, and is taken no more.';

create function rota.outbox_done(ids bigint[]) returns bigint language sql volatile security definer set search_path = pg_catalog, pg_temp as $$
  with done as (update rota.outbox o set done_at = clock_timestamp(), last_error = null where o.id = any (ids) and o.done_at is null returning o.id)
  select count(*) from done
$$;
comment on function rota.outbox_done(bigint[]) is 'These were sent. Answers how many of them were still open.';

create function rota.outbox_failed(entry bigint, error text, again_in interval default '1 minute', reached text[] default '{}') returns void
language sql volatile security definer set search_path = pg_catalog, pg_temp as $$
  update rota.outbox o set due_at = clock_timestamp() + again_in, last_error = left(error, 2000), reached = o.reached || outbox_failed.reached
    where o.id = entry and o.done_at is null
$$;
comment on function rota.outbox_failed(bigint, text, interval, text[]) is 'This could not be sent, or not to everybody, and is due again after a while.';

create function rota.outbox_gave_up(entry bigint, reason text) returns void language sql volatile security definer set search_path = pg_catalog, pg_temp as $$
  update rota.outbox o set done_at = clock_timestamp(), last_error = left(reason, 2000) where o.id = entry and o.done_at is null
$$;
comment on function rota.outbox_gave_up(bigint, text) is 'This will never be sent. The reason stays with it.';

create function rota.prune_outbox(keep interval default '30 days') returns bigint language sql volatile security definer set search_path = pg_catalog, pg_temp as $$
  -- What nobody has drained for so long is no news any more: not everybody has a sender.
  with dropped as (delete from rota.outbox o where coalesce(o.done_at, o.created_at) < clock_timestamp() - keep returning o.id) select count(*) from dropped
$$;
comment on function rota.prune_outbox(interval) is 'Forgets what was sent long ago, and what nobody has sent for so long.';

create table public.push_subscriptions (
  endpoint text primary key check (endpoint ~ '^https://' and length(endpoint) <= 2048),
  user_id text not null default rota.actor() check (user_id <> ''),
  p256dh text not null check (length(p256dh) between 1 and 200),
  auth text not null check (length(auth) between 1 and 100),
  user_agent text check (length(user_agent) <= 500),
  created_at timestamptz not null default now(),
  expires_at timestamptz
);
comment on table public.push_subscriptions is 'Where a person''s browsers can be reached with every tab closed; a sender reads it with the outbox.';
create index push_subscriptions_user on public.push_subscriptions (user_id);
comment on index public.push_subscriptions_user is 'All browsers of a person.';
alter table public.push_subscriptions enable row level security;
create policy own_subscriptions on public.push_subscriptions for all to authenticated
  using (user_id = (select rota.actor())) with check (user_id = (select rota.actor()));
comment on policy own_subscriptions on public.push_subscriptions is 'Everybody sees, adds and removes their own.';
revoke all on public.push_subscriptions from public, anon, authenticated;
grant select, insert, update, delete on public.push_subscriptions to authenticated;

-- A browser keeps its endpoint when another person signs in. Who holds its keys may take it over, and nobody else.
create function public.save_push_subscription(p_endpoint text, p_p256dh text, p_auth text, p_user_agent text default null) returns void
language plpgsql volatile security definer set search_path = pg_catalog, pg_temp as $$
begin
  if rota.actor() is null then raise exception 'no person in the token' using errcode = '42501'; end if;
  insert into public.push_subscriptions as s (endpoint, user_id, p256dh, auth, user_agent) values (p_endpoint, rota.actor(), p_p256dh, p_auth, left(p_user_agent, 500))
  on conflict (endpoint) do update set user_id = excluded.user_id, p256dh = excluded.p256dh, auth = excluded.auth, user_agent = excluded.user_agent, created_at = now()
    where s.user_id = excluded.user_id or s.p256dh = excluded.p256dh and s.auth = excluded.auth;
  if not found then raise exception 'this subscription belongs to somebody else' using errcode = '42501'; end if;
end
$$;
comment on function public.save_push_subscription is 'Keeps a browser''s push subscription for the person in the token.';

select rota.sync_table('public.assignment_history', '{id}', '{}');
revoke all on function rota.tables_with_history(), rota.seen_with_history(), rota.tables_with_history(), rota.seen_with_history(), rota.note_truncated(), rota.drop_owner_triggers(regclass), rota.may_see(text, text), rota.note_assignment(), rota.follow_owner(), rota.last_assignment(text, text),
  rota.claim_outbox(int, interval), rota.outbox_done(bigint[]), rota.outbox_failed(bigint, text, interval, text[]), rota.outbox_gave_up(bigint, text),
  rota.prune_outbox(interval) from public;
grant execute on function rota.may_see(text, text), rota.tables_with_history(), rota.seen_with_history(), rota.last_assignment(text, text) to authenticated;
revoke all on function public.user_assignment_stats, public.unassigned_records, public.save_push_subscription from public, anon;
grant execute on function public.user_assignment_stats, public.unassigned_records, public.save_push_subscription to authenticated;
