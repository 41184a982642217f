//! From an expression to its value, in a bounded number of steps.

use std::cmp::Ordering;
use std::collections::BTreeMap;
use std::sync::Arc;

use super::MAX_STEPS;
use super::parse::{Binary, Expr, Function, Loop};
use super::value::{Fault, Kind, Value};

/// Characters, and elements of lists, that are worked on in one step.
const PER_STEP: usize = 16;
/// Steps of one match of a pattern, beside those for the characters of the text.
const MATCH: usize = 50;

/// The value of the expression.
pub(super) fn evaluate(expr: &Expr, values: &BTreeMap<&str, Value>) -> Result<Value, Fault> {
    Evaluation { values, variables: Vec::new(), left: MAX_STEPS }.value(expr)
}

struct Evaluation<'a> {
    values: &'a BTreeMap<&'a str, Value>,
    variables: Vec<(&'a str, Value)>,
    left: usize,
}

impl<'a> Evaluation<'a> {
    fn spend(&mut self, work: usize) -> Result<(), Fault> {
        let steps = work / PER_STEP + 1;
        self.left = self.left.checked_sub(steps).ok_or_else(|| Fault {
            kind: Kind::Cost,
            problem: format!("it takes more than {MAX_STEPS} steps; make it simpler, or write several rules"),
        })?;
        Ok(())
    }

    fn value(&mut self, expr: &'a Expr) -> Result<Value, Fault> {
        self.spend(0)?;
        match expr {
            Expr::Literal(value) => Ok(value.clone()),
            Expr::Name(name) => self.named(name),
            Expr::Field(of, field) => {
                let fields = self.fields(of, field)?;
                let missing =
                    || Fault::values(format!("there is no {field} in this request; ask has(….{field}) first"));
                fields.get(field.as_str()).cloned().ok_or_else(missing)
            }
            Expr::Has(of, field) => Ok(Value::Bool(self.fields(of, field)?.contains_key(field.as_str()))),
            Expr::Index(of, index) => self.element(of, index),
            Expr::List(elements) => {
                let all = elements.iter().map(|e| self.value(e)).collect::<Result<Arc<[_]>, _>>()?;
                Ok(Value::List(all))
            }
            Expr::Not(inner) => Ok(Value::Bool(!self.bool(inner)?)),
            Expr::Negative(inner) => match self.value(inner)? {
                Value::Int(n) => n.checked_neg().map(Value::Int).ok_or_else(out_of_range),
                other => Err(Fault::types(format!("{} has no negative", other.kind()))),
            },
            Expr::Binary(operator, left, right) => self.binary(*operator, left, right),
            Expr::If(condition, yes, no) => {
                let chosen = if self.bool(condition)? { yes } else { no };
                self.value(chosen)
            }
            Expr::Call(function, of, argument) => self.call(*function, of, argument.as_deref()),
            Expr::Matches(of, pattern) => match self.value(of)? {
                Value::Text(text) => {
                    self.spend(MATCH * PER_STEP + text.len() * PER_STEP)?;
                    Ok(Value::Bool(pattern.is_match(&text)))
                }
                other => Err(Fault::types(format!("matches() is of a string, not of {}", other.kind()))),
            },
            Expr::Each(each, of, variable, body) => self.each(*each, of, variable, body),
        }
    }

    fn named(&self, name: &str) -> Result<Value, Fault> {
        let own = self.variables.iter().rev().find(|(variable, _)| *variable == name).map(|(_, value)| value);
        own.or_else(|| self.values.get(name)).cloned().ok_or_else(|| Fault::values(format!("{name} has no value")))
    }

    fn fields(&mut self, of: &'a Expr, field: &str) -> Result<Arc<BTreeMap<&'static str, Value>>, Fault> {
        match self.value(of)? {
            Value::Map(fields) => Ok(fields),
            other => Err(Fault::types(format!("{} has no field {field}", other.kind()))),
        }
    }

    fn bool(&mut self, expr: &'a Expr) -> Result<bool, Fault> {
        match self.value(expr)? {
            Value::Bool(word) => Ok(word),
            other => Err(Fault::types(format!("{} stands where true or false is needed", other.kind()))),
        }
    }

    fn list(&mut self, expr: &'a Expr) -> Result<Arc<[Value]>, Fault> {
        match self.value(expr)? {
            Value::List(all) => Ok(all),
            other => Err(Fault::types(format!("{} stands where a list is needed", other.kind()))),
        }
    }

    fn element(&mut self, of: &'a Expr, index: &'a Expr) -> Result<Value, Fault> {
        let all = self.list(of)?;
        match self.value(index)? {
            Value::Int(n) => {
                let element = usize::try_from(n).ok().and_then(|n| all.get(n)).cloned();
                element.ok_or_else(|| Fault::values(format!("there is no element {n} in a list of {}", all.len())))
            }
            other => Err(Fault::types(format!("{} is no index", other.kind()))),
        }
    }

    fn binary(&mut self, operator: Binary, left: &'a Expr, right: &'a Expr) -> Result<Value, Fault> {
        // The left decides where it can, and a fault on the left is one whatever the right says.
        match operator {
            Binary::Or => return Ok(Value::Bool(self.bool(left)? || self.bool(right)?)),
            Binary::And => return Ok(Value::Bool(self.bool(left)? && self.bool(right)?)),
            _ => {}
        }
        let (left, right) = (self.value(left)?, self.value(right)?);
        let order = |order: fn(Ordering) -> bool| compare(&left, &right).map(|found| Value::Bool(order(found)));
        match operator {
            Binary::Equal => Ok(Value::Bool(self.equal(&left, &right)?)),
            Binary::Different => Ok(Value::Bool(!self.equal(&left, &right)?)),
            Binary::Less => order(Ordering::is_lt),
            Binary::AtMost => order(Ordering::is_le),
            Binary::More => order(Ordering::is_gt),
            Binary::AtLeast => order(Ordering::is_ge),
            Binary::In => self.contained(&left, &right),
            _ => self.arithmetic(operator, &left, &right),
        }
    }

    fn contained(&mut self, element: &Value, list: &Value) -> Result<Value, Fault> {
        let Value::List(all) = list else {
            return Err(Fault::types(format!("in asks for a list, not for {}", list.kind())));
        };
        for one in all.iter() {
            if self.equal(element, one)? {
                return Ok(Value::Bool(true));
            }
        }
        Ok(Value::Bool(false))
    }

    /// Lists may share their elements, so that looking at all of them can take longer than making them did.
    fn equal(&mut self, left: &Value, right: &Value) -> Result<bool, Fault> {
        self.spend(0)?;
        match (left, right) {
            (Value::Bool(a), Value::Bool(b)) => Ok(a == b),
            (Value::Int(a), Value::Int(b)) => Ok(a == b),
            (Value::Duration(a), Value::Duration(b)) => Ok(a == b),
            (Value::Instant(a), Value::Instant(b)) => Ok(a == b),
            (Value::Text(a), Value::Text(b)) => {
                self.spend(a.len())?;
                Ok(a == b)
            }
            (Value::List(a), Value::List(b)) => {
                if a.len() != b.len() {
                    return Ok(false);
                }
                for (a, b) in a.iter().zip(b.iter()) {
                    if !self.equal(a, b)? {
                        return Ok(false);
                    }
                }
                Ok(true)
            }
            _ => Err(not_together("compared", left, right)),
        }
    }

    fn arithmetic(&mut self, operator: Binary, left: &Value, right: &Value) -> Result<Value, Fault> {
        match (operator, left, right) {
            (_, Value::Int(a), Value::Int(b)) => {
                let result = match operator {
                    Binary::Add => a.checked_add(*b),
                    Binary::Subtract => a.checked_sub(*b),
                    Binary::Multiply => a.checked_mul(*b),
                    Binary::Divide => a.checked_div(*b),
                    _ => a.checked_rem(*b),
                };
                result.map(Value::Int).ok_or_else(out_of_range)
            }
            (Binary::Add, Value::Text(a), Value::Text(b)) => {
                self.spend(a.len() + b.len())?;
                Ok(Value::Text(format!("{a}{b}").into()))
            }
            (Binary::Add, Value::List(a), Value::List(b)) => {
                self.spend((a.len() + b.len()) * PER_STEP)?;
                Ok(Value::list(a.iter().chain(b.iter()).cloned()))
            }
            (Binary::Add, Value::Duration(a), Value::Duration(b)) => {
                a.checked_add(*b).map(Value::Duration).ok_or_else(out_of_range)
            }
            (Binary::Subtract, Value::Duration(a), Value::Duration(b)) => {
                a.checked_sub(*b).map(Value::Duration).ok_or_else(out_of_range)
            }
            (Binary::Add, Value::Instant(a), Value::Duration(b)) => {
                a.checked_add(*b).map(Value::Instant).map_err(|_| out_of_range())
            }
            (Binary::Subtract, Value::Instant(a), Value::Duration(b)) => {
                a.checked_sub(*b).map(Value::Instant).map_err(|_| out_of_range())
            }
            (Binary::Subtract, Value::Instant(a), Value::Instant(b)) => Ok(Value::Duration(a.duration_since(*b))),
            _ => Err(not_together("reckoned with", left, right)),
        }
    }

    fn call(&mut self, function: Function, of: &'a Expr, argument: Option<&'a Expr>) -> Result<Value, Fault> {
        let of = self.value(of)?;
        let argument = argument.map(|a| self.value(a)).transpose()?;
        if let Value::Text(text) = &of {
            self.spend(text.len())?;
        }
        match (function, &of, &argument) {
            (Function::Size, Value::List(all), _) => Ok(Value::Int(all.len().try_into().unwrap_or(i64::MAX))),
            (Function::Size, Value::Text(text), _) => {
                Ok(Value::Int(text.chars().count().try_into().unwrap_or(i64::MAX)))
            }
            (Function::LowerAscii, Value::Text(text), _) => Ok(Value::Text(text.to_ascii_lowercase().into())),
            (Function::StartsWith, Value::Text(text), Some(Value::Text(a))) => Ok(Value::Bool(text.starts_with(&**a))),
            (Function::EndsWith, Value::Text(text), Some(Value::Text(a))) => Ok(Value::Bool(text.ends_with(&**a))),
            (Function::Contains, Value::Text(text), Some(Value::Text(a))) => {
                self.spend(a.len())?;
                Ok(Value::Bool(text.contains(&**a)))
            }
            _ => Err(Fault::types(format!(
                "{function:?} is not there for {}{}",
                of.kind(),
                argument.map(|a| format!(" and {}", a.kind())).unwrap_or_default()
            ))),
        }
    }

    fn each(&mut self, each: Loop, of: &'a Expr, variable: &'a str, body: &'a Expr) -> Result<Value, Fault> {
        let all = self.list(of)?;
        let (mut kept, mut count) = (Vec::new(), 0_i64);
        for one in all.iter() {
            self.spend(0)?;
            self.variables.push((variable, one.clone()));
            let result = self.value(body);
            self.variables.pop();
            match (each, result?) {
                (Loop::Map, value) => kept.push(value),
                (Loop::All, Value::Bool(false)) => return Ok(Value::Bool(false)),
                (Loop::Exists, Value::Bool(true)) => return Ok(Value::Bool(true)),
                (Loop::Filter, Value::Bool(true)) => kept.push(one.clone()),
                (Loop::ExistsOne, Value::Bool(true)) => count += 1,
                (_, Value::Bool(_)) => {}
                (_, other) => {
                    return Err(Fault::types(format!("{} stands where true or false is needed", other.kind())));
                }
            }
        }
        Ok(match each {
            Loop::All => Value::Bool(true),
            Loop::Exists => Value::Bool(false),
            Loop::ExistsOne => Value::Bool(count == 1),
            Loop::Filter | Loop::Map => Value::list(kept),
        })
    }
}

fn compare(left: &Value, right: &Value) -> Result<Ordering, Fault> {
    match (left, right) {
        (Value::Int(a), Value::Int(b)) => Ok(a.cmp(b)),
        (Value::Text(a), Value::Text(b)) => Ok(a.cmp(b)),
        (Value::Duration(a), Value::Duration(b)) => Ok(a.cmp(b)),
        (Value::Instant(a), Value::Instant(b)) => Ok(a.cmp(b)),
        _ => Err(not_together("compared", left, right)),
    }
}

fn not_together(how: &str, left: &Value, right: &Value) -> Fault {
    Fault::types(format!("{} and {} cannot be {how}", left.kind(), right.kind()))
}

fn out_of_range() -> Fault {
    Fault::values("a number is out of range")
}
