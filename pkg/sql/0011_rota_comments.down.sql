-- The way back leaves the words: they go with what they are about.
select 1;
