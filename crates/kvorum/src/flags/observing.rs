//! Flags about what can be seen of the member: its log, its metrics, what is slow. And those that are dangerous.

use super::Kind::{Bool, Choice, Duration, Text, Unsigned};
use super::Section::{Logging, Observing, Unsafe};
use super::{Flag, flag, ignored, older};

const TRACES: &str = "this version sends no traces";

pub(super) static FLAGS: &[Flag] = &[
    ignored(
        Logging,
        "logger",
        Choice(&["zap", "capnslog"]),
        "zap",
        "there is one logger, and its lines have the shape of zap's",
    ),
    flag(
        Logging,
        "log-outputs",
        Text,
        "default",
        "Where the log goes: stderr (which is the default), stdout, systemd/journal, or paths of files.",
    ),
    older(Logging, "log-output", Text, "default", "log-outputs"),
    flag(
        Logging,
        "log-level",
        Choice(&["debug", "info", "warn", "error", "panic", "fatal"]),
        "info",
        "What is too unimportant for the log: all that stands before this word in\ndebug, info, warn, error, panic, fatal.",
    ),
    flag(Logging, "debug", Bool, "false", "Older than --log-level=debug, and the same."),
    ignored(Logging, "log-package-levels", Text, "", "there is one level for the whole log: --log-level"),
    flag(
        Logging,
        "log-format",
        Choice(&["json", "console"]),
        "json",
        "How a line looks: json for programs, console for people.",
    ),
    flag(
        Logging,
        "enable-log-rotation",
        Bool,
        "false",
        "Begin a new file when the one that the log goes to is full; needs one path in --log-outputs.",
    ),
    flag(
        Logging,
        "log-rotation-config-json",
        Text,
        r#"{"maxsize": 100, "maxage": 0, "maxbackups": 0, "localtime": false, "compress": false}"#,
        "When a file is full, in MB; for how many days and how many old ones are kept, 0 being all; whether their names have the\nlocal time; whether they are packed with gzip.",
    ),
    flag(
        Observing,
        "metrics",
        Choice(&["basic", "extensive"]),
        "basic",
        "With extensive /metrics has the times of gRPC calls by method too (grpc_server_handling_seconds).",
    ),
    flag(
        Observing,
        "warning-apply-duration",
        Duration,
        "100ms",
        "Requests that take longer to apply are counted as slow.",
    ),
    older(Observing, "experimental-warning-apply-duration", Duration, "100ms", "warning-apply-duration"),
    flag(
        Observing,
        "warning-unary-request-duration",
        Duration,
        "300ms",
        "Requests that take longer are told in the log, with what took how long.",
    ),
    older(
        Observing,
        "experimental-warning-unary-request-duration",
        Duration,
        "300ms",
        "warning-unary-request-duration",
    ),
    ignored(
        Observing,
        "enable-pprof",
        Bool,
        "false",
        "pprof looks into programs in Go; look into this one with perf",
    ),
    ignored(Observing, "enable-distributed-tracing", Bool, "false", TRACES),
    older(Observing, "experimental-enable-distributed-tracing", Bool, "false", "enable-distributed-tracing"),
    ignored(Observing, "distributed-tracing-address", Text, "localhost:4317", TRACES),
    older(
        Observing,
        "experimental-distributed-tracing-address",
        Text,
        "localhost:4317",
        "distributed-tracing-address",
    ),
    ignored(Observing, "distributed-tracing-service-name", Text, "etcd", TRACES),
    older(
        Observing,
        "experimental-distributed-tracing-service-name",
        Text,
        "etcd",
        "distributed-tracing-service-name",
    ),
    ignored(Observing, "distributed-tracing-instance-id", Text, "", TRACES),
    older(
        Observing,
        "experimental-distributed-tracing-instance-id",
        Text,
        "",
        "distributed-tracing-instance-id",
    ),
    ignored(Observing, "distributed-tracing-sampling-rate", Unsigned, "0", TRACES),
    older(
        Observing,
        "experimental-distributed-tracing-sampling-rate",
        Unsigned,
        "0",
        "distributed-tracing-sampling-rate",
    ),
    flag(
        Unsafe,
        "force-new-cluster",
        Bool,
        "false",
        "Go on alone with the data in the folder and forget every other member. For when a majority is lost for ever.",
    ),
    ignored(Unsafe, "unsafe-no-fsync", Bool, "false", "what was acknowledged is on disk, here always"),
];
