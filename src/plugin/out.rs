//! What is printed: results on stdout, everything for people on stderr, colours only on a terminal.

use std::io::{self, IsTerminal, Write};

use serde::Serialize;
use serde_json::{Value, json};

use super::cli::{Form, no_colour};
use super::exit::{Failure, Outcome};
use super::names::Kind;

/// Where output goes.
#[derive(Clone, Debug)]
pub struct Out {
    /// The form of `-o`.
    pub form: Option<Form>,
    coloured: bool,
}

/// Colours, by what they say.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Mood {
    /// Good.
    Good,
    /// Bad.
    Bad,
    /// To be looked at.
    Unsure,
    /// A heading.
    Strong,
}

impl Out {
    /// For this process.
    pub fn new(form: Option<Form>) -> Self {
        Self { form, coloured: io::stdout().is_terminal() && !no_colour() }
    }

    /// A line of the result.
    pub fn line(&self, text: &str) {
        self.text(&format!("{text}\n"));
    }

    /// Text of the result. A broken pipe is no failure: the reader (`head`, a pager) has seen enough.
    pub fn text(&self, text: &str) {
        let mut out = io::stdout().lock();
        let _ = out.write_all(text.as_bytes()).and_then(|()| out.flush());
    }

    /// A line for people, beside the result.
    pub fn note(&self, text: &str) {
        let _ = writeln!(io::stderr(), "{text}");
    }

    /// Text in a colour, on a terminal.
    pub fn paint(&self, mood: Mood, text: &str) -> String {
        let code = match mood {
            Mood::Good => "32",
            Mood::Bad => "31",
            Mood::Unsure => "33",
            Mood::Strong => "1",
        };
        if self.coloured { format!("\x1b[{code}m{text}\x1b[0m") } else { text.to_owned() }
    }

    /// A value as JSON or YAML, if that is the form. False if another form is wanted.
    ///
    /// # Errors
    /// If it cannot be written so.
    pub fn value(&self, value: &impl Serialize) -> Outcome<bool> {
        let broken = |e: &dyn std::fmt::Display| Failure::failed(format!("cannot be printed: {e}"));
        match self.form {
            Some(Form::Json) => {
                let value = serde_json::to_value(value).map_err(|e| broken(&e))?;
                self.line(&format!("{value:#}"));
            }
            Some(Form::Yaml) => self.text(&serde_saphyr::to_string(value).map_err(|e| broken(&e))?),
            _ => return Ok(false),
        }
        Ok(true)
    }

    /// An object that was written: in the form of `-o`, or as a sentence such as `dgrant/x created`.
    ///
    /// # Errors
    /// If it cannot be written so.
    pub fn written(&self, kind: Kind, name: &str, object: &impl Serialize, sentence: &str, dry: bool) -> Outcome<()> {
        if self.value(object)? {
            return Ok(());
        }
        let named = format!("{}/{name}", kind.resource());
        match self.form {
            Some(Form::Name) => self.line(&named),
            _ if dry => self.line(&format!("{named} {sentence} (server dry run)")),
            _ => self.line(&format!("{named} {sentence}")),
        }
        Ok(())
    }

    /// The failure of a command.
    pub fn failure(&self, failure: &Failure) {
        let mut text = format!("error: {}", clean(&failure.message));
        for next in &failure.next {
            text.push_str(&format!("\n  → {}", clean(next)));
        }
        self.note(&text);
    }
}

/// Objects as kubectl prints several of them.
pub fn list<T: Serialize>(items: &[T]) -> Value {
    json!({"apiVersion": "v1", "kind": "List", "metadata": {}, "items": items})
}

/// A table as kubectl prints it: columns of equal width, three blanks between them, an empty cell as it is.
pub fn table(header: &[&str], rows: &[Vec<String>]) -> String {
    let width = |column: usize| {
        let cells = rows.iter().filter_map(|row| row.get(column)).map(|cell| cell.chars().count());
        cells.chain(header.get(column).map(|h| h.len())).max().unwrap_or_default()
    };
    let widths: Vec<usize> = (0..header.len()).map(width).collect();
    let line = |cells: &[String]| {
        let padded = cells.iter().zip(&widths).map(|(cell, width)| format!("{:<width$}", clean(cell)));
        padded.collect::<Vec<_>>().join("   ").trim_end().to_owned() + "\n"
    };
    let header: Vec<String> = header.iter().map(|h| (*h).to_owned()).collect();
    std::iter::once(header.as_slice()).chain(rows.iter().map(Vec::as_slice)).map(line).collect()
}

/// Text from the cluster as one line for a terminal: no control characters and none that change the direction of writing, so that a name or a reason
/// cannot play tricks with what is read before it is signed.
pub fn clean(text: &str) -> String {
    let trick = |c: char| {
        c.is_control()
            || matches!(c, '\u{200b}'..='\u{200f}' | '\u{2028}'..='\u{202e}' | '\u{2066}'..='\u{2069}' | '\u{feff}')
    };
    text.chars().map(|c| if trick(c) { ' ' } else { c }).collect()
}

/// How long ago, as kubectl says it: `5s`, `12m`, `3h`, `8d`.
pub fn age(seconds: i64) -> String {
    let s = seconds.max(0);
    match s {
        0..120 => format!("{s}s"),
        120..7_200 => format!("{}m", s / 60),
        7_200..172_800 => format!("{}h", s / 3_600),
        _ => format!("{}d", s / 86_400),
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn tables_are_aligned() {
        let rows = [vec!["a".to_owned(), "long cell".to_owned()], vec!["longer".to_owned(), String::new()]];
        assert_eq!(table(&["NAME", "STATE"], &rows), "NAME     STATE\na        long cell\nlonger\n");
    }

    #[test]
    fn no_tricks_with_the_screen() {
        assert_eq!(clean("a\x1b[2Jb\nc\u{202e}d"), "a [2Jb c d");
        assert_eq!([age(-1), age(59), age(600), age(7_300), age(900_000)], ["0s", "59s", "10m", "2h", "10d"]);
    }
}
