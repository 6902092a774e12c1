use super::*;
use crate::engine::record::JsonRecord;

type Message = Box<TabMessage<JsonRecord>>;

fn cancel(tabs: &mut Tabs) -> Message {
    let mut message = tabs.message(Kind::Cancel);
    message.id = OperationId::parse("019aa5e3-f1c0-7a3b-9c1d-2e4f60718293");
    message
}

fn bye(tabs: &mut Tabs) -> Message {
    tabs.message(Kind::Bye)
}

#[test]
fn a_repeated_message_is_dropped_and_a_gap_is_noticed() {
    let (mut one, mut two) = (Tabs::new("one".into(), TAB_PROTOCOL), Tabs::new("two".into(), TAB_PROTOCOL));
    let (first, second, third) = (cancel(&mut one), cancel(&mut one), bye(&mut one));
    assert!(matches!(two.receive(first.clone()), Received::Take { gap: false, .. }));
    assert_eq!(two.receive(first), Received::Drop);
    assert!(matches!(two.receive(third), Received::Take { gap: true, .. }));
    assert_eq!(two.receive(second), Received::Drop);
}

#[test]
fn a_question_that_was_overtaken_is_still_answered() {
    let (mut one, mut two) = (Tabs::new("one".into(), TAB_PROTOCOL), Tabs::new("two".into(), TAB_PROTOCOL));
    let mut hello: Message = one.message(Kind::Hello);
    hello.pending = Some(vec![]);
    let later = bye(&mut one);
    assert!(matches!(two.receive(later), Received::Take { .. }));
    assert!(matches!(two.receive(hello), Received::Take { body: Body::Hello { .. }, .. }));
}

#[test]
fn a_tab_does_not_hear_itself() {
    let mut one = Tabs::new("one".into(), TAB_PROTOCOL);
    let message = cancel(&mut one);
    assert_eq!(one.receive(message), Received::Drop);
}

#[test]
fn what_an_old_leader_says_is_dropped() {
    let (mut old, mut new, mut tab) = (
        Tabs::new("old".into(), TAB_PROTOCOL),
        Tabs::new("new".into(), TAB_PROTOCOL),
        Tabs::new("tab".into(), TAB_PROTOCOL),
    );
    old.lead();
    let mut stale: Message = old.message(Kind::Changes);
    (stale.records, stale.cursor) = (Some(vec![]), Some(None));
    assert!(matches!(new.receive(stale.clone()), Received::Take { .. }));
    new.lead();
    let from_new: Message = bye(&mut new);
    assert!(matches!(tab.receive(from_new), Received::Take { .. }));
    assert_eq!(tab.receive(stale), Received::Drop);
}

#[test]
fn a_message_that_lacks_a_member_or_speaks_another_protocol_is_malformed() {
    let (mut one, mut two) = (Tabs::new("one".into(), TAB_PROTOCOL), Tabs::new("two".into(), TAB_PROTOCOL));
    let empty: Message = one.message(Kind::Changes);
    assert!(matches!(two.receive(empty), Received::Malformed(_)));
    let mut newer = bye(&mut one);
    newer.v = TAB_PROTOCOL + 1;
    assert_eq!(two.receive(newer), Received::Newer);
    let mut older: Message = one.message(Kind::Ping);
    older.v = 1;
    assert!(matches!(two.receive(older), Received::Malformed(_)));
}

#[test]
fn a_leader_that_was_deposed_unawares_does_not_speak_in_the_name_of_the_new_epoch() {
    let (mut old, mut new) = (Tabs::new("old".into(), TAB_PROTOCOL), Tabs::new("new".into(), TAB_PROTOCOL));
    let mut tab = Tabs::new("tab".into(), TAB_PROTOCOL);
    old.lead();
    let pong: Message = old.message(Kind::Pong);
    assert!(matches!(new.receive(pong), Received::Take { .. }));
    new.lead();
    let news: Message = new.message(Kind::Pong);
    assert!(matches!(tab.receive(news.clone()), Received::Take { .. }));
    let from_tab = bye(&mut tab);
    assert!(matches!(old.receive(from_tab), Received::Take { .. }));
    assert_eq!(old.receive(news), Received::Drop);
    for _ in 0..SILENT_BEATS {
        old.catch_up_epoch();
    }
    let late: Message = old.message(Kind::Pong);
    assert_eq!(late.epoch, 1);
    assert_eq!(tab.receive(late), Received::Drop);
    // Nobody has told it that it was deposed, and the other one has fallen silent.
    old.catch_up_epoch();
    let heard: Message = old.message(Kind::Pong);
    assert!(matches!(tab.receive(heard), Received::Take { .. }));
}

#[test]
fn what_a_leader_said_before_it_caught_up_with_an_epoch_counts_as_missed() {
    let (mut leader, mut tab) = (Tabs::new("leader".into(), TAB_PROTOCOL), Tabs::new("tab".into(), TAB_PROTOCOL));
    let mut woken = Tabs::new("woken".into(), TAB_PROTOCOL);
    leader.lead();
    woken.lead();
    woken.lead();
    let pong: Message = leader.message(Kind::Pong);
    assert!(matches!(tab.receive(pong), Received::Take { gap: true, .. }));
    let from_woken = bye(&mut woken);
    tab.receive(from_woken.clone());
    let mut changes: Message = leader.message(Kind::Changes);
    (changes.records, changes.cursor) = (Some(vec![]), Some(None));
    assert_eq!(tab.receive(changes), Received::Drop);
    leader.receive(from_woken);
    leader.catch_up_epoch();
    let pong: Message = leader.message(Kind::Pong);
    assert!(matches!(tab.receive(pong), Received::Take { gap: true, .. }));
}

#[test]
fn a_leader_listens_to_no_other() {
    let (mut old, mut new) = (Tabs::new("old".into(), TAB_PROTOCOL), Tabs::new("new".into(), TAB_PROTOCOL));
    old.lead();
    old.lead();
    new.lead();
    let pong: Message = old.message(Kind::Pong);
    assert_eq!(new.receive(pong), Received::Drop);
}

#[test]
fn who_takes_the_lock_is_ahead_of_a_leader_that_it_never_heard() {
    let (mut hung, mut thief) = (Tabs::new("hung".into(), TAB_PROTOCOL), Tabs::new("thief".into(), TAB_PROTOCOL));
    for _ in 0..100 {
        hung.lead();
    }
    thief.watch = Watch::Taking;
    thief.lead();
    let (late, pong): (Message, Message) = (hung.message(Kind::Pong), thief.message(Kind::Pong));
    let mut tab = Tabs::new("tab".into(), TAB_PROTOCOL);
    assert!(matches!(tab.receive(pong), Received::Take { .. }));
    assert_eq!(tab.receive(late), Received::Drop);
}

#[test]
fn a_leader_that_never_heard_of_an_earlier_epoch_catches_up_with_it() {
    let (mut earlier, mut leader) =
        (Tabs::new("earlier".into(), TAB_PROTOCOL), Tabs::new("leader".into(), TAB_PROTOCOL));
    let mut tab = Tabs::new("tab".into(), TAB_PROTOCOL);
    earlier.lead();
    earlier.lead();
    let pong: Message = earlier.message(Kind::Pong);
    tab.receive(pong);
    leader.lead();
    let unheard: Message = leader.message(Kind::Pong);
    assert_eq!(tab.receive(unheard), Received::Drop);
    let from_tab = bye(&mut tab);
    leader.receive(from_tab);
    leader.catch_up_epoch();
    let heard: Message = leader.message(Kind::Pong);
    assert!(matches!(tab.receive(heard), Received::Take { .. }));
}

#[test]
fn a_message_that_holds_more_than_any_tab_sends_is_malformed() {
    let (mut one, mut two) = (Tabs::new("one".into(), TAB_PROTOCOL), Tabs::new("two".into(), TAB_PROTOCOL));
    let id = OperationId::parse("019aa5e3-f1c0-7a3b-9c1d-2e4f60718293").unwrap();
    for (count, too_long) in [(MESSAGE_OPERATIONS_MAX, false), (MESSAGE_OPERATIONS_MAX + 1, true)] {
        let mut message: Message = one.message(Kind::Hello);
        message.pending = Some(vec![id; count]);
        assert_eq!(matches!(two.receive(message), Received::Malformed(_)), too_long, "{count} ids");
    }
    for (count, too_long) in [(MESSAGE_TABLES_MAX, false), (MESSAGE_TABLES_MAX + 1, true)] {
        let mut message: Message = one.message(Kind::Bye);
        message.tables = Some(vec![String::new(); count]);
        assert_eq!(matches!(two.receive(message), Received::Malformed(_)), too_long, "{count} tables");
    }
    let row = Row::<()> {
        table: String::new(),
        key: String::new(),
        version: crate::engine::operation::Version::parse("1").unwrap(),
        op: None,
        record: None,
    };
    let mut message: Box<TabMessage<()>> = one.message(Kind::Changes);
    (message.records, message.cursor) = (Some(vec![row; MESSAGE_RECORDS_MAX + 1]), Some(None));
    assert!(matches!(two.receive(message), Received::Malformed(_)));
}

#[test]
fn what_protocol_1_does_not_know_leaves_no_gap_in_its_count() {
    let (mut new, mut old) = (Tabs::new("new".into(), TAB_PROTOCOL), Tabs::new("old".into(), 1));
    let messages: [Message; 3] = [bye(&mut new), new.message(Kind::Ping), bye(&mut new)];
    let [first, ping, last] = messages;
    assert!(matches!(old.receive(first), Received::Take { .. }));
    assert_eq!(old.receive(ping), Received::Newer);
    assert!(matches!(old.receive(last), Received::Take { gap: false, .. }));
}

#[test]
fn what_protocol_1_cannot_read_of_a_kind_that_it_knows_leaves_no_gap_in_its_count() {
    let (mut new, mut old) = (Tabs::new("new".into(), TAB_PROTOCOL), Tabs::new("old".into(), 1));
    let messages: [Message; 4] = [bye(&mut new), bye(&mut new), bye(&mut new), bye(&mut new)];
    let [first, mut unread, missed, last] = messages;
    unread.v = TAB_PROTOCOL;
    assert!(matches!(old.receive(first), Received::Take { .. }));
    assert_eq!(old.receive(unread), Received::Newer);
    let mut unread = missed.clone();
    assert!(matches!(old.receive(missed), Received::Take { gap: false, .. }));
    // One that can't be read hides no loss before it.
    (unread.v, unread.seq) = (TAB_PROTOCOL, last.seq + 1);
    assert_eq!(old.receive(unread), Received::Newer);
    let mut latest = last;
    latest.seq += 2;
    assert!(matches!(old.receive(latest), Received::Take { gap: true, .. }));
}

#[test]
fn a_tab_held_back_at_protocol_1_reads_it_and_nothing_newer() {
    let (mut new, mut old) = (Tabs::new("new".into(), TAB_PROTOCOL), Tabs::new("old".into(), 1));
    let ping: Message = new.message(Kind::Ping);
    assert_eq!(old.receive(ping), Received::Newer);
    let bye = bye(&mut new);
    assert!(matches!(old.receive(bye), Received::Take { gap: false, .. }));
}

#[test]
fn what_protocol_1_has_no_word_for_stands_beside_what_it_would_have_said() {
    let (mut new, mut old) = (Tabs::new("new".into(), TAB_PROTOCOL), Tabs::new("old".into(), 1));
    let mut third = Tabs::new("third".into(), TAB_PROTOCOL);
    new.lead();
    let link = LinkStatus {
        state: LinkState::Degraded,
        why: "no".into(),
        since_ms: 7,
        retry_at_ms: None,
        server_ahead_ms: None,
    };
    let mut beat: Message = new.message(Kind::Beat);
    beat.set_link(&link, new.protocol());
    assert_eq!((beat.v, beat.link.as_ref().unwrap().state), (1, LinkState::Offline));
    let heard = |tabs: &mut Tabs, message: &Message| match tabs.receive(message.clone()) {
        Received::Take { body: Body::Beat { link }, .. } => link.state,
        other => panic!("{other:?}"),
    };
    assert_eq!((heard(&mut old, &beat), heard(&mut third, &beat)), (LinkState::Offline, LinkState::Degraded));
}

#[test]
fn the_number_of_tabs_owed_a_snapshot_is_bounded() {
    let mut tab = Tabs::new("tab".into(), TAB_PROTOCOL);
    for n in 0..PEERS_MAX * 2 {
        tab.owe(n.to_string());
    }
    assert_eq!((tab.owed.len(), tab.owed.last()), (PEERS_MAX, Some(&(PEERS_MAX * 2 - 1).to_string())));
}

#[test]
fn an_epoch_or_a_number_beyond_all_measure_is_malformed_and_followed_by_nobody() {
    let (mut one, mut two) = (Tabs::new("one".into(), TAB_PROTOCOL), Tabs::new("two".into(), TAB_PROTOCOL));
    for (epoch, seq) in [(u64::MAX, 1), (EPOCH_AHEAD_MAX + 1, 1), ((1 << 53) - 1, 1), (0, u64::MAX)] {
        let mut message = bye(&mut one);
        (message.epoch, message.seq) = (epoch, seq);
        assert!(matches!(two.receive(message), Received::Malformed(_)), "{epoch}, {seq}");
    }
    two.lead();
    let message: Message = two.message(Kind::Bye);
    assert_eq!(message.epoch, 1);
}

#[test]
fn the_number_of_tabs_kept_track_of_is_bounded() {
    let mut tab = Tabs::new("tab".into(), TAB_PROTOCOL);
    for n in 0..PEERS_MAX * 2 {
        let message = bye(&mut Tabs::new(n.to_string(), TAB_PROTOCOL));
        tab.receive(message);
    }
    assert_eq!(tab.peers.len(), PEERS_MAX);
}

// ---- what a message may count, hold and say, to the last one

const BEYOND: Received<JsonRecord> = Received::Malformed("the message counts beyond all measure");
const TOO_LONG: Received<JsonRecord> = Received::Malformed("the message holds more than any tab sends");

fn two() -> (Tabs, Tabs) {
    (Tabs::new("one".into(), TAB_PROTOCOL), Tabs::new("two".into(), TAB_PROTOCOL))
}

fn is_taken(received: &Received<JsonRecord>) -> bool {
    matches!(received, Received::Take { .. })
}

fn id() -> OperationId {
    OperationId::parse("019aa5e3-f1c0-7a3b-9c1d-2e4f60718293").unwrap()
}

fn link(state: LinkState) -> LinkStatus {
    LinkStatus { state, why: String::new(), since_ms: 0, retry_at_ms: None, server_ahead_ms: None }
}

#[test]
fn an_epoch_may_be_ahead_of_ours_by_so_much_and_no_more() {
    for (ahead, is_honest) in [(EPOCH_AHEAD_MAX, true), (EPOCH_AHEAD_MAX + 1, false)] {
        let (mut one, mut two) = two();
        let mut message: Message = one.message(Kind::Bye);
        message.epoch = ahead;
        let received = two.receive(message);
        assert!(if is_honest { is_taken(&received) } else { received == BEYOND }, "{ahead}: {received:?}");
    }
}

#[test]
fn an_epoch_and_a_number_end_where_counting_would_no_longer_be_exact() {
    for (count, is_honest) in [(COUNT_MAX, true), (COUNT_MAX + 1, false), (COUNT_MAX + 2, false)] {
        let (mut one, mut two) = two();
        two.epoch = COUNT_MAX;
        let mut message: Message = one.message(Kind::Bye);
        message.epoch = count;
        let received = two.receive(message);
        assert!(if is_honest { is_taken(&received) } else { received == BEYOND }, "epoch {count}: {received:?}");
        let mut message: Message = one.message(Kind::Bye);
        message.seq = count;
        let received = two.receive(message);
        assert!(if is_honest { is_taken(&received) } else { received == BEYOND }, "number {count}: {received:?}");
    }
}

#[test]
fn a_message_names_so_many_operations_aliases_and_tables_and_no_more() {
    let alias = Alias { table: String::new(), from: String::new(), to: "1".into() };
    for (more, is_honest) in [(0, true), (1, false), (2, false)] {
        let (mut one, mut two) = two();
        let mut hello: Message = one.message(Kind::Hello);
        hello.pending = Some(vec![id(); MESSAGE_OPERATIONS_MAX + more]);
        let received = two.receive(hello);
        assert!(if is_honest { is_taken(&received) } else { received == TOO_LONG }, "pending, {more} more");
        let snapshot = || {
            let mut message: Message = Tabs::new("three".into(), TAB_PROTOCOL).message(Kind::Snapshot);
            message.to = Some("two".into());
            (message.cursor, message.records, message.operations) = (Some(None), Some(vec![]), Some(vec![]));
            message.link = Some(link(LinkState::Live));
            message
        };
        let mut message = snapshot();
        message.aliases = Some(vec![alias.clone(); MESSAGE_OPERATIONS_MAX + more]);
        let received = Tabs::new("two".into(), TAB_PROTOCOL).receive(message);
        assert!(if is_honest { is_taken(&received) } else { received == TOO_LONG }, "aliases, {more} more");
        let mut message = snapshot();
        message.tables = Some(vec![String::new(); MESSAGE_TABLES_MAX + more]);
        let received = Tabs::new("two".into(), TAB_PROTOCOL).receive(message);
        assert!(if is_honest { is_taken(&received) } else { received == TOO_LONG }, "tables, {more} more");
    }
}

#[test]
fn what_a_tab_of_protocol_1_can_not_read_is_not_counted_and_leaves_no_gap() {
    let (mut one, mut two) = two();
    let first: Message = one.message(Kind::Bye);
    for kind in [Kind::Ping, Kind::Pong, Kind::SignedOut, Kind::RightsChanged, Kind::Presence] {
        let uncounted: Message = one.message(kind);
        assert_eq!((uncounted.v, uncounted.seq), (2, first.seq), "{kind:?}");
    }
    let second: Message = one.message(Kind::Bye);
    assert!(is_taken(&two.receive(first)));
    assert!(matches!(two.receive(second), Received::Take { gap: false, .. }));
}

#[test]
fn where_the_link_is_is_said_in_the_words_of_protocol_1_and_beside_them_in_those_of_2() {
    for (state, protocol, said, beside) in [
        (LinkState::Live, 1, LinkState::Live, None),
        (LinkState::Live, 2, LinkState::Live, None),
        (LinkState::Degraded, 1, LinkState::Offline, None),
        (LinkState::Degraded, 2, LinkState::Offline, Some(LinkState::Degraded)),
    ] {
        let mut message: Message = Tabs::new("one".into(), TAB_PROTOCOL).message(Kind::Beat);
        message.set_link(&link(state), protocol);
        let told = message.link.clone().map(|link| link.state);
        assert_eq!((told, message.state), (Some(said), beside), "{state:?} in protocol {protocol}");
    }
}

#[test]
fn a_leader_that_was_just_asked_is_not_asked_again_and_nobody_counts_as_asked_where_none_is_known() {
    let (mut one, mut two) = two();
    two.greet(100);
    assert!(!two.has_just_greeted(100, 50));
    let mut changes: Message = one.message(Kind::Changes);
    (changes.records, changes.cursor) = (Some(vec![]), Some(None));
    assert!(is_taken(&two.receive(changes)));
    two.greet(100);
    assert!(two.has_just_greeted(149, 50));
    assert!(!two.has_just_greeted(150, 50));
}

#[test]
fn a_leader_stays_in_its_epoch_until_it_hears_of_a_later_one_that_nobody_leads() {
    let (mut leader, mut other) = two();
    leader.lead();
    let epoch = leader.message::<JsonRecord>(Kind::Beat).epoch;
    leader.catch_up_epoch();
    assert_eq!(leader.message::<JsonRecord>(Kind::Beat).epoch, epoch);
    // A leader of the same epoch is no rival of a later one.
    let mut late: Message = other.message(Kind::Pong);
    late.epoch = epoch;
    assert_eq!(leader.receive(late), Received::Drop);
    let mut word: Message = other.message(Kind::Bye);
    word.epoch = epoch + 5;
    assert!(is_taken(&leader.receive(word)));
    leader.catch_up_epoch();
    assert_eq!(leader.message::<JsonRecord>(Kind::Beat).epoch, epoch + 6);
}

#[test]
fn an_operation_with_parts_needs_a_reader_of_protocol_2() {
    let op = |parts: serde_json::Value| -> Operation {
        serde_json::from_value(serde_json::json!({
            "protocol": 1, "id": id(), "name": "patch", "table": "jobs", "key": "1", "args": {}, "set": {}, "base": {},
            "baseVersion": null, "hlc": "019aa5e3f1c0-0000", "tab": "one", "after": [], "parts": parts,
        }))
        .unwrap()
    };
    let part = serde_json::json!({"name": "patch", "table": "jobs", "key": "1", "args": {}, "set": {}, "base": {}, "baseVersion": null});
    for (parts, v) in [(serde_json::json!([]), 1), (serde_json::json!([part, part]), 2)] {
        let mut message: Message = Tabs::new("one".into(), TAB_PROTOCOL).message(Kind::Operation);
        message.with_operation(op(parts));
        assert_eq!(message.v, v);
    }
}
