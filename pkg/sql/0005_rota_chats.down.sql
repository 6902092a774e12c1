-- The way back to an application's own chats: its columns, rows and values, without what the kit had added. Tables that the
-- kit made go away with their rows.
drop view rota.activity;
drop table if exists rota.operator_activity;
select rota.unadopt_table(a.name) from unnest('{operator_activity,chat_assignments,chats,operators}'::text[]) with ordinality w(name, at)
  join rota.adopted a on a.name = w.name order by w.at;
drop function rota.lock_tables(), rota.holds_activity(regclass, text, text), rota.type_of(text[], text), rota.unadopt_table(text), rota.unadopt_values(text),
  rota.adopt_values(text, text, text, text), rota.wake_triggers(regclass, jsonb), rota.quiet_triggers(regclass),
  rota.adopt_constraint(text, text, text), rota.comment_adopted(text, jsonb), rota.adopt_index(text, text, text), rota.adopt_table(text, jsonb, text);
drop table rota.adopted_values, rota.adopted;
