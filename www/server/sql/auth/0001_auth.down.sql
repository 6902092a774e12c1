-- Takes back what 0001_auth.sql made, told by its comment, and touches nothing else. Without `cascade`: while a policy
-- still calls auth.uid(), going back must fail rather than take the policy along.
-- The roles stay: they belong to the whole cluster, and other databases may have granted rights to them.

do $$
declare
  mark constant text := 'rota development auth';
  item text;
begin
  foreach item in array array['auth.role()', 'auth.uid()', 'auth.jwt()'] loop
    if obj_description(to_regprocedure(item), 'pg_proc') = mark then
      execute 'drop function ' || item;
    end if;
  end loop;
  foreach item in array array['auth.refresh_tokens', 'auth.sessions', 'auth.users'] loop
    if obj_description(to_regclass(item), 'pg_class') = mark then
      execute 'drop table ' || item;
    end if;
  end loop;
  if obj_description(to_regnamespace('auth'), 'pg_namespace') = mark then
    drop schema auth;
  end if;
end
$$;
