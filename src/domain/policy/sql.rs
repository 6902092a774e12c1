//! Writes a policy as SQL for the server kit: a guard that `apply_operation` asks, and row-level security. Text in, text out; each name
//! and each word is quoted, whatever is in it.

use super::{ASSIGN, ID_CHARS_MAX, Policy, READ, Rule, Scope, To};
use crate::engine::error::Error;
use crate::engine::operation::name;
use crate::engine::value::Value;

/// Writes the guard and the policies of a declaration.
///
/// # Errors
/// [`Error::InvalidConfiguration`], which says what can't work; [`Error::InvalidOperation`] for what is longer than an engine can be told.
pub fn policy_sql(declaration: &Value) -> Result<String, Error> {
    let policy = Policy::declared(declaration)?;
    Ok([head(), person(&policy), guard(&policy), security(&policy), handing(&policy)].concat())
}

/// An identifier.
fn ident(name: &str) -> String {
    ["\"", &name.replace('"', "\"\""), "\""].concat()
}

/// A text. The form with escapes, so that a backslash means itself whatever the server's settings.
fn literal(words: &str) -> String {
    let quoted = words.replace('\\', "\\\\").replace('\'', "''");
    if quoted.contains('\\') { ["E'", &quoted, "'"].concat() } else { ["'", &quoted, "'"].concat() }
}

fn list(words: &[String]) -> String {
    words.iter().map(|word| literal(word)).collect::<Vec<_>>().join(", ")
}

fn table(name: &str) -> String {
    ["public.", &ident(name)].concat()
}

fn head() -> String {
    "-- Written from the declaration of a policy. Change that, not this.\n\
     create schema if not exists rota_policy;\n\
     revoke all on schema rota_policy from public;\n\
     grant usage on schema rota_policy to authenticated;\n"
        .to_owned()
}

fn function(policy: &Policy, what: &str) -> String {
    ["rota_policy.", &ident(&[what, " ", &policy.table].concat())].concat()
}

/// Who somebody is. Looks past row-level security, and tells nothing but role, department, and whether they are there and active.
fn person(policy: &Policy) -> String {
    let people = &policy.people;
    let column = |name: &Option<String>, none: &str| {
        name.as_ref().map_or_else(|| none.to_owned(), |name| ["p.", &ident(name)].concat())
    };
    // By its number: a column may have the argument's name.
    let body = [
        "  select nullif(p.",
        &ident(&people.role),
        "::text, ''), nullif(",
        &column(&people.department, "null"),
        "::text, ''), coalesce(",
        &column(&people.active, "true"),
        ", false) from ",
        &table(&people.table),
        " p where p.",
        &ident(&people.key),
        "::text = $1\n",
    ];
    [
        "\ncreate or replace function ",
        &function(policy, "person"),
        "(id text, out role text, out department text, out active boolean)\n\
         language sql stable security definer set search_path = '' as ",
        &enclosed(&body.concat()),
        ";\n",
    ]
    .concat()
}

/// A function's body between marks that are not in it.
fn enclosed(body: &str) -> String {
    let mut mark = "$rota$".to_owned();
    while body.contains(&mark) {
        mark.insert(1, '_');
    }
    [&mark, "\n", body, &mark].concat()
}

/// Why an action may not be done, as a case over `action`; null where it may. Its conditions are asked in the order in which `can` asks them.
fn reasons(policy: &Policy) -> String {
    let mut actions: Vec<&str> = Vec::new();
    for action in policy.rules.iter().flat_map(|rule| &rule.actions).filter(|action| *action != READ) {
        if !actions.contains(&action.as_str()) {
            actions.push(action);
        }
    }
    let mut cases = String::new();
    for action in actions {
        let rules: Vec<&Rule> = policy.rules_of(action).collect();
        cases.extend(["      when ", &literal(action), " then case\n"]);
        for step in (0..=2).rev() {
            let conditions =
                rules.iter().map(|rule| conditions(policy, rule, step, true).join(" and ")).collect::<Vec<_>>();
            let answer = if step == 2 { "null".to_owned() } else { literal(&policy.reason(action, step + 1)) };
            let any =
                conditions.iter().map(|condition| ["(", condition, ")"].concat()).collect::<Vec<_>>().join(" or ");
            cases.extend(["        when ", &any, " then ", &answer, "\n"]);
        }
        cases.extend(["        else ", &literal(&policy.reason(action, 0)), " end\n"]);
    }
    let nobody = ["'nobody may ' || action || ", &literal(&[" in ", &policy.table].concat())].concat();
    if cases.is_empty() { nobody } else { ["case action\n", &cases, "      else ", &nobody, " end"].concat() }
}

/// The guard: null, or the refusal.
fn guard(policy: &Policy) -> String {
    let owner = policy.owner.as_deref().map(literal);
    // Whoever changes the owner hands the record on, whatever that is called.
    let hands_on = owner.as_ref().map_or_else(
        || "false".to_owned(),
        |owner| {
            let (now, wanted) = (["fields ->> ", owner].concat(), ["op -> 'set' ->> ", owner].concat());
            let differs = ["nullif(", &wanted, ", '') is distinct from nullif(", &now, ", '')"].concat();
            [
                "coalesce(op ->> 'name' = ",
                &literal(name::PATCH),
                " and op -> 'set' ? ",
                owner,
                " and ",
                &differs,
                ", false)",
            ]
            .concat()
        },
    );
    let set = owner.as_ref().map_or_else(
        || "null".to_owned(),
        |owner| {
            ["case when hands_on or op ->> 'name' = ", &literal(name::INSERT), " then op -> 'set' ->> ", owner, " end"]
                .concat()
        },
    );
    let is_new = owner.as_ref().map_or_else(
        || "true".to_owned(),
        |owner| {
            [
                "(op ->> 'name' = ",
                &literal(name::INSERT),
                " or target is distinct from nullif(fields ->> ",
                owner,
                ", ''))",
            ]
            .concat()
        },
    );
    let person = function(policy, "person");
    let body = [
        "declare\n  me record;\n  other record;\n  fields jsonb := coalesce(\"row\", op -> 'set');\n  hands_on boolean := ",
        &hands_on,
        ";\n  target text := nullif(coalesce(op #>> '{args,to}', op #>> '{args,operator}', ",
        &set,
        "), '');\n  action text;\n  why text;\nbegin\n  select * into me from ",
        &person,
        "(actor);\n  select * into other from ",
        &person,
        "(target);\n  if not me.active then\n    return jsonb_build_object('code', 'inactive', 'message', left(actor, ",
        &ID_CHARS_MAX.to_string(),
        ") || ' is not active');\n  end if;\n  foreach action in array case when hands_on then array[op ->> 'name', ",
        &literal(ASSIGN),
        "] else array[op ->> 'name'] end loop\n    why := ",
        &reasons(policy),
        ";\n    if why is not null then return jsonb_build_object('code', 'forbidden', 'message', why); end if;\n  end loop;\n  if target is null or not ",
        &is_new,
        " or other.active then return null; end if;\n  return case when other.active is null\n    then jsonb_build_object('code', 'unknown-person', 'message', 'there is no person ' || left(target, ",
        &ID_CHARS_MAX.to_string(),
        "))\n    else jsonb_build_object('code', 'inactive', 'message', left(target, ",
        &ID_CHARS_MAX.to_string(),
        ") || ' is not active') end;\nend\n",
    ];
    [
        "\ncreate or replace function ",
        &function(policy, "guard"),
        "(op jsonb, \"row\" jsonb, actor text) returns jsonb\n\
         language plpgsql stable set search_path = '' as ",
        &enclosed(&body.concat()),
        ";\n",
    ]
    .concat()
}

/// What holds the rules of assigning for those who write the table itself, past `apply_operation`. Row-level security can't, as it does not
/// see what a row was. A named operation of the application's has been asked by its own name.
fn handing(policy: &Policy) -> String {
    let (name, target) = (function(policy, "handing"), table(&policy.table));
    let drop = ["\ndrop trigger if exists \"rota handing\" on ", &target, ";\n"].concat();
    let Some(owner) = policy.owner.as_ref().filter(|_| policy.rules_of(ASSIGN).next().is_some()) else { return drop };
    let body = [
        "declare\n  named text;\n  refusal jsonb;\nbegin\n\
         \u{20} if rota.actor() is null then return new; end if; -- whoever runs the database\n\
         \u{20} select case when l.op ? 'parts' then 'transaction' else l.op ->> 'name' end into named from rota.ledger l\n\
         \u{20}   where l.id = nullif(current_setting('rota.op', true), '')::uuid and l.actor = rota.actor() and l.answer is null;\n\
         \u{20} if named is not null then return new; end if;\n\
         \u{20} refusal := ",
        &function(policy, "guard"),
        "(jsonb_build_object('name', ",
        &literal(ASSIGN),
        ", 'args', jsonb_build_object('to', to_jsonb(new) -> ",
        &literal(owner),
        ")), to_jsonb(old), rota.actor());\n\
         \u{20} if refusal is not null then raise exception '%', refusal ->> 'message' using errcode = '42501'; end if;\n\
         \u{20} return new;\nend\n",
    ];
    [
        &drop,
        "create or replace function ",
        &name,
        "() returns trigger language plpgsql set search_path = '' as ",
        &enclosed(&body.concat()),
        ";\nrevoke all on function ",
        &name,
        "() from public;\ncreate trigger \"rota handing\" before update on ",
        &target,
        "\n  for each row when (old.",
        &ident(owner),
        " is distinct from new.",
        &ident(owner),
        ") execute function ",
        &name,
        "();\n",
    ]
    .concat()
}

/// The conditions of a rule up to a step. In a guard a record is JSON, in row-level security a row.
fn conditions(policy: &Policy, rule: &Rule, step: usize, is_guard: bool) -> Vec<String> {
    let field = |name: &Option<String>| {
        let name = name.as_deref().unwrap_or_default();
        // Qualified, as the person's columns may have the same names.
        let text = if is_guard {
            ["fields ->> ", &literal(name)].concat()
        } else {
            [&ident(&policy.table), ".", &ident(name), "::text"].concat()
        };
        ["nullif(", &text, ", '')"].concat()
    };
    let (person, id) = if is_guard { ("me", "actor") } else { ("rota_me", "rota.actor()") };
    let mut all = Vec::new();
    if let Some(roles) = &rule.roles {
        all.push(["coalesce(", person, ".role in (", &list(roles), "), false)"].concat());
    }
    if step >= 1 {
        let owner = field(&policy.owner);
        match rule.scope {
            Scope::Any => {}
            Scope::Own => all.push(["coalesce(", &owner, " = ", id, ", false)"].concat()),
            Scope::Unowned => all.push([&owner, " is null"].concat()),
            Scope::Department => {
                all.push(["coalesce(", &field(&policy.department), " = ", person, ".department, false)"].concat());
            }
        }
    }
    if step >= 2 {
        match rule.to {
            To::Anyone => {}
            To::Oneself => all.push("(target is null or target = actor)".to_owned()),
            To::Department => all.push(
                ["(target is null or coalesce(", &field(&policy.department), " = other.department, false))"].concat(),
            ),
        }
    }
    if all.is_empty() {
        all.push("true".to_owned());
    }
    all
}

/// Row-level security: what may be seen, and coarsely what may be changed. What is fine is the guard's.
fn security(policy: &Policy) -> String {
    let is_change = |action: &str| ![READ, name::INSERT, name::DELETE].contains(&action);
    let kinds: [(&str, &dyn Fn(&str) -> bool); 4] = [
        ("select", &|action| action == READ),
        ("insert", &|action| action == name::INSERT),
        ("update", &is_change),
        ("delete", &|action| action == name::DELETE),
    ];
    let target = table(&policy.table);
    let mut sql = ["\nalter table ", &target, " enable row level security;\n"].concat();
    for (kind, is_of_kind) in kinds {
        let rules = policy.rules.iter().filter(|rule| rule.actions.iter().any(|action| is_of_kind(action)));
        let each: Vec<String> =
            rules.map(|rule| ["(", &conditions(policy, rule, 1, false).join(" and "), ")"].concat()).collect();
        let any = if each.is_empty() { "false".to_owned() } else { each.join(" or ") };
        // Whoever is there and not active does nothing but look.
        let active = if kind == "select" { "" } else { "rota_me.active is distinct from false and " };
        let condition =
            ["(select ", active, "(", &any, ") from ", &function(policy, "person"), "(rota.actor()) rota_me)"].concat();
        let policy_name = ident(&["rota ", kind].concat());
        let clause = match kind {
            "insert" => [" with check (", &condition, ")"].concat(),
            // Whom it may be given to is the guard's.
            "update" => [" using (", &condition, ") with check (true)"].concat(),
            _ => [" using (", &condition, ")"].concat(),
        };
        sql.extend(["drop policy if exists ", &policy_name, " on ", &target, ";\n"]);
        sql.extend([
            "create policy ",
            &policy_name,
            " on ",
            &target,
            " for ",
            kind,
            " to authenticated",
            &clause,
            ";\n",
        ]);
    }
    let (person, guard) = (function(policy, "person"), function(policy, "guard"));
    sql.extend(["revoke all on function ", &person, "(text), ", &guard, "(jsonb, jsonb, text) from public;\n"]);
    sql.extend(["grant execute on function ", &person, "(text), ", &guard, "(jsonb, jsonb, text) to authenticated;\n"]);
    sql
}
