//! What rules say, what they do not say, and that none of them takes long.

use std::time::{Duration, Instant};

use jiff::SignedDuration;

use super::*;

const NAMES: Names<'static> = &[
    ("request", &["reason", "prefixes", "duration", "ticket", "count", "requester"]),
    ("request.requester", &["username"]),
    ("bucket", &["name"]),
];

fn values() -> BTreeMap<&'static str, Value> {
    let request = Value::map([
        ("reason", Some(Value::text("x".repeat(512).as_str()))),
        ("prefixes", Some(Value::list((0..8).map(|n| Value::text(&format!("calls/{n}/")))))),
        ("duration", Some(Value::Duration(SignedDuration::from_mins(30)))),
        ("ticket", None),
        ("count", Some(Value::Int(3))),
        ("requester", Some(Value::map([("username", Some(Value::text("Alice")))]))),
    ]);
    BTreeMap::from([("request", request), ("bucket", Value::map([("name", Some(Value::text("calls")))]))])
}

fn word(text: &str) -> Result<bool, Kind> {
    let program = Program::read(text, NAMES).map_err(|fault| fault.kind)?;
    program.holds(&values()).map_err(|fault| fault.kind)
}

#[test]
fn rules_that_hold_and_rules_that_do_not() {
    let yes = [
        "true",
        "!false && !!true",
        "request.count == 3 && 1 + 2 * 3 == 7 && (1 + 2) * 3 == 9 && 7 % 4 == 3 && -1 < 0 && 7 / 2 == 3",
        "request.duration <= duration('30m') && request.duration < duration('1h') && request.duration + duration('1h') == duration('1h30m')",
        "timestamp('2026-01-02T00:00:00Z') - timestamp('2026-01-01T00:00:00Z') == duration('24h')",
        "request.prefixes.all(p, p.startsWith('calls/')) && size(request.prefixes) == 8",
        "request.prefixes.exists(p, p.endsWith('/7/')) && request.prefixes.exists_one(p, p == 'calls/7/')",
        "request.prefixes.filter(p, p > 'calls/5/') == ['calls/6/', 'calls/7/']",
        "[1, 2].map(n, n * 2) == [2, 4] && 2 in [1, 2] && [1] + [2] == [1, 2]",
        "!has(request.ticket) && has(request.reason) && request.prefixes[0] == \"calls/0/\"",
        "request.requester.username.lowerAscii() in ['alice', 'bob'] && request.requester.username.contains('lic')",
        r"request.prefixes.all(p, p.matches(r'^calls/\d/$')) && !bucket.name.matches('^x')",
        "has(request.ticket) ? request.ticket == 'x' : request.count > 2",
        "'a' + 'b' == 'ab' && 'ä'.size() == 1 && 'it\\'s' == \"it's\"",
        "[].all(x, x) && ![].exists(x, x)",
        // Not without brackets what it is with them.
        "true || false && false",
    ];
    for text in yes {
        assert_eq!(word(text), Ok(true), "{text}");
        assert_eq!(word(&format!("!({text})")), Ok(false), "{text}");
    }
}

#[test]
fn what_is_not_understood_says_nothing() {
    let syntax = [
        "",
        "true false",
        "1 +",
        "(true",
        "true)",
        "a == 1",
        "request.reasons == ''",
        "request.requester.name == 'a'",
        "foo(1)",
        "'a'.foo()",
        "has(request)",
        "has(1 == 1)",
        "duration(request.reason) > duration('1h')",
        "duration('soon') > duration('1h')",
        "timestamp('now') == timestamp('now')",
        "'a'.matches(request.reason)",
        "'a'.matches('(')",
        "'a'.startsWith()",
        "size(1, 2)",
        "request.prefixes.all(request, true)",
        "request.prefixes.all(p)",
        "request.prefixes.all('p', true)",
        "'no end",
        "1.5 > 1",
        "0x1f == 31",
        "99999999999999999999 > 1",
        "{'a': 1}.size() == 1",
        "a{b: 1}",
        "true ? false",
        "'\\d' == 'd'",
        "a.b",
        "null == null",
        "true & false",
        "request.prefixes.map(p, p.size(), p) == []",
        "if true",
        ".a",
    ];
    for text in syntax {
        assert_eq!(word(text), Err(Kind::Syntax), "{text}");
    }
    let types = [
        "1",
        "'true'",
        "request",
        "request.duration > 3600",
        "request.duration == '30m'",
        "request.count == '3'",
        "!request.count",
        "1 && true",
        "true && 1",
        "false || 'x'",
        "request.reason.ticket == 'x'",
        "has(request.reason.ticket)",
        "request.count.size() == 1",
        "'a' in 'abc'",
        "1 in ['a']",
        "request.prefixes.all(p, 1)",
        "request.prefixes['a'] == ''",
        "request.reason.all(c, true)",
        "-'a' == 'a'",
        "1 ? true : false",
        "[1] == ['a']",
        "request == request",
        "1 + 'a' == 'b'",
    ];
    for text in types {
        assert_eq!(word(text), Err(Kind::Types), "{text}");
    }
    let values = [
        "request.ticket == 'x'",
        "request.prefixes[8] == 'x'",
        "request.prefixes[-1] == 'x'",
        "1 / 0 == 1",
        "1 % 0 == 1",
        "9223372036854775807 + 1 > 0",
        "-9223372036854775807 - 2 > 0",
        // What CEL lets the other side make up for.
        "request.ticket == 'x' || true",
        "request.ticket == 'x' && false",
        "request.prefixes.exists(p, request.ticket == p || true)",
    ];
    for text in values {
        assert_eq!(word(text), Err(Kind::Values), "{text}");
    }
}

/// As long as it may be, of one piece after the other.
fn filled(start: &str, piece: &str, end: &str) -> String {
    let count = (MAX_CHARACTERS - start.len() - end.len()) / piece.len();
    format!("{start}{}{end}", piece.repeat(count))
}

#[test]
fn nothing_takes_long() {
    let numbers = (0..190).map(|n| (n % 10).to_string()).collect::<Vec<_>>().join(",");
    let nasty = [
        // Nested loops over lists.
        format!("[{}].all(a, [{}].all(b, [1].all(c, a < 10)))", "1,1,1,1,1,1", "1,1,1,1,1"),
        format!("[{}].all(a, [{}].all(b, a + b < 20))", &numbers[..180], &numbers[..180]),
        "[1,1,1,1,1,1,1,1].map(a, request.prefixes).all(x, x.all(p, p.matches('^(a|b|c|calls)*/[0-9]/$') && p.matches('(x+x+)+y') == false))".into(),
        // What doubles with each step.
        filled("[request.reason]", ".map(x,x+x)", " == []"),
        filled("[[1]]", ".map(x,x+x)", " == []"),
        filled("[1]", ".map(x,[x,x])", " == [1]"),
        format!("[1]{0} == [1]{0}", ".map(x,[x,x])".repeat(24)),
        filled("request.reason", "+request.reason", " == ''"),
        // Deep and long ones.
        filled("", "(", ""),
        filled("", "!", "true"),
        filled("", "-", "1 == 1"),
        filled("", "!(!", ""),
        filled("true", "?true:true", ""),
        filled("1", "+1", " == 1"),
        filled("request", ".reason", " == 1"),
        filled("true", "&&true", ""),
        filled("[", "[", "]"),
        filled("[", "1,", "] == []"),
        filled("'", "x", "' == ''"),
        "request.reason.matches('(((a{100}){100}){100})')".into(),
        r"request.reason.matches('^(\\w{30}\\W{30})+$')".into(),
        format!("{} == 1", "1".repeat(MAX_CHARACTERS)),
    ];
    let begin = Instant::now();
    for text in &nasty {
        let one = Instant::now();
        let found = word(text);
        assert!(one.elapsed() < Duration::from_secs(1), "{text}: {:?}", one.elapsed());
        // Refused when read, or cut off: nothing that doubles comes to an answer.
        assert!(!text.contains(".map(x") || found.is_err(), "{text}: {found:?}");
    }
    assert!(begin.elapsed() < Duration::from_secs(4), "{:?}", begin.elapsed());
    assert_eq!(word(&"[[1]].map(x,x+x)".replace("[1]", "[1,1,1,1]")), Err(Kind::Types));
    assert_eq!(word(&format!("[1]{0} == [1]{0}", ".map(x,[x,x])".repeat(20))), Err(Kind::Cost));
    assert_eq!(word(&format!("'{}' == ''", "x".repeat(MAX_CHARACTERS))), Err(Kind::Syntax));
    assert_eq!(word("[1].all(a, [1].all(b, [1].all(c, true)))"), Err(Kind::Syntax));
}

/// Threads of the runtime have a stack of two MiB; an expression that is read and dropped in a quarter of it cannot bring the operator down.
#[test]
fn the_deepest_rule_needs_little_stack() {
    let read = || {
        for (start, piece, end) in [
            ("", "(", "true"),
            ("", "!", "true"),
            ("request", ".reason", ""),
            ("true", "?true:true", ""),
            ("1", "+1", ""),
        ] {
            let count = if piece == "(" || piece == "!" { MAX_DEPTH - 2 } else { 90 };
            let close = if piece == "(" { ")".repeat(count) } else { String::new() };
            let _ = word(&format!("{start}{}{end}{close}", piece.repeat(count)));
        }
    };
    std::thread::Builder::new().stack_size(512 * 1024).spawn(read).unwrap().join().unwrap();
}
