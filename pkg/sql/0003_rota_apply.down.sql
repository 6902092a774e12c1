-- The way back to operations that nobody can send.
drop function public.apply_operation(jsonb);
drop function rota.replayed(jsonb, text), rota.decide(jsonb, text), rota.hindrance(jsonb, text), rota.with_record(jsonb, rota.tables, jsonb),
  rota.run(jsonb, rota.tables, text, boolean), rota.is_given_key(jsonb, rota.tables), rota.reason(text, jsonb, text, text, text), rota.refused(text, text), rota.told_at(),
  rota.answer(jsonb, jsonb), rota.is_expired(jsonb), rota.shape_fault(jsonb), rota.is_operation_id(jsonb),
  rota.known_members(jsonb);
