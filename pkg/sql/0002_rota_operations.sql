-- Rota's server kit, part 2: the ledger, and the operations. One SQL function, rota.op_<name>, for each operation name;
-- an application adds a named operation by adding such a function.
--
-- An operation function runs with the caller's rights inside a subtransaction. It answers what happened, or raises
-- through rota.refuse; either way nothing is left of an operation that was not confirmed. It never commits, never looks
-- at the ledger and never trusts the operation for who acts. See PROTOCOL.md §2 to §4.

create table rota.ledger (
  id uuid primary key,
  actor text not null,
  op jsonb not null,
  answer jsonb, -- null only inside the transaction that decides
  created_at timestamptz not null default now()
) with (fillfactor = 70); -- each entry is written again with its answer: that should find room beside it
create index ledger_created_at on rota.ledger (created_at);
alter table rota.ledger enable row level security;
create policy own_read on rota.ledger for select to authenticated using (actor = (select rota.actor()));
create policy own_insert on rota.ledger for insert to authenticated with check (actor = (select rota.actor()));
-- A decided operation stays as it was decided.
create policy own_decide on rota.ledger for update to authenticated
  using (actor = (select rota.actor()) and answer is null) with check (actor = (select rota.actor()));
grant select on rota.ledger to authenticated;
grant insert (id, actor, op) on rota.ledger to authenticated;
grant update (answer) on rota.ledger to authenticated;

create function rota.ledger_keep() returns interval language sql immutable return interval '30 days';

-- When a UUIDv7 was made: its first 48 bits are milliseconds since 1970.
create function rota.minted_at(id uuid) returns timestamptz language sql immutable
  return to_timestamp(('x0000' || substr(replace(id::text, '-', ''), 1, 12))::bit(64)::bigint / 1000.0);

-- Drops what is older than the ledger keeps. An id whose own time is younger stays: its author's clock may have run
-- ahead, and without the entry the same id, sent again, would neither be known nor expired. It stays for a year longer at most, so
-- that none is kept for ever by a time that somebody made up; nobody has had an answer under way for so long.
create function rota.prune_ledger(keep interval default '30 days') returns bigint language plpgsql set search_path = pg_catalog, pg_temp as $$
declare
  dropped bigint;
begin
  if keep < rota.ledger_keep() then
    raise exception 'the ledger must be kept at least %, or an operation could be applied twice', rota.ledger_keep()
      using errcode = '22023';
  end if;
  delete from rota.ledger l where l.created_at < now() - keep and least(rota.minted_at(l.id), l.created_at + interval '1 year') < now() - keep;
  get diagnostics dropped = row_count;
  return dropped;
end
$$;

-- Ends the operation with a refusal; rota.decide turns it into the answer.
create function rota.refuse(code text, message text) returns void language plpgsql set search_path = pg_catalog, pg_temp as $$
begin
  raise exception '%', message using errcode = 'RT001', detail = code;
end
$$;

-- Whether a client reads this number as what it is: an integer up to 2^53 - 1, or a fraction that a 64-bit float keeps.
create function rota.is_portable(n numeric) returns boolean language sql immutable
  return case when abs(n) > 9007199254740991 then false when n = trunc(n) then true
    when abs(n) < 1e-300 then false else n::float8::text::numeric = n end;

-- The value as clients get it: numbers that they could not read, at any depth, as strings. Few values hold sixteen digits
-- in a row; those are taken apart as text, whose form jsonb guarantees, since recursion could exhaust the stack.
create function rota.as_sent(value jsonb) returns jsonb language plpgsql immutable set search_path = pg_catalog, pg_temp as $$
begin
  if value::text !~ '[0-9.]{16}' then return value; end if;
  return (select string_agg(case when m.token[1] ~ '^-?[0-9]' and not rota.is_portable(m.token[1]::numeric)
      then '"' || m.token[1] || '"' else m.token[1] end, '' order by m.at)
    from regexp_matches(value::text, '"(?:[^"\\]|\\.)*"|-?[0-9][0-9.]*|[^"0-9-]+', 'g') with ordinality m(token, at))::jsonb;
end
$$;

-- The select list that makes a row what clients get: its version, and numbers they could not read, as strings. Columns
-- that can't hold such numbers go as they are; a numeric holds its precision and scale in its modifier. For many rows at once;
-- of one record rota.visible_record makes the same in less time than this takes to look at the columns.
create function rota.row_columns(relation regclass) returns text language plpgsql stable set search_path = pg_catalog, pg_temp as $$
begin
  return (select string_agg(case
    when a.attname = 'rota_version' then 'coalesce(t.rota_version, 0)::text'
    when b.of_type = 'int8'::regtype then format('case when t.%1$I between -9007199254740991 and 9007199254740991
      then to_jsonb(t.%1$I) else to_jsonb(t.%1$I::text) end', a.attname)
    when b.of_type = any ('{bool,int2,int4,text,varchar,bpchar,uuid,date,time,timestamp,timestamptz,bytea}'::regtype[])
      or y.typtype in ('e', 'r', 'm') or (b.of_type = 'numeric'::regtype and b.modifier <> -1
        and ((b.modifier - 4) >> 16) & 65535 <= 15 and (((b.modifier - 4) & 2047) # 1024) - 1024 between 0 and 100)
      then format('t.%I', a.attname)
    else format('case when length(to_jsonb(t.%1$I)::text) < 16 or to_jsonb(t.%1$I)::text !~ ''[0-9.]{16}'' then to_jsonb(t.%1$I)
      else rota.as_sent(to_jsonb(t.%1$I)) end', a.attname)
    end || format(' as %I', a.attname), ', ' order by a.attnum)
  from pg_attribute a join pg_type d on d.oid = a.atttypid
  cross join lateral (select a.atttypid, a.atttypmod where d.typtype <> 'd' -- few columns have a domain
    union all select x.of_type, x.modifier from rota.base_type(a.atttypid, a.atttypmod) x where d.typtype = 'd') b(of_type, modifier)
  join pg_type y on y.oid = b.of_type
  where a.attrelid = relation and a.attnum > 0 and not a.attisdropped);
end
$$;

-- Whether two values of one column are the same fact: equal, or equal as clients get them. A number inside JSON comes
-- back as the string it was sent as.
create function rota.differs(one jsonb, other jsonb) returns boolean language sql immutable
  return one is distinct from other and rota.as_sent(one) is distinct from rota.as_sent(other);

-- The type of a key of one column.
create function rota.key_type(target rota.tables) returns text language plpgsql stable set search_path = pg_catalog, pg_temp as $$
declare
  found_type oid;
  only_column name := target.key_columns[1];
begin
  select a.atttypid into found_type from pg_attribute a where a.attrelid = target.relation and a.attname = only_column;
  return format_type(found_type, -1);
end
$$;

-- The condition under which row t has the key that the SQL expression `key_text` gives. It casts the text, not the
-- column, so that the index is used.
create function rota.key_condition(target rota.tables, key_text text) returns text language plpgsql stable set search_path = pg_catalog, pg_temp as $$
begin
  if cardinality(target.key_columns) = 1 then
    return format('t.%I = (%s)::%s', target.key_columns[1], key_text, rota.key_type(target));
  end if;
  return (select string_agg(format('t.%I = ((%s)::jsonb ->> %s)::%s', c.name, key_text, c.at - 1, format_type(a.atttypid, -1)), ' and ' order by c.at)
  from unnest(target.key_columns) with ordinality c(name, at)
  join pg_attribute a on a.attrelid = target.relation and a.attname = c.name);
end
$$;

-- The record as the caller may see it, or null. A whole row is always written `alias.*`, here and elsewhere: a bare alias
-- would mean the column of that name where a table has one.
create function rota.visible_record(target rota.tables, key text) returns jsonb language plpgsql set search_path = public, pg_temp as $$
declare
  seen jsonb;
begin
  execute format('select rota.as_sent(to_jsonb(t.*)) || jsonb_build_object(''rota_version'', coalesce(t.rota_version, 0)::text) from %s t where %s',
    target.relation, rota.key_condition(target, '$1')) into seen using key;
  return seen;
exception when data_exception then return null; -- no record has a key of that form
end
$$;

-- What the table's guard objects to, as {code, message}, or null.
create function rota.guard_objection(target rota.tables, op jsonb, current_row jsonb, actor text) returns jsonb
language plpgsql set search_path = public, pg_temp as $$
declare
  objection jsonb;
  known constant text[] := array['forbidden', 'invalid', 'not-found', 'exists', 'inactive', 'unknown-person'];
begin
  if target.guard is null then return null; end if;
  execute format('select %s($1, $2, $3)', target.guard) into objection using op, current_row, actor;
  if objection is null or jsonb_typeof(objection) = 'null' then return null; end if;
  return jsonb_build_object('code', case when objection ->> 'code' = any (known) then objection ->> 'code' else 'forbidden' end,
    'message', coalesce(objection ->> 'message', 'this is not allowed'));
end
$$;

create function rota.ask_guard(target rota.tables, op jsonb, current_row jsonb, actor text) returns void
language plpgsql set search_path = pg_catalog, pg_temp as $$
declare
  objection jsonb;
begin
  if target.guard is null then return; end if;
  objection := rota.guard_objection(target, op, current_row, actor);
  if objection is not null then perform rota.refuse(objection ->> 'code', objection ->> 'message'); end if;
end
$$;

-- Refuses a field that clients may not set, or a key that is not spelt as the record's own.
create function rota.check_fields(target rota.tables, fields jsonb, allowed text[]) returns void
language plpgsql stable set search_path = pg_catalog, pg_temp as $$
declare
  field text;
begin
  for field in select jsonb_object_keys(fields) loop
    if not exists (select from pg_attribute where attrelid = target.relation and attname = field and attnum > 0 and not attisdropped) then
      perform rota.refuse('invalid', format('%s has no field %s', target.name, field));
    elsif field <> all (allowed) then
      perform rota.refuse('invalid', format('the field %s of %s can''t be set by an operation', field, target.name));
    end if;
  end loop;
end
$$;

-- A record begins as the operations of its table find it. Whoever inserts it may say so of the fields that operations set; such times as
-- operations take from the server's clock are the server's here, too. What is answered is what is to be written.
create function rota.check_beginning(target rota.tables, fields jsonb) returns jsonb language plpgsql stable set search_path = pg_catalog, pg_temp as $$
declare
  wrong text;
begin
  if target.reserved = '{}' then return fields; end if;
  select f into wrong from unnest(target.reserved) f where fields ? f and fields -> f <> coalesce(target.begins -> f, 'null') limit 1;
  if wrong is not null then
    perform rota.refuse('invalid', format('%s of a new record in %s is %s', wrong, target.name, coalesce(target.begins -> wrong, 'null')));
  end if;
  return fields - array(select f from unnest(target.reserved || '{created_at,last_message_at}'::text[]) f where f <> all (target.writable || target.key_columns));
end
$$;

create function rota.check_key(target rota.tables, key text) returns void language plpgsql set search_path = public, pg_temp as $$
declare
  canonical text;
  kind text := case when cardinality(target.key_columns) = 1 then rota.key_type(target) end;
begin
  -- Of most keys it shows at once.
  if kind in ('text', 'character varying') then return;
  elsif kind = 'uuid' and key ~ '^[0-9a-f]{8}(-[0-9a-f]{4}){3}-[0-9a-f]{12}$' then return;
  elsif kind = 'bigint' and key ~ '^(0|-?[1-9][0-9]{0,17})$' or kind = 'integer' and key ~ '^(0|-?[1-9][0-9]{0,8})$' then return;
  end if;
  execute format('select rota.key_of(to_jsonb(t.*), $2) from (select %s) t', (
    select string_agg(format('(%s)::%s as %I',
      case when cardinality(target.key_columns) = 1 then '$1' else format('$1::jsonb ->> %s', c.at - 1) end,
      format_type(a.atttypid, case a.atttypid when 'bpchar'::regtype then a.atttypmod else -1 end), c.name), ', ') -- padded, as its rows are
    from unnest(target.key_columns) with ordinality c(name, at)
    join pg_attribute a on a.attrelid = target.relation and a.attname = c.name)) into canonical using key, target.key_columns;
  if canonical is distinct from key then
    perform rota.refuse('invalid', format('%s is not how %s spells this key%s', key, target.name, coalesce(': ' || canonical, '')));
  end if;
exception when data_exception then
  perform rota.refuse('invalid', format('%s can''t be a key of %s', key, target.name));
end
$$;

-- No row could be locked or deleted: says why. Answers whether the record is deleted; null if there never was one.
-- `before` is the record as it was visible just before. Each look has its own snapshot, so a record that others delete and
-- insert meanwhile can look forbidden or unseen when it is neither; then nothing is known, and the operation must come again.
create function rota.explain_absence(target rota.tables, op jsonb, actor text, before jsonb) returns boolean
language plpgsql set search_path = pg_catalog, pg_temp as $$
declare
  entry_before record;
  entry record;
  seen jsonb;
begin
  select * into entry_before from rota.feed_entry(target.name, op ->> 'key');
  seen := rota.visible_record(target, op ->> 'key');
  select * into entry from rota.feed_entry(target.name, op ->> 'key');
  if entry.version is distinct from entry_before.version
    or (seen is not null and seen ->> 'rota_version' is distinct from before ->> 'rota_version') then
    raise exception 'the record changed at the same moment' using errcode = '40001';
  elsif seen is not null then
    perform rota.ask_guard(target, op, seen, actor);
    perform rota.refuse('forbidden', format('you may not change %s in %s', op ->> 'key', target.name));
  elsif not entry.deleted then
    perform rota.refuse('not-found', format('there is no record %s in %s', op ->> 'key', target.name));
  end if;
  return entry.deleted;
end
$$;

create function rota.conflicted(code text, message text, fields jsonb) returns jsonb language sql stable
  return jsonb_build_object('outcome', 'conflicted', 'code', code, 'message', message, 'fields', fields);

-- Locks the row and compares it, typed by its columns, with what the person saw and wants. The one place that changes rows
-- by an operation; `lost` is the code and `lost_message` the words when somebody else was first.
create function rota.change_fields(target rota.tables, op jsonb, actor text, wanted jsonb, base jsonb, lost text, lost_message text)
returns jsonb language plpgsql set search_path = public, pg_temp as $$
declare
  before jsonb := rota.visible_record(target, op ->> 'key');
  now_is jsonb;
  saw jsonb;
  wants jsonb;
  condition text := rota.key_condition(target, '$1');
  changed jsonb;
begin
  execute format('select to_jsonb(t.*), to_jsonb(jsonb_populate_record(t.*, $2)), to_jsonb(jsonb_populate_record(t.*, $3))
    from %s t where %s for no key update', target.relation, condition) into now_is, saw, wants using op ->> 'key', base, wanted;
  if now_is is null then
    if rota.explain_absence(target, op, actor, before) is null then
      perform rota.refuse('not-found', format('there is no record %s in %s', op ->> 'key', target.name));
    end if;
    return rota.conflicted(lost, 'the record is gone', (select coalesce(jsonb_agg(f order by f), '[]') from jsonb_object_keys(wanted) f));
  end if;
  perform rota.ask_guard(target, op, now_is, actor);
  select jsonb_agg(f order by f) into changed from jsonb_object_keys(base) f
    where rota.differs(now_is -> f, saw -> f) and (not wanted ? f or rota.differs(now_is -> f, wants -> f)
      or coalesce(to_jsonb(target.*) -> 'summed' ? f, false)); -- two who added the same have not wished for the same
  if changed is not null then return rota.conflicted(lost, lost_message, changed); end if;
  if rota.differs(now_is, wants) then
    execute format('update %s t set %s where %s', target.relation,
      (select string_agg(format('%1$I = (jsonb_populate_record(t.*, $2)).%1$I', f), ', ') from jsonb_object_keys(wanted) f), condition)
      using op ->> 'key', wanted;
  end if;
  return jsonb_build_object('outcome', 'confirmed');
end
$$;

create function rota.op_patch(op jsonb, target rota.tables, actor text) returns jsonb language plpgsql set search_path = pg_catalog, pg_temp as $$
declare
  unseen text;
begin
  perform rota.check_fields(target, op -> 'set', array(select w from unnest(target.writable) w where w <> all (target.key_columns || target.reserved)));
  perform rota.check_fields(target, op -> 'base', array(select jsonb_object_keys(op -> 'base')));
  select f into unseen from jsonb_object_keys(op -> 'set') f where not op -> 'base' ? f limit 1;
  if unseen is not null then perform rota.refuse('invalid', format('base lacks the field %s, which set changes', unseen)); end if;
  return rota.change_fields(target, op, actor, op -> 'set', op -> 'base', 'changed', 'somebody else changed this first');
end
$$;

create function rota.op_assign(op jsonb, target rota.tables, actor text) returns jsonb language plpgsql set search_path = pg_catalog, pg_temp as $$
begin
  if target.owner_column is null then
    perform rota.refuse('invalid', format('%s has no owner, so it can''t be assigned', target.name));
  elsif target.owner_column = any (target.reserved) then
    perform rota.refuse('invalid', format('the field %s of %s can''t be set by an operation', target.owner_column, target.name));
  elsif coalesce(jsonb_typeof(op #> '{args,to}'), 'missing') not in ('string', 'null') then
    perform rota.refuse('invalid', 'args.to must be a person''s id or null');
  elsif octet_length(op #>> '{args,to}') > 256 then
    perform rota.refuse('invalid', 'args.to must have at most 256 bytes');
  elsif not op -> 'base' ? target.owner_column then
    perform rota.refuse('invalid', format('base lacks the field %s, which assign changes', target.owner_column));
  end if;
  return rota.change_fields(target, op, actor, jsonb_build_object(target.owner_column, op #> '{args,to}'),
    jsonb_build_object(target.owner_column, op -> 'base' -> target.owner_column), 'taken', 'somebody else was assigned first');
end
$$;

create function rota.op_insert(op jsonb, target rota.tables, actor text) returns jsonb
language plpgsql set search_path = public, pg_temp as $$
declare
  sent jsonb;
  wanted constant jsonb := rota.check_beginning(target, op -> 'set');
  columns text := (select string_agg(format('%I', f), ', ') from jsonb_object_keys(wanted) f);
  hit text;
begin
  perform rota.check_fields(target, wanted, target.writable || target.key_columns);
  execute format('select to_jsonb(jsonb_populate_record(null::%s, $1))', target.relation) into sent using wanted;
  if rota.key_of(sent, target.key_columns) is distinct from op ->> 'key' then
    perform rota.refuse('invalid', format('key is %s, but the record in set has the key %s', op ->> 'key',
      coalesce(rota.key_of(sent, target.key_columns), 'null')));
  end if;
  perform rota.ask_guard(target, op, null, actor);
  -- Waits here for somebody who is deleting the same record: row first, feed second, as every other change locks them.
  if has_any_column_privilege(target.relation, 'update') then
    execute format('select from %s t where %s for no key update', target.relation, rota.key_condition(target, '$1')) using op ->> 'key';
  end if;
  execute format('insert into %1$s (%2$s) select %2$s from jsonb_populate_record(null::%1$s, $1)', target.relation, columns) using wanted;
  return jsonb_build_object('outcome', 'confirmed');
exception when unique_violation then
  get stacked diagnostics hit = constraint_name;
  if exists (select from rota.key_indexes(target.relation, target.key_columns) k where k.name = hit) then
    perform rota.refuse('exists', format('%s has a record %s already', target.name, op ->> 'key'));
  end if;
  raise;
end
$$;

-- Deletes first and compares what went: a lock for reading would need the right to update, which a person who may
-- only delete lacks. A conflict takes the deletion back.
create function rota.op_delete(op jsonb, target rota.tables, actor text) returns jsonb
language plpgsql set search_path = public, pg_temp as $$
declare
  seen jsonb := rota.visible_record(target, op ->> 'key');
  went jsonb;
  saw jsonb;
  changed jsonb;
begin
  if op -> 'set' <> '{}' then perform rota.refuse('invalid', 'set must be {} for delete'); end if;
  perform rota.check_fields(target, op -> 'base', array(select jsonb_object_keys(op -> 'base')));
  if seen is not null then perform rota.ask_guard(target, op, seen, actor); end if;
  execute format('delete from %s t where %s returning to_jsonb(t.*), to_jsonb(jsonb_populate_record(t.*, $2))',
    target.relation, rota.key_condition(target, '$1')) into went, saw using op ->> 'key', op -> 'base';
  if went is null then perform rota.explain_absence(target, op, actor, seen); end if;
  select jsonb_agg(f order by f) into changed from jsonb_object_keys(op -> 'base') f where rota.differs(went -> f, saw -> f);
  if went is not null and changed is not null then raise exception using errcode = 'RT002'; end if;
  return jsonb_build_object('outcome', 'confirmed');
exception when sqlstate 'RT002' then
  return rota.conflicted('changed', 'somebody else changed this first', changed);
end
$$;

comment on table rota.ledger is 'Every operation that was decided, with its answer: what makes the effect of an operation exactly once.';
comment on index rota.ledger_created_at is 'What is old enough to be dropped.';
comment on policy own_read on rota.ledger is 'Everybody reads their own operations.';
comment on policy own_insert on rota.ledger is 'Everybody enters their own operations.';
comment on policy own_decide on rota.ledger is 'A decided operation stays as it was decided.';
comment on function rota.ledger_keep() is 'How long the ledger is kept at least.';
comment on function rota.minted_at(uuid) is 'When a UUIDv7 was made.';
comment on function rota.prune_ledger(interval) is 'Drops what is older than the ledger keeps. For any scheduler.';
comment on function rota.refuse(text, text) is 'Ends an operation with a refusal: a code and words.';
comment on function rota.is_portable(numeric) is 'Whether a client reads this number as what it is.';
comment on function rota.as_sent(jsonb) is 'A value as clients get it: numbers that they could not read as strings.';
comment on function rota.row_columns(regclass) is 'The select list that makes a row what clients get.';
comment on function rota.differs(jsonb, jsonb) is 'Whether two values of a column are different facts.';
comment on function rota.key_type(rota.tables) is 'The type of a key of one column.';
comment on function rota.key_condition(rota.tables, text) is 'The SQL condition under which a row has a key.';
comment on function rota.visible_record(rota.tables, text) is 'A record as the caller may see it, or null.';
comment on function rota.guard_objection(rota.tables, jsonb, jsonb, text) is 'What the table''s guard objects to, or null.';
comment on function rota.ask_guard(rota.tables, jsonb, jsonb, text) is 'Refuses what the table''s guard objects to.';
comment on function rota.check_fields(rota.tables, jsonb, text[]) is 'Refuses fields that are not there, or not on the list.';
comment on function rota.check_beginning(rota.tables, jsonb) is 'Refuses an insert in a state that only operations lead to, and answers what is to be written.';
comment on function rota.check_key(rota.tables, text) is 'Refuses a key that is not spelt as the record''s own.';
comment on function rota.explain_absence(rota.tables, jsonb, text, jsonb) is 'Why a record could not be locked or deleted.';
comment on function rota.conflicted(text, text, jsonb) is 'The answer of a lost race.';
comment on function rota.change_fields(rota.tables, jsonb, text, jsonb, jsonb, text, text) is 'Locks a row, compares it with what the person saw, and changes it.';
comment on function rota.op_patch(jsonb, rota.tables, text) is 'Operation patch: changes fields of a record.';
comment on function rota.op_assign(jsonb, rota.tables, text) is 'Operation assign: gives a record another owner.';
comment on function rota.op_insert(jsonb, rota.tables, text) is 'Operation insert: a new record.';
comment on function rota.op_delete(jsonb, rota.tables, text) is 'Operation delete: takes a record away.';
