-- Rota's server kit, part 9: when somebody is available. Slots in local time of a zone, once or weekly; what can't be a
-- slot, and what overlaps another, is refused for whoever writes; and who is free when.
--
-- The server's expansion is the one that counts. Gaps and overlaps of clocks are as Temporal's `compatible`: a time that
-- does not exist is moved on by the gap, of one that exists twice the first is meant. See PROTOCOL.md §10.

-- The zones of the IANA database, and their links. PostgreSQL reads its files anew for each look into pg_timezone_names.
create table rota.zones (name text primary key);
comment on table rota.zones is 'Names of time zones that were found once.';
insert into rota.zones select z.name from pg_timezone_names z where z.name !~ '^(posix/|right/|posixrules$|Factory$|localtime$)';

create function rota.zone_is_known(zone text) returns boolean language sql stable security definer set search_path = pg_catalog, pg_temp as $$
  select exists (select from rota.zones z where z.name = zone)
    or exists (select from pg_timezone_names z where z.name = zone and z.name !~ '^(posix/|right/|posixrules$|Factory$|localtime$)')
$$;
comment on function rota.zone_is_known(text) is 'Whether there is a time zone of exactly this name.';

-- Null where it is none: 2026-11-01T09:00, with or without seconds, 1970 to 2199.
create function rota.wall(local_time text) returns timestamp language plpgsql immutable set search_path = pg_catalog, pg_temp as $$
begin
  if local_time !~ '^(19[7-9][0-9]|20[0-9][0-9]|21[0-9][0-9])-[0-9]{2}-[0-9]{2}T([01][0-9]|2[0-3]):[0-5][0-9](:[0-5][0-9])?$' then return null; end if;
  return local_time::timestamp;
exception when data_exception then return null;
end
$$;
comment on function rota.wall(text) is 'Reads a local time as a slot has it; null where it is none.';

create function rota.local_day(day text) returns date language sql immutable set search_path = pg_catalog, pg_temp as $$
  select case when day ~ '^[0-9]{4}-[0-9]{2}-[0-9]{2}$' then rota.wall(day || 'T00:00')::date end
$$;
comment on function rota.local_day(text) is 'Reads a local date as a recurrence has it; null where it is none.';

create function rota.offset_at(at timestamptz, zone text) returns interval language sql stable
  return (at at time zone zone) - (at at time zone 'UTC');
comment on function rota.offset_at(timestamptz, text) is 'How far the clocks of a zone are ahead of UTC at a moment.';

-- The moment that a wall shows. Of a time that exists twice PostgreSQL means the second: the one under the offset of the day
-- before is looked for first.
create function rota.moment(wall timestamp, zone text) returns timestamptz language plpgsql stable set search_path = pg_catalog, pg_temp as $$
declare
  late timestamptz := wall at time zone zone;
  early timestamptz := (wall - rota.offset_at(late - interval '24 hours', zone)) at time zone 'UTC';
begin
  return case when early < late and early at time zone zone = wall then early else late end;
end
$$;
comment on function rota.moment(timestamp, text) is 'The moment that a wall clock in a zone shows, as Temporal''s compatible.';

-- The same of a slot whose application keeps its times as timestamps, in no zone.
create function rota.wall(local_time timestamp) returns timestamp language plpgsql immutable set search_path = pg_catalog, pg_temp as $$
begin
  return rota.wall(to_char(local_time, 'YYYY-MM-DD"T"HH24:MI:SS') || case when local_time = date_trunc('second', local_time) then '' else '.' end);
end
$$;
comment on function rota.wall(timestamp) is 'A local time that is kept as a timestamp; null where it can''t be that of a slot.';

-- Adopts an application's table, or makes one.
do $adopt$
declare
  t regclass := to_regclass('public.availability');
  wrong text;
begin
  if t is not null then
    perform rota.check_table(t, '{id}');
    execute format('lock table %s in access exclusive mode', t);
    select w.name || coalesce(' is of the type ' || format_type(a.atttypid, a.atttypmod), ' is missing') into wrong
      from (values ('id', null), ('user_id', null), ('starts_at', '{text,varchar,timestamp}'::regtype[]), ('ends_at', '{text,varchar,timestamp}'),
        ('time_zone', '{text,varchar}'), ('recurrence', '{jsonb}'), ('is_active', '{bool}')) w(name, types)
      left join pg_attribute a on a.attrelid = t and a.attname = w.name and a.attnum > 0 and not a.attisdropped
      where a.atttypid <> all (w.types) or a.atttypid is null and w.name in ('id', 'user_id', 'starts_at', 'ends_at') limit 1;
    if wrong is not null then
      raise exception 'the table % can''t be adopted: its column %', t, wrong using errcode = '42804',
        hint = 'A slot has id, user_id, starts_at and ends_at (text or timestamp without time zone), time_zone (text), recurrence (jsonb), is_active (boolean). Rename or change the column, or the table, before the migration.';
    elsif not exists (select from rota.key_indexes(t, '{id}')) then
      raise exception '% needs a primary key, or a unique index, over id', t using errcode = '42830';
    end if;
  end if;
  perform rota.adopt_table('availability', jsonb_build_array(
    jsonb_build_array('id', 'text primary key default gen_random_uuid()::text'), jsonb_build_array('user_id', 'text not null'),
    jsonb_build_array('starts_at', 'text not null'), jsonb_build_array('ends_at', 'text not null'),
    -- An application that knew nothing of zones goes on knowing nothing.
    jsonb_build_array('time_zone', 'text not null' || case when t is null then '' else ' default ''UTC'' ' end),
    jsonb_build_array('recurrence', 'jsonb'), jsonb_build_array('is_active', 'boolean not null default true'), jsonb_build_array('notes', 'text')), '');
  perform rota.adopt_index('availability', 'availability_person', 'index availability_person on public.availability ((user_id::text)) where is_active');
  perform rota.adopt_index('availability', 'availability_once', 'index availability_once on public.availability ((rota.wall(starts_at))) where is_active and recurrence is null');
  perform rota.adopt_index('availability', 'availability_weekly', 'index availability_weekly on public.availability ((user_id::text)) where is_active and recurrence is not null');
  perform rota.comment_adopted('availability', $c$ [
    ["table", "availability", "Slots in which somebody is available: local times of a zone, once, or weekly on some days."],
    ["column", "availability.starts_at", "Local wall time, such as 2026-11-01T09:00."],
    ["column", "availability.recurrence", "Null, or {freq: \"weekly\", byDay, until or count, except}."],
    ["index", "availability_person", "The slots of a person that count."],
    ["index", "availability_once", "Slots of one day, by that day."],
    ["index", "availability_weekly", "Slots that recur."]] $c$);
end
$adopt$;

create table rota.adoption_faults (
  table_name text not null,
  key text not null,
  code text not null,
  message text not null,
  primary key (table_name, key)
);
comment on table rota.adoption_faults is 'Rows that were there before the kit and break its rules, and which: they stay as they are, but for counting. Those that were active no longer are.';

comment on column rota.adoption_faults.table_name is 'The table.';
comment on column rota.adoption_faults.key is 'The row''s key.';
comment on column rota.adoption_faults.code is 'The code with which an operation that wrote it would be refused.';
comment on column rota.adoption_faults.message is 'Why, in words.';
comment on constraint adoption_faults_pkey on rota.adoption_faults is 'A row is listed once.';
comment on index rota.adoption_faults_pkey is 'A row is listed once.';

create table rota.availability_turns (user_id text primary key, turn bigint not null);
comment on table rota.availability_turns is 'One row a person, locked by whoever changes their active slots: two that overlap can''t come in at once.';

create function rota.not_recurring(why text) returns void language sql volatile set search_path = pg_catalog, pg_temp as $$
  select rota.refuse('invalid-recurrence', 'the recurrence can''t be: ' || why)
$$;
comment on function rota.not_recurring(text) is 'Refuses a recurrence.';

-- The days of the week on which it is, Monday being 1.
create function rota.weekdays(recurrence jsonb) returns int[] language sql immutable set search_path = pg_catalog, pg_temp as $$
  select array_agg(array_position('{MO,TU,WE,TH,FR,SA,SU}'::text[], d #>> '{}') order by 1) from jsonb_array_elements(recurrence -> 'byDay') d
$$;
comment on function rota.weekdays(jsonb) is 'The days of the week of a recurrence, Monday being 1; null among them for what is none.';

-- The local dates within these two on which a recurrence begins, exceptions left out.
create function rota.days_of(first_day date, recurrence jsonb, from_day date, to_day date) returns setof date
language sql stable set search_path = pg_catalog, pg_temp as $$
  select d.day from (
    select first_day + i as day, row_number() over (order by i) as n
    from (select rota.weekdays(recurrence) as days, (recurrence ->> 'count')::numeric::int as n_max, rota.local_day(recurrence ->> 'until') as until) r
    cross join lateral generate_series(
      case when r.n_max is null then greatest(0, from_day - first_day) else 0 end, -- a count is counted from the first one
      least(to_day - first_day, r.until - first_day, r.n_max * 7)) i
    where extract(isodow from first_day + i) = any (r.days)
  ) d
  where d.n <= coalesce((recurrence ->> 'count')::numeric, d.n) and d.day >= from_day
    and not coalesce(recurrence -> 'except' ? d.day::text, false) order by d.day
$$;
comment on function rota.days_of(date, jsonb, date, date) is 'The local dates on which a weekly recurrence begins, within a window.';

create function rota.check_recurrence(recurrence jsonb, first_day date, length interval) returns void
language plpgsql stable set search_path = pg_catalog, pg_temp as $$
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

-- Null: it has no end.
create function rota.last_day(first_day date, recurrence jsonb) returns date language plpgsql immutable set search_path = pg_catalog, pg_temp as $$
declare
  n int := (recurrence ->> 'count')::numeric::int;
  ahead int[]; -- how many days after the first one of a week's occurrences each is
begin
  if n is null then return rota.local_day(recurrence ->> 'until'); end if;
  ahead := array(select (d - extract(isodow from first_day)::int + 7) % 7 as days from unnest(rota.weekdays(recurrence)) d order by days);
  return first_day + 7 * ((n - 1) / cardinality(ahead)) + ahead[(n - 1) % cardinality(ahead) + 1];
end
$$;
comment on function rota.last_day(date, jsonb) is 'The local date on which the last occurrence of a recurrence begins, or null.';

-- An index holds it, so it must not fail for rows that were never checked: of these it is null.
create function rota.slot_days(first_wall timestamp, last_wall timestamp, recurrence jsonb) returns daterange
language plpgsql immutable set search_path = pg_catalog, pg_temp as $$
begin
  if recurrence is null then return daterange(first_wall::date, last_wall::date, '[]'); end if;
  return daterange(first_wall::date, rota.last_day(first_wall::date, recurrence) + (last_wall::date - first_wall::date), '[]');
exception when data_exception then return null;
end
$$;
comment on function rota.slot_days(timestamp, timestamp, jsonb) is 'The local dates on which a slot can be at all.';
create index availability_days on public.availability using gist (rota.slot_days(rota.wall(starts_at), rota.wall(ends_at), recurrence)) where is_active;
comment on index public.availability_days is 'Slots by when they can be at all.';

-- The local dates that a window can touch, wherever: a zone may be 26 hours off, and gaps move what is in them.
create function rota.window_days(window_from timestamptz, window_to timestamptz) returns daterange language sql immutable
  return daterange((window_from at time zone 'UTC')::date - 3, (window_to at time zone 'UTC')::date + 3, '[]');
comment on function rota.window_days(timestamptz, timestamptz) is 'The local dates that a window can touch in some zone.';

-- The spans of a slot that share a moment with the window, in order.
create function rota.slot_spans(slot public.availability, window_from timestamptz, window_to timestamptz)
returns table (starts timestamptz, ends timestamptz) language plpgsql stable set search_path = pg_catalog, pg_temp as $$
declare
  first_wall timestamp := rota.wall(slot.starts_at);
  length interval := rota.wall(slot.ends_at) - first_wall;
  days int[];
  day date;
  to_day date;
begin
  if slot.recurrence is null then
    starts := rota.moment(first_wall, slot.time_zone);
    ends := rota.moment(first_wall + length, slot.time_zone);
    if starts < ends and starts < window_to and window_from < ends then return next; end if;
    return;
  end if;
  days := rota.weekdays(slot.recurrence);
  day := greatest(first_wall::date, lower(rota.window_days(window_from - length, window_to)));
  to_day := least(upper(rota.window_days(window_from, window_to)) - 1, rota.last_day(first_wall::date, slot.recurrence));
  while day <= to_day loop
    if extract(isodow from day)::int = any (days) and not coalesce(slot.recurrence -> 'except' ? to_char(day, 'YYYY-MM-DD'), false) then
      starts := rota.moment(day + first_wall::time, slot.time_zone);
      ends := rota.moment(day + first_wall::time + length, slot.time_zone);
      if starts < ends and starts < window_to and window_from < ends then return next; end if;
    end if;
    day := day + 1;
  end loop;
end
$$;
comment on function rota.slot_spans(public.availability, timestamptz, timestamptz) is 'When a slot is, within a window.';

-- By the clock of the week alone: true where two recurring slots can't meet between these moments. What clocks do to the distance
-- of two walls is less than the margin, unless a zone changes sides of the date line, which the offsets before and after show.
create function rota.never_meet(one public.availability, other public.availability, from_at timestamptz, to_at timestamptz) returns boolean
language plpgsql stable set search_path = pg_catalog, pg_temp as $$
declare
  week constant int := 7 * 86400;
  one_offset interval := rota.offset_at(from_at, one.time_zone);
  other_offset interval := rota.offset_at(from_at, other.time_zone);
  margin int := case when one.time_zone = other.time_zone then 3 else 9 end * 3600;
  one_wall timestamp := rota.wall(one.starts_at);
  other_wall timestamp := rota.wall(other.starts_at);
  one_length int := extract(epoch from rota.wall(one.ends_at) - one_wall);
  other_length int := extract(epoch from rota.wall(other.ends_at) - other_wall);
  apart int := extract(epoch from other_wall::time - one_wall::time);
begin
  if one.recurrence is null or other.recurrence is null
    or greatest(one_offset - rota.offset_at(to_at, one.time_zone), rota.offset_at(to_at, one.time_zone) - one_offset,
      other_offset - rota.offset_at(to_at, other.time_zone), rota.offset_at(to_at, other.time_zone) - other_offset) > interval '3 hours' then return false; end if;
  if one.time_zone <> other.time_zone then apart := apart + extract(epoch from one_offset - other_offset)::int; end if;
  return not exists (select from unnest(rota.weekdays(one.recurrence)) d cross join unnest(rota.weekdays(other.recurrence)) o
    cross join lateral (select (((o - d) * 86400 + apart) % week + week) % week) after(seconds) -- from the one's beginning to the other's next
    where after.seconds < one_length + margin or week - after.seconds < other_length + margin);
end
$$;
comment on function rota.never_meet(public.availability, public.availability, timestamptz, timestamptz) is 'Whether the clock of the week alone shows that two recurring slots can''t meet.';

-- The first moment that two slots share, in the 400 days from the later of their beginnings on.
create function rota.first_overlap(one public.availability, other public.availability) returns timestamptz
language plpgsql stable set search_path = pg_catalog, pg_temp as $$
declare
  one_days daterange := rota.slot_days(rota.wall(one.starts_at), rota.wall(one.ends_at), one.recurrence);
  other_days daterange := rota.slot_days(rota.wall(other.starts_at), rota.wall(other.ends_at), other.recurrence);
  from_at timestamptz;
  to_at timestamptz;
begin
  from_at := greatest(rota.moment(rota.wall(one.starts_at), one.time_zone), rota.moment(rota.wall(other.starts_at), other.time_zone));
  to_at := least(from_at + interval '400 days', (least(upper(one_days), upper(other_days)) + 3)::timestamp at time zone 'UTC'); -- null: no end
  if from_at >= to_at or rota.never_meet(one, other, from_at, to_at) then return null; end if;
  return (select min(greatest(a.starts, b.starts)) from rota.slot_spans(one, from_at, to_at) a
    join rota.slot_spans(other, from_at, to_at) b on a.starts < b.ends and b.starts < a.ends);
end
$$;
comment on function rota.first_overlap(public.availability, public.availability) is 'The first moment that two slots share, or null.';

-- Refuses what can't be a slot. The order is that of PROTOCOL.md §10.
create function rota.require_slot(slot public.availability) returns void language plpgsql stable set search_path = pg_catalog, pg_temp as $$
declare
  first_wall timestamp := rota.wall(slot.starts_at);
  last_wall timestamp := rota.wall(slot.ends_at);
begin
  if coalesce(slot.user_id::text, '') = '' then perform rota.refuse('invalid', '"user_id" of a slot is not a person''s id');
  elsif first_wall is null then perform rota.refuse('invalid', '"starts_at" of a slot is not a local time like 2026-11-01T09:00');
  elsif last_wall is null then perform rota.refuse('invalid', '"ends_at" of a slot is not a local time like 2026-11-01T09:00');
  elsif coalesce(slot.time_zone, '') = '' then perform rota.refuse('invalid', '"time_zone" of a slot is not text');
  elsif coalesce(jsonb_typeof(slot.recurrence), 'object') not in ('object', 'null') then perform rota.refuse('invalid', '"recurrence" of a slot is not an object or null');
  elsif not rota.zone_is_known(slot.time_zone) then perform rota.refuse('unknown-zone', format('there is no time zone "%s"', left(slot.time_zone, 80)));
  elsif last_wall < first_wall then perform rota.refuse('reversed-slot', 'the slot ends before it begins');
  elsif last_wall = first_wall then perform rota.refuse('empty-slot', 'the slot ends when it begins');
  elsif last_wall - first_wall > interval '366 days' then perform rota.refuse('invalid', '"ends_at" of a slot is not at most 366 days after the beginning');
  end if;
  if jsonb_typeof(slot.recurrence) = 'object' then perform rota.check_recurrence(slot.recurrence, first_wall::date, last_wall - first_wall);
  elsif rota.moment(first_wall, slot.time_zone) >= rota.moment(last_wall, slot.time_zone) then
    perform rota.refuse('empty-slot', 'the clocks change, so that nothing is left of the slot');
  end if;
end
$$;
comment on function rota.require_slot(public.availability) is 'Refuses what can''t be a slot, whatever others there are.';

create function rota.overlap_text(other text, at timestamptz) returns text language sql stable
  return format('it overlaps with slot %s of the same person, first at %s', other, to_char(at at time zone 'UTC', 'YYYY-MM-DD"T"HH24:MI:SS"Z"'));
comment on function rota.overlap_text(text, timestamptz) is 'The words for two slots that overlap.';

-- When a slot is written, by whomever. What it is by itself is asked before, so that this is the reason that is told, and again once it is
-- stored: then it is as it will stay, whatever triggers the application has, and the statement's other slots are there. With `on
-- conflict` an insert may come to nothing, so one of a slot that is there is no fault yet.
create function rota.check_slot() returns trigger language plpgsql security definer set search_path = pg_catalog, pg_temp set timezone = 'UTC' set datestyle = 'ISO, MDY' as $$
#variable_conflict use_variable
declare
  clash record;
  near daterange; -- the local dates of slots that could meet it, in whatever zone: the margin is that of rota.window_days
begin
  if tg_when = 'BEFORE' then
    if jsonb_typeof(new.recurrence) = 'null' then new.recurrence := null; end if;
    new.is_active := coalesce(new.is_active, true);
  end if;
  if tg_op = 'UPDATE' and row(new.user_id, new.starts_at, new.ends_at, new.time_zone, new.recurrence, new.is_active)
    is not distinct from row(old.user_id, old.starts_at, old.ends_at, old.time_zone, old.recurrence, old.is_active) then return new; end if;
  begin
    perform rota.require_slot(new);
  exception when sqlstate 'RT001' then
    if tg_when = 'BEFORE' and tg_op = 'INSERT' and exists (select from public.availability a
      where a.id = new.id or a.user_id = new.user_id and a.starts_at = new.starts_at and a.ends_at = new.ends_at) then return new; end if;
    raise;
  end;
  if tg_when = 'BEFORE' or new.is_active is not true then return new; end if;
  near := rota.slot_days(rota.wall(new.starts_at), rota.wall(new.ends_at), new.recurrence);
  near := daterange(lower(near) - 3, upper(near) + 3);
  insert into rota.availability_turns as t values (new.user_id::text, 1) on conflict (user_id) do update set turn = t.turn + 1;
  select a.id::text, o.at into clash from public.availability a cross join lateral (select rota.first_overlap(new, a.*)) o(at)
    where a.user_id::text = new.user_id::text and a.is_active and a.id <> new.id and (tg_op = 'INSERT' or a.id <> old.id)
      and rota.slot_days(rota.wall(a.starts_at), rota.wall(a.ends_at), a.recurrence) && near and o.at is not null
    order by o.at, a.id::text limit 1;
  if clash.id is not null then perform rota.refuse('overlap', rota.overlap_text(clash.id, clash.at)); end if;
  return new;
end
$$;
comment on function rota.check_slot() is 'Trigger: only what can be a slot, and no two active ones of a person that overlap.';
create trigger zz_rota_read_slot before insert or update on public.availability for each row execute function rota.check_slot();
create trigger zz_rota_check_slot after insert or update on public.availability for each row execute function rota.check_slot();
comment on trigger zz_rota_read_slot on public.availability is 'Refuses what can not be a slot, and spells in one way what can be spelt in two.';
comment on trigger zz_rota_check_slot on public.availability is 'Holds the rules of slots for whoever writes.';

-- What an application's slots were before: those that can't be, and those that overlap one that begins earlier, count no
-- longer until somebody has put them right.
do $old_slots$
#variable_conflict use_variable
declare
  stood jsonb := rota.quiet_triggers('public.availability');
  slot public.availability;
  clash record;
  code text;
  n bigint;
begin
  perform rota.adopt_values('availability', 'is_active', 'true', 't.is_active is null');
  for slot in select a.* from public.availability a loop
    begin
      perform rota.require_slot(slot);
    exception when sqlstate 'RT001' then
      get stacked diagnostics code = pg_exception_detail;
      insert into rota.adoption_faults values ('availability', slot.id::text, code, sqlerrm);
    end;
  end loop;
  perform rota.adopt_values('availability', 'is_active', 'false',
    't.is_active and t.id::text in (select f.key from rota.adoption_faults f where f.table_name = ''availability'') ');
  for slot in select a.* from public.availability a where a.is_active order by a.user_id::text, rota.wall(a.starts_at), a.id::text collate "C" loop
    select a.id::text, o.at into clash from public.availability a cross join lateral (select rota.first_overlap(slot, a.*)) o(at)
      where a.user_id::text = slot.user_id::text and a.is_active and o.at is not null
        and (rota.wall(a.starts_at), a.id::text collate "C") < (rota.wall(slot.starts_at), slot.id::text collate "C")
      order by o.at, a.id::text limit 1;
    continue when clash.id is null;
    insert into rota.adoption_faults values ('availability', slot.id::text, 'overlap', rota.overlap_text(clash.id, clash.at));
    perform rota.adopt_values('availability', 'is_active', 'false', format('t.id::text = %L', slot.id));
  end loop;
  perform rota.wake_triggers('public.availability', stood);
  select count(*) into n from rota.adoption_faults;
  if n > 0 then
    raise warning '% slots of public.availability can''t be as they are: see rota.adoption_faults', n;
  end if;
end
$old_slots$;

create function rota.check_window(window_from timestamptz, window_to timestamptz) returns void language plpgsql stable set search_path = pg_catalog, pg_temp as $$
begin
  if window_from is null or window_to is null or not isfinite(window_from) or not isfinite(window_to) or window_from >= window_to or window_to - window_from > interval '366 days' then
    raise exception 'ask for a time that ends after it begins, and no later than 366 days after that' using errcode = '22023';
  end if;
end
$$;
comment on function rota.check_window(timestamptz, timestamptz) is 'Refuses a window that is reversed, empty, or too long to be expanded.';

create function public.free_slots(p_user text, p_from timestamptz, p_to timestamptz)
returns table (slot_id text, starts_at timestamptz, ends_at timestamptz) language plpgsql stable set search_path = public, pg_temp as $$
#variable_conflict use_variable
begin
  perform rota.check_window(p_from, p_to);
  return query select a.id::text, greatest(s.starts, p_from), least(s.ends, p_to) from public.availability a cross join lateral rota.slot_spans(a.*, p_from, p_to) s
    where a.user_id::text = p_user and a.is_active
      and rota.slot_days(rota.wall(a.starts_at), rota.wall(a.ends_at), a.recurrence) && rota.window_days(p_from, p_to) order by greatest(s.starts, p_from), a.id::text collate "C";
end
$$;
comment on function public.free_slots is 'When a person is available within a time of at most 366 days: each occurrence of each active slot, as far as it lies in it. Under the caller''s rights.';

-- Spans that touch count as one, so who has 9 to 10 and 10 to 11 is free from 9 to 11. Whoever is not free as it begins is not
-- free for all of it: so only slots that may be then are worked out, and further ones of those people alone. The clock of the week
-- tells of a recurring slot whether it may be then; the margin is that of rota.never_meet.
create function public.who_is_free(p_from timestamptz, p_to timestamptz) returns setof text
language plpgsql stable set search_path = public, pg_temp as $$
#variable_conflict use_variable
begin
  perform rota.check_window(p_from, p_to);
  return query
    with zones as materialized (
      select z.name, p_from at time zone z.name as wall, case when greatest(o.before - o.after, o.after - o.before) > interval '3 hours' then interval '28 hours' else interval '3 hours' end as margin
      from (select distinct a.time_zone as name from public.availability a where a.is_active) z
      cross join lateral (select rota.offset_at(p_from - interval '3 days', z.name), rota.offset_at(p_from + interval '3 days', z.name)) o(before, after)
    ), begun as (
      select distinct a.user_id::text as user_id from public.availability a join zones z on z.name = a.time_zone
      cross join lateral (select rota.wall(a.starts_at) as first_wall, rota.wall(a.ends_at) as last_wall offset 0) w
      cross join lateral (select (z.wall - (w.last_wall - w.first_wall) - z.margin) as first_begin, z.wall + z.margin as last_begin) b
      cross join lateral rota.slot_spans(a.*, p_from, p_from + interval '1 microsecond') s
      where a.is_active and rota.slot_days(rota.wall(a.starts_at), rota.wall(a.ends_at), a.recurrence) && rota.window_days(p_from, p_from)
        and (a.recurrence is null or exists (select from generate_series(0, b.last_begin::date - b.first_begin::date) i
          where b.first_begin::date + i + w.first_wall::time between b.first_begin and b.last_begin
            and a.recurrence -> 'byDay' ? ('{MO,TU,WE,TH,FR,SA,SU}'::text[])[extract(isodow from b.first_begin::date + i)::int]))
    ), spans as (
      select f.user_id, range_agg(tstzrange(s.starts, s.ends)) as free from begun f join public.availability a on a.user_id::text = f.user_id and a.is_active
      cross join lateral rota.slot_spans(a.*, p_from, p_to) s group by f.user_id
    )
    select s.user_id from spans s where s.free @> tstzrange(p_from, p_to) order by s.user_id collate "C";
end
$$;
comment on function public.who_is_free is 'Who is available for all of a time, as far as the caller may see slots.';

-- Where the table is the application's, who may read and change it is its own matter.
do $policies$
begin
  if (select a.created from rota.adopted a where a.name = 'availability') then
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
  end if;
  if not exists (select from rota.tables r where r.relation = 'public.availability'::regclass) then
    perform rota.sync_table('public.availability', '{id}', '{user_id,starts_at,ends_at,time_zone,recurrence,is_active,notes}');
    update rota.adopted a set synced = true where a.name = 'availability';
  end if;
end
$policies$;

revoke all on function rota.offset_at(timestamptz, text), rota.last_day(date, jsonb), rota.slot_days(timestamp, timestamp, jsonb), rota.window_days(timestamptz, timestamptz), rota.never_meet(public.availability, public.availability, timestamptz, timestamptz), rota.zone_is_known(text), rota.wall(text), rota.wall(timestamp), rota.require_slot(public.availability), rota.overlap_text(text, timestamptz), rota.local_day(text), rota.moment(timestamp, text), rota.not_recurring(text),
  rota.weekdays(jsonb), rota.days_of(date, jsonb, date, date), rota.check_recurrence(jsonb, date, interval),
  rota.slot_spans(public.availability, timestamptz, timestamptz), rota.first_overlap(public.availability, public.availability), rota.check_slot(),
  rota.check_window(timestamptz, timestamptz) from public;
grant execute on function rota.offset_at(timestamptz, text), rota.last_day(date, jsonb), rota.slot_days(timestamp, timestamp, jsonb), rota.window_days(timestamptz, timestamptz), rota.wall(text), rota.wall(timestamp), rota.local_day(text), rota.moment(timestamp, text), rota.weekdays(jsonb), rota.days_of(date, jsonb, date, date),
  rota.slot_spans(public.availability, timestamptz, timestamptz), rota.check_window(timestamptz, timestamptz) to authenticated;
revoke all on function public.free_slots, public.who_is_free from public, anon;
grant execute on function public.free_slots, public.who_is_free to authenticated;
