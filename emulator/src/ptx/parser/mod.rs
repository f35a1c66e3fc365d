//! Tokens to the syntax tree: a recursive-descent parser that notes an error, skips the statement and goes on.

mod constant;
mod declaration;
mod expression;
mod function;
mod module;
mod operand;
mod statement;

use super::ast::Module;
use super::error::{ParseError, ParseErrors, Problem};
use super::lexer::{self, Kind, Token, Tokens};

/// How deep blocks, initialiser lists and expressions may stand inside each other, together. It bounds the
/// stack of this parser and of whoever walks the tree, to a part of a thread's 2 MiB even where nothing is
/// optimised or a sanitizer pads every variable.
pub const MAX_NESTING: u32 = 64;

/// Parses a module.
///
/// # Errors
///
/// All that was found wrong, in the order of the text. After a bad statement the parser goes on behind its `;`, after
/// a bad module-scope item behind its `;` or `}`; only [`Problem::Nesting`] ends the reading early.
pub fn parse(text: &str) -> Result<Module, ParseErrors> {
    if text.len() > lexer::MAX_TEXT {
        return Err(ParseErrors::new(vec![ParseError {
            line: 1,
            column: 1,
            problem: Problem::TextLength {
                found: text.len(),
                limit: lexer::MAX_TEXT,
            },
        }]));
    }
    let mut parser = Parser::new(text);
    let module = parser.module();
    if parser.errors.is_empty() {
        Ok(module)
    } else {
        Err(ParseErrors::new(parser.errors))
    }
}

/// The error is not yet in [`Parser::errors`]: whoever recovers from it records it.
type Parsed<T> = Result<T, ParseError>;

struct Parser<'a> {
    text: &'a str,
    tokens: Vec<Token>,
    line_starts: Vec<u32>,
    /// Index of the next token; never beyond the last, [`Kind::End`].
    next: usize,
    depth: u32,
    errors: Vec<ParseError>,
}

impl<'a> Parser<'a> {
    fn new(text: &'a str) -> Self {
        let Tokens {
            tokens,
            line_starts,
        } = lexer::tokenize(text);
        Self {
            text,
            tokens,
            line_starts,
            next: 0,
            depth: 0,
            errors: Vec::new(),
        }
    }

    fn peek(&self) -> Token {
        self.tokens[self.next]
    }

    /// The token `ahead` of the next one, or the end.
    fn peek_ahead(&self, ahead: usize) -> Token {
        self.tokens[(self.next + ahead).min(self.tokens.len() - 1)]
    }

    fn text_of(&self, token: Token) -> &'a str {
        &self.text[token.start as usize..token.end as usize]
    }

    fn advance(&mut self) -> Token {
        let token = self.peek();
        if token.kind != Kind::End {
            self.next += 1;
        }
        token
    }

    fn at_end(&self) -> bool {
        self.peek().kind == Kind::End
    }

    fn is(&self, token: Token, kind: Kind, text: &str) -> bool {
        token.kind == kind && self.text_of(token) == text
    }

    fn at_symbol(&self, symbol: &str) -> bool {
        self.is(self.peek(), Kind::Symbol, symbol)
    }

    /// The next token's name without its dot, if it is a directive.
    fn directive(&self) -> Option<&'a str> {
        let token = self.peek();
        (token.kind == Kind::Directive).then(|| &self.text_of(token)[1..])
    }

    fn eat_symbol(&mut self, symbol: &str) -> bool {
        let found = self.at_symbol(symbol);
        if found {
            self.advance();
        }
        found
    }

    fn eat_directive(&mut self, name: &str) -> bool {
        let found = self.directive() == Some(name);
        if found {
            self.advance();
        }
        found
    }

    fn expect_symbol(&mut self, symbol: &str) -> Parsed<()> {
        if self.eat_symbol(symbol) {
            Ok(())
        } else {
            Err(self.unexpected(&format!("`{symbol}`")))
        }
    }

    /// An identifier that is not dotted.
    fn expect_name(&mut self, expected: &str) -> Parsed<&'a str> {
        let token = self.peek();
        let text = self.text_of(token);
        if token.kind != Kind::Word || text.contains('.') {
            return Err(self.unexpected(expected));
        }
        self.advance();
        Ok(text)
    }

    fn expect_string(&mut self) -> Parsed<()> {
        if self.peek().kind != Kind::String {
            return Err(self.unexpected("a string"));
        }
        self.advance();
        Ok(())
    }

    /// `item, item, …`: at least one.
    fn comma_separated<T>(
        &mut self,
        mut item: impl FnMut(&mut Self) -> Parsed<T>,
    ) -> Parsed<Vec<T>> {
        let mut items = vec![item(self)?];
        while self.eat_symbol(",") {
            items.push(item(self)?);
        }
        Ok(items)
    }

    /// Runs `inner` one level deeper.
    fn nested<T>(&mut self, inner: impl FnOnce(&mut Self) -> Parsed<T>) -> Parsed<T> {
        if self.depth == MAX_NESTING {
            return Err(self.error_at(self.peek(), Problem::Nesting { limit: MAX_NESTING }));
        }
        self.depth += 1;
        let result = inner(self);
        self.depth -= 1;
        result
    }

    fn unexpected(&self, expected: &str) -> ParseError {
        let token = self.peek();
        let problem = Problem::Syntax {
            found: self.describe(token),
            expected: expected.to_owned(),
        };
        self.error_at(token, problem)
    }

    fn bad_value(&self, token: Token, found: String, expected: impl Into<String>) -> ParseError {
        let expected = expected.into();
        self.error_at(token, Problem::Value { found, expected })
    }

    fn error_at(&self, token: Token, problem: Problem) -> ParseError {
        ParseError {
            line: token.line,
            column: token.start - self.line_starts[token.line as usize - 1] + 1,
            problem,
        }
    }

    fn describe(&self, token: Token) -> String {
        const MAX_CHARS: usize = 60;
        match token.kind {
            Kind::End => "the end of the text".to_owned(),
            Kind::UnterminatedComment => "a comment without its `*/`".to_owned(),
            Kind::UnterminatedString => "a string without its closing quote".to_owned(),
            _ => {
                let text = self.text_of(token);
                match text.char_indices().nth(MAX_CHARS) {
                    None => format!("`{text}`"),
                    Some((end, _)) => format!("`{}…`", &text[..end]),
                }
            }
        }
    }

    /// Notes an error, unless it is a mere consequence: at the place of the last one, or after the reading was ended.
    fn record(&mut self, error: ParseError) {
        if let Some(last) = self.errors.last()
            && (matches!(last.problem, Problem::Nesting { .. })
                || (last.line, last.column) == (error.line, error.column))
        {
            return;
        }
        if matches!(error.problem, Problem::Nesting { .. }) {
            self.next = self.tokens.len() - 1;
        }
        self.errors.push(error);
    }
}

#[cfg(test)]
mod tests;
