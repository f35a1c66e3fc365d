//! Text to tokens (PTX ISA §4.1–§4.5).
//!
//! Nothing is decoded here: a token is a range of the text. Malformed pieces become tokens too, so
//! that the parser reports them where they stand.

#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Kind {
    /// An identifier with everything dotted behind it: `foo`, `%tid.x`, `ld.shared::cta.v4.b32`,
    /// `_`.
    Word,
    /// A dot and one name: `.reg`, `.b32`, `.shared::cta`.
    Directive,
    /// Starts with a digit, or a dot and a digit; whether it is a valid literal is for the
    /// expression parser to say.
    Number,
    /// With its quotes. A backslash is a character like others: a string holds no quotes.
    String,
    /// Punctuation: one byte, or two for `<< >> <= >= == != && ||`.
    Symbol,
    /// A character that PTX has no use for.
    Unknown,
    UnterminatedComment,
    UnterminatedString,
    /// The end of the text, always the last token.
    End,
}

/// Text of at least 4 GiB does not fit the positions.
#[derive(Clone, Copy, Debug)]
pub struct Token {
    pub kind: Kind,
    pub start: u32,
    pub end: u32,
    /// Counted from 1.
    pub line: u32,
}

/// The longest text whose positions fit a token.
pub const MAX_TEXT: usize = u32::MAX as usize - 1;

pub struct Tokens {
    /// Ends with one [`Kind::End`].
    pub tokens: Vec<Token>,
    /// Byte position at which each line starts.
    pub line_starts: Vec<u32>,
}

/// `text` is at most [`MAX_TEXT`] bytes long.
pub fn tokenize(text: &str) -> Tokens {
    debug_assert!(text.len() <= MAX_TEXT);
    let mut lexer = Lexer {
        bytes: text.as_bytes(),
        position: 0,
        line_starts: vec![0],
    };
    let mut tokens = Vec::with_capacity(text.len() / 4);
    loop {
        let comment = lexer.skip_blank();
        let start = lexer.position;
        let line = lexer.line_starts.len() as u32;
        let kind = match comment {
            Ok(()) => lexer.token(),
            Err(UnterminatedComment) => {
                lexer.advance_lines(text.len() - start);
                Kind::UnterminatedComment
            }
        };
        tokens.push(Token {
            kind,
            start: start as u32,
            end: lexer.position as u32,
            line,
        });
        if kind == Kind::End {
            return Tokens {
                tokens,
                line_starts: lexer.line_starts,
            };
        }
    }
}

struct UnterminatedComment;

struct Lexer<'a> {
    bytes: &'a [u8],
    position: usize,
    line_starts: Vec<u32>,
}

impl Lexer<'_> {
    fn peek(&self, ahead: usize) -> Option<u8> {
        self.bytes.get(self.position + ahead).copied()
    }

    /// Skips white space and comments; at an unterminated comment, stops where it starts.
    fn skip_blank(&mut self) -> Result<(), UnterminatedComment> {
        loop {
            match self.peek(0) {
                Some(b'\n') => {
                    self.position += 1;
                    self.line_starts.push(self.position as u32);
                }
                Some(b' ' | b'\t' | b'\r' | b'\x0b' | b'\x0c') => self.position += 1,
                Some(b'/') if self.peek(1) == Some(b'/') => {
                    let rest = &self.bytes[self.position..];
                    let length = rest.iter().position(|&b| b == b'\n');
                    self.position += length.unwrap_or(rest.len());
                }
                Some(b'/') if self.peek(1) == Some(b'*') => {
                    let body = &self.bytes[self.position + 2..];
                    let length = body.windows(2).position(|pair| pair == b"*/");
                    self.advance_lines(2 + length.ok_or(UnterminatedComment)? + 2);
                }
                _ => return Ok(()),
            }
        }
    }

    /// Skips text that can hold line ends.
    fn advance_lines(&mut self, length: usize) {
        for &byte in &self.bytes[self.position..self.position + length] {
            self.position += 1;
            if byte == b'\n' {
                self.line_starts.push(self.position as u32);
            }
        }
    }

    /// Reads one token at a byte that is not blank.
    fn token(&mut self) -> Kind {
        let Some(first) = self.peek(0) else {
            return Kind::End;
        };
        let second = self.peek(1);
        match first {
            b'a'..=b'z' | b'A'..=b'Z' | b'_' => self.word(),
            // Alone, `%` is the remainder operator and `$` is nothing.
            b'%' | b'$' if second.is_some_and(is_word_byte) => self.word(),
            b'.' if second.is_some_and(|b| b.is_ascii_digit()) => self.number(),
            b'.' if second.is_some_and(is_word_byte) => {
                self.position += 1;
                self.qualified_name();
                Kind::Directive
            }
            b'0'..=b'9' => self.number(),
            b'"' => self.string(),
            _ => self.symbol(first, second),
        }
    }

    fn word(&mut self) -> Kind {
        self.position += 1;
        self.skip_word_bytes();
        while self.peek(0) == Some(b'.') && self.peek(1).is_some_and(is_word_byte) {
            self.position += 1;
            self.qualified_name();
        }
        Kind::Word
    }

    /// A modifier or directive behind its dot: names joined by `::`.
    fn qualified_name(&mut self) {
        self.skip_word_bytes();
        while self.peek(0) == Some(b':')
            && self.peek(1) == Some(b':')
            && self.peek(2).is_some_and(is_word_byte)
        {
            self.position += 2;
            self.skip_word_bytes();
        }
    }

    fn skip_word_bytes(&mut self) {
        while self.peek(0).is_some_and(is_word_byte) {
            self.position += 1;
        }
    }

    fn number(&mut self) -> Kind {
        // In a hexadecimal literal an `e` is a digit and a sign after it an operator.
        let is_hexadecimal = self.peek(0) == Some(b'0')
            && matches!(self.peek(1), Some(b'x' | b'X' | b'f' | b'F' | b'd' | b'D'));
        loop {
            match self.peek(0) {
                Some(b'e' | b'E')
                    if !is_hexadecimal && matches!(self.peek(1), Some(b'+' | b'-')) =>
                {
                    self.position += 2;
                }
                Some(b) if is_word_byte(b) || b == b'.' => self.position += 1,
                _ => return Kind::Number,
            }
        }
    }

    fn string(&mut self) -> Kind {
        self.position += 1;
        loop {
            match self.peek(0) {
                None | Some(b'\n') => return Kind::UnterminatedString,
                Some(b'"') => {
                    self.position += 1;
                    return Kind::String;
                }
                Some(_) => self.position += 1,
            }
        }
    }

    fn symbol(&mut self, first: u8, second: Option<u8>) -> Kind {
        let is_pair = matches!(
            (first, second),
            (b'<', Some(b'<' | b'='))
                | (b'>', Some(b'>' | b'='))
                | (b'=' | b'!', Some(b'='))
                | (b'&', Some(b'&'))
                | (b'|', Some(b'|'))
        );
        if is_pair {
            self.position += 2;
            return Kind::Symbol;
        }
        self.position += 1;
        if b"{}[]()<>,;:@!~?=+-*/%&|^".contains(&first) {
            return Kind::Symbol;
        }
        // The rest of a multi-byte character, so that the token ends where a character does.
        while self.peek(0).is_some_and(|b| b & 0xC0 == 0x80) {
            self.position += 1;
        }
        Kind::Unknown
    }
}

fn is_word_byte(b: u8) -> bool {
    b.is_ascii_alphanumeric() || b == b'_' || b == b'$'
}

#[cfg(test)]
mod tests {
    use super::*;

    fn lex(text: &str) -> Vec<(Kind, &str)> {
        let mut pieces = Vec::new();
        for token in tokenize(text).tokens {
            pieces.push((token.kind, &text[token.start as usize..token.end as usize]));
        }
        assert_eq!(pieces.pop(), Some((Kind::End, "")));
        pieces
    }

    #[test]
    fn a_word_takes_its_dotted_modifiers() {
        use Kind::*;
        assert_eq!(
            lex("cp.async.bulk.tensor.2d.shared::cta.mbarrier::complete_tx::bytes [%rd1]"),
            [
                (
                    Word,
                    "cp.async.bulk.tensor.2d.shared::cta.mbarrier::complete_tx::bytes"
                ),
                (Symbol, "["),
                (Word, "%rd1"),
                (Symbol, "]"),
            ]
        );
    }

    #[test]
    fn directives_end_at_the_next_dot() {
        use Kind::*;
        assert_eq!(
            lex(".reg.b32 $L__BB0_1: .shared::cta"),
            [
                (Directive, ".reg"),
                (Directive, ".b32"),
                (Word, "$L__BB0_1"),
                (Symbol, ":"),
                (Directive, ".shared::cta"),
            ]
        );
    }

    #[test]
    fn percent_is_a_name_or_an_operator() {
        use Kind::*;
        assert_eq!(
            lex("%tid.x 7 % 3 _"),
            [
                (Word, "%tid.x"),
                (Number, "7"),
                (Symbol, "%"),
                (Number, "3"),
                (Word, "_"),
            ]
        );
    }

    #[test]
    fn numbers_keep_exponents_but_not_operators() {
        use Kind::*;
        assert_eq!(
            lex("1.5e-3 0x1e+4 0f3F800000 8.8 .5"),
            [
                (Number, "1.5e-3"),
                (Number, "0x1e"),
                (Symbol, "+"),
                (Number, "4"),
                (Number, "0f3F800000"),
                (Number, "8.8"),
                (Number, ".5"),
            ]
        );
    }

    #[test]
    fn comments_are_blank_and_lines_are_counted() {
        let tokens = tokenize("a // x\n/* y\n z */ b \"s\\\"\n\u{e9}").tokens;
        let places: Vec<_> = tokens.iter().map(|t| (t.kind, t.line)).collect();
        assert_eq!(
            places,
            [
                (Kind::Word, 1),
                (Kind::Word, 3),
                (Kind::String, 3),
                (Kind::Unknown, 4),
                (Kind::End, 4),
            ]
        );
    }

    #[test]
    fn what_does_not_end_is_one_token() {
        assert_eq!(
            lex("a /* b\nc"),
            [(Kind::Word, "a"), (Kind::UnterminatedComment, "/* b\nc")]
        );
        assert_eq!(
            lex("\"a\nb"),
            [(Kind::UnterminatedString, "\"a"), (Kind::Word, "b")]
        );
    }
}
