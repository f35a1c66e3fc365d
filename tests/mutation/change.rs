//! A change to one place of a kernel.

use std::fmt;

use super::text::Statement;

/// Kinds of changes.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub enum Operator {
    FenceDeleted,
    WaitDeleted,
    WaitNotRepeated,
    ParityFlipped,
    OtherMbarrier,
    ArriveDeleted,
    ExpectDeleted,
    ArriveAndExpectDeleted,
    BytesChanged,
    CommitDeleted,
    InitDeleted,
    CountChanged,
    BarrierDeleted,
    BarrierChanged,
    TensorMemoryDeleted,
    CopyDeleted,
    CoordinateChanged,
    MmaDeleted,
    AccumulateChanged,
    DescriptorField,
    InstructionField,
    TensorAddress,
    WaitChanged,
    RankChanged,
    MulticastChanged,
    RegistersChanged,
    GridDependencyDeleted,
    OrderWeakened,
    AddressChanged,
    ConditionNegated,
    ConstantChanged,
}

impl Operator {
    pub fn name(self) -> &'static str {
        match self {
            Self::FenceDeleted => "fence deleted",
            Self::WaitDeleted => "wait deleted",
            Self::WaitNotRepeated => "wait not repeated",
            Self::ParityFlipped => "parity flipped",
            Self::OtherMbarrier => "other mbarrier",
            Self::ArriveDeleted => "arrive deleted",
            Self::ExpectDeleted => "expect_tx deleted",
            Self::ArriveAndExpectDeleted => "arrive.expect_tx deleted",
            Self::BytesChanged => "byte count changed",
            Self::CommitDeleted => "commit deleted",
            Self::InitDeleted => "init deleted",
            Self::CountChanged => "init count changed",
            Self::BarrierDeleted => "barrier deleted",
            Self::BarrierChanged => "barrier changed",
            Self::TensorMemoryDeleted => "tensor memory op deleted",
            Self::CopyDeleted => "copy deleted",
            Self::CoordinateChanged => "coordinate changed",
            Self::MmaDeleted => "mma deleted",
            Self::AccumulateChanged => "accumulate changed",
            Self::DescriptorField => "descriptor field",
            Self::InstructionField => "instruction descriptor field",
            Self::TensorAddress => "tensor address",
            Self::WaitChanged => "wait count changed",
            Self::RankChanged => "CTA rank changed",
            Self::MulticastChanged => "multicast mask changed",
            Self::RegistersChanged => "register count changed",
            Self::GridDependencyDeleted => "grid dependency deleted",
            Self::OrderWeakened => "order weakened",
            Self::AddressChanged => "address changed",
            Self::ConditionNegated => "branch condition negated",
            Self::ConstantChanged => "constant changed",
        }
    }
}

impl fmt::Display for Operator {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.pad(self.name())
    }
}

/// One changed place.
#[derive(Clone, Debug)]
pub struct Mutation {
    pub operator: Operator,
    /// What was done, where the operator alone does not say it; else empty.
    pub detail: String,
    /// Statement → new text; empty to delete it.
    edits: Vec<(Statement, String)>,
}

impl fmt::Display for Mutation {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(
            f,
            "{:<28} {:<34} line {:>4}: {}",
            self.operator,
            self.detail,
            self.line() + 1,
            self.original()
        )
    }
}

impl Mutation {
    /// Each statement of `edits` becomes the text beside it, which is empty to delete it.
    pub fn new(operator: Operator, detail: &str, edits: &[(&Statement, String)]) -> Self {
        let edits = edits.iter();
        Self {
            operator,
            detail: detail.to_owned(),
            edits: edits
                .map(|(statement, text)| ((*statement).clone(), text.clone()))
                .collect(),
        }
    }

    /// Index of the changed line.
    pub fn line(&self) -> usize {
        self.edits[0].0.line
    }

    /// The statement before the change.
    pub fn original(&self) -> String {
        self.edits[0].0.text()
    }

    /// The whole text with the change; lines keep their numbers.
    pub fn apply(&self, lines: &[&str]) -> String {
        let mut text = String::with_capacity(lines.iter().map(|line| line.len() + 1).sum());
        for (index, line) in lines.iter().enumerate() {
            let mut line = (*line).to_owned();
            for (statement, replacement) in self.edits.iter().rev() {
                if statement.line == index {
                    line.replace_range(statement.span.clone(), replacement);
                }
            }
            text += &line;
            text.push('\n');
        }
        text
    }
}
