-- Rota's server kit, part 6: what can be done to a chat.
--
-- The rules are one list (rota.chat_leads_to); the triggers hold it for whoever writes, so that an operation, a function
-- called by hand and a plain UPDATE leave the same history, the same activity and the same feed. An operation looks at the
-- chat under the caller's rights, policies and guard included, and writes it under the kit's: people need no right to
-- UPDATE the columns that operations set, only one to UPDATE some column of the row. Locks are taken in the order chat, then
-- operator; who holds an operator first passes over chats that are locked. See PROTOCOL.md §10.
--
-- An application's columns may have any name, and get one tomorrow. So here and in the parts that follow a function that asks its
-- tables names every column with its table, means its own variables by bare names (`use_variable`), and a whole row is `c.*`.

select rota.lock_tables();

-- What an operator may have at once is counted by one at a time. A row of its own, as writing it also stops transactions
-- of higher isolation, whose snapshot would miss the others' chats.
create table rota.operator_turns (operator_id text primary key, turn bigint not null);
comment on table rota.operator_turns is 'One row an operator, locked and counted up by whoever gives the operator a chat.';

create function rota.chat_states() returns text[] language sql immutable
  return '{waiting_assignment,assigned,waiting_real_user_reply,completed}'::text[];
comment on function rota.chat_states() is 'The states of a chat; all but the last are open.';

create function rota.chat_leads_to(operation text, from_state text) returns text language sql immutable
  return case
    when operation in ('claim', 'request_next') and from_state = 'waiting_assignment' then 'assigned'
    when operation = 'transfer' and from_state = 'assigned' then 'assigned'
    when operation = 'reply' and from_state = 'assigned' then 'waiting_real_user_reply'
    when operation in ('release', 'unassign_chat') and from_state = 'assigned' then 'waiting_assignment'
    when operation = 'user_message' and from_state in ('waiting_assignment', 'assigned', 'waiting_real_user_reply') then 'waiting_assignment'
    when operation = 'complete' and from_state in ('waiting_assignment', 'assigned', 'waiting_real_user_reply') then 'completed'
  end;
comment on function rota.chat_leads_to(text, text) is 'The state in which an operation leaves a chat of this state; null: it does not apply to it.';

create function rota.operator_text(operator text) returns text language sql immutable return left(operator, 80);
comment on function rota.operator_text(text) is 'An operator''s id as far as a message repeats it.';

-- The operator of this id, or null, also where the text is no id at all.
create function rota.operator_of(operator text) returns public.operators language plpgsql stable security definer set search_path = pg_catalog, pg_temp as $$
#variable_conflict use_variable
declare
  operator_id public.operators.id%type;
  found_one public.operators;
begin
  operator_id := operator; -- here, not above: a block does not catch what its declarations raise
  select * into found_one from public.operators o where o.id = operator_id and o.id::text = operator;
  return found_one;
exception when data_exception then return null;
end
$$;
comment on function rota.operator_of(text) is 'The operator of this id, or null.';

create function rota.is_supervisor() returns boolean language plpgsql stable security definer set search_path = pg_catalog, pg_temp as $$
declare
  person public.operators := rota.operator_of(rota.actor());
begin
  return coalesce(person.role::text = 'supervisor' and person.is_active, false);
end
$$;
comment on function rota.is_supervisor() is 'Whether the person in the token supervises. An application with roles of its own replaces this function.';

create function rota.is_operator() returns boolean language plpgsql stable security definer set search_path = pg_catalog, pg_temp as $$
declare
  person public.operators := rota.operator_of(rota.actor());
begin
  return coalesce(person.is_active, false);
end
$$;
comment on function rota.is_operator() is 'Whether the person in the token is an active operator.';

-- Takes the operator's turn, and refuses an operator who can't get a chat now; or who has one too many, where the chat is theirs already.
create function rota.take_turn(operator text, is_theirs boolean default false) returns void language plpgsql security definer set search_path = pg_catalog, pg_temp as $$
#variable_conflict use_variable
declare
  of_id public.operators;
  has int;
begin
  insert into rota.operator_turns as t values (operator, 1) on conflict (operator_id) do update set turn = t.turn + 1;
  of_id := rota.operator_of(operator);
  if of_id.id is null then
    perform rota.refuse('unknown-operator', format('there is no operator %s', rota.operator_text(operator)));
  elsif of_id.is_active is not true then
    perform rota.refuse('inactive', format('the operator %s is not active', coalesce(of_id.name, operator)));
  end if;
  select count(*) into has from public.chats c where c.assigned_operator_id = of_id.id and c.chat_state = 'assigned';
  if is_theirs then has := has - 1; end if;
  if has >= coalesce(of_id.capacity, 1) then
    perform rota.refuse('capacity-exceeded', format('%s has %s of at most %s chats', coalesce(of_id.name, operator), has, coalesce(of_id.capacity, 1)));
  end if;
end
$$;
comment on function rota.take_turn(text, boolean) is 'Locks an operator against others who give away chats, and refuses with unknown-operator, inactive or capacity-exceeded.';

-- Before a chat is written, by whomever. An application that knows only assigned_operator_id goes on working: the state follows.
-- The argument says what is_active is to an adopted table. 'ends', where the application had no states: what it makes inactive is
-- completed, and what it makes active again waits. 'leaves', where it had: an inactive chat is nobody's.
-- Of an insert nobody knows here whether it becomes a row: with `on conflict` it may change one, or nothing. So one of a chat that is
-- there gets no new times, and from the chat what its state needs and the statement did not name, as constraints are checked first;
-- and whether an operator may have a new chat is asked once it is there (rota.note_chat).
create function rota.keep_chat() returns trigger language plpgsql security definer set search_path = pg_catalog, pg_temp set timezone = 'UTC' as $$
#variable_conflict use_variable
declare
  reopened boolean := false;
  is_there public.chats;
begin
  if tg_op = 'UPDATE' and tg_argv[0] <> '' and new.chat_state is not distinct from old.chat_state then
    if new.is_active is false and old.is_active is not false and old.chat_state <> 'completed' then
      if tg_argv[0] = 'ends' then new.chat_state := 'completed';
      elsif old.chat_state = 'assigned' then new.chat_state := 'waiting_assignment';
      end if;
    elsif tg_argv[0] = 'ends' and old.is_active is false and new.is_active is not false and old.chat_state = 'completed' then
      reopened := true;
      new.chat_state := case when new.assigned_operator_id is null then 'waiting_assignment' else 'assigned' end;
    end if;
  end if;
  if tg_op = 'INSERT' then
    new.chat_state := coalesce(new.chat_state, 'waiting_assignment');
    if new.assigned_operator_id is not null and new.chat_state = 'waiting_assignment' then new.chat_state := 'assigned'; end if;
    select * into is_there from public.chats c where c.id = new.id;
    if is_there.id is not null then
      if new.chat_state = 'assigned' then new.assigned_operator_id := coalesce(new.assigned_operator_id, is_there.assigned_operator_id);
      else new.assigned_operator_id := null;
      end if;
      if new.chat_state = 'waiting_real_user_reply' then new.operator_replied_at := coalesce(new.operator_replied_at, is_there.operator_replied_at); end if;
      return new;
    end if;
  elsif new.chat_state is not distinct from old.chat_state and new.assigned_operator_id is distinct from old.assigned_operator_id then
    if new.assigned_operator_id is null then new.chat_state := 'waiting_assignment';
    elsif new.chat_state = 'waiting_assignment' then new.chat_state := 'assigned';
    elsif new.chat_state <> 'assigned' then
      perform rota.refuse('illegal-transition', format('a chat that is %s can''t become assigned', old.chat_state));
    end if;
  end if;
  if tg_op = 'UPDATE' and new.chat_state is distinct from old.chat_state and not (reopened
    or old.chat_state <> 'completed' and new.chat_state in ('completed', 'waiting_assignment')
    or old.chat_state = 'waiting_assignment' and new.chat_state = 'assigned'
    or old.chat_state = 'assigned' and new.chat_state = 'waiting_real_user_reply') then
    perform rota.refuse('illegal-transition', format('a chat that is %s can''t become %s', old.chat_state, new.chat_state));
  end if;
  if new.chat_state <> 'assigned' then new.assigned_operator_id := null; end if;
  if new.chat_state = 'assigned' and new.assigned_operator_id is not null and (tg_op = 'INSERT'
    or new.assigned_operator_id is distinct from old.assigned_operator_id) then
    if tg_op = 'UPDATE' and current_setting('rota.turn', true) is distinct from new.assigned_operator_id::text then
      perform rota.take_turn(new.assigned_operator_id::text);
    end if;
    new.last_operator_id := new.assigned_operator_id;
    if tg_op = 'INSERT' or new.assigned_at is not distinct from old.assigned_at then new.assigned_at := clock_timestamp(); end if;
  end if;
  if tg_op = 'INSERT' then new.state_changed_at := coalesce(new.state_changed_at, new.created_at, clock_timestamp());
  elsif new.chat_state is distinct from old.chat_state then new.state_changed_at := clock_timestamp();
  end if;
  return new;
end
$$;
comment on function rota.keep_chat() is 'Trigger: only legal transitions, no operator without being assigned, nobody above capacity, whoever writes.';
do $trigger$
begin
  -- By its name behind the application's own triggers, so that it sees what they make of the row.
  execute format('create trigger zz_rota_keep_chat before insert or update on public.chats for each row execute function rota.keep_chat(%L)',
    (select case when a.created then '' when 'chat_state' = any (a.columns) then 'ends' else 'leaves' end from rota.adopted a where a.name = 'chats'));
end
$trigger$;
comment on trigger zz_rota_keep_chat on public.chats is 'Holds the rules of a chat for whoever writes.';

-- After a chat was written: the history of its assignments, and who is active where.
create function rota.note_chat() returns trigger language plpgsql security definer set search_path = public, pg_temp set timezone = 'UTC' as $$
#variable_conflict use_variable
declare
  had public.chats.assigned_operator_id%type := case when tg_op <> 'INSERT' then old.assigned_operator_id end;
  has public.chats.assigned_operator_id%type := case when tg_op <> 'DELETE' then new.assigned_operator_id end;
  reason text := nullif(current_setting('rota.reason', true), '');
begin
  if tg_op = 'INSERT' and has is not null then perform rota.take_turn(has::text, true); end if;
  if tg_op = 'UPDATE' and new.id is distinct from old.id then
    update public.chat_assignments a set chat_id = new.id where a.chat_id = old.id;
    update rota.activity a set chat_id = new.id where a.chat_id = old.id;
    update rota.adopted_values v set key = new.id::text where v.table_name = 'chats' and v.key = old.id::text;
  end if;
  -- The way back gives nothing back that has changed since adopting, not even where it has changed twice.
  if tg_op = 'UPDATE' and (had is distinct from has or new.chat_state is distinct from old.chat_state) then
    delete from rota.adopted_values v where v.table_name = 'chats' and v.key = new.id::text and (v.column_name = 'chat_state' and new.chat_state is distinct from old.chat_state
      or v.column_name = 'assigned_operator_id' and had is distinct from has or v.column_name = 'last_operator_id' and new.last_operator_id is distinct from old.last_operator_id);
  end if;
  if had is not distinct from has then return null; end if;
  update public.chat_assignments a set released_at = case when has is null then clock_timestamp() else new.assigned_at end, release_reason = coalesce(reason,
    case when tg_op = 'DELETE' then 'deleted' when tg_op = 'INSERT' then 'by hand' when new.chat_state::text = 'completed' then 'completed' when has is not null then 'transferred'
      when new.chat_state::text = 'waiting_real_user_reply' then 'replied' when new.is_active is false and old.is_active is not false then 'inactive' else 'by hand' end)
    where a.chat_id = case when tg_op = 'DELETE' then old.id else new.id end and a.released_at is null and a.operator_id is distinct from has;
  if had is not null then
    delete from rota.activity a where a.chat_id = case when tg_op = 'DELETE' then old.id else new.id end;
  end if;
  if has is not null then
    -- An application that keeps chat_assignments itself may have been first: then this is its line.
    update public.chat_assignments a set assigned_at = new.assigned_at, assigned_by = coalesce(a.assigned_by, rota.actor()),
      operation = coalesce(a.operation, nullif(current_setting('rota.op', true), '')::uuid)
      where a.chat_id = new.id and a.released_at is null;
    if not found then
      insert into public.chat_assignments (chat_id, operator_id, assigned_at, assigned_by, operation)
        values (new.id, has, new.assigned_at, rota.actor(), nullif(current_setting('rota.op', true), '')::uuid);
      if to_regclass('rota.noted_lines') is not null then
        execute 'insert into rota.noted_lines values ($1, $2) on conflict (chat_id) do update set operator_id = excluded.operator_id' using new.id::text, has::text;
      end if;
    end if;
    insert into rota.activity (operator_id, chat_id, started_at, last_activity_at)
      values (has, new.id, clock_timestamp(), clock_timestamp()) on conflict do nothing;
    if not found and not exists (select from rota.activity a where a.chat_id = new.id and a.operator_id = has) then
      -- An application's table has room for one operator in a chat, and somebody was left there.
      delete from rota.activity a where a.chat_id = new.id;
      insert into rota.activity (operator_id, chat_id, started_at, last_activity_at) values (has, new.id, clock_timestamp(), clock_timestamp()) on conflict do nothing;
    end if;
  end if;
  return null;
end
$$;
comment on function rota.note_chat() is 'Trigger: writes chat_assignments and operator_activity, the same for operations, functions and plain SQL.';
create trigger rota_note_chat after insert or update or delete on public.chats for each row execute function rota.note_chat();
comment on trigger rota_note_chat on public.chats is 'Keeps history and activity in step with the chat.';

create function rota.note_truncate() returns trigger language plpgsql security definer set search_path = public, pg_temp set timezone = 'UTC' as $$
#variable_conflict use_variable
begin
  update public.chat_assignments set released_at = clock_timestamp(), release_reason = 'deleted' where released_at is null;
  delete from rota.activity;
  return null;
end
$$;
comment on function rota.note_truncate() is 'Trigger: ends every assignment, as TRUNCATE tells no row trigger.';
create trigger rota_note_truncate after truncate on public.chats for each statement execute function rota.note_truncate();
comment on trigger rota_note_truncate on public.chats is 'Ends the assignments of chats that are no more.';

-- An application that keeps chat_assignments itself adds its line for an assignment that has one already: its line takes the
-- place of the kit's. Definer: both say the same, and who may add a line may not be one to delete one.
create function rota.join_assignment() returns trigger language plpgsql security definer set search_path = public, pg_temp set timezone = 'UTC' as $$
#variable_conflict use_variable
declare
  written public.chat_assignments;
begin
  if tg_argv[0] = 'noted' then -- whoever claims a second time has been first already
    delete from rota.noted_lines n where n.chat_id = new.chat_id::text and n.operator_id = new.operator_id::text;
    if not found then return new; end if;
  end if;
  delete from public.chat_assignments a where a.chat_id = new.chat_id and a.operator_id = new.operator_id and a.released_at is null returning * into written;
  if written.chat_id is not null then
    new.assigned_at := written.assigned_at;
    new.assigned_by := coalesce(new.assigned_by, written.assigned_by);
    new.operation := coalesce(new.operation, written.operation);
  end if;
  return new;
end
$$;
comment on function rota.join_assignment() is 'Trigger: the application''s own line for an open assignment takes the place of the kit''s.';
-- It may also add the line of another operator before it tells the chat. Under the caller's own rights: what ends here is somebody's.
create function rota.succeed_assignment() returns trigger language plpgsql set search_path = public, pg_temp set timezone = 'UTC' as $$
#variable_conflict use_variable
begin
  update public.chat_assignments a set released_at = clock_timestamp(), release_reason = coalesce(a.release_reason, 'transferred')
    where a.chat_id = new.chat_id and a.operator_id is distinct from new.operator_id and a.released_at is null;
  return new;
end
$$;
comment on function rota.succeed_assignment() is 'Trigger: an open line of another operator ends the one before it, unless the application has a unique index that forbids it.';
do $lines$
begin
  if not exists (select from pg_index i join pg_class c on c.oid = i.indexrelid join pg_attribute a on a.attrelid = i.indrelid and a.attnum = i.indkey[0] and a.attname = 'chat_id'
      where i.indrelid = 'public.chat_assignments'::regclass and i.indisunique and i.indnkeyatts = 1
        and c.relname <> all ((select n.indexes from rota.adopted n where n.name = 'chat_assignments')::text[])) then
    create trigger zz_rota_join before insert on public.chat_assignments for each row when (new.released_at is null) execute function rota.join_assignment();
    create trigger zz_rota_succeed before insert on public.chat_assignments for each row when (new.released_at is null) execute function rota.succeed_assignment();
    comment on trigger zz_rota_succeed on public.chat_assignments is 'Lets an application write its history itself.';
  else
    -- A unique index of the application's own decides who has a chat: whoever comes second is refused by it, also by a line of the kit's.
    create table rota.noted_lines (chat_id text primary key, operator_id text not null);
    comment on table rota.noted_lines is 'Chats whose open line in chat_assignments the kit has written, for this operator: the application''s own may take its place once.';
    comment on column rota.noted_lines.chat_id is 'The chat.';
    comment on column rota.noted_lines.operator_id is 'Whose line it is.';
    comment on constraint noted_lines_pkey on rota.noted_lines is 'A chat has one open line.';
    comment on index rota.noted_lines_pkey is 'A chat has one open line.';
    create trigger zz_rota_join before insert on public.chat_assignments for each row when (new.released_at is null) execute function rota.join_assignment('noted');
  end if;
  comment on trigger zz_rota_join on public.chat_assignments is 'Lets an application write its history itself.';
end
$lines$;

-- Whether the person in the token may make this operator so. An application with a rule of its own replaces this function.
create function rota.may_keep_operator(before public.operators, after public.operators) returns boolean language sql stable set search_path = pg_catalog, pg_temp as $$
  select rota.is_supervisor() or case when before.id is null then after.role::text is distinct from 'supervisor' and coalesce(after.capacity, 1) <= 1
    else (before.role::text, before.capacity, before.is_active) is not distinct from (after.role::text, after.capacity, after.is_active) end
$$;
comment on function rota.may_keep_operator(public.operators, public.operators) is 'Whether the person in the token may make this of an operator: only a supervisor changes role, capacity and is_active. An application with a rule of its own replaces this function.';

-- Whether an operator of this id is there and stays until the caller's transaction ends, so that no insert can add another one.
create function rota.holds_operator(operator text) returns boolean language plpgsql volatile security definer set search_path = pg_catalog, pg_temp as $$
#variable_conflict use_variable
declare
  typed public.operators.id%type := operator;
begin
  if not exists (select from pg_index i where i.indrelid = 'public.operators'::regclass and i.indimmediate
    and exists (select from rota.key_indexes(i.indrelid, '{id}') k join pg_class c on c.relname = k.name where c.oid = i.indexrelid)) then return false; end if;
  perform from public.operators o where o.id = typed for key share;
  return found;
end
$$;
comment on function rota.holds_operator(text) is 'Locks the operator of this id against being deleted: true, or false where there is none, or where ids are not unique.';

-- People may often change their own row. What makes somebody a supervisor is not theirs to change. It runs under the caller's
-- rights, to tell people from the table's owner, the application's own server and its functions, which go on as before.
-- An insert of somebody who is there becomes an update, or nothing; that is judged in its turn. Afterwards would be too late to judge
-- an insert: whoever made themselves a supervisor would be one by then.
create function rota.keep_operator() returns trigger language plpgsql set search_path = pg_catalog, pg_temp as $$
begin
  if (current_user in ('anon', 'authenticated') or nullif(nullif(current_setting('request.jwt.claims', true), ''), '{}') is not null)
    and not pg_has_role((select c.relowner from pg_catalog.pg_class c where c.oid = tg_relid), 'usage')
    and not (select r.rolsuper or r.rolbypassrls or r.rolname = 'service_role' from pg_catalog.pg_roles r where r.rolname = current_user)
    and (tg_op = 'INSERT' or (old.role::text, old.capacity, old.is_active) is distinct from (new.role::text, new.capacity, new.is_active)) then
    -- Within, as everybody else lacks the right to call them.
    if tg_op = 'INSERT' and rota.holds_operator(new.id::text) then return new; end if;
    if not rota.may_keep_operator(case when tg_op = 'UPDATE' then old end, new) then
      raise exception 'only a supervisor may change role, capacity or is_active of an operator' using errcode = '42501';
    end if;
  end if;
  return new;
end
$$;
comment on function rota.keep_operator() is 'Trigger: nobody promotes themselves.';
create trigger zz_rota_keep_operator before insert or update on public.operators for each row execute function rota.keep_operator();
comment on trigger zz_rota_keep_operator on public.operators is 'Keeps role, capacity and is_active from the people themselves.';

-- What an application writes into a table of activity of its own is a sign of life: of the operator in that chat, or in all
-- of theirs where it does not say in which. Where the kit's times are in the same row, they move on with it.
create function rota.note_activity() returns trigger language plpgsql security definer set search_path = public, pg_temp set timezone = 'UTC' as $$
#variable_conflict use_variable
begin
  if tg_argv[0] = 'here' then
    if new.last_activity_at is not distinct from old.last_activity_at then new.last_activity_at := clock_timestamp(); end if;
    return new;
  end if;
  update rota.activity a set last_activity_at = clock_timestamp()
    where a.operator_id::text = to_jsonb(new) ->> 'operator_id' and coalesce(a.chat_id::text = to_jsonb(new) ->> 'chat_id', true);
  return new;
end
$$;
comment on function rota.note_activity() is 'Trigger: what the application writes about an operator''s activity is a sign of life.';

-- An application that keeps operator_activity itself adds its row for an operator who has one by now: where nobody but the kit has
-- written that one, the application's takes its place.
create function rota.join_activity() returns trigger language plpgsql security definer set search_path = public, pg_temp as $$
#variable_conflict use_variable
declare
  ours constant text[] := '{chat_id,started_at,last_activity_at,rota_noted}';
begin
  if tg_op = 'INSERT' and new.rota_noted is not true then
    delete from public.operator_activity a where a.operator_id = new.operator_id and a.chat_id = new.chat_id and a.rota_noted;
  elsif tg_op = 'UPDATE' and new.rota_noted and to_jsonb(new) - ours is distinct from to_jsonb(old) - ours then
    new.rota_noted := null;
  end if;
  return new;
end
$$;
comment on function rota.join_activity() is 'Trigger: the application''s own row of activity takes the place of the kit''s.';
do $join$
begin
  if not exists (select from rota.adopted a where a.name = 'operator_activity' and 'rota_noted' = any (a.columns)) then return; end if;
  create trigger zz_rota_join before insert or update on public.operator_activity for each row execute function rota.join_activity();
  comment on trigger zz_rota_join on public.operator_activity is 'Lets an application write its activity itself.';
end
$join$;
do $activity$
begin
  if exists (select from rota.adopted a where a.name = 'operator_activity' and 'last_activity_at' = any (a.columns)) then
    create trigger zz_rota_activity before update on public.operator_activity for each row execute function rota.note_activity('here');
  elsif exists (select from pg_attribute a join pg_class c on c.oid = a.attrelid where to_regclass('rota.operator_activity') is not null
      and c.oid = to_regclass('public.operator_activity') and c.relkind = 'r' and pg_has_role(c.relowner, 'usage') and a.attname = 'operator_id' and not a.attisdropped) then
    create trigger zz_rota_activity before insert or update on public.operator_activity for each row execute function rota.note_activity('elsewhere');
  else return;
  end if;
  comment on trigger zz_rota_activity on public.operator_activity is 'What is written here is a sign of life.';
end
$activity$;

-- When the operator of an assigned chat last gave a sign of life. Who had it before the migration has the full time from there on.
create function rota.last_sign(chat public.chats) returns timestamptz language sql stable set search_path = public, pg_temp set timezone = 'UTC' as $$
  select greatest(chat.assigned_at, (select max(a.last_activity_at) from rota.activity a where a.chat_id = chat.id and a.operator_id = chat.assigned_operator_id),
    (select a.at from rota.adopted a where a.name = 'chats' and not a.created))
$$;
comment on function rota.last_sign(public.chats) is 'When the operator of an assigned chat last gave a sign of life.';

-- The one place that changes a chat's state. `operator` is who has it afterwards; the row is locked and the rules are asked already.
create function rota.write_chat(chat public.chats, operation text, operator text, reason text) returns void
language plpgsql set search_path = public, pg_temp as $$
#variable_conflict use_variable
declare
  next_state public.chats.chat_state%type := rota.chat_leads_to(operation, chat.chat_state::text);
  next_operator public.chats.assigned_operator_id%type := operator;
  at timestamptz := clock_timestamp();
begin
  perform set_config('rota.reason', coalesce(reason, ''), true), set_config('rota.turn', coalesce(operator, ''), true);
  update public.chats c set chat_state = next_state, assigned_operator_id = next_operator,
    last_operator_id = coalesce(next_operator, c.last_operator_id),
    assigned_at = case when next_operator is null then c.assigned_at else at end,
    operator_replied_at = case when operation = 'reply' then at else c.operator_replied_at end,
    last_message_at = case when operation in ('reply', 'user_message') then at else c.last_message_at end
  where c.id = chat.id;
  perform set_config('rota.reason', '', true), set_config('rota.turn', '', true);
end
$$;
comment on function rota.write_chat(public.chats, text, text, text) is 'Changes a locked chat as an operation does, with its reason for the history.';

create function rota.check_chat_args(op jsonb) returns void language plpgsql immutable set search_path = pg_catalog, pg_temp as $$
declare
  wanted text := case when op ->> 'name' in ('claim', 'request_next') then 'operator' when op ->> 'name' = 'transfer' then 'to'
    when op ->> 'name' = 'release' then 'reason' end;
  other text;
  -- Not \S: that is the locale's, and takes a no-break space for a word. This is Unicode's White_Space, everywhere.
  not_white_space constant text := '[^\u0009-\u000d\u0020\u0085\u00a0\u1680\u2000-\u200a\u2028\u2029\u202f\u205f\u3000]';
begin
  if (op -> 'args') - (case when wanted is null then '{}' else array[wanted] end) <> '{}' then
    select a into other from jsonb_object_keys(op -> 'args') a where a is distinct from wanted limit 1;
    perform rota.refuse('invalid', format('%s has no argument %s', op ->> 'name', left(other, 80)));
  end if;
  if wanted is null then return; end if;
  if coalesce(jsonb_typeof(op -> 'args' -> wanted), 'missing') <> 'string' then
    perform rota.refuse('invalid', format('args.%s must be a string', wanted));
  elsif wanted = 'reason' and (length(op #>> '{args,reason}') not between 1 and 500 or op #>> '{args,reason}' !~ not_white_space) then
    perform rota.refuse('invalid', 'args.reason must have 1 to 500 characters, and not white space alone');
  elsif wanted <> 'reason' and octet_length(op -> 'args' ->> wanted) not between 1 and 256 then
    perform rota.refuse('invalid', format('args.%s must have 1 to 256 bytes', wanted));
  end if;
end
$$;
comment on function rota.check_chat_args(jsonb) is 'Refuses arguments that an operation on chats can''t have.';

-- Asked after the record was found: who sees no chat should not learn who is an operator.
create function rota.check_operator(op jsonb) returns void language plpgsql stable set search_path = pg_catalog, pg_temp as $$
declare
  named text := coalesce(op #>> '{args,operator}', op #>> '{args,to}');
begin
  if named is not null and rota.operator_of(named) is null then
    perform rota.refuse('unknown-operator', format('there is no operator %s', rota.operator_text(named)));
  end if;
end
$$;
comment on function rota.check_operator(jsonb) is 'Refuses an operation that names an operator who is not there.';

-- Why the person may not do this to a chat that this operator has, or null.
create function rota.chat_objection(op jsonb, owner text) returns text language plpgsql stable set search_path = pg_catalog, pg_temp as $$
begin
  return case
    when op ->> 'name' in ('claim', 'request_next') and op #>> '{args,operator}' is distinct from rota.actor() and not rota.is_supervisor()
      then 'only a supervisor may take a chat for somebody else'
    when op ->> 'name' = 'reply' and owner is distinct from rota.actor() then 'only its operator may reply in a chat'
    when op ->> 'name' in ('release', 'transfer') and owner is distinct from rota.actor() and not rota.is_supervisor()
      then 'only its operator or a supervisor may give a chat away'
    when op ->> 'name' = 'unassign_chat' and not rota.is_supervisor() then 'only a supervisor may unassign a chat'
  end;
end
$$;
comment on function rota.chat_objection(jsonb, text) is 'Why the person in the token may not do this to a chat of this operator, or null.';

-- The chat is no longer as the operation needs it: a lost race, or never legal from what the person saw.
create function rota.chat_moved(op jsonb, chat public.chats) returns jsonb language plpgsql stable set search_path = pg_catalog, pg_temp as $$
declare
  saw_state text := op #>> '{base,chat_state}';
  saw_owner text := op #>> '{base,assigned_operator_id}';
  has text := chat.assigned_operator_id::text;
  lost jsonb;
begin
  if rota.chat_leads_to(op ->> 'name', saw_state) is null then
    perform rota.refuse('illegal-transition', format('%s can''t be done to a chat that is %s', op ->> 'name', chat.chat_state)
      || case when saw_state is distinct from chat.chat_state::text then format(', nor to one that is %s', left(saw_state, 40)) else '' end);
  end if;
  lost := rota.conflicted('changed', format('the chat is %s now', chat.chat_state), (select coalesce(jsonb_agg(f order by f), '[]')
    from (values ('assigned_operator_id', has is distinct from saw_owner), ('chat_state', chat.chat_state::text is distinct from saw_state)) v(f, differs)
    where differs));
  if has is null or has is not distinct from saw_owner then return lost; end if;
  return lost || jsonb_build_object('code', 'taken', 'message', 'another operator has this chat now',
    'winner', jsonb_build_object('user', has, 'at', chat.assigned_at));
end
$$;
comment on function rota.chat_moved(jsonb, public.chats) is 'The end of an operation that the chat''s state no longer allows: taken, changed or illegal-transition.';

-- Decides an operation on one chat: locks it and asks the rules in the order of PROTOCOL.md §10. Under the kit's rights, so
-- what may be seen and changed at all was asked before (rota.op_chat), and who acts is the token's.
create function rota.change_chat(op jsonb) returns jsonb language plpgsql security definer set search_path = pg_catalog, pg_temp
  set timezone = 'UTC' set datestyle = 'ISO, MDY' as $$
#variable_conflict use_variable
declare
  named text := op ->> 'name';
  chat_id public.chats.id%type := op ->> 'key';
  chat public.chats;
  has text;
  receiver text;
  objection text;
begin
  select * into chat from public.chats c where c.id = chat_id for no key update;
  if chat.id is null then raise exception 'the chat went at the same moment' using errcode = '40001'; end if;
  has := chat.assigned_operator_id::text;
  receiver := coalesce(op #>> '{args,operator}', op #>> '{args,to}');
  if receiver = has then return jsonb_build_object('outcome', 'confirmed'); end if;
  if rota.chat_leads_to(named, chat.chat_state::text) is null
    or (named in ('release', 'unassign_chat', 'transfer', 'reply') and has is distinct from op #>> '{base,assigned_operator_id}') then
    return rota.chat_moved(op, chat);
  end if;
  objection := rota.chat_objection(op, has);
  if objection is not null then perform rota.refuse('forbidden', objection); end if;
  if named = 'claim' and chat.is_active is not true then perform rota.refuse('inactive', 'the chat is not active'); end if;
  if receiver is not null then perform rota.take_turn(receiver); end if;
  perform rota.write_chat(chat, named, receiver, case named when 'release' then op #>> '{args,reason}' when 'unassign_chat' then 'supervisor'
    when 'reply' then 'replied' when 'user_message' then 'user message' when 'transfer' then 'transferred' when 'complete' then 'completed' end);
  return jsonb_build_object('outcome', 'confirmed');
end
$$;
comment on function rota.change_chat(jsonb) is 'Decides one operation on one chat, and does it.';

-- Locks the chat as the caller's policies let: true, or null where they don't, or where there is no such row.
create function rota.may_change_chat(target rota.tables, key text) returns boolean language plpgsql set search_path = public, pg_temp as $$
#variable_conflict use_variable
declare
  may boolean;
  chat_id public.chats.id%type := key;
begin
  if not has_any_column_privilege(target.relation, 'update') then return null; end if;
  select true into may from public.chats c where c.id = chat_id for no key update;
  return may;
end
$$;
comment on function rota.may_change_chat(rota.tables, text) is 'Locks a chat under the caller''s rights; null where the caller may not change it.';

-- What rota.visible_record answers of a chat, by a plan that is kept.
create function rota.visible_chat(key text) returns jsonb language plpgsql set search_path = public, pg_temp as $$
#variable_conflict use_variable
declare
  seen jsonb;
  chat_id public.chats.id%type := key;
begin
  select rota.as_sent(to_jsonb(c.*)) || jsonb_build_object('rota_version', coalesce(c.rota_version, 0)::text) into seen from public.chats c where c.id = chat_id;
  return seen;
end
$$;
comment on function rota.visible_chat(text) is 'A chat as the caller may see it, or null.';

-- What all operations on chats share: arguments, base, and whether the caller may see and change the row.
create function rota.op_chat(op jsonb, target rota.tables, actor text) returns jsonb language plpgsql set search_path = public, pg_temp as $$
declare
  seen jsonb;
  may boolean;
  result jsonb;
begin
  if target.relation <> 'public.chats'::regclass then
    perform rota.refuse('invalid', format('%s is an operation of chats, not of %s', op ->> 'name', target.name));
  elsif op ->> 'name' <> all ('{claim,reply,user_message,release,unassign_chat,transfer,complete}') then
    perform rota.refuse('invalid', format('there is no operation named %s', op ->> 'name')); -- this function has the name of one
  elsif not (op -> 'base' ? 'chat_state' and op -> 'base' ? 'assigned_operator_id') then
    perform rota.refuse('invalid', 'base lacks chat_state or assigned_operator_id');
  end if;
  perform rota.check_chat_args(op);
  may := rota.may_change_chat(target, op ->> 'key');
  if may is not true then
    seen := rota.visible_record(target, op ->> 'key');
    may := rota.may_change_chat(target, op ->> 'key'); -- once more, so that there is a look just before it
  elsif target.guard is not null then
    seen := rota.visible_record(target, op ->> 'key');
  end if;
  if may is not true then
    if rota.explain_absence(target, op, actor, seen) is null then
      perform rota.refuse('not-found', format('there is no record %s in %s', op ->> 'key', target.name));
    end if;
    return rota.conflicted('changed', 'the record is gone', '["assigned_operator_id", "chat_state"]');
  end if;
  perform rota.check_operator(op);
  perform rota.ask_guard(target, op, seen, actor);
  result := rota.change_chat(op);
  seen := rota.visible_chat(op ->> 'key');
  return case when seen is null then result else result || jsonb_build_object('version', seen ->> 'rota_version', 'record', seen) end;
end
$$;
comment on function rota.op_chat(jsonb, rota.tables, text) is 'Decides an operation on a chat under the caller''s rights.';

create function rota.op_claim(op jsonb, target rota.tables, actor text) returns jsonb language plpgsql set search_path = pg_catalog, pg_temp as $$ begin return rota.op_chat(op, target, actor); end $$;
comment on function rota.op_claim(jsonb, rota.tables, text) is 'Operation claim: the operator takes a waiting chat.';
create function rota.op_reply(op jsonb, target rota.tables, actor text) returns jsonb language plpgsql set search_path = pg_catalog, pg_temp as $$ begin return rota.op_chat(op, target, actor); end $$;
comment on function rota.op_reply(jsonb, rota.tables, text) is 'Operation reply: its operator has answered, and is free.';
create function rota.op_user_message(op jsonb, target rota.tables, actor text) returns jsonb language plpgsql set search_path = pg_catalog, pg_temp as $$ begin return rota.op_chat(op, target, actor); end $$;
comment on function rota.op_user_message(jsonb, rota.tables, text) is 'Operation user_message: the user has written, and the chat waits again.';
create function rota.op_release(op jsonb, target rota.tables, actor text) returns jsonb language plpgsql set search_path = pg_catalog, pg_temp as $$ begin return rota.op_chat(op, target, actor); end $$;
comment on function rota.op_release(jsonb, rota.tables, text) is 'Operation release: back into the queue, with a reason.';
create function rota.op_unassign_chat(op jsonb, target rota.tables, actor text) returns jsonb language plpgsql set search_path = pg_catalog, pg_temp as $$ begin return rota.op_chat(op, target, actor); end $$;
comment on function rota.op_unassign_chat(jsonb, rota.tables, text) is 'Operation unassign_chat: a supervisor puts a chat back into the queue.';
create function rota.op_transfer(op jsonb, target rota.tables, actor text) returns jsonb language plpgsql set search_path = pg_catalog, pg_temp as $$ begin return rota.op_chat(op, target, actor); end $$;
comment on function rota.op_transfer(jsonb, rota.tables, text) is 'Operation transfer: to a colleague.';
create function rota.op_complete(op jsonb, target rota.tables, actor text) returns jsonb language plpgsql set search_path = pg_catalog, pg_temp as $$ begin return rota.op_chat(op, target, actor); end $$;
comment on function rota.op_complete(jsonb, rota.tables, text) is 'Operation complete: the chat has ended.';

-- The chat that this operator is to get, locked: the oldest active one that waits, their own last one only if no other waits.
-- Under the caller's rights, so nobody is handed what they may not see. Null: none that is not locked by somebody else.
create function rota.next_chat(operator text) returns public.chats language plpgsql set search_path = public, pg_temp as $$
#variable_conflict use_variable
declare
  asker public.chats.last_operator_id%type := operator;
  chosen public.chats;
begin
  select * into chosen from public.chats c where c.chat_state = 'waiting_assignment' and c.is_active and c.last_operator_id is distinct from asker
    order by c.created_at, (c.id::text) collate "C" limit 1 for no key update skip locked;
  if chosen.id is null then
    select * into chosen from public.chats c where c.chat_state = 'waiting_assignment' and c.is_active and c.last_operator_id = asker
      order by c.created_at, (c.id::text) collate "C" limit 1 for no key update skip locked;
  end if;
  return chosen;
end
$$;
comment on function rota.next_chat(text) is 'Locks and answers the chat that an operator is to get next, or null.';

-- A record as an answer's `records` tell it.
create function rota.entry_of(target rota.tables, key text, seen jsonb) returns jsonb language sql stable
  return jsonb_build_object('table', (target).name, 'key', key, 'version', seen ->> 'rota_version', 'record', seen);
comment on function rota.entry_of(rota.tables, text, jsonb) is 'A record as an answer''s list of records tells it.';
-- The same where the table has a guard, which is asked before a chat is locked: what it objects to stays free for others, and is
-- passed over. If it objects to all that wait, its first reason is the answer.
create function rota.next_allowed_chat(op jsonb, target rota.tables, actor text) returns public.chats language plpgsql set search_path = public, pg_temp as $$
#variable_conflict use_variable
declare
  asker public.chats.last_operator_id%type := op #>> '{args,operator}';
  candidate record;
  chosen public.chats;
  objection jsonb;
  first_objection jsonb;
  passed_over boolean := false;
begin
  for had_it in 0 .. 1 loop
    for candidate in select c.id, c.rota_version, c.id::text as key from public.chats c where c.chat_state = 'waiting_assignment' and c.is_active
      and (c.last_operator_id is not distinct from asker) = (had_it = 1) order by c.created_at, (c.id::text) collate "C" loop
      objection := rota.guard_objection(target, op || jsonb_build_object('key', candidate.key), rota.visible_record(target, candidate.key), actor);
      if objection is null then
        select * into chosen from public.chats c where c.id = candidate.id and c.chat_state = 'waiting_assignment' and c.is_active
          for no key update skip locked;
        if chosen.id is not null and chosen.rota_version is distinct from candidate.rota_version then -- it is not what the guard saw
          objection := rota.guard_objection(target, op || jsonb_build_object('key', candidate.key), rota.visible_record(target, candidate.key), actor);
        end if;
        if chosen.id is not null and objection is null then return chosen; end if;
      end if;
      first_objection := coalesce(first_objection, objection);
      passed_over := passed_over or objection is null;
    end loop;
  end loop;
  if first_objection is not null and not passed_over then
    perform rota.refuse(first_objection ->> 'code', first_objection ->> 'message');
  end if;
  return null;
end
$$;
comment on function rota.next_allowed_chat(jsonb, rota.tables, text) is 'Locks and answers the chat that is next of those to which the table''s guard does not object, or null.';

-- Whether somebody else has locked a waiting chat that the caller could have had. The weakest lock asks the caller's policies for
-- updates, as any lock does, and is refused only by who deletes the row.
create function rota.chats_are_locked() returns boolean language plpgsql set search_path = public, pg_temp as $$
#variable_conflict use_variable
begin
  perform from public.chats c where c.chat_state = 'waiting_assignment' and c.is_active limit 1 for key share nowait;
  return found;
exception when lock_not_available then return true;
end
$$;
comment on function rota.chats_are_locked() is 'Whether a chat waits that the caller may change, where none could be locked.';

create function rota.op_request_next(op jsonb, target rota.tables, actor text) returns jsonb language plpgsql set search_path = public, pg_temp as $$
declare
  asker text := op #>> '{args,operator}';
  chosen public.chats;
  chosen_key text;
  objection text;
  was_chosen jsonb;
  predicted jsonb;
  result jsonb;
begin
  if target.relation <> 'public.chats'::regclass then
    perform rota.refuse('invalid', format('request_next is an operation of chats, not of %s', target.name));
  end if;
  perform rota.check_chat_args(op);
  perform rota.check_operator(op);
  objection := rota.chat_objection(op, null);
  if objection is not null then perform rota.refuse('forbidden', objection); end if;
  perform rota.take_turn(asker);
  if has_any_column_privilege(target.relation, 'update') then
    chosen := case when target.guard is null then rota.next_chat(asker) else rota.next_allowed_chat(op, target, actor) end;
  end if;
  if chosen.id is null then
    -- What somebody else has locked may come back into the queue with the next word: that is no answer for good.
    if has_any_column_privilege(target.relation, 'update') and rota.chats_are_locked() then
      raise exception 'the last waiting chats are being handed out' using errcode = '40001';
    end if;
    perform rota.refuse('queue-empty', 'no chat waits');
  end if;
  chosen_key := chosen.id::text;
  result := rota.change_chat(op || jsonb_build_object('name', 'claim', 'key', chosen_key));
  if result ->> 'outcome' <> 'confirmed' then return result; end if;
  result := result || jsonb_build_object('chosen', chosen_key, 'records', '[]'::jsonb);
  predicted := rota.visible_chat(op ->> 'key');
  if predicted is not null then
    result := result || jsonb_build_object('version', predicted ->> 'rota_version', 'record', predicted,
      'records', jsonb_build_array(rota.entry_of(target, op ->> 'key', predicted)));
  end if;
  if chosen_key = op ->> 'key' then return result; end if;
  was_chosen := rota.visible_chat(chosen_key);
  if was_chosen is not null then result := jsonb_insert(result, '{records,0}', rota.entry_of(target, chosen_key, was_chosen)); end if;
  return result || '{"code": "assigned-other", "message": "another chat was next"}';
end
$$;
comment on function rota.op_request_next(jsonb, rota.tables, text) is 'Operation request_next: the operator gets the chat that is next, whichever the client predicted.';

-- Who works in a chat says so: silence is counted from here.
create function public.record_operator_activity(p_chat_id public.chats.id%type) returns boolean
language plpgsql volatile security definer set search_path = public, pg_temp set timezone = 'UTC' as $$
#variable_conflict use_variable
declare
  mine public.chats.assigned_operator_id%type := (select c.assigned_operator_id from public.chats c
    where c.id = p_chat_id and c.chat_state::text = 'assigned' and c.assigned_operator_id::text = rota.actor());
begin
  if mine is null then return false; end if;
  update rota.activity a set last_activity_at = clock_timestamp() where a.chat_id = p_chat_id and a.operator_id = mine;
  if not found then insert into rota.activity values (mine, p_chat_id, clock_timestamp(), clock_timestamp()) on conflict do nothing; end if;
  return true;
end
$$;
comment on function public.record_operator_activity is 'The caller is at work in this chat, which they are assigned to: it is not idle. False if they are not.';

-- However the table of chats is synced, now or later: these fields are the operations' own, and the operator is its owner, so that
-- part 8 writes their history and tells them. Only operations on chats set it, assign does not.
create function rota.reserve_chats() returns trigger language plpgsql set search_path = pg_catalog, pg_temp as $$
begin
  if new.relation = to_regclass('public.chats') then
    new.reserved := '{chat_state,assigned_operator_id,last_operator_id,operator_replied_at,assigned_at,state_changed_at}';
    new.begins := '{"chat_state": "waiting_assignment", "assigned_operator_id": null}';
    new.owner_column := 'assigned_operator_id';
  end if;
  return new;
end
$$;
comment on function rota.reserve_chats() is 'Trigger on rota.tables: what only operations on chats set, and that its operator is a chat''s owner.';
create trigger reserve_chats before insert or update on rota.tables for each row execute function rota.reserve_chats();
comment on trigger reserve_chats on rota.tables is 'Keeps the fields of operations on chats from patch and assign.';
update rota.tables set reserved = reserved where relation = 'public.chats'::regclass; -- if it is synced already

do $policies$
declare
  of_table text;
begin
  -- Where the tables are the application's, who may read and change what is its own matter.
  for of_table in select name from rota.adopted where created loop
    execute format('revoke all on public.%I from public, anon, authenticated', of_table);
    execute format('grant select on public.%I to authenticated', of_table);
    execute format('create policy read_as_operator on public.%I for select to authenticated using (%s)', of_table,
      case when of_table in ('chat_assignments', 'operator_activity')
        then 'operator_id::text = (select rota.actor()) or (select rota.is_supervisor())' else '(select rota.is_operator())' end);
    execute format('comment on policy read_as_operator on public.%I is %L', of_table, 'Operators see what they work with.');
    if of_table = 'chats' then
      grant update (is_active), insert (id, is_active) on public.chats to authenticated;
      create policy begin_as_operator on public.chats for insert to authenticated with check ((select rota.is_operator()));
      comment on policy begin_as_operator on public.chats is 'Operators may begin a chat, which then waits.';
      create policy change_as_operator on public.chats for update to authenticated using ((select rota.is_operator()));
      comment on policy change_as_operator on public.chats is 'Operators may do what the operations on chats allow.';
    end if;
  end loop;
  for of_table in select unnest('{operators,chats,chat_assignments}'::text[]) loop
    continue when exists (select from rota.tables r where r.relation = ('public.' || quote_ident(of_table))::regclass);
    continue when of_table <> 'chats' and not exists (select from rota.key_indexes(('public.' || quote_ident(of_table))::regclass, '{id}'));
    perform rota.sync_table(('public.' || quote_ident(of_table))::regclass, '{id}',
      case when of_table = 'chats' and (select created from rota.adopted where name = 'chats') then '{is_active}' else '{}' end::text[]);
    update rota.adopted set synced = true where name = of_table;
  end loop;
end
$policies$;

revoke all on all functions in schema rota from public;
grant execute on function rota.chat_states(), rota.chat_leads_to(text, text), rota.operator_text(text), rota.operator_of(text), rota.is_supervisor(),
  rota.check_operator(jsonb), rota.next_allowed_chat(jsonb, rota.tables, text), rota.chats_are_locked(), rota.is_operator(), rota.take_turn(text, boolean), rota.check_chat_args(jsonb), rota.chat_objection(jsonb, text), rota.chat_moved(jsonb, public.chats),
  rota.change_chat(jsonb), rota.may_change_chat(rota.tables, text), rota.visible_chat(text), rota.op_chat(jsonb, rota.tables, text), rota.op_claim(jsonb, rota.tables, text), rota.op_reply(jsonb, rota.tables, text),
  rota.op_user_message(jsonb, rota.tables, text), rota.op_release(jsonb, rota.tables, text), rota.op_unassign_chat(jsonb, rota.tables, text),
  rota.op_transfer(jsonb, rota.tables, text), rota.op_complete(jsonb, rota.tables, text), rota.next_chat(text),
  rota.may_keep_operator(public.operators, public.operators), rota.holds_operator(text), rota.entry_of(rota.tables, text, jsonb), rota.op_request_next(jsonb, rota.tables, text) to authenticated;
revoke all on function public.record_operator_activity from public, anon;
grant execute on function public.record_operator_activity to authenticated;
