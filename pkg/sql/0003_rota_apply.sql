-- Rota's server kit, part 3: public.apply_operation, the one way in for operations.
--
-- It writes the operation's id into the ledger first, so that a second call with the same id waits for the first and
-- then gets its answer; decides; and records the answer, all in one transaction. A lock failure takes the ledger entry
-- back with everything else, so the same operation may come again. It always answers in the protocol's form; it raises
-- only for a caller without a person (42501), and for failures that are the server's own. See PROTOCOL.md §2 to §4.

-- Only the members the protocol names: others must not make the same operation look like a different one.
create function rota.known_members(op jsonb) returns jsonb language plpgsql immutable set search_path = pg_catalog, pg_temp as $$
declare
  known constant text[] := '{protocol,id,name,table,key,args,set,base,baseVersion,hlc,tab,after,parts}';
begin
  if op - known = '{}' then return op; end if;
  return (select coalesce(jsonb_object_agg(m.key, m.value), '{}') from jsonb_each(op) m where m.key = any (known));
end
$$;

create function rota.is_operation_id(id jsonb) returns boolean language sql immutable
  return coalesce(jsonb_typeof(id) = 'string'
    and id #>> '{}' ~ '^[0-9a-f]{8}-[0-9a-f]{4}-7[0-9a-f]{3}-[89ab][0-9a-f]{3}-[0-9a-f]{12}$', false);

-- What is wrong with the operation's shape, or null. The list is read from the top; later lines may count on earlier ones.
create function rota.shape_fault(op jsonb) returns text language plpgsql immutable set search_path = pg_catalog, pg_temp as $$
declare
  fault text := case
    when jsonb_typeof(op) <> 'object' then 'an operation is an object'
    when not op ? 'protocol' then 'protocol is missing'
    when not rota.is_operation_id(op -> 'id') then 'id must be a UUIDv7 in lower case'
    when octet_length(op::text) > 1000000 then 'an operation has at most 1,000,000 bytes'
    when coalesce(jsonb_typeof(op -> 'name'), '') <> 'string' then 'name must be a string'
    when coalesce(jsonb_typeof(op -> 'table'), '') <> 'string' then 'table must be a string'
    when coalesce(jsonb_typeof(op -> 'key'), '') <> 'string' then 'key must be a string'
    when length(op ->> 'key') not between 1 and 1000 then 'key must have 1 to 1,000 characters'
    when coalesce(jsonb_typeof(op -> 'args'), '') <> 'object' then 'args must be an object'
    when coalesce(jsonb_typeof(op -> 'set'), '') <> 'object' then 'set must be an object'
    when coalesce(jsonb_typeof(op -> 'base'), '') <> 'object' then 'base must be an object'
    when coalesce(jsonb_typeof(op -> 'baseVersion'), '') not in ('string', 'null', 'number')
      or op ->> 'baseVersion' !~ '^(0|[1-9][0-9]{0,18})$' then 'baseVersion must be a version or null'
    when coalesce(jsonb_typeof(op -> 'hlc'), '') <> 'string' or op ->> 'hlc' !~ '^[0-9a-f]{12}-[0-9a-f]{4}$'
      then 'hlc must be twelve hexadecimal digits, a hyphen and four more'
    when coalesce(jsonb_typeof(op -> 'tab'), '') <> 'string' then 'tab must be a string'
    when coalesce(jsonb_typeof(op -> 'after'), '') <> 'array' then 'after must be a list'
    when jsonb_array_length(op -> 'after') > 1000 then 'after has at most 1,000 ids'
  end;
begin
  if fault is null and op -> 'after' <> '[]'
    and exists (select from jsonb_array_elements(op -> 'after') a(id) where not rota.is_operation_id(a.id)) then
    return 'after must hold operation ids';
  end if;
  return fault;
end
$$;

create function rota.is_expired(op jsonb) returns boolean language sql stable
  return least(rota.minted_at((op ->> 'id')::uuid),
    to_timestamp(('x0000' || substr(op ->> 'hlc', 1, 12))::bit(64)::bigint / 1000.0)) < now() - rota.ledger_keep();

-- The members that every answer has. An operation too broken to have them gets empty strings.
create function rota.answer(op jsonb, body jsonb) returns jsonb language sql stable
  return jsonb_build_object('protocol', 1, 'id', coalesce(op ->> 'id', ''), 'table', coalesce(op ->> 'table', ''),
    'key', coalesce(op ->> 'key', ''), 'replayed', false) || body;

-- The server's clock, with each answer that leaves it: no part of what the ledger records.
create function rota.told_at() returns jsonb language sql volatile
  return jsonb_build_object('atMs', (extract(epoch from clock_timestamp()) * 1000)::bigint);

create function rota.refused(code text, message text) returns jsonb language sql stable
  return jsonb_build_object('outcome', 'refused', 'code', code, 'message', message);

-- What PostgreSQL refused, in words for a person.
create function rota.reason(state text, op jsonb, what text, constraint_name text, column_name text) returns jsonb
language sql stable set search_path = pg_catalog, pg_temp as $$
  select case
    when state = '42501' then rota.refused('forbidden', format('you may not change %s in %s', op ->> 'key', op ->> 'table'))
    when state = '23502' then rota.refused('invalid', format('the field %s may not be empty', column_name))
    when state = '23503' and op ->> 'name' = 'delete'
      then rota.refused('invalid', format('other records still refer to %s (%s)', op ->> 'key', constraint_name))
    when state = '23503' then rota.refused('invalid', format('it refers to a record that does not exist (%s)', constraint_name))
    when state = '23505' then rota.refused('invalid', format('another record has the same value (%s)', constraint_name))
    when state = '23514' then rota.refused('invalid', format('a value breaks the rule %s', constraint_name))
    when state = '23P01' then rota.refused('invalid', format('it clashes with another record (%s)', constraint_name))
    else rota.refused('invalid', what) end
$$;

-- Whether it is an insert whose key the server is to give: a temporary key of this very operation (part 10 of the kit).
create function rota.is_given_key(op jsonb, target rota.tables) returns boolean language sql stable
  return left(op ->> 'key', 1) = '~' and op ->> 'name' = 'insert' and op ->> 'key' ~ ('^~' || (op ->> 'id') || '(\.[0-9]{1,2})?$')
    and cardinality(target.key_columns) = 1 and not op -> 'set' ? target.key_columns[1]
    and to_regprocedure('rota.insert_given(jsonb,rota.tables,text)') is not null;

-- Runs the operation's function in a subtransaction of its own. Lock failures and the server's own faults pass through.
create function rota.run(op jsonb, target rota.tables, actor text, is_last boolean default true) returns jsonb
language plpgsql set search_path = public, pg_temp as $$
declare
  result jsonb;
  given constant boolean := rota.is_given_key(op, target);
  code text;
  constraint_hit text;
  column_hit text;
begin
  perform rota.check_names(target.relation, target.key_columns || target.owner_column);
  if not given then perform rota.check_key(target, op ->> 'key'); end if;
  perform set_config('rota.op', op ->> 'id', true);
  execute format('select rota.%I($1, $2, $3)', case when given then 'insert_given' else 'op_' || (op ->> 'name') end)
    into result using op, target, actor;
  if is_last then set constraints all immediate; end if; -- a deferred constraint should refuse here, not fail the call at its commit
  perform set_config('rota.op', '', true);
  return result;
exception
  when sqlstate 'RT001' then
    get stacked diagnostics code = pg_exception_detail;
    return rota.refused(code, sqlerrm);
  when insufficient_privilege or integrity_constraint_violation or data_exception or with_check_option_violation
    or raise_exception or generated_always or datatype_mismatch or cannot_coerce or program_limit_exceeded then
    get stacked diagnostics constraint_hit = constraint_name, column_hit = column_name;
    return rota.reason(sqlstate, op, sqlerrm, constraint_hit, column_hit);
end
$$;

-- Adds the record as it is now, unless the operation has told it itself. A refusal carries it only if the person may see it.
create function rota.with_record(op jsonb, target rota.tables, result jsonb) returns jsonb language plpgsql set search_path = pg_catalog, pg_temp as $$
declare
  seen jsonb;
begin
  if result ?& '{record,version}' then return result; end if;
  seen := rota.visible_record(target, op ->> 'key');
  if rota.key_of(seen, target.key_columns) = op ->> 'key' then
    return result || jsonb_build_object('version', seen ->> 'rota_version', 'record', seen);
  elsif result ->> 'outcome' = 'refused' then return result;
  end if;
  return result || jsonb_build_object('record', null,
    'version', coalesce((select version::text from rota.feed_entry(target.name, op ->> 'key')), '0'));
end
$$;

-- What stands in the way of an operation whatever it is about: its age, or one that it depends on. Null: nothing.
create function rota.hindrance(op jsonb, actor text) returns jsonb language plpgsql set search_path = pg_catalog, pg_temp as $$
#variable_conflict use_variable
declare
  needs uuid[];
begin
  if rota.is_expired(op) then
    return rota.refused('expired', 'the operation is older than 30 days: decide again');
  elsif op -> 'after' = '[]' then return null;
  end if;
  -- An array, not a join: the ledger is then asked by its key, and never read as a whole.
  needs := array(select a::uuid from jsonb_array_elements_text(op -> 'after') a);
  if exists (select from rota.ledger l where l.id = any (needs) and l.actor = hindrance.actor and l.answer ->> 'outcome' in ('refused', 'conflicted')) then
    return rota.refused('dependency-refused', 'an operation this one depends on was not done');
  end if;
  return null;
end
$$;

create function rota.decide(op jsonb, actor text) returns jsonb language plpgsql set search_path = pg_catalog, pg_temp as $$
#variable_conflict use_variable
declare
  fault text;
  target rota.tables;
  result jsonb;
begin
  if op ? 'protocol' and op -> 'protocol' <> '1' then
    if op -> 'protocol' = '2' and op ? 'parts' and to_regprocedure('rota.decide_transaction(jsonb,text)') is not null then
      execute 'select rota.decide_transaction($1, $2)' into result using op, actor;
      return result;
    end if;
    return rota.refused('protocol-unsupported', format('this server speaks protocol 1, not %s', left(op ->> 'protocol', 20)));
  end if;
  fault := rota.shape_fault(op);
  if fault is not null then return rota.refused('invalid', fault); end if;

  select * into target from rota.tables t where t.name = op ->> 'table';
  if target.name is null then
    return rota.refused('invalid', format('the table %s is not synced', op ->> 'table'));
  elsif to_regprocedure(format('rota.%I(jsonb, rota.tables, text)', 'op_' || (op ->> 'name'))) is null then
    result := rota.refused('invalid', format('there is no operation named %s', op ->> 'name'));
  else
    result := coalesce(rota.hindrance(op, actor), rota.run(op, target, actor));
  end if;
  if result ? 'key' then op := op || jsonb_build_object('key', result -> 'key'); end if; -- the one that the server gave
  return rota.with_record(op, target, result - 'given');
end
$$;

-- The answer for an id that the ledger knows. Row-level security hides other people's entries: they look like none.
create function rota.replayed(op jsonb, actor text) returns jsonb language plpgsql stable set search_path = pg_catalog, pg_temp as $$
#variable_conflict use_variable
declare
  entry rota.ledger;
begin
  select * into entry from rota.ledger l where l.id = (op ->> 'id')::uuid and l.actor = replayed.actor;
  if entry.answer is null or entry.op <> rota.known_members(op) then
    return rota.answer(op, rota.refused('operation-mismatch', 'this id belongs to another operation'));
  end if;
  return entry.answer || '{"replayed": true}';
end
$$;

create function public.apply_operation(op jsonb) returns jsonb language plpgsql volatile set search_path = pg_catalog, pg_temp
  set timezone = 'UTC' set datestyle = 'ISO, MDY' set intervalstyle = 'postgres' set extra_float_digits = 1 set bytea_output = 'hex' as $$
#variable_conflict use_variable
declare
  actor text := rota.actor();
  decided jsonb;
begin
  if actor is null then
    raise exception 'no person in the token' using errcode = '42501', hint = 'Call apply_operation with a signed-in person''s token.';
  end if;
  if jsonb_typeof(op) is distinct from 'object' or not rota.is_operation_id(op -> 'id') then
    return rota.answer(op, rota.refused('invalid', rota.shape_fault(coalesce(op, 'null')))) || rota.told_at(); -- nothing to record it under
  end if;
  if current_setting('lock_timeout') = '0' then perform set_config('lock_timeout', '5s', true); end if;
  begin
    insert into rota.ledger (id, actor, op) values ((op ->> 'id')::uuid, actor, rota.known_members(op)) on conflict (id) do nothing;
    if not found then return rota.replayed(op, actor) || rota.told_at(); end if;
    decided := rota.answer(op, rota.decide(op, actor));
    update rota.ledger l set answer = decided where l.id = (op ->> 'id')::uuid;
    return decided || rota.told_at();
  exception when deadlock_detected or serialization_failure or lock_not_available then
    return rota.answer(op, jsonb_build_object('outcome', 'retry', 'code', 'busy', 'message', sqlerrm, 'afterMs', 250)) || rota.told_at();
  end;
end
$$;

revoke all on all functions in schema rota from public;
grant execute on all functions in schema rota to authenticated;
revoke execute on function rota.record_change(text, text, boolean), rota.announce_insert(text, text),
  rota.stamp(), rota.stamp_inserted(), rota.stamp_truncate(),
  rota.sync_table(regclass, text[], text[], text, regprocedure), rota.unsync_table(regclass), rota.publish(regclass, boolean),
  rota.add_columns(regclass), rota.drop_triggers(regclass), rota.forget_dropped(), rota.check_columns(regclass, text[], text),
  rota.check_table(regclass, text[]), rota.ensure_identity(regclass, text[]),
  rota.guard_name(regprocedure), rota.prune_ledger(interval), rota.is_renamed_key(rota.tables, text[]) from authenticated;
-- Supabase grants new functions in public to every role by default.
revoke all on function public.apply_operation(jsonb) from public, anon;
grant execute on function public.apply_operation(jsonb) to authenticated;

comment on function rota.known_members(jsonb) is 'The members of an operation that make it the same or another one.';
comment on function rota.is_operation_id(jsonb) is 'Whether it is a UUIDv7 in lower case.';
comment on function rota.shape_fault(jsonb) is 'What is wrong with an operation''s shape, or null.';
comment on function rota.is_expired(jsonb) is 'Whether an operation is older than the ledger keeps.';
comment on function rota.answer(jsonb, jsonb) is 'An answer with the members that every answer has.';
comment on function rota.told_at() is 'What the server''s clock shows, as an answer tells it.';
comment on function rota.refused(text, text) is 'The answer of a refusal.';
comment on function rota.reason(text, jsonb, text, text, text) is 'What PostgreSQL refused, in words for a person.';
comment on function rota.is_given_key(jsonb, rota.tables) is 'Whether the server is to give the key of this insert.';
comment on function rota.run(jsonb, rota.tables, text, boolean) is 'Runs an operation''s function, and turns what it raises into an answer.';
comment on function rota.with_record(jsonb, rota.tables, jsonb) is 'An answer with the record as it is now.';
comment on function rota.hindrance(jsonb, text) is 'The refusal of an operation that is too old or depends on one that was not done, or null.';
comment on function rota.decide(jsonb, text) is 'Decides an operation that the ledger does not know.';
comment on function rota.replayed(jsonb, text) is 'The recorded answer of an operation that the ledger knows.';
comment on function public.apply_operation(jsonb) is 'The one way in for operations: decides one of the person in the token, once, and answers in the form of PROTOCOL.md.';
