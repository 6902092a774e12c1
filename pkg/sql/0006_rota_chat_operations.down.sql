-- The way back to chats that nobody can do anything to. Rows, states and history stay as they are.
do $$
declare
  of_table text;
begin
  for of_table in select name from rota.adopted a where a.synced loop
    perform rota.unsync_table(('public.' || quote_ident(of_table))::regclass);
    update rota.adopted a set synced = false where a.name = of_table;
  end loop;
  for of_table in select name from rota.adopted a where a.created loop
    execute format('drop policy read_as_operator on public.%I', of_table);
    execute format('revoke all on public.%I from authenticated', of_table);
    if of_table = 'chats' then drop policy change_as_operator on public.chats; drop policy begin_as_operator on public.chats; end if;
  end loop;
end
$$;
drop trigger reserve_chats on rota.tables;
-- Whoever has declared another owner of chats does so again: without the operations nobody may be assigned to one unasked.
update rota.tables set reserved = '{}', begins = '{}', owner_column = null where relation = 'public.chats'::regclass;
-- Whatever their tables are called by now, if they are still there.
do $$
declare
  its record;
begin
  for its in select g.tgname as name, g.tgrelid::regclass as of_table from pg_trigger g join pg_proc p on p.oid = g.tgfoid where p.pronamespace = 'rota'::regnamespace
      and p.proname in ('keep_chat', 'note_chat', 'note_truncate', 'join_assignment', 'succeed_assignment', 'keep_operator', 'note_activity', 'join_activity') loop
    execute format('drop trigger %I on %s', its.name, its.of_table);
  end loop;
end
$$;
drop function public.record_operator_activity;
drop function rota.chats_are_locked(), rota.next_allowed_chat(jsonb, rota.tables, text), rota.check_operator(jsonb), rota.reserve_chats(), rota.op_request_next(jsonb, rota.tables, text), rota.entry_of(rota.tables, text, jsonb), rota.next_chat(text), rota.op_complete(jsonb, rota.tables, text),
  rota.op_transfer(jsonb, rota.tables, text), rota.op_unassign_chat(jsonb, rota.tables, text), rota.op_release(jsonb, rota.tables, text),
  rota.op_user_message(jsonb, rota.tables, text), rota.op_reply(jsonb, rota.tables, text), rota.op_claim(jsonb, rota.tables, text),
  rota.last_sign(public.chats), rota.note_activity(), rota.join_activity(), rota.keep_operator(), rota.holds_operator(text), rota.may_keep_operator(public.operators, public.operators), rota.succeed_assignment(), rota.join_assignment(), rota.note_truncate(), rota.op_chat(jsonb, rota.tables, text), rota.visible_chat(text), rota.may_change_chat(rota.tables, text), rota.change_chat(jsonb), rota.chat_moved(jsonb, public.chats), rota.chat_objection(jsonb, text),
  rota.check_chat_args(jsonb), rota.write_chat(public.chats, text, text, text), rota.note_chat(), rota.keep_chat(), rota.take_turn(text, boolean),
  rota.is_operator(), rota.is_supervisor(), rota.operator_of(text), rota.operator_text(text), rota.chat_leads_to(text, text), rota.chat_states();
drop table if exists rota.noted_lines;
drop table rota.operator_turns;
