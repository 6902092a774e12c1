-- The way back from a look, which has left nothing.
select 1;
