-- The way back to a server that can't be pulled from.
drop function public.rota_pull(jsonb);
drop function rota.generated_columns(rota.tables), rota.settled(jsonb), rota.changed_rows(rota.tables, xid8, text[]), rota.whole_table(rota.tables),
  rota.check_pull_request(jsonb), rota.is_list_of_strings(jsonb), rota.bad_request(text), rota.cursor_xid(text),
  rota.after_restore(), rota.cursors_after(), rota.feed_of(text, text[]), rota.feed_since(text, xid8), rota.incarnation();
