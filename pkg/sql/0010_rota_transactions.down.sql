-- The way back to one operation at a time: those with parts are refused with protocol-unsupported again.
drop function if exists public.apply_operations(jsonb);
drop function if exists rota.decide_transaction(jsonb, text), rota.records_of(jsonb), rota.run_parts(jsonb, text), rota.stamp_owed(), rota.transaction_fault(jsonb),
  rota.insert_given(jsonb, rota.tables, text), rota.declare_summed(regclass, text[]);
alter table if exists rota.tables drop column if exists summed;
