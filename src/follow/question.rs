//! Questions of an agent, and answers to them.

use std::collections::BTreeMap;

use serde_json::Value;

/// One question with its options.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Question {
    pub text: String,
    pub options: Vec<Choice>,
    pub several: bool,
}

#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Choice {
    pub label: String,
    pub description: String,
}

/// The questions in a tool's input; none where it is not understood.
pub fn questions(input: &Value) -> Vec<Question> {
    let text = |value: &Value, name: &str| value.get(name).and_then(Value::as_str).unwrap_or_default().to_owned();
    let list = |value: &Value, name: &str| value.get(name).and_then(Value::as_array).cloned().unwrap_or_default();
    list(input, "questions")
        .iter()
        .map(|question| Question {
            text: text(question, "question"),
            options: list(question, "options")
                .iter()
                .map(|option| Choice { label: text(option, "label"), description: text(option, "description") })
                .collect(),
            several: question.get("multiSelect").and_then(Value::as_bool).unwrap_or(false),
        })
        .filter(|question| !question.text.is_empty())
        .collect()
}

impl Question {
    /// What was typed, as the agent is told it: an option by its number or label, else the words themselves.
    pub fn answer(&self, typed: &str) -> Option<String> {
        let typed = typed.trim();
        if typed.is_empty() {
            return None;
        }
        if self.several {
            let parts: Option<Vec<&str>> = typed.split(',').map(|part| self.option(part)).collect();
            if let Some(parts) = parts {
                return Some(parts.join(", "));
            }
        }
        Some(self.option(typed).unwrap_or(typed).to_owned())
    }

    fn option(&self, typed: &str) -> Option<&str> {
        let typed = typed.trim();
        let by_label = self.options.iter().find(|option| option.label.eq_ignore_ascii_case(typed));
        let by_number = || self.options.get(typed.parse::<usize>().ok()?.checked_sub(1)?);
        by_label.or_else(by_number).map(|option| option.label.as_str())
    }
}

/// A bare number that is none of the options, alone or among several, is a slip of the hand and not an answer.
pub(super) fn check_number(question: &Question, typed: &str) -> Result<(), String> {
    let count = question.options.len();
    let parts: Vec<&str> = if question.several { typed.split(',').collect() } else { vec![typed] };
    let numbers: Option<Vec<u64>> = parts.iter().map(|part| part.trim().parse().ok()).collect();
    let wrong = parts.iter().find(|part| question.option(part).is_none());
    match (numbers, wrong) {
        (Some(_), Some(wrong)) if count > 0 => {
            let options: Vec<String> =
                question.options.iter().enumerate().map(|(index, o)| format!("{} {}", index + 1, o.label)).collect();
            Err(format!("{} is none of the options; they are: {}", wrong.trim(), options.join(", ")))
        }
        _ => Ok(()),
    }
}

/// Answers from the command line: one for the only question, or `question=answer` for each.
pub fn answers(questions: &[Question], given: &[String]) -> Result<BTreeMap<String, String>, String> {
    if let ([question], [answer]) = (questions, given)
        && !answer.starts_with(&format!("{}=", question.text))
    {
        check_number(question, answer)?;
        let answer = question.answer(answer).ok_or("the answer is empty")?;
        return Ok(BTreeMap::from([(question.text.clone(), answer)]));
    }
    let mut answers = BTreeMap::new();
    for pair in given {
        // A question may hold `=` itself: the longest question that fits is meant. A number stands for it too.
        let by_text =
            questions.iter().filter(|q| pair.starts_with(&format!("{}=", q.text))).max_by_key(|q| q.text.len());
        let by_number = || {
            let (number, _) = pair.split_once('=')?;
            questions.get(number.trim().parse::<usize>().ok()?.checked_sub(1)?)
        };
        let Some(question) = by_text.or_else(by_number) else {
            let known: Vec<String> = questions.iter().map(|q| format!("`{}`", q.text)).collect();
            return Err(format!("`{pair}` names no question; the questions are {}", known.join(", ")));
        };
        let typed = match by_text {
            Some(question) => &pair[question.text.len() + 1..],
            None => pair.split_once('=').map_or("", |(_, typed)| typed),
        };
        check_number(question, typed)?;
        let answer = question.answer(typed).ok_or_else(|| format!("the answer to `{}` is empty", question.text))?;
        answers.insert(question.text.clone(), answer);
    }
    if let Some(open) = questions.iter().find(|question| !answers.contains_key(&question.text)) {
        return Err(format!("`{}` has no answer", open.text));
    }
    Ok(answers)
}

#[cfg(test)]
mod tests {
    #![allow(clippy::unwrap_used, clippy::expect_used)]

    use serde_json::json;

    use super::*;

    fn two() -> Vec<Question> {
        questions(&json!({"questions": [
            {"question": "Colour?", "options": [{"label": "Red"}, {"label": "Blue", "description": "calm"}]},
            {"question": "a=b?", "multiSelect": true, "options": [{"label": "X"}, {"label": "Y"}]},
        ]}))
    }

    #[test]
    fn answers_are_numbers_labels_or_words() {
        let colour = &two()[0];
        assert_eq!(colour.answer("2"), Some("Blue".into()));
        assert_eq!(colour.answer("red"), Some("Red".into()));
        assert_eq!(colour.answer(" something else "), Some("something else".into()));
        assert_eq!(colour.answer("9"), Some("9".into()));
        assert_eq!(colour.answer("  "), None);
        assert_eq!(two()[1].answer("1,y"), Some("X, Y".into()));
    }

    #[test]
    fn the_command_line_answers_all_or_nothing() {
        let given = |list: &[&str]| list.iter().map(|s| (*s).to_owned()).collect::<Vec<_>>();
        let all = answers(&two(), &given(&["Colour?=2", "a=b?=Y"])).unwrap();
        assert_eq!(all["Colour?"], "Blue");
        assert_eq!(all["a=b?"], "Y");
        assert_eq!(answers(&two(), &given(&["1=red", "2=x"])).unwrap()["a=b?"], "X");
        assert!(answers(&two(), &given(&["Colour?=2"])).unwrap_err().contains("`a=b?` has no answer"));
        assert!(answers(&two(), &given(&["Size?=2"])).unwrap_err().contains("names no question"));
        let one = &two()[..1];
        assert_eq!(answers(one, &given(&["blue"])).unwrap()["Colour?"], "Blue");
        let refused = answers(one, &given(&["9"])).unwrap_err();
        assert_eq!(refused, "9 is none of the options; they are: 1 Red, 2 Blue");
        let several = &two()[1..];
        assert_eq!(answers(several, &given(&["1,7"])).unwrap_err(), "7 is none of the options; they are: 1 X, 2 Y");
        assert_eq!(answers(several, &given(&["1, 2"])).unwrap()["a=b?"], "X, Y");
        assert_eq!(answers(several, &given(&["2, and 7 of Z"])).unwrap()["a=b?"], "2, and 7 of Z");
        assert_eq!(answers(one, &given(&["9 of them"])).unwrap()["Colour?"], "9 of them");
        assert_eq!(answers(one, &given(&["Colour?=blue"])).unwrap()["Colour?"], "Blue");
    }

    #[test]
    fn strange_input_holds_no_questions() {
        for input in [json!(null), json!({"questions": "x"}), json!({"questions": [{"question": 3}]})] {
            assert!(questions(&input).is_empty());
        }
    }
}
