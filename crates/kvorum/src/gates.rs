//! `--feature-gates`: switches that etcd has had under one flag since 3.6. Those that mean something here stand for a
//! flag with an older name; the others are accepted.

use std::collections::BTreeMap;

use crate::values::parse_bool;

/// How grown up etcd calls a feature.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
enum Stage {
    Alpha,
    Beta,
}

struct Gate {
    name: &'static str,
    stage: Stage,
    default: bool,
}

const fn alpha(name: &'static str) -> Gate {
    Gate { name, stage: Stage::Alpha, default: false }
}

const fn beta(name: &'static str) -> Gate {
    Gate { name, stage: Stage::Beta, default: true }
}

/// Those of 3.6 and 3.7, in the order of their names.
const GATES: [Gate; 9] = [
    alpha("CompactHashCheck"),
    beta("FastLeaseKeepAlive"),
    alpha("InitialCorruptCheck"),
    alpha("LeaseCheckpoint"),
    alpha("LeaseCheckpointPersist"),
    alpha("PriorityRequest"),
    alpha("SetMemberLocalAddr"),
    alpha("StopGRPCServiceOnDefrag"),
    beta("TxnModeWriteWithSharedBuffer"),
];

/// Names that stand for all gates of a stage.
const OF_STAGE: [(&str, Stage); 2] = [("AllAlpha", Stage::Alpha), ("AllBeta", Stage::Beta)];

/// A gate as it stands.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct GateState {
    /// Its name.
    pub name: &'static str,
    /// `ALPHA` or `BETA`.
    pub stage: &'static str,
    /// Whether it is open.
    pub is_open: bool,
}

/// What the flag says.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct Gates {
    given: BTreeMap<String, bool>,
}

impl Gates {
    /// Reads `A=true,B=false`. A refusal is in the words of the library that etcd has its gates from.
    pub fn read(value: &str) -> Result<Self, String> {
        let mut given = BTreeMap::new();
        for pair in value.split(',').map(str::trim).filter(|pair| !pair.is_empty()) {
            let (name, value) =
                pair.split_once('=').ok_or_else(|| format!("missing bool value for {pair}"))?;
            let (name, value) = (name.trim(), value.trim());
            let is_open = parse_bool(value).ok_or_else(|| {
                format!("invalid value of {name}={value}, err: strconv.ParseBool: parsing {value:?}: invalid syntax")
            })?;
            let is_known = GATES.iter().any(|gate| gate.name == name)
                || OF_STAGE.iter().any(|(of_stage, _)| *of_stage == name);
            if !is_known {
                return Err(format!("unrecognized feature gate: {name}"));
            }
            given.insert(name.to_owned(), is_open);
        }
        Ok(Self { given })
    }

    /// Whether somebody set this very gate.
    pub fn is_given(&self, name: &str) -> bool {
        self.given.contains_key(name)
    }

    /// Whether a gate is open.
    pub fn is_open(&self, name: &str) -> bool {
        GATES.iter().find(|gate| gate.name == name).is_some_and(|gate| self.stands(gate))
    }

    /// All gates.
    pub fn states(&self) -> impl Iterator<Item = GateState> {
        GATES.iter().map(|gate| GateState {
            name: gate.name,
            stage: if gate.stage == Stage::Alpha { "ALPHA" } else { "BETA" },
            is_open: self.stands(gate),
        })
    }

    fn stands(&self, gate: &Gate) -> bool {
        let of_stage = OF_STAGE.iter().filter(|(_, stage)| *stage == gate.stage).map(|(name, _)| *name);
        let named = [gate.name].into_iter().chain(of_stage).find_map(|name| self.given.get(name));
        named.copied().unwrap_or(gate.default)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn refusal(value: &str) -> String {
        Gates::read(value).expect_err("it is wrong")
    }

    #[test]
    fn a_gate_is_as_it_was_set_or_as_its_stage_was_or_as_it_always_is() {
        let gates = Gates::read("LeaseCheckpoint=true, FastLeaseKeepAlive=false").expect("right");
        assert!(gates.is_open("LeaseCheckpoint") && !gates.is_open("LeaseCheckpointPersist"));
        assert!(!gates.is_open("FastLeaseKeepAlive") && gates.is_open("TxnModeWriteWithSharedBuffer"));
        let gates = Gates::read("LeaseCheckpoint=false,AllAlpha=true,AllBeta=f").expect("right");
        assert!(!gates.is_open("LeaseCheckpoint") && gates.is_open("InitialCorruptCheck"));
        assert!(!gates.is_open("FastLeaseKeepAlive"));
        assert_eq!(Gates::read("").expect("nothing is right"), Gates::default());
    }

    #[test]
    fn what_is_no_gate_is_refused() {
        assert_eq!(refusal("Nope=true"), "unrecognized feature gate: Nope");
        assert_eq!(refusal("LeaseCheckpoint"), "missing bool value for LeaseCheckpoint");
        assert!(refusal("LeaseCheckpoint=maybe").starts_with("invalid value of LeaseCheckpoint=maybe"));
    }
}
