use std::sync::LazyLock;

use jiff::civil;
use jiff::tz::TimeZone;
use proptest::prelude::*;
use serde_json::{Value as Json, json};

use super::*;
use crate::domain::Domains;
use crate::domain::tests::World;
use crate::engine::record::JsonRecord;
use crate::engine::rules::Rules;

/// Half an hour of summer time, negative summer time, a day that never was, zones that gave it up.
const ZONES: [&str; 8] = [
    "Europe/Berlin",
    "America/New_York",
    "Australia/Lord_Howe",
    "America/Sao_Paulo",
    "Africa/Casablanca",
    "Pacific/Apia",
    "Asia/Kolkata",
    "UTC",
];

/// What the engine is told of a zone, from the zones' own history.
fn rules(name: &str) -> Value {
    let zone = TimeZone::get(name).unwrap();
    let (from, until) = (civil::date(1969, 1, 1), civil::date(2060, 1, 1));
    let at = |date: civil::Date| date.at(0, 0, 0, 0).to_zoned(TimeZone::UTC).unwrap().timestamp();
    let mut transitions = vec![json!([at(from).as_millisecond(), zone.to_offset(at(from)).seconds()])];
    for transition in zone.following(at(from)).take_while(|transition| transition.timestamp() < at(until)) {
        transitions.push(json!([transition.timestamp().as_millisecond(), transition.offset().seconds()]));
    }
    serde_json::from_value(json!({"until": at(until).as_millisecond(), "transitions": transitions})).unwrap()
}

/// Those of all zones, made once.
static FACTS: LazyLock<Fields> =
    LazyLock::new(|| ZONES.iter().map(|name| ([ZONE, name].concat(), rules(name))).collect());

fn facts() -> Fields {
    FACTS.clone()
}

fn zone_of(name: &str) -> Zone {
    zone(&FACTS, name).unwrap()
}

fn wall(text: &str) -> zone::Wall {
    let local: civil::DateTime = text.parse().unwrap();
    zone::Wall(local.to_zoned(TimeZone::UTC).unwrap().timestamp().as_second())
}

/// What jiff makes of a wall time; `compatible` is how it decides, too.
fn moment(name: &str, text: &str) -> i64 {
    let local: civil::DateTime = text.parse().unwrap();
    local.to_zoned(TimeZone::get(name).unwrap()).unwrap().timestamp().as_second()
}

#[expect(clippy::needless_pass_by_value, reason = "reads better where it is called")]
fn slot(user: &str, from: &str, to: &str, zone: &str, recurrence: Json) -> Json {
    json!({"user_id": user, "starts_at": from, "ends_at": to, "time_zone": zone, "recurrence": recurrence, "is_active": true})
}

fn fields(json: Json) -> Fields {
    serde_json::from_value(json).unwrap()
}

fn read_json(json: &Json) -> Result<(Slot, Zone), Error> {
    let fields = fields(json.clone());
    read(&|field| fields.get(field).cloned().unwrap_or_default(), &FACTS)
}

fn code_of(json: &Json) -> &'static str {
    read_json(json).map_or_else(|error| error.code(), |_| "taken")
}

// ---- zones

#[test]
fn a_wall_time_is_the_moment_that_temporal_says_around_every_change_of_the_clocks() {
    for (name, text) in [
        ("Europe/Berlin", "2026-03-29T02:30:00"), // a gap of an hour
        ("Europe/Berlin", "2026-10-25T02:30:00"), // twice
        ("America/New_York", "2026-03-08T02:00:00"),
        ("America/New_York", "2026-11-01T01:30:00"),
        ("Australia/Lord_Howe", "2026-10-04T02:15:00"), // a gap of half an hour
        ("Australia/Lord_Howe", "2026-04-05T01:45:00"),
        ("America/Sao_Paulo", "2018-11-04T00:30:00"), // no midnight
        ("America/Sao_Paulo", "2018-02-17T23:30:00"),
        ("Africa/Casablanca", "2026-02-15T02:30:00"), // behind, in Ramadan
        ("Africa/Casablanca", "2026-03-22T02:30:00"),
        ("Pacific/Apia", "2011-12-30T12:00:00"), // the day that never was
        ("Pacific/Apia", "2011-12-29T23:59:59"),
        ("Pacific/Apia", "2011-12-31T00:00:00"),
    ] {
        assert_eq!(zone_of(name).moment(wall(text)), Some(moment(name, text)), "{name} {text}");
    }
}

#[test]
fn what_the_rules_do_not_cover_has_no_moment() {
    let zone = zone_of("Europe/Berlin");
    assert_eq!(zone.moment(wall("2060-06-01T00:00:00")), None);
    assert_eq!(zone.moment(wall("1960-06-01T00:00:00")), None);
    assert_eq!(zone.moment(zone::Wall(i64::MAX / 4)), None);
    assert_eq!(zone.moment(zone::Wall(i64::MIN / 4)), None);
}

#[test]
fn rules_that_cannot_be_are_refused() {
    for wrong in [
        json!(null),
        json!([]),
        json!({"until": 10_000}),
        json!({"until": 10_000, "transitions": []}),
        json!({"until": 10_000, "transitions": [[0]]}),
        json!({"until": 10_000, "transitions": [[0, "3600"]]}),
        json!({"until": 10_000, "transitions": [[0, 0.5]]}),
        json!({"until": 10_000, "transitions": [[500, 0]]}),
        json!({"until": 10_000, "transitions": [[0, 100_000]]}),
        json!({"until": 10_000, "transitions": [[5_000, 0], [5_000, 3_600]]}),
        json!({"until": 5_000, "transitions": [[5_000, 0]]}),
        json!({"until": 10_000, "transitions": [[0, 0]], "name": "UTC"}),
    ] {
        let fact = serde_json::from_value(wrong.clone()).unwrap();
        let checked = Rules::<JsonRecord>::check_fact(&Domains, "zone:X", &fact);
        assert_eq!(checked.unwrap_err().code(), "invalid-operation", "{wrong}");
    }
    let other = Rules::<JsonRecord>::check_fact(&Domains, "weather", &Value::Null);
    assert!(other.unwrap_err().to_string().contains("weather"));
    assert_eq!(Rules::<JsonRecord>::check_fact(&Domains, "zone:Europe/Berlin", &rules("Europe/Berlin")), Ok(()));
}

fn zones() -> impl Strategy<Value = &'static str> {
    proptest::sample::select(&ZONES[..])
}

/// A local time near a change of the clocks, half of the time.
fn local(name: &'static str, days: i64, minute: i64, near: bool) -> String {
    let zone = TimeZone::get(name).unwrap();
    let start = civil::date(1971, 1, 1).at(0, 0, 0, 0).to_zoned(TimeZone::UTC).unwrap().timestamp();
    let start = jiff::Timestamp::from_second(start.as_second() + days * 86_400).unwrap();
    let next = if near { zone.following(start).next() } else { None };
    let at = next.map_or(start.as_second(), |next| next.timestamp().as_second() + i64::from(next.offset().seconds()));
    let at = jiff::Timestamp::from_second(at - 3 * 3_600 + minute * 60).unwrap();
    at.to_zoned(TimeZone::UTC).datetime().to_string()
}

proptest! {
    #[test]
    fn any_wall_time_in_any_zone_is_the_moment_that_jiff_says(
        name in zones(), days in 0_i64..20_000, minute in 0_i64..360, near: bool,
    ) {
        let text = local(name, days, minute, near);
        prop_assert_eq!(zone_of(name).moment(wall(&text)), Some(moment(name, &text)), "{} {}", name, text);
    }
}

// ---- what can be a slot

#[test]
fn what_cannot_be_a_slot_is_refused_with_the_servers_codes() {
    let good = slot("maya", "2026-10-19T09:00", "2026-10-19T12:30:00", "Europe/Berlin", Json::Null);
    assert_eq!(code_of(&good), "taken");
    let with = |field: &str, value: Json| {
        let mut slot = good.clone();
        slot[field] = value;
        slot
    };
    for (field, value, code) in [
        ("user_id", Json::Null, "invalid-operation"),
        ("user_id", json!(17), "taken"),
        ("starts_at", json!("2026-10-19"), "invalid-operation"),
        ("starts_at", json!("2026-10-19T24:00"), "invalid-operation"),
        ("starts_at", json!("2026-02-30T09:00"), "invalid-operation"),
        ("starts_at", json!("2026-10-19T09:00Z"), "invalid-operation"),
        ("starts_at", json!("2026-10-19T09:00:00.5"), "invalid-operation"),
        ("starts_at", json!("+026-10-19T09:00"), "invalid-operation"),
        ("starts_at", json!("1969-10-19T09:00"), "invalid-operation"),
        ("starts_at", json!("2200-10-19T09:00"), "invalid-operation"),
        ("starts_at", json!("2026-10-19T09:00é"), "invalid-operation"),
        ("is_active", json!("yes"), "invalid-operation"),
        ("recurrence", json!("weekly"), "invalid-operation"),
        ("time_zone", json!("Europe/Bonn"), "unknown-zone"),
        ("time_zone", json!(""), "invalid-operation"),
        ("ends_at", json!("2026-10-19T08:59"), "reversed-slot"),
        ("ends_at", json!("2026-10-19T09:00:00"), "empty-slot"),
        ("ends_at", json!("2027-10-21T09:00:00"), "invalid-operation"),
    ] {
        assert_eq!(code_of(&with(field, value.clone())), code, "{field}: {value}");
    }
    // Zones come before times, as on the server.
    let mut both = with("time_zone", json!("Europe/Bonn"));
    both["ends_at"] = json!("2020-01-01T00:00");
    assert_eq!(code_of(&both), "unknown-zone");
    // And times before recurrences.
    let mut both = with("ends_at", json!("2020-01-01T00:00"));
    both["recurrence"] = json!({});
    assert_eq!(code_of(&both), "reversed-slot");
}

#[test]
fn a_slot_of_which_a_change_of_the_clocks_leaves_nothing_is_empty() {
    // The clock goes from 2 to 3: a beginning within the gap is moved behind the end.
    let gone = slot("maya", "2026-03-29T02:45", "2026-03-29T03:15", "Europe/Berlin", Json::Null);
    assert_eq!(code_of(&gone), "empty-slot");
    let moved = slot("maya", "2026-03-29T02:15", "2026-03-29T02:45", "Europe/Berlin", Json::Null);
    assert_eq!(code_of(&moved), "taken");
    let beyond = slot("maya", "2070-03-29T02:15", "2070-03-29T02:45", "Europe/Berlin", Json::Null);
    assert_eq!(code_of(&beyond), "unknown-zone", "nothing is known of that time");
}

#[test]
fn a_recurrence_that_cannot_be_is_refused() {
    // A Monday.
    let of = |recurrence: Json| slot("maya", "2026-10-19T09:00", "2026-10-19T12:30", "Europe/Berlin", recurrence);
    for good in [
        json!({"freq": "weekly", "byDay": ["MO"]}),
        json!({"freq": "weekly", "byDay": ["WE", "MO"], "until": "2026-10-19"}),
        json!({"freq": "weekly", "byDay": ["MO"], "count": 1000, "until": null}),
        json!({"freq": "weekly", "byDay": ["MO", "TU", "WE", "TH", "FR", "SA", "SU"], "except": ["2026-10-20", "2026-10-20"]}),
        json!({"freq": "weekly", "byDay": ["MO"], "count": 2, "except": ["2026-10-19"]}),
    ] {
        assert_eq!(code_of(&of(good.clone())), "taken", "{good}");
    }
    for wrong in [
        json!({}),
        json!({"freq": "daily", "byDay": ["MO"]}),
        json!({"freq": "weekly"}),
        json!({"freq": "weekly", "byDay": []}),
        json!({"freq": "weekly", "byDay": ["TU"]}),
        json!({"freq": "weekly", "byDay": ["MO", "MO"]}),
        json!({"freq": "weekly", "byDay": ["mo"]}),
        json!({"freq": "weekly", "byDay": ["MO"], "until": "2026-10-18"}),
        json!({"freq": "weekly", "byDay": ["MO"], "until": "2026-10-19T00:00"}),
        json!({"freq": "weekly", "byDay": ["MO"], "count": 0}),
        json!({"freq": "weekly", "byDay": ["MO"], "count": 1001}),
        json!({"freq": "weekly", "byDay": ["MO"], "count": 1.5}),
        json!({"freq": "weekly", "byDay": ["MO"], "count": 2, "until": "2027-01-01"}),
        json!({"freq": "weekly", "byDay": ["MO"], "except": "2026-10-26"}),
        json!({"freq": "weekly", "byDay": ["MO"], "except": vec!["2026-10-26"; 1001]}),
        json!({"freq": "weekly", "byDay": ["MO"], "count": 1, "except": ["2026-10-19"]}),
        json!({"freq": "weekly", "byDay": ["MO"], "until": "2026-10-26", "except": ["2026-10-26", "2026-10-19"]}),
        json!({"freq": "weekly", "byDay": ["MO"], "interval": 2}),
    ] {
        assert_eq!(code_of(&of(wrong.clone())), "invalid-recurrence", "{wrong}");
    }
    let long = |days: Json| {
        let recurrence = json!({"freq": "weekly", "byDay": days});
        slot("maya", "2026-10-19T20:00", "2026-10-20T21:00", "Europe/Berlin", recurrence)
    };
    assert_eq!(code_of(&long(json!(["MO", "TU"]))), "invalid-recurrence", "it begins again before it ends");
    assert_eq!(code_of(&long(json!(["MO", "SU"]))), "invalid-recurrence", "round the week, too");
    assert_eq!(code_of(&long(json!(["MO", "WE"]))), "taken");
}

// ---- when it is

/// Every occurrence, date after date, by jiff's calendar.
fn expanded(json: &Json, window: Span) -> Vec<Span> {
    let text = |field: &str| json[field].as_str().unwrap();
    let (start, end): (civil::DateTime, civil::DateTime) =
        (text("starts_at").parse().unwrap(), text("ends_at").parse().unwrap());
    let (zone, recurrence) = (TimeZone::get(text("time_zone")).unwrap(), &json["recurrence"]);
    let at = |local: civil::DateTime| local.to_zoned(zone.clone()).unwrap().timestamp().as_second();
    let (mut found, mut day, mut count) = (Vec::new(), start.date(), 0);
    let names = ["MO", "TU", "WE", "TH", "FR", "SA", "SU"];
    loop {
        let name = names[usize::try_from(day.weekday().to_monday_zero_offset()).unwrap()];
        let is_on = recurrence.is_null() || recurrence["byDay"].as_array().unwrap().contains(&json!(name));
        let is_over = recurrence["until"].as_str().is_some_and(|until| day > until.parse().unwrap())
            || recurrence["count"].as_u64().is_some_and(|max| count >= max);
        let begins = day.to_datetime(start.time());
        if is_over || at(begins) > window.to_s + 3 * 86_400 {
            return found;
        }
        if is_on {
            count += 1;
            let is_excepted =
                recurrence["except"].as_array().is_some_and(|except| except.contains(&json!(day.to_string())));
            let span = Span { from_s: at(begins), to_s: at(begins.checked_add(end - start).unwrap()) };
            if !is_excepted && span.from_s < span.to_s && span.meets(window) {
                found.push(span);
            }
        }
        if recurrence.is_null() {
            return found;
        }
        day = day.tomorrow().unwrap();
    }
}

prop_compose! {
    /// A slot that can be, near enough to a change of the clocks, and to the others.
    fn slots()(
        user in proptest::sample::select(&["maya", "jonas", "lena"][..]),
        name in zones(), day in 0_i64..60, minute in 0_i64..1_440, len in 1_i64..1_400, recurs: bool,
        mask in 0_u8..128, end in 0..3, until in 0_i64..500, count in 1_u64..60,
        except in proptest::collection::vec(0_i64..80, 0..12),
    ) -> Json {
        let start = civil::date(2026, 2, 10).at(0, 0, 0, 0).checked_add(jiff::Span::new().days(day).minutes(minute)).unwrap();
        let first = start.date().weekday().to_monday_zero_offset();
        let names = ["MO", "TU", "WE", "TH", "FR", "SA", "SU"];
        let is_on = |at: &usize| *at == usize::try_from(first).unwrap() || mask & 1 << at != 0;
        let days: Vec<&str> = (0..7).filter(is_on).map(|at| names[at]).collect();
        let date = |days: i64| start.date().checked_add(jiff::Span::new().days(days)).unwrap().to_string();
        let mut recurrence = json!({"freq": "weekly", "byDay": days, "except": except.into_iter().map(date).collect::<Vec<_>>()});
        match end {
            0 => recurrence["until"] = json!(date(until)),
            1 => recurrence["count"] = json!(count),
            _ => {}
        }
        let end = start.checked_add(jiff::Span::new().minutes(len)).unwrap();
        let text = |at: civil::DateTime| at.strftime("%Y-%m-%dT%H:%M").to_string();
        slot(user, &text(start), &text(end), name, if recurs { recurrence } else { Json::Null })
    }
}

fn days_of_2026(from: i64, len: i64) -> Span {
    let start = moment("UTC", "2026-02-01T00:00:00") + from * 86_400;
    Span { from_s: start, to_s: start + len * 86_400 }
}

proptest! {
    #![proptest_config(ProptestConfig::with_cases(192))]

    #[test]
    fn a_slot_is_when_going_through_all_its_days_says(json in slots(), from in 0_i64..400, len in 1_i64..90) {
        let window = days_of_2026(from, len);
        if let Ok((slot, zone)) = read_json(&json) {
            let found = spans(&slot, &zone, window, usize::MAX);
            prop_assert_eq!(&found, &expanded(&json, window), "{}", json);
            prop_assert_eq!(&spans(&slot, &zone, window, 3)[..], &found[..found.len().min(3)]);
        } else {
            // Empty by a change of the clocks, or all its days excepted.
            prop_assert!(["empty-slot", "invalid-recurrence"].contains(&code_of(&json)), "{} {}", code_of(&json), json);
        }
    }

    #[test]
    fn slots_overlap_when_any_two_of_their_occurrences_do(one in slots(), other in slots()) {
        let (Ok(one_read), Ok(other_read)) = (read_json(&one), read_json(&other)) else { return Ok(()) };
        let first = |json: &Json| moment(json["time_zone"].as_str().unwrap(), json["starts_at"].as_str().unwrap());
        let from_s = first(&one).max(first(&other));
        let window = Span { from_s, to_s: from_s + 400 * 86_400 };
        let (ones, others) = (expanded(&one, window), expanded(&other, window));
        let shared = ones.iter().flat_map(|left| others.iter().filter(|right| left.meets(**right)).map(|right| left.from_s.max(right.from_s)));
        let found = overlap((&one_read.0, &one_read.1), (&other_read.0, &other_read.1));
        prop_assert_eq!(found, shared.min(), "{} {}", one, other);
    }
}

// ---- who is free

/// Who is free for all of a time, by walking through it in steps that no slot's edge falls between.
fn free(slots: &[(String, Json)], from_s: i64, to_s: i64) -> Vec<String> {
    let window = Span { from_s, to_s };
    let mut people: Vec<String> = slots.iter().map(|(_, json)| json["user_id"].as_str().unwrap().to_owned()).collect();
    people.sort();
    people.dedup();
    let is_free = |person: &String| {
        let own = slots.iter().filter(|(_, json)| json["user_id"] == json!(person) && json["is_active"] == json!(true));
        let spans: Vec<Span> =
            own.filter(|(_, json)| read_json(json).is_ok()).flat_map(|(_, json)| expanded(json, window)).collect();
        (from_s..to_s).step_by(60).all(|at| spans.iter().any(|span| span.from_s <= at && at < span.to_s))
    };
    people.into_iter().filter(is_free).collect()
}

fn index_of(slots: &[(String, Json)]) -> SlotIndex {
    let mut index = SlotIndex::default();
    for name in ZONES {
        index.tell_zone(name, FACTS[&[ZONE, name].concat()].clone()).unwrap();
    }
    for (key, json) in slots {
        let _ = index.put(key, &fields(json.clone()));
    }
    index
}

proptest! {
    #![proptest_config(ProptestConfig::with_cases(96))]

    #[test]
    fn who_is_free_is_who_looking_at_every_minute_finds_whatever_came_and_went(
        slots in proptest::collection::vec(slots(), 1..16),
        changes in proptest::collection::vec((0_usize..16, any::<bool>(), any::<bool>()), 0..6),
        questions in proptest::collection::vec((0_i64..90 * 24 * 12, 1_i64..36), 1..12),
    ) {
        let mut slots: Vec<(String, Json)> = slots.into_iter().enumerate().map(|(n, json)| (n.to_string(), json)).collect();
        let mut index = index_of(&slots);
        let mut changes = changes.into_iter();
        for (step, len) in questions {
            let from_s = days_of_2026(0, 1).from_s + step * 300;
            let to_s = from_s + len * 300;
            let found = index.free_between(from_s * 1_000, to_s * 1_000).unwrap();
            prop_assert_eq!(found, free(&slots, from_s, to_s));
            if let Some((at, is_active, goes)) = changes.next() {
                let at = at % slots.len();
                let (key, json) = &mut slots[at];
                json["is_active"] = json!(is_active && !goes);
                if goes { index.remove(key) } else { let _ = index.put(key, &fields(json.clone())); }
            }
        }
    }
}

#[test]
fn an_inactive_slot_is_never_free_and_slots_that_touch_count_as_one() {
    let (morning, noon) = (
        slot("maya", "2026-10-19T09:00", "2026-10-19T12:00", "UTC", Json::Null),
        slot("maya", "2026-10-19T12:00", "2026-10-19T15:00", "UTC", Json::Null),
    );
    let at = |time: &str| moment("UTC", &format!("2026-10-19T{time}:00")) * 1_000;
    let mut index = index_of(&[("a".into(), morning.clone()), ("b".into(), noon)]);
    assert_eq!(index.free_between(at("10:00"), at("14:00")).unwrap(), ["maya"]);
    assert_eq!(index.free_between(at("09:00"), at("15:00")).unwrap(), ["maya"]);
    assert!(index.free_between(at("09:00"), at("15:01")).unwrap().is_empty());
    let mut inactive = morning;
    inactive["is_active"] = json!(false);
    index.put("a", &fields(inactive)).unwrap();
    assert!(index.free_between(at("10:00"), at("11:00")).unwrap().is_empty());
    assert_eq!(index.free_between(at("12:00"), at("15:00")).unwrap(), ["maya"]);
    assert_eq!(
        index.free_slots("maya", at("00:00"), at("23:00"), 10).unwrap(),
        [Free { key: "b".into(), from_ms: at("12:00"), to_ms: at("15:00") }]
    );
    assert!(index.free_slots("jonas", at("00:00"), at("23:00"), 10).unwrap().is_empty());
    let part = index.free_slots("maya", at("13:00") + 500, at("14:00"), 10).unwrap();
    assert_eq!(
        (part[0].from_ms, part[0].to_ms),
        (at("13:00") + 500, at("14:00")),
        "what lies in the time, and no more"
    );
    for (from, to) in [(1, 1), (2, 1), (0, 367 * 86_400_000), (i64::MIN, i64::MAX)] {
        assert_eq!(index.free_between(from, to).unwrap_err().code(), "invalid-operation");
    }
}

#[test]
fn the_index_holds_no_more_than_there_is() {
    let json = slot("maya", "2026-10-19T09:00", "2026-10-19T12:00", "UTC", json!({"freq": "weekly", "byDay": ["MO"]}));
    let mut index = index_of(&[]);
    for n in 0..1_000 {
        index.put(&n.to_string(), &fields(json.clone())).unwrap();
        index.remove(&n.to_string());
    }
    assert_eq!(format!("{index:?}").matches("Entry").count(), 0);
    assert!(format!("{index:?}").contains("vacant: [0]"), "one place is used again and again");
}

#[test]
fn after_one_long_question_the_index_holds_again_only_what_short_ones_need() {
    let json = slot("maya", "2026-10-19T09:00", "2026-10-19T12:00", "UTC", json!({"freq": "weekly", "byDay": ["MO"]}));
    let mut index = index_of(&[
        ("a".into(), json.clone()),
        ("b".into(), slot("jonas", "2026-10-19T09:00", "2026-10-19T12:00", "UTC", json["recurrence"].clone())),
    ]);
    let at = |days: i64| moment("UTC", "2026-10-19T09:00:00") * 1_000 + days * DAY_S * 1_000;
    let placed = |index: &SlotIndex| format!("{index:?}").matches("Placed").count();
    index.free_between(at(0), at(366)).unwrap();
    assert!(placed(&index) > 100);
    index
        .put("b", &fields(slot("jonas", "2026-10-19T10:00", "2026-10-19T12:00", "UTC", json["recurrence"].clone())))
        .unwrap();
    assert_eq!(index.free_between(at(0), at(0) + 1).unwrap(), ["maya"]);
    assert!(placed(&index) < 20, "{}", placed(&index));
    assert_eq!(index.free_between(at(7) + 3_600_000, at(7) + 7_200_000).unwrap(), ["jonas", "maya"]);
}

// ---- in the engine

fn table() -> TableConfig {
    let names = FIELDS.iter().chain(&["id", "notes"]).map(|field| (*field).to_owned()).collect();
    let mut table = TableConfig::new("availability".into(), vec!["id".into()], names);
    table.domain = fields(json!({"kind": "availability"}));
    table
}

fn check_in(world: &World, name: &str, key: &str, set: Json, record: Option<&JsonRecord>) -> Result<(), Error> {
    let (set, none) = (fields(set), Fields::new());
    let step = Step { name, table: "availability", key, args: &none, set: &set, base: &none };
    world.ask(|context| Domains.check(&table(), &step, record, context))
}

#[test]
fn a_slot_that_overlaps_another_active_one_of_the_same_person_is_refused_naming_it() {
    let mut world = World::new("maya", 0);
    world.facts = facts();
    let monday = json!({"freq": "weekly", "byDay": ["MO"]});
    world.add("availability", "s-1", slot("maya", "2026-10-19T09:00", "2026-10-19T12:00", "Europe/Berlin", monday));
    let clash = slot("maya", "2026-11-02T05:30", "2026-11-02T06:30", "America/New_York", Json::Null);
    let error = check_in(&world, "insert", "s-2", clash.clone(), None).unwrap_err();
    assert_eq!(error.code(), "overlap");
    assert!(error.to_string().contains("s-1") && error.to_string().contains("2026-11-02T10:30"), "{error}");
    let with = |field: &str, value: Json| {
        let mut slot = clash.clone();
        slot[field] = value;
        check_in(&world, "insert", "s-2", slot, None)
    };
    assert_eq!(with("user_id", json!("jonas")), Ok(()));
    assert_eq!(with("is_active", json!(false)), Ok(()));
    assert_eq!(with("starts_at", json!("2026-11-02T06:00")), Ok(()), "it begins when the other one ends");
    // The slot does not overlap itself, and what does not touch when it is is not looked at.
    let record = world.ask(|context| context.look.record("availability", "s-1")).unwrap();
    assert_eq!(check_in(&world, "patch", "s-1", json!({"ends_at": "2026-10-19T13:00"}), Some(&record)), Ok(()));
    let error = check_in(&world, "patch", "s-1", json!({"ends_at": "2026-10-19T08:00"}), Some(&record)).unwrap_err();
    assert_eq!(error.code(), "reversed-slot");
    world.facts = Fields::new();
    assert_eq!(check_in(&world, "patch", "s-1", json!({"notes": "x"}), Some(&record)), Ok(()));
    assert_eq!(check_in(&world, "delete", "s-1", json!({}), Some(&record)), Ok(()));
    let error = check_in(&world, "patch", "s-1", json!({"is_active": false}), Some(&record)).unwrap_err();
    assert_eq!(error.code(), "unknown-zone");
}

#[test]
fn making_a_slot_active_again_looks_for_overlaps() {
    let mut world = World::new("maya", 0);
    world.facts = facts();
    let mut off = slot("maya", "2026-10-19T09:00", "2026-10-19T12:00", "UTC", Json::Null);
    world.add("availability", "s-1", off.clone());
    off["is_active"] = json!(false);
    let record = JsonRecord::create(&fields(off));
    let toggle = |is_active: bool| check_in(&world, "patch", "s-2", json!({"is_active": is_active}), Some(&record));
    assert_eq!(toggle(true).unwrap_err().code(), "overlap");
    assert_eq!(toggle(false), Ok(()));
}

#[test]
fn a_table_of_slots_has_the_fields_of_one() {
    let declare = |table: &mut TableConfig| Rules::<JsonRecord>::declare(&Domains, table).map(|lists| lists.len());
    let mut good = table();
    assert_eq!((declare(&mut good), good.indexed), (Ok(1), vec!["user_id".to_owned()]));
    let mut bare = table();
    bare.fields.retain(|field| field != "time_zone");
    assert!(declare(&mut bare).unwrap_err().to_string().contains("time_zone"));
    let mut more = table();
    more.domain.insert("colour".into(), "red".into());
    assert_eq!(declare(&mut more).unwrap_err().code(), "invalid-configuration");
}
