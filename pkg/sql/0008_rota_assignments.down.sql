-- The way back to owners without a history. What was in it, in the outbox and in the subscriptions goes away.
select rota.unsync_table('public.assignment_history');
drop function public.save_push_subscription, public.unassigned_records, public.user_assignment_stats;
create or replace function rota.op_assign(op jsonb, target rota.tables, actor text) returns jsonb language plpgsql set search_path = pg_catalog, pg_temp as $$
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
comment on function rota.op_assign(jsonb, rota.tables, text) is 'Operation assign: gives a record another owner.';
drop trigger follow_owner on rota.tables;
do $$
declare
  t regclass;
begin
  for t in select r.relation from rota.tables r join pg_class c on c.oid = r.relation loop
    perform rota.drop_owner_triggers(t);
  end loop;
end
$$;
drop function rota.note_truncated(), rota.drop_owner_triggers(regclass), rota.prune_outbox(interval), rota.outbox_gave_up(bigint, text), rota.outbox_failed(bigint, text, interval, text[]), rota.outbox_done(bigint[]), rota.claim_outbox(int, interval),
  rota.last_assignment(text, text), rota.follow_owner(), rota.note_assignment();
drop table public.push_subscriptions, rota.outbox, public.assignment_history;
drop function rota.seen_with_history(), rota.tables_with_history(), rota.may_see(text, text);
