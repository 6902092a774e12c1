-- Rota's server kit, part 12: for those who run it. What Supabase's service_role may use, the outbox by way of PostgREST, and what
-- keeps the history of owners from growing for ever.

-- The role bypasses row-level security, but it still needs to reach the kit's schema: the views and functions for monitoring run
-- under the caller's rights. It gets what signed-in people have, the functions for senders, and those for psql.
create function rota.grant_service_role(role_name text default 'service_role') returns boolean language plpgsql volatile set search_path = pg_catalog, pg_temp as $$
declare
  thing text;
  chat text := (select format_type(a.atttypid, -1) from pg_attribute a where a.attrelid = 'public.chats'::regclass and a.attname = 'id');
  operator text := (select format_type(a.atttypid, -1) from pg_attribute a where a.attrelid = 'public.operators'::regclass and a.attname = 'id');
begin
  if not exists (select from pg_roles r where r.rolname = role_name) then return false; end if;
  execute format('grant usage on schema rota to %I', role_name);
  execute format('grant select on rota.tables to %I', role_name);
  for thing in
    select p.oid::regprocedure::text from pg_proc p where p.pronamespace = 'rota'::regnamespace and p.prokind = 'f'
      and (has_function_privilege('authenticated', p.oid, 'execute') or p.proname in ('claim_outbox', 'outbox_done', 'outbox_failed', 'prune_outbox'))
    union all
    -- The kit's own, by what they take: an application may have others of the same name.
    select to_regprocedure(format('public.' || f.signature, chat, operator))::text from unnest(array['assign_chat_to_operator(%2$s)', 'release_and_reassign_chat(%1$s, text)',
      'record_operator_reply(%1$s)', 'record_user_message(%1$s)', 'transfer_chat(%1$s, %2$s)', 'complete_chat(%1$s)', 'release_idle_chats(interval, int)',
      'get_assignment_queue_status()', 'detect_stuck_chats(numeric)', 'user_assignment_stats(text)', 'unassigned_records(text, int)',
      'free_slots(text, timestamptz, timestamptz)', 'who_is_free(timestamptz, timestamptz)', 'rota_claim_outbox(int, interval)', 'rota_outbox_done(bigint[])',
      'rota_outbox_failed(bigint, text, interval)']) f(signature)
  loop
    continue when thing is null;
    execute format('grant execute on function %s to %I', thing, role_name);
  end loop;
  -- The application's own tables stay as they are.
  for thing in
    select a.name from rota.adopted a where a.created
    union all select unnest('{assignment_history,push_subscriptions,availability,chat_state_summary,chats_waiting,operator_assignment_history,
      chats_often_reassigned,operator_performance,idle_incidents}'::text[])
  loop
    continue when exists (select from rota.adopted a where a.name = thing and not a.created);
    execute format('grant select on public.%I to %I', thing, role_name);
  end loop;
  execute format('grant delete on public.push_subscriptions to %I', role_name); -- of browsers that can't be reached any more
  return true;
end
$$;
comment on function rota.grant_service_role(text) is 'Lets Supabase''s service_role use monitoring, the outbox and the functions for psql. Call it where the role came after the kit; false if there is none.';

-- PostgREST reaches only what is in public.
create function public.rota_claim_outbox(n int default 100, lease interval default '5 minutes') returns setof rota.outbox
language sql volatile set search_path = pg_catalog, pg_temp as $$ select * from rota.claim_outbox(n, lease) $$;
comment on function public.rota_claim_outbox(int, interval) is 'rota.claim_outbox for senders with the service key.';
create function public.rota_outbox_done(ids bigint[]) returns bigint language sql volatile set search_path = pg_catalog, pg_temp as $$ select rota.outbox_done(ids) $$;
comment on function public.rota_outbox_done(bigint[]) is 'rota.outbox_done for senders with the service key.';
create function public.rota_outbox_failed(entry bigint, error text, again_in interval default '1 minute') returns void
language sql volatile set search_path = pg_catalog, pg_temp as $$ select rota.outbox_failed(entry, error, again_in) $$;
comment on function public.rota_outbox_failed(bigint, text, interval) is 'rota.outbox_failed for senders with the service key.';

-- Drops what is older, but for the last line of each record that has an owner: who has it, and since when, stays known. Each line
-- that goes leaves a tombstone in the feed. Those that were there at the pruning before go as well, a week later at the earliest;
-- a client who was away for so long is answered with everything.
create function rota.prune_history(keep interval default '1 year') returns bigint language plpgsql volatile set search_path = pg_catalog, pg_temp as $$
declare
  dropped bigint;
  prior rota.server;
begin
  if keep is null or keep < interval '1 day' then
    raise exception 'the history must be kept for a day at least, as its figures are of the last 24 hours' using errcode = '22023';
  end if;
  select * into prior from rota.server for update;
  if prior.marked is null or prior.marked_at < now() - interval '7 days' then
    with forgotten as (
      delete from rota.feed f where f.table_name = 'assignment_history' and f.deleted and f.xid <= prior.marked returning f.xid
    )
    update rota.server s set cursors_after = greatest(s.cursors_after, (select f.xid from forgotten f order by f.xid desc limit 1)),
      marked = pg_current_xact_id(), marked_at = now();
  end if;
  delete from public.assignment_history h where h.changed_at < now() - keep and (h.to_owner is null or exists (
    select from public.assignment_history later where later.table_name = h.table_name and later.record_key = h.record_key and later.id > h.id));
  get diagnostics dropped = row_count;
  return dropped;
end
$$;
comment on function rota.prune_history(interval) is 'Drops what is old of the history of owners, but for who has each record. For any scheduler.';

revoke all on function rota.grant_service_role(text), rota.prune_history(interval) from public;
revoke all on function public.rota_claim_outbox(int, interval), public.rota_outbox_done(bigint[]), public.rota_outbox_failed(bigint, text, interval)
  from public, anon, authenticated;
select rota.grant_service_role();
