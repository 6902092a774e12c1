-- The way back: every synced table loses what Rota added and keeps its own rows. The roles and the publication stay,
-- since others may use them.
do $$
declare
  synced regclass;
begin
  for synced in select r.relation from rota.tables r join pg_class c on c.oid = r.relation loop
    perform rota.unsync_table(synced);
  end loop;
end
$$;
drop schema rota cascade;
