-- The way back to a database without the demo.
select rota.unsync_table('public.leads');
select rota.unsync_table('public.companies');
select rota.unsync_table('public.people');
drop schema demo cascade; -- first: its functions take rows of people; the tables' policies and triggers go along
drop table public.leads, public.companies, public.people;
