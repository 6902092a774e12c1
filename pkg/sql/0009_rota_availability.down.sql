-- The way back to a server without slots. An application's own table stays, as it was before, but for what people have changed
-- since; the kit's own goes with its rows.
drop trigger zz_rota_check_slot on public.availability;
drop trigger zz_rota_read_slot on public.availability;
drop function public.who_is_free, public.free_slots;
drop index if exists public.availability_days;
drop function rota.check_window(timestamptz, timestamptz), rota.check_slot(), rota.overlap_text(text, timestamptz), rota.require_slot(public.availability),
  rota.first_overlap(public.availability, public.availability), rota.never_meet(public.availability, public.availability, timestamptz, timestamptz),
  rota.window_days(timestamptz, timestamptz), rota.slot_days(timestamp, timestamp, jsonb), rota.last_day(date, jsonb),
  rota.slot_spans(public.availability, timestamptz, timestamptz),
  rota.check_recurrence(jsonb, date, interval), rota.days_of(date, jsonb, date, date), rota.weekdays(jsonb), rota.not_recurring(text);
select rota.unadopt_table('availability');
drop table rota.availability_turns, rota.adoption_faults;
drop function rota.moment(timestamp, text), rota.offset_at(timestamptz, text), rota.local_day(text), rota.wall(timestamp), rota.wall(text), rota.zone_is_known(text);
drop table rota.zones;
