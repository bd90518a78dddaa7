use super::*;

fn grammar() -> Grammar {
    let params = [
        Param { name: "N", kind: Kind::Number(1, 9), help: "count" },
        Param { name: "NAME", kind: Kind::Word(8), help: "name" },
        Param { name: "TEXT", kind: Kind::Rest(20), help: "text" },
    ];
    let mut grammar = Grammar::default();
    grammar.add(0, "show {standby|status} [N] [brief]", &params, false, "show it");
    grammar.add(1, "set name NAME", &params, false, "give it a name");
    grammar.add(2, "set {active|passive} N [active]", &params, false, "set it");
    grammar.add(3, "set NAME", &params, true, "");
    grammar.add(4, "say TEXT", &params, false, "say it");
    grammar
}

#[test]
fn words_may_be_abbreviated_while_they_are_unique() {
    let grammar = grammar();
    assert_eq!(grammar.parse("sh stan").unwrap().command, 0);
    assert_eq!(grammar.parse("SHOW STATUS 3 b").unwrap().number::<u8>("N"), Some(3));
    let ambiguous = grammar.parse("sh st").unwrap_err();
    assert_eq!((ambiguous.column, ambiguous.message.as_str()), (4, "\"st\" is ambiguous"));
    assert_eq!(ambiguous.expected, ["standby", "status"]);
}

#[test]
fn an_error_names_the_column_and_what_was_expected() {
    let grammar = grammar();
    let wrong = grammar.parse("show standby 12").unwrap_err();
    assert_eq!((wrong.column, wrong.message.as_str()), (14, "12 is out of range: the count is 1 to 9"));
    let short = grammar.parse("set active").unwrap_err();
    assert_eq!((short.column, short.expected), (12, vec!["<1-9> (count)".to_owned()]));
    let long = grammar.parse("show standby 1 brief more").unwrap_err();
    assert_eq!((long.column, long.expected), (22, vec!["end of line".to_owned()]));
    assert_eq!(grammar.parse("").unwrap_err().expected, ["say", "set", "show"]);
}

#[test]
fn a_mismatch_is_shown_with_a_caret() {
    let wrong = grammar().parse("show standby 12").unwrap_err();
    assert_eq!(wrong.reason, Reason::Invalid);
    assert_eq!(
        wrong.render("show standby 12"),
        "show standby 12\n             ^\n12 is out of range: the count is 1 to 9\n\
             expected here: <1-9> (count), brief"
    );
}

#[test]
fn hidden_forms_are_understood_but_never_offered() {
    let grammar = grammar();
    let slip = grammar.parse("set group1").unwrap();
    assert_eq!((slip.command, slip.text("NAME")), (3, Some("group1".to_owned())));
    assert_eq!(grammar.parse("set").unwrap_err().expected, ["active", "name", "passive"]);
}

#[test]
fn the_rest_of_a_line_is_kept_as_typed() {
    let said = grammar().parse("say  a  b c ").unwrap();
    assert_eq!(said.text("TEXT"), Some("a  b c".to_owned()));
    assert!(grammar().parse("say 123456789012345678901").is_err());
}

#[test]
fn what_may_follow_is_offered_with_its_meaning() {
    let words = |line: &str| {
        let offers = grammar().offers(line);
        offers.into_iter().map(|offer| format!("{} {}", offer.word, offer.help)).collect::<Vec<_>>()
    };
    assert_eq!(words(""), ["say say it", "set give it a name", "show show running system information"]);
    assert_eq!(words("s"), words(""));
    assert_eq!(words("sh"), ["show show running system information"]);
    assert_eq!(words("sh "), ["standby HSRP", "status show it"]);
    assert_eq!(words("sh stat"), ["status show it"]);
    assert_eq!(words("sh stat "), ["<1-9> count", "brief one line per group", "<cr> "]);
    assert_eq!(words("set act 7 "), ["active the key that encrypts", "<cr> "]);
    assert_eq!(words("say "), ["LINE text"]);
    assert_eq!(words("say a b "), ["<cr> "]);
    assert_eq!(words("say a b"), [""; 0]);
    assert_eq!(words("nonsense "), [""; 0]);
}

proptest::proptest! {
    #[test]
    fn no_line_panics(line in "\\PC{0,60}") {
        let _ = grammar().parse(&line);
        let _ = grammar().offers(&line);
    }
}
