-- The part of Supabase's `auth` schema that the development gateway needs: people, sessions, refresh tokens, the two
-- roles and the functions that policies call. Where an object is already there (a real Supabase database, or a second
-- run) it is left as it is: nothing here replaces, alters or drops. What this file makes carries the comment
-- 'rota development auth', so that the way back removes that and nothing else.

do $$
declare
  role_name text;
begin
  foreach role_name in array array['anon', 'authenticated'] loop
    if to_regrole(role_name) is null then
      begin
        execute format('create role %I nologin noinherit', role_name);
      exception
        -- Roles belong to the cluster: a migration of another database may make the same one at this moment.
        when duplicate_object or unique_violation then null;
      end;
    end if;
  end loop;
  grant usage on schema public to anon, authenticated;
end
$$;

do $$
begin
  if to_regnamespace('auth') is null then
    create schema auth;
    comment on schema auth is 'rota development auth';
    grant usage on schema auth to anon, authenticated;
  end if;

  if to_regclass('auth.users') is null then
    create table auth.users (
      id uuid primary key default gen_random_uuid(),
      email text not null,
      encrypted_password text not null,
      email_confirmed_at timestamptz not null default now(),
      last_sign_in_at timestamptz,
      raw_app_meta_data jsonb not null default '{"provider": "email", "providers": ["email"]}',
      raw_user_meta_data jsonb not null default '{}',
      created_at timestamptz not null default now(),
      updated_at timestamptz not null default now()
    );
    create unique index users_email_key on auth.users (lower(email));
    comment on table auth.users is 'rota development auth';
  end if;

  if to_regclass('auth.sessions') is null then
    create table auth.sessions (
      id uuid primary key default gen_random_uuid(),
      user_id uuid not null references auth.users (id) on delete cascade,
      created_at timestamptz not null default now(),
      refreshed_at timestamptz
    );
    create index sessions_user_id_idx on auth.sessions (user_id);
    comment on table auth.sessions is 'rota development auth';
  end if;

  if to_regclass('auth.refresh_tokens') is null then
    create table auth.refresh_tokens (
      -- SHA-256 of the token: a stolen table signs nobody in.
      token_hash bytea primary key,
      session_id uuid not null references auth.sessions (id) on delete cascade,
      -- Set when the token is spent. The successor is derived from the token and this salt, so that a second tab that
      -- presents the same token a moment later is given the same successor although only hashes are kept.
      salt bytea,
      spent_at timestamptz,
      created_at timestamptz not null default now()
    );
    create index refresh_tokens_session_id_idx on auth.refresh_tokens (session_id);
    comment on table auth.refresh_tokens is 'rota development auth';
  end if;
end
$$;

do $$
begin
  if to_regprocedure('auth.jwt()') is null then
    create function auth.jwt() returns jsonb language sql stable
      as 'select nullif(current_setting(''request.jwt.claims'', true), '''')::jsonb';
    comment on function auth.jwt() is 'rota development auth';
    grant execute on function auth.jwt() to anon, authenticated;
  end if;
  if to_regprocedure('auth.uid()') is null then
    create function auth.uid() returns uuid language sql stable
      as 'select nullif(nullif(current_setting(''request.jwt.claims'', true), '''')::jsonb ->> ''sub'', '''')::uuid';
    comment on function auth.uid() is 'rota development auth';
    grant execute on function auth.uid() to anon, authenticated;
  end if;
  if to_regprocedure('auth.role()') is null then
    create function auth.role() returns text language sql stable
      as 'select nullif(nullif(current_setting(''request.jwt.claims'', true), '''')::jsonb ->> ''role'', '''')';
    comment on function auth.role() is 'rota development auth';
    grant execute on function auth.role() to anon, authenticated;
  end if;
end
$$;
