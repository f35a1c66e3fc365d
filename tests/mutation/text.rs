//! The statements of an entry in PTX text, where a mutation can get at them.

use std::collections::{HashMap, HashSet};
use std::ops::Range;

/// One statement of an entry, as far as mutations need it: `@guard opcode operand, operand;`.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Statement {
    /// Index of its line in the text.
    pub line: usize,
    /// Its bytes in the line, the semicolon included.
    pub span: Range<usize>,
    /// `@%p1` or `@!%p1`; empty without one.
    pub guard: String,
    pub opcode: String,
    pub operands: Vec<String>,
}

impl Statement {
    fn new(line: usize, span: Range<usize>, text: &str) -> Self {
        let text = text.trim();
        let (guard, rest) = match text.split_once(char::is_whitespace) {
            Some((guard, rest)) if guard.starts_with('@') => (guard, rest.trim_start()),
            _ => ("", text),
        };
        let (opcode, operands) = rest.split_once(char::is_whitespace).unwrap_or((rest, ""));
        Self {
            line,
            span,
            guard: guard.to_owned(),
            opcode: opcode.to_owned(),
            operands: split_operands(operands),
        }
    }

    pub fn is(&self, opcode: &str) -> bool {
        self.opcode == opcode || self.opcode.starts_with(&format!("{opcode}."))
    }

    /// The text with another operand.
    pub fn with_operand(&self, index: usize, operand: &str) -> String {
        let mut changed = self.clone();
        operand.clone_into(&mut changed.operands[index]);
        changed.text()
    }

    /// The text, guard and semicolon included.
    pub fn text(&self) -> String {
        let Self {
            guard,
            opcode,
            operands,
            ..
        } = self;
        let text = format!("{guard} {opcode} {};", operands.join(", "));
        text.trim_start().to_owned()
    }

    /// The operand that is written, where it is a register or several: an address is read.
    pub fn destination(&self) -> Option<&str> {
        let first = self.operands.first()?;
        (!first.starts_with('[')).then_some(first)
    }

    /// The registers that an operand names.
    pub fn registers(&self, operand: usize) -> impl Iterator<Item = &str> {
        registers(&self.operands[operand])
    }
}

/// Splits at commas outside of brackets.
fn split_operands(text: &str) -> Vec<String> {
    let mut depth = 0;
    let parts = text.split(|character| {
        match character {
            '[' | '{' | '(' => depth += 1,
            ']' | '}' | ')' => depth -= 1,
            _ => {}
        }
        character == ',' && depth == 0
    });
    let parts = parts.map(|part| part.trim().to_owned());
    parts.filter(|part| !part.is_empty()).collect()
}

/// `%r1`, `%rd2`, `%p3`, …; not the special registers, which have no number.
pub fn registers(text: &str) -> impl Iterator<Item = &str> {
    text.match_indices('%').filter_map(|(start, _)| {
        let name = &text[start..];
        let end = name[1..]
            .find(|character: char| !character.is_ascii_alphanumeric())
            .map_or(name.len(), |end| end + 1);
        name[..end]
            .ends_with(|character: char| character.is_ascii_digit())
            .then_some(&name[..end])
    })
}

/// The registers that every definition of sets to 0.
pub fn zero_registers(statements: &[Statement]) -> HashSet<&str> {
    let sets_zero = |statement: &Statement| {
        statement.is("mov") && statement.operands.get(1).is_some_and(|value| value == "0")
    };
    let mut zeros = HashSet::new();
    let mut others = HashSet::new();
    for statement in statements {
        let registers = statement.destination().into_iter().flat_map(registers);
        match sets_zero(statement) {
            true => zeros.extend(registers),
            false => others.extend(registers),
        }
    }
    &zeros - &others
}

/// The lines of an entry's body.
pub fn body(lines: &[&str], entry: &str) -> Option<Range<usize>> {
    let head = format!(".visible .entry {entry}(");
    let head = lines.iter().position(|line| line.trim() == head)?;
    let start = head + lines[head..].iter().position(|line| line.trim() == "{")?;
    let mut depth = 0;
    let length = lines[start..].iter().position(|line| {
        depth += line.matches('{').count();
        depth -= line.matches('}').count();
        depth == 0
    })?;
    Some(start..start + length)
}

/// The statements of these lines, without labels and directives.
pub fn statements(lines: &[&str], body: Range<usize>) -> Vec<Statement> {
    let mut statements = Vec::new();
    for index in body {
        let code = lines[index].split("//").next().unwrap_or_default();
        let mut start = 0;
        for end in code.match_indices(';').map(|(end, _)| end) {
            let mut text = &code[start..end];
            // Scopes open and close, and labels stand, before a statement; vectors are inside of one.
            loop {
                let rest = text.trim_start_matches(|c: char| c.is_whitespace() || "{}".contains(c));
                let label = rest.find(|c: char| !(c.is_ascii_alphanumeric() || "_$%".contains(c)));
                text = match label {
                    Some(colon)
                        if rest[colon..].starts_with(':') && !rest[colon..].starts_with("::") =>
                    {
                        &rest[colon + 1..]
                    }
                    _ => {
                        text = rest;
                        break;
                    }
                };
            }
            let span = end - text.len()..end + 1;
            start = end + 1;
            if !text.starts_with('.') && !text.trim().is_empty() {
                statements.push(Statement::new(index, span, text));
            }
        }
    }
    statements
}

/// The registers from which addresses, parities, descriptors, byte counts and branches are computed: everything that
/// the operands of `is_sink` statements and the guards of branches depend on. Data is not among them.
pub fn control_registers(
    statements: &[Statement],
    is_sink: impl Fn(&Statement, usize) -> bool,
) -> HashSet<&str> {
    let mut sources: HashMap<&str, Vec<&str>> = HashMap::new();
    let mut pending = Vec::new();
    for statement in statements {
        let operands = 0..statement.operands.len();
        for operand in operands
            .clone()
            .filter(|operand| is_sink(statement, *operand))
        {
            pending.extend(statement.registers(operand));
        }
        pending.extend(registers(&statement.guard));
        let Some(destination) = statement.destination() else {
            continue;
        };
        for destination in registers(destination) {
            let sources = sources.entry(destination).or_default();
            sources.extend(
                operands
                    .clone()
                    .skip(1)
                    .flat_map(|i| statement.registers(i)),
            );
        }
    }
    let mut found = HashSet::new();
    while let Some(register) = pending.pop() {
        if found.insert(register) {
            pending.extend(sources.get(register).into_iter().flatten());
        }
    }
    found
}

#[cfg(test)]
mod tests {
    use super::*;

    const TEXT: &str = "\
.visible .entry f(
)
{
\t.reg .b32 %r<3>; // declares
$L: add.s32 %r1, %r2, -4; // %r9
{
.reg .pred complete;
WAIT:
mbarrier.try_wait.parity.shared::cta.b64 complete, [%r1], 0;
@!complete bra WAIT;
}
\t{.reg .pred p;setp.ne.u32 p, %r3, 0;mma.x [%r1], {%r4, %r5}, p;}
\tmul.f32 %r7, %r8, %r6;
}
";

    fn parsed() -> Vec<Statement> {
        let lines: Vec<_> = TEXT.lines().collect();
        statements(&lines, body(&lines, "f").unwrap())
    }

    #[test]
    fn statements_are_found_in_lines_and_scopes() {
        let texts: Vec<_> = parsed().iter().map(Statement::text).collect();
        assert_eq!(
            texts,
            [
                "add.s32 %r1, %r2, -4;",
                "mbarrier.try_wait.parity.shared::cta.b64 complete, [%r1], 0;",
                "@!complete bra WAIT;",
                "setp.ne.u32 p, %r3, 0;",
                "mma.x [%r1], {%r4, %r5}, p;",
                "mul.f32 %r7, %r8, %r6;",
            ]
        );
        let lines: Vec<_> = TEXT.lines().collect();
        for statement in parsed() {
            let text = &lines[statement.line][statement.span.clone()];
            assert!(
                text.contains(&statement.opcode) && text.ends_with(';'),
                "{text}"
            );
        }
    }

    #[test]
    fn data_is_not_control() {
        let statements = parsed();
        let control = control_registers(&statements, |statement, operand| {
            statement.operands[operand].starts_with('[')
        });
        assert_eq!(control, HashSet::from(["%r1", "%r2"]));
    }
}
