-- The way back to a kit that only its owner and signed-in people use.
do $$
begin
  if exists (select from pg_roles where rolname = 'service_role') and to_regnamespace('rota') is not null then
    revoke all on all functions in schema rota from service_role;
    revoke all on all tables in schema rota from service_role;
    revoke all on schema rota from service_role;
  end if;
end
$$;
drop function if exists rota.prune_history(interval), public.rota_outbox_failed(bigint, text, interval), public.rota_outbox_done(bigint[]),
  public.rota_claim_outbox(int, interval), rota.grant_service_role(text);
