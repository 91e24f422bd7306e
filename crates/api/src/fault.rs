//! Refusals: etcd's texts and codes, to the letter, since its Go client maps errors by their text.

use std::fmt;

/// The codes of gRPC that faults use, by their numbers.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Code {
    /// The caller went away.
    Canceled = 1,
    /// No closer code.
    Unknown = 2,
    /// The request is wrong whatever the state.
    InvalidArgument = 3,
    /// The caller's time ran out.
    DeadlineExceeded = 4,
    /// No such thing.
    NotFound = 5,
    /// The caller may not do this.
    PermissionDenied = 7,
    /// A limit was reached.
    ResourceExhausted = 8,
    /// The state does not allow it.
    FailedPrecondition = 9,
    /// A revision out of what is kept.
    OutOfRange = 11,
    /// This member does not offer it.
    Unimplemented = 12,
    /// The member is at fault.
    Internal = 13,
    /// Not now; again later.
    Unavailable = 14,
    /// Data is damaged.
    DataLoss = 15,
    /// The caller did not prove who he is.
    Unauthenticated = 16,
}

macro_rules! faults {
    ($($(#[$doc:meta])* $name:ident = $code:ident, $text:literal;)*) => {
        /// Everything a member can refuse with.
        #[derive(Clone, Debug, PartialEq, Eq)]
        pub enum Fault {
            $($(#[$doc])* $name,)*
            /// Something of this member failed; the text says what, for the log and for the caller.
            Broken(String),
        }

        impl Fault {
            /// The code on the wire.
            pub fn code(&self) -> Code {
                match self {
                    $(Self::$name => Code::$code,)*
                    Self::Broken(_) => Code::Unknown,
                }
            }

            /// The text on the wire.
            pub fn text(&self) -> &str {
                match self {
                    $(Self::$name => $text,)*
                    Self::Broken(text) => text,
                }
            }
        }
    };
}

faults! {
    /// A request named the empty key.
    EmptyKey = InvalidArgument, "etcdserver: key is not provided";
    /// A put wanted to keep what a missing key holds; or an operation of a transaction says nothing.
    KeyNotFound = InvalidArgument, "etcdserver: key not found";
    /// A put brought a value and asked to ignore it.
    ValueProvided = InvalidArgument, "etcdserver: value is provided";
    /// A put brought a lease and asked to ignore it.
    LeaseProvided = InvalidArgument, "etcdserver: lease is provided";
    /// More compares or operations than allowed.
    TooManyOps = InvalidArgument, "etcdserver: too many operations in txn request";
    /// One branch writes a key twice.
    DuplicateKey = InvalidArgument, "etcdserver: duplicate key given in txn request";
    /// A sort order or target that does not exist.
    InvalidSortOption = InvalidArgument, "etcdserver: invalid sort option";
    /// The encoded request is over the limit.
    RequestTooLarge = InvalidArgument, "etcdserver: request is too large";
    /// The revision was forgotten.
    Compacted = OutOfRange, "etcdserver: mvcc: required revision has been compacted";
    /// The revision is not yet.
    FutureRevision = OutOfRange, "etcdserver: mvcc: required revision is a future revision";
    /// No room.
    NoSpace = ResourceExhausted, "etcdserver: mvcc: database space exceeded";
    /// A put named a lease that is not there.
    LeaseNotFound = NotFound, "etcdserver: requested lease not found";
    /// There is a lease with the id that was asked for.
    LeaseExists = FailedPrecondition, "etcdserver: lease already exists";
    /// A lease for more than 9,000,000,000 seconds.
    LeaseTtlTooLarge = OutOfRange, "etcdserver: too large lease TTL";
    /// There are as many leases as can be. etcd has no such limit.
    TooManyLeases = ResourceExhausted, "kvorum: too many leases";
    /// Nobody leads.
    NoLeader = Unavailable, "etcdserver: no leader";
    /// The leader changed while the request was under way; a read may be tried again.
    LeaderChanged = Unavailable, "etcdserver: leader changed";
    /// This member is shutting down.
    Stopped = Unavailable, "etcdserver: server stopped";
    /// It may have happened, or may yet.
    TimedOut = Unavailable, "etcdserver: request timed out";
    /// Likewise, and it began just before the leader of now began to lead.
    TimedOutLeaderFailed = Unavailable, "etcdserver: request timed out, possibly due to previous leader failure";
    /// Likewise, and this member had lost its way to those who decide.
    TimedOutConnectionLost = Unavailable, "etcdserver: request timed out, possibly due to connection lost";
    /// The member is behind by more than its limit; again later.
    TooManyRequests = Unknown, "etcdserver: too many requests";
    /// Members differ; nothing is served.
    Corrupt = DataLoss, "etcdserver: corrupt cluster";
    /// Peer URLs that are none, or no URLs at all.
    BadMemberUrls = InvalidArgument, "etcdserver: given member URLs are invalid";
    /// A member with this id is there already.
    MemberExists = FailedPrecondition, "etcdserver: member ID already exist";
    /// Another member has one of these peer URLs.
    PeerUrlExists = FailedPrecondition, "etcdserver: Peer URLs already exists";
    /// No member has this id.
    MemberNotFound = NotFound, "etcdserver: member not found";
    /// The member with this id was removed, and never returns. v3 does not tell it from one that never was.
    MemberRemoved = NotFound, "etcdserver: member not found";
    /// Only a learner can be promoted.
    MemberNotLearner = FailedPrecondition, "etcdserver: can only promote a learner member";
    /// The learner has too little of the log yet.
    LearnerNotReady = FailedPrecondition,
        "etcdserver: can only promote a learner member which is in sync with leader";
    /// As many learners as are allowed are there already.
    TooManyLearners = FailedPrecondition, "etcdserver: too many learner members in cluster";
    /// The change would leave the cluster waiting for members that never started. etcd's own code for it is
    /// lost on its way to the wire.
    NotEnoughStarted = Unknown,
        "etcdserver: re-configuration failed due to not enough started members";
    /// The change would leave the cluster waiting for members that are out of reach.
    Unhealthy = Unavailable, "etcdserver: unhealthy cluster";
    /// Another change of the members is under way. etcd lets the second one time out.
    ChangePending = Unavailable, "kvorum: another change of the members is under way";
    /// Only the leader can do it.
    NotLeader = FailedPrecondition, "etcdserver: not leader";
    /// Who should lead does not vote, or is out of reach.
    BadTransferee = FailedPrecondition, "etcdserver: bad leader transferee";
    /// The one who should lead did not begin to in time; it may yet.
    TransferTimedOut = Unknown, "etcdserver: request timed out, leader transfer took too long";
    /// A stream of a range is in the order of keys.
    StreamSorted = Unimplemented, "RangeStream does not support custom sort orders";
    /// A stream of a range has all of it.
    StreamFiltered = Unimplemented, "RangeStream does not support revision filters";
    /// A version that is none.
    BadVersion = InvalidArgument, "etcdserver: wrong downgrade target version format";
    /// A version that there is no way down to.
    BadDowngrade = InvalidArgument, "etcdserver: invalid downgrade target version";
    /// No downgrade is under way.
    NoDowngrade = FailedPrecondition, "etcdserver: no inflight downgrade job";
    /// The lease behind a lock that was waited for has ended.
    SessionExpired = Unknown, "mutex: session is expired";
    /// Who speaks for an election, or waited for it, does not lead it or cannot any more.
    NotElected = Unknown, "election: not leader";
    /// Nobody leads the election.
    NoElectedLeader = Unknown, "election: no leader";
    /// The member cannot tell any more what goes on in the election.
    ObserveClosed = Unknown, "election: observe closed early";
    /// A request about an election does not say what its leader leads with.
    MissingLeaderKey = Unknown, "\"leader\" field must be provided";
    /// Nobody is called root, and without him nobody could turn it off again.
    RootUserMissing = FailedPrecondition, "etcdserver: root user does not exist";
    /// The user root does not have the role root.
    RootRoleMissing = FailedPrecondition, "etcdserver: root user does not have root role";
    /// There is a user of this name.
    UserExists = FailedPrecondition, "etcdserver: user name already exists";
    /// A user without a name; or proof is asked for and the caller brought none.
    UserEmpty = InvalidArgument, "etcdserver: user name is empty";
    /// There is no such user.
    UserNotFound = FailedPrecondition, "etcdserver: user name not found";
    /// There is a role of this name.
    RoleExists = FailedPrecondition, "etcdserver: role name already exists";
    /// There is no such role.
    RoleNotFound = FailedPrecondition, "etcdserver: role name not found";
    /// A role without a name.
    RoleEmpty = InvalidArgument, "etcdserver: role name is empty";
    /// Not this user, or not with this password.
    AuthFailed = InvalidArgument,
        "etcdserver: authentication failed, invalid user ID or password";
    /// A password, for a user who has none. etcd has no code for it.
    NoPasswordUser = Unknown,
        "auth: authentication failed, password was given for no password user";
    /// A permission that is not there.
    PermissionNotGiven = InvalidArgument, "etcdserver: permission not given";
    /// The caller may not do this.
    PermissionDenied = PermissionDenied, "etcdserver: permission denied";
    /// The user does not have the role.
    RoleNotGranted = FailedPrecondition, "etcdserver: role is not granted to the user";
    /// The role does not have the permission.
    PermissionNotGranted = FailedPrecondition,
        "etcdserver: permission is not granted to the role";
    /// There are no tokens while nobody asks for them.
    AuthNotEnabled = FailedPrecondition, "etcdserver: authentication is not enabled";
    /// The token is none, or not any more.
    InvalidAuthToken = Unauthenticated, "etcdserver: invalid auth token";
    /// It would leave nobody who may do everything; or a range that is none.
    InvalidAuthManagement = InvalidArgument, "etcdserver: invalid auth management";
    /// Users or roles changed after the token was given.
    AuthOldRevision = InvalidArgument, "etcdserver: revision of auth store is old";
    /// Tokens are made elsewhere: this member has a key to verify them, and none to sign.
    VerifyOnly = Unknown, "auth: token signing attempted with verify-only key";
    /// bcrypt looks at no more of a password.
    PasswordTooLong = Unknown, "bcrypt: password length exceeds 72 bytes";
    /// There are as many users or roles as there may be. etcd has no such limit.
    TooManyUsers = ResourceExhausted, "kvorum: too many users or roles";
    /// The member does not do this.
    Unserved = Unimplemented, "kvorum: not served";
    /// This member is a learner, which answers few calls.
    LearnerUnsupported = FailedPrecondition, "etcdserver: rpc not supported for learner";
}

impl fmt::Display for Fault {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(self.text())
    }
}

impl std::error::Error for Fault {}
