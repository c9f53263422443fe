//! Diagnostics as text, as compilers print them.

use model::diagnostic::{Diagnostic, Severity};
use std::fmt::Write;

/// A diagnostic as lines of text with a caret under the value; ends with a newline, no colours.
pub fn render(diagnostic: &Diagnostic) -> String {
    let mut out = String::new();
    let severity = match diagnostic.severity {
        Severity::Error => "error",
        Severity::Warning => "warning",
    };
    let _ = writeln!(out, "{severity}[{}]: {}", diagnostic.code, diagnostic.message);
    let mut margin = 0;
    if let Some(span) = &diagnostic.span {
        margin = span.line.to_string().len();
        let _ = writeln!(out, "{:margin$}--> {}:{}:{}", "", span.file, span.line, span.column);
        if let Some(line) = &diagnostic.source_line {
            let before: String = line
                .chars()
                .take(span.column.saturating_sub(1) as usize)
                .map(|c| if c == '\t' { '\t' } else { ' ' })
                .collect();
            let rest = line.chars().count().saturating_sub(before.chars().count());
            let carets = "^".repeat((span.length as usize).min(rest).max(1));
            let label = diagnostic.label.as_deref().map(|label| format!(" {label}")).unwrap_or_default();
            let _ = writeln!(out, "{:margin$} |", "");
            let _ = writeln!(out, "{} | {}", span.line, line.trim_end());
            let _ = writeln!(out, "{:margin$} | {before}{carets}{label}", "");
        }
    }
    for (note, span) in &diagnostic.chain {
        let _ = writeln!(out, "{:margin$} = {note} at {}:{}:{}", "", span.file, span.line, span.column);
    }
    if let Some(hint) = &diagnostic.hint {
        let _ = writeln!(out, "hint: {hint}");
    }
    out
}
