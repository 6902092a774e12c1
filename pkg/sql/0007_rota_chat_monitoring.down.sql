-- The way back to chats that nobody watches, and no scheduler releases.
do $$
begin
  if to_regprocedure('cron.unschedule(text)') is not null then
    execute $cron$ select cron.unschedule('rota-release-idle-chats') $cron$;
  end if;
end
$$;
drop function public.detect_stuck_chats, public.get_assignment_queue_status;
drop view public.idle_incidents, public.operator_performance, public.chats_often_reassigned, public.operator_assignment_history,
  public.chats_waiting, public.chat_state_summary;
drop function rota.in_state_since(public.chats), rota.chats_adopted_at();
drop function public.release_idle_chats, public.complete_chat, public.transfer_chat, public.record_user_message, public.record_operator_reply,
  public.release_and_reassign_chat, public.assign_chat_to_operator;
drop function rota.chat_by_hand(text, text, text, text), rota.lock_chat(text);
