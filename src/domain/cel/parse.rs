//! From words to an expression.

use jiff::{SignedDuration, Timestamp};
use regex::{Regex, RegexBuilder};

use super::lex::{Token, tokens};
use super::value::{Fault, Value};
use super::{MAX_CHARACTERS, MAX_DEPTH, MAX_LOOPS, MAX_PARTS, Names, PATTERN_SIZE};
use crate::domain::time::{parse_duration, parse_instant};

/// An operator with two sides.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum Binary {
    Or,
    And,
    Equal,
    Different,
    Less,
    AtMost,
    More,
    AtLeast,
    In,
    Add,
    Subtract,
    Multiply,
    Divide,
    Remainder,
}

/// Operators by how tightly they bind, the loosest first (CEL specification, Syntax).
const LEVELS: [&[(&str, Binary)]; 5] = [
    &[("||", Binary::Or)],
    &[("&&", Binary::And)],
    &[
        ("==", Binary::Equal),
        ("!=", Binary::Different),
        ("<", Binary::Less),
        ("<=", Binary::AtMost),
        (">", Binary::More),
        (">=", Binary::AtLeast),
        ("in", Binary::In),
    ],
    &[("+", Binary::Add), ("-", Binary::Subtract)],
    &[("*", Binary::Multiply), ("/", Binary::Divide), ("%", Binary::Remainder)],
];

/// A function of a text or list.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum Function {
    Size,
    StartsWith,
    EndsWith,
    Contains,
    LowerAscii,
}

/// What is done with each element of a list.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum Loop {
    All,
    Exists,
    ExistsOne,
    Filter,
    Map,
}

/// An expression.
#[derive(Clone, Debug)]
pub(super) enum Expr {
    Literal(Value),
    Name(String),
    Field(Box<Expr>, String),
    Has(Box<Expr>, String),
    Index(Box<Expr>, Box<Expr>),
    List(Vec<Expr>),
    Not(Box<Expr>),
    Negative(Box<Expr>),
    Binary(Binary, Box<Expr>, Box<Expr>),
    If(Box<Expr>, Box<Expr>, Box<Expr>),
    Call(Function, Box<Expr>, Option<Box<Expr>>),
    Matches(Box<Expr>, Box<Regex>),
    Each(Loop, Box<Expr>, String, Box<Expr>),
}

/// Reads an expression as a whole.
pub(super) fn parse(text: &str, names: Names<'_>) -> Result<Expr, Fault> {
    if text.chars().count() > MAX_CHARACTERS {
        return Err(Fault::syntax(format!("it is longer than {MAX_CHARACTERS} characters; write several rules")));
    }
    let tokens = tokens(text)?;
    let mut parser = Parser { tokens, at: 0, names, variables: Vec::new(), parts: 0, depth: 0 };
    let expr = parser.condition()?;
    match parser.tokens.get(parser.at) {
        None => Ok(expr),
        Some(_) => Err(parser.unexpected()),
    }
}

struct Parser<'a> {
    tokens: Vec<(usize, Token)>,
    at: usize,
    names: Names<'a>,
    /// Of the loops that this is within.
    variables: Vec<String>,
    parts: usize,
    depth: usize,
}

impl Parser<'_> {
    fn unexpected(&self) -> Fault {
        match self.tokens.get(self.at) {
            Some((at, Token::Name(word))) => Fault::syntax(format!("{word} at character {} is not expected", at + 1)),
            Some((at, Token::Sign(sign))) => Fault::syntax(format!("{sign:?} at character {} is not expected", at + 1)),
            Some((at, _)) => Fault::syntax(format!("the literal at character {} is not expected", at + 1)),
            None => Fault::syntax("it ends too early"),
        }
    }

    fn next(&mut self) -> Option<Token> {
        let token = self.tokens.get(self.at).map(|(_, token)| token.clone());
        self.at += 1;
        token
    }

    fn takes(&mut self, sign: &str) -> bool {
        let there = matches!(self.tokens.get(self.at), Some((_, Token::Sign(s))) if *s == sign);
        self.at += usize::from(there);
        there
    }

    fn expect(&mut self, sign: &str) -> Result<(), Fault> {
        if self.takes(sign) { Ok(()) } else { Err(self.unexpected()) }
    }

    /// Every part of the expression comes by here.
    fn part(&mut self, expr: Expr) -> Result<Expr, Fault> {
        self.parts += 1;
        if self.parts > MAX_PARTS {
            return Err(Fault::syntax(format!("it has more than {MAX_PARTS} parts; write several rules")));
        }
        Ok(expr)
    }

    fn deeper<T>(&mut self, read: impl FnOnce(&mut Self) -> Result<T, Fault>) -> Result<T, Fault> {
        self.depth += 1;
        if self.depth > MAX_DEPTH {
            return Err(Fault::syntax(format!("more than {MAX_DEPTH} brackets or signs are within each other")));
        }
        let read = read(self);
        self.depth -= 1;
        read
    }

    fn condition(&mut self) -> Result<Expr, Fault> {
        self.deeper(|p| {
            let condition = p.binary(0)?;
            if !p.takes("?") {
                return Ok(condition);
            }
            let yes = p.binary(0)?;
            p.expect(":")?;
            let no = p.condition()?;
            p.part(Expr::If(condition.into(), yes.into(), no.into()))
        })
    }

    fn operator(&mut self, level: usize) -> Option<Binary> {
        let word = match self.tokens.get(self.at) {
            Some((_, Token::Sign(sign))) => *sign,
            Some((_, Token::Name(name))) => name.as_str(),
            _ => return None,
        };
        let (_, operator) = LEVELS.get(level)?.iter().find(|(text, _)| *text == word)?;
        self.at += 1;
        Some(*operator)
    }

    fn binary(&mut self, level: usize) -> Result<Expr, Fault> {
        if level == LEVELS.len() {
            return self.unary();
        }
        let mut left = self.binary(level + 1)?;
        while let Some(operator) = self.operator(level) {
            let right = self.binary(level + 1)?;
            left = self.part(Expr::Binary(operator, left.into(), right.into()))?;
        }
        Ok(left)
    }

    fn unary(&mut self) -> Result<Expr, Fault> {
        if self.takes("!") {
            let inner = self.deeper(Self::unary)?;
            return self.part(Expr::Not(inner.into()));
        }
        if self.takes("-") {
            let inner = self.deeper(Self::unary)?;
            return self.part(Expr::Negative(inner.into()));
        }
        let mut expr = self.primary()?;
        loop {
            if self.takes(".") {
                expr = self.member(expr)?;
            } else if self.takes("[") {
                let index = self.condition()?;
                self.expect("]")?;
                expr = self.part(Expr::Index(expr.into(), index.into()))?;
            } else {
                return Ok(expr);
            }
        }
    }

    fn primary(&mut self) -> Result<Expr, Fault> {
        let start = self.at;
        match self.next() {
            Some(Token::Int(n)) => self.part(Expr::Literal(Value::Int(n))),
            Some(Token::Text(text)) => self.part(Expr::Literal(Value::text(&text))),
            Some(Token::Sign("(")) => {
                let inner = self.condition()?;
                self.expect(")")?;
                Ok(inner)
            }
            Some(Token::Sign("[")) => {
                let elements = self.arguments("]")?;
                self.part(Expr::List(elements))
            }
            Some(Token::Name(name)) if self.takes("(") => self.global(&name),
            Some(Token::Name(name)) if name == "true" || name == "false" => {
                self.part(Expr::Literal(Value::Bool(name == "true")))
            }
            Some(Token::Name(name)) => {
                let known = self.variables.contains(&name) || self.names.iter().any(|(path, _)| *path == name);
                if !known {
                    let roots: Vec<_> = self.names.iter().map(|(p, _)| *p).filter(|p| !p.contains('.')).collect();
                    return Err(Fault::syntax(format!("{name} is not known; there are {}", roots.join(" and "))));
                }
                self.part(Expr::Name(name))
            }
            _ => {
                self.at = start;
                Err(self.unexpected())
            }
        }
    }

    fn arguments(&mut self, end: &str) -> Result<Vec<Expr>, Fault> {
        let mut all = Vec::new();
        while !self.takes(end) {
            if !all.is_empty() {
                self.expect(",")?;
            }
            all.push(self.condition()?);
        }
        Ok(all)
    }

    fn global(&mut self, name: &str) -> Result<Expr, Fault> {
        let mut arguments = self.arguments(")")?;
        let one = arguments.pop().filter(|_| arguments.is_empty());
        let one = one.ok_or_else(|| Fault::syntax(format!("{name}() takes one argument")))?;
        match (name, one) {
            ("has", Expr::Field(of, field)) => self.part(Expr::Has(of, field)),
            ("has", _) => Err(Fault::syntax("has() takes a field: has(request.ticket)")),
            ("size", of) => self.part(Expr::Call(Function::Size, of.into(), None)),
            ("duration", Expr::Literal(Value::Text(text))) => {
                let length: SignedDuration = parse_duration(&text)
                    .map_err(|e| Fault::syntax(format!("duration({text:?}): {e}; write for example duration('1h')")))?;
                self.part(Expr::Literal(Value::Duration(length)))
            }
            ("timestamp", Expr::Literal(Value::Text(text))) => {
                let moment: Timestamp = parse_instant(&text).ok_or_else(|| {
                    Fault::syntax(format!("timestamp({text:?}): write for example timestamp('2026-11-24T12:00:00Z')"))
                })?;
                self.part(Expr::Literal(Value::Instant(moment)))
            }
            ("duration" | "timestamp", _) => Err(Fault::syntax(format!("{name}() takes a literal string"))),
            _ => Err(Fault::syntax(format!("the function {name}() is not known"))),
        }
    }

    /// What follows a dot.
    fn member(&mut self, of: Expr) -> Result<Expr, Fault> {
        let Some(Token::Name(name)) = self.next() else {
            self.at -= 1;
            return Err(self.unexpected());
        };
        if !self.takes("(") {
            self.known(&of, &name)?;
            return self.part(Expr::Field(of.into(), name));
        }
        let each = match name.as_str() {
            "all" => Loop::All,
            "exists" => Loop::Exists,
            "exists_one" => Loop::ExistsOne,
            "filter" => Loop::Filter,
            "map" => Loop::Map,
            _ => return self.method(of, &name),
        };
        let Some(Token::Name(variable)) = self.next() else {
            return Err(Fault::syntax(format!("{name}() begins with a name of your choice: {name}(p, …)")));
        };
        self.expect(",")?;
        if self.variables.len() == MAX_LOOPS {
            return Err(Fault::syntax(format!(
                "more than {MAX_LOOPS} of all, exists, filter and map are within each other"
            )));
        }
        if self.names.iter().any(|(path, _)| *path == variable) || self.variables.contains(&variable) {
            return Err(Fault::syntax(format!("{variable} has a meaning already; use another name in {name}()")));
        }
        self.variables.push(variable.clone());
        let body = self.condition()?;
        self.variables.pop();
        self.expect(")")?;
        self.part(Expr::Each(each, of.into(), variable, body.into()))
    }

    fn method(&mut self, of: Expr, name: &str) -> Result<Expr, Fault> {
        let mut arguments = self.arguments(")")?;
        let (count, argument) = (arguments.len(), arguments.pop());
        let function = match name {
            "size" => Function::Size,
            "lowerAscii" => Function::LowerAscii,
            "startsWith" => Function::StartsWith,
            "endsWith" => Function::EndsWith,
            "contains" => Function::Contains,
            "matches" => {
                let Some(Expr::Literal(Value::Text(text))) = argument.filter(|_| count == 1) else {
                    return Err(Fault::syntax("matches() takes a literal pattern: matches('^calls/')"));
                };
                let pattern = pattern(&text)?;
                return self.part(Expr::Matches(of.into(), pattern.into()));
            }
            _ => return Err(Fault::syntax(format!("the function .{name}() is not known"))),
        };
        let wanted = usize::from(!matches!(function, Function::Size | Function::LowerAscii));
        if count != wanted {
            return Err(Fault::syntax(format!(
                ".{name}() takes {wanted} argument{}",
                if wanted == 1 { "" } else { "s" }
            )));
        }
        self.part(Expr::Call(function, of.into(), argument.map(Box::new)))
    }

    /// A field that no request ever has is a mistake of the writer.
    fn known(&self, of: &Expr, field: &str) -> Result<(), Fault> {
        let Some(path) = path(of).filter(|_| !self.variables.iter().any(|v| matches!(of, Expr::Name(n) if n == v)))
        else {
            return Ok(());
        };
        let Some((_, fields)) = self.names.iter().find(|(known, _)| *known == path) else { return Ok(()) };
        if fields.contains(&field) {
            return Ok(());
        }
        Err(Fault::syntax(format!("{path}.{field} is not known; {path} has {}", fields.join(", "))))
    }
}

/// `request.requester`, if it is a name with fields.
fn path(expr: &Expr) -> Option<String> {
    match expr {
        Expr::Name(name) => Some(name.clone()),
        Expr::Field(of, field) => path(of).map(|path| format!("{path}.{field}")),
        _ => None,
    }
}

fn pattern(text: &str) -> Result<Regex, Fault> {
    RegexBuilder::new(text).size_limit(PATTERN_SIZE).dfa_size_limit(PATTERN_SIZE).build().map_err(|e| {
        let why = e.to_string().lines().last().unwrap_or_default().trim().to_owned();
        Fault::syntax(format!("matches({text:?}): {why}"))
    })
}
