-- Rota's server kit, part 9: when somebody is available. Slots in local time of a zone, once or weekly; what can't be a
-- slot, and what overlaps another, is refused for whoever writes; and who is free when.
--
-- The server's expansion is the one that counts. Gaps and overlaps of clocks are as Temporal's `compatible`: a time that
-- does not exist is moved on by the gap, of one that exists twice the first is meant. See PROTOCOL.md §10.

-- The zones of the IANA database, and their links. PostgreSQL reads its files anew for each look into pg_timezone_names.
create table rota.zones (name text primary key);
comment on table rota.zones is 'Names of time zones that were found once.';
insert into rota.zones select z.name from pg_timezone_names z where z.name !~ '^(posix/|right/|posixrules$|Factory$|localtime$)';

create function rota.zone_is_known(zone text) returns boolean language sql stable security definer set search_path = '' as $$
  select exists (select from rota.zones z where z.name = zone)
    or exists (select from pg_timezone_names z where z.name = zone and z.name !~ '^(posix/|right/|posixrules$|Factory$|localtime$)')
$$;
comment on function rota.zone_is_known(text) is 'Whether there is a time zone of exactly this name.';

-- Null where it is none: 2026-11-01T09:00, with or without seconds, 1970 to 2199.
create function rota.wall(local_time text) returns timestamp language plpgsql immutable set search_path = '' as $$
begin
  if local_time !~ '^(19[7-9][0-9]|20[0-9][0-9]|21[0-9][0-9])-[0-9]{2}-[0-9]{2}T([01][0-9]|2[0-3]):[0-5][0-9](:[0-5][0-9])?$' then return null; end if;
  return local_time::timestamp;
exception when data_exception then return null;
end
$$;
comment on function rota.wall(text) is 'Reads a local time as a slot has it; null where it is none.';

create function rota.local_day(day text) returns date language sql immutable set search_path = '' as $$
  select case when day ~ '^[0-9]{4}-[0-9]{2}-[0-9]{2}$' then rota.wall(day || 'T00:00')::date end
$$;
comment on function rota.local_day(text) is 'Reads a local date as a recurrence has it; null where it is none.';

-- The moment that a wall shows. Of a time that exists twice PostgreSQL means the second: the one under the offset of the day
-- before is looked for first.
create function rota.moment(wall timestamp, zone text) returns timestamptz language sql stable set search_path = '' as $$
  select case when early.at < late.at and early.at at time zone zone = wall then early.at else late.at end
  from (select wall at time zone zone) late(at)
  cross join lateral (select late.at - interval '1 day') b(before)
  cross join lateral (select (wall - ((b.before at time zone zone) - (b.before at time zone 'UTC'))) at time zone 'UTC') early(at)
$$;
comment on function rota.moment(timestamp, text) is 'The moment that a wall clock in a zone shows, as Temporal''s compatible.';

create table public.availability (
  id text primary key default gen_random_uuid()::text,
  user_id text not null,
  starts_at text not null,
  ends_at text not null,
  time_zone text not null,
  recurrence jsonb,
  is_active boolean not null default true,
  notes text
);
comment on table public.availability is 'Slots in which somebody is available: local times of a zone, once, or weekly on some days.';
comment on column public.availability.starts_at is 'Local wall time, such as 2026-11-01T09:00.';
comment on column public.availability.recurrence is 'Null, or {freq: "weekly", byDay, until or count, except}.';
create index availability_person on public.availability (user_id) where is_active;
comment on index public.availability_person is 'The slots of a person that count.';
create index availability_once on public.availability (starts_at) where is_active and recurrence is null;
comment on index public.availability_once is 'Slots of one day, by that day.';
create index availability_weekly on public.availability (user_id) where is_active and recurrence is not null;
comment on index public.availability_weekly is 'Slots that recur.';

create table rota.availability_turns (user_id text primary key, turn bigint not null);
comment on table rota.availability_turns is 'One row a person, locked by whoever changes their active slots: two that overlap can''t come in at once.';

create function rota.not_recurring(why text) returns void language sql volatile set search_path = '' as $$
  select rota.refuse('invalid-recurrence', 'the recurrence can''t be: ' || why)
$$;
comment on function rota.not_recurring(text) is 'Refuses a recurrence.';

-- The days of the week on which it is, Monday being 1.
create function rota.weekdays(recurrence jsonb) returns int[] language sql immutable set search_path = '' as $$
  select array_agg(array_position('{MO,TU,WE,TH,FR,SA,SU}'::text[], d #>> '{}') order by 1) from jsonb_array_elements(recurrence -> 'byDay') d
$$;
comment on function rota.weekdays(jsonb) is 'The days of the week of a recurrence, Monday being 1; null among them for what is none.';

-- The local dates within these two on which a recurrence begins, exceptions left out.
create function rota.days_of(first_day date, recurrence jsonb, from_day date, to_day date) returns setof date
language sql stable set search_path = '' as $$
  select d.day from (
    select first_day + i as day, row_number() over (order by i) as n
    from (select rota.weekdays(recurrence) as days, (recurrence ->> 'count')::int as n_max, rota.local_day(recurrence ->> 'until') as until) r
    cross join lateral generate_series(
      case when r.n_max is null then greatest(0, from_day - first_day) else 0 end, -- a count is counted from the first one
      least(to_day - first_day, r.until - first_day, r.n_max * 7)) i
    where extract(isodow from first_day + i) = any (r.days)
  ) d
  where d.n <= coalesce((recurrence ->> 'count')::int, d.n) and d.day >= from_day
    and not coalesce(recurrence -> 'except' ? d.day::text, false) order by d.day
$$;
comment on function rota.days_of(date, jsonb, date, date) is 'The local dates on which a weekly recurrence begins, within a window.';

create function rota.check_recurrence(recurrence jsonb, first_day date, length interval) returns void
language plpgsql stable set search_path = '' as $$
declare
  shape constant text := 'it is {freq: "weekly", byDay: ["MO", …], until or count, except: [dates]}';
  days int[];
  except_days jsonb := coalesce(nullif(recurrence -> 'except', 'null'), '[]');
  until jsonb := nullif(recurrence -> 'until', 'null');
  n jsonb := nullif(recurrence -> 'count', 'null');
  gap int;
begin
  if exists (select from jsonb_object_keys(recurrence) k where k <> all ('{freq,byDay,until,count,except}'))
    or recurrence -> 'freq' is distinct from '"weekly"' or coalesce(jsonb_typeof(recurrence -> 'byDay'), '') <> 'array'
    or jsonb_typeof(except_days) <> 'array' or until is not null and n is not null
    or until is not null and (jsonb_typeof(until) <> 'string' or rota.local_day(until #>> '{}') is null)
    or n is not null and jsonb_typeof(n) <> 'number' then
    perform rota.not_recurring(shape);
  end if;
  if jsonb_array_length(recurrence -> 'byDay') > 7 then perform rota.not_recurring('it names a day twice'); end if;
  days := rota.weekdays(recurrence);
  if array_position(days, null) is not null or jsonb_array_length(except_days) > 1000
    or exists (select from jsonb_array_elements(except_days) e where jsonb_typeof(e) <> 'string' or rota.local_day(e #>> '{}') is null) then
    perform rota.not_recurring(shape);
  elsif n is not null and (n::numeric <> trunc(n::numeric) or n::numeric not between 1 and 1000) then
    perform rota.not_recurring('its count is not between 1 and 1000');
  elsif (select count(distinct d) <> count(d) from unnest(days) d) then
    perform rota.not_recurring('it names a day twice');
  elsif coalesce(extract(isodow from first_day)::int <> all (days), true) then
    perform rota.not_recurring('its byDay lacks the weekday on which it begins');
  elsif rota.local_day(until #>> '{}') < first_day then
    perform rota.not_recurring('it ends before it begins');
  end if;
  select min((case when o.d is null or o.d = d.d then 7 else (o.d - d.d + 7) % 7 end)) into gap from unnest(days) d(d) left join unnest(days) o(d) on o.d <> d.d;
  if length > gap * interval '1 day' then perform rota.not_recurring('it begins again before it ends'); end if;
  -- More days than there can be exceptions.
  if (until is not null or n is not null) and not exists (select from rota.days_of(first_day, recurrence, first_day, first_day + 7007)) then
    perform rota.not_recurring('all its occurrences are excepted');
  end if;
end
$$;
comment on function rota.check_recurrence(jsonb, date, interval) is 'Refuses a recurrence that has no occurrence, overlaps itself, or can''t be read.';

-- The spans of a slot that share a moment with the window, in order.
create function rota.slot_spans(slot public.availability, window_from timestamptz, window_to timestamptz)
returns table (starts timestamptz, ends timestamptz) language plpgsql stable set search_path = '' as $$
declare
  first_wall timestamp := rota.wall(slot.starts_at);
  length interval := rota.wall(slot.ends_at) - rota.wall(slot.starts_at);
begin
  if slot.recurrence is null then
    starts := rota.moment(first_wall, slot.time_zone);
    ends := rota.moment(first_wall + length, slot.time_zone);
    if starts < ends and starts < window_to and window_from < ends then return next; end if;
    return;
  end if;
  -- Three days of air: a zone may be 26 hours off, and gaps move what is in them.
  return query select s.at, e.at
    from rota.days_of(first_wall::date, slot.recurrence, (window_from at time zone 'UTC' - length)::date - 3, (window_to at time zone 'UTC')::date + 3) d
    cross join lateral (select rota.moment(d + first_wall::time, slot.time_zone)) s(at)
    cross join lateral (select rota.moment(d + first_wall::time + length, slot.time_zone)) e(at)
    where s.at < e.at and s.at < window_to and window_from < e.at order by s.at;
end
$$;
comment on function rota.slot_spans(public.availability, timestamptz, timestamptz) is 'When a slot is, within a window.';

-- The first moment that two slots share, in the 400 days from the later of their beginnings on.
create function rota.first_overlap(one public.availability, other public.availability) returns timestamptz
language sql stable set search_path = '' as $$
  select min(greatest(a.starts, b.starts))
  from (select greatest(rota.moment(rota.wall(one.starts_at), one.time_zone), rota.moment(rota.wall(other.starts_at), other.time_zone))) w(from_at)
  cross join lateral rota.slot_spans(one, w.from_at, w.from_at + interval '400 days') a
  join lateral rota.slot_spans(other, w.from_at, w.from_at + interval '400 days') b on a.starts < b.ends and b.starts < a.ends
$$;
comment on function rota.first_overlap(public.availability, public.availability) is 'The first moment that two slots share, or null.';

-- Before a slot is written, by whomever. The order is that of PROTOCOL.md §10.
create function rota.check_slot() returns trigger language plpgsql security definer set search_path = '' set timezone = 'UTC' set datestyle = 'ISO, MDY' as $$
declare
  first_wall timestamp := rota.wall(new.starts_at);
  last_wall timestamp := rota.wall(new.ends_at);
  clash record;
begin
  if jsonb_typeof(new.recurrence) = 'null' then new.recurrence := null; end if;
  new.is_active := coalesce(new.is_active, true);
  if tg_op = 'UPDATE' and row(new.user_id, new.starts_at, new.ends_at, new.time_zone, new.recurrence, new.is_active)
    is not distinct from row(old.user_id, old.starts_at, old.ends_at, old.time_zone, old.recurrence, old.is_active) then return new; end if;
  if coalesce(new.user_id, '') = '' then perform rota.refuse('invalid', '"user_id" of a slot is not a person''s id');
  elsif first_wall is null then perform rota.refuse('invalid', '"starts_at" of a slot is not a local time like 2026-11-01T09:00');
  elsif last_wall is null then perform rota.refuse('invalid', '"ends_at" of a slot is not a local time like 2026-11-01T09:00');
  elsif coalesce(new.time_zone, '') = '' then perform rota.refuse('invalid', '"time_zone" of a slot is not text');
  elsif coalesce(jsonb_typeof(new.recurrence), 'object') <> 'object' then perform rota.refuse('invalid', '"recurrence" of a slot is not an object or null');
  elsif not rota.zone_is_known(new.time_zone) then perform rota.refuse('unknown-zone', format('there is no time zone "%s"', left(new.time_zone, 80)));
  elsif last_wall < first_wall then perform rota.refuse('reversed-slot', 'the slot ends before it begins');
  elsif last_wall = first_wall then perform rota.refuse('empty-slot', 'the slot ends when it begins');
  elsif last_wall - first_wall > interval '366 days' then perform rota.refuse('invalid', '"ends_at" of a slot is not at most 366 days after the beginning');
  end if;
  if new.recurrence is not null then perform rota.check_recurrence(new.recurrence, first_wall::date, last_wall - first_wall);
  elsif rota.moment(first_wall, new.time_zone) >= rota.moment(last_wall, new.time_zone) then
    perform rota.refuse('empty-slot', 'the clocks change, so that nothing is left of the slot');
  end if;
  if not new.is_active then return new; end if;
  insert into rota.availability_turns as t values (new.user_id, 1) on conflict (user_id) do update set turn = t.turn + 1;
  select a.id, o.at into clash from public.availability a cross join lateral (select rota.first_overlap(new, a)) o(at)
    where a.user_id = new.user_id and a.is_active and a.id <> new.id and (tg_op = 'INSERT' or a.id <> old.id) and o.at is not null
    order by o.at, a.id limit 1;
  if clash.id is not null then
    perform rota.refuse('overlap', format('it overlaps with slot %s of the same person, first at %s', clash.id, to_char(clash.at, 'YYYY-MM-DD"T"HH24:MI:SS"Z"')));
  end if;
  return new;
end
$$;
comment on function rota.check_slot() is 'Trigger: only what can be a slot, and no two active ones of a person that overlap.';
create trigger rota_check_slot before insert or update on public.availability for each row execute function rota.check_slot();
comment on trigger rota_check_slot on public.availability is 'Holds the rules of slots for whoever writes.';

create function rota.check_window(window_from timestamptz, window_to timestamptz) returns void language plpgsql stable set search_path = '' as $$
begin
  if window_from is null or window_to is null or not isfinite(window_from) or not isfinite(window_to) or window_from >= window_to or window_to - window_from > interval '366 days' then
    raise exception 'ask for a time that ends after it begins, and no later than 366 days after that' using errcode = '22023';
  end if;
end
$$;
comment on function rota.check_window(timestamptz, timestamptz) is 'Refuses a window that is reversed, empty, or too long to be expanded.';

create function public.free_slots(p_user text, p_from timestamptz, p_to timestamptz)
returns table (slot_id text, starts_at timestamptz, ends_at timestamptz) language plpgsql stable set search_path = '' as $$
begin
  perform rota.check_window(p_from, p_to);
  return query select a.id, greatest(s.starts, p_from), least(s.ends, p_to) from public.availability a cross join lateral rota.slot_spans(a, p_from, p_to) s
    where a.user_id = p_user and a.is_active order by greatest(s.starts, p_from), a.id collate "C";
end
$$;
comment on function public.free_slots is 'When a person is available within a time of at most 366 days: each occurrence of each active slot, as far as it lies in it. Under the caller''s rights.';

-- Spans that touch count as one, so who has 9 to 10 and 10 to 11 is free from 9 to 11.
create function public.who_is_free(p_from timestamptz, p_to timestamptz) returns setof text
language plpgsql stable set search_path = '' as $$
begin
  perform rota.check_window(p_from, p_to);
  return query
    with candidates as (
      select a.* from public.availability a where a.is_active and a.recurrence is not null
      union all
      select a.* from public.availability a where a.is_active and a.recurrence is null
        and a.starts_at between to_char(p_from at time zone 'UTC' - interval '369 days', 'YYYY-MM-DD') and to_char(p_to at time zone 'UTC' + interval '3 days', 'YYYY-MM-DD')
    ), spans as (
      select c.user_id, range_agg(tstzrange(s.starts, s.ends)) as free from candidates c cross join lateral rota.slot_spans(c, p_from, p_to) s group by c.user_id
    )
    select s.user_id from spans s where s.free @> tstzrange(p_from, p_to) order by s.user_id collate "C";
end
$$;
comment on function public.who_is_free is 'Who is available for all of a time, as far as the caller may see slots.';

alter table public.availability enable row level security;
create policy read_all on public.availability for select to authenticated using (true);
create policy add_own on public.availability for insert to authenticated with check (user_id = (select rota.actor()) or (select rota.is_supervisor()));
create policy change_own on public.availability for update to authenticated
  using (user_id = (select rota.actor()) or (select rota.is_supervisor())) with check (user_id = (select rota.actor()) or (select rota.is_supervisor()));
create policy delete_own on public.availability for delete to authenticated using (user_id = (select rota.actor()) or (select rota.is_supervisor()));
comment on policy read_all on public.availability is 'Everybody signed in sees who is available.';
comment on policy add_own on public.availability is 'Slots are one''s own; a supervisor makes anybody''s.';
comment on policy change_own on public.availability is 'Slots are one''s own; a supervisor changes anybody''s.';
comment on policy delete_own on public.availability is 'Slots are one''s own; a supervisor deletes anybody''s.';
revoke all on public.availability from public, anon, authenticated;
grant select, insert, update, delete on public.availability to authenticated;
select rota.sync_table('public.availability', '{id}', '{user_id,starts_at,ends_at,time_zone,recurrence,is_active,notes}');

revoke all on function rota.zone_is_known(text), rota.wall(text), rota.local_day(text), rota.moment(timestamp, text), rota.not_recurring(text),
  rota.weekdays(jsonb), rota.days_of(date, jsonb, date, date), rota.check_recurrence(jsonb, date, interval),
  rota.slot_spans(public.availability, timestamptz, timestamptz), rota.first_overlap(public.availability, public.availability), rota.check_slot(),
  rota.check_window(timestamptz, timestamptz) from public;
grant execute on function rota.wall(text), rota.local_day(text), rota.moment(timestamp, text), rota.weekdays(jsonb), rota.days_of(date, jsonb, date, date),
  rota.slot_spans(public.availability, timestamptz, timestamptz), rota.check_window(timestamptz, timestamptz) to authenticated;
revoke all on function public.free_slots, public.who_is_free from public, anon;
grant execute on function public.free_slots, public.who_is_free to authenticated;
