//! One number at the end of a scenario, and what was wished of it.

use serde::{Deserialize, Serialize};

/// What a figure ought to be.
#[derive(Clone, Copy, Debug, PartialEq, Serialize, Deserialize)]
pub(crate) enum Wanted {
    /// Nothing: it explains the others. Less is better.
    Less,
    /// Nothing: it explains the others. More is better.
    More,
    /// At least so many times the other system's.
    Times(f64),
    /// At most the other system's divided by this.
    Part(f64),
    /// At most this, whatever others have.
    AtMost(f64),
}

/// A number with its name.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize)]
pub(crate) struct Figure {
    /// What it counts, with its unit at the end.
    pub(crate) name: String,
    /// How many.
    pub(crate) value: f64,
    /// What is wished.
    pub(crate) wanted: Wanted,
}

impl Figure {
    /// A figure that is asked for.
    pub(crate) fn new(name: &str, value: f64, wanted: Wanted) -> Self {
        Self { name: name.to_owned(), value, wanted }
    }

    /// Whether the wish is fulfilled by our `value` beside another's; `None` where nothing was wished.
    pub(crate) fn is_reached(value: f64, wanted: Wanted, other: Option<f64>) -> Option<bool> {
        match wanted {
            Wanted::Less | Wanted::More => None,
            Wanted::Times(times) => Some(value >= times * other?),
            Wanted::Part(part) => Some(value * part <= other?),
            Wanted::AtMost(limit) => Some(value <= limit),
        }
    }
}

impl Wanted {
    /// The wish in a few letters.
    pub(crate) fn text(self) -> String {
        match self {
            Self::Less | Self::More => String::new(),
            Self::Times(times) => format!(">= {times}x"),
            Self::Part(part) => format!("<= 1/{part}"),
            Self::AtMost(limit) => format!("<= {limit}"),
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_wish_is_kept_at_its_very_border() {
        let cases = [
            (30.0, Wanted::Times(3.0), Some(10.0), Some(true)),
            (29.9, Wanted::Times(3.0), Some(10.0), Some(false)),
            (2.0, Wanted::Part(5.0), Some(10.0), Some(true)),
            (2.1, Wanted::Part(5.0), Some(10.0), Some(false)),
            (200.0, Wanted::AtMost(200.0), None, Some(true)),
            (1.0, Wanted::Times(3.0), None, None),
            (1.0, Wanted::Less, Some(2.0), None),
        ];
        for (value, wanted, other, expect) in cases {
            assert_eq!(Figure::is_reached(value, wanted, other), expect, "{value} {wanted:?}");
        }
    }
}
