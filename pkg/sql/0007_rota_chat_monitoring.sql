-- Rota's server kit, part 7: chats by hand, by a scheduler, and seen from above.
--
-- The functions here are for psql, cron jobs and an application's own server. They do what the operations do, through the
-- same function and the same triggers, so history and feed can't tell the difference. Nobody signed in may call them.

-- The document's own names may be the application's already. What it has is set aside under another name, so that whatever
-- depends on it goes on working, and gets its name back on the way down. Of functions only those that could be meant by the same call.
create table rota.set_aside (
  name text not null,
  kind text not null check (kind in ('routine', 'view', 'materialized view')),
  arguments text not null,
  primary key (name, arguments)
);
comment on table rota.set_aside is 'Functions and views of the application that had names of the kit''s: they are called <name>_before_rota until the way back.';

do $aside$
declare
  its record;
begin
  for its in
    select p.proname::text as name, 'routine' as kind, format('(%s)', pg_get_function_identity_arguments(p.oid)) as arguments
    from pg_proc p join (values ('assign_chat_to_operator', 1, 1), ('release_and_reassign_chat', 1, 2), ('get_assignment_queue_status', 0, 0),
      ('detect_stuck_chats', 0, 1)) k(name, fewest, most) on k.name = p.proname
    where p.pronamespace = 'public'::regnamespace and p.pronargs - p.pronargdefaults <= k.most and p.pronargs >= k.fewest
    union all
    select c.relname, case c.relkind when 'v' then 'view' else 'materialized view' end, '' from pg_class c
    where c.relnamespace = 'public'::regnamespace and c.relname = 'chat_state_summary' and c.relkind in ('v', 'm')
  loop
    execute format('alter %s public.%I%s rename to %I', its.kind, its.name, its.arguments, its.name || '_before_rota');
    insert into rota.set_aside (name, kind, arguments) values (its.name, its.kind, its.arguments);
    raise notice '%', format('public.%1$I%2$s is the kit''s from now on; the application''s is called %3$I', its.name, its.arguments, its.name || '_before_rota');
  end loop;
end
$aside$;

-- The chat of this key, locked. Raises where there is none.
create function rota.lock_chat(chat_id text) returns public.chats language plpgsql set search_path = pg_catalog, pg_temp as $$
#variable_conflict use_variable
declare
  chat public.chats;
  typed public.chats.id%type := chat_id;
begin
  select * into chat from public.chats c where c.id = typed for no key update;
  if chat.id is null then perform rota.refuse('not-found', format('there is no chat %s', chat_id)); end if;
  return chat;
end
$$;
comment on function rota.lock_chat(text) is 'Locks a chat, or refuses with not-found.';

-- One operation by hand: the rules of its state and of capacity hold, those of persons don't.
create function rota.chat_by_hand(chat_id text, operation text, operator text, reason text) returns void
language plpgsql set search_path = pg_catalog, pg_temp as $$
declare
  chat public.chats := rota.lock_chat(chat_id);
begin
  if operation = 'transfer' and operator is null then perform rota.refuse('invalid', 'a chat is transferred to an operator, not to null'); end if;
  if operator = chat.assigned_operator_id::text then return; end if; -- it is as it was to be: PROTOCOL.md §10, step 2
  if rota.chat_leads_to(operation, chat.chat_state::text) is null then
    perform rota.refuse('illegal-transition', format('%s can''t be done to a chat that is %s', operation, chat.chat_state));
  end if;
  if operator is not null then perform rota.take_turn(operator); end if;
  perform rota.write_chat(chat, operation, operator, reason);
end
$$;
comment on function rota.chat_by_hand(text, text, text, text) is 'Does one operation to a chat, as whoever runs the database.';

create function public.assign_chat_to_operator(p_operator_id public.operators.id%type) returns public.chats.id%type
language plpgsql volatile security definer set search_path = pg_catalog, pg_temp set timezone = 'UTC' as $$
declare
  chosen public.chats;
begin
  perform rota.take_turn(p_operator_id::text);
  chosen := rota.next_chat(p_operator_id::text);
  if chosen.id is not null then perform rota.write_chat(chosen, 'claim', p_operator_id::text, null); end if;
  return chosen.id;
end
$$;
comment on function public.assign_chat_to_operator(public.operators.id%type) is 'Gives the operator the chat that is next and answers its id, or null if none is to be had. Refuses an operator who has as many as they may.';

create function public.release_and_reassign_chat(p_chat_id public.chats.id%type, p_reason text default 'released') returns boolean
language plpgsql volatile security definer set search_path = pg_catalog, pg_temp set timezone = 'UTC' as $$
begin
  perform rota.check_chat_args(jsonb_build_object('name', 'release', 'args', jsonb_build_object('reason', coalesce(p_reason, 'released'))));
  perform rota.chat_by_hand(p_chat_id::text, 'release', null, coalesce(p_reason, 'released'));
  return true;
end
$$;
comment on function public.release_and_reassign_chat(public.chats.id%type, text) is 'Puts an assigned chat back into the queue, with the reason in its history.';

-- The first message of a chat makes it, each later one brings it back into the queue.
create function public.start_chat(p_chat jsonb default '{}') returns public.chats.id%type
language plpgsql volatile security definer set search_path = public, pg_temp set timezone = 'UTC' as $$
#variable_conflict use_variable
declare
  chat_id public.chats.id%type;
  fields jsonb := p_chat;
  wrong text;
begin
  if jsonb_typeof(p_chat) is distinct from 'object' then perform rota.refuse('invalid', 'a chat is told as an object of its columns'); end if;
  select f into wrong from jsonb_object_keys(p_chat) f where not exists (
    select from pg_catalog.pg_attribute a where a.attrelid = 'public.chats'::regclass and a.attname = f and a.attnum > 0 and not a.attisdropped) limit 1;
  if wrong is not null then perform rota.refuse('invalid', format('chats has no field %s', left(wrong, 80))); end if;
  select f into wrong from jsonb_object_keys(p_chat) f
    where f = any ('{chat_state,assigned_operator_id,last_operator_id,operator_replied_at,assigned_at,rota_version,rota_op}') limit 1;
  if wrong is not null then perform rota.refuse('invalid', format('the field %s of a chat is set by its operations alone', wrong)); end if;
  if p_chat ->> 'id' is null then fields := fields - 'id'; end if;
  fields := jsonb_build_object('last_message_at', clock_timestamp()) || fields;
  execute format('insert into public.chats (%1$s) select %1$s from jsonb_populate_record(null::public.chats, $1) %2$s returning id',
    (select string_agg(format('%I', f), ', ') from jsonb_object_keys(fields) f), case when fields ? 'id' then 'on conflict (id) do nothing' else '' end)
    into chat_id using fields;
  if chat_id is null then
    chat_id := fields ->> 'id';
    perform rota.chat_by_hand(chat_id::text, 'user_message', null, 'user message');
  end if;
  return chat_id;
end
$$;
comment on function public.start_chat(jsonb) is 'A user has written: makes a chat with these columns, which waits, and answers its id. One that is there already waits again.';

create function public.record_operator_reply(p_chat_id public.chats.id%type) returns void
language sql volatile security definer set search_path = pg_catalog, pg_temp set timezone = 'UTC' as $$ select rota.chat_by_hand(p_chat_id::text, 'reply', null, 'replied') $$;
comment on function public.record_operator_reply is 'The operator of this chat has answered: it waits for the user, the operator is free.';

create function public.record_user_message(p_chat_id public.chats.id%type) returns void
language sql volatile security definer set search_path = pg_catalog, pg_temp set timezone = 'UTC' as $$ select rota.chat_by_hand(p_chat_id::text, 'user_message', null, 'user message') $$;
comment on function public.record_user_message is 'The user of this chat has written: it waits for an operator.';

create function public.transfer_chat(p_chat_id public.chats.id%type, p_operator_id public.operators.id%type) returns void
language sql volatile security definer set search_path = pg_catalog, pg_temp set timezone = 'UTC' as $$ select rota.chat_by_hand(p_chat_id::text, 'transfer', p_operator_id::text, 'transferred') $$;
comment on function public.transfer_chat is 'Gives an assigned chat to another operator.';

create function public.complete_chat(p_chat_id public.chats.id%type) returns void
language sql volatile security definer set search_path = pg_catalog, pg_temp set timezone = 'UTC' as $$ select rota.chat_by_hand(p_chat_id::text, 'complete', null, 'completed') $$;
comment on function public.complete_chat is 'Ends an open chat.';

-- Assigned and silent for too long. A chat that waits for its user is not assigned, so it is never here. Whoever holds a
-- chat at this moment is not silent.
create function public.release_idle_chats(p_idle interval default '5 minutes', p_limit int default 1000)
returns table (chat_id public.chats.id%type, operator_id public.operators.id%type)
language plpgsql volatile security definer set search_path = pg_catalog, pg_temp set timezone = 'UTC' as $$
#variable_conflict use_variable
declare
  chat public.chats;
  due constant timestamptz := clock_timestamp() - p_idle;
  released int := 0;
begin
  if p_idle is null or p_idle <= interval '0' then raise exception 'p_idle must be more than nothing' using errcode = '22023'; end if;
  for chat in select c.* from public.chats c where c.chat_state = 'assigned' and coalesce(c.assigned_at, '-infinity') < due
      and coalesce(rota.last_sign(c.*), '-infinity') < due
    order by c.assigned_at for no key update skip locked loop
    exit when released >= p_limit;
    continue when rota.last_sign(chat) >= due; -- said so since
    -- One that can't be written, as a trigger or a constraint of the application's objects, keeps no other from being released.
    begin
      perform rota.write_chat(chat, 'release', null, 'idle');
    exception when others then
      raise warning 'the chat % could not be released: %', chat.id, sqlerrm;
      continue;
    end;
    released := released + 1;
    chat_id := chat.id;
    operator_id := chat.assigned_operator_id;
    return next;
  end loop;
end
$$;
comment on function public.release_idle_chats is 'Puts chats whose operators have been silent for so long back into the queue, and answers which. For any scheduler; it may run twice at once.';

-- A time of the application's without a zone is UTC, whatever zone the reader's session is set to.
create function rota.instant(told timestamptz) returns timestamptz language sql immutable return told;
create function rota.instant(told timestamp) returns timestamptz language sql immutable return told at time zone 'UTC';
comment on function rota.instant(timestamptz) is 'The moment that a column tells.';
comment on function rota.instant(timestamp) is 'The moment that a column without a zone tells: it is in UTC.';

create function rota.chats_adopted_at() returns timestamptz language sql stable security definer set search_path = pg_catalog, pg_temp as $$
  select a.at from rota.adopted a where a.name = 'chats'
$$;
comment on function rota.chats_adopted_at() is 'When the kit came to the table of chats: no chat is known to have been in its state for longer.';

-- Of a chat whose state has not changed since the kit came, its other times tell; never that of its last message, which moves on
-- while it waits.
create function rota.in_state_since(chat public.chats) returns timestamptz language sql stable set search_path = public, pg_temp set timezone = 'UTC' as $$
  select coalesce(chat.state_changed_at, case chat.chat_state::text when 'assigned' then chat.assigned_at
    when 'waiting_real_user_reply' then chat.operator_replied_at
    else greatest(chat.created_at, (select max(a.released_at) from public.chat_assignments a where a.chat_id = chat.id)) end,
    chat.created_at, rota.chats_adopted_at())
$$;
comment on function rota.in_state_since(public.chats) is 'Since when a chat has been in its state, as far as is known.';

create view public.chat_state_summary with (security_invoker = true) as
  select s.chat_state, count(c.id) as chats, count(c.id) filter (where c.is_active) as active,
    round(extract(epoch from now() - min(rota.in_state_since(c.*)) filter (where c.id is not null)) / 60, 1) as longest_minutes
  from unnest(rota.chat_states()) with ordinality s(chat_state, at) left join public.chats c on c.chat_state::text = s.chat_state
  group by s.chat_state, s.at order by s.at;
comment on view public.chat_state_summary is 'How many chats are in each state, and for how long the first of them has been.';

create view public.chats_waiting with (security_invoker = true) as
  select c.id, c.chat_state, round(extract(epoch from now() - rota.instant(c.created_at)) / 60, 1) as wait_minutes,
    round(extract(epoch from now() - rota.in_state_since(c.*)) / 60, 1) as wait_minutes_this_time, c.last_message_at, c.last_operator_id, c.created_at
  from public.chats c where c.chat_state = 'waiting_assignment' and c.is_active order by c.created_at, (c.id::text) collate "C";
comment on view public.chats_waiting is 'The queue in the order in which it is handed out, with the minutes since each chat began, and since it waits this time.';

create view public.operator_assignment_history with (security_invoker = true) as
  select o.id as operator_id, o.name as operator_name, count(a.id) as total_assignments,
    count(a.id) filter (where a.released_at is not null) as completed, count(a.id) filter (where a.released_at is null) as active
  from public.chat_assignments a join public.operators o on a.operator_id = o.id
  where rota.instant(a.assigned_at) > now() - interval '24 hours' group by o.id, o.name order by total_assignments desc;
comment on view public.operator_assignment_history is 'What each operator was assigned in the last 24 hours: in all, over, and still theirs.';

create view public.chats_often_reassigned with (security_invoker = true) as
  select c.id, c.chat_state, a.operator_id, o.name as operator_name, c.last_operator_id, count(*) as assignment_count
  from public.chat_assignments a join public.chats c on c.id = a.chat_id left join public.operators o on o.id = a.operator_id
  where c.is_active group by c.id, c.chat_state, c.last_operator_id, a.operator_id, o.name having count(*) > 3 order by assignment_count desc;
comment on view public.chats_often_reassigned is 'Chats that one operator was assigned to more than three times.';

create view public.operator_performance with (security_invoker = true) as
  select o.id as operator_id, o.name as operator_name, count(a.id) filter (where a.release_reason = 'replied') as messages,
    round((avg(extract(epoch from rota.instant(a.released_at) - rota.instant(a.assigned_at))) filter (where a.release_reason = 'replied'))::numeric, 1) as average_response_seconds,
    round((percentile_cont(0.95) within group (order by extract(epoch from rota.instant(a.released_at) - rota.instant(a.assigned_at)))
      filter (where a.release_reason = 'replied'))::numeric, 1) as p95_response_seconds,
    count(a.id) filter (where a.release_reason = 'idle') as idle_incidents
  from public.operators o left join public.chat_assignments a on a.operator_id = o.id and rota.instant(a.assigned_at) > now() - interval '24 hours'
  group by o.id, o.name order by messages desc;
comment on view public.operator_performance is 'Each operator''s last 24 hours: answers, how long they took from the assignment on, and how often silence released a chat.';

create view public.idle_incidents with (security_invoker = true) as
  select a.chat_id, a.operator_id, o.name as operator_name, a.assigned_at, a.released_at
  from public.chat_assignments a left join public.operators o on o.id = a.operator_id
  where a.release_reason = 'idle' order by a.released_at desc;
comment on view public.idle_incidents is 'Chats that were released as their operator was silent.';

create function public.get_assignment_queue_status()
returns table (waiting bigint, assigned bigint, waiting_for_user bigint, longest_wait_minutes numeric, average_wait_minutes numeric,
  operators_active bigint, operators_free bigint)
language sql stable set search_path = public, pg_temp set timezone = 'UTC' as $$
  select count(*) filter (where c.chat_state = 'waiting_assignment' and c.is_active), count(*) filter (where c.chat_state = 'assigned'),
    count(*) filter (where c.chat_state = 'waiting_real_user_reply'),
    round(extract(epoch from now() - min(c.created_at) filter (where c.chat_state = 'waiting_assignment' and c.is_active)) / 60, 1),
    round((avg(extract(epoch from now() - c.created_at)) filter (where c.chat_state = 'waiting_assignment' and c.is_active))::numeric / 60, 1),
    (select count(*) from public.operators o where o.is_active),
    (select count(*) from public.operators o where o.is_active
      and o.capacity > (select count(*) from public.chats b where b.assigned_operator_id = o.id and b.chat_state = 'assigned'))
  from public.chats c
$$;
comment on function public.get_assignment_queue_status() is 'The queue in one row: how many wait, and how long, and how many operators could take one.';

create function public.detect_stuck_chats(hours numeric default 1)
returns table (chat_id public.chats.id%type, chat_state text, assigned_operator_id public.operators.id%type, since timestamptz, hours_in_state numeric)
language sql stable set search_path = public, pg_temp set timezone = 'UTC' as $$
  select c.id, c.chat_state::text, c.assigned_operator_id, s.since, round(extract(epoch from now() - s.since) / 3600, 1)
  from public.chats c cross join lateral (select rota.in_state_since(c.*)) s(since)
  where c.chat_state <> 'completed' and s.since < now() - detect_stuck_chats.hours * interval '1 hour' order by s.since
$$;
comment on function public.detect_stuck_chats(numeric) is 'Open chats that have been in their state for more than so many hours.';

do $access$
declare
  by_hand constant text := 'public.assign_chat_to_operator(public.operators.id%type), public.release_and_reassign_chat(public.chats.id%type, text), public.start_chat(jsonb),
    public.record_operator_reply, public.record_user_message, public.transfer_chat, public.complete_chat, public.release_idle_chats';
begin
  execute format('revoke all on function %s from public, anon, authenticated', by_hand);
  if exists (select from pg_roles where rolname = 'service_role') then execute format('grant execute on function %s to service_role', by_hand); end if;
  if to_regprocedure('cron.schedule(text,text,text)') is not null then
    execute $cron$ select cron.schedule('rota-release-idle-chats', '* * * * *', 'select public.release_idle_chats()') $cron$;
  end if;
end
$access$;
revoke all on function rota.lock_chat(text), rota.chat_by_hand(text, text, text, text), rota.chats_adopted_at(), rota.in_state_since(public.chats), rota.instant(timestamptz), rota.instant(timestamp) from public;
grant execute on function rota.chats_adopted_at(), rota.in_state_since(public.chats), rota.instant(timestamptz), rota.instant(timestamp) to authenticated;
revoke all on function public.get_assignment_queue_status(), public.detect_stuck_chats(numeric) from public, anon;
grant execute on function public.get_assignment_queue_status(), public.detect_stuck_chats(numeric) to authenticated;
revoke all on public.chat_state_summary, public.chats_waiting, public.operator_assignment_history, public.chats_often_reassigned,
  public.operator_performance, public.idle_incidents from public, anon, authenticated;
grant select on public.chat_state_summary, public.chats_waiting, public.operator_assignment_history, public.chats_often_reassigned,
  public.operator_performance, public.idle_incidents to authenticated;
