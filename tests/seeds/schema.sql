-- Tables of the kinds that the seed documents speak of. Everybody signed in may read and change them, but for private records.

create table public.profiles (id text primary key, name text not null, role text not null default 'member');
create table public.companies (id text primary key, name text not null, owner_id text);
create table public.patients (id text primary key, name text not null, status text, only_for text);
create table public.form_submissions (id text primary key, form text not null, status text not null default 'draft', answer text);
create table public.interactions (
  id text primary key, status text, campaign_id text, turn int, action text,
  tags jsonb not null default '[]', meta jsonb not null default '{}', seen_at timestamptz, note text
);
create table public.order_lines (id text primary key, price int not null, n int not null, total int generated always as (price * n) stored);

do $$
declare
  t regclass;
begin
  foreach t in array '{public.profiles,public.companies,public.patients,public.form_submissions,public.interactions,public.order_lines}'::regclass[] loop
    execute format('alter table %s enable row level security', t);
    if t <> 'public.patients'::regclass then execute format('create policy everybody on %s to authenticated using (true)', t); end if;
    execute format('grant select, insert, update, delete on %s to authenticated', t);
  end loop;
end
$$;
create policy not_private on public.patients to authenticated using (only_for is null or only_for = (select p.role from public.profiles p where p.id = rota.actor()));

select rota.sync_table('public.profiles', '{id}', '{name,role}');
select rota.sync_table('public.companies', '{id}', '{name,owner_id}', 'owner_id');
select rota.sync_table('public.patients', '{id}', '{name,status}');
select rota.sync_table('public.form_submissions', '{id}', '{form,status,answer}');
select rota.sync_table('public.interactions', '{id}', '{status,campaign_id,turn,action,tags,meta,seen_at,note}');
select rota.sync_table('public.order_lines', '{id}', '{price,n}');
select rota.sync_table('public.operator_activity', '{operator_id,chat_id}', '{}');
