//! JSON text, as much of it as reports, traces and profiles need.

use std::fmt::{Display, Write};

/// A string, between quotation marks.
pub fn quoted(text: &str) -> String {
    let mut quoted = String::from('"');
    for character in text.chars() {
        match character {
            '"' => quoted.push_str("\\\""),
            '\\' => quoted.push_str("\\\\"),
            control if control < ' ' => {
                let _ = write!(quoted, "\\u{:04x}", control as u32);
            }
            other => quoted.push(other),
        }
    }
    quoted.push('"');
    quoted
}

/// An array of what is JSON already.
pub fn array(items: impl IntoIterator<Item = impl Display>) -> String {
    let items: Vec<_> = items.into_iter().map(|item| item.to_string()).collect();
    format!("[{}]", items.join(","))
}

/// An object, field by field. Fields whose value is `None` are left out.
#[derive(Debug, Default)]
pub struct Object(String);

impl Object {
    /// A field whose value is JSON already.
    pub fn field(mut self, name: &str, value: impl Into<Option<String>>) -> Self {
        if let Some(value) = value.into() {
            let separator = if self.0.is_empty() { "" } else { "," };
            let _ = write!(self.0, "{separator}{}:{value}", quoted(name));
        }
        self
    }

    pub fn number(self, name: &str, value: impl Into<u64>) -> Self {
        self.field(name, value.into().to_string())
    }

    pub fn text<'t>(self, name: &str, value: impl Into<Option<&'t str>>) -> Self {
        self.field(name, value.into().map(quoted))
    }

    pub fn finish(self) -> String {
        format!("{{{}}}", self.0)
    }
}
