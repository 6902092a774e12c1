-- The way back to chats that nobody watches, and no scheduler releases.
do $$
begin
  if to_regprocedure('cron.unschedule(text)') is not null then
    execute $cron$ select cron.unschedule('rota-release-idle-chats') $cron$;
  end if;
-- Somebody removed the job, or pg_cron came later than the kit.
exception when others then raise notice 'no job rota-release-idle-chats to forget: %', sqlerrm;
end
$$;
drop function public.detect_stuck_chats(numeric), public.get_assignment_queue_status();
drop view public.idle_incidents, public.operator_performance, public.chats_often_reassigned, public.operator_assignment_history,
  public.chats_waiting, public.chat_state_summary;
drop function rota.in_state_since(public.chats), rota.chats_adopted_at(), rota.instant(timestamptz), rota.instant(timestamp);
drop function public.release_idle_chats, public.complete_chat, public.transfer_chat, public.record_user_message, public.record_operator_reply,
  public.start_chat, public.release_and_reassign_chat(public.chats.id%type, text), public.assign_chat_to_operator(public.operators.id%type);
drop function rota.chat_by_hand(text, text, text, text), rota.lock_chat(text);
-- What had these names before gets them back, unless somebody has removed it since.
do $$
declare
  its rota.set_aside;
begin
  for its in select * from rota.set_aside loop
    if exists (select from pg_proc p where its.kind = 'routine' and p.pronamespace = 'public'::regnamespace and p.proname = its.name || '_before_rota'
        and format('(%s)', pg_get_function_identity_arguments(p.oid)) = its.arguments)
      or exists (select from pg_class c where its.kind <> 'routine' and c.relnamespace = 'public'::regnamespace and c.relname = its.name || '_before_rota') then
      execute format('alter %s public.%I%s rename to %I', its.kind, its.name || '_before_rota', its.arguments, its.name);
    end if;
  end loop;
end
$$;
drop table rota.set_aside;
