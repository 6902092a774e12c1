-- Rota's server kit, part 10: several parts, all or none; keys that the server gives; and fields that add up.
-- See PROTOCOL.md §2, "Transactions" and "Temporary keys".

alter table rota.tables add column summed text[] not null default '{}';
comment on column rota.tables.summed is 'Fields that clients merge by sum: a patch of one conflicts with any change of it, also with one to the same value.';

create function rota.declare_summed(t regclass, summed_columns text[]) returns void language plpgsql set search_path = pg_catalog, pg_temp as $$
begin
  perform rota.check_columns(t, summed_columns, 'the summed columns');
  update rota.tables r set summed = summed_columns where r.relation = t;
  if not found then raise exception 'the table % is not synced', t using errcode = '42704'; end if;
end
$$;
comment on function rota.declare_summed(regclass, text[]) is 'Says which fields of a synced table clients merge by sum, so that two who add the same both count.';

-- An insert whose key the server gives: by the key column's default, or a trigger.
create function rota.insert_given(op jsonb, target rota.tables, actor text) returns jsonb
language plpgsql set search_path = public, pg_temp as $$
declare
  wanted constant jsonb := rota.check_beginning(target, op -> 'set');
  columns text := (select string_agg(format('%I', f), ', ') from jsonb_object_keys(wanted) f);
  given jsonb;
begin
  perform rota.check_fields(target, wanted, array(select w from unnest(target.writable) w where w <> all (target.key_columns)));
  perform rota.ask_guard(target, op, null, actor);
  execute format(case when columns is null then 'insert into %1$s as t default values returning to_jsonb(t.*)'
    else 'insert into %1$s as t (%2$s) select %2$s from jsonb_populate_record(null::%1$s, $1) returning to_jsonb(t.*)' end, target.relation, columns)
    into given using wanted;
  return jsonb_build_object('outcome', 'confirmed', 'key', rota.key_of(given, target.key_columns), 'given', rota.as_sent(given -> target.key_columns[1]));
end
$$;
comment on function rota.insert_given(jsonb, rota.tables, text) is 'Inserts a record under a temporary key, and answers which key it has.';

-- What is wrong with the shape of a transaction, or null.
create function rota.transaction_fault(op jsonb) returns text language plpgsql stable set search_path = pg_catalog, pg_temp as $$
declare
  fault text := rota.shape_fault(op);
  part jsonb;
  n int := 0;
begin
  if fault is not null then return fault; end if;
  if op ->> 'name' <> 'transaction' then return 'only a transaction has parts'; end if;
  if op -> 'args' <> '{}' or op -> 'set' <> '{}' or op -> 'base' <> '{}' or op -> 'baseVersion' <> 'null' then
    return 'args, set and base of a transaction are {}, its baseVersion is null';
  end if;
  if jsonb_typeof(op -> 'parts') <> 'array' then return 'parts must be a list'; end if;
  if jsonb_array_length(op -> 'parts') not between 2 and 100 then return 'a transaction has 2 to 100 parts'; end if;
  for part in select p from jsonb_array_elements(op -> 'parts') p loop
    if jsonb_typeof(part) <> 'object' then return format('part %s is not an object', n); end if;
    fault := rota.shape_fault((op - '{name,table,key,args,set,base,baseVersion,parts}'::text[]) || (part - '{id,protocol,hlc,tab,after}'::text[]));
    if fault is not null then return format('part %s: %s', n, fault); end if;
    if part ->> 'name' in ('transaction', 'request_next') then return format('part %s: %s can''t be a part of a transaction', n, part ->> 'name'); end if;
    n := n + 1;
  end loop;
  if op -> 'table' <> op #> '{parts,0,table}' or op -> 'key' <> op #> '{parts,0,key}' then return 'table and key of a transaction are those of its first part'; end if;
  if exists (select from jsonb_array_elements(op -> 'parts') p where left(p ->> 'key', 1) = '~' and p ->> 'name' = 'insert'
      group by p ->> 'table' having count(*) > 1) then
    return 'a transaction has at most one insert with a temporary key for each table';
  end if;
  return null;
end
$$;
comment on function rota.transaction_fault(jsonb) is 'What is wrong with the shape of a transaction, or null.';

-- Gives those rows a version that were written between two parts, and by no part after that. Definer: nobody may write it.
create function rota.stamp_owed() returns void language plpgsql security definer set search_path = public, pg_temp as $$
declare
  owed record;
  target rota.tables;
begin
  for owed in select distinct o ->> 0 as of_table, o ->> 1 as key from jsonb_array_elements(nullif(current_setting('rota.owed', true), '')::jsonb) o loop
    select * into target from rota.tables t where t.name = owed.of_table;
    execute format('update %s t set rota_version = 0 where %s and t.rota_version = 0', target.relation, rota.key_condition(target, '$1')) using owed.key;
  end loop;
  perform set_config('rota.owed', '', true);
end
$$;
comment on function rota.stamp_owed() is 'Gives a version to the rows of a transaction that were written for a later part, which then had nothing to write.';

-- Runs the parts one after another, each on what the earlier ones left. Where a later part names the same record, what is
-- written is told to nobody: the stream carries each write, and no client should show a row that never stood alone. Raises RT003 with the end of the first that was not
-- done, so that nothing is left of the others. Answers the parts with their real keys.
create function rota.run_parts(op jsonb, actor text) returns jsonb language plpgsql set search_path = pg_catalog, pg_temp as $$
declare
  parts jsonb := op -> 'parts';
  last int := jsonb_array_length(parts) - 1;
  part jsonb;
  target rota.tables;
  result jsonb;
begin
  for n in 0 .. last loop
    part := (parts -> n) || jsonb_build_object('id', op -> 'id', 'tab', op -> 'tab', 'hlc', op -> 'hlc');
    perform set_config('rota.between', coalesce((select (part ->> 'table') || ':' || case when rota.is_given_key(part, t) then '~' else part ->> 'key' end
      from rota.tables t where t.name = part ->> 'table' and exists (select from jsonb_array_elements(parts) with ordinality l(later, at)
        where l.at > n + 1 and l.later -> 'table' = part -> 'table' and l.later -> 'key' = part -> 'key')), ''), true);
    select * into target from rota.tables t where t.name = part ->> 'table';
    if target.name is null then
      result := rota.refused('invalid', format('the table %s is not synced', part ->> 'table'));
    elsif to_regprocedure(format('rota.%I(jsonb, rota.tables, text)', 'op_' || (part ->> 'name'))) is null then
      result := rota.refused('invalid', format('there is no operation named %s', part ->> 'name'));
    else
      result := rota.run(part, target, actor, n = last);
    end if;
    if result ->> 'outcome' <> 'confirmed' then
      raise exception using errcode = 'RT003', message = 'a part was not done', detail = result::text;
    end if;
    if result ? 'key' then
      -- From here on the real key stands wherever a later part names the temporary one. A whole string token is replaced:
      -- inside a longer string the quotes would be escaped.
      parts := (select jsonb_agg(case when i.at - 1 = n then i.item || jsonb_build_object('from', i.item -> 'key', 'key', result -> 'key')
          when i.at - 1 < n then i.item
          else jsonb_set(replace(i.item::text, (part -> 'key')::text, (result -> 'given')::text)::jsonb, '{key}',
            case when i.item -> 'key' = part -> 'key' then result -> 'key' else i.item -> 'key' end) end order by i.at)
        from jsonb_array_elements(parts) with ordinality i(item, at));
    end if;
  end loop;
  if current_setting('rota.owed', true) <> '' then
    perform set_config('rota.op', op ->> 'id', true);
    perform rota.stamp_owed();
    perform set_config('rota.op', '', true);
  end if;
  return parts;
end
$$;
comment on function rota.run_parts(jsonb, text) is 'Does the parts of a transaction in order, or raises with the end of the first that can''t be done.';

-- Each record of the parts once, as it is now, as far as the person may see it.
create function rota.records_of(parts jsonb) returns jsonb language plpgsql set search_path = pg_catalog, pg_temp as $$
declare
  one record;
  target rota.tables;
  entry record;
  seen jsonb;
  all_of_them jsonb := '[]';
begin
  for one in select p.part ->> 'table' as of_table, p.part ->> 'key' as key, max(p.part ->> 'from') as temporary, min(p.at) as at
    from jsonb_array_elements(parts) with ordinality p(part, at) group by 1, 2 order by 4 loop
    select * into target from rota.tables t where t.name = one.of_table;
    continue when target.name is null;
    seen := rota.visible_record(target, one.key);
    if seen is null or rota.key_of(seen, target.key_columns) <> one.key then
      select * into entry from rota.feed_entry(one.of_table, one.key);
      continue when entry.deleted is not true;
      all_of_them := all_of_them || jsonb_build_object('table', one.of_table, 'key', one.key, 'version', entry.version::text, 'record', null);
    else
      all_of_them := all_of_them || (jsonb_build_object('table', one.of_table, 'key', one.key, 'version', seen ->> 'rota_version', 'record', seen)
        || case when one.temporary is null then '{}' else jsonb_build_object('from', one.temporary) end);
    end if;
  end loop;
  return all_of_them;
end
$$;
comment on function rota.records_of(jsonb) is 'The records of a transaction as the caller may see them.';

create function rota.decide_transaction(op jsonb, actor text) returns jsonb language plpgsql set search_path = pg_catalog, pg_temp as $$
#variable_conflict use_variable
declare
  fault text := rota.transaction_fault(op);
  parts jsonb := op -> 'parts';
  target rota.tables;
  result jsonb;
  ended text;
begin
  if fault is not null then return rota.refused('invalid', fault); end if;
  result := rota.hindrance(op, actor);
  if result is null then
    begin
      parts := rota.run_parts(op, actor);
      result := jsonb_build_object('outcome', 'confirmed');
    exception when sqlstate 'RT003' then
      get stacked diagnostics ended = pg_exception_detail;
      result := ended::jsonb;
    end;
  end if;
  result := (result - '{key,given,version,record}'::text[]) || jsonb_build_object('records', rota.records_of(parts));
  if parts #>> '{0,key}' <> op ->> 'key' then
    op := op || jsonb_build_object('key', parts #> '{0,key}');
    result := result || jsonb_build_object('key', parts #> '{0,key}');
  end if;
  select * into target from rota.tables t where t.name = op ->> 'table';
  return case when target.name is null then result else rota.with_record(op, target, result) end;
end
$$;
comment on function rota.decide_transaction(jsonb, text) is 'Decides an operation with parts: all of them, or none.';

-- Many operations in one round trip, each for itself: one answer each, in order.
create function public.apply_operations(ops jsonb) returns jsonb language plpgsql volatile set search_path = pg_catalog, pg_temp as $$
declare
  answers jsonb := '[]';
  op jsonb;
begin
  if rota.actor() is null then
    raise exception 'no person in the token' using errcode = '42501', hint = 'Call apply_operations with a signed-in person''s token.';
  elsif jsonb_typeof(ops) is distinct from 'array' or jsonb_array_length(ops) > 100 then
    raise exception 'send a list of at most 100 operations' using errcode = '22023';
  end if;
  for op in select o from jsonb_array_elements(ops) o loop
    answers := answers || jsonb_build_array(public.apply_operation(op));
  end loop;
  return answers;
end
$$;
comment on function public.apply_operations(jsonb) is 'apply_operation for each of up to 100 operations, each for itself, in one call.';

revoke all on function rota.declare_summed(regclass, text[]), rota.insert_given(jsonb, rota.tables, text), rota.transaction_fault(jsonb), rota.stamp_owed(),
  rota.run_parts(jsonb, text), rota.records_of(jsonb), rota.decide_transaction(jsonb, text) from public;
grant execute on function rota.insert_given(jsonb, rota.tables, text), rota.transaction_fault(jsonb), rota.stamp_owed(), rota.run_parts(jsonb, text),
  rota.records_of(jsonb), rota.decide_transaction(jsonb, text) to authenticated;
revoke all on function public.apply_operations(jsonb) from public, anon;
grant execute on function public.apply_operations(jsonb) to authenticated;
