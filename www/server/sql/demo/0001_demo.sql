-- The demo's tables: people, and the companies and leads they divide among themselves.
--
-- Everybody signed in may read. A member changes and assigns records of the own department; a manager adds and deletes
-- there, too; an admin may do it everywhere. Row-level security decides; the guards only say why in a person's words.
-- Needs pkg/sql. Runs on plain PostgreSQL and on Supabase.

create table public.people (
  id uuid primary key,
  name text not null check (name <> ''),
  email text not null unique,
  department text not null,
  role text not null check (role in ('admin', 'manager', 'member'))
);

create table public.companies (
  id text primary key check (id ~ '^c-[0-9]{4,}$'),
  name text not null check (name <> ''),
  city text not null default '',
  industry text not null default '',
  employees int not null default 0 check (employees >= 0),
  department text not null,
  owner_id uuid references public.people (id),
  updated_at timestamptz not null default now()
);

create table public.leads (
  id text primary key check (id ~ '^l-[0-9]{4,}$'),
  name text not null check (name <> ''),
  company text not null default '',
  stage text not null default 'new' check (stage in ('new', 'contacted', 'qualified', 'proposal', 'won', 'lost')),
  value numeric(12, 2) not null default 0 check (value >= 0),
  department text not null,
  owner_id uuid references public.people (id),
  updated_at timestamptz not null default now()
);
create index companies_owner on public.companies (owner_id);
create index leads_owner on public.leads (owner_id);

-- Not in public, whose functions are offered to clients.
create schema demo;
revoke all on schema demo from public;
grant usage on schema demo to authenticated;

create function demo.touch() returns trigger language plpgsql set search_path = pg_catalog, pg_temp as $$
begin
  if new.updated_at is not distinct from old.updated_at then new.updated_at := now(); end if; -- the seed sets its own
  return new;
end
$$;
create trigger touch before update on public.companies for each row execute function demo.touch();
create trigger touch before update on public.leads for each row execute function demo.touch();

-- A subject that is no UUID (another kind of token) is simply nobody here.
create function demo.me() returns public.people language sql stable set search_path = pg_catalog, pg_temp as $$
  select p from public.people p where p.id::text = rota.actor()
$$;

-- May the caller change records of this department? And add and delete them?
create function demo.may_change(of_department text) returns boolean language sql stable set search_path = pg_catalog, pg_temp as $$
  select coalesce((select (m).role = 'admin' or (m).department = of_department from demo.me() m), false)
$$;
create function demo.may_manage(of_department text) returns boolean language sql stable set search_path = pg_catalog, pg_temp as $$
  select coalesce((select (m).role = 'admin' or ((m).role = 'manager' and (m).department = of_department) from demo.me() m), false)
$$;
-- May the record be given to this person? Nobody is fine; else somebody of the record's department, except for admins.
create function demo.may_own(person uuid, of_department text) returns boolean language sql stable set search_path = pg_catalog, pg_temp as $$
  select person is null or (demo.me()).role = 'admin'
    or exists (select from public.people p where p.id = person and p.department = of_department)
$$;

alter table public.people enable row level security;
alter table public.companies enable row level security;
alter table public.leads enable row level security;
create policy read_people on public.people for select to authenticated using (true);

do $$
declare
  t regclass;
begin
  foreach t in array array['public.companies', 'public.leads']::regclass[] loop
    execute format('create policy read_all on %s for select to authenticated using (true)', t);
    execute format('create policy change_own on %s for update to authenticated using (demo.may_change(department))
      with check (demo.may_change(department) and demo.may_own(owner_id, department))', t);
    execute format('create policy add_own on %s for insert to authenticated
      with check (demo.may_manage(department) and demo.may_own(owner_id, department))', t);
    execute format('create policy delete_own on %s for delete to authenticated using (demo.may_manage(department))', t);
  end loop;
end
$$;

-- Supabase grants everything on new tables in public by default.
revoke all on public.people, public.companies, public.leads from public, anon, authenticated;
grant select on public.people, public.companies, public.leads to authenticated;
grant update (name, city, industry, employees, department, owner_id) on public.companies to authenticated;
grant insert (id, name, city, industry, employees, department, owner_id) on public.companies to authenticated;
grant update (name, company, stage, value, department, owner_id) on public.leads to authenticated;
grant insert (id, name, company, stage, value, department, owner_id) on public.leads to authenticated;
grant delete on public.companies, public.leads to authenticated;

-- Why a person may not do this, or null.
create function demo.why_not(op jsonb, "row" jsonb, actor text) returns text language plpgsql stable set search_path = pg_catalog, pg_temp as $$
declare
  me public.people := demo.me();
  owner public.people;
  it jsonb := coalesce("row", op -> 'set');
  wanted text := case when op ->> 'name' = 'assign' then op #>> '{args,to}' else op #>> '{set,owner_id}' end;
  target_department text := coalesce(op #>> '{set,department}', it ->> 'department');
begin
  if me.id is null then return 'You are not among the people of this demo.'; end if;
  if op ->> 'name' = 'insert' and (coalesce(it ->> 'name', '') = '' or coalesce(it ->> 'department', '') = '') then
    return 'A new record needs a ' || concat_ws(' and a ', case when coalesce(it ->> 'name', '') = '' then 'name' end,
      case when coalesce(it ->> 'department', '') = '' then 'department' end) || '.';
  end if;
  if not demo.may_change(it ->> 'department') then
    return format('%s works in %s; %s belongs to %s. Ask a manager of %4$s or an admin.',
      me.name, me.department, it ->> 'name', it ->> 'department');
  elsif op ->> 'name' in ('insert', 'delete') and not demo.may_manage(it ->> 'department') then
    return format('Only a manager of %s or an admin may %s %s.', it ->> 'department',
      case when op ->> 'name' = 'insert' then 'add' else 'delete' end, it ->> 'name');
  elsif not demo.may_change(target_department) then
    return format('%s works in %s and can''t move %s to %s. Ask an admin.', me.name, me.department, it ->> 'name', target_department);
  end if;
  if wanted is null then return null; end if;
  select * into owner from public.people p where p.id::text = wanted;
  if owner.id is null then return 'There is no such person to assign this to.'; end if;
  if not demo.may_own(owner.id, target_department) then
    return format('%s works in %s; %s belongs to %s.', owner.name, owner.department, it ->> 'name', target_department);
  end if;
  return null;
end
$$;

create function demo.guard(op jsonb, "row" jsonb, actor text) returns jsonb language sql stable set search_path = pg_catalog, pg_temp as $$
  select case when why is not null then jsonb_build_object('code',
      case when why like 'There is no such person%' or why like 'A new record needs%' then 'invalid' else 'forbidden' end, 'message', why) end
  from demo.why_not(op, "row", actor) why
$$;

revoke all on all functions in schema demo from public;
grant execute on function demo.me(), demo.may_change(text), demo.may_manage(text), demo.may_own(uuid, text),
  demo.why_not(jsonb, jsonb, text), demo.guard(jsonb, jsonb, text) to authenticated;

select rota.sync_table('public.people', '{id}', '{}');
select rota.sync_table('public.companies', '{id}', '{name,city,industry,employees,department,owner_id}', 'owner_id',
  'demo.guard(jsonb,jsonb,text)');
select rota.sync_table('public.leads', '{id}', '{name,company,stage,value,department,owner_id}', 'owner_id',
  'demo.guard(jsonb,jsonb,text)');
