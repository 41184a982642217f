//! From characters to words.

use super::value::Fault;

/// A word of an expression.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(super) enum Token {
    /// A name.
    Name(String),
    /// A whole number.
    Int(i64),
    /// A text.
    Text(String),
    /// An operator, bracket or comma.
    Sign(&'static str),
}

/// The longer first.
const SIGNS: [&str; 23] = [
    "||", "&&", "==", "!=", "<=", ">=", "<", ">", "+", "-", "*", "/", "%", "!", "?", ":", "(", ")", "[", "]", ".", ",",
    "{",
];

/// The words, and where each begins.
pub(super) fn tokens(text: &str) -> Result<Vec<(usize, Token)>, Fault> {
    let mut all = Vec::new();
    let mut rest = text;
    while let Some(first) = rest.chars().next() {
        let at = text.len() - rest.len();
        if first.is_whitespace() {
            rest = &rest[first.len_utf8()..];
            continue;
        }
        let raw = rest.strip_prefix('r').filter(|r| r.starts_with(['\'', '"']));
        let (token, length) = if let Some(quoted) = raw {
            quoted_text(quoted, true).map(|(token, length)| (token, length + 1))?
        } else if first == '\'' || first == '"' {
            quoted_text(rest, false)?
        } else if first.is_ascii_digit() {
            number(rest)?
        } else if first.is_ascii_alphabetic() || first == '_' {
            let end = rest.find(|c: char| !c.is_ascii_alphanumeric() && c != '_').unwrap_or(rest.len());
            (Token::Name(rest[..end].to_owned()), end)
        } else {
            let Some(sign) = SIGNS.iter().find(|sign| rest.starts_with(**sign)) else {
                return Err(Fault::syntax(format!("{first:?} at character {} means nothing", at + 1)));
            };
            (Token::Sign(sign), sign.len())
        };
        all.push((at, token));
        rest = &rest[length..];
    }
    Ok(all)
}

fn number(rest: &str) -> Result<(Token, usize), Fault> {
    let end = rest.find(|c: char| !c.is_ascii_alphanumeric() && c != '_' && c != '.').unwrap_or(rest.len());
    let word = &rest[..end];
    let number = word.parse::<i64>().ok().filter(|_| word.bytes().all(|b| b.is_ascii_digit()));
    let number = number.ok_or_else(|| Fault::syntax(format!("{word} is no whole number in decimal digits")))?;
    Ok((Token::Int(number), end))
}

/// A text in quotes. In a raw one (`r'\d'`) a backslash is a backslash.
fn quoted_text(rest: &str, raw: bool) -> Result<(Token, usize), Fault> {
    let mut chars = rest.char_indices();
    let quote = chars.next().map(|(_, c)| c);
    let mut text = String::new();
    while let Some((at, c)) = chars.next() {
        match c {
            _ if Some(c) == quote => return Ok((Token::Text(text), at + c.len_utf8())),
            '\n' => break,
            '\\' if !raw => match chars.next() {
                Some((_, escaped @ ('\\' | '\'' | '"'))) => text.push(escaped),
                Some((_, 'n')) => text.push('\n'),
                Some((_, 't')) => text.push('\t'),
                Some((_, other)) => {
                    return Err(Fault::syntax(format!(
                        "\\{other} in a string means nothing here; for a pattern write r'…'"
                    )));
                }
                None => break,
            },
            _ => text.push(c),
        }
    }
    Err(Fault::syntax("a string has no end"))
}
