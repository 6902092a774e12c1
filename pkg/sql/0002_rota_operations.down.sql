-- The way back to a feed without operations. The ledger goes with it: ids it knew could be applied again.
drop function rota.op_delete(jsonb, rota.tables, text), rota.op_insert(jsonb, rota.tables, text),
  rota.op_assign(jsonb, rota.tables, text), rota.op_patch(jsonb, rota.tables, text),
  rota.change_fields(rota.tables, jsonb, text, jsonb, jsonb, text, text), rota.conflicted(text, text, jsonb),
  rota.check_beginning(rota.tables, jsonb), rota.guard_objection(rota.tables, jsonb, jsonb, text), rota.explain_absence(rota.tables, jsonb, text, jsonb), rota.check_key(rota.tables, text),
  rota.check_fields(rota.tables, jsonb, text[]), rota.ask_guard(rota.tables, jsonb, jsonb, text),
  rota.visible_record(rota.tables, text), rota.key_condition(rota.tables, text), rota.key_type(rota.tables), rota.row_columns(regclass),
  rota.differs(jsonb, jsonb), rota.as_sent(jsonb), rota.is_portable(numeric),
  rota.refuse(text, text), rota.prune_ledger(interval), rota.minted_at(uuid), rota.ledger_keep();
drop table rota.ledger;
