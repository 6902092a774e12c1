//! Who is here: in every tab, of every browser, and gone when nobody says so any more.

use rota_engine::{At, Doing, Input, PEERS_MAX, Peer, Presence, Role, Unsent};

use crate::world::World;

fn be(world: &mut World, tab: usize, place: &str, doing: Doing) {
    let record = Some(At { table: "companies".into(), key: "c-1".into() });
    let presence = Some(Presence { place: place.into(), doing, record });
    world.tell(tab, Input::SetPresence { presence });
}

/// Who a tab sees: users, and what they do.
fn sees(world: &World, tab: usize) -> Vec<(String, Doing)> {
    let there = |peer: &Peer| (peer.user.clone(), peer.presence.as_ref().unwrap().doing);
    world.tabs[tab].peers.iter().map(there).collect()
}

/// Two people, each in a browser of their own, with two tabs each.
fn two_people() -> World {
    let mut world = World::new();
    for (browser, user) in ["maya", "jonas"].into_iter().enumerate() {
        world.use_browser(browser);
        world.open_tab(user);
        world.open_tab(user);
    }
    world.run_for(1_000);
    world
}

#[test]
fn everybody_sees_who_is_where_in_every_tab_and_nobody_sees_themselves() {
    let mut world = two_people();
    be(&mut world, 1, "board", Doing::Editing);
    be(&mut world, 2, "board", Doing::Idle);
    world.run_for(500);
    let (maya, jonas) = (("maya".to_owned(), Doing::Editing), ("jonas".to_owned(), Doing::Idle));
    assert_eq!(sees(&world, 0), [jonas.clone(), maya.clone()]);
    assert_eq!(sees(&world, 1), std::slice::from_ref(&jonas));
    assert_eq!(sees(&world, 2), std::slice::from_ref(&maya));
    assert_eq!(sees(&world, 3), [jonas, maya]);
    let at = world.tabs[2].peers[0].presence.as_ref().unwrap();
    assert_eq!((at.place.as_str(), at.record.as_ref().unwrap().key.as_str()), ("board", "c-1"));
    assert!(world.tabs[1].announced.is_empty(), "the leader speaks for all");
}

#[test]
fn people_stay_for_as_long_as_their_tab_is_there_and_change_nothing_by_staying() {
    let mut world = two_people();
    be(&mut world, 1, "board", Doing::Editing);
    world.run_for(500);
    let before = world.tabs[3].peers_changed;
    world.run_for(10 * 60_000);
    assert_eq!(sees(&world, 3), [("maya".to_owned(), Doing::Editing)]);
    assert_eq!(world.tabs[3].peers_changed, before);
    let times: Vec<u64> = world.tabs[0].announced.iter().map(|(at, _)| *at).collect();
    assert!(times.len() < 70 && times.windows(2).all(|pair| pair[1] - pair[0] >= 1_000), "{times:?}");
}

#[test]
fn who_types_fast_is_told_of_at_most_once_a_second_and_stops_typing_by_doing_nothing() {
    let mut world = two_people();
    for _ in 0..60 {
        be(&mut world, 0, "chat", Doing::Typing);
        world.run_for(100);
    }
    assert_eq!(sees(&world, 3), [("maya".to_owned(), Doing::Typing)]);
    assert!(world.tabs[0].announced.len() <= 7, "{:?}", world.tabs[0].announced);
    world.run_for(6_000);
    assert_eq!(sees(&world, 3), [("maya".to_owned(), Doing::Idle)]);
    assert_eq!(world.tabs[3].peers_changed, 2);
}

#[test]
fn who_closes_a_tab_or_logs_out_is_gone_at_once_and_who_dies_after_half_a_minute() {
    for end in ["close", "log out", "die", "go nowhere"] {
        let mut world = two_people();
        world.kill_tab(1);
        be(&mut world, 0, "board", Doing::Idle);
        world.run_for(2_000);
        assert_eq!(sees(&world, 3).len(), 1);
        match end {
            "close" => world.close_tab(0),
            "log out" => world.tell(0, Input::Logout { unsent: Some(Unsent::Discard) }),
            "die" => world.kill_tab(0),
            _ => world.tell(0, Input::SetPresence { presence: None }),
        }
        world.run_for(100);
        assert_eq!(sees(&world, 3).len(), usize::from(end == "die"), "{end}");
        world.run_for(30_000);
        assert!(sees(&world, 3).is_empty(), "{end}");
    }
}

#[test]
fn the_next_leader_speaks_for_the_tabs_that_are_left() {
    let mut world = two_people();
    be(&mut world, 1, "board", Doing::Idle);
    world.run_for(1_000);
    world.close_tab(0);
    world.run_for(60_000);
    assert_eq!(world.tabs[1].status.as_ref().unwrap().role, Role::Leader);
    assert_eq!(sees(&world, 3), [("maya".to_owned(), Doing::Idle)]);
}

#[test]
fn a_tab_that_comes_late_soon_knows_who_is_here() {
    let mut world = two_people();
    be(&mut world, 0, "board", Doing::Editing);
    be(&mut world, 2, "board", Doing::Idle);
    world.run_for(3_000);
    world.use_browser(0);
    let late = world.open_tab("maya");
    world.run_for(100);
    assert_eq!(sees(&world, late).len(), 2);
}

#[test]
fn a_leader_that_slept_introduces_nobody_who_is_gone() {
    let mut world = World::with_tabs(1);
    world.use_browser(1);
    let other = world.open_tab("jonas");
    world.run_for(1_000);
    be(&mut world, other, "board", Doing::Idle);
    world.run_for(1_000);
    assert_eq!(sees(&world, 0).len(), 1);
    world.kill_tab(other);
    world.freeze(0);
    world.run_for(27_000);
    world.use_browser(0);
    let late = world.open_tab("maya");
    world.run_for(4_000);
    world.thaw(0, false);
    world.run_for(100);
    assert_eq!(sees(&world, late), []);
}

#[test]
fn a_crowd_and_long_words_are_reported_and_harm_nothing() {
    let mut world = World::with_tabs(1);
    let peer = |n: usize, place: String| Peer {
        user: "crowd".into(),
        tab: n.to_string(),
        presence: Some(Presence { place, doing: Doing::Idle, record: None }),
    };
    world.tell(0, Input::PresenceHeard { peers: (0..PEERS_MAX + 10).map(|n| peer(n, "hall".into())).collect() });
    assert_eq!(world.tabs[0].peers.len(), PEERS_MAX);
    assert!(world.tabs[0].has_problem("too-many-peers"));
    world.tell(0, Input::PresenceHeard { peers: vec![peer(1, "x".repeat(10_000))] });
    assert!(world.tabs[0].has_problem("malformed-presence"));
    let presence = Some(Presence { place: "x".repeat(10_000), doing: Doing::Idle, record: None });
    assert_eq!(world.try_tell(0, Input::SetPresence { presence }).unwrap_err().code(), "invalid-operation");
}

#[test]
fn who_logs_out_is_gone_at_once_with_all_tabs() {
    let mut world = two_people();
    be(&mut world, 0, "board", Doing::Idle);
    be(&mut world, 1, "chat", Doing::Idle);
    world.run_for(2_000);
    assert_eq!(sees(&world, 3).len(), 2);
    world.tell(0, Input::Logout { unsent: Some(Unsent::Discard) });
    world.run_for(100);
    assert!(sees(&world, 3).is_empty());
}
