//! Texts that are hardly PTX: parsing and decoding them fails, and does nothing else.

use proptest::prelude::*;
use proptest::sample::{Index, select};
use ptx_emulator::isa::{self, LoadEnvironment};

use super::ORIGINALS;

/// What token soup is made of, besides the words of valid modules.
const TOKENS: &[&str] = &[
    ".version",
    ".target",
    ".address_size",
    ".visible",
    ".extern",
    ".entry",
    ".func",
    ".param",
    ".reg",
    ".shared",
    ".global",
    ".const",
    ".local",
    ".align",
    ".b8",
    ".b32",
    ".u64",
    ".pred",
    ".v4",
    ".loc",
    ".file",
    ".section",
    ".pragma",
    ".branchtargets",
    ".callprototype",
    ".maxntid",
    ".ptr",
    ".alias",
    "{",
    "}",
    "(",
    ")",
    "[",
    "]",
    "<",
    ">",
    ";",
    ",",
    ":",
    "@",
    "!",
    "|",
    "+",
    "-",
    "*",
    "/",
    "=",
    "_",
    "%r1",
    "%p1",
    "%tid.x",
    "0f3F800000",
    "0d7FF",
    "0x",
    "0xFFFFFFFFFFFFFFFF",
    "0b2",
    "09",
    "1.5",
    "18446744073709551616",
    "-9223372036854775808",
    "\"",
    "\"x\"",
    "//",
    "/*",
    "*/",
    "\n",
    "\t",
    "\0",
    "\u{feff}",
    "é",
    "a",
    "bra",
    "call",
    "ret",
    "mov.u32",
    "ld.shared.v4.u32",
    "WAIT:",
];

/// Any text, whatever it takes to make one: characters, tokens, pieces of valid modules.
pub fn texts() -> impl Strategy<Value = String> {
    let bytes = prop::collection::vec(any::<u8>(), 0..200)
        .prop_map(|bytes| String::from_utf8_lossy(&bytes).into_owned());
    let word = prop_oneof![
        3 => select(TOKENS).prop_map(str::to_owned),
        2 => (any::<Index>(), any::<Index>(), any::<Index>()).prop_map(|(o, line, word)| {
            let line = line.get(&o.get(&ORIGINALS).lines);
            let words: Vec<&str> = line.split_whitespace().collect();
            if words.is_empty() { String::new() } else { (*word.get(&words)).to_owned() }
        }),
    ];
    let soup = (any::<bool>(), prop::collection::vec(word, 0..80)).prop_map(|(header, words)| {
        let header = if header { HEADER } else { "" };
        format!("{header}{}", words.join(" "))
    });
    // The start of a module up to any character, and the end of another one.
    let cut = |from: (Index, Index)| {
        let text = from.0.get(&ORIGINALS).lines.join("\n");
        let at = text.floor_char_boundary(from.1.index(text.len()));
        (text[..at].to_owned(), text[at..].to_owned())
    };
    let place = || (any::<Index>(), any::<Index>());
    let spliced = (place(), prop::option::of(place()))
        .prop_map(move |(start, end)| cut(start).0 + &end.map_or(String::new(), |end| cut(end).1));
    prop_oneof![1 => bytes, 1 => "\\PC{0,100}", 4 => soup, 4 => spliced]
}

const HEADER: &str =
    ".version 8.8\n.target sm_100a\n.address_size 64\n.visible .entry k(.param .u64 p)\n{\n";

/// Loading `text` succeeds or says why not.
pub fn check(text: &str) {
    let environment = LoadEnvironment { shared_base: 1024 };
    let mut address = 1 << 20;
    let loaded = isa::load(text, &environment, &mut |variable| {
        address += (variable.bytes.len() as u64).next_multiple_of(1 << 12);
        Ok(address)
    });
    if let Err(error) = loaded {
        assert!(!error.to_string().is_empty());
    }
}
