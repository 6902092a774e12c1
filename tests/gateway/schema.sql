-- Tables for the gateway's tests: with and without row-level security, published and not, every kind of value.

create table public.notes (
  id bigint primary key,
  owner uuid not null,
  title text,
  n int,
  big bigint,
  price numeric,
  done boolean,
  tags text[],
  meta jsonb,
  at timestamptz
);
alter table public.notes enable row level security;
create policy own on public.notes to authenticated using (owner = auth.uid()) with check (owner = auth.uid());
grant select, insert, update, delete on public.notes to authenticated;

create table public.board (team text, day date, label text, hidden text, primary key (day, team));
grant select (team, day, label) on public.board to anon, authenticated;

create table public.history (id int primary key, label text not null);
alter table public.history replica identity full;
grant select on public.history to authenticated;

create table public.unpublished (id int primary key);
grant select on public.unpublished to anon, authenticated;

create table public.closed (id int primary key);

create publication supabase_realtime for table public.notes, public.board, public.history, public.closed;

create function public.add_note(id bigint, title text, n int default 7) returns public.notes language sql
  as 'insert into public.notes (id, owner, title, n) values (id, auth.uid(), title, n) returning *';
create function public.whoami() returns jsonb language sql stable
  as 'select jsonb_build_object(''uid'', auth.uid(), ''role'', auth.role(), ''user'', current_user)';
create function public.same(value jsonb) returns jsonb language sql immutable as 'select value';
create function public.titles() returns setof text language sql stable as 'select title from public.notes order by id';
create function public.nothing() returns void language sql as 'select';
create function public.fails(state text) returns void language plpgsql
  as $$ begin raise exception using errcode = state, message = 'told to fail', hint = 'do not'; end $$;
create function public.sleeps(seconds float8) returns void language sql as 'select pg_sleep(seconds)';
create function public.private_thing() returns int language sql as 'select 1';
revoke execute on function public.private_thing() from public;
