import { startPostgres } from './postgres.js';
import { migrate, migrateDown } from './migrate.js';
import { seed, resetDemo, seededCompanies, seededLeads } from './seed.js';
import pg from 'pg';
const cs=seededCompanies(), ls=seededLeads();
console.log(cs.length, ls.length, new Set(cs.map(c=>c.name)).size, new Set(ls.map(c=>c.name)).size, new Set(ls.map(c=>c.company)).size, cs.filter(c=>c.owner_id).length, ls.filter(c=>c.owner_id).length, cs[16]);
const count=(r:any[],f:string)=>r.reduce((m,x)=>(m[x[f]]=(m[x[f]]??0)+1,m),{} as any);
console.log(count(cs,'department'),count(ls,'department'),count(cs,'owner_id'),count(ls,'owner_id'));
const s = await startPostgres({dataDir: '/tmp/rota-try/data', log: process.env.V?console.log:undefined});
const c = new pg.Client(s.url); await c.connect();
await c.query('drop database if exists t1'); await c.query('create database t1');
const d = new pg.Client(s.url.replace(/postgres$/,'t1')); await d.connect();
const dirs=['../../pkg/sql','./sql/demo'].map(x=>new URL(x,import.meta.url).pathname);
await migrate(d, dirs);
console.log(await migrateDown(d, dirs)); await migrate(d, dirs);
console.log(await seed(d, async()=>{}), await seed(d, async()=>{}));
const v=async()=>(await d.query('select max(version) v from rota.feed')).rows[0].v;
let a=await v(); await resetDemo(d); console.log(a, await v());
await d.query("delete from leads where id='l-0003'; update companies set city='X', owner_id=null where id='c-0001'; insert into people values(gen_random_uuid(),'A','b','Sales','member')"); await resetDemo(d); console.log(await v(), (await d.query("select * from companies where id='c-0001'")).rows, (await d.query('select count(*) from people')).rows);
await d.query("insert into companies(id,name,department) select 'c-'||(10000+i), 'n'||i, 'Sales' from generate_series(1,100000) i");
await d.query("begin; set local role authenticated; select set_config('request.jwt.claims', '{\"sub\":\"11111111-1111-4111-8111-111111111111\"}', true)");
for (const req of [{protocol:1,tables:['companies'],cursor:null,pending:[]}, null]) {
 let t=performance.now(); let r;
 if(req) r=(await d.query('select rota_pull($1)::text p',[JSON.stringify(req)])).rows[0].p;
 else r=(await d.query("select rota_pull(jsonb_build_object('protocol',1,'tables','[\"companies\",\"leads\"]'::jsonb,'cursor',rota.incarnation()||':'||0))::text p")).rows[0].p;
 console.log('pull', r.length, Math.round(performance.now()-t), r.slice(-150), r.slice(0,0), JSON.parse(r).records.companies?.[0]);
}
await d.query('rollback');
await d.end(); await c.end(); await s.stop();
