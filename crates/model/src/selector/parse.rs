//! The grammar of label selectors in text: `a=b,c in (x,y),!d`.
//!
//! The lexer is a little odd, as upstream's is: `in` and `notin` are operators only where an operator can
//! stand, and values may be missing (`a=`, `b in (,)`), which means the empty string.

use std::collections::BTreeSet;

use super::TEXT_BYTES_MAX;
use super::label::{Operator, Requirement, key_error};
use crate::field::Path;

#[derive(Debug, Clone, Copy, PartialEq, Eq)]
enum Token {
    Identifier,
    Comma,
    OpenParen,
    CloseParen,
    Bang,
    Equals,
    DoubleEquals,
    NotEquals,
    GreaterThan,
    LessThan,
    In,
    NotIn,
    Error,
    End,
}

/// What may follow decides whether `in` is a word or an operator.
#[derive(Clone, Copy, PartialEq, Eq)]
enum Context {
    KeyAndOperator,
    Values,
}

fn is_symbol(c: char) -> bool {
    matches!(c, '=' | '!' | '(' | ')' | ',' | '>' | '<')
}

fn is_space(c: char) -> bool {
    matches!(c, ' ' | '\t' | '\r' | '\n')
}

fn symbol(text: &str) -> Option<Token> {
    Some(match text {
        ")" => Token::CloseParen,
        "," => Token::Comma,
        "!" => Token::Bang,
        "==" => Token::DoubleEquals,
        "=" => Token::Equals,
        ">" => Token::GreaterThan,
        "<" => Token::LessThan,
        "!=" => Token::NotEquals,
        "(" => Token::OpenParen,
        _ => return None,
    })
}

struct Lexer<'a> {
    rest: &'a str,
}

impl<'a> Lexer<'a> {
    fn next(&mut self) -> (Token, &'a str) {
        self.rest = self.rest.trim_start_matches(is_space);
        let Some(first) = self.rest.chars().next() else { return (Token::End, "") };
        if !is_symbol(first) {
            let end = self.rest.find(|c| is_symbol(c) || is_space(c)).unwrap_or(self.rest.len());
            let token = match &self.rest[..end] {
                "in" => Token::In,
                "notin" => Token::NotIn,
                _ => Token::Identifier,
            };
            return (token, self.take(end));
        }
        // Symbols are ASCII, so two bytes are at most two characters, and no operator is longer.
        let two = self.rest.get(..2).and_then(|text| symbol(text).map(|token| (token, 2)));
        match two.or_else(|| symbol(&self.rest[..1]).map(|token| (token, 1))) {
            Some((token, length)) => (token, self.take(length)),
            None => (Token::Error, self.take(self.rest.len())),
        }
    }

    fn take(&mut self, length: usize) -> &'a str {
        let (taken, rest) = self.rest.split_at(length);
        self.rest = rest;
        taken
    }
}

struct Parser<'a> {
    lexer: Lexer<'a>,
    ahead: (Token, &'a str),
}

/// The requirements in `text`, in the order written. Every token is consumed once: linear in the text.
pub(super) fn requirements(text: &str) -> Result<Vec<Requirement>, String> {
    if text.len() > TEXT_BYTES_MAX {
        return Err(format!("the selector is longer than {TEXT_BYTES_MAX} bytes"));
    }
    let mut lexer = Lexer { rest: text };
    let ahead = lexer.next();
    let mut parser = Parser { lexer, ahead };
    let mut requirements = Vec::new();
    loop {
        match parser.lookahead(Context::Values) {
            (Token::Identifier | Token::Bang, _) => {
                let requirement =
                    parser.requirement().map_err(|error| format!("unable to parse requirement: {error}"))?;
                requirements.push(requirement);
                match parser.consume(Context::Values) {
                    (Token::End, _) => return Ok(requirements),
                    (Token::Comma, _) => match parser.lookahead(Context::Values) {
                        (Token::Identifier | Token::Bang, _) => {}
                        (_, found) => {
                            return Err(format!("found '{found}', expected: identifier after ','"));
                        }
                    },
                    (_, found) => {
                        return Err(format!("found '{found}', expected: ',' or 'end of string'"));
                    }
                }
            }
            (Token::End, _) => return Ok(requirements),
            (_, found) => {
                return Err(format!("found '{found}', expected: !, identifier, or 'end of string'"));
            }
        }
    }
}

impl<'a> Parser<'a> {
    fn lookahead(&self, context: Context) -> (Token, &'a str) {
        match self.ahead {
            (Token::In | Token::NotIn, text) if context == Context::Values => (Token::Identifier, text),
            other => other,
        }
    }

    fn consume(&mut self, context: Context) -> (Token, &'a str) {
        let taken = self.lookahead(context);
        self.ahead = self.lexer.next();
        taken
    }

    fn requirement(&mut self) -> Result<Requirement, String> {
        let (mut token, mut key) = self.consume(Context::Values);
        let negated = token == Token::Bang;
        if negated {
            (token, key) = self.consume(Context::Values);
        }
        if token != Token::Identifier {
            return Err(format!("found '{key}', expected: identifier"));
        }
        if let Some(error) = key_error(key, &Path::default()) {
            return Err(error.to_string());
        }
        if negated {
            return Requirement::new(key, Operator::DoesNotExist, BTreeSet::new());
        }
        if matches!(self.lookahead(Context::Values).0, Token::End | Token::Comma) {
            return Requirement::new(key, Operator::Exists, BTreeSet::new());
        }
        let operator = self.operator()?;
        let values = match operator {
            Operator::In | Operator::NotIn => self.values()?,
            _ => BTreeSet::from([self.exact_value()?.to_owned()]),
        };
        Requirement::new(key, operator, values)
    }

    fn operator(&mut self) -> Result<Operator, String> {
        Ok(match self.consume(Context::KeyAndOperator) {
            (Token::In, _) => Operator::In,
            (Token::NotIn, _) => Operator::NotIn,
            (Token::Equals, _) => Operator::Equals,
            (Token::DoubleEquals, _) => Operator::DoubleEquals,
            (Token::NotEquals, _) => Operator::NotEquals,
            (Token::GreaterThan, _) => Operator::GreaterThan,
            (Token::LessThan, _) => Operator::LessThan,
            (_, found) => {
                return Err(format!("found '{found}', expected: in, notin, =, ==, !=, gt, lt"));
            }
        })
    }

    fn values(&mut self) -> Result<BTreeSet<String>, String> {
        let (token, found) = self.consume(Context::Values);
        if token != Token::OpenParen {
            return Err(format!("found '{found}' expected: '('"));
        }
        match self.lookahead(Context::Values) {
            (Token::Identifier | Token::Comma, _) => {}
            (Token::CloseParen, _) => {
                self.consume(Context::Values);
                return Ok(BTreeSet::new());
            }
            (_, found) => return Err(format!("found '{found}', expected: ',', ')' or identifier")),
        }
        let values = self.value_list()?;
        match self.consume(Context::Values) {
            (Token::CloseParen, _) => Ok(values),
            (_, found) => Err(format!("found '{found}', expected: ')'")),
        }
    }

    fn value_list(&mut self) -> Result<BTreeSet<String>, String> {
        let mut values = BTreeSet::new();
        loop {
            match self.consume(Context::Values) {
                (Token::Identifier, value) => {
                    values.insert(value.to_owned());
                    match self.lookahead(Context::Values) {
                        (Token::Comma, _) => {}
                        (Token::CloseParen, _) => return Ok(values),
                        (_, found) => return Err(format!("found '{found}', expected: ',' or ')'")),
                    }
                }
                (Token::Comma, _) => {
                    // A comma with nothing before or after it stands for an empty value.
                    if values.is_empty() {
                        values.insert(String::new());
                    }
                    match self.lookahead(Context::Values).0 {
                        Token::CloseParen => {
                            values.insert(String::new());
                            return Ok(values);
                        }
                        Token::Comma => {
                            self.consume(Context::Values);
                            values.insert(String::new());
                        }
                        _ => {}
                    }
                }
                (_, found) => return Err(format!("found '{found}', expected: ',', or identifier")),
            }
        }
    }

    fn exact_value(&mut self) -> Result<&'a str, String> {
        if matches!(self.lookahead(Context::Values).0, Token::End | Token::Comma) {
            return Ok("");
        }
        match self.consume(Context::Values) {
            (Token::Identifier, value) => Ok(value),
            (_, found) => Err(format!("found '{found}', expected: identifier")),
        }
    }
}
