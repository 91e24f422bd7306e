//! `alarm`: what is known to be wrong, until somebody says otherwise.

use clap::{Args, Subcommand};
use prost::Message as _;
use proto::etcdserverpb::alarm_request::AlarmAction;
use proto::etcdserverpb::{AlarmRequest, AlarmResponse, AlarmType};
use serde_json::Value;

use crate::failure::{Done, Failure};
use crate::output::{Fields, Output, Shown, message};
use crate::session::Session;

#[derive(Debug, Subcommand)]
pub(crate) enum Alarm {
    /// Lists alarms.
    List(NoArguments),
    /// Ends all alarms.
    Disarm(NoArguments),
}

#[derive(Debug, Args)]
pub(crate) struct NoArguments {
    #[arg(hide = true)]
    args: Vec<String>,
}

impl Alarm {
    pub(crate) async fn run(self, session: &Session) -> Done {
        let (verb, args) = match &self {
            Self::List(NoArguments { args }) => ("list", args),
            Self::Disarm(NoArguments { args }) => ("disarm", args),
        };
        if !args.is_empty() {
            return Err(Failure::arguments(format!("alarm {verb} command accepts no arguments")));
        }
        let known: AlarmResponse = session.call(AlarmRequest::default()).await?;
        if verb == "list" {
            return session.show(&known);
        }
        // The answer is put together from those to each alarm, and so has no header.
        let mut ended = AlarmResponse::default();
        for alarm in known.alarms {
            let action = AlarmAction::Deactivate.into();
            let request = AlarmRequest { action, member_id: alarm.member_id, alarm: alarm.alarm };
            ended.alarms.extend(session.call(request).await?.alarms);
        }
        session.show(&ended)
    }
}

fn name(alarm: i32) -> &'static str {
    AlarmType::try_from(alarm).map_or("UNKNOWN", |alarm| alarm.as_str_name())
}

impl Shown for AlarmResponse {
    fn simple(&self, _output: Output) -> Vec<u8> {
        let line = |alarm: &proto::etcdserverpb::AlarmMember| {
            format!("memberID:{} alarm:{} \n", alarm.member_id, name(alarm.alarm))
        };
        self.alarms.iter().map(line).collect::<String>().into_bytes()
    }

    fn json(&self, _output: Output) -> Value {
        message("etcdserverpb.AlarmResponse", self)
    }

    fn fields(&self, _output: Output) -> Fields {
        let mut fields = Fields::of(self.header.as_ref());
        for alarm in &self.alarms {
            fields.value("MemberID", alarm.member_id);
            fields.value("AlarmType", name(alarm.alarm));
            fields.gap();
        }
        fields
    }

    fn protobuf(&self) -> Option<Vec<u8>> {
        Some(self.encode_to_vec())
    }
}
