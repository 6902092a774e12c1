-- The way back to a server without slots. An application's own table stays, as it was before, but for what people have changed
-- since; the kit's own goes with its rows. One that was renamed or dropped meanwhile is no hindrance: what is left of it stays,
-- without what the kit had added where that was the application's.
do $$
declare
  its record;
  here regclass;
  ours rota.adopted;
begin
  if to_regprocedure('rota.check_slot()') is null then return; end if; -- never applied, or not to the end
  for its in select g.tgname as name, g.tgrelid::regclass as of_table from pg_trigger g where g.tgfoid = 'rota.check_slot()'::regprocedure loop
    execute format('drop trigger %I on %s', its.name, its.of_table);
    here := its.of_table;
  end loop;
  select * into ours from rota.adopted a where a.name = 'availability';
  if here is null then return; end if;
  for its in select i.indexrelid::regclass as name from pg_index i join pg_class c on c.oid = i.indexrelid
      where i.indrelid = here and (c.relname = 'availability_days' or c.relname = any (ours.indexes)) loop
    execute format('drop index %s', its.name);
  end loop;
  if here = to_regclass('public.availability') then return; end if;
  -- It has another name by now. Under that an application's own gets its columns and values back; one of the kit's is kept with its rows.
  if ours.created then
    for its in select p.polname as name from pg_policy p where p.polrelid = here and p.polname in ('read_all', 'add_own', 'change_own', 'delete_own') loop
      execute format('drop policy %I on %s', its.name, here);
    end loop;
    execute format('revoke all on %s from authenticated', here);
  elsif exists (select from pg_class c where c.oid = here and c.relnamespace = 'public'::regnamespace) then
    update rota.adopted_values v set table_name = c.relname from pg_class c where v.table_name = 'availability' and c.oid = here;
    update rota.adopted a set name = c.relname from pg_class c where a.name = 'availability' and c.oid = here;
    perform rota.unadopt_table(c.relname) from pg_class c where c.oid = here;
  end if;
end
$$;
drop function if exists public.who_is_free, public.free_slots;
drop function if exists rota.check_window, rota.check_slot, rota.overlap_text, rota.require_slot, rota.first_overlap, rota.never_meet,
  rota.window_days, rota.slot_spans, rota.check_recurrence, rota.days_of, rota.not_recurring;
select rota.unadopt_table('availability') where exists (select from rota.adopted a where a.name = 'availability');
drop function if exists rota.slot_days, rota.last_day, rota.weekdays;
drop table if exists rota.availability_turns, rota.adoption_faults;
drop function if exists rota.moment, rota.offset_at, rota.local_day, rota.wall(timestamp), rota.wall(text), rota.zone_is_known;
drop table if exists rota.zones;
